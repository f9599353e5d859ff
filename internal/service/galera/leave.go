package galera

import (
	"fmt"
	"strings"

	"multihead/internal/plan"
	"multihead/internal/service"
)

// Leave implements service.Leaver. A node that is stopped in order says so, and
// those that stay count the votes without it from then on; one that lost its
// power they have thrown out already. The address is dropped from their files by
// the plan that follows: told at run time they would leave and come back.
func (s *State) Leave(intent service.Intent) (plan.Phase, error) {
	ph := plan.Phase{After: []string{"agent", "keepalived", "slurm"}}
	var leave []string
	var stay, current []node
	for _, n := range s.nodes {
		if intent.Leaves(n.name) {
			leave = append(leave, n.name)
			continue
		}
		stay = append(stay, n)
		if n.status.synced() && n.member() {
			current = append(current, n)
		}
	}
	if len(leave) == 0 {
		return ph, nil
	}
	if len(current) == 0 {
		return ph, &service.Refusal{Service: "mariadb",
			Reason: fmt.Sprintf("of the %d heads that stay none serves as part of a cluster with quorum: %s may have what they lack", len(stay), strings.Join(leave, ", ")),
			Remedy: "Run multihead status and multihead recover; this goes on once another head has all data."}
	}
	for _, n := range stay {
		if n.reached && !n.member() {
			return ph, &service.Refusal{Service: "mariadb",
				Reason: fmt.Sprintf("%s is no member of the cluster (%s): without %s there would be %d copies of the data where the file counts on %d", n.name, n.why, strings.Join(leave, ", "), len(current), len(stay)),
				Remedy: "Run multihead up first, and this once all heads that stay have all data."}
		}
	}
	if len(stay)%2 == 0 && len(s.witnesses) == 0 {
		ph.Notes = append(ph.Notes, fmt.Sprintf("%d nodes will be left, an even number: where the network parts them into halves, or one of two dies, the rest stops taking writes (%d of %d votes are no majority). A witness raises that.", len(stay), len(stay)/2, len(stay)))
	}
	stop, after := plan.Stage{Name: "stop"}, plan.Stage{Name: "the others go on"}
	for _, n := range s.nodes {
		if !intent.Leaves(n.name) || !n.reached {
			continue
		}
		u := plan.Stopped(unit)
		u.Timeout = stopLimit
		stop.Steps = append(stop.Steps, plan.Step{ID: "mariadb.leave", Host: n.name, Action: u,
			Effect: "connections to the database on " + n.name + " end; it serves on through the virtual address and on the other heads"})
	}
	for _, n := range current {
		after.Steps = append(after.Steps, plan.Step{ID: "mariadb.goes-on", Host: n.name, Action: s.await(n, len(current))})
	}
	ph.Stages = []plan.Stage{stop, after}
	return ph, nil
}
