package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"multihead/internal/cluster"
	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

const (
	// recoverLimit bounds one look with all that follows from it.
	recoverLimit = 15 * time.Minute
	// learnLimit bounds what is asked before it is decided what to do: a host that takes
	// longer is looked at again.
	learnLimit = 2 * time.Minute
	// rounds bounds how often it goes on with what the round before uncovered.
	rounds = 6
	// journalDir is where runs are recorded, beside those of the tool on this
	// host.
	journalDir = "/var/lib/multihead"
)

// mending is one look at all services, and what makes them serve again.
type mending struct {
	a      *Agent
	view   *cluster.View
	intent service.Intent
	cause  string

	mu      sync.Mutex
	journal *plan.Journal // once there is something to record
	did     bool
	at      map[*plan.Engine]bool // at work
	gaveWay bool                  // a person has asked for the lock
	refused map[string]bool       // services that were refused when last looked at
	again   bool                  // something goes on that is to be looked at again soon
}

// bringBack looks at all services and does what makes them serve again. It says
// whether it did anything, and whether to look again soon where it did not.
func (a *Agent) bringBack(ctx context.Context, intent service.Intent, cause string) (did, again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, recoverLimit)
	defer cancel()
	v, err := cluster.Reach(ctx, a.Cluster, a.Cluster.AllHosts(), a.reach)
	if err != nil {
		return false, false, err
	}
	defer v.Close()
	v.Proven(a.provenDead())
	v.Input.Stamp = time.Now().UTC().Format("20060102T150405Z")
	m := &mending{a: a, view: v, intent: intent, cause: cause, at: map[*plan.Engine]bool{}, refused: map[string]bool{}}
	needed, err := m.propose(ctx, v, a.Services)
	if err != nil || needed.Empty() {
		// A host that lives and could not be reached is one that little was learned of.
		return false, m.again || v.Hosts[a.Name] == nil || len(a.unreached(v)) > 0, err
	}
	if locked, err := m.lock(ctx); err != nil || !locked {
		return false, true, err
	}
	ended := make(chan struct{})
	go m.giveWay(ctx, ended)
	err = m.all(ctx)
	close(ended)
	if m.journal != nil {
		err = errors.Join(err, m.journal.Close(err))
	}
	// What the look before the lock found may not have been needed any more, or one at the
	// next look learned less.
	return m.did, true, err
}

// lock takes the cluster's lock. Where a person is at work it does not: what they
// leave is seen after.
func (m *mending) lock(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err := m.view.Lock(ctx, host.Owner{User: "agent", From: m.a.Name, PID: os.Getpid(), Tool: m.a.Version, Purpose: "recover", Yields: true})
	var held *host.LockedError
	if errors.As(err, &held) {
		m.a.Log.Info("what is needed waits for who is at work", "host", held.Host, "user", held.Owner.User, "purpose", held.Owner.Purpose)
		return false, nil
	}
	return err == nil, err
}

// giveWay ends the mending between two steps once a person asks for the lock:
// what they do comes first, and what is left to mend is seen after. No event tells
// it, for they may ask on any head.
func (m *mending) giveWay(ctx context.Context, ended <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		for _, h := range m.view.Hosts {
			l, ok := h.(host.Locker)
			if !ok {
				continue
			}
			held, err := l.Holder(ctx, nil)
			if err != nil || held == nil || !held.Asked {
				continue
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			m.gaveWay = true
			for e := range m.at {
				e.Stop()
			}
			return
		}
	}
}

