package redis

import (
	"slices"
	"strings"
	"testing"

	"multihead/internal/service"
)

// behind makes the copies of a master see that it is gone; offset is how far each
// of them got.
func (s *State) behind(master string, offset string) {
	for i := range s.heads {
		for k := range s.heads[i].servers {
			sv := &s.heads[i].servers[k]
			if sv.answer != running {
				continue
			}
			me := sv.me()
			for _, n := range sv.nodes {
				if n.ID == me.MasterID && n.Addr == master {
					host, port := splitAddr(master)
					sv.info["master_host"], sv.info["master_port"], sv.info["master_link_status"] = host, port, "down"
					sv.info["slave_repl_offset"], sv.info["master_link_down_since_seconds"] = offset, "5"
				}
			}
		}
	}
}

// recoverCase is a state, and the steps that bring it back or the refusal.
type recoverCase struct {
	name    string
	state   *State
	intent  service.Intent
	want    string
	refused string
}

func (c recoverCase) check(t *testing.T) {
	t.Helper()
	ph, err := c.state.Recover(c.intent)
	if c.refused != "" {
		if err == nil || !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%s: want a refusal with %q, got %v", c.name, c.refused, err)
		}
		return
	}
	if got := strings.Join(ids(ph), " "); err != nil || got != c.want {
		t.Errorf("%s: %q, want %q (%v)", c.name, got, c.want, err)
	}
}

