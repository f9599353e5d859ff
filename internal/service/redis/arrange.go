package redis

import (
	"cmp"
	"slices"
)

// member is a server as the arrangement sees it.
type member struct {
	addr   string
	head   int    // index of its head in the file; -1 for one that the file does not name
	number int    // instance number on its head
	up     bool   // it runs, or will when the plan has started it
	of     string // address of the master it copies, empty for a master
	slots  int
}

// arrangement is who serves slots, and who copies whom.
type arrangement struct {
	masters []string          // addresses, those that serve already first
	copies  map[string]string // replica's address → its master's
	short   []string          // masters that get fewer copies than wanted
}

// arrange decides who serves and who copies, changing as little as it can.
//
// Whoever serves slots stays a master, wherever a failover has put it; only
// spread hands over between them. A head on which
// nobody serves gets a master of its own. Everyone else copies a master of
// another head; who does so already goes on.
func arrange(members []member, heads, replicas int) arrangement {
	a := arrangement{copies: map[string]string{}}
	at := map[string]member{}
	serving := map[int]bool{} // heads that have a master with slots
	masters := 0              // such masters on heads of the file
	live := map[int]bool{}
	for _, m := range members {
		at[m.addr] = m
		live[m.head] = live[m.head] || m.up || m.slots > 0
		if m.of == "" && m.slots > 0 {
			a.masters = append(a.masters, m.addr)
			if m.head >= 0 {
				serving[m.head] = true
				masters++
			}
		}
	}
	delete(live, -1)
	for h := range heads {
		if serving[h] || masters >= len(live) {
			continue
		}
		i := slices.IndexFunc(members, func(m member) bool { return m.head == h && m.number == 0 && m.up && m.of == "" })
		if i >= 0 {
			a.masters = append(a.masters, members[i].addr)
			masters++
		}
	}
	match := newMatching(a.masters, at, heads, replicas)
	a.copies = match.copies
	for _, m := range match.free(members) {
		if !match.place(m, map[string]bool{}) {
			match.spare(m)
		}
	}
	for _, m := range a.masters {
		if match.load[m] < replicas {
			a.short = append(a.short, m)
		}
	}
	return a
}

// matching hands out copies: each master wants some, none on its own head and
// no two on the same head.
type matching struct {
	masters  []string
	at       map[string]member
	heads    int
	replicas int
	copies   map[string]string
	load     map[string]int
}

// newMatching begins with what is in order already.
func newMatching(masters []string, at map[string]member, heads, replicas int) *matching {
	m := &matching{masters: masters, at: at, heads: heads, replicas: replicas, copies: map[string]string{}, load: map[string]int{}}
	addrs := make([]string, 0, len(at))
	for a := range at {
		addrs = append(addrs, a)
	}
	slices.Sort(addrs)
	for _, a := range addrs {
		r := at[a]
		if r.of != "" && slices.Contains(masters, r.of) && m.fits(r, r.of, "") && (m.load[r.of] < replicas || !r.up) {
			m.set(r.addr, r.of)
		}
	}
	return m
}

func (m *matching) set(replica, master string) {
	if old, ok := m.copies[replica]; ok {
		m.load[old]--
	}
	m.copies[replica] = master
	m.load[master]++
}

// fits says whether r may copy master, leaving aside the copy that would make
// room for it.
func (m *matching) fits(r member, master, instead string) bool {
	if m.at[master].head == r.head {
		return false
	}
	for other, of := range m.copies {
		if of == master && other != instead && other != r.addr && m.at[other].head == r.head {
			return false
		}
	}
	return true
}

// free lists the servers that are to copy somebody and do not yet, in an order
// that does not depend on chance.
func (m *matching) free(members []member) []member {
	var out []member
	for _, r := range members {
		_, placed := m.copies[r.addr]
		if r.head >= 0 && r.up && !placed && !slices.Contains(m.masters, r.addr) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b member) int {
		return cmp.Or(cmp.Compare(a.head, b.head), cmp.Compare(a.number, b.number))
	})
	return out
}

