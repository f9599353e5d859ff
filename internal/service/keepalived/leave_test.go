package keepalived

import (
	"errors"
	"strings"
	"testing"

	"multihead/internal/service"
)

func TestTheAddressLeavesWithItsHolderAndIsAwaitedElsewhere(t *testing.T) {
	s := &State{vip: vip(), heads: four()}
	for i := range s.heads {
		s.heads[i].running = service.Yes
	}
	s.heads[1].holds = service.Yes
	ph, err := s.Leave(service.Intent{Leaving: []string{"server2"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := hosts(ph.Stages[0]); got != "server2 server2" || !strings.Contains(ph.Stages[0].Steps[0].Effect, "leaves server2") {
		t.Errorf("first %s: %+v", got, ph.Stages[0].Steps)
	}
	if got := hosts(ph.Stages[1]); got != "server1 server3 server4" {
		t.Errorf("awaited on %s", got)
	}
}

func TestTheLastKeepalivedStays(t *testing.T) {
	s := &State{vip: vip(), heads: four()}
	s.heads[1].running = service.Yes
	_, err := s.Leave(service.Intent{Leaving: []string{"server2"}})
	var refused *service.Refusal
	if !errors.As(err, &refused) || !strings.Contains(refused.Reason, "runs on none of the 3 heads that stay") {
		t.Errorf("%v", err)
	}
}
