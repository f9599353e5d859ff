package cluster

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"multihead/internal/plan"
	"multihead/internal/service"
)

// LeavePlan is how the heads of intent.Leaving leave the services named, or all
// of them: what ends last when the cluster starts is left first, and each service
// says itself what has to be left before it.
func (v *View) LeavePlan(intent service.Intent, only []string) (plan.Plan, error) {
	if err := v.mayLeave(intent); err != nil {
		return plan.Plan{}, err
	}
	var p plan.Plan
	var errs []error
	for _, s := range v.Services {
		l, ok := v.States[s.Name()].(service.Leaver)
		if !ok || !named(only, s.Name()) {
			continue
		}
		ph, err := l.Leave(intent)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ph.Name = s.Name()
		p.Phases = append(p.Phases, ph)
	}
	return p, errors.Join(errs...)
}

// mayLeave refuses what no service has to be asked for: heads that nothing is
// known of beside those that leave, and a cluster of no head. What a service
// needs to go on, it says itself.
func (v *View) mayLeave(intent service.Intent) error {
	refuse := func(remedy, format string, args ...any) error {
		return &service.Refusal{Service: "node", Reason: fmt.Sprintf(format, args...), Remedy: remedy}
	}
	total, stay := len(v.Input.Heads), 0
	var silent []string
	for _, n := range v.Input.Heads {
		switch {
		case !intent.Leaves(n.Name()):
			stay++
			if !n.Reached() {
				silent = append(silent, n.Name())
			}
		case slices.Contains(intent.Lost, n.Name()) && n.Reached():
			return refuse("Run without --gone: it leaves in order, and nothing has to be given up.",
				"%s answers, so it is not gone", n.Name())
		case !slices.Contains(intent.Lost, n.Name()) && !n.Reached():
			return refuse(fmt.Sprintf("Bring it back and run this again. If it is switched off and stays off, say so: --gone --confirm %s.", v.Cluster.Info.ClusterName),
				"%s does not answer (%v), and unknown is not gone: it may be serving", n.Name(), n.Err)
		}
	}
	if stay == 0 {
		return refuse("Stop the cluster with multihead down.", "no head would be left: %d of %d are to leave", total, total)
	}
	if len(silent) > 0 {
		return refuse(fmt.Sprintf("Bring %s back first; or, if it is gone for good, let it leave first: multihead node remove %s --gone.",
			strings.Join(silent, ", "), strings.Join(silent, " ")),
			"of %d heads %s leaves and %s does not answer: %d of the %d that stay would be known to hold everything, and a copy that is only on %s cannot be compared",
			total, strings.Join(intent.Leaving, ", "), strings.Join(silent, ", "), stay-len(silent), stay, strings.Join(silent, ", "))
	}
	if lost := len(intent.Lost); 2*(total-lost) <= total && !intent.Confirmed {
		return refuse(fmt.Sprintf("Look at %s with your own eyes, then say --confirm %s.", strings.Join(intent.Lost, ", "), v.Cluster.Info.ClusterName),
			"%d of %d heads answer, which is no majority: the silent ones could be the cluster", total-lost, total)
	}
	return nil
}
