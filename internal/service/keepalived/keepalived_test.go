package keepalived

import (
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"multihead/internal/config"
	"multihead/internal/golden"
	"multihead/internal/host/hosttest"
	"multihead/internal/plan"
	"multihead/internal/service"
)

func vip() config.VIP {
	return config.VIP{Address: netip.MustParseAddr("192.0.2.100"), Netmask: 24, Interface: "auto", VRRPRouterID: 51}
}

// four is four heads with nothing on them yet.
func four() []head {
	var out []head
	for i, name := range []string{"server1", "server2", "server3", "server4"} {
		out = append(out, head{name: name, addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(11 + i)}), priority: 100 - i, sshPort: 22,
			reached: true, known: true, iface: "host0", ifaces: []string{"lo", "host0"}, holds: service.No, running: service.No})
	}
	return out
}

func TestConfigurationIsTheGoldenOne(t *testing.T) {
	six := vip()
	six.Address, six.Netmask, six.Interface = netip.MustParseAddr("2001:db8::100"), 64, "ens18"
	sixHead := head{name: "server1", addr: netip.MustParseAddr("2001:db8::11"), priority: 100}
	for _, tt := range []struct {
		name string
		vip  config.VIP
		head int
		all  []head
	}{
		{"owner-of-four", vip(), 0, four()},
		{"last-of-four", vip(), 3, four()},
		{"alone", vip(), 0, four()[:1]},
		{"version-6", six, 0, []head{sixHead, {name: "server2", addr: netip.MustParseAddr("2001:db8::12"), priority: 99}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := render(tt.vip, tt.all[tt.head], tt.all)
			if err != nil {
				t.Fatal(err)
			}
			golden.Check(t, filepath.Join("testdata", tt.name+".conf"), got)
		})
	}
}

// The address may move between the question to the heads and that to the address.
func TestAMachineIsForeignOnlyIfItAnswersTwiceWhileNoHeadHolds(t *testing.T) {
	for _, tt := range []struct {
		name    string
		answers []service.Answer // to each question to the address
		holds   []service.Answer // of server1: at first, and each time it is looked at again
		want    service.Answer
	}{
		{"a head holds it: nobody asks", nil, []service.Answer{service.Yes}, service.No},
		{"nobody answers", []service.Answer{service.No}, []service.Answer{service.No}, service.No},
		{"not known whether anybody does", []service.Answer{service.Unsure}, []service.Answer{service.No}, service.Unsure},
		{"a head has just taken it", []service.Answer{service.Yes}, []service.Answer{service.No, service.Yes}, service.No},
		{"and another looks for longer", []service.Answer{service.Yes, service.Yes}, []service.Answer{service.No, service.No, service.Yes}, service.No},
		{"a head has just let go of it", []service.Answer{service.Yes, service.No}, []service.Answer{service.No, service.No}, service.No},
		{"nobody holds it, and it answers again and again", []service.Answer{service.Yes, service.Yes}, []service.Answer{service.No, service.No, service.No}, service.Yes},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &State{vip: vip(), heads: four()}
			look := func() { s.heads[0].holds, tt.holds = tt.holds[0], tt.holds[1:] }
			look()
			s.askForeign(func() (service.Answer, string) {
				a := tt.answers[0]
				tt.answers = tt.answers[1:]
				return a, "port 22 takes connections"
			}, look)
			if s.foreign != tt.want || s.foreign == service.Yes != (s.saw != "") {
				t.Errorf("foreign %v (%q), want %v", s.foreign, s.saw, tt.want)
			}
			if len(tt.answers)+len(tt.holds) > 0 {
				t.Errorf("not asked: %v %v", tt.answers, tt.holds)
			}
		})
	}
}

