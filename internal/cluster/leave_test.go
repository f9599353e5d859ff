package cluster

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"multihead/internal/plan"
	"multihead/internal/service"
)

// leaver is a service that a head can leave.
type leaver struct {
	*fake
	before []string
}

func (l *leaver) Observe(context.Context, service.Input) (service.State, error) { return l, nil }
func (l *leaver) Leave(i service.Intent) (plan.Phase, error) {
	return plan.Phase{After: l.before, Notes: i.Leaving}, l.refuse
}

func TestWhoMayLeave(t *testing.T) {
	for name, tc := range map[string]struct {
		off     []string
		intent  service.Intent
		refused string // empty: it may
	}{
		"one that answers":            {nil, service.Intent{Leaving: []string{"server3"}}, ""},
		"two that answer":             {nil, service.Intent{Leaving: []string{"server2", "server3"}}, ""},
		"all":                         {nil, service.Intent{Leaving: []string{"server1", "server2", "server3"}}, "no head would be left: 3 of 3"},
		"one that is silent":          {[]string{"server3"}, service.Intent{Leaving: []string{"server3"}}, "unknown is not gone"},
		"one that is gone":            {[]string{"server3"}, service.Intent{Leaving: []string{"server3"}, Lost: []string{"server3"}}, ""},
		"one said to be gone, and is": {nil, service.Intent{Leaving: []string{"server3"}, Lost: []string{"server3"}}, "server3 answers, so it is not gone"},
		"one, with another silent":    {[]string{"server3"}, service.Intent{Leaving: []string{"server2"}}, "1 of the 2 that stay"},
		"one gone, with another silent": {[]string{"server2", "server3"}, service.Intent{Leaving: []string{"server3"}, Lost: []string{"server3"}, Confirmed: true},
			"server2 does not answer"},
		"most of them, gone":                         {[]string{"server2", "server3"}, service.Intent{Leaving: []string{"server2", "server3"}, Lost: []string{"server2", "server3"}}, "1 of 3 heads answer, which is no majority"},
		"a compute node that answers, a head silent": {[]string{"server3"}, service.Intent{LeavingComputes: []string{"node1"}}, ""},
		"a compute node that is silent":              {[]string{"node1"}, service.Intent{LeavingComputes: []string{"node1"}}, "unknown is not gone"},
		"a compute node that is gone":                {[]string{"node1"}, service.Intent{LeavingComputes: []string{"node1"}, Lost: []string{"node1"}}, ""},
		"a compute node said to be gone, and is not": {nil, service.Intent{LeavingComputes: []string{"node1"}, Lost: []string{"node1"}}, "node1 answers, so it is not gone"},
		"a witness that answers":                     {nil, service.Intent{Leaving: []string{"witness1"}}, ""},
		"a witness that is silent":                   {[]string{"witness1"}, service.Intent{Leaving: []string{"witness1"}}, "unknown is not gone"},
		"a witness that is gone":                     {[]string{"witness1"}, service.Intent{Leaving: []string{"witness1"}, Lost: []string{"witness1"}}, ""},
		"a witness, with a head silent":              {[]string{"server3"}, service.Intent{Leaving: []string{"witness1"}}, "witness1 is the vote that the other 2 may need"},
		"most of them, gone and typed":               {[]string{"server2", "server3"}, service.Intent{Leaving: []string{"server2", "server3"}, Lost: []string{"server2", "server3"}, Confirmed: true}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			v := three(t, nil, tc.off...)
			_, err := v.LeavePlan(tc.intent, nil)
			var refused *service.Refusal
			switch {
			case tc.refused == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tc.refused != "" && (!errors.As(err, &refused) || !strings.Contains(refused.Reason, tc.refused) || refused.Remedy == ""):
				t.Errorf("%v, want %q", err, tc.refused)
			}
		})
	}
}

