package main

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"multihead/internal/cluster"
	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/host/remote"
	"multihead/internal/plan"
)

// lockable is a head whose lock a test watches.
type lockable struct {
	*hosttest.Machine
	lock func() error
}

func (l *lockable) Lock(context.Context, host.Owner) (host.Lease, error)           { return nil, l.lock() }
func (l *lockable) Holder(context.Context, *host.Owner) (*host.LockedError, error) { return nil, nil }

func TestAPlanIsDoneOnlyOnceItIsAgreedToAndSureUnderTheLock(t *testing.T) {
	needed := func(what string) plan.Plan {
		step := plan.Step{ID: what, Host: "server1", Action: plan.Func{What: what,
			Satisfied: func(context.Context, host.Reader) (bool, error) { return what == "", nil }}}
		return plan.Plan{Phases: []plan.Phase{{Name: "phase", Stages: []plan.Stage{{Name: "stage", Steps: []plan.Step{step}}}}}}
	}
	no := errors.New("no")
	for _, tt := range []struct {
		name         string
		first, under string // what is needed, and what under the lock; empty is nothing
		flags        upFlags
		onward       bool // an empty plan goes on all the same
		answers      []error
		locked       error
		did          string
		fails        bool
	}{
		{name: "agreed", first: "a", under: "a", answers: []error{nil}, did: "ask lock plan work"},
		{name: "nothing is needed", did: "nothing"},
		{name: "nothing is needed, and it goes on", onward: true, answers: []error{nil}, did: "ask lock plan work"},
		{name: "a dry run", first: "a", flags: upFlags{dryRun: true, yes: true}},
		{name: "declined", first: "a", answers: []error{no}, did: "ask", fails: true},
		{name: "another run is at work", first: "a", answers: []error{nil}, locked: &host.LockedError{Host: "server1"}, did: "ask lock", fails: true},
		{name: "changed meanwhile, and agreed again", first: "a", under: "b", answers: []error{nil, nil}, did: "ask lock plan ask-with-a-limit work"},
		{name: "changed meanwhile, and declined", first: "a", under: "b", answers: []error{nil, no}, did: "ask lock plan ask-with-a-limit", fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var did []string
			does := func(what string, err error) error { did = append(did, what); return err }
			head := &lockable{Machine: hosttest.New("server1"), lock: func() error { return does("lock", tt.locked) }}
			file := &config.Cluster{Nodes: config.Nodes{Controllers: []config.Controller{{HostSpec: config.HostSpec{Hostname: "server1"}}}}}
			run := &upRun{flags: tt.flags, report: &upReport{}, sess: &session{file: file,
				view: &cluster.View{Cluster: file, Hosts: map[string]host.Host{"server1": head}}}}
			run.question = func(ctx context.Context) error {
				err := tt.answers[0]
				tt.answers = tt.answers[1:]
				if ctx.Value(lockedKey{}) != nil {
					return does("ask-with-a-limit", err)
				}
				return does("ask", err)
			}
			run.planner = func(context.Context) (plan.Plan, error) { return needed(tt.first), nil }
			var out, errOut strings.Builder
			a := &app{stdout: &out, stderr: &errOut}
			if err := a.propose(t.Context(), run); err != nil {
				t.Fatal(err)
			}
			run.planner = func(context.Context) (plan.Plan, error) { return needed(tt.under), does("plan", nil) }
			nothing := func() error { return does("nothing", nil) }
			if tt.onward {
				nothing = nil
			}
			err := a.onceAgreed(t.Context(), run, nothing, func() error { return does("work", nil) })
			if got := strings.Join(did, " "); got != tt.did || (err != nil) != tt.fails || len(tt.answers) > 0 {
				t.Errorf("did %q, want %q; %v", got, tt.did, err)
			}
			if tt.locked != nil && exitCode(err) != exitLocked {
				t.Errorf("exit code %d: %v", exitCode(err), err)
			}
			if shown := strings.Contains(out.String(), "Plan: "); shown == slices.Contains(did, "nothing") {
				t.Errorf("shown: %v\n%s", shown, out.String())
			}
		})
	}
}

// What recover does without a head is done only where that head is still silent once
// the person has answered.
func TestRecoverLooksAgainWhoAnswersBeforeItLocks(t *testing.T) {
	for _, tt := range []struct {
		name   string
		to     aim
		locked string
	}{
		{"recover", aimRecover, "server1 server2"},
		{"another verb leaves out who was silent", aimUp, "server1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var locked []string
			head := func(name string) host.Host {
				return &lockable{Machine: hosttest.New(name), lock: func() error { locked = append(locked, name); return nil }}
			}
			file := &config.Cluster{}
			for _, name := range []string{"server1", "server2"} {
				file.Nodes.Controllers = append(file.Nodes.Controllers, config.Controller{HostSpec: config.HostSpec{Hostname: name}})
			}
			s := &session{file: file, dial: &remote.Dialer{}, specs: file.HeadsAndWitnesses(), view: &cluster.View{Cluster: file,
				Hosts: map[string]host.Host{"server1": head("server1")}, Errs: map[string]error{"server2": errors.New("off")}}}
			s.view.Input.Stamp = "20261122T160002Z"
			s.connect = func(context.Context, []config.HostSpec) (map[string]host.Host, map[string]error, error) {
				return map[string]host.Host{"server1": head("server1"), "server2": head("server2")}, nil, nil
			}
			run := &upRun{aim: tt.to, sess: s, flags: upFlags{yes: true}, report: &upReport{}}
			run.intent.Confirmed = true // to go on with fewer than half of the heads
			run.planner = func(context.Context) (plan.Plan, error) { return plan.Plan{}, nil }
			a := &app{stdout: io.Discard, stderr: io.Discard, lang: "en"}
			s.view.Proven(map[string]string{"server2": "off, as a fence agent says"})
			if err := a.lock(t.Context(), run); err != nil {
				t.Fatal(err)
			}
			slices.Sort(locked)
			if got := strings.Join(locked, " "); got != tt.locked {
				t.Errorf("locked %s, want %s", got, tt.locked)
			}
			if n := s.view.Input.Heads[1]; n.Reached() != (tt.to == aimRecover) || s.view.Input.Stamp != "20261122T160002Z" {
				t.Errorf("%+v, stamp %s", n, s.view.Input.Stamp)
			}
		})
	}
}

func TestWhatGoesOnWhereARunWasCutOff(t *testing.T) {
	leaving := func(heads, computes []string) *upRun {
		run := &upRun{aim: aimLeave}
		run.intent.Leaving, run.intent.LeavingComputes = heads, computes
		return run
	}
	for _, tt := range []struct {
		name string
		run  *upRun
		want string
	}{
		{"up", &upRun{}, "run up again to carry on; the record"},
		{"a verb with words of its own", &upRun{again: "the same command again; the record"}, "the same command again; the record"},
		{"a head that leaves", leaving([]string{"server3"}, nil), "up takes them back in"},
		{"compute nodes that leave stay drained after up", leaving(nil, []string{"node001", "node002"}), "leaves them drained, scontrol update nodename=node001,node002 state=resume; the record"},
	} {
		if got := (&app{lang: "en"}).carryOn(tt.run); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
