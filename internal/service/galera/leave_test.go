package galera

import (
	"errors"
	"strings"
	"testing"

	"multihead/internal/service"
)

func TestANodeLeavesInOrderAndTheOthersGoOn(t *testing.T) {
	away := head("s3")
	away.reached = false
	for name, c := range map[string]struct {
		s    *State
		lost bool
		want string
	}{
		"one of three":            {stateOf(live("s1", uuidA), live("s2", uuidA), live("s3", uuidA)), false, "stop: leave/s3\nthe others go on: goes-on/s1 goes-on/s2\nnote: 2 nodes will be left"},
		"one of four":             {stateOf(live("s1", uuidA), live("s2", uuidA), live("s3", uuidA), live("s4", uuidA)), false, "stop: leave/s3\nthe others go on: goes-on/s1 goes-on/s2 goes-on/s4\n"},
		"one that is gone":        {stateOf(live("s1", uuidA), live("s2", uuidA), away, live("s4", uuidA)), true, "stop:\nthe others go on: goes-on/s1 goes-on/s2 goes-on/s4\n"},
		"one that had left":       {stateOf(live("s1", uuidA), live("s2", uuidA), stopped("s3", uuidA, 5, false), live("s4", uuidA)), false, "stop: leave/s3\nthe others go on: goes-on/s1 goes-on/s2 goes-on/s4\n"},
		"nobody who has database": {stateOf(live("s1", uuidA), live("s2", uuidA)), false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			intent := service.Intent{Leaving: []string{"s3"}}
			if c.lost {
				intent.Lost = intent.Leaving
			}
			p, err := c.s.Leave(intent)
			if err != nil {
				t.Fatal(err)
			}
			if got := outline(p); !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
				t.Errorf("got:\n%s\nwant:\n%s", got, c.want)
			}
		})
	}
}

func TestLeavingTheDatabaseIsRefusedWhereTheOthersLackIt(t *testing.T) {
	for name, c := range map[string]struct {
		s      *State
		reason string
	}{
		"the only one that serves":     {stateOf(live("s3", uuidA)), "of the 0 heads that stay none serves"},
		"the others are stopped":       {stateOf(stopped("s1", uuidA, 5, true), stopped("s2", uuidA, 4, false), live("s3", uuidA)), "of the 2 heads that stay none serves"},
		"one of the others is missing": {stateOf(live("s1", uuidA), stopped("s2", uuidA, 4, false), live("s3", uuidA)), "there would be 1 copies of the data where the file counts on 2"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.s.Leave(service.Intent{Leaving: []string{"s3"}})
			var refused *service.Refusal
			if !errors.As(err, &refused) || !strings.Contains(refused.Reason, c.reason) {
				t.Errorf("%v", err)
			}
		})
	}
}

// witness is a witness that runs garbd, or does not.
func witness(s *State, runs service.Answer) *State {
	s.witnesses = []voter{{name: "w1", reached: true, at: debian, runs: runs}}
	return s
}

func TestAVoteLeaves(t *testing.T) {
	gone := witness(stateOf(live("s1", uuidA), live("s2", uuidA)), service.Unsure)
	gone.witnesses[0].reached = false
	two := witness(stateOf(live("s1", uuidA), live("s2", uuidA)), service.Yes)
	two.witnesses = append(two.witnesses, voter{name: "w2", reached: true, at: debian, runs: service.No})
	for name, c := range map[string]struct {
		s    *State
		want string
	}{
		"of two heads":                {witness(stateOf(live("s1", uuidA), live("s2", uuidA)), service.Yes), "stop: arbiter.leave/w1\nthe others go on: goes-on/s1 goes-on/s2\nnote: 2 nodes will be left, an even number"},
		"another witness can vote":    {two, "stop: arbiter.leave/w1\nthe others go on: goes-on/s1 goes-on/s2\n"},
		"of three heads, a spare one": {witness(stateOf(live("s1", uuidA), live("s2", uuidA), live("s3", uuidA)), service.No), "stop: arbiter.leave/w1\n"},
		"one that is gone":            {gone, "stop:\nthe others go on: goes-on/s1 goes-on/s2\nnote: 2 nodes"},
		"before there is a database":  {witness(stateOf(blank("s1"), blank("s2")), service.Yes), "stop: arbiter.leave/w1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := c.s.Leave(service.Intent{Leaving: []string{"w1"}})
			got := outline(p)
			if err != nil || !strings.HasPrefix(got, c.want) || strings.Contains(got, "note:") != strings.Contains(c.want, "note:") {
				t.Errorf("%v\n%s\nwant:\n%s", err, got, c.want)
			}
		})
	}
}

func TestAVoteStaysWhileAHeadIsNoMember(t *testing.T) {
	for name, c := range map[string]struct {
		s      *State
		reason string
	}{
		"one of two":  {stateOf(live("s1", uuidA), stopped("s2", uuidA, 4, false)), "s2 is no member of the cluster (mariadbd does not run): 1 of 2 heads serve, and the vote of w1"},
		"none of two": {stateOf(stopped("s1", uuidA, 4, true), stopped("s2", uuidA, 4, false)), "of the 2 heads that stay none serves as part of a cluster with quorum"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := witness(c.s, service.Yes).Leave(service.Intent{Leaving: []string{"w1"}})
			var refused *service.Refusal
			if !errors.As(err, &refused) || !strings.Contains(refused.Reason, c.reason) {
				t.Errorf("%v", err)
			}
		})
	}
}