// choices lists the masters for r, its neighbour's first: instance n of a head
// copies the master n heads before it, so that copies form a chain and a lost
// head's load falls on different heads.
func (m *matching) choices(r member) []string {
	out := slices.Clone(m.masters)
	distance := func(a string) int {
		d := r.head - m.at[a].head - max(r.number, 1)
		return ((d % m.heads) + m.heads) % m.heads
	}
	slices.SortStableFunc(out, func(a, b string) int { return cmp.Compare(distance(a), distance(b)) })
	return out
}

// place finds a master for r, moving others where that makes room (an
// augmenting path of bipartite matching).
func (m *matching) place(r member, seen map[string]bool) bool {
	for _, master := range m.choices(r) {
		if seen[master] || !m.fits(r, master, "") || m.load[master] >= m.replicas {
			continue
		}
		m.set(r.addr, master)
		return true
	}
	for _, master := range m.choices(r) {
		if seen[master] {
			continue
		}
		seen[master] = true
		for _, other := range m.copiesOf(master) {
			o := m.at[other]
			if !o.up || !m.fits(r, master, other) || !m.place(o, seen) {
				continue
			}
			m.set(r.addr, master)
			return true
		}
	}
	return false
}

func (m *matching) copiesOf(master string) []string {
	var out []string
	for r, of := range m.copies {
		if of == master {
			out = append(out, r)
		}
	}
	slices.Sort(out)
	return out
}

// spare gives a server that nobody needs to the master with the fewest copies.
func (m *matching) spare(r member) {
	var best string
	for _, master := range m.choices(r) {
		if m.fits(r, master, "") && (best == "" || m.load[master] < m.load[best]) {
			best = master
		}
	}
	if best != "" {
		m.set(r.addr, best)
	}
}

// deal hands slots that nobody serves to the masters, so that all end with the
// same number as far as that goes, in ranges as long as possible.
func deal(free []int, masters []string, have map[string]int) map[string][]int {
	takers := slices.Clone(masters)
	total := 0
	for { // those that have more than the others will ever get take no part
		total = len(free)
		for _, m := range takers {
			total += have[m]
		}
		n := len(takers)
		takers = slices.DeleteFunc(takers, func(m string) bool { return have[m] > total/n+1 })
		if len(takers) == n || len(takers) == 0 {
			break
		}
	}
	out := map[string][]int{}
	rest := free
	for i, m := range takers {
		n := min(max(share(total, len(takers), i)-have[m], 0), len(rest))
		if i == len(takers)-1 {
			n = len(rest)
		}
		out[m], rest = rest[:n:n], rest[n:]
	}
	return out
}

// share is the fair part of total for the i-th of n.
func share(total, n, i int) int {
	part := total / n
	if i < total%n {
		part++
	}
	return part
}

// transfer is slots to be moved, by number.
type transfer struct {
	from, to string
	slots    int
}

// uneven is how far below its fair part a master may be before slots move: a
// move is work for the servers and retries for clients, and 2 % is not worth it.
const uneven = 50 // one part in so many

// level plans the moves that even the masters out, or none where they are even
// enough.
func level(masters []string, have map[string]int) []transfer {
	total := 0
	for _, m := range masters {
		total += have[m]
	}
	balanced := true
	for i, m := range masters {
		fair := share(total, len(masters), i)
		balanced = balanced && have[m] >= fair-fair/uneven
	}
	if balanced || len(masters) == 0 {
		return nil
	}
	// The larger shares go to those that have most, so that least moves.
	order := slices.Clone(masters)
	slices.SortStableFunc(order, func(a, b string) int { return cmp.Compare(have[b], have[a]) })
	var out []transfer
	over, under := map[string]int{}, map[string]int{}
	for i, m := range order {
		if d := have[m] - share(total, len(order), i); d > 0 {
			over[m] = d
		} else {
			under[m] = -d
		}
	}
	for _, to := range order {
		for _, from := range order {
			if n := min(over[from], under[to]); n > 0 {
				out = append(out, transfer{from, to, n})
				over[from] -= n
				under[to] -= n
			}
		}
	}
	return out
}
