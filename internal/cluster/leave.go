package cluster

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"multihead/internal/plan"
	"multihead/internal/service"
)

// LeavePlan is how the hosts of intent.Leaving and intent.LeavingComputes leave the
// services named, or all of them. Each service says itself what has to be left before
// it; the phases come in that order.
func (v *View) LeavePlan(intent service.Intent, only []string) (plan.Plan, error) {
	if err := v.mayLeave(intent); err != nil {
		return plan.Plan{}, err
	}
	var p plan.Plan
	var errs []error
	for _, s := range v.Services {
		l, ok := v.States[s.Name()].(service.Leaver)
		if _, works := v.States[s.Name()].(service.Worker); !ok || !named(only, s.Name()) || intent.Drain && !works {
			continue // while users' work goes on nothing else is touched
		}
		ph, err := l.Leave(intent)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ph.Name = s.Name()
		p.Phases = append(p.Phases, ph)
	}
	p.Phases = inOrder(p.Phases)
	return p, errors.Join(errs...)
}

// inOrder puts phases behind those that they come after, and leaves them as they are
// otherwise: people read a plan from above, and whether a step can know that it is
// done depends on what changes before it. Phases that wait for each other, which the
// engine refuses, stay last.
func inOrder(phases []plan.Phase) []plan.Phase {
	rest, out := slices.Clone(phases), make([]plan.Phase, 0, len(phases))
	for len(rest) > 0 {
		i := slices.IndexFunc(rest, func(ph plan.Phase) bool {
			return !slices.ContainsFunc(rest, func(before plan.Phase) bool { return slices.Contains(ph.After, before.Name) })
		})
		if i < 0 {
			return append(out, rest...)
		}
		out, rest = append(out, rest[i]), slices.Delete(rest, i, i+1)
	}
	return out
}

// mayLeave refuses what no service has to be asked for: hosts of which nothing is
// known, and a cluster of no head. What a service needs to go on, it says itself.
func (v *View) mayLeave(intent service.Intent) error {
	if err := v.answersOrGone(intent); err != nil {
		return err
	}
	if len(intent.Leaving) == 0 {
		return nil // compute nodes have no vote and no copy
	}
	total, stay, lost := len(v.Input.Heads), 0, 0
	var silent []string
	for _, n := range v.Input.Heads {
		switch {
		case !intent.Leaves(n.Name()):
			stay++
			if !n.Reached() {
				silent = append(silent, n.Name())
			}
		case intent.Gone(n.Name()):
			lost++
		}
	}
	if stay == 0 {
		return refused("Stop the cluster with multihead down.", "no head would be left: %d of %d are to leave", total, total)
	}
	if len(silent) > 0 {
		return v.refuseBeside(intent, silent, total, stay)
	}
	if lost > 0 && 2*(total-lost) <= total && !intent.Confirmed {
		return refused(fmt.Sprintf("Look at %s with your own eyes, then say --confirm %s.", strings.Join(intent.Lost, ", "), v.Cluster.Info.ClusterName),
			"%d of %d heads answer, which is no majority: the silent ones could be the cluster", total-lost, total)
	}
	return nil
}

func refused(remedy, format string, args ...any) error {
	return &service.Refusal{Service: "node", Reason: fmt.Sprintf(format, args...), Remedy: remedy}
}

// refuseBeside says why nobody with a vote leaves while a head is silent.
func (v *View) refuseBeside(intent service.Intent, silent []string, total, stay int) error {
	names := strings.Join(silent, ", ")
	remedy := fmt.Sprintf("Bring %s back first; or, if it is gone for good, let it leave first: multihead node remove %s --gone.", names, strings.Join(silent, " "))
	if stay == total {
		return refused(remedy, "of %d heads %s does not answer, and %s is the vote that the other %d may need to go on without it",
			total, names, strings.Join(intent.Leaving, ", "), total-len(silent))
	}
	return refused(remedy,
		"of %d heads %s leaves and %s does not answer: %d of the %d that stay would be known to hold everything, and a copy that is only on %s cannot be compared",
		total, strings.Join(intent.Leaving, ", "), names, stay-len(silent), stay, names)
}

// answersOrGone refuses to let a host leave that is silent and was not said to be
// gone, or was and answers.
func (v *View) answersOrGone(intent service.Intent) error {
	leaves := func(names []string, nodes ...service.Node) error {
		for _, n := range nodes {
			switch gone := intent.Gone(n.Name()); {
			case !slices.Contains(names, n.Name()):
			case gone && n.Reached():
				return refused("Run without --gone: it leaves in order, and nothing has to be given up.",
					"%s answers, so it is not gone", n.Name())
			case !gone && !n.Reached():
				return refused(fmt.Sprintf("Bring it back and run this again. If it is switched off and stays off, say so: --gone --confirm %s.", v.Cluster.Info.ClusterName),
					"%s does not answer (%v), and unknown is not gone: it may be serving", n.Name(), n.Err)
			}
		}
		return nil
	}
	if err := leaves(intent.Leaving, slices.Concat(v.Input.Heads, v.Input.Witnesses)...); err != nil {
		return err
	}
	return leaves(intent.LeavingComputes, v.Input.Computes...)
}