func TestServicesSayWhatIsLeftBeforeThem(t *testing.T) {
	v := three(t, nil)
	first := &leaver{fake: &fake{name: "first"}}
	last := &leaver{fake: &fake{name: "mariadb"}, before: []string{"first"}}
	other := &fake{name: "prepare"} // nothing to leave
	if err := v.Observe(t.Context(), []service.Service{other, last, first}); err != nil {
		t.Fatal(err)
	}
	p, err := v.LeavePlan(service.Intent{Leaving: []string{"server3"}}, nil)
	if err != nil || len(p.Phases) != 2 || p.Phases[0].Name != "first" {
		t.Fatalf("%+v, %v", p, err)
	}
	for _, ph := range p.Phases {
		if ph.Name == "mariadb" && (len(ph.After) != 1 || ph.After[0] != "first" || ph.Notes[0] != "server3") {
			t.Errorf("%+v", ph)
		}
	}
	if p, _ = v.LeavePlan(service.Intent{Leaving: []string{"server3"}}, []string{"mariadb"}); len(p.Phases) != 1 {
		t.Errorf("one service: %+v", p)
	}
	first.refuse = &service.Refusal{Service: "first", Reason: "no"}
	last.refuse = &service.Refusal{Service: "mariadb", Reason: "neither"}
	_, err = v.LeavePlan(service.Intent{Leaving: []string{"server3"}}, nil)
	if refused, _ := service.Split(err); len(refused) != 2 {
		t.Errorf("not every refusal is said: %v", err)
	}
}

func TestPhasesAreReadInTheOrderInWhichTheyAreLeft(t *testing.T) {
	ph := func(name string, after ...string) plan.Phase { return plan.Phase{Name: name, After: after} }
	for name, c := range map[string]struct {
		phases []plan.Phase
		want   string
	}{
		"nothing":              {nil, ""},
		"none waits":           {[]plan.Phase{ph("b"), ph("a")}, "b a"},
		"the first waits":      {[]plan.Phase{ph("prepare", "slurm"), ph("redis", "agent"), ph("slurm", "agent"), ph("agent")}, "agent redis slurm prepare"},
		"for one that is not":  {[]plan.Phase{ph("slurm", "web"), ph("agent")}, "slurm agent"},
		"two wait for another": {[]plan.Phase{ph("a", "b"), ph("b", "a"), ph("c")}, "c a b"},
	} {
		var got []string
		for _, p := range inOrder(c.phases) {
			got = append(got, p.Name)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// worker is a service with work of users.
type worker struct{ *leaver }

func (w *worker) Observe(context.Context, service.Input) (service.State, error) { return w, nil }
func (w *worker) Work() ([]string, error)                                       { return []string{"job 1"}, nil }

// Seen: the munge key went from a node whose jobs were only to be waited for, and
// they could not end.
func TestNothingButWorkIsTouchedWhileItIsWaitedFor(t *testing.T) {
	v := three(t, nil)
	if err := v.Observe(t.Context(), []service.Service{&leaver{fake: &fake{name: "prepare"}}, &worker{&leaver{fake: &fake{name: "jobs"}}}}); err != nil {
		t.Fatal(err)
	}
	for drain, want := range map[bool]int{true: 1, false: 2} {
		p, err := v.LeavePlan(service.Intent{LeavingComputes: []string{"node1"}, Drain: drain}, nil)
		if err != nil || len(p.Phases) != want || p.Phases[len(p.Phases)-1].Name != "jobs" {
			t.Errorf("drain %v: %+v, %v", drain, p, err)
		}
	}
}

// Seen: slurm began beside prepare, where what stands between them was left out.
func TestAPhaseWaitsForWhatComesBeforeThoseThatAreLeftOut(t *testing.T) {
	v := three(t, []*fake{{name: "prepare"}, {name: "mariadb", after: []string{"prepare"}}, {name: "last", after: []string{"mariadb"}}})
	p, err := v.Plan(service.Intent{}, []string{"prepare", "last"})
	if err != nil || len(p.Phases) != 2 || !slices.Contains(p.Phases[1].After, "prepare") {
		t.Errorf("%+v, %v", p, err)
	}
}
