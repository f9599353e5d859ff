package host

import (
	"context"
	"slices"
	"strings"
)

// Frozen says whether a process of a service is stopped by a signal (SIGSTOP): the
// kernel goes on taking connections for it, and nobody answers them. One that a
// debugger has stopped is not. command is how the process's name begins. Where
// the kernel does not say it, nothing is frozen.
func Frozen(ctx context.Context, r Reader, unit, command string) bool {
	procs, err := r.ReadFile(ctx, sliceDir+subSlice(unit)+unit+"/cgroup.procs")
	if err != nil {
		return false
	}
	return slices.ContainsFunc(strings.Fields(string(procs)), func(pid string) bool {
		stat, err := r.ReadFile(ctx, "/proc/"+pid+"/stat")
		return err == nil && stoppedBySignal(string(stat), command)
	})
}

// subSlice is where systemd puts the instances of a template: a slice for each
// template, in whose name a dash is escaped (systemd.unit(5)).
func subSlice(unit string) string {
	template, _, ok := strings.Cut(unit, "@")
	if !ok {
		return ""
	}
	return "system-" + strings.ReplaceAll(template, "-", `\x2d`) + ".slice/"
}

// stoppedBySignal reads /proc/PID/stat: the number, the command in parentheses,
// and the state, which is T for a process that a signal stopped (proc_pid_stat(5)).
func stoppedBySignal(stat, command string) bool {
	end := strings.LastIndexByte(stat, ')')
	_, name, ok := strings.Cut(stat[:max(end, 0)], "(")
	state := strings.Fields(stat[end+1:])
	return ok && strings.HasPrefix(name, command) && len(state) > 0 && state[0] == "T"
}
