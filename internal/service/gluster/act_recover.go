package gluster

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// past is what systemd says of a unit, and remembers of it since the host booted.
type past struct {
	state  string         // ActiveState
	ran    service.Answer // it has been active since the boot
	queued bool           // systemd is to start it, and waits for something else
}

// startable says whether a unit may be started without a person: it has not run
// since the boot, or it failed.
func (p past) startable() bool {
	return !p.queued && (p.state == "failed" || p.state == "inactive" && p.ran == service.No)
}

// byHand says whether a person stopped it: it ran, and was stopped in order.
func (p past) byHand() bool { return p.state == "inactive" && p.ran == service.Yes }

// lookPast asks systemd, once for all units.
func lookPast(ctx context.Context, r host.Reader, units ...string) (map[string]past, error) {
	out, err := r.Query(ctx, append([]string{"systemctl", "show", "--property=Id,ActiveState,ActiveEnterTimestampMonotonic,Job"}, units...)...)
	if err != nil {
		return nil, err
	}
	return parsePast(out), nil
}

func parsePast(out string) map[string]past {
	all := map[string]past{}
	for block := range strings.SplitSeq(out, "\n\n") {
		var id string
		var p past
		for line := range strings.Lines(block) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			switch {
			case key == "Id":
				id = value
			case key == "ActiveState":
				p.state = value
			case key == "Job":
				p.queued = value != "" && value != "0"
			case key == "ActiveEnterTimestampMonotonic" && value == "0":
				p.ran = service.No
			case key == "ActiveEnterTimestampMonotonic" && value != "":
				p.ran = service.Yes
			}
		}
		if id != "" {
			all[id] = p
		}
	}
	return all
}

// launch starts a unit. What fails later does not stop it again: a stop in order
// would count as a person's.
func launch(unit string) plan.Action {
	return plan.Func{
		What: "start " + unit, Kind: plan.Change,
		Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
			states, err := host.UnitStates(ctx, r, unit)
			return states[unit] == "active", err
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			if _, err := h.Run(ctx, host.Command("systemctl", "reset-failed", unit)); err != nil && !errors.As(err, new(*host.ExitError)) {
				return nil, err // one that is not loaded has nothing to reset, and says so
			}
			_, err := h.Run(ctx, host.Command("systemctl", "start", unit))
			return nil, err
		},
	}
}

// forceStart starts the bricks of a started volume that do not run. The others,
// and a volume that was stopped meanwhile, are left alone.
func (s *State) forceStart() plan.Action {
	name := s.conf.VolumeName
	return plan.Func{
		What: "start the bricks of volume " + name + " that do not run",
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			v, err := readVolume(ctx, h, name)
			if err != nil || v == nil || v.Status != volStarted {
				return nil, errors.Join(err, missing(err == nil && v == nil, name))
			}
			_, err = change(ctx, h, "volume", "start", name, "force")
			return nil, err
		},
	}
}

func (s *State) awaitBrick(h *head) plan.Await {
	addr := h.addr.String()
	return plan.Await{What: "the brick runs", Timeout: 30 * time.Second,
		Until: func(ctx context.Context, r host.Reader) (bool, string, error) {
			a, err := brickRuns(ctx, r, addr, s.conf)
			return a == service.Yes, "it does not run", err
		}}
}

// quorumSteps change the volume's quorum, where that was decided.
func (s *State) quorumSteps(cli *head, v *volume, q quorumCall) []plan.Step {
	want := map[string]string{}
	what := ""
	switch {
	case q.loosen:
		what = "let volume " + s.conf.VolumeName + " go on without a quorum"
		want[quorumOption] = "none"
		if v.Options[serverQuorumOption] == "server" {
			want[serverQuorumOption] = "none"
		}
	case q.restore:
		what = "have volume " + s.conf.VolumeName + " want a quorum again"
		want[quorumOption] = options(s.conf)[quorumOption]
		if server := s.conf.Options[serverQuorumOption]; server != "" {
			want[serverQuorumOption] = server
		}
	default:
		return nil
	}
	return []plan.Step{{ID: "glusterfs.quorum", Host: cli.name, Action: plan.Func{
		What: what, Kind: plan.Change,
		Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
			now, err := readVolume(ctx, r, s.conf.VolumeName)
			return now != nil && len(differing(want, now.Options)) == 0, err
		},
		// Nothing takes it back: what fails after it needs it all the more.
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			if q.loosen {
				if err := s.forgetDead(ctx, h); err != nil {
					return nil, err
				}
			}
			_, err := change(ctx, h, append([]string{"volume", "set", s.conf.VolumeName}, pairs(differing(want, nil), want)...)...)
			return nil, err
		},
	}}}
}

