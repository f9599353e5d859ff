package redis

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"multihead/internal/service"
)

func TestWhichMastersGiveTheirSlotsAwayWhenHeadsLeave(t *testing.T) {
	afterFailover := func() []member { // head 4 is dead, its master's copy on head 1 leads
		return with(formed(4)[:6], func(m *member) {
			if m.addr == "1.1" {
				m.of, m.slots = "", slotCount/4
			}
		})
	}
	for name, c := range map[string]struct {
		all     []member
		leaves  []int
		drained []string
		copies  map[string]string
	}{
		"the one of the head that leaves": {formed(4), []int{3}, []string{"4.0"},
			map[string]string{"1.1": "3.0", "2.1": "1.0", "3.1": "2.0"}},
		"two heads at once": {formed(4), []int{2, 3}, []string{"3.0", "4.0"},
			map[string]string{"1.1": "2.0", "2.1": "1.0"}},
		"one head is left, and nobody copies it": {formed(2), []int{1}, []string{"2.0"}, map[string]string{}},
		"the copy that took over for a dead head": {afterFailover(), []int{3}, []string{"1.1"},
			map[string]string{"1.1": "3.0", "2.1": "1.0", "3.1": "2.0"}},
		"a copy that took over stays where its head has no other master": {
			with(formed(4), func(m *member) { // head 1's master gave way to head 2's copy, head 4 leaves
				switch m.addr {
				case "1.0":
					m.of, m.slots = "2.1", 0
				case "2.1":
					m.of, m.slots = "", slotCount/4
				}
			}), []int{3}, []string{"4.0"}, map[string]string{"1.0": "2.1", "1.1": "3.0", "3.1": "2.0"}},
		"nothing where a head without a master leaves": {
			with(formed(3), func(m *member) {
				if m.head == 2 && m.number == 0 {
					m.slots = 0
				}
			}), []int{2}, nil, map[string]string{"2.1": "1.0", "1.1": "2.0"}},
	} {
		t.Run(name, func(t *testing.T) {
			drained, kept := surplus(c.all, func(h int) bool { return slices.Contains(c.leaves, h) })
			if !slices.Equal(drained, c.drained) {
				t.Errorf("drained %v, want %v", drained, c.drained)
			}
			for _, m := range kept {
				if slices.Contains(c.leaves, m.head) {
					t.Errorf("%s stays", m.addr)
				}
			}
			a := arrange(kept, 4, 1)
			if fmt.Sprint(a.copies) != fmt.Sprint(c.copies) {
				t.Errorf("copies %v, want %v", a.copies, c.copies)
			}
		})
	}
}

func TestSlotsOfLeavingMastersAreDealtEvenly(t *testing.T) {
	for name, c := range map[string]struct {
		from, to []string
		have     map[string]int
		want     map[string]int // of those that take
	}{
		"one of four":                               {[]string{"d"}, []string{"a", "b", "c"}, map[string]int{"a": 4096, "b": 4096, "c": 4096, "d": 4096}, map[string]int{"a": 5462, "b": 5461, "c": 5461}},
		"two of four":                               {[]string{"c", "d"}, []string{"a", "b"}, map[string]int{"a": 4096, "b": 4096, "c": 4096, "d": 4096}, map[string]int{"a": 8192, "b": 8192}},
		"the last but one":                          {[]string{"b"}, []string{"a"}, map[string]int{"a": 8192, "b": 8192}, map[string]int{"a": 16384}},
		"one has more than its part already":        {[]string{"c"}, []string{"a", "b"}, map[string]int{"a": 12000, "b": 2000, "c": 2384}, map[string]int{"a": 12000, "b": 4384}},
		"an empty master takes a part of its own":   {[]string{"c"}, []string{"a", "b"}, map[string]int{"a": 8192, "b": 0, "c": 8192}, map[string]int{"a": 8192, "b": 8192}},
		"an interrupted run left them uneven":       {[]string{"d"}, []string{"a", "b", "c"}, map[string]int{"a": 5462, "b": 5461, "c": 4096, "d": 1365}, map[string]int{"a": 5462, "b": 5461, "c": 5461}},
		"nothing is left of those that are leaving": {[]string{"b"}, []string{"a"}, map[string]int{"a": 16384}, map[string]int{"a": 16384}},
	} {
		t.Run(name, func(t *testing.T) {
			got := map[string]int{}
			for _, m := range slices.Concat(c.from, c.to) {
				got[m] = c.have[m]
			}
			for _, m := range outOf(c.from, c.to, c.have) {
				got[m.from] -= m.slots
				got[m.to] += m.slots
			}
			for _, f := range c.from {
				if got[f] != 0 {
					t.Errorf("%s keeps %d slots", f, got[f])
				}
			}
			for m, n := range c.want {
				if got[m] != n {
					t.Errorf("%s has %d slots, want %d", m, got[m], n)
				}
			}
		})
	}
}

