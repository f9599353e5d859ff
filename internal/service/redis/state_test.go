package redis

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"multihead/internal/config"
	"multihead/internal/plan"
	"multihead/internal/service"
)

func addrOf(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + n)}) }

func nodeID(n, k int) string { return fmt.Sprintf("%040x", n*16+k+1) }

// lab is a state of n heads on which nothing was ever set up.
func lab(n int) *State {
	mode := map[int]Mode{1: modeStandalone, 2: modeSentinel}[n]
	if mode == "" {
		mode = modeCluster
	}
	s := &State{wanted: wanted{mode: mode, kind: config.RedisAuto, port: 6379, replicas: 1, memoryMB: map[string]int{},
		conf: config.RedisServer{Port: 6379, Password: config.NewSecret("pw"), AppendOnly: true, AppendFsync: "everysec",
			MaxMemory: "1gb", MaxMemoryPolicy: "noeviction", ClusterNodeTimeout: config.Millis(2 * time.Second)}}}
	for i := 1; i <= n; i++ {
		h := head{name: fmt.Sprintf("server%d", i), addr: addrOf(i), reached: true}
		h.voter = voter{name: h.name, addr: h.addr, reached: true, answer: absent}
		for k := range 2 {
			h.servers = append(h.servers, server{answer: absent, disk: disk{data: service.No},
				at: instance{Host: h.name, Addr: h.addr, Number: k, Port: 6379 + k}})
		}
		s.heads = append(s.heads, h)
	}
	return s
}

// alone makes a server run by itself with keys; ours says whether multihead
// set it up.
func (s *State) alone(n, keys int, ours bool) *server {
	sv := &s.heads[n-1].servers[0]
	*sv = server{at: sv.at, answer: running, managed: ours, ours: ours, dir: "/var/lib/redis", version: "8.0.2",
		info: info{"role": "master", "master_replid": nodeID(n, 9), "connected_slaves": "0", "aof_enabled": "1"}}
	if keys > 0 {
		sv.info["db0"] = fmt.Sprintf("keys=%d,expires=0", keys)
	}
	return sv
}

// cluster makes the servers of some heads nodes of one cluster, whose chain is
// in place; change may alter the line of a node.
func (s *State) cluster(heads []int, change func(n *clusterNode)) {
	var lines []clusterNode
	for i, n := range heads {
		for k := range 2 {
			c := clusterNode{ID: nodeID(n, k), Addr: s.heads[n-1].servers[k].at.addr(), Flags: []string{"master"}, Connected: true}
			if k == 0 {
				part := slotCount / len(heads)
				last := (i+1)*part - 1
				if i == len(heads)-1 {
					last = slotCount - 1
				}
				c.Slots.addRange(i*part, last)
			} else {
				c.Flags, c.MasterID = []string{"slave"}, nodeID(heads[(i+len(heads)-1)%len(heads)], 0)
			}
			if change != nil {
				change(&c)
			}
			lines = append(lines, c)
		}
	}
	owned := ownedSlots(lines)
	for i, n := range heads {
		for k := range 2 {
			sv := &s.heads[n-1].servers[k]
			view := slices.Clone(lines)
			view[i*2+k].Flags = append([]string{"myself"}, view[i*2+k].Flags...)
			role := "master"
			if view[i*2+k].MasterID != "" {
				role = "slave"
			}
			state := "ok"
			if owned.count() < slotCount {
				state = "fail"
			}
			*sv = server{at: sv.at, answer: running, managed: true, ours: true, clustr: true, nodes: view, dir: sv.at.dir(),
				info: info{"role": role, "master_link_status": "up", "connected_slaves": "1"},
				summary: info{"cluster_state": state, "cluster_slots_assigned": fmt.Sprint(owned.count()),
					"cluster_slots_ok": fmt.Sprint(owned.count()), "cluster_known_nodes": fmt.Sprint(len(lines))}}
		}
	}
}

