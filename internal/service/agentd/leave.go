package agentd

import (
	"slices"

	"multihead/internal/plan"
	"multihead/internal/service"
)

// Leave implements service.Leaver: the agent ends before what it watches over,
// and the secrets that only an agent needs go with it: the key of the authority would make
// new certificates. Those that it had are refused from the others' next start on.
func (s *State) Leave(intent service.Intent) (plan.Phase, error) {
	var ph plan.Phase
	if !slices.ContainsFunc(s.seats, func(t seat) bool { return intent.Leaves(t.name) }) {
		return ph, nil // a compute node has no agent
	}
	stop, forget := plan.Stage{Name: "stop"}, plan.Stage{Name: "forget"}
	others := 0
	for _, t := range s.seats {
		if t.head && t.reached && !intent.Leaves(t.name) && !t.caPair.empty() {
			others++
		}
	}
	for _, t := range s.seats {
		if !t.reached || !intent.Leaves(t.name) {
			continue
		}
		stop.Steps = append(stop.Steps, plan.Step{ID: "agent.leave", Host: t.name, Action: plan.Stopped(unit)})
		if others == 0 {
			continue // the only key of the authority stays where it is
		}
		for _, f := range []struct{ id, path string }{{"authority", caPairFile}, {"certificate", PairFile}, {"config", ConfigFile}} {
			forget.Steps = append(forget.Steps, plan.Step{ID: "agent.forget." + f.id, Host: t.name, Action: plan.Absent{Path: f.path}})
		}
	}
	ph.Stages = []plan.Stage{stop, {Name: "refuse", Steps: s.removedSteps(intent)}, forget}
	return ph, nil
}