// serving is a state whose heads form one cluster in order.
func serving(n int) *State {
	s := lab(n)
	var heads []int
	for i := range n {
		heads = append(heads, i+1)
	}
	s.cluster(heads, nil)
	return s
}

func leaving(names ...string) service.Intent {
	return service.Intent{Mode: service.Auto, Leaving: names}
}

func stepsOf(t *testing.T, s *State, intent service.Intent) []string {
	t.Helper()
	ph, err := s.Leave(intent)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, st := range ph.Stages {
		for _, step := range st.Steps {
			out = append(out, step.ID+" "+step.Host)
		}
	}
	return out
}

func TestAHeadLeavesRedisSlotsFirstAndIsForgottenLast(t *testing.T) {
	got := stepsOf(t, serving(4), leaving("server4"))
	at := func(step string) int { return slices.Index(got, step) }
	for _, order := range [][2]string{
		{"redis.drain server1", "redis.6380.copy server1"},
		{"redis.6380.copy server1", "redis.6379.leave server4"},
		{"redis.order server2", "redis.6379.leave server4"},
		{"redis.6379.leave server4", "redis.6379.aside server4"},
		{"redis.6380.forget.state server4", "redis.forget server1"},
	} {
		if at(order[0]) < 0 || at(order[0]) >= at(order[1]) {
			t.Errorf("%s does not come before %s:\n%s", order[0], order[1], strings.Join(got, "\n"))
		}
	}
}

func TestNothingIsDoneOnAHeadThatIsGone(t *testing.T) {
	s := lab(4)
	dead := s.heads[3].servers[0].at.addr()
	var slots slotRanges
	slots.addRange(3*slotCount/4, slotCount-1)
	s.cluster([]int{1, 2, 3, 4}, func(n *clusterNode) {
		switch n.Addr {
		case dead:
			n.Flags, n.Slots = []string{"master", "fail"}, nil
		case s.heads[0].servers[1].at.addr(): // its copy has taken over
			n.Flags, n.MasterID, n.Slots = []string{"master"}, "", slots
		}
	})
	s.off(4)
	intent := leaving("server4")
	intent.Lost = intent.Leaving
	got := stepsOf(t, s, intent)
	for _, step := range got {
		if strings.HasSuffix(step, "server4") {
			t.Errorf("%s is planned", step)
		}
	}
	for _, want := range []string{"redis.drain server1", "redis.forget server1", "redis.forget server3"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is missing:\n%s", want, strings.Join(got, "\n"))
		}
	}
}

func TestLeavingRedisIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		s      *State
		intent service.Intent
		reason string
	}{
		"where slots are only on a server that is silent": {func() *State {
			s := serving(3)
			s.heads[2] = head{name: "server3", addr: addrOf(3), err: "timed out"}
			return s
		}(), leaving("server3"), "slots are served by no server that answers"},
		"where a server that stays does not answer": {func() *State {
			s := serving(3)
			s.heads[0].servers[1].answer, s.heads[0].servers[1].why = unknown, "it hangs"
			return s
		}(), leaving("server3"), "it hangs"},
		"where the other heads have no Redis running": {func() *State {
			s := serving(2)
			for k := range 2 {
				s.heads[0].servers[k] = server{at: s.heads[0].servers[k].at, answer: absent, disk: disk{data: service.No}}
			}
			return s
		}(), leaving("server2"), "left behind"},
		"where it is a master with a copy, and no cluster": {func() *State {
			s := lab(2)
			s.alone(1, 5, true)
			return s
		}(), leaving("server2"), "no node of a Redis Cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.s.Leave(c.intent)
			var refused *service.Refusal
			if !errors.As(err, &refused) || !strings.Contains(refused.Reason, c.reason) || refused.Remedy == "" {
				t.Errorf("%v", err)
			}
		})
	}
}