// met makes the two servers of a head know each other, as where a run was cut
// off that introduced them.
func (s *State) met(n int) {
	s.cluster([]int{n}, func(c *clusterNode) { c.Slots, c.Flags, c.MasterID = nil, []string{"master"}, "" })
	for k := range 2 {
		sv := &s.heads[n-1].servers[k]
		sv.info, sv.summary["cluster_slots_assigned"] = info{"role": "master", "connected_slaves": "0"}, "0"
	}
}

// pair makes heads 1 and 2 a master with its replica under sentinels.
func (s *State) pair(keys int) {
	m := s.alone(1, keys, true)
	m.info["connected_slaves"] = "1"
	r := s.alone(2, keys, true)
	r.info["role"], r.info["master_replid"] = "slave", m.info["master_replid"]
	r.info["master_host"], r.info["master_port"], r.info["master_link_status"] = addrOf(1).String(), "6379", "up"
	for n := range 2 {
		v := &s.heads[n].voter
		v.answer, v.master, v.replicas = running, m.at.addr(), []string{r.at.addr()}
	}
}

func (s *State) off(n int) {
	h := &s.heads[n-1]
	h.reached, h.err = false, "ssh: timed out after 5 s"
	for k := range h.servers {
		h.servers[k] = server{at: h.servers[k].at}
	}
	h.voter = voter{name: h.name, addr: h.addr}
}

// ids lists the steps of a phase as "host:id".
func ids(ph plan.Phase) []string {
	var out []string
	for _, st := range ph.Stages {
		for _, step := range st.Steps {
			out = append(out, step.Host+":"+strings.TrimPrefix(step.ID, "redis."))
		}
	}
	return out
}