func TestRecoverOfACluster(t *testing.T) {
	const proof = "fence_lab says off, twice"
	// gone switches heads off: their masters' copies see it.
	gone := func(s *State, proof string, heads ...int) {
		for _, n := range heads {
			s.off(n)
			s.heads[n-1].dead = proof
		}
		for _, n := range heads {
			s.behind(s.heads[n-1].servers[0].at.addr(), "100")
		}
	}
	three := func(change func(s *State)) *State {
		s := lab(3)
		s.cluster([]int{1, 2, 3}, nil)
		for i := range s.heads {
			sv := &s.heads[i].servers[1]
			for _, n := range sv.nodes {
				if n.ID == sv.me().MasterID {
					sv.info["master_host"], sv.info["master_port"] = splitAddr(n.Addr)
				}
			}
		}
		change(s)
		return s
	}
	crowd := func(s *State) { // server1 leads for server3 as well, whose own server copies it
		for i := range s.heads {
			for k := range s.heads[i].servers {
				nodes := s.heads[i].servers[k].nodes
				a := slices.IndexFunc(nodes, func(n clusterNode) bool { return n.ID == nodeID(1, 1) })
				b := slices.IndexFunc(nodes, func(n clusterNode) bool { return n.ID == nodeID(3, 0) })
				mine := func(n *clusterNode, role string) {
					flags := []string{role}
					if n.is("myself") {
						flags = append(flags, "myself")
					}
					n.Flags = flags
				}
				nodes[a].Slots, nodes[b].Slots = nodes[b].Slots, nil
				nodes[a].MasterID, nodes[b].MasterID = "", nodeID(1, 1)
				mine(&nodes[a], "master")
				mine(&nodes[b], "slave")
			}
		}
		s.heads[0].servers[1].info["role"], s.heads[2].servers[0].info["role"] = "master", "slave"
	}
	for _, tt := range []recoverCase{
		{"everything is in order", three(func(*State) {}), service.Intent{}, "", ""},
		{"one head is off, proven, and no vote has replaced its master", three(func(s *State) { gone(s, proof, 1) }), service.Intent{}, "server2:6380.takeover", ""},
		{"one head is silent: the masters vote", three(func(s *State) { gone(s, "", 1) }), service.Intent{Without: true}, "", ""},
		{"two are off, proven", three(func(s *State) { gone(s, proof, 1, 3) }), service.Intent{}, "server2:6380.takeover", ""},
		{"two are silent, nothing is proven", three(func(s *State) { gone(s, "", 1, 3) }), service.Intent{}, "", ""},
		{"the same, waited for long enough", three(func(s *State) { gone(s, "", 1, 3) }), service.Intent{Without: true}, "", "nothing proves that server1, server3 does not serve"},
		{"two are silent, one of them is proven to be off", three(func(s *State) { gone(s, "", 1, 3); s.heads[0].dead = proof }), service.Intent{Without: true}, "", "nothing proves that server3"},
		{"two are silent, a person typed the cluster's name", three(func(s *State) { gone(s, "", 1, 3) }), service.Intent{Confirmed: true}, "server2:6380.takeover", ""},
		{"the copy has not noticed by its connection, but by the silence", three(func(s *State) {
			s.off(1)
			s.off(3)
			s.heads[0].dead, s.heads[2].dead = proof, proof
			s.heads[1].servers[1].info["slave_repl_offset"] = "100"
			nodes := s.heads[1].servers[1].nodes
			i := slices.IndexFunc(nodes, func(n clusterNode) bool { return n.ID == nodeID(1, 0) })
			nodes[i].Flags = []string{"master", "fail?"}
		}), service.Intent{}, "server2:6380.takeover", ""},
		{"the copy was receiving all of it", three(func(s *State) {
			gone(s, proof, 1, 3)
			s.heads[1].servers[1].info["master_sync_in_progress"] = "1"
		}), service.Intent{}, "", ""},
		{"the copy was cut off long before", three(func(s *State) {
			gone(s, proof, 1, 3)
			s.heads[1].servers[1].info["master_link_down_since_seconds"] = "3600"
		}), service.Intent{}, "", ""},
		{"the copy was cut off long before, and a person said so", three(func(s *State) {
			gone(s, proof, 1, 3)
			s.heads[1].servers[1].info["master_link_down_since_seconds"] = "3600"
		}), service.Intent{Confirmed: true}, "server2:6380.takeover", ""},
		{"the copy never had everything", three(func(s *State) {
			gone(s, proof, 1, 3)
			in := s.heads[1].servers[1].info
			in["slave_repl_offset"], in["master_link_down_since_seconds"] = "1", "-1"
		}), service.Intent{}, "", ""},
		{"the copy never had everything, and a person said so", three(func(s *State) {
			gone(s, proof, 1, 3)
			in := s.heads[1].servers[1].info
			in["slave_repl_offset"], in["master_link_down_since_seconds"] = "1", "-1"
		}), service.Intent{Confirmed: true}, "server2:6380.takeover", ""},
		{"the copy has its master still", three(func(s *State) { s.off(1); s.off(3); s.heads[0].dead, s.heads[2].dead = proof, proof }), service.Intent{}, "", ""},
		{"the master's server is down on a head that is here", three(func(s *State) {
			s.behind(s.heads[0].servers[0].at.addr(), "100")
			s.heads[0].servers[0] = server{at: s.heads[0].servers[0].at, answer: absent, managed: true}
		}), service.Intent{}, "", ""},
		{"a server failed", three(func(s *State) {
			s.heads[0].servers[0] = server{at: s.heads[0].servers[0].at, answer: absent, managed: true, startable: true}
		}), service.Intent{}, "server1:6379.start", ""},
		{"masters are crowded on one head", three(crowd), service.Intent{}, "server3:6379.current server3:6379.lead", ""},
		{"crowded, and the plan is for one head", three(crowd), service.Intent{Nodes: []string{"server3"}}, "", ""},
		{"crowded, and a head does not answer", three(func(s *State) { crowd(s); s.off(2) }), service.Intent{}, "", ""},
		{"crowded, and a copy has not caught up", three(func(s *State) { crowd(s); s.heads[1].servers[1].info["master_link_status"] = "down" }), service.Intent{}, "", ""},
		{"crowded, and a slot is on its way", three(func(s *State) {
			crowd(s)
			nodes := s.heads[1].servers[0].nodes
			i := slices.IndexFunc(nodes, func(n clusterNode) bool { return n.is("myself") })
			nodes[i].Open = []openSlot{{Slot: 5}}
		}), service.Intent{}, "", ""},
	} {
		tt.check(t)
	}
}

// Of several copies the one that has most takes over, wherever it stands.
func TestTheCopyThatHasMostTakesOver(t *testing.T) {
	s := lab(3)
	s.cluster([]int{1, 2, 3}, nil)
	s.off(1)
	s.heads[0].dead = "off"
	master := s.heads[0].servers[0].at.addr()
	s.behind(master, "100")
	sv := &s.heads[2].servers[1] // a second copy of it
	sv.info["master_host"], sv.info["master_port"] = splitAddr(master)
	sv.info["master_link_status"], sv.info["slave_repl_offset"], sv.info["master_link_down_since_seconds"] = "down", "101", "5"
	over, err := s.takeovers(service.Intent{})
	if err != nil || len(over) != 1 || over[0].at.Host != "server3" {
		t.Errorf("%v, %v", over, err)
	}
}

