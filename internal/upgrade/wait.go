package upgrade

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"multihead/internal/cluster"
	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

const (
	stallLimit = 5 * time.Minute // for which nothing moves, where something is not well
	waitLimit  = 24 * time.Hour  // a large volume heals for hours, and moves
	lookEvery  = time.Second
)

// patience ends a wait in which nothing moves: what is seen was all seen before. A daemon
// that starts again and again shows the same few things by turns.
type patience struct {
	seen  map[string]bool
	since time.Time
}

// errStalled is a wait that has no end.
var errStalled = errors.New("nothing has moved for " + stallLimit.String())

// lost says whether nothing new has been seen for too long.
func (p *patience) lost(seen string, now time.Time) bool {
	if p.seen == nil {
		p.seen = map[string]bool{}
	}
	if !p.seen[seen] {
		p.seen[seen], p.since = true, now
	}
	return now.Sub(p.since) >= stallLimit
}

// await is a step that waits for a condition as long as something moves. It is always
// needed: what holds now says nothing of what is to be stopped before it.
func await(what string, until func(ctx context.Context) (seen string, err error)) plan.Action {
	return plan.Func{What: "wait until " + what, Kind: plan.Wait, Timeout: waitLimit,
		Satisfied: func(context.Context, host.Reader) (bool, error) { return false, nil },
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			var p patience
			return plan.Await{What: what, Timeout: waitLimit, Every: lookEvery,
				Until: func(ctx context.Context, _ host.Reader) (bool, string, error) {
					seen, err := until(ctx)
					if err != nil {
						seen = err.Error()
					}
					if p.lost(seen, time.Now()) && seen != "" {
						return false, seen, plan.Never(fmt.Errorf("%w: %s", errStalled, seen))
					}
					return seen == "", seen, nil
				}}.Do(ctx, h)
		}}
}

// again is the cluster looked at anew: these services, or all that have a health.
func (r *Run) again(ctx context.Context, names ...string) (*cluster.View, error) {
	v := *r.View
	return &v, v.Observe(ctx, slices.DeleteFunc(slices.Clone(v.Services), func(s service.Service) bool {
		return len(names) > 0 && !slices.Contains(names, s.Name()) || s.Name() == "prepare"
	}))
}

// serves waits until a head's data services are whole again, while it is in maintenance
// still: what they lack now would be lacking everywhere with the next head.
func (r *Run) serves(name string) plan.Step {
	look := func(ctx context.Context) (string, error) {
		v, err := r.again(ctx, config.GlusterFS, config.MariaDB, config.Redis)
		if err != nil {
			return "", err
		}
		var wrong []string
		for _, h := range v.Healths() {
			if h.State == service.Up {
				continue
			}
			wrong = append(wrong, h.Service+": "+h.Reason)
			if h.Service == config.Redis {
				if err := spread(ctx, v); err != nil {
					wrong = append(wrong, err.Error())
				}
			}
		}
		return strings.Join(wrong, "; "), nil
	}
	return plan.Step{ID: "upgrade.serves", Host: name, Action: await("its data is whole", look)}
}

// well waits until the whole cluster is up, and sees to what the agents would see to if
// this run did not hold the lock.
func (r *Run) well(on, id string) plan.Step {
	return plan.Step{ID: "upgrade." + id, Host: on, Action: await("the whole cluster is up", r.mend)}
}

// mend does once what the agents would do, where anything is wrong, and returns what is
// wrong; empty is nothing.
func (r *Run) mend(ctx context.Context) (string, error) {
	v, err := r.again(ctx)
	if err != nil {
		return "", err
	}
	var wrong []string
	for _, p := range v.Status(nil).Problems {
		wrong = append(wrong, strings.TrimSpace(p.Host+" "+p.Service)+": "+p.Reason)
	}
	if len(wrong) == 0 {
		return "", nil
	}
	seen := strings.Join(wrong, "; ")
	if s, ok := v.States[config.Redis]; ok && s.Health().State == service.Degraded {
		if err := spread(ctx, v); err != nil {
			seen += "; " + err.Error()
		}
	}
	p, refused := v.RecoverPlan(service.Intent{Mode: service.Auto}, nil)
	if err := carryOut(ctx, v, p); err != nil {
		seen += "; " + err.Error()
	}
	if refused != nil {
		seen += "; " + refused.Error()
	}
	return seen, nil
}

// spread puts Redis's masters back to their heads, as up does: one that stops hands them
// over, and with head after head all would end on one.
func spread(ctx context.Context, v *cluster.View) error {
	p, err := v.Plan(service.Intent{Mode: service.Auto}, []string{config.Redis})
	if err != nil {
		return err
	}
	return carryOut(ctx, v, p)
}

// carryOut does what of a plan is needed, as one step of another one.
func carryOut(ctx context.Context, v *cluster.View, p plan.Plan) error {
	prop, err := plan.Propose(ctx, p, v.Readers())
	if err != nil || prop.Empty() {
		return err
	}
	_, err = plan.NewEngine(v.Hosts, func(ev plan.Event) {
		if ev.Type == plan.StepStart {
			plan.Tell(ctx, ev.Text+" on "+ev.Host)
		}
	}).Apply(ctx, prop)
	return err
}

// Settled waits until the whole cluster is up, after a run that failed was undone, and
// says what is not where that does not come.
func (r *Run) Settled(ctx context.Context) error {
	for _, n := range r.View.Input.Heads {
		if h := r.View.Hosts[n.Name()]; h != nil {
			_, err := r.well(n.Name(), "green").Action.Do(ctx, h)
			return err
		}
	}
	return errors.New("no head answers")
}
