package agent

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"multihead/internal/cluster"
	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// asked is a service whose recovery is what a function says of each look at it.
type asked struct {
	name  string
	looks int
	rec   func(look int) (plan.Phase, error)
}

func (f *asked) Name() string    { return f.name }
func (f *asked) After() []string { return nil }
func (f *asked) Observe(context.Context, service.Input) (service.State, error) {
	f.looks++
	return found{f, f.looks}, nil
}

type found struct {
	f    *asked
	look int
}

func (s found) Plan(service.Intent) (plan.Phase, error)    { return plan.Phase{}, nil }
func (s found) Stop(service.Intent) (plan.Phase, error)    { return plan.Phase{}, nil }
func (s found) Health() service.Health                     { return service.Health{} }
func (s found) Survival() service.Survival                 { return service.Survival{} }
func (s found) Recover(service.Intent) (plan.Phase, error) { return s.f.rec(s.look) }

// needed is a phase with one step.
func needed(again bool) plan.Phase {
	return plan.Phase{Again: again, Stages: []plan.Stage{{Name: "x", Steps: []plan.Step{{ID: "x", Host: "a", Action: plan.Func{What: "x",
		Change: func(context.Context, host.Host) (plan.Action, error) { return nil, nil }}}}}}}
}

func alone(t *testing.T, services ...service.Service) (*Agent, *host.Local) {
	t.Helper()
	c := clusterOf(1, 0)
	c.Info.ClusterName = "hpc"
	l := host.NewLocal("a").LockAt(filepath.Join(t.TempDir(), "lock"))
	a, err := New(Options{Name: "a", Cluster: c, Local: l, Services: services, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return a, l
}

// Whatever a look ends with, what waits is looked at again soon: a heal that stood was
// left alone for five minutes, because the look under the lock had learned less.
func TestWhatWaitsIsLookedAtAgainSoon(t *testing.T) {
	heals := func(int) (plan.Phase, error) { return plan.Phase{Again: true}, nil }
	first := func(again bool) func(int) (plan.Phase, error) {
		return func(look int) (plan.Phase, error) {
			if look == 1 {
				return needed(again), nil
			}
			return plan.Phase{}, nil
		}
	}
	for name, tt := range map[string]struct {
		services []service.Service
		locked   bool
		want     bool
	}{
		"nothing waits":                        {[]service.Service{&asked{name: "s", rec: func(int) (plan.Phase, error) { return plan.Phase{}, nil }}}, false, false},
		"something waits":                      {[]service.Service{&asked{name: "s", rec: heals}}, false, true},
		"and another's step was needed once":   {[]service.Service{&asked{name: "s", rec: heals}, &asked{name: "t", rec: first(false)}}, false, true},
		"the look under the lock learned less": {[]service.Service{&asked{name: "s", rec: first(true)}}, false, true},
		"somebody else is at work":             {[]service.Service{&asked{name: "s", rec: func(int) (plan.Phase, error) { return needed(false), nil }}}, true, true},
		"it waits, and the service is refused": {[]service.Service{&asked{name: "s", rec: func(int) (plan.Phase, error) { return plan.Phase{Again: true}, &service.Refusal{Service: "s"} }}}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			a, l := alone(t, tt.services...)
			if tt.locked {
				if _, err := l.Lock(t.Context(), host.Owner{User: "kim", Purpose: "up"}); err != nil {
					t.Fatal(err)
				}
			}
			did, again, err := a.bringBack(t.Context(), service.Intent{Mode: service.Auto, Without: true}, "")
			if did || again != tt.want || err != nil {
				t.Errorf("did %v, again %v, %v", did, again, err)
			}
		})
	}
}

func TestTheNextLookComesAsItEnded(t *testing.T) {
	start := time.Unix(10000, 0)
	nothing := func(int) []string { return nil }
	for _, tt := range []struct {
		name             string
		tries            int // attempts before this one
		did, again, well bool
		wrong            func(second int) []string // from then on
		want             int                       // second of the next look
	}{
		{"nothing was needed", 0, false, false, true, nothing, 300},
		{"something waits", 0, false, true, true, nothing, 20},
		{"it did something", 0, true, true, true, nothing, 20},
		{"the fourth that did something and ended well", 3, true, true, true, nothing, 60},
		{"the fourth that did something and failed", 3, true, true, false, nothing, 80},
		{"it could not look", 0, false, false, false, nothing, 20},
		{"something comes and goes, and settles in between", 0, false, true, true, func(s int) []string {
			if s%18 < 2 {
				return []string{"b disk: slow"}
			}
			return nil
		}, 26},
		{"something comes and goes all the time", 0, false, false, true, func(s int) []string {
			if s%4 < 2 {
				return []string{"b disk: slow"}
			}
			return nil
		}, 301},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := ledger{looked: start}
			l.due(nil, nil, start.Add(-time.Minute))
			l.due(nil, nil, start.Add(-time.Second)) // nobody is missing, for long enough
			l.pace = throttle{tries: tt.tries, next: start}
			l.ended(start, tt.did, tt.again, tt.well, false)
			for s := 1; s <= 1000; s++ {
				if l.due(tt.wrong(s), nil, start.Add(time.Duration(s)*time.Second)) {
					if s != tt.want {
						t.Errorf("after %d s, want %d", s, tt.want)
					}
					return
				}
			}
			t.Error("never")
		})
	}
}

func TestAMendingEndsWhereAProofOfDeathHas(t *testing.T) {
	a, _ := alone(t, &asked{name: "s", rec: func(int) (plan.Phase, error) { return plan.Phase{}, nil }})
	v := &cluster.View{}
	m := &mending{a: a, view: v}
	if err := m.stillDead(v); err != nil {
		t.Error(err)
	}
	v.Dead = map[string]string{"b": "fence_x says off, twice"}
	if err := m.stillDead(v); err == nil {
		t.Error("b may have been switched on")
	}
}
