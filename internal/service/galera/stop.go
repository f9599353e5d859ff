package galera

import (
	"multihead/internal/plan"
	"multihead/internal/service"
)

// Stop stops the nodes, the first live one of the file last: the last one to
// stop has everything and says so on its disk (safe_to_bootstrap), and the
// cluster starts again from it.
func (s *State) Stop(intent service.Intent) (plan.Phase, error) {
	var p plan.Phase
	var rest, last []plan.Step
	keep := s.lastToStop(intent)
	for _, n := range s.nodes {
		if !n.reached || !intent.Includes(n.name) {
			continue
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
	for _, st := range []plan.Stage{{Name: "stop", Steps: rest}, {Name: "stop the last", Steps: last}} {
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
