package redis

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
)

// grid is members of n heads with k servers each, named by head and number:
// "1.0" is the first server of head 1.
func grid(n, k int) []member {
	var out []member
	for h := range n {
		for i := range k {
			out = append(out, member{addr: fmt.Sprintf("%d.%d", h+1, i), head: h, number: i, up: true})
		}
	}
	return out
}

func with(ms []member, change func(*member)) []member {
	for i := range ms {
		change(&ms[i])
	}
	return ms
}

// formed is a grid whose chain is in place.
func formed(n int) []member {
	return with(grid(n, 2), func(m *member) {
		if m.number == 0 {
			m.slots = slotCount / n
		} else {
			m.of = fmt.Sprintf("%d.0", (m.head+n-1)%n+1)
		}
	})
}

func TestArrange(t *testing.T) {
	for _, c := range []struct {
		name     string
		members  []member
		heads    int
		replicas int
		masters  []string
		copies   map[string]string
	}{
		{"fresh heads form a chain", grid(4, 2), 4, 1,
			[]string{"1.0", "2.0", "3.0", "4.0"},
			map[string]string{"2.1": "1.0", "3.1": "2.0", "4.1": "3.0", "1.1": "4.0"}},
		{"two replicas lie on two other heads", grid(3, 3), 3, 2,
			[]string{"1.0", "2.0", "3.0"},
			map[string]string{"2.1": "1.0", "3.2": "1.0", "3.1": "2.0", "1.2": "2.0", "1.1": "3.0", "2.2": "3.0"}},
		{"what is in order stays", formed(4), 4, 1,
			[]string{"1.0", "2.0", "3.0", "4.0"},
			map[string]string{"2.1": "1.0", "3.1": "2.0", "4.1": "3.0", "1.1": "4.0"}},
		{"a fourth head gets a master and moves one copy", append(formed(3), grid(4, 2)[6:]...), 4, 1,
			[]string{"1.0", "2.0", "3.0", "4.0"},
			map[string]string{"2.1": "1.0", "3.1": "2.0", "4.1": "3.0", "1.1": "4.0"}},
		{"a failover is not undone", with(formed(4), func(m *member) {
			switch m.addr {
			case "1.0": // came back, and copies the one that took over
				m.slots, m.of = 0, "2.1"
			case "2.1":
				m.slots, m.of = 4096, ""
			}
		}), 4, 1,
			[]string{"2.0", "2.1", "3.0", "4.0"},
			map[string]string{"1.0": "2.1", "3.1": "2.0", "4.1": "3.0", "1.1": "4.0"}},
		{"a lost head's copies are not moved away from it", with(formed(4), func(m *member) {
			if m.head == 0 {
				m.up = false
			}
			if m.addr == "1.0" {
				m.slots, m.of = 0, "2.1"
			}
			if m.addr == "2.1" {
				m.slots, m.of = 4096, ""
			}
		}), 4, 1,
			[]string{"2.0", "2.1", "3.0", "4.0"},
			map[string]string{"1.0": "2.1", "3.1": "2.0", "4.1": "3.0", "1.1": "4.0"}},
		{"a copy on its master's own head is moved", with(formed(3), func(m *member) {
			switch m.addr {
			case "1.1":
				m.of = "1.0"
			case "2.1":
				m.of = "3.0"
			}
		}), 3, 1,
			[]string{"1.0", "2.0", "3.0"},
			map[string]string{"3.1": "2.0", "2.1": "1.0", "1.1": "3.0"}},
		{"a head that was not reached gets nothing", with(grid(3, 2), func(m *member) { m.up = m.head != 2 }), 3, 1,
			[]string{"1.0", "2.0"},
			map[string]string{"2.1": "1.0", "1.1": "2.0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := arrange(c.members, c.heads, c.replicas)
			slices.Sort(got.masters)
			if !reflect.DeepEqual(got.masters, c.masters) || !maps.Equal(got.copies, c.copies) {
				t.Errorf("masters %v\ncopies  %v\nwant    %v", got.masters, got.copies, c.copies)
			}
			if again := arrange(apply(c.members, got), c.heads, c.replicas); !maps.Equal(again.copies, got.copies) {
				t.Errorf("once arranged, it wants %v", again.copies)
			}
		})
	}
}

// apply gives members the roles of an arrangement.
func apply(ms []member, a arrangement) []member {
	ms = slices.Clone(ms)
	return with(ms, func(m *member) {
		if slices.Contains(a.masters, m.addr) {
			m.of = ""
			m.slots = max(m.slots, 1)
			return
		}
		if of, ok := a.copies[m.addr]; ok {
			m.of = of
		}
	})
}

func TestDealIsEvenAndCoversAll(t *testing.T) {
	all := slotSet{}.missing()
	for n := 1; n <= 10; n++ {
		var masters []string
		for i := range n {
			masters = append(masters, fmt.Sprint(i))
		}
		var got slotSet
		for m, slots := range deal(all, masters, nil) {
			if d := len(slots) - slotCount/n; d < 0 || d > 1 {
				t.Errorf("%d masters: %s gets %d", n, m, len(slots))
			}
			if n > 1 && len(rangesOf(slots)) != 1 {
				t.Errorf("%d masters: %s gets %d ranges", n, m, len(rangesOf(slots)))
			}
			for _, s := range slots {
				got.add(s)
			}
		}
		if got.count() != slotCount {
			t.Errorf("%d masters: %d slots", n, got.count())
		}
	}
}

func TestDealAfterAnInterruptedForming(t *testing.T) {
	got := deal([]int{1, 2, 3, 4}, []string{"a", "b", "c"}, map[string]int{"a": 9})
	if n := len(got["a"]) + len(got["b"]) + len(got["c"]); n != 4 || len(got["b"]) == 0 || len(got["c"]) == 0 {
		t.Errorf("%v", got)
	}
}

func TestLevel(t *testing.T) {
	three := []string{"a", "b", "c"}
	for _, c := range []struct {
		name    string
		masters []string
		have    map[string]int
		moved   int
	}{
		{"even stays", three, map[string]int{"a": 5462, "b": 5461, "c": 5461}, 0},
		{"a little uneven stays", three, map[string]int{"a": 5500, "b": 5500, "c": 5384}, 0},
		{"a new master gets its part", append(three, "d"), map[string]int{"a": 5462, "b": 5461, "c": 5461}, 4096},
		{"one holds everything", three, map[string]int{"b": 16384}, 10922},
		{"an interrupted move is finished", append(three, "d"), map[string]int{"a": 4096, "b": 4096, "c": 5000, "d": 3192}, 904},
	} {
		t.Run(c.name, func(t *testing.T) {
			have, moved := maps.Clone(c.have), 0
			for _, tr := range level(c.masters, c.have) {
				have[tr.from] -= tr.slots
				have[tr.to] += tr.slots
				moved += tr.slots
			}
			if moved != c.moved {
				t.Errorf("moves %d slots, want %d", moved, c.moved)
			}
			if moved > 0 && len(level(c.masters, have)) != 0 {
				t.Errorf("not even afterwards: %v", have)
			}
			for m, n := range have {
				if fair := slotCount / len(c.masters); moved > 0 && (n < fair || n > fair+1) {
					t.Errorf("%s ends with %d", m, n)
				}
			}
		})
	}
}
