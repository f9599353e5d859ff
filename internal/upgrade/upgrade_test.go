package upgrade

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"multihead/internal/cluster"
	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/plan"
	"multihead/internal/service"
	"multihead/internal/service/agentd"
)

func later() time.Time { return time.Now().Add(time.Hour) }

func TestTheHeadWithTheAddressIsTheLast(t *testing.T) {
	heads := []string{"s1", "s2", "s3", "s4"}
	for _, tt := range []struct {
		name         string
		begun        []string
		primary, vip string
		want         string
	}{
		{name: "one head has both", primary: "s1", vip: "s1", want: "s2 s3 s4 s1"},
		{name: "two heads have them", primary: "s1", vip: "s2", want: "s3 s4 s1 s2"},
		{name: "nobody is known to have them", want: "s1 s2 s3 s4"},
		{name: "what was begun is ended first", begun: []string{"s4"}, primary: "s1", vip: "s2", want: "s4 s3 s1 s2"},
		{name: "also where it has the address", begun: []string{"s2"}, primary: "s1", vip: "s2", want: "s2 s3 s4 s1"},
	} {
		if got := strings.Join(order(heads, tt.begun, tt.primary, tt.vip), " "); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// fake is a service whose state a test says.
type fake struct {
	name   string
	health service.Health
	lives  service.Survival
}

func (f *fake) Name() string                                                  { return f.name }
func (f *fake) After() []string                                               { return nil }
func (f *fake) Observe(context.Context, service.Input) (service.State, error) { return f, nil }
func (f *fake) Health() service.Health                                        { return f.health }
func (f *fake) Survival() service.Survival                                    { return f.lives }
func (f *fake) Plan(service.Intent) (plan.Phase, error)                       { return plan.Phase{}, nil }
func (f *fake) Stop(intent service.Intent) (plan.Phase, error) {
	no := false
	var ph plan.Phase
	for _, n := range intent.Nodes {
		ph.Stages = append(ph.Stages, plan.Stage{Name: "stop", Steps: []plan.Step{
			{ID: f.name + ".stop", Host: n, Action: plan.Unit{Name: f.name + "d.service", Enabled: &no, Active: &no}, OneWay: "it is stopped"}}})
	}
	return ph, nil
}

// three is a cluster of three heads, the address on server1; change alters it.
func three(t *testing.T, change func(services map[string]*fake, off map[string]bool)) *Run {
	t.Helper()
	c := &config.Cluster{}
	c.Info.ClusterName = "site"
	c.Database.Enabled, c.Redis.Enabled = true, true
	c.Network.VIP.Address = netip.MustParseAddr("10.0.0.9")
	services, off := map[string]*fake{}, map[string]bool{}
	for _, s := range []string{config.MariaDB, config.Redis, config.Keepalived} {
		f := &fake{name: s, health: service.Health{State: service.Up, Nodes: map[string]service.NodeHealth{}}, lives: service.Survival{Service: s, AtOnce: 1}}
		services[s] = f
	}
	for i := 1; i <= 3; i++ {
		h := config.Controller{Services: config.Services{MariaDB: true, Redis: true, Keepalived: true}}
		h.Hostname = fmt.Sprintf("server%d", i)
		c.Nodes.Controllers = append(c.Nodes.Controllers, h)
		for name, f := range services {
			f.health.Nodes[h.Hostname] = service.NodeHealth{State: service.Up, Facts: map[string]any{"vip": name == config.Keepalived && i == 1}}
		}
	}
	change(services, off)
	v, err := cluster.Reach(t.Context(), c, c.AllHosts(), func(_ context.Context, specs []config.HostSpec) (map[string]host.Host, map[string]error, error) {
		reached, failed := map[string]host.Host{}, map[string]error{}
		for _, s := range specs {
			if off[s.Hostname] {
				failed[s.Hostname] = errors.New("timed out")
				continue
			}
			m := hosttest.New(s.Hostname)
			m.Answer("systemctl show", "LoadState=loaded\nActiveState=active\n")
			reached[s.Hostname] = m
		}
		return reached, failed, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Observe(t.Context(), []service.Service{services[config.MariaDB], services[config.Redis], services[config.Keepalived]}); err != nil {
		t.Fatal(err)
	}
	r := &Run{View: v, found: map[string]Found{}}
	for name := range v.Hosts {
		r.found[name] = Found{Changes: []plan.Version{{Name: "redis-server", From: "5:8.0.2-3", To: "5:8.0.2-4"}},
			Source: map[string]string{"redis-server": "redis"}, Phase: map[string]string{"redis-server": config.Redis}}
	}
	return r
}

func TestNoHeadIsTakenAwayWhereThatIsNotSafe(t *testing.T) {
	none := func(map[string]*fake, map[string]bool) {}
	for _, tt := range []struct {
		name    string
		change  func(map[string]*fake, map[string]bool)
		prepare func(r *Run)
		refused string // empty is not
	}{
		{name: "all is well", change: none},
		{name: "a head does not answer", change: func(_ map[string]*fake, off map[string]bool) { off["server3"] = true }, refused: "server3 was not reached"},
		{name: "a service is not whole", change: func(s map[string]*fake, _ map[string]bool) {
			s[config.MariaDB].health.State, s[config.MariaDB].health.Reason = service.Degraded, "2 of 3"
		}, refused: "2 of 3"},
		{name: "another head is in maintenance", change: func(s map[string]*fake, _ map[string]bool) {
			s[config.MariaDB].health.Nodes["server2"] = service.NodeHealth{State: service.Maint, Reason: "new memory"}
		}, refused: "new memory"},
		{name: "it cannot lose a head", change: func(s map[string]*fake, _ map[string]bool) {
			s[config.Redis].lives = service.Survival{Why: "2 votes, majority 2"}
		}, refused: "2 votes, majority 2"},
		{name: "it cannot, and a person goes on", change: func(s map[string]*fake, _ map[string]bool) { s[config.Redis].lives = service.Survival{} },
			prepare: func(r *Run) { r.Confirmed = true }},
		{name: "one that does not stop cannot lose a head", change: func(s map[string]*fake, _ map[string]bool) { s[config.MariaDB].lives = service.Survival{} }},
		{name: "a new series", change: none, prepare: func(r *Run) { r.found["server2"].Changes[0].To = "5:9.0-1" }, refused: "new series (8 → 9)"},
		{name: "nothing to do while something is wrong", change: func(_ map[string]*fake, off map[string]bool) { off["server3"] = true },
			prepare: func(r *Run) { r.found = map[string]Found{} }},
		{name: "a head that was begun is gone on with", change: func(s map[string]*fake, _ map[string]bool) {
			s[config.MariaDB].health.Nodes["server2"] = service.NodeHealth{State: service.Maint, Reason: Reason}
			s[config.Redis].health.State = service.Degraded
		}, prepare: func(r *Run) { begin(r, "server2") }},
		{name: "two were begun", change: none, prepare: func(r *Run) { begin(r, "server1"); begin(r, "server2") }, refused: "server1, server2 are all in the middle"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := three(t, tt.change)
			if tt.prepare != nil {
				tt.prepare(r)
			}
			err := r.may()
			if (err == nil) != (tt.refused == "") || err != nil && !strings.Contains(err.Error(), tt.refused) {
				t.Errorf("%v", err)
			}
		})
	}
}

func begin(r *Run, head string) {
	f := r.found[head]
	f.Begun = &agentd.Maintenance{Reason: Reason, Start: []string{"slurmctld.service", "redisd.service"}}
	r.found[head] = f
}

func TestOneHeadIsDoneAfterTheOther(t *testing.T) {
	r := three(t, func(map[string]*fake, map[string]bool) {})
	p, err := r.plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var phases []string
	for i, ph := range p.Phases {
		phases = append(phases, ph.Name)
		if i > 0 && !slices.Equal(ph.After, phases[i-1:i]) {
			t.Errorf("%s comes after %v", ph.Name, ph.After)
		}
	}
	if got := strings.Join(phases, " "); got != "packages server2 server3 server1" {
		t.Errorf("the order is %s", got)
	}
	var ids []string
	for phase, s := range p.Steps {
		if phase != readyPhase && s.Host != phase {
			t.Errorf("%s changes %s with %s", phase, s.Host, s.ID)
		}
		if phase == "server2" {
			ids = append(ids, s.ID)
		}
		if u, ok := s.Action.(plan.Unit); ok && (u.Enabled != nil || s.OneWay != "") {
			t.Errorf("%s: what is stopped for minutes still starts at boot, and can be undone", s.ID)
		}
	}
	want := "upgrade.begin upgrade.handed stop.redis.stop upgrade.packages start.redisd.service upgrade.serves upgrade.end upgrade.ended upgrade.green"
	if got := strings.Join(ids, " "); got != want {
		t.Errorf("a head's steps are\n%s, want\n%s", got, want)
	}
}

func TestEveryHeadIsPlannedWithWhatTheOneBeforeLeft(t *testing.T) {
	r := three(t, func(map[string]*fake, map[string]bool) {})
	found := r.found
	var parts []string
	for len(found) > 0 {
		p, err := r.first(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Phases) != 1 || len(p.Phases[0].After) > 0 {
			t.Fatalf("%+v", p)
		}
		parts = append(parts, p.Phases[0].Name)
		delete(found, p.Phases[0].Name)
	}
	if got := strings.Join(parts, " "); got != "packages server2 server3 server1" {
		t.Errorf("%s", got)
	}
}

func TestAHeadThatWasBegunStartsWhatItStopped(t *testing.T) {
	r := three(t, func(map[string]*fake, map[string]bool) {})
	begin(r, "server3")
	f := r.found["server3"]
	f.Changes = nil
	r.found = map[string]Found{"server3": f}
	p, err := r.plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, s := range p.Steps {
		ids = append(ids, s.ID)
	}
	// Slurm's daemons are the agent's to start.
	if got := strings.Join(ids, " "); got != "upgrade.begin upgrade.handed start.redisd.service upgrade.serves upgrade.end upgrade.ended upgrade.green" {
		t.Errorf("%s", got)
	}
}

func TestWithNothingNewerNothingIsDone(t *testing.T) {
	r := three(t, func(map[string]*fake, map[string]bool) {})
	for name := range r.found {
		r.found[name] = Found{Held: []string{"keepalived 1 → 2"}, Units: []Unit{{"munge.service", "munge", false}}}
	}
	if p, err := r.plan(t.Context()); err != nil || len(p.Phases) > 0 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestWaitingEndsWhereNothingMoves(t *testing.T) {
	var p patience
	now := time.Now()
	for i, tt := range []struct {
		seen string
		at   time.Duration
		lost bool
	}{
		{"12 to heal", 0, false}, {"12 to heal", stallLimit - time.Second, false}, {"11 to heal", stallLimit, false},
		{"11 to heal", 2*stallLimit - time.Second, false}, {"12 to heal", 2 * stallLimit, true}, // it comes and goes
	} {
		if got := p.lost(tt.seen, now.Add(tt.at)); got != tt.lost {
			t.Errorf("%d: %v", i, got)
		}
	}
}
