package slurm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// awaitMount waits until the volume is mounted: its file system is another
// than that of the directory it is in.
func awaitMount(mount string) plan.Await {
	return plan.Await{
		What: mount + " is mounted",
		Until: func(ctx context.Context, h host.Reader) (bool, string, error) {
			ok, err := mounted(ctx, h, mount)
			return ok, "it is not", err
		},
	}
}

func mounted(ctx context.Context, h host.Reader, mount string) (bool, error) {
	at, err := h.Stat(ctx, mount)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	above, err := h.Stat(ctx, path.Dir(mount))
	return err == nil && at.Device != above.Device, err
}

// awaitPort waits until a daemon of the host takes connections.
func awaitPort(what string, port int) plan.Await {
	return plan.Await{
		What: what,
		Until: func(ctx context.Context, h host.Reader) (bool, string, error) {
			conn, err := h.Dial(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(port))
			if err != nil {
				return false, "", err
			}
			return true, "", conn.Close()
		},
	}
}

// askPing asks the controllers of the host's own slurm.conf.
func askPing(ctx context.Context, h host.Reader) ([]ping, error) {
	out, err := h.Query(ctx, "scontrol", "ping")
	var exit *host.ExitError
	if errors.As(err, &exit) {
		// It fails when one of them is down, and says so as well.
		if out == "" {
			out = exit.Stdout
		}
		if p := parsePing(out); len(p) > 0 {
			return p, nil
		}
	}
	return parsePing(out), err
}

// awaitPing waits until the controllers named are up, as the host sees it.
func awaitPing(names ...string) plan.Await {
	return plan.Await{
		What: "slurmctld is up on " + strings.Join(names, ", "),
		Until: func(ctx context.Context, h host.Reader) (bool, string, error) {
			pings, err := askPing(ctx, h)
			if err != nil {
				return false, "", err
			}
			var down []string
			for _, n := range names {
				if !slices.ContainsFunc(pings, func(p ping) bool { return p.Host == n && p.Up }) {
					down = append(down, n)
				}
			}
			return len(down) == 0, "no answer of " + strings.Join(down, ", "), nil
		},
	}
}

// awaitInCharge waits until the head's controller serves. Of several it has to
// have written its heartbeat as well: the others, started before that, would
// wait for half a minute. (scontrol ping would ask all of them, and each that
// is not up yet costs it seconds.)
func (s *State) awaitInCharge(h head) plan.Await {
	beats := len(s.cluster.SlurmControllers()) > 1
	dir := s.cluster.Slurm.StateSaveLocation
	listens := awaitPort("", ctldPort)
	return plan.Await{
		What: "slurmctld on " + h.name + " serves",
		Until: func(ctx context.Context, r host.Reader) (bool, string, error) {
			ok, state, err := listens.Until(ctx, r)
			if !ok || err != nil || !beats {
				return ok, state, err
			}
			_, err = readHeartbeat(ctx, r, dir)
			if errors.Is(err, fs.ErrNotExist) {
				return false, "it has written no heartbeat yet", nil
			}
			return err == nil, "", err
		},
	}
}

// awaitNodes waits until the nodes of the plan have registered.
func (s *State) awaitNodes(intent service.Intent) plan.Await {
	var names []string
	for _, n := range s.nodes {
		if n.reached && intent.Includes(n.name) {
			names = append(names, n.name)
		}
	}
	return plan.Await{
		What:    fmt.Sprintf("%d compute nodes have registered", len(names)),
		Timeout: 90 * time.Second,
		Every:   500 * time.Millisecond,
		Until: func(ctx context.Context, h host.Reader) (bool, string, error) {
			// Asked also where there is nothing to wait for: an answer is
			// the proof that the controller serves.
			out, err := h.Query(ctx, "sinfo", "--Node", "--noheader", "--format=%N %T")
			if err != nil {
				return false, "", err
			}
			missing := unregistered(out, names)
			return len(missing) == 0, strings.Join(missing, ", "), nil
		},
	}
}

// unregistered is the nodes of names that the controller has not heard of since
// it knows them, each with its state.
func unregistered(sinfo string, names []string) []string {
	states := map[string]string{}
	for line := range strings.Lines(sinfo) {
		if f := strings.Fields(line); len(f) == 2 {
			states[f[0]] = f[1]
		}
	}
	var out []string
	for _, n := range names {
		switch st := states[n]; {
		case st == "":
			out = append(out, n+" unknown to slurmctld")
		case strings.Contains(st, "*"), strings.HasPrefix(st, "unknown"):
			out = append(out, n+" "+st)
		}
	}
	return out
}

// registered makes the database know where the cluster's controller is.
//
// slurmctld registers when it first reaches slurmdbd. On a state directory that
// is new it then closes that connection, and slurmdbd takes the end of a
// connection for the end of the controller and forgets its address: from then
// on nothing that sacctmgr changes reaches it. Reading its configuration again
// makes it register once more.
func registered(cluster string) plan.Action {
	is := func(ctx context.Context, h host.Reader) (bool, string, error) {
		out, err := h.Query(ctx, "sacctmgr", "-nP", "show", "cluster", "format=cluster,controlhost")
		if err != nil {
			return false, "", err
		}
		for line := range strings.Lines(out) {
			name, control, _ := strings.Cut(strings.TrimSpace(line), "|")
			if name == cluster {
				return control != "", "its controller has not registered", nil
			}
		}
		return false, "it is not in the database", nil
	}
	return plan.Func{
		What: "register the controller of " + cluster + " with accounting",
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			ok, _, err := is(ctx, h)
			return ok, err
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			if err := reconfigure(ctx, h); err != nil {
				return nil, err
			}
			return plan.Await{What: "the controller of " + cluster + " is registered", Until: is, Timeout: 30 * time.Second}.Do(ctx, h)
		},
	}
}
