package redis

import (
	"errors"
	"strings"
	"testing"

	"multihead/internal/plan"
	"multihead/internal/service"
)

// voting is two heads whose sentinels agree, and one on a witness.
func voting(change func(*State)) *State {
	s := lab(2)
	for i := range s.heads {
		s.heads[i].voter.answer, s.heads[i].voter.master = running, "192.0.2.11:6379"
		s.heads[i].voter.replicas = []string{"192.0.2.12:6379"}
	}
	s.witnesses = []voter{{name: "witness1", reached: true, answer: running, master: "192.0.2.11:6379"}}
	if change != nil {
		change(s)
	}
	return s
}

func steps(ph plan.Phase) string {
	var out []string
	for _, st := range ph.Stages {
		for _, s := range st.Steps {
			out = append(out, strings.TrimPrefix(s.ID, "redis.sentinel.")+"/"+s.Host)
		}
	}
	return strings.Join(out, " ")
}

func TestASentinelLeavesAndIsForgotten(t *testing.T) {
	const forgotten = "forget/server1 goes-on/server1 forget/server2 goes-on/server2"
	for name, c := range map[string]struct {
		change func(*State)
		want   string
		refuse string
	}{
		"a witness that votes":          {nil, "leave/witness1 forget-state/witness1 " + forgotten, ""},
		"one that is gone":              {func(s *State) { s.witnesses[0] = voter{name: "witness1", why: "timed out"} }, forgotten, ""},
		"where Redis needs no sentinel": {func(s *State) { s.wanted.mode = modeCluster; s.witnesses[0].answer = absent }, "leave/witness1 forget-state/witness1", ""},
		"before there is any": {func(s *State) {
			s.heads[0].voter.answer, s.heads[1].voter.answer, s.witnesses[0].answer = absent, absent, absent
		}, "leave/witness1 forget-state/witness1", ""},
		"another vote is missing":      {func(s *State) { s.heads[1].voter = voter{name: "server2", answer: absent} }, "", "1 of the 2 sentinels that stay answer, and server2 not"},
		"they hold two for the master": {func(s *State) { s.heads[1].voter.master = "192.0.2.12:6379" }, "", "do not agree"},
	} {
		t.Run(name, func(t *testing.T) {
			ph, err := voting(c.change).Leave(service.Intent{Leaving: []string{"witness1"}})
			var refused *service.Refusal
			switch {
			case c.refuse != "" && (!errors.As(err, &refused) || !strings.Contains(refused.Reason, c.refuse)):
				t.Errorf("%v, want %q", err, c.refuse)
			case c.refuse == "" && (err != nil || steps(ph) != c.want):
				t.Errorf("%v\n%s\nwant:\n%s", err, steps(ph), c.want)
			}
		})
	}
}

func TestAComputeNodeIsNothingToRedis(t *testing.T) {
	ph, err := voting(nil).Leave(service.Intent{LeavingComputes: []string{"node001"}})
	if err != nil || len(ph.Stages) != 0 {
		t.Errorf("%v, %+v", err, ph)
	}
}
