package galera

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"multihead/internal/golden"
	"multihead/internal/plan"
	"multihead/internal/service"
)

var auto = service.Intent{Mode: service.Auto}

// outline is a plan as text: a line a stage, with the steps in it.
func outline(p plan.Phase) string {
	var b strings.Builder
	for _, st := range p.Stages {
		fmt.Fprintf(&b, "%s:", st.Name)
		for _, s := range st.Steps {
			fmt.Fprintf(&b, " %s/%s", strings.TrimPrefix(s.ID, "mariadb."), s.Host)
		}
		b.WriteString("\n")
	}
	for _, n := range p.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	return b.String()
}

func planOf(t *testing.T, s *State, intent service.Intent) plan.Phase {
	t.Helper()
	p, err := s.Plan(intent)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPlanOutlines(t *testing.T) {
	tests := []struct {
		name   string
		s      *State
		intent service.Intent
	}{
		{"bare", stateOf(blank("s1"), blank("s2"), blank("s3"), blank("s4")), auto},
		{"healthy", stateOf(live("s1", uuidA), live("s2", uuidA), live("s3", uuidA)), auto},
		{"growth", stateOf(live("s1", uuidA), live("s2", uuidA), blank("s3")), auto},
		{"resume", stateOf(stopped("s1", uuidA, 8, false), stopped("s2", uuidA, 9, true)), auto},
		{"adopt", stateOf(blank("s1"), alone("s2", 1)), auto},
		{"one-head-lost", stateOf(live("s1", uuidA), live("s2", uuidA), lost("s3")), auto},
		{"only-the-new-head", stateOf(live("s1", uuidA), live("s2", uuidA), blank("s3")), service.Intent{Nodes: []string{"s3"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			golden.Check(t, "testdata/plan-"+tt.name+".txt", []byte(outline(planOf(t, tt.s, tt.intent))))
		})
	}
}

func TestEveryStepIsThereOnce(t *testing.T) {
	for _, s := range []*State{
		stateOf(blank("s1"), blank("s2")), stateOf(live("s1", uuidA), live("s2", uuidA), blank("s3")),
		stateOf(alone("s1", 1), alone("s2", 0)), stateOf(stopped("s1", uuidA, 8, false), stopped("s2", uuidA, 9, true), blank("s3")),
	} {
		seen := map[string]bool{}
		for _, st := range planOf(t, s, auto).Stages {
			for _, step := range st.Steps {
				if seen[step.ID+step.Host] {
					t.Errorf("%s is there twice on %s", step.ID, step.Host)
				}
				seen[step.ID+step.Host] = true
			}
		}
	}
}

// A running node must not be restarted because the list of members grew, nor
// two at once for whatever reason.
func TestMembersAreNotRestartedForNewHeadsAndNeverTogether(t *testing.T) {
	p := planOf(t, stateOf(live("s1", uuidA), live("s2", uuidA), blank("s3")), auto)
	for _, st := range p.Stages {
		units := 0
		for _, s := range st.Steps {
			u, ok := s.Action.(plan.Unit)
			if !ok || u.Active == nil || !*u.Active {
				continue
			}
			units++
			if slices.Contains(u.Reads, debian.membersFile()) {
				t.Errorf("%s on %s restarts when the list of members changes", s.ID, s.Host)
			}
		}
		if units > 1 {
			t.Errorf("stage %q restarts %d nodes at once", st.Name, units)
		}
	}
}

func TestDatabasesAreMadeBeforeAnybodyCopiesThem(t *testing.T) {
	for _, s := range []*State{stateOf(blank("s1"), blank("s2")), stateOf(live("s1", uuidA), blank("s2"))} {
		made, joined := -1, -1
		for i, st := range planOf(t, s, auto).Stages {
			for _, step := range st.Steps {
				switch step.ID {
				case "mariadb.accounts":
					made = i
				case "mariadb.join":
					joined = i
				}
			}
		}
		if made < 0 || joined < made {
			t.Errorf("accounts in stage %d, joining in stage %d: the donor would not know the account of state transfers", made, joined)
		}
	}
}

func TestAnArbiterVotesOnlyWhereItMakesTheNumberOdd(t *testing.T) {
	witness := func(s *State, runs service.Answer) *State {
		s.witnesses = []voter{{name: "w1", reached: true, at: debian, runs: runs}}
		return s
	}
	arbiter := func(s *State) string {
		for _, st := range planOf(t, s, auto).Stages {
			for _, step := range st.Steps {
				if step.ID == "mariadb.arbiter" {
					return step.Action.String()
				}
			}
		}
		return ""
	}
	tests := []struct {
		name string
		s    *State
		want string
	}{
		{"two heads", witness(stateOf(live("s1", uuidA), live("s2", uuidA)), service.No), "start garb.service"},
		{"three heads", witness(stateOf(live("s1", uuidA), live("s2", uuidA), live("s3", uuidA)), service.No), ""},
		{"three heads, of which one is new", witness(stateOf(live("s1", uuidA), live("s2", uuidA), blank("s3")), service.Yes), "stop garb.service"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := arbiter(tt.s); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// Heads that were shut down in order leave the quorum to the witness: what is begun
// beside it would abort.
func TestAWitnessLetsGoBeforeAClusterIsBegun(t *testing.T) {
	heads := func() *State { return stateOf(stopped("s1", uuidA, 9, true), stopped("s2", uuidA, 9, false)) }
	lostPower := func() *State { return stateOf(crashed("s1", 9, 5, 1, 2, 3), crashed("s2", 8, 5, 1, 2, 3)) }
	for name, c := range map[string]struct {
		s       *State
		recover bool
		want    bool
	}{
		"up":                           {s: witness(heads(), service.Yes), want: true},
		"up, and it does not run":      {s: witness(heads(), service.No)},
		"up, and it cannot be asked":   {s: witness(heads(), service.Unsure)},
		"up beside a cluster":          {s: witness(stateOf(live("s1", uuidA), blank("s2")), service.Yes)},
		"recover":                      {s: witness(lostPower(), service.Yes), recover: true, want: true},
		"recover, and it does not run": {s: witness(lostPower(), service.No), recover: true},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := c.s.Plan(auto)
			if c.recover {
				p, err = c.s.Recover(auto)
			}
			if err != nil {
				t.Fatal(err)
			}
			out := outline(p)
			if got := strings.Contains(out, "no quorum elsewhere: arbiter-anew/w1\nbegin on s1: begin/s1"); got != c.want || !got && strings.Contains(out, "arbiter-anew") {
				t.Errorf("%s", out)
			}
		})
	}
}

func TestOriginDecidesWhatUndoingMeans(t *testing.T) {
	tests := []struct {
		name string
		n    node
		want origin
	}{
		{"as the package makes it", blank("s1"), fresh},
		{"started empty by the package", alone("s1", 0), fresh},
		{"a server of its own", alone("s1", 2), adopted},
		{"a stopped server of its own", aloneStopped("s1"), adopted},
		{"a member that was away", stopped("s1", uuidA, 5, false), returning},
		{"a member that crashed", stopped("s1", uuidA, -1, false), returning},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := (&builder{}).origin(tt.n); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestStop(t *testing.T) {
	tests := []struct {
		name   string
		s      *State
		intent service.Intent
		want   string
	}{
		{"all: one with all data is the last", stateOf(donor("s1", uuidA), live("s2", uuidA), live("s3", uuidA)), auto,
			"stop: stop/s1 stop/s3\nstop the last: stop/s2\n"},
		{"one of three: the others go on", stateOf(live("s1", uuidA), live("s2", uuidA), live("s3", uuidA)), service.Intent{Nodes: []string{"s1"}},
			"stop: stop/s1\n"},
		{"some stopped already", stateOf(stopped("s1", uuidA, 4, false), live("s2", uuidA)), auto,
			"stop: stop/s1\nstop the last: stop/s2\n"},
		{"a head is lost", stateOf(live("s1", uuidA), lost("s2")), auto, "stop the last: stop/s1\n"},
		{"all, with a witness", witness(stateOf(live("s1", uuidA), live("s2", uuidA)), service.Yes), auto,
			"stop: stop/s2\nstop the last: stop/s1\nstop the witness: stop-arbiter/w1\n"},
		{"one head, with a witness", witness(stateOf(live("s1", uuidA), live("s2", uuidA)), service.Yes), service.Intent{Nodes: []string{"s1"}}, "stop: stop/s1\n"},
		{"a witness alone, which does not see the heads", witness(stateOf(lost("s1"), lost("s2")), service.Yes), service.Intent{Nodes: []string{"w1"}},
			"stop the witness: stop-arbiter/w1\n"},
		{"nobody lives", stateOf(stopped("s1", uuidA, 4, false), stopped("s2", uuidA, 4, true)), auto, "stop: stop/s1 stop/s2\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := tt.s.Stop(tt.intent)
			if err != nil {
				t.Fatal(err)
			}
			if got := outline(p); got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
		})
	}
}

func TestHealth(t *testing.T) {
	tests := []struct {
		name   string
		s      *State
		want   service.Word
		reason string
	}{
		{"all well", stateOf(live("s1", uuidA), live("s2", uuidA)), service.Up, ""},
		{"one down", stateOf(live("s1", uuidA), stopped("s2", uuidA, 4, false)), service.Degraded, "s2: mariadbd does not run"},
		{"one receives data", stateOf(live("s1", uuidA), joining("s2", uuidA)), service.Degraded, "s2: not in sync: Joiner"},
		{"one gives data", stateOf(live("s1", uuidA), donor("s2", uuidA)), service.Degraded, "s2: not in sync: Donor/Desynced"},
		{"the only one with all data gives it", stateOf(donor("s1", uuidA), joining("s2", uuidA)), service.Degraded, "s1: not in sync"},
		{"one lost", stateOf(live("s1", uuidA), lost("s2")), service.Degraded, "s2: ssh: timed out"},
		{"no quorum", stateOf(detached("s1", uuidA), lost("s2")), service.Unknown, "s1: without quorum (non-Primary)"},
		{"no quorum anywhere", stateOf(detached("s1", uuidA), detached("s2", uuidA)), service.Down, "without quorum"},
		{"all lost", stateOf(lost("s1"), lost("s2")), service.Unknown, "ssh: timed out"},
		{"all stopped", stateOf(stopped("s1", uuidA, 4, true)), service.Down, "does not run"},
		{"two clusters", stateOf(live("s1", uuidA), live("s2", uuidB)), service.Down, "2 clusters live at once"},
		{"on its own", stateOf(alone("s1", 1)), service.Down, "outside the cluster"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := tt.s.Health()
			if h.State != tt.want || !strings.Contains(h.Reason, tt.reason) || (h.State == service.Up) != (h.Reason == "") {
				t.Errorf("got %s: %q", h.State, h.Reason)
			}
			for name, n := range h.Nodes {
				if (n.State == service.Up) != (n.Reason == "") {
					t.Errorf("%s is %s: %q", name, n.State, n.Reason)
				}
			}
		})
	}
}

func TestSurvival(t *testing.T) {
	heads := func(n int, witness bool) *State {
		s := stateOf()
		for i := range n {
			s.nodes = append(s.nodes, blank(fmt.Sprintf("s%d", i+1)))
		}
		if witness {
			s.witnesses = []voter{{name: "w1", reached: true, at: debian, runs: service.Yes}}
		}
		return s
	}
	tests := []struct {
		heads          int
		witness        bool
		atOnce, inTurn int
	}{
		{1, false, 0, 0}, {2, false, 0, 0}, {2, true, 1, 1}, {3, false, 1, 1}, {4, false, 1, 2}, {4, true, 2, 3}, {5, false, 2, 3}, {10, false, 4, 8},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%d heads, witness %v", tt.heads, tt.witness), func(t *testing.T) {
			v := heads(tt.heads, tt.witness).Survival()
			if v.AtOnce != tt.atOnce || v.InTurn != tt.inTurn || v.DataSafe != tt.heads-1 {
				t.Errorf("%+v", v)
			}
		})
	}
}