func TestPlanBeginsWithWhoRunsAlready(t *testing.T) {
	for _, tt := range []struct {
		name              string
		change            func([]head)
		first, rest, back string
	}{
		{"formed: the owner begins", func([]head) {}, "server1", "server2 server3 server4", ""},
		{"a head is added: the others learn of it first", func(h []head) {
			h[0].running, h[1].running, h[2].running = service.Yes, service.Yes, service.Yes
			h[0].holds = service.Yes
		}, "server1 server2 server3", "server4", "server4"},
		{"the owner returns: it comes last", func(h []head) {
			h[1].running, h[2].running, h[3].running = service.Yes, service.Yes, service.Yes
			h[2].holds = service.Yes
		}, "server2 server3 server4", "server1", "server1"},
		{"unknown counts as running", func(h []head) { h[2].running = service.Unsure }, "server3", "server1 server2 server4", ""},
		{"a head is added while nobody has the address", func(h []head) { h[0].running, h[1].running = service.Yes, service.Yes }, "server1 server2", "server3 server4", ""},
		{"a head is away", func(h []head) { h[0].reached, h[0].known, h[0].running = false, false, service.Unsure }, "server2", "server3 server4", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &State{vip: vip(), heads: four(), foreign: service.No}
			tt.change(s.heads)
			ph, err := s.Plan(service.Intent{Mode: service.Auto})
			if err != nil {
				t.Fatal(err)
			}
			if got := hosts(ph.Stages[1]); got != tt.first {
				t.Errorf("first: %q, want %q", got, tt.first)
			}
			if got := hosts(ph.Stages[2]); got != tt.rest {
				t.Errorf("rest: %q, want %q", got, tt.rest)
			}
			var back plan.Stage // a head alone, or all at once, has nobody to leave the address to
			for _, step := range ph.Stages[0].Steps {
				if step.ID == "keepalived.stand-back" {
					back.Steps = append(back.Steps, step)
				}
			}
			if got := hosts(back); got != tt.back {
				t.Errorf("standing back: %q, want %q", got, tt.back)
			}
		})
	}
}

func hosts(st plan.Stage) string {
	var out []string
	for _, s := range st.Steps {
		out = append(out, s.Host)
	}
	return strings.Join(out, " ")
}

func TestPlanForOneNewHeadTellsTheOthers(t *testing.T) {
	s := &State{vip: vip(), heads: four(), foreign: service.No}
	ph, err := s.Plan(service.Intent{Mode: service.Auto, Nodes: []string{"server4"}})
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for _, st := range ph.Stages[0].Steps {
		if st.ID == "keepalived.conf" {
			told[st.Host] = true
		}
	}
	if len(told) != 4 {
		t.Errorf("only %v get a configuration that lists server4", told)
	}
	ph, err = s.Plan(service.Intent{Mode: service.Auto, Nodes: []string{"node001"}})
	if err != nil || len(ph.Stages[0].Steps) != 0 {
		t.Errorf("a plan for a compute node touches heads: %v, %v", ph.Stages[0].Steps, err)
	}
}

func TestPlanRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*State)
		want   string // part of the reason; empty means no refusal
	}{
		{"a foreign machine has the address", func(s *State) { s.foreign, s.saw = service.Yes, "port 22 takes connections" }, "none of the heads"},
		{"it may be a head that was not asked", func(s *State) {
			s.foreign = service.Yes
			s.heads[3].reached, s.heads[3].holds = false, service.Unsure
		}, ""},
		{"nobody knows who answers", func(s *State) { s.foreign = service.Unsure }, ""},
		{"a head of ours holds it", func(s *State) { s.heads[1].holds, s.foreign = service.Yes, service.Yes }, ""},
		{"the interface is not there", func(s *State) { s.vip.Interface = "ens18" }, "no interface ens18 (it has lo, host0)"},
		{"no interface has the head's address", func(s *State) { s.heads[2].iface = "" }, "no interface of server3"},
		{"interfaces could not be read", func(s *State) { s.heads[2].known, s.heads[2].why = false, "timed out" }, "timed out"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &State{vip: vip(), heads: four(), foreign: service.No}
			tt.change(s)
			_, err := s.Plan(service.Intent{Mode: service.Auto})
			if tt.want == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if !errors.As(err, new(*service.Refusal)) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want a refusal with %q", err, tt.want)
			}
		})
	}
}

func TestHealthNamesWhatIsWrong(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*State)
		state  service.Word
		reason string
	}{
		{"one holder", func(s *State) {}, service.Up, ""},
		{"two holders", func(s *State) { s.heads[1].holds = service.Yes }, service.Degraded, "server1 and server2 hold"},
		{"no holder", func(s *State) { s.heads[0].holds = service.No }, service.Down, "no head holds"},
		{"no holder among those that answered", func(s *State) {
			s.heads[0].holds, s.heads[0].reached = service.Unsure, false
		}, service.Unknown, "not known of server1"},
		{"a stranger holds it", func(s *State) {
			s.heads[0].holds, s.foreign = service.No, service.Yes
		}, service.Down, "none of them answers"},
		{"one head does not run it", func(s *State) { s.heads[3].running = service.No }, service.Degraded, "server4"},
		{"one head is not known", func(s *State) {
			s.heads[3].holds, s.heads[3].reached, s.heads[3].running = service.Unsure, false, service.Unsure
		}, service.Degraded, "not known of server4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &State{vip: vip(), heads: four(), foreign: service.No}
			for i := range s.heads {
				s.heads[i].running = service.Yes
			}
			s.heads[0].holds = service.Yes
			tt.change(s)
			h := s.Health()
			if h.State != tt.state || !strings.Contains(h.Reason, tt.reason) {
				t.Errorf("%s %q, want %s with %q", h.State, h.Reason, tt.state, tt.reason)
			}
			if (h.State == service.Up) != (h.Reason == "") {
				t.Errorf("%s with reason %q", h.State, h.Reason)
			}
		})
	}
}