// all mends every service beside the others, each in rounds of its own: one that
// waits for what does not come holds up only those that need it.
func (m *mending) all(ctx context.Context) error {
	ended := map[string]chan struct{}{}
	for _, s := range m.view.Services {
		ended[s.Name()] = make(chan struct{})
	}
	errs := make([]error, len(m.view.Services))
	var wg sync.WaitGroup
	for i, s := range m.view.Services {
		wg.Go(func() {
			defer close(ended[s.Name()])
			for _, before := range s.After() {
				if ch, ok := ended[before]; ok {
					<-ch
				}
			}
			if m.tooEarly(s) {
				return
			}
			errs[i] = m.one(ctx, s)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// tooEarly says whether a service needs another that still waits for heads which
// do not answer: started now it would wait for that one, and hold up the next look.
func (m *mending) tooEarly(s service.Service) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.intent.Without && slices.ContainsFunc(s.After(), func(before string) bool { return m.refused[before] })
}

// one mends one service, round by round.
func (m *mending) one(ctx context.Context, s service.Service) error {
	view := *m.view // what it was found to be is this round's alone
	for range rounds {
		m.mu.Lock()
		enough := m.gaveWay
		m.mu.Unlock()
		if enough {
			return nil
		}
		prop, err := m.propose(ctx, &view, []service.Service{s})
		if err != nil || prop.Empty() {
			return err
		}
		if err := m.carryOut(ctx, &view, prop); errors.Is(err, plan.ErrStopped) {
			return nil
		} else if err != nil {
			m.a.event("recovery-failed", m.a.Name, s.Name(), err.Error(), m.cause)
			return err
		}
	}
	return nil
}

// propose looks, and says what is needed. What a service refuses is an alarm, and
// keeps no other service from coming back.
func (m *mending) propose(ctx context.Context, v *cluster.View, services []service.Service) (plan.Proposal, error) {
	ctx, cancel := context.WithTimeout(ctx, learnLimit)
	defer cancel()
	if err := m.connected(); err != nil {
		return plan.Proposal{}, err
	}
	if err := m.stillDead(v); err != nil {
		return plan.Proposal{}, err
	}
	if err := v.Observe(ctx, services); err != nil {
		return plan.Proposal{}, err
	}
	// A session that ended meanwhile made a head look silent that is not.
	if err := m.connected(); err != nil {
		return plan.Proposal{}, err
	}
	intent := m.intent
	intent.Without = intent.Without && len(m.a.unreached(v)) == 0
	p, err := v.RecoverPlan(intent, nil)
	refused, others := service.Split(err)
	if len(others) > 0 {
		return plan.Proposal{}, errors.Join(others...)
	}
	why := map[string]string{}
	for _, r := range refused {
		why[r.Service] = r.Reason + " — " + r.Remedy
	}
	m.mu.Lock()
	m.again = slices.ContainsFunc(p.Phases, func(ph plan.Phase) bool { return ph.Again })
	for _, s := range services {
		m.refused[s.Name()] = why[s.Name()] != ""
	}
	m.mu.Unlock()
	for _, s := range services {
		m.a.alarm(refusalKey+s.Name(), why[s.Name()])
	}
	return plan.Propose(ctx, p.On(intent.Includes), v.Readers())
}

// connected is an error where a session has ended: what follows would take its
// host for silent. The next look makes sessions anew.
func (m *mending) connected() error {
	for name, h := range m.view.Hosts {
		c, ok := h.(interface{ Done() <-chan struct{} })
		if !ok {
			continue
		}
		select {
		case <-c.Done():
			return fmt.Errorf("the session to %s ended; everything is looked at anew", name)
		default:
		}
	}
	return nil
}

// stillDead is an error where a host that was proven to be off is not any more: what was
// begun without it could go on beside it. A mending takes minutes, and a person may have
// switched it on meanwhile.
func (m *mending) stillDead(v *cluster.View) error {
	now := m.a.provenDead()
	for name := range v.Dead {
		if now[name] == "" {
			return fmt.Errorf("%s is not proven to be off any more; everything is looked at anew", name)
		}
	}
	return nil
}

// unreached are the hosts that are heard and were not reached: they live.
func (a *Agent) unreached(v *cluster.View) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []string
	for _, name := range a.hears(time.Now()) {
		if v.Hosts[name] == nil {
			out = append(out, name)
		}
	}
	return out
}

// refusalKey begins the alarm of a service that refuses to be brought back.
const refusalKey = "recover "

// clearRefusals ends the alarms of refusals: another agent looks now, or nobody
// may.
func (a *Agent) clearRefusals() {
	for _, s := range a.Services {
		a.alarm(refusalKey+s.Name(), "")
	}
}

// carryOut does what is needed, recorded step by step.
func (m *mending) carryOut(ctx context.Context, v *cluster.View, prop plan.Proposal) error {
	if err := m.begin(len(prop.Previews)); err != nil {
		return fmt.Errorf("nothing was changed: %w", err)
	}
	engine := plan.NewEngine(v.Hosts, func(ev plan.Event) {
		if ev.Type != plan.StepState {
			m.record(ev)
		}
		switch ev.Type {
		case plan.StepStart:
			m.a.event("recovery", ev.Host, ev.Phase, ev.Text, m.cause)
		case plan.StepFailed, plan.UndoFailed:
			m.a.event("recovery-failed", ev.Host, ev.Phase, ev.Text, ev.Error)
		case plan.PhaseDone:
			m.a.Log.Info("recovered", "service", ev.Phase)
		}
	})
	m.mu.Lock()
	m.at[engine] = true
	if m.gaveWay {
		engine.Stop()
	}
	m.mu.Unlock()
	_, err := engine.Apply(ctx, prop)
	m.mu.Lock()
	delete(m.at, engine)
	m.mu.Unlock()
	return err
}

// begin opens the run's journal, once.
func (m *mending) begin(steps int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.did = true
	if m.journal != nil {
		return nil
	}
	now := time.Now()
	name := strings.ReplaceAll(m.a.Cluster.Info.ClusterName, "/", "_")
	var err error
	m.journal, err = plan.NewJournal(filepath.Join(journalDir, name, "runs"), plan.RunInfo{ID: now.UTC().Format("20060102_150405.000"),
		Cluster: m.a.Cluster.Info.ClusterName, Command: "agent: recover", User: "agent", From: m.a.Name, Begin: now, Steps: steps, Cause: m.cause})
	return err
}

func (m *mending) record(ev plan.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.journal.Record(ev); err != nil {
		m.a.Log.Error("journal", "error", err)
	}
}
