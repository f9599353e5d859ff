package redis

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"multihead/internal/config"
	"multihead/internal/host/hosttest"
)

// fleet is some nodes of a cluster in the middle of a move, by the last digit of their
// address.
type fleet struct {
	m     *hosttest.Machine
	nodes map[int]*sailor
}

// sailor is one of them.
type sailor struct {
	n     int
	flags string
	of    int // whom it copies
	slots []int
	open  map[int]string   // slot → "->-2", "-<-1"
	keys  map[int][]string // slot → keys
	away  bool             // it does not answer
	said  []string         // what changed it
	f     *fleet
}

func sailorID(n int) string   { return fmt.Sprintf("%040x", n) }
func sailorAddr(n int) string { return fmt.Sprintf("192.0.2.%d:6379", n) }

func newFleet(all ...*sailor) *fleet {
	f := &fleet{m: hosttest.New("server1"), nodes: map[int]*sailor{}}
	for _, s := range all {
		s.f = f
		f.nodes[s.n] = s
		if !s.away {
			talk(f.m, sailorAddr(s.n), s.answer)
		}
	}
	return f
}

// line is a node as another sees it.
func (s *sailor) line(o *sailor) string {
	flags, of := o.flags, "-"
	if o.of != 0 {
		of = sailorID(o.of)
	}
	if o == s {
		flags = "myself," + flags
	}
	out := fmt.Sprintf("%s %s@16379 %s %s 0 0 1 connected", sailorID(o.n), sailorAddr(o.n), flags, of)
	for _, slot := range o.slots {
		out += " " + strconv.Itoa(slot)
	}
	if o == s {
		for _, slot := range slices.Sorted(maps.Keys(o.open)) {
			peer, _ := strconv.Atoi(o.open[slot][3:])
			out += fmt.Sprintf(" [%d%s%s]", slot, o.open[slot][:3], sailorID(peer))
		}
	}
	return out
}

func (s *sailor) answer(cmd []string) string {
	switch {
	case cmd[0] == "MIGRATE":
		s.said = append(s.said, "MIGRATE "+cmd[1])
		host := s.f.nodes[addrNumber(cmd[1])]
		for _, key := range cmd[slices.Index(cmd, "KEYS")+1:] {
			for slot, keys := range s.keys {
				if slices.Contains(keys, key) {
					s.keys[slot] = slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return k == key })
					if !slices.Contains(host.keys[slot], key) {
						host.keys[slot] = append(host.keys[slot], key)
					}
				}
			}
		}
	case cmd[0] != "CLUSTER":
	case cmd[1] == "NODES":
		var lines []string
		for _, n := range slices.Sorted(maps.Keys(s.f.nodes)) {
			lines = append(lines, s.line(s.f.nodes[n]))
		}
		return bulk(strings.Join(lines, "\n") + "\n")
	case cmd[1] == "COUNTKEYSINSLOT":
		slot, _ := strconv.Atoi(cmd[2])
		return fmt.Sprintf(":%d\r\n", len(s.keys[slot]))
	case cmd[1] == "GETKEYSINSLOT":
		slot, _ := strconv.Atoi(cmd[2])
		return list(s.keys[slot]...)
	case cmd[1] == "SETSLOT":
		slot, _ := strconv.Atoi(cmd[2])
		said := strings.Join(cmd[2:4], " ")
		if len(cmd) > 4 {
			n, _ := strconv.ParseInt(cmd[4], 16, 64)
			said += fmt.Sprintf(" %d", n)
			switch cmd[3] {
			case "IMPORTING":
				s.open[slot] = fmt.Sprintf("-<-%d", n)
			case "MIGRATING":
				s.open[slot] = fmt.Sprintf("->-%d", n)
			case "NODE":
				delete(s.open, slot)
				s.slots = slices.DeleteFunc(s.slots, func(o int) bool { return o == slot })
				if int(n) == s.n {
					s.slots = append(s.slots, slot)
				}
			}
		} else {
			delete(s.open, slot)
		}
		s.said = append(s.said, said)
	}
	return "+OK\r\n"
}