func TestStopLeavesTheHolderForLast(t *testing.T) {
	s := &State{vip: vip(), heads: four()}
	s.heads[2].holds = service.Yes
	ph, err := s.Stop(service.Intent{})
	if err != nil {
		t.Fatal(err)
	}
	if got := hosts(ph.Stages[0]); got != "server1 server2 server4" {
		t.Errorf("first stop %s", got)
	}
	if got := hosts(ph.Stages[1]); got != "server3" {
		t.Errorf("last stops %s", got)
	}
}

func TestNeighbourIsThereOnlyWhenConfirmed(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want service.Answer
	}{
		{`[{"dst":"192.0.2.100","dev":"host0","lladdr":"aa:bb:cc:dd:ee:ff","state":["REACHABLE"]}]`, service.Yes},
		{`[{"dst":"192.0.2.100","dev":"host0","state":["FAILED"]}]`, service.No},
		{`[{"dst":"192.0.2.100","dev":"host0","state":["INCOMPLETE"]}]`, service.No},
		{`[{"dst":"192.0.2.100","dev":"host0","lladdr":"aa:bb:cc:dd:ee:ff","state":["STALE"]}]`, service.Unsure},
		{`[]`, service.No},
		{`[ ]`, service.No},
		{`rubbish`, service.Unsure},
		{``, service.Unsure},
	} {
		if got, _ := parseNeighbour([]byte(tt.in)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.in, got, tt.want)
		}
	}
}

func FuzzLinks(f *testing.F) {
	f.Add([]byte(`[{"ifname":"lo","addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8}]},{"ifname":"host0","addr_info":[{"local":"192.0.2.11"},{"local":"192.0.2.100"}]}]`))
	f.Add([]byte(`[]`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := parseLinks(data)
		if err != nil {
			return
		}
		name, ok := l.with(netip.MustParseAddr("192.0.2.100"))
		if ok && !contains(l.names(), name) {
			t.Errorf("%q is none of %q", name, l.names())
		}
		_, _ = parseNeighbour(data)
	})
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func TestAKeepalivedWithoutTheAddressInItsFileIsDownAndStartedAnew(t *testing.T) {
	s := &State{vip: vip(), heads: four()}
	for i := range s.heads {
		s.heads[i].running = service.Yes
	}
	s.heads[0].holds = service.Yes
	s.heads[1].aimless = true
	if h := s.Health(); h.State != service.Degraded || h.Nodes["server2"].State != service.Down || !strings.Contains(h.Nodes["server2"].Reason, "up writes it") {
		t.Errorf("%+v", h)
	}
	ph, err := s.Plan(service.Intent{})
	if err != nil || ph.Stages[0].Steps[0].ID == "keepalived.idle" {
		t.Fatalf("%v %+v", err, ph.Stages)
	}
	stopped := slices.ContainsFunc(ph.Stages[0].Steps, func(st plan.Step) bool { return st.ID == "keepalived.idle" && st.Host == "server2" })
	if !stopped {
		t.Error("it is not stopped before it is started")
	}
}

func TestOnlyAnAgentThatRunsSaysThatAHeadServes(t *testing.T) {
	const procs = "/sys/fs/cgroup/system.slice/" + agentUnit + "/cgroup.procs"
	for name, tt := range map[string]struct {
		said, agent string
		done        bool
	}{
		"nothing was said":                        {"", "", false},
		"it stands back already":                  {"1\n", "", true},
		"its agent says that it serves":           {"0\n", "4711\n", true},
		"an agent that has ended said so":         {"0\n", "", false},
		"keepalived itself wrote it at its start": {"0", "", false},
	} {
		m := hosttest.New("server3").File(procs, tt.agent)
		if tt.said != "" {
			m.File(trackFile, tt.said)
		}
		if done, err := (standBack{}).Done(t.Context(), m); done != tt.done || err != nil {
			t.Errorf("%s: %v, %v", name, done, err)
		}
		undo, err := standBack{}.Do(t.Context(), m)
		if done, derr := (standBack{}).Done(t.Context(), m); !done || err != nil || derr != nil {
			t.Errorf("%s: after it was done %v, %v, %v", name, done, err, derr)
		}
		if _, err := undo.Do(t.Context(), m); err != nil {
			t.Error(err)
		}
		if data, _ := m.ReadFile(t.Context(), trackFile); string(data) != tt.said {
			t.Errorf("%s: taken back it is %q", name, data)
		}
	}
}