func TestRecoverOfAPairUnderSentinels(t *testing.T) {
	lost := func(proof string) *State {
		s := lab(2)
		s.pair(5)
		s.off(1)
		s.heads[0].dead = proof
		in := s.heads[1].servers[0].info
		in["master_link_status"], in["slave_repl_offset"], in["master_link_down_since_seconds"] = "down", "100", "5"
		return s
	}
	never := func() *State { // its copy started while the master was gone already
		s := lost("off, twice")
		in := s.heads[1].servers[0].info
		in["slave_repl_offset"], in["master_link_down_since_seconds"] = "1", "-1"
		return s
	}
	for _, tt := range []recoverCase{
		{"both are here", func() *State { s := lab(2); s.pair(5); return s }(), service.Intent{}, "", ""},
		{"the master's head is off, proven", lost("off, twice"), service.Intent{}, "server2:failover", ""},
		{"the same, and the only copy never had everything", never(), service.Intent{}, "", "server2:6379"},
		{"the same, and a person typed the name", never(), service.Intent{Confirmed: true}, "server2:failover", ""},
		{"it is silent", lost(""), service.Intent{}, "", ""},
		{"it is silent and was waited for", lost(""), service.Intent{Without: true}, "", "1 of 2 sentinels"},
		{"it is silent, a person typed the name", lost(""), service.Intent{Confirmed: true}, "server2:failover", ""},
		{"a witness votes: the sentinels decide", func() *State {
			s := lost("off, twice")
			s.witnesses = []voter{{name: "witness1", answer: running}}
			return s
		}(), service.Intent{}, "", ""},
		{"the master's head is here", func() *State {
			s := lab(2)
			s.pair(5)
			s.off(2)
			s.heads[1].dead = "off, twice"
			return s
		}(), service.Intent{}, "", ""},
	} {
		tt.check(t)
	}
}

func TestAServerThatASignalStoppedIsReportedToBeKilled(t *testing.T) {
	s := lab(3)
	s.cluster([]int{1, 2, 3}, nil)
	sv := &s.heads[1].servers[1]
	sv.answer, sv.why, sv.hung = unknown, "it is stopped by a signal (SIGSTOP)", true
	if n := s.Health().Nodes["server2"]; !slices.Equal(n.Hung, []string{"redis-server@6380.service"}) || n.State != service.Degraded {
		t.Errorf("%+v", n)
	}
}

func TestWhatNoPersonStopped(t *testing.T) {
	for out, want := range map[string]bool{
		"ActiveState=failed\nActiveEnterTimestampMonotonic=77\n":          true,
		"ActiveState=inactive\nActiveEnterTimestampMonotonic=0\n":         true,
		"ActiveState=inactive\nActiveEnterTimestampMonotonic=77\n":        false,
		"Job=81\nActiveState=inactive\nActiveEnterTimestampMonotonic=0\n": false,
		"ActiveState=activating\nActiveEnterTimestampMonotonic=0\n":       false,
	} {
		if got := startable(out); got != want {
			t.Errorf("%q: %v", out, got)
		}
	}
}

func TestBehind(t *testing.T) {
	for _, tt := range []struct {
		name                      string
		link, sync, offset, since string
		want                      bool
	}{
		{"in order", "up", "0", "4711", "", false},
		{"in order, of a master that never had a key or sent a ping", "up", "0", "0", "", false},
		{"it is receiving everything", "down", "1", "1", "-1", true},
		{"its master died a moment ago", "down", "0", "4711", "0", false},
		{"the master of an empty cluster died: pings have been sent", "down", "0", "14", "12", false},
		{"its master died long ago", "down", "0", "4711", "121", true},
		{"it never had a connection since it started", "down", "0", "1", "-1", true},
		{"the same, and its snapshot says how far it was", "down", "0", "4711", "-1", true},
		{"it began to receive everything anew, and its master died", "down", "0", "1", "8", true},
		{"it does not say since when", "down", "0", "4711", "", true},
	} {
		in := info{"role": "slave", "master_link_status": tt.link, "master_sync_in_progress": tt.sync, "slave_repl_offset": tt.offset}
		if tt.since != "" {
			in["master_link_down_since_seconds"] = tt.since
		}
		if got := (server{info: in}).behind(); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
