package keepalived

import (
	"context"
	"fmt"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// Leave implements service.Leaver: the address goes to a head that stays before
// anything else on the leaving one ends. It gives it up in order, which the
// others take for what it is at once.
func (s *State) Leave(intent service.Intent) (plan.Phase, error) {
	ph := plan.Phase{After: []string{"agent"}}
	stop, held := plan.Stage{Name: "give the address up"}, plan.Stage{Name: "held by another"}
	var stay []head
	leaves := false
	for _, h := range s.heads {
		if !intent.Leaves(h.name) {
			stay = append(stay, h)
			continue
		}
		leaves = true
		if !h.reached {
			continue
		}
		step := plan.Step{ID: "keepalived.leave", Host: h.name, Action: plan.Stopped(unit)}
		if h.holds == service.Yes {
			step.Effect = fmt.Sprintf("%s leaves %s; connections to it end, and new ones reach the next head", s.vip.Address, h.name)
		}
		// Without its file it claims the address for nobody, whoever starts it.
		stop.Steps = append(stop.Steps, step, plan.Step{ID: "keepalived.forget", Host: h.name, Action: plan.Absent{Path: confPath}})
	}
	if !leaves {
		return ph, nil
	}
	serving := 0
	for _, h := range stay {
		if h.running == service.Yes {
			serving++
		}
	}
	if serving == 0 {
		return ph, &service.Refusal{Service: "keepalived",
			Reason: fmt.Sprintf("keepalived runs on none of the %d heads that stay: nobody would hold %s", len(stay), s.vip.Address),
			Remedy: "Run multihead up first, so that another head can hold the address."}
	}
	for _, h := range stay {
		if h.reached && h.running == service.Yes {
			held.Steps = append(held.Steps, plan.Step{ID: "keepalived.elsewhere", Host: h.name, Action: s.reachable(h)})
		}
	}
	ph.Stages = []plan.Stage{stop, held}
	return ph, nil
}

// reachable waits until a head holds the address or reaches it.
func (s *State) reachable(h head) plan.Await {
	return plan.Await{What: fmt.Sprintf("%s is held", s.vip.Address), Timeout: 30 * time.Second,
		Until: func(ctx context.Context, r host.Reader) (bool, string, error) {
			l, err := askLinks(ctx, r)
			if err != nil {
				return false, "", err
			}
			if _, ok := l.with(s.vip.Address); ok {
				return true, "held here", nil
			}
			if a, how := answers(ctx, r, s.vip.Address, h.sshPort); a == service.Yes {
				return true, how, nil
			}
			return false, "neither held here nor reached at another head", nil
		}}
}
