package agentd

import (
	"strings"
	"testing"
	"time"

	"multihead/internal/service"
)

// agents are three heads and a witness whose agents are well and have been up
// for a minute.
func agents() []seat {
	names := []string{"s1", "s2", "s3", "w1"}
	var out []seat
	for i, name := range names {
		r := &Report{Name: name, Fit: true, UpMS: 60_000, Peers: map[string]Peer{}}
		for _, o := range names {
			if o != name {
				r.Peers[o] = Peer{Heard: true}
			}
		}
		out = append(out, seat{name: name, head: i < 3, reached: true, runs: service.Yes, report: r})
	}
	return out
}

func TestHowTheAgentsAre(t *testing.T) {
	silent := func(s *seat) { s.report, s.runs, s.silence = nil, service.Unsure, "timed out" }
	dead := func(s *seat) { s.report, s.runs = nil, service.No }
	away := func(s *seat) { s.report, s.runs, s.reached, s.why = nil, service.Unsure, false, "timed out" }
	for _, tt := range []struct {
		name    string
		spoil   func(s []seat)
		state   service.Word
		s1      service.Word
		role    string
		reason  string
		summary string
	}{
		{"all is well", func([]seat) {}, service.Up, service.Up, "fit", "", "4/4 agents, 3/3 heads fit for the virtual address"},
		{"a service is bad here and well elsewhere", func(s []seat) { s[0].report.Fit, s[0].report.Why = false, "mariadb: gone; s2 is better off" },
			service.Degraded, service.Degraded, "unfit", "s1: not fit for the virtual address: mariadb: gone", "2/3 heads fit"},
		{"it is well again and waits until that counts", func(s []seat) { s[0].report.Fit, s[0].report.Settling = false, true },
			service.Up, service.Up, "settling", "", "4/4 agents, 2/3 heads"},
		{"agents that have just started do not hear each other yet", func(s []seat) {
			for i := range s {
				s[i].report.UpMS, s[i].report.Peers = 1000, map[string]Peer{}
			}
		}, service.Up, service.Up, "fit", "", ""},
		{"another one has just started", func(s []seat) { s[1].report.UpMS, s[0].report.Peers["s2"] = 1000, Peer{} },
			service.Up, service.Up, "fit", "", ""},
		{"one does not hear another that answers", func(s []seat) { s[0].report.Peers["s2"] = Peer{AgeMS: 9000} },
			service.Degraded, service.Degraded, "fit", "s1: does not hear s2", ""},
		{"one does not hear the witness that answers", func(s []seat) { s[0].report.Peers["w1"] = Peer{AgeMS: 9000} },
			service.Degraded, service.Degraded, "fit", "s1: does not hear w1", ""},
		{"a dead agent is not the fault of those that miss it", func(s []seat) { dead(&s[1]); s[0].report.Peers["s2"] = Peer{} },
			service.Degraded, service.Up, "fit", "s2: the agent does not run", "3/4 agents, 2/3 heads"},
		{"one does not answer", func(s []seat) { silent(&s[0]) },
			service.Degraded, service.Unknown, "", "s1: the agent does not answer: timed out", ""},
		{"the witness has none", func(s []seat) { dead(&s[3]) },
			service.Degraded, service.Up, "fit", "w1: the agent does not run", "3/4 agents, 3/3 heads"},
		{"one leads", func(s []seat) { s[1].report.Leads = true },
			service.Up, service.Up, "fit", "", "3/3 heads fit for the virtual address; s2 acts for the cluster"},
		{"the one that leads needs a person", func(s []seat) { s[0].report.Alarms = []string{"recover mariadb: server2 may know more"} },
			service.Degraded, service.Degraded, "fit", "s1: needs a person: recover mariadb", ""},
		{"all agents are stopped", func(s []seat) {
			for i := range s {
				dead(&s[i])
			}
		}, service.Degraded, service.Down, "", "no agent answers", "0/4 agents"},
		{"no host answers", func(s []seat) {
			for i := range s {
				away(&s[i])
			}
		}, service.Unknown, service.Unknown, "", "no host answered", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &State{seats: agents()}
			tt.spoil(s.seats)
			h := s.Health()
			n := h.Nodes["s1"]
			if h.State != tt.state || n.State != tt.s1 || n.Role != tt.role || !strings.Contains(h.Reason, tt.reason) || !strings.Contains(h.Summary, tt.summary) {
				t.Errorf("%+v", h)
			}
			if (h.State == service.Up) != (h.Reason == "") {
				t.Errorf("%s with the reason %q", h.State, h.Reason)
			}
			for name, n := range h.Nodes {
				if (n.State == service.Up) != (n.Reason == "") {
					t.Errorf("%s: %+v", name, n)
				}
			}
		})
	}
}

func TestWhatIsNotHeardCountsOnceAgentsHaveHadTheirTime(t *testing.T) {
	for _, up := range []time.Duration{settleFor - time.Second, settleFor + time.Second} {
		s := &State{seats: agents()}
		s.seats[0].report.Peers["s2"] = Peer{}
		s.seats[0].report.UpMS = up.Milliseconds()
		if got := s.Health().State == service.Degraded; got != (up > settleFor) {
			t.Errorf("up for %s: %v", up, got)
		}
	}
}
