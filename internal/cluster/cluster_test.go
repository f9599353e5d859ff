package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// fake is a service whose state a test says.
type fake struct {
	name   string
	after  []string
	health service.Health
	lives  service.Survival
	refuse error
}

func (f *fake) Name() string    { return f.name }
func (f *fake) After() []string { return f.after }
func (f *fake) Observe(context.Context, service.Input) (service.State, error) {
	return f, nil
}
func (f *fake) Plan(service.Intent) (plan.Phase, error) { return plan.Phase{}, f.refuse }
func (f *fake) Stop(service.Intent) (plan.Phase, error) { return plan.Phase{}, nil }
func (f *fake) Health() service.Health                  { return f.health }
func (f *fake) Survival() service.Survival              { return f.lives }

// three is a view of three heads; those named in off were not reached.
func three(t *testing.T, services []*fake, off ...string) *View {
	t.Helper()
	c := &config.Cluster{}
	c.Info.ClusterName = "site"
	c.Database.Enabled, c.Redis.Enabled = true, true
	for i := 1; i <= 3; i++ {
		h := config.Controller{Services: config.Services{MariaDB: true, Redis: true}}
		h.Hostname = fmt.Sprintf("server%d", i)
		c.Nodes.Controllers = append(c.Nodes.Controllers, h)
	}
	c.Nodes.ComputeNodes = []config.ComputeNode{{HostSpec: config.HostSpec{Hostname: "node1"}}}
	c.Witnesses = []config.Witness{{HostSpec: config.HostSpec{Hostname: "witness1"}}}
	v, err := Reach(t.Context(), c, c.AllHosts(), func(_ context.Context, specs []config.HostSpec) (map[string]host.Host, map[string]error, error) {
		reached, failed := map[string]host.Host{}, map[string]error{}
		for _, s := range specs {
			reached[s.Hostname] = hosttest.New(s.Hostname).File("/proc/uptime", "7200.5 1\n").File("/proc/loadavg", "0.25 0 0\n")
		}
		for _, name := range off {
			delete(reached, name)
			failed[name] = errors.New("timed out")
		}
		return reached, failed, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var list []service.Service
	for _, f := range services {
		list = append(list, f)
	}
	if err := v.Observe(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	return v
}

// health is a service that is word as a whole and on every head.
func health(word service.Word) service.Health {
	h := service.Health{State: word, Nodes: map[string]service.NodeHealth{}}
	if word != service.Up {
		h.Reason = "the test says so"
	}
	for i := 1; i <= 3; i++ {
		h.Nodes[fmt.Sprintf("server%d", i)] = service.NodeHealth{State: word, Reason: h.Reason}
	}
	return h
}

func TestStatusIsTheWorstOfWhatIsKnown(t *testing.T) {
	for _, tt := range []struct {
		name         string
		mariadb      service.Word
		redis        service.Word
		off          []string
		word         service.Word
		serving      bool
		clusterState string
	}{
		{"all is well", service.Up, service.Up, nil, service.Up, true, "healthy"},
		{"one service is degraded", service.Up, service.Degraded, nil, service.Degraded, true, "degraded"},
		{"one service is down", service.Up, service.Down, nil, service.Down, false, "degraded"},
		{"everything is down", service.Down, service.Down, nil, service.Down, false, "down"},
		{"a head is off", service.Up, service.Up, []string{"server2"}, service.Degraded, true, "degraded"},
		{"nothing is known of a service", service.Up, service.Unknown, nil, service.Degraded, false, "degraded"},
		{"nobody answers", service.Unknown, service.Unknown, []string{"server1", "server2", "server3"}, service.Unknown, false, "down"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := three(t, []*fake{{name: config.MariaDB, health: health(tt.mariadb)}, {name: config.Redis, health: health(tt.redis)}}, tt.off...)
			vitals := v.Vitals(t.Context())
			s, d := v.Status(vitals), v.Discovery(vitals)
			if s.State != tt.word || s.Serving != tt.serving || d.ClusterState != tt.clusterState {
				t.Errorf("%s, serving %v, %s", s.State, s.Serving, d.ClusterState)
			}
			for _, p := range s.Problems {
				if p.Reason == "" {
					t.Errorf("a problem without a reason: %+v", p)
				}
			}
			if (s.State == service.Up) != (len(s.Problems) == 0) {
				t.Errorf("%s with problems %+v", s.State, s.Problems)
			}
			if d.ActiveControllers+d.InactiveControllers != 3 || d.InactiveControllers != len(tt.off) {
				t.Errorf("%+v", d)
			}
		})
	}
}

func TestDiscoveryHasUptimeLoadAndFacts(t *testing.T) {
	h := health(service.Up)
	h.Nodes["server3"] = service.NodeHealth{State: service.Up, Facts: map[string]any{"cluster_size": 3, "vip": true}}
	v := three(t, []*fake{{name: config.MariaDB, health: h}}, "server1")
	d := v.Discovery(v.Vitals(t.Context()))
	if d.VIPOwner != "server3" || d.Controllers[0].Status != "inactive" || d.Controllers[0].Error == "" {
		t.Errorf("%+v", d)
	}
	if c := d.Controllers[2]; c.Uptime != "2 h 0 min" || c.Load != 0.25 || c.Services["mariadb"]["cluster_size"] != 3 || c.Services["mariadb"]["status"] != "ok" {
		t.Errorf("%+v", c)
	}
}

func TestSurvivalIsThatOfTheWeakest(t *testing.T) {
	v := three(t, []*fake{
		{name: config.MariaDB, lives: service.Survival{AtOnce: 1, InTurn: 2}},
		{name: config.Redis, lives: service.Survival{AtOnce: 0, InTurn: 1}},
	})
	s := v.Survival()
	if s.AtOnce != 0 || s.InTurn != 1 || s.Sentence() != "can lose no head at once, 1 head one after another (limited by redis)" {
		t.Errorf("%+v %q", s, s.Sentence())
	}
}

func TestAScriptReadsWhatTheClusterCanLose(t *testing.T) {
	v := three(t, []*fake{{name: config.Redis, lives: service.Survival{AtOnce: 1, InTurn: 2, Why: "w", RaisedBy: "r"}}})
	got, err := json.Marshal(v.Survival())
	want := `{"services":[{"service":"redis","at_once":1,"in_turn":2,"why":"w","raised_by":"r","data_safe":0}],"at_once":1,"in_turn":2,"weakest":["redis"]}`
	if err != nil || string(got) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
	v = three(t, nil)
	if got, err := json.Marshal(v.Survival()); err != nil || !strings.Contains(string(got), `"services":[]`) {
		t.Errorf("%v %s", err, got)
	}
}

func TestTheErrorOfASilentHeadIsSaidOnce(t *testing.T) {
	for _, tt := range []struct {
		reason, want string
	}{
		{"server1: timed out", "not known of server1, server2"},
		{"server1: timed out; server2: timed out", "not known of server1, server2"},
		{"no server answers; server1: timed out; server3: not running", "no server answers; server3: not running; not known of server1, server2"},
		{"a witness does not vote", "a witness does not vote"},
	} {
		h := health(service.Degraded)
		h.Reason = tt.reason
		s := three(t, []*fake{{name: config.Redis, health: h}}, "server1", "server2").Status(nil)
		if got := s.Services[0].Reason; got != tt.want {
			t.Errorf("%q became %q; want %q", tt.reason, got, tt.want)
		}
		said := 0
		for _, p := range s.Problems {
			said += strings.Count(p.Reason, "timed out")
		}
		if said != 2 {
			t.Errorf("the errors of two heads are said %d times: %+v", said, s.Problems)
		}
	}
}

func TestWhatIsNotUpIsNamed(t *testing.T) {
	for _, tt := range []struct {
		name   string
		redis  service.Word
		nodes  service.Word
		off    []string
		notUp  string
		unsure bool
	}{
		{"all is well", service.Up, service.Up, nil, "", false},
		{"a service and no head", service.Degraded, service.Up, nil, "redis DEGRADED", false},
		{"a head is off", service.Degraded, service.Up, []string{"server2"}, "server2 UNKNOWN", true},
		{"every head is broken", service.Down, service.Down, nil, "server1 DEGRADED, server2 DEGRADED, server3 DEGRADED", false},
	} {
		h := health(tt.nodes)
		h.State = tt.redis
		s := three(t, []*fake{{name: config.Redis, health: h}}, tt.off...).Status(nil)
		if got := strings.Join(s.NotUp(), ", "); got != tt.notUp || s.Unsure() != tt.unsure {
			t.Errorf("%s: %q, unsure %v", tt.name, got, s.Unsure())
		}
	}
}

func TestEveryRefusalIsSaidAtOnce(t *testing.T) {
	v := three(t, []*fake{
		{name: config.MariaDB, refuse: &service.Refusal{Service: "mariadb", Reason: "a", Remedy: "b"}},
		{name: config.Redis, refuse: &service.Refusal{Service: "redis", Reason: "c", Remedy: "d"}},
	})
	_, err := v.Plan(service.Intent{}, nil)
	if err == nil || !strings.Contains(err.Error(), "mariadb") || !strings.Contains(err.Error(), "redis") {
		t.Errorf("%v", err)
	}
}

func TestStoppingGoesTheOtherWayRound(t *testing.T) {
	p := reverse(plan.Plan{Phases: []plan.Phase{{Name: "base"}, {Name: "db", After: []string{"base"}}, {Name: "slurm", After: []string{"db"}}}})
	if p.Phases[0].Name != "slurm" || len(p.Phases[0].After) != 0 || p.Phases[1].After[0] != "slurm" || p.Phases[2].After[0] != "db" {
		t.Errorf("%+v", p)
	}
}

func TestAHeadStandsAloneOnlyWhenItIsCertainThatItIs(t *testing.T) {
	for _, tt := range []struct {
		name string
		word service.Word
		off  []string
		ok   bool
	}{
		{"nothing runs elsewhere", service.Down, nil, true},
		{"something runs elsewhere", service.Up, nil, false},
		{"it is not known", service.Unknown, nil, false},
		{"another head is off", service.Down, []string{"server3"}, false},
	} {
		v := three(t, []*fake{{name: config.MariaDB, health: health(tt.word)}}, tt.off...)
		if err := v.Alone("server1"); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// holder is a service whose heads hold data.
type holder struct {
	*fake
	evidence []service.Evidence
}

func (h *holder) Observe(context.Context, service.Input) (service.State, error) { return h, nil }
func (h *holder) Evidence() []service.Evidence                                  { return h.evidence }

// A stopped head may hold newer data than the one that is to stand alone.
func TestAHeadDoesNotStandAloneBesideDataOfOthers(t *testing.T) {
	for _, tt := range []struct {
		name  string
		other service.Evidence
		ok    bool
	}{
		{"the others are empty", service.Evidence{Live: service.No, Data: service.No}, true},
		{"one is stopped and has data", service.Evidence{Live: service.No, Data: service.Yes, Why: "stopped at 20"}, false},
		{"of one it is not known", service.Evidence{Live: service.No, Data: service.Unsure}, false},
		{"one may live", service.Evidence{Live: service.Unsure, Data: service.No}, false},
	} {
		v := three(t, nil)
		tt.other.Node = "server2"
		db := &holder{&fake{name: config.MariaDB, health: health(service.Down)}, []service.Evidence{
			{Node: "server1", Live: service.No, Data: service.Yes}, tt.other, {Node: "server3", Live: service.No, Data: service.No}}}
		if err := v.Observe(t.Context(), []service.Service{db}); err != nil {
			t.Fatal(err)
		}
		if err := v.Alone("server1"); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// locked is a machine whose lock a test says.
type locked struct {
	*hosttest.Machine
	held *host.LockedError
	took int
}

func (l *locked) Lock(context.Context, host.Owner) (host.Lease, error) {
	if l.held != nil {
		return nil, l.held
	}
	l.took++
	return nil, nil
}
func (l *locked) Holder(context.Context, *host.Owner) (*host.LockedError, error) { return l.held, nil }

func TestALockThatEndedWithItsConnectionIsTakenAgain(t *testing.T) {
	v := three(t, nil)
	before, all := map[string]host.Host{}, map[string]*locked{}
	for name := range v.Hosts {
		all[name] = &locked{Machine: hosttest.New(name)}
		v.Hosts[name], before[name] = all[name], all[name]
	}
	if err := v.LockAgain(t.Context(), host.Owner{}, before); err != nil || all["server1"].took+all["server2"].took+all["server3"].took != 0 {
		t.Errorf("all connections stand: %v", err)
	}
	before["server2"] = hosttest.New("server2") // another one by now
	if err := v.LockAgain(t.Context(), host.Owner{}, before); err != nil || all["server2"].took != 1 || all["server1"].took != 0 {
		t.Errorf("one was lost: %v", err)
	}
	all["server2"].held = &host.LockedError{Host: "server2", Owner: host.Owner{User: "kim"}}
	if err := v.LockAgain(t.Context(), host.Owner{}, before); !errors.As(err, new(*host.LockedError)) {
		t.Errorf("another run has taken it meanwhile: %v", err)
	}
}

func TestTheLockNeedsMoreThanHalfOfTheHeads(t *testing.T) {
	lockable := func(off ...string) (*View, map[string]*locked) {
		v := three(t, nil, off...)
		all := map[string]*locked{}
		for name := range v.Hosts {
			all[name] = &locked{Machine: hosttest.New(name)}
			v.Hosts[name] = all[name]
		}
		return v, all
	}
	v, all := lockable("server3")
	if err := v.Lock(t.Context(), host.Owner{}); err != nil || all["server1"].took != 1 || all["server2"].took != 1 {
		t.Errorf("two of three: %v", err)
	}
	if v, _ := lockable("server2", "server3"); v.Lock(t.Context(), host.Owner{}) == nil {
		t.Error("one of three heads was enough")
	}
	for _, tt := range []struct {
		dead string
		ok   bool
	}{{"server2", false}, {"server2 server3", true}, {"server1 server3", false}} { // server1 answers: a proof against it is none
		v, _ := lockable("server2", "server3")
		dead := map[string]string{}
		for _, n := range strings.Fields(tt.dead) {
			dead[n] = "fence_x says off, twice"
		}
		v.Proven(dead)
		if err := v.Lock(t.Context(), host.Owner{}); (err == nil) != tt.ok {
			t.Errorf("%s proven off: %v", tt.dead, err)
		}
	}
	typed, _ := lockable("server2", "server3")
	typed.Few = true
	if err := typed.Lock(t.Context(), host.Owner{}); err != nil {
		t.Errorf("one of three, and a person says so: %v", err)
	}
	v, all = lockable()
	all["server1"].held = &host.LockedError{Host: "server1", Owner: host.Owner{User: "kim"}}
	var held *host.LockedError
	if err := v.Lock(t.Context(), host.Owner{}); !errors.As(err, &held) || all["server2"].took+all["server3"].took != 0 {
		t.Errorf("another run is at work: %v", err)
	}
	if err := v.Idle(t.Context(), host.Owner{}); !errors.As(err, &held) {
		t.Errorf("another run is at work, and it is idle: %v", err)
	}
	all["server1"].held = &host.LockedError{Host: "server1", Owner: host.Owner{User: "agent", Yields: true}}
	waited := 0
	v.Waiting = func(*host.LockedError) { waited++ }
	short, done := context.WithTimeout(t.Context(), time.Millisecond)
	defer done()
	if err := v.Idle(short, host.Owner{}); !errors.As(err, &held) || waited != 1 {
		t.Errorf("an agent gives way, and nobody waits for it (%d): %v", waited, err)
	}
	if err := v.Lock(short, host.Owner{Yields: true}); !errors.As(err, &held) || waited != 1 {
		t.Errorf("one agent waits for another (%d): %v", waited, err)
	}
	v.Waiting = nil
	all["server1"].held.Owner.Orphaned = true
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := v.Idle(ctx, host.Owner{}); !errors.As(err, &held) {
		t.Errorf("a step that goes on is not awaited: %v", err)
	}
	all["server1"].held = nil
	if err := v.Idle(t.Context(), host.Owner{}); err != nil {
		t.Errorf("idle: %v", err)
	}
}
