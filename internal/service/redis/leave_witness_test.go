package redis

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"multihead/internal/host/hosttest"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// voting is two heads whose sentinels agree, and one on a witness.
func voting(change func(*State)) *State {
	s := lab(2)
	for i := range s.heads {
		s.alone(i+1, 0, true)
		s.heads[i].voter.answer, s.heads[i].voter.master, s.heads[i].voter.others = running, "192.0.2.11:6379", 2
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
		lost   bool // the witness is said to be gone for good
		note   string
	}{
		"a witness that votes":          {want: "leave/witness1 forget-state/witness1 " + forgotten},
		"one that is gone":              {change: silentWitness, lost: true, want: forgotten},
		"where Redis needs no sentinel": {change: func(s *State) { s.wanted.mode = modeCluster; s.witnesses[0].answer = absent }, want: "leave/witness1 forget-state/witness1"},
		"before there is any": {change: func(s *State) {
			s.heads[0].voter.answer, s.heads[1].voter.answer, s.witnesses[0].answer = absent, absent, absent
		}, want: "leave/witness1 forget-state/witness1"},
		"another vote is missing": {change: func(s *State) { s.heads[1].voter = voter{name: "server2", answer: absent} },
			refuse: "1 of the 2 sentinels that stay answer, and server2 not"},
		"they hold two for the master": {change: func(s *State) { s.heads[1].voter.master = "192.0.2.12:6379" }, refuse: "do not agree"},
		"a copy is dead":               {change: deadCopy, refuse: "192.0.2.12:6379 does not answer, and would be forgotten"},
		"a copy is dead by the sentinels alone": {change: func(s *State) { s.heads[0].voter.lost = []string{"192.0.2.12:6379"} },
			refuse: "192.0.2.12:6379 does not answer"},
		"the master is dead by the sentinels": {change: func(s *State) { s.heads[0].voter.down = true }, refuse: "192.0.2.11:6379 does not answer"},
		"a copy of a head that has left is dead": {change: func(s *State) {
			s.heads[0].voter.replicas = append(s.heads[0].voter.replicas, "192.0.2.99:6379")
			s.heads[0].voter.lost = []string{"192.0.2.99:6379"}
		}, want: "leave/witness1 forget-state/witness1 " + forgotten},
		"one that is gone, and a copy is dead": {change: func(s *State) { silentWitness(s); deadCopy(s) }, lost: true,
			note: "go on counting witness1: 192.0.2.12:6379 does not answer"},
		"one that is gone, and another vote is missing": {change: func(s *State) { silentWitness(s); s.heads[1].voter = voter{name: "server2", answer: absent} }, lost: true,
			note: "go on counting witness1: 1 of the 2 sentinels"},
	} {
		t.Run(name, func(t *testing.T) {
			intent := service.Intent{Leaving: []string{"witness1"}}
			if c.lost {
				intent.Lost = intent.Leaving
			}
			ph, err := voting(c.change).Leave(intent)
			var refused *service.Refusal
			switch {
			case c.refuse != "" && (!errors.As(err, &refused) || !strings.Contains(refused.Reason, c.refuse)):
				t.Errorf("%v, want %q", err, c.refuse)
			case c.refuse == "" && (err != nil || steps(ph) != c.want):
				t.Errorf("%v\n%s\nwant:\n%s", err, steps(ph), c.want)
			case !strings.Contains(strings.Join(ph.Notes, "\n"), c.note):
				t.Errorf("notes %q, want %q", ph.Notes, c.note)
			}
		})
	}
}

func silentWitness(s *State) { s.witnesses[0] = voter{name: "witness1", why: "timed out"} }

func deadCopy(s *State) { s.heads[1].servers[0].answer = absent }