func addrNumber(host string) int {
	n, _ := strconv.Atoi(host[strings.LastIndexByte(host, '.')+1:])
	return n
}

func TestAMoveWhoseTakerFailedIsFinishedWhereTheKeysAre(t *testing.T) {
	master := func(n int, slots ...int) *sailor {
		return &sailor{n: n, flags: "master", slots: slots, open: map[int]string{}, keys: map[int][]string{}}
	}
	// giver gives slots to node 2.
	giver := func(slots ...int) *sailor {
		s := master(1, append([]int{100}, slots...)...)
		for _, slot := range slots {
			s.open[slot] = "->-2"
		}
		return s
	}
	with := func(s *sailor, change func(*sailor)) *sailor { change(s); return s }
	dead := func() *sailor { return with(master(2), func(s *sailor) { s.flags, s.away = "master,fail", true }) }
	copies := func(of int) *sailor {
		return with(master(2), func(s *sailor) { s.flags, s.of = "slave", of })
	}
	keys := func(s *sailor, slot int, names ...string) *sailor { s.keys[slot] = names; return s }
	for _, tt := range []struct {
		name   string
		nodes  []*sailor
		plan   []int // the masters that the plan names; 1 and 3 where it is empty
		owner  map[int]int
		keys   map[int]int // slot → how many keys its owner has in the end
		lost   []string
		says   string
		forbid string
	}{
		{name: "the taker answers", nodes: []*sailor{keys(giver(5), 5, "a"), keys(with(master(2, 300), func(s *sailor) { s.open[5] = "-<-1" }), 5, "b")},
			plan: []int{1, 2}, owner: map[int]int{5: 2}, keys: map[int]int{5: 2}},
		{name: "the taker is dead, its copy leads and has keys that moved", nodes: []*sailor{keys(giver(5), 5, "a"), dead(), keys(master(3, 200), 5, "b")},
			owner: map[int]int{5: 3}, keys: map[int]int{5: 2}, forbid: "STABLE"},
		{name: "the taker copies its successor", nodes: []*sailor{keys(giver(5), 5, "a"), copies(3), keys(master(3, 200), 5, "b")},
			owner: map[int]int{5: 3}, keys: map[int]int{5: 2}, forbid: "STABLE"},
		{name: "a key is on both", nodes: []*sailor{keys(giver(5), 5, "a", "b"), copies(3), keys(master(3, 200), 5, "b")},
			owner: map[int]int{5: 3}, keys: map[int]int{5: 2}},
		{name: "of two slots one has no keys: both go where the keys are", nodes: []*sailor{giver(5, 6), dead(), keys(master(3, 200), 6, "b")},
			owner: map[int]int{5: 3, 6: 3}, keys: map[int]int{6: 1}},
		{name: "nobody else has a key, and the taker copies a master that answers", nodes: []*sailor{keys(giver(5), 5, "a"), copies(3), master(3, 200)},
			owner: map[int]int{5: 1}, keys: map[int]int{5: 1}},
		{name: "nobody else has a key, and the taker is no member any more", nodes: []*sailor{keys(giver(5), 5, "a"), master(3, 200)},
			owner: map[int]int{5: 1}, keys: map[int]int{5: 1}},
		{name: "nobody who answers has a key, and the taker does not answer", nodes: []*sailor{keys(giver(5), 5, "a"), dead(), master(3, 200)},
			owner: map[int]int{5: 1}, says: "may have keys of it", forbid: "STABLE"},
		{name: "the same, and its head is given up", nodes: []*sailor{keys(giver(5), 5, "a"), dead(), master(3, 200)}, lost: []string{sailorAddr(2)},
			owner: map[int]int{5: 1}, keys: map[int]int{5: 1}},
		{name: "the taker is a master that the plan does not name", nodes: []*sailor{keys(giver(5), 5, "a"), keys(master(2, 300), 5, "b"), master(3, 200)},
			owner: map[int]int{5: 2}, keys: map[int]int{5: 2}, forbid: "STABLE"},
		{name: "the successor is a master that the plan does not name", nodes: []*sailor{keys(giver(5), 5, "a"), dead(), keys(master(3, 200), 5, "b"), master(4, 400)},
			plan: []int{1, 4}, owner: map[int]int{5: 3}, keys: map[int]int{5: 2}, forbid: "STABLE"},
		{name: "a master cannot be asked", nodes: []*sailor{keys(giver(5), 5, "a"), copies(3), master(3, 200), with(master(4, 400), func(s *sailor) { s.away = true })},
			owner: map[int]int{5: 1}, says: "has to be asked", forbid: "STABLE"},
		{name: "two others have keys", nodes: []*sailor{giver(5), copies(3), keys(master(3, 200), 5, "a"), keys(master(4, 400), 5, "b")},
			owner: map[int]int{5: 1}, says: "not clear where they go", forbid: "STABLE"},
		{name: "the keys of one taker are in two places", nodes: []*sailor{giver(5, 6), copies(3), keys(master(3, 200), 5, "a"), keys(master(4, 400), 6, "b")},
			owner: map[int]int{5: 1, 6: 1}, says: "not clear where they go", forbid: "STABLE"},
		{name: "finishing was cut off before the giver was told", nodes: []*sailor{giver(5), dead(), with(master(3, 200), func(s *sailor) { s.open[5] = "-<-1" })},
			owner: map[int]int{5: 3}, forbid: "STABLE"},
		{name: "the giver's copy leads", nodes: []*sailor{keys(master(1, 100, 5), 5, "a"), keys(with(master(3, 200), func(s *sailor) { s.open[5] = "-<-9" }), 5, "b")},
			owner: map[int]int{5: 3}, keys: map[int]int{5: 2}},
		{name: "the owner expects what it has", nodes: []*sailor{keys(with(master(1, 100, 5), func(s *sailor) { s.open[5] = "-<-3" }), 5, "a"), master(3, 200)},
			owner: map[int]int{5: 1}, keys: map[int]int{5: 1}},
		{name: "the owner expects what it has, and the giver has keys of it", nodes: []*sailor{with(master(1, 100, 5), func(s *sailor) { s.open[5] = "-<-3" }), keys(master(3, 200), 5, "a")},
			owner: map[int]int{5: 1}, says: "not clear where they go", forbid: "STABLE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFleet(tt.nodes...)
			if tt.plan == nil {
				tt.plan = []int{1, 3}
			}
			var masters []instance
			for _, n := range tt.plan {
				masters = append(masters, instance{Host: fmt.Sprintf("server%d", n), Addr: addrOf(n - 10), Port: 6379})
			}
			m, err := openMover(t.Context(), f.m, masters, config.NewSecret(""))
			if err != nil {
				t.Fatal(err)
			}
			defer m.close()
			m.lost = tt.lost
			err = m.finish(t.Context(), f.m)
			if (err != nil) != (tt.says != "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %q", err, tt.says)
			}
			for slot, n := range tt.owner {
				if !slices.Contains(f.nodes[n].slots, slot) {
					t.Errorf("slot %d is not node %d's: %+v", slot, n, f.nodes[n])
				}
			}
			for slot, n := range tt.keys {
				if got := len(f.nodes[tt.owner[slot]].keys[slot]); got != n {
					t.Errorf("the owner of slot %d has %d of %d keys", slot, got, n)
				}
			}
			for _, s := range f.nodes {
				if tt.says == "" && len(s.open) > 0 {
					t.Errorf("node %d has slots open: %v", s.n, s.open)
				}
				if tt.forbid != "" && strings.Contains(strings.Join(s.said, "\n"), tt.forbid) {
					t.Errorf("node %d was told %q", s.n, s.said)
				}
			}
		})
	}
}