// guestOnFirst is a cluster of three heads, of which the first has a node beside it that
// knows none of the others: one of another cluster, or one that nobody has used.
func guestOnFirst(used bool) *State {
	s := lab(3)
	s.cluster([]int{1, 2, 3}, nil)
	sv := &s.heads[0].servers[1]
	me := clusterNode{ID: nodeID(7, 0), Addr: sv.at.addr(), Flags: []string{"myself", "master"}, Connected: true}
	nodes := []clusterNode{me}
	summary := info{"cluster_state": "fail", "cluster_slots_assigned": "0"}
	if used {
		me.Slots.addRange(0, slotCount-1)
		nodes = []clusterNode{me, {ID: nodeID(8, 0), Addr: "198.51.100.7:6379", Flags: []string{"slave"}, MasterID: me.ID, Connected: true}}
		summary = info{"cluster_state": "ok", "cluster_slots_assigned": fmt.Sprint(slotCount)}
	}
	*sv = server{at: sv.at, answer: running, clustr: true, nodes: nodes, dir: "/srv/redis", info: info{"role": "master"}, summary: summary}
	for n := range s.heads { // the node that was there is gone
		for k := range s.heads[n].servers {
			if o := &s.heads[n].servers[k]; o != sv {
				o.nodes = slices.DeleteFunc(slices.Clone(o.nodes), func(c clusterNode) bool { return c.ID == nodeID(1, 1) })
			}
		}
	}
	return s
}

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		name    string
		state   func() *State
		intent  service.Intent
		refused string   // part of the reason
		has     []string // steps
		hasNot  []string // parts of steps
		note    string
	}{
		{name: "three empty heads form a cluster", state: func() *State { return lab(3) },
			has:    []string{"server1:slots", "server2:slots", "server3:slots", "server2:6380.copy", "server1:6379.epoch"},
			hasNot: []string{"balance", "become", "sentinel"}},
		{name: "one head is one server", state: func() *State { return lab(1) },
			has: []string{"server1:6379.start"}, hasNot: []string{"6380", "sentinel", "slots", "copy"}},
		{name: "two heads get sentinels", state: func() *State { return lab(2) },
			has: []string{"server2:copy", "server1:sentinel.start", "server2:sentinel.start"}, hasNot: []string{"slots", "server1:copy"},
			note: "no witness"},
		{name: "a head out of reach: nothing is formed", state: func() *State { s := lab(3); s.off(2); return s }, refused: "server2"},
		{name: "a hung daemon: nothing is formed", state: func() *State {
			s := lab(3)
			s.heads[1].servers[0] = server{at: s.heads[1].servers[0].at, why: "it takes the connection and does not answer"}
			return s
		}, refused: "does not answer"},
		{name: "a wrong password: nothing is formed", state: func() *State {
			s := lab(3)
			s.heads[0].servers[0] = server{at: s.heads[0].servers[0].at, why: errWrongPassword.Error()}
			return s
		}, refused: "another password"},
		{name: "files that cannot be read: nothing is formed", state: func() *State {
			s := lab(3)
			s.heads[2].servers[0].disk = disk{why: "permission denied"}
			return s
		}, refused: "permission denied"},
		{name: "the package's own empty server is nothing", state: func() *State { s := lab(3); s.alone(2, 0, false); return s },
			has: []string{"server2:retire", "server2:slots"}},
		{name: "keys of a server set up by hand are kept", state: func() *State { s := lab(3); s.alone(2, 7, false); return s },
			has: []string{"server2:6379.keep", "server2:6379.start", "server2:become", "server1:balance"}, hasNot: []string{"server2:retire", ":slots"}, note: "they stay"},
		{name: "keys on disk of a server set up by hand are kept", state: func() *State {
			s := lab(1)
			s.heads[0].servers[0].disk = disk{data: service.Yes, snapshot: true, why: "keys in dump.rdb"}
			return s
		}, has: []string{"server1:6379.keep"}, hasNot: []string{"retire"}},
		{name: "heads whose own two servers know each other and nobody else are as good as empty", state: func() *State {
			s := lab(3)
			s.met(1)
			s.met(3)
			return s
		}, has: []string{"server1:meet", "server2:meet", "server3:meet", "server1:slots", "server3:slots"}},
		{name: "the same, stopped", state: func() *State {
			s := lab(3)
			for _, n := range []int{1, 3} {
				s.met(n)
				for k := range 2 {
					sv := &s.heads[n-1].servers[k]
					*sv = server{at: sv.at, answer: absent, managed: true, disk: disk{data: service.No, nodes: sv.nodes}}
				}
			}
			return s
		}, has: []string{"server1:meet", "server3:meet", "server1:slots"}},
		{name: "of two that know only themselves, one has a key: refused", state: func() *State {
			s := lab(3)
			s.met(1)
			s.met(3)
			s.heads[2].servers[0].info["db0"] = "keys=1,expires=0"
			return s
		}, refused: "server3 holds data of another cluster"},
		{name: "two that have slots each: refused", state: func() *State {
			s := lab(3)
			s.cluster([]int{1}, nil)
			s.cluster([]int{3}, nil)
			return s
		}, refused: "two clusters live at once"},
		{name: "keys of two servers set up by hand: refused", state: func() *State {
			s := lab(3)
			s.alone(1, 7, false)
			s.alone(2, 7, false)
			return s
		}, refused: "two clusters"},
		{name: "keys in another directory: refused", state: func() *State {
			s := lab(1)
			s.alone(1, 7, false).dir = "/data/redis"
			return s
		}, refused: "/data/redis"},
		{name: "keys in a second database cannot go into a cluster", state: func() *State {
			s := lab(3)
			s.alone(1, 7, true).info["db3"] = "keys=1,expires=0"
			return s
		}, refused: "database 3"},
		{name: "a forming that was cut off goes on", state: func() *State {
			s := lab(3)
			s.cluster([]int{1, 2}, func(n *clusterNode) { n.Slots = nil })
			return s
		}, has: []string{"server1:slots", "server3:slots", "server3:meet"}},
		{name: "two clusters: refused", state: func() *State {
			s := lab(6)
			s.cluster([]int{1, 2, 3}, nil)
			s.cluster([]int{4, 5, 6}, nil)
			return s
		}, refused: "two clusters"},
		{name: "a fourth head joins", state: func() *State { s := lab(4); s.cluster([]int{1, 2, 3}, nil); return s },
			has: []string{"server4:6379.start", "server4:meet", "server4:6380.copy", "server1:6380.copy", "server1:balance"}, hasNot: []string{":slots", "epoch"}},
		{name: "a lost head is left alone", state: func() *State { s := lab(3); s.cluster([]int{1, 2, 3}, nil); s.off(3); return s },
			has: []string{"server1:order"}, hasNot: []string{"server3", "balance", ":slots"}, note: "server3"},
		{name: "slots without owner wait for a lost head", state: func() *State {
			s := lab(3)
			s.cluster([]int{1, 2, 3}, func(n *clusterNode) {
				if n.ID == nodeID(3, 0) {
					n.Slots = nil
				}
			})
			for n := range 2 {
				for k := range 2 {
					s.heads[n].servers[k].summary["cluster_state"] = "ok"
				}
			}
			s.off(3)
			return s
		}, hasNot: []string{":slots"}, note: "served by nobody"},
		{name: "a hung server beside one that serves: refused, not guessed at", state: func() *State {
			s := lab(3)
			s.cluster([]int{1, 2, 3}, nil)
			s.heads[1].servers[0] = server{at: s.heads[1].servers[0].at, why: "it takes the connection and does not answer"}
			return s
		}, refused: "server2:6379"},
		{name: "bootstrap beside a living cluster: refused", state: func() *State { s := lab(4); s.cluster([]int{1, 2, 3}, nil); return s },
			intent: service.Intent{Mode: service.Bootstrap}, refused: "second cluster"},
		{name: "join without a cluster: refused", state: func() *State { return lab(3) }, intent: service.Intent{Mode: service.Join}, refused: "--join"},
		{name: "a second head joins the first's server", state: func() *State { s := lab(2); s.alone(1, 5, true); return s },
			has: []string{"server2:copy"}, hasNot: []string{"server1:copy"}},
		{name: "a server without keys yet stays the master of a head added before it", state: func() *State {
			s := lab(2)
			s.alone(2, 0, true)
			return s
		}, has: []string{"server1:copy"}, hasNot: []string{"server2:copy"}},
		{name: "master and replica become a cluster with the third head", state: func() *State { s := lab(3); s.pair(5); return s },
			has:    []string{"server1:become", "server2:become", "server1:sentinel.stop", "server1:balance", "server3:6379.start"},
			hasNot: []string{"server1:6379.start", "server2:6379.start", ":slots"}},
		{name: "after the sentinels' failover the other one is the keeper", state: func() *State {
			s := lab(2)
			s.pair(5)
			m, r := &s.heads[0].servers[0], &s.heads[1].servers[0]
			m.info, r.info = r.info, m.info
			m.info["master_host"] = addrOf(2).String()
			for n := range 2 {
				s.heads[n].voter.master = r.at.addr()
			}
			return s
		}, has: []string{"server1:copy"}, hasNot: []string{"server2:copy"}},
		{name: "the master is gone and nobody was chosen: refused", state: func() *State {
			s := lab(2)
			s.pair(5)
			s.off(1)
			s.heads[1].voter.answer = absent
			s.heads[1].voter.master = ""
			return s
		}, refused: "replica of 192.0.2.11:6379"},
		{name: "another port: refused", state: func() *State { s := lab(3); s.heads[1].other = []int{7000}; return s }, refused: "port 7000"},
		{name: "a cluster does not go back to sentinels", state: func() *State {
			s := lab(3)
			s.cluster([]int{1, 2, 3}, nil)
			s.wanted.mode, s.wanted.kind = modeSentinel, config.RedisSentinel
			return s
		}, refused: "redis.type is sentinel"},
		{name: "a cluster set up by hand is taken as it is", state: func() *State {
			s := lab(3)
			s.cluster([]int{1, 2, 3}, nil)
			for n := range s.heads {
				for k := range s.heads[n].servers {
					s.heads[n].servers[k].ours, s.heads[n].servers[k].managed = false, false
				}
			}
			return s
		}, has: []string{"server1:order"}, hasNot: []string{"start", "settings", "retire"}, note: "by hand"},
		{name: "a node of another cluster on a head of ours: refused", state: func() *State { return guestOnFirst(true) }, refused: "server1:6380 is a node of another Redis Cluster"},
		{name: "the same, stopped, and with peers on no head of the file", state: func() *State {
			s := guestOnFirst(true)
			sv := &s.heads[0].servers[1]
			*sv = server{at: sv.at, answer: absent, disk: disk{data: service.No, nodes: sv.nodes}}
			return s
		}, refused: "server1:6380 is a node of another Redis Cluster"},
		{name: "the same, stopped, and set up by multihead", state: func() *State {
			s := guestOnFirst(true)
			sv := &s.heads[0].servers[1]
			*sv = server{at: sv.at, answer: absent, managed: true, disk: disk{data: service.No, nodes: sv.nodes}}
			return s
		}, refused: "server1:6380 is a node of another Redis Cluster"},
		{name: "a node that nobody has used is none", state: func() *State { return guestOnFirst(false) }, has: []string{"server1:meet"}},
		{name: "a node of ours that is stopped", state: func() *State {
			s := lab(3)
			s.cluster([]int{1, 2, 3}, nil)
			sv := &s.heads[2].servers[1]
			*sv = server{at: sv.at, answer: absent, managed: true, disk: disk{data: service.No, nodes: sv.nodes}}
			return s
		}, has: []string{"server3:6380.start"}},
		{name: "one node only: the others are left alone", state: func() *State { s := lab(4); s.cluster([]int{1, 2, 3}, nil); return s },
			intent: service.Intent{Nodes: []string{"server4"}}, has: []string{"server4:6379.start", "server4:meet"}, hasNot: []string{"server1:6379.start"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.intent.Mode == "" {
				c.intent.Mode = service.Auto
			}
			ph, err := c.state().Plan(c.intent)
			var r *service.Refusal
			switch {
			case c.refused != "" && (!errors.As(err, &r) || !strings.Contains(r.Reason, c.refused) || r.Remedy == ""):
				t.Fatalf("got %v, want a refusal that says %q and what to do", err, c.refused)
			case c.refused != "":
				return
			case err != nil:
				t.Fatal(err)
			}
			got := ids(ph)
			for _, want := range c.has {
				if !slices.Contains(got, want) {
					t.Errorf("no step %s in %v", want, got)
				}
			}
			for _, not := range c.hasNot {
				if i := slices.IndexFunc(got, func(s string) bool { return strings.Contains(s, not) }); i >= 0 {
					t.Errorf("step %s", got[i])
				}
			}
			if c.note != "" && !strings.Contains(strings.Join(ph.Notes, "\n"), c.note) {
				t.Errorf("no note says %q: %v", c.note, ph.Notes)
			}
			seen := map[string]bool{}
			for _, id := range got {
				if seen[id] {
					t.Errorf("two steps are called %s", id)
				}
				seen[id] = true
			}
		})
	}
}

