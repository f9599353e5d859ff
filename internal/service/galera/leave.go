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
// the plan that follows: told at run time they would leave and come back. A
// witness leaves in the same way: garbd votes like a node.
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
	votes, witnesses := s.leavingVotes(intent)
	stop, after := plan.Stage{Name: "stop", Steps: s.stopVotes(intent)}, plan.Stage{Name: "the others go on"}
	if len(leave) == 0 && (len(votes) == 0 || s.unborn()) {
		if len(stop.Steps) > 0 { // nobody votes, or about nothing yet
			ph.Stages = []plan.Stage{stop}
		}
		return ph, nil
	}
	if err := mayLeave(leave, votes, stay, current); err != nil {
		return ph, err
	}
	if len(stay)%2 == 0 && witnesses == 0 {
		ph.Notes = append(ph.Notes, fmt.Sprintf("%d nodes will be left, an even number: where the network parts them into halves, or one of two dies, the rest stops taking writes (%d of %d votes are no majority). A witness raises that.", len(stay), len(stay)/2, len(stay)))
	}
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

// mayLeave refuses where what stays could not serve, or would hold less than all, or
// would hang on a vote that leaves.
func mayLeave(leave []string, votes []voter, stay, current []node) error {
	refuse := func(remedy, format string, args ...any) error {
		return &service.Refusal{Service: "mariadb", Reason: fmt.Sprintf(format, args...), Remedy: remedy}
	}
	if len(current) == 0 {
		return refuse("Run multihead status and multihead recover; this goes on once another head has all data.",
			"of the %d heads that stay none serves as part of a cluster with quorum%s", len(stay), lacks(leave))
	}
	for _, n := range stay {
		switch {
		case !n.reached || n.member():
		case len(leave) == 0:
			return refuse("Run multihead up first, and this once all heads are members.",
				"%s is no member of the cluster (%s): %d of %d heads serve, and the vote of %s is what a majority may hang on when one of them dies",
				n.name, n.health().Reason, len(current), len(stay), names(votes))
		default:
			return refuse("Run multihead up first, and this once all heads that stay have all data.",
				"%s is no member of the cluster (%s): without %s there would be %d copies of the data where the file counts on %d",
				n.name, n.health().Reason, strings.Join(leave, ", "), len(current), len(stay))
		}
	}
	return nil
}

// stopVotes stops garbd on the witnesses that leave.
func (s *State) stopVotes(intent service.Intent) (out []plan.Step) {
	for _, w := range s.witnesses {
		if w.reached && intent.Leaves(w.name) {
			out = append(out, plan.Step{ID: "mariadb.arbiter.leave", Host: w.name, Action: plan.Stopped(arbiterUnit)})
		}
	}
	return out
}

// leavingVotes is the witnesses that leave and vote, or may, and how many others
// stay in the file.
func (s *State) leavingVotes(intent service.Intent) (votes []voter, stay int) {
	asked := map[string]bool{} // whom the file has vote
	for _, w := range s.arbiters() {
		asked[w.name] = true
	}
	for _, w := range s.witnesses {
		switch {
		case !intent.Leaves(w.name):
			stay++
		case w.runs == service.Yes, w.runs == service.Unsure && asked[w.name]:
			votes = append(votes, w)
		}
	}
	return votes, stay
}

// unborn says whether there is no database anywhere, for certain.
func (s *State) unborn() bool {
	for _, e := range s.Evidence() {
		if e.Live != service.No || e.Data != service.No {
			return false
		}
	}
	return true
}

func names(list []voter) string {
	var out []string
	for _, v := range list {
		out = append(out, v.name)
	}
	return strings.Join(out, ", ")
}

// lacks is what heads that leave may have and the others not.
func lacks(leave []string) string {
	if len(leave) == 0 {
		return ""
	}
	return ": " + strings.Join(leave, ", ") + " may have what they lack"
}