// What a sentinel counts too many is forgotten by up, where that loses no copy.
func TestUpHasSentinelsForgetThoseThatLeft(t *testing.T) {
	const forgotten = "forget/server1 goes-on/server1 forget/server2 goes-on/server2"
	for name, c := range map[string]struct {
		change func(*State)
		nodes  []string
		want   string
		note   string
	}{
		"they count one that left":         {nil, nil, forgotten, ""},
		"they count each other":            {func(s *State) { s.heads[0].voter.others, s.heads[1].voter.others = 1, 1 }, nil, "", ""},
		"one of them does":                 {func(s *State) { s.heads[0].voter.others = 1 }, nil, forgotten, ""},
		"a copy is dead to them that runs": {func(s *State) { s.heads[0].voter.lost = []string{"192.0.2.12:6379"} }, nil, forgotten, ""},
		"a copy is dead":                   {deadCopy, nil, "", "count 3, and the file has 2. They are not made to forget the others yet: 192.0.2.12:6379 does not answer"},
		"a sentinel does not run":          {func(s *State) { s.heads[1].voter.answer = absent }, nil, "", ""},
		"another head is not to be asked":  {nil, []string{"server1"}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := voting(c.change)
			s.witnesses = nil
			b := &builder{s: s, mode: modeSentinel, intent: service.Intent{Nodes: c.nodes}}
			b.forgetLeft()
			if got := steps(b.phase); got != c.want {
				t.Errorf("%s\nwant:\n%s", got, c.want)
			}
			if notes := strings.Join(b.phase.Notes, "\n"); !strings.Contains(notes, c.note) || c.note == "" && notes != "" {
				t.Errorf("notes %q, want %q", notes, c.note)
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

// watcher is as much of a sentinel as forgetting needs.
type watcher struct {
	flags []string // of the copy, one look after another; the last one stays
	reset bool
}

func (w *watcher) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		v, err := readReply(r, 0)
		if err != nil {
			return
		}
		cmd, _ := words(v)
		answer := "+OK\r\n"
		switch strings.Join(cmd[:min(2, len(cmd))], " ") {
		case "SENTINEL MASTER":
			answer = array("ip", "192.0.2.11", "port", "6379", "flags", "master", "num-other-sentinels", "2")
		case "SENTINEL REPLICAS":
			answer = "*1\r\n" + array("ip", "192.0.2.12", "port", "6379", "flags", w.flags[0])
			w.flags = w.flags[min(1, len(w.flags)-1):]
		case "SENTINEL RESET":
			w.reset = true
		}
		if _, err := c.Write([]byte(answer)); err != nil {
			return
		}
	}
}

// array is a reply of words.
func array(words ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	return b.String()
}

// What a sentinel is about to forget with the one that left is looked at once more.
func TestASentinelForgetsNoServerThatIsDeadToIt(t *testing.T) {
	for _, tt := range []struct {
		name    string
		flags   []string
		servers []string
		reset   bool
	}{
		{"all are alive", []string{"slave"}, []string{"192.0.2.11:6379", "192.0.2.12:6379"}, true},
		{"a copy comes back", []string{"s_down,slave,disconnected", "s_down,slave", "slave"}, []string{"192.0.2.11:6379", "192.0.2.12:6379"}, true},
		{"a copy stays dead", []string{"s_down,slave,disconnected"}, []string{"192.0.2.11:6379", "192.0.2.12:6379"}, false},
		{"a copy of a head that has left stays dead", []string{"s_down,slave,disconnected"}, []string{"192.0.2.11:6379"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &watcher{flags: tt.flags}
				m := hosttest.New("server1").OnDial("tcp", "127.0.0.1:26379", func(context.Context) (net.Conn, error) {
					ours, theirs := net.Pipe()
					go w.serve(theirs)
					return ours, nil
				})
				_, err := forgetSentinels(lab(2).wanted, 2, tt.servers).Do(t.Context(), m)
				if w.reset != tt.reset || (err == nil) != tt.reset || err != nil && !strings.Contains(err.Error(), "192.0.2.12:6379 is dead to it") {
					t.Errorf("reset %v, %v", w.reset, err)
				}
			})
		})
	}
}
