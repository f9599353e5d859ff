package agent

import (
	"cmp"
	"slices"
	"time"
)

// side is with whom an agent stands where not all agents hear each other. A host
// that both halves of a parted network reach would else be counted by both, and both
// would have a majority: so each agent stands with one group in which everybody hears
// everybody, says so with its beats, and counts for nobody else. Two heads that may
// hold the address then have an agent in common that stands with both, and hear each
// other.
type side struct {
	with   []string  // peers, in the order of the file; nil until the first look
	better time.Time // since when another group of the same size has been better off
}

// settle takes what is heard now and chooses the group that counts. One that is
// larger counts at once. One that is only better off has to be so for a while: what
// counted before has to have given the address up.
func (s *side) settle(e Electorate, own Verdict, holds bool, peers map[string]heard, now time.Time) {
	groups := groupsAround(e, peers, now)
	order := func(a, b []string) int {
		return cmp.Or(len(b)-len(a), worst(e, own, peers, a)-worst(e, own, peers, b),
			holders(holds, peers, b)-holders(holds, peers, a), slices.Compare(places(e, a), places(e, b)))
	}
	slices.SortFunc(groups, order)
	best := groups[0]
	kept := slices.IndexFunc(groups, func(g []string) bool { return s.with != nil && contains(g, s.with) })
	switch {
	case kept <= 0 || len(groups[kept]) < len(best):
		s.with, s.better = best, time.Time{}
	case worst(e, own, peers, best) >= worst(e, own, peers, groups[kept]):
		s.with, s.better = groups[kept], time.Time{}
	case s.better.IsZero():
		s.with, s.better = groups[kept], now
	case now.Sub(s.better) >= beforeFit:
		s.with, s.better = best, time.Time{}
	default:
		s.with = groups[kept]
	}
}

// groupsAround are the largest groups of peers that hear this agent and each other,
// both ways (Bron and Kerbosch's algorithm for maximal cliques). There is always one,
// and it is empty where nobody is heard.
func groupsAround(e Electorate, peers map[string]heard, now time.Time) [][]string {
	hears := func(name, whom string) bool {
		p, ok := peers[name]
		return ok && now.Sub(p.at) <= freshFor && slices.Contains(p.Hears, whom)
	}
	var near []string
	for _, n := range e.Peers {
		if hears(n, e.Self) {
			near = append(near, n)
		}
	}
	with := func(list []string, name string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(n string) bool { return n == name || !hears(n, name) || !hears(name, n) })
	}
	var out [][]string
	var grow func(group, open, done []string)
	grow = func(group, open, done []string) {
		if len(open) == 0 && len(done) == 0 {
			slices.SortFunc(group, func(a, b string) int { return slices.Index(e.Peers, a) - slices.Index(e.Peers, b) })
			out = append(out, group)
			return
		}
		for len(open) > 0 {
			n := open[0]
			grow(append(slices.Clone(group), n), with(open, n), with(done, n))
			open, done = open[1:], append(slices.Clone(done), n)
		}
	}
	grow([]string{}, near, nil)
	return out
}

// worst is how much speaks against the best head of a group that can have the address:
// it would be there.
func worst(e Electorate, own Verdict, peers map[string]heard, group []string) int {
	least := noHead
	if e.mayHold(e.Self, Beat{}) {
		least = own.weight()
	}
	for _, n := range group {
		if e.mayHold(n, peers[n].Beat) {
			least = min(least, peers[n].Verdict.weight())
		}
	}
	return least
}

// noHead speaks more against a group than anything that is bad on a head.
const noHead = 2 * maintenanceWeight

// holders is 1 where somebody of the group has the address.
func holders(own bool, peers map[string]heard, group []string) int {
	if own || slices.ContainsFunc(group, func(n string) bool { return peers[n].Holds }) {
		return 1
	}
	return 0
}

// places are where the names of a group stand in the file, for an order between
// groups that needs no talk.
func places(e Electorate, group []string) []int {
	var out []int
	for _, n := range group {
		out = append(out, slices.Index(e.Peers, n))
	}
	return out
}

func contains(all, some []string) bool {
	return !slices.ContainsFunc(some, func(n string) bool { return !slices.Contains(all, n) })
}

// standsWith says whether a peer counts for an agent of that name. One that has just
// started has not said whom it stands with, and counts for all who hear it.
func (b Beat) standsWith(name string) bool { return b.With == nil || slices.Contains(b.With, name) }
