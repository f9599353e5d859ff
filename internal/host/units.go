package host

import (
	"context"
	"fmt"
	"strings"
)

// sliceDir is where systemd keeps the control groups of services.
const sliceDir = "/sys/fs/cgroup/system.slice/"

// RunningUnits are those of the units that have a process now. The kernel says
// so without a process being started, where it has the unified hierarchy of
// control groups; elsewhere none is known to run, and systemd has to be asked.
func RunningUnits(ctx context.Context, r Reader, units ...string) map[string]bool {
	out := map[string]bool{}
	for _, u := range units {
		procs, err := r.ReadFile(ctx, sliceDir+u+"/cgroup.procs")
		out[u] = err == nil && len(strings.TrimSpace(string(procs))) > 0
	}
	return out
}

// UnitStates is the ActiveState of each unit ("active", "inactive", "failed",
// "activating" …). A unit that has processes is active; systemd is asked, once,
// where one of them has none.
func UnitStates(ctx context.Context, r Reader, units ...string) (map[string]string, error) {
	states := map[string]string{}
	running := RunningUnits(ctx, r, units...)
	var ask []string
	for _, u := range units {
		if running[u] {
			states[u] = "active"
		} else {
			ask = append(ask, u)
		}
	}
	if len(ask) == 0 {
		return states, nil
	}
	out, err := r.Query(ctx, append([]string{"systemctl", "show", "--property=Id,ActiveState"}, ask...)...)
	if err != nil {
		return nil, err
	}
	for block := range strings.SplitSeq(out, "\n\n") {
		var id, state string
		for line := range strings.Lines(block) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			switch key {
			case "Id":
				id = value
			case "ActiveState":
				state = value
			}
		}
		states[id] = state
	}
	for _, u := range units {
		if states[u] == "" {
			return nil, fmt.Errorf("%s: systemd told nothing of %s", r.Name(), u)
		}
	}
	return states, nil
}