func TestNoSecretInAPlan(t *testing.T) {
	s := lab(2)
	s.wanted.conf.Password = config.NewSecret("hunter2secret")
	for _, n := range []int{1, 2, 4} {
		s2 := lab(n)
		s2.wanted.conf.Password = s.wanted.conf.Password
		ph, err := s2.Plan(service.Intent{Mode: service.Auto})
		if err != nil {
			t.Fatal(err)
		}
		for _, st := range ph.Stages {
			for _, step := range st.Steps {
				if strings.Contains(step.Action.String(), "hunter2") {
					t.Errorf("%s shows the password", step.ID)
				}
				if f, ok := step.Action.(plan.File); ok && !f.Secret && strings.Contains(string(f.Data), "hunter2") {
					t.Errorf("%s holds the password and is not marked secret", f.Path)
				}
			}
		}
	}
}

func TestStopStopsCopiesBeforeMasters(t *testing.T) {
	s := lab(3)
	s.cluster([]int{1, 2, 3}, nil)
	ph, err := s.Stop(service.Intent{})
	if err != nil || len(ph.Stages) != 2 || ph.Stages[0].Name != "copies" || len(ph.Stages[0].Steps) != 3 || len(ph.Stages[1].Steps) != 3 {
		t.Fatalf("%v %v", ids(ph), err)
	}
}

