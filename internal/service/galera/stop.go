package galera

import (
	"context"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// Stop stops the nodes, the first live one of the file last: the last one to
// stop has everything and says so on its disk (safe_to_bootstrap), and the
// cluster starts again from it.
func (s *State) Stop(intent service.Intent) (plan.Phase, error) {
	var p plan.Phase
	var rest, last, deaf []plan.Step
	keep := s.lastToStop(intent)
	for _, n := range s.nodes {
		if !n.reached || !intent.Includes(n.name) {
			continue
		}
		if n.stands == starting {
			deaf = append(deaf, plan.Step{ID: "mariadb.end-start", Host: n.name, Action: endStart()})
		}
		u := plan.Stopped(unit)
		u.Timeout = stopLimit
		step := plan.Step{ID: "mariadb.stop", Host: n.name, Action: u}
		if n.name == keep {
			step.Effect = "the database is away until up is run"
			last = append(last, step)
		} else {
			rest = append(rest, step)
		}
	}
	for _, st := range []plan.Stage{{Name: "end starts", Steps: deaf}, {Name: "stop", Steps: rest}, {Name: "stop the last", Steps: last}} {
		if len(st.Steps) > 0 {
			p.Stages = append(p.Stages, st)
		}
	}
	p.Stages = append(p.Stages, s.stopArbiters(intent)...)
	return p, nil
}

// lastToStop is the node that stops after all others: the first in the file
// that has all data. Where the cluster goes on on other heads there is none.
func (s *State) lastToStop(intent service.Intent) string {
	keep := ""
	for _, n := range s.nodes {
		if !n.member() {
			continue
		}
		if !intent.Includes(n.name) {
			return ""
		}
		if keep == "" && n.status.synced() {
			keep = n.name
		}
	}
	return keep
}

// startEnds is how long a daemon that was told to stop while it starts may take to hear it.
const startEnds = time.Minute

// endStart stops a daemon that serves nobody yet. One that is told so while it waits for
// what it has missed can lock itself up: it becomes a member, takes no connection, and is
// there until systemd kills it after a quarter of an hour (seen twice in 11.8.9). It is killed
// where it has not gone after a minute; it has acknowledged nothing to anybody.
func endStart() plan.Action {
	gone := func(ctx context.Context, r host.Reader) (bool, error) {
		active, err := activity(ctx, r)
		return err == nil && (active == "inactive" || active == "failed"), err
	}
	return plan.Func{
		What: "stop mariadbd, which is starting; where it does not hear that, kill it", Kind: plan.Change,
		Timeout: 2 * startEnds,
		Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
			active, err := activity(ctx, r)
			return err == nil && active != "activating", err
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			if _, err := h.Run(ctx, host.Command("systemctl", "stop", "--no-block", unit)); err != nil {
				return nil, err
			}
			defer func() { // it was stopped, and did not fail; there may be nothing to reset
				_, _ = h.Run(ctx, host.Command("systemctl", "reset-failed", unit))
			}()
			wait := plan.Await{What: "mariadbd has stopped", Timeout: startEnds,
				Until: func(ctx context.Context, r host.Reader) (bool, string, error) {
					ok, err := gone(ctx, r)
					return ok, "it has not", err
				}}
			if _, err := wait.Do(ctx, h); err == nil {
				return nil, nil
			}
			plan.Tell(ctx, "it does not hear: it is killed")
			if _, err := h.Run(ctx, host.Command("systemctl", "kill", "--signal=KILL", unit)); err != nil {
				return nil, err
			}
			_, err := h.Run(ctx, host.Command("systemctl", "stop", unit))
			return nil, err
		},
	}
}