// endFrozen kills processes that a signal stopped: others wait for them, and none
// of them keeps anything in memory that was acknowledged. glusterd is started anew
// by systemd, bricks and mounts by the steps that follow.
func endFrozen(h *head) []plan.Step {
	var out []plan.Step
	kill := func(id, what string, pid int) {
		if pid == 0 {
			return
		}
		out = append(out, plan.Step{ID: "glusterfs.end-" + id, Host: h.name, Action: plan.Func{
			What: fmt.Sprintf("kill %s (process %d), which a signal has stopped", what, pid), Kind: plan.Restart,
			Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
				is, err := isStopped(ctx, r, pid)
				return !is, err
			},
			Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
				if is, err := isStopped(ctx, h, pid); !is {
					return nil, err
				}
				_, err := h.Run(ctx, host.Command("kill", "-KILL", strconv.Itoa(pid)))
				return nil, err
			}}})
	}
	kill("daemon", "glusterd", h.frozenDaemon)
	kill("brick", "the brick", h.frozenBrick)
	kill("client", "the client of the mounted volume", h.frozenClient)
	return out
}

// isStopped says whether a process of GlusterFS is there and stopped.
func isStopped(ctx context.Context, r host.Reader, pid int) (bool, error) {
	stat, err := r.ReadFile(ctx, path.Join("/proc", strconv.Itoa(pid), "stat"))
	if ended(err) {
		return false, nil
	}
	return err == nil && isFrozen(string(stat)), err
}

// isFrozen reads /proc/PID/stat: the number, the command in parentheses, and the
// state, which is T for a process that a signal stopped.
func isFrozen(stat string) bool {
	end := strings.LastIndexByte(stat, ')')
	_, name, ok := strings.Cut(stat[:max(end, 0)], "(")
	state := strings.Fields(stat[end+1:])
	return ok && strings.HasPrefix(name, "gluster") && len(state) > 0 && state[0] == "T"
}

// frozenIn finds the process of that command in a unit's control group, if a
// signal has stopped it.
func frozenIn(ctx context.Context, r host.Reader, unit, command string) int {
	procs, err := r.ReadFile(ctx, "/sys/fs/cgroup/system.slice/"+unit+"/cgroup.procs")
	if err != nil {
		return 0
	}
	for _, word := range strings.Fields(string(procs)) {
		stat, err := r.ReadFile(ctx, "/proc/"+word+"/stat")
		if err == nil && isFrozen(string(stat)) && strings.Contains(string(stat), "("+command+")") {
			pid, _ := strconv.Atoi(word)
			return pid
		}
	}
	return 0
}

// lookPastOf asks what is needed to decide whether what does not serve here may be
// started. A head where everything serves is asked nothing.
func (h *head) lookPastOf(ctx context.Context, r host.Reader, mountPoint string) (err error) {
	mount := mountUnit(mountPoint)
	if h.brick && h.daemon == service.Unsure {
		h.frozenDaemon = frozenIn(ctx, r, "glusterd.service", "glusterd")
	}
	if h.mounted == service.Yes && h.answers == service.Unsure {
		h.frozenClient = frozenIn(ctx, r, mount, "glusterfs")
	}
	if (h.mounted == service.Yes || h.witness) && (!h.brick || h.daemon == service.Yes && h.running == service.Yes) {
		return nil
	}
	h.past, err = lookPast(ctx, r, "glusterd.service", bricksUnit, mount, retryUnit)
	return err
}