func TestStopOfOneHeadHandsItsSlotsOver(t *testing.T) {
	s := lab(3)
	s.cluster([]int{1, 2, 3}, nil)
	for n := range s.heads { // where each replica's master is
		r := &s.heads[n].servers[1]
		r.info["master_host"], r.info["master_port"] = addrOf((n+2)%3+1).String(), "6379"
	}
	ph, err := s.Stop(service.Intent{Nodes: []string{"server1"}})
	want := []string{"server2:6380.handover", "server1:6380.stop", "server1:6379.stop"}
	if err != nil || !slices.Equal(ids(ph), want) {
		t.Errorf("%v, want %v (%v)", ids(ph), want, err)
	}
}

func TestHealth(t *testing.T) {
	for _, c := range []struct {
		name   string
		state  func() *State
		word   service.Word
		reason string
		roles  string // of server1
	}{
		{"formed", func() *State { s := lab(3); s.cluster([]int{1, 2, 3}, nil); return s }, service.Up, "", "master+replica"},
		{"nothing runs", func() *State { return lab(3) }, service.Down, "no server answers", ""},
		{"nobody was reached", func() *State { s := lab(1); s.off(1); return s }, service.Unknown, "timed out", ""},
		{"a head is out of reach", func() *State { s := lab(3); s.cluster([]int{1, 2, 3}, nil); s.off(2); return s }, service.Degraded, "server2", "master+replica"},
		{"two masters on a head after a failover", func() *State {
			s := lab(3)
			s.cluster([]int{1, 2, 3}, func(n *clusterNode) {
				switch n.ID { // server2's second took over from server1's first
				case nodeID(1, 0):
					n.Slots, n.Flags, n.MasterID = nil, []string{"slave"}, nodeID(2, 1)
				case nodeID(2, 1):
					n.Slots.addRange(0, slotCount/3-1)
					n.Flags, n.MasterID = []string{"master"}, ""
				}
			})
			return s
		}, service.Degraded, "2 masters are on server2", "replica+replica"},
		{"no majority", func() *State {
			s := lab(3)
			s.cluster([]int{1, 2, 3}, nil)
			for n := range s.heads {
				for k := range s.heads[n].servers {
					s.heads[n].servers[k].summary["cluster_state"] = "fail"
				}
			}
			return s
		}, service.Down, "majority", "master+replica"},
		{"a pair", func() *State { s := lab(2); s.pair(5); return s }, service.Up, "", "master"},
		{"a sentinel is missing", func() *State { s := lab(2); s.pair(5); s.heads[1].voter.answer = absent; return s }, service.Degraded, "1 of 2 sentinels", "master"},
		{"two masters at once", func() *State { s := lab(2); s.pair(5); s.alone(2, 3, true); return s }, service.Degraded, "2 masters", "master"},
		{"the disk is full", func() *State { s := lab(1); s.alone(1, 3, true).info["aof_last_write_status"] = "err"; return s }, service.Degraded, "disk full", "master"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := c.state().Health()
			if h.State != c.word || !strings.Contains(h.Reason, c.reason) || (c.word != service.Up && h.Reason == "") {
				t.Errorf("%s %q, want %s %q", h.State, h.Reason, c.word, c.reason)
			}
			if got := h.Nodes["server1"].Role; got != c.roles {
				t.Errorf("server1 is %q, want %q", got, c.roles)
			}
		})
	}
}

func TestSurvival(t *testing.T) {
	for _, c := range []struct {
		heads, replicas, witnesses, atOnce int
	}{
		{1, 1, 0, 0}, {2, 1, 0, 0}, {2, 1, 1, 1}, {3, 1, 0, 1}, {3, 0, 0, 0}, {4, 1, 0, 1}, {5, 1, 0, 1}, {5, 2, 0, 2}, {4, 2, 0, 1},
	} {
		s := lab(c.heads)
		s.wanted.replicas = c.replicas
		s.witnesses = make([]voter, c.witnesses)
		got := s.Survival()
		if got.AtOnce != c.atOnce || got.Why == "" || got.RaisedBy == "" {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}
