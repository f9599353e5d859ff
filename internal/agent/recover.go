package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"multihead/internal/cluster"
	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

const (
	// settleFor is how long the same things have to be wrong, with the same
	// hosts in touch, before anything is done: daemons that start find each
	// other by themselves, and best.
	settleFor = 6 * time.Second
	// waitForMissing is how long heads are waited for that do not answer,
	// before what a majority holds may go on without them. A server that boots
	// takes a minute or two longer than another of the same kind; every second
	// more is one without service.
	waitForMissing = 45 * time.Second
	// lookAnyway is the pause between two looks where nothing seems wrong:
	// some things are seen by nobody who looks at one head alone.
	lookAnyway = 5 * time.Minute
	// lookSoon is the same after something changed: a head that came back left
	// masters of Redis where they went while it was away.
	lookSoon = 20 * time.Second
	// recoverLimit bounds one look with all that follows from it.
	recoverLimit = 15 * time.Minute
	// rounds bounds how often it goes on with what the round before uncovered.
	rounds = 6
)

// ledger is what recovery knows from one moment to the next.
type ledger struct {
	seen    string    // what is wrong where, and who is in touch
	since   time.Time // since when that has been so
	missing time.Time // since when the same hosts have been missing
	who     string    // which
	looked  time.Time // when all services were last looked at
	pace    throttle
}

// watchCluster brings back what needs no person, while this agent leads.
func (a *Agent) watchCluster(ctx context.Context) {
	var l ledger
	for {
		select {
		case <-ctx.Done():
			return
		case <-pulse(time.Second):
		}
		now := time.Now()
		dead := a.provenDead()
		a.mu.Lock()
		peers := maps.Clone(a.peers)
		own := copyOf(a.bad)
		a.mu.Unlock()
		yes, _ := leads(a.electorate, peers, dead, now)
		if a.led(yes); !yes {
			l = ledger{pace: l.pace}
			continue
		}
		wrong, missing := a.survey(own, peers, dead, now)
		if !l.due(wrong, missing, now) {
			continue
		}
		l.looked = now
		intent := service.Intent{Mode: service.Auto, Without: len(missing) == 0 || now.Sub(l.missing) >= waitForMissing}
		did, err := a.bringBack(ctx, intent, strings.Join(wrong, "; "))
		if did || err != nil || len(wrong) > 0 {
			l.pace.tried(time.Now())
		}
		if did {
			l.soon(time.Now())
		}
		if err != nil {
			a.Log.Warn("recovery", "error", err)
		}
	}
}

// led notes whether this agent leads.
func (a *Agent) led(yes bool) {
	a.mu.Lock()
	was := a.leading
	a.leading = yes
	a.mu.Unlock()
	if was != yes {
		a.Log.Info("acts for the cluster", "leads", yes)
	}
	if was && !yes {
		a.clearRefusals(nil)
	}
}

// survey lists what is wrong where, and who is neither heard nor proven to be
// off.
func (a *Agent) survey(own map[string]string, peers map[string]heard, dead map[string]string, now time.Time) (wrong, missing []string) {
	for s, why := range own {
		wrong = append(wrong, a.Name+" "+s+": "+why)
	}
	for _, name := range a.electorate.Peers {
		p, ok := peers[name]
		if !ok || now.Sub(p.at) > freshFor {
			if dead[name] == "" {
				missing = append(missing, name)
			}
			continue
		}
		for s, why := range p.Verdict.Bad {
			wrong = append(wrong, name+" "+s+": "+why)
		}
	}
	slices.Sort(wrong)
	return wrong, missing
}

// due says whether it is time to look at everything and act on it.
func (l *ledger) due(wrong, missing []string, now time.Time) bool {
	if l.looked.IsZero() {
		l.looked = now // what was before this agent led has its own time
	}
	if who := strings.Join(missing, " "); who != l.who || l.missing.IsZero() {
		l.who, l.missing = who, now
	}
	// Reasons change from moment to moment; what counts is where and who.
	var where []string
	for _, w := range wrong {
		key, _, _ := strings.Cut(w, ":")
		where = append(where, key)
	}
	if seen := strings.Join(where, ",") + "|" + l.who; seen != l.seen {
		if l.seen != "" {
			l.soon(now)
		}
		l.seen, l.since = seen, now
		l.pace.fresh(now)
	}
	switch {
	case now.Sub(l.since) < settleFor || !l.pace.ready(now):
		return false
	case len(wrong) > 0:
		return true
	}
	return now.Sub(l.looked) >= lookAnyway
}

// soon has everything looked at before long.
func (l *ledger) soon(now time.Time) { l.looked = now.Add(lookSoon - lookAnyway) }

// bringBack looks at all services and does what makes them serve again, round by
// round. It says whether it did anything.
func (a *Agent) bringBack(ctx context.Context, intent service.Intent, cause string) (did bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, recoverLimit)
	defer cancel()
	v, err := cluster.Reach(ctx, a.Cluster, a.Cluster.AllHosts(), a.reach)
	if err != nil {
		return false, err
	}
	defer v.Close()
	v.Proven(a.provenDead())
	v.Input.Stamp = time.Now().UTC().Format("20060102T150405Z")
	var held *host.LockedError
	short, stop := context.WithTimeout(ctx, 3*time.Second)
	err = v.Idle(short)
	stop()
	if errors.As(err, &held) {
		return false, nil // a person is at work; what they leave is seen after
	} else if err != nil {
		return false, err
	}
	locked := false
	for range rounds {
		prop, err := a.proposeRecovery(ctx, v, intent)
		if err != nil || prop.Empty() {
			return did, err
		}
		if !locked {
			if err := v.Lock(ctx, host.Owner{User: "agent", From: a.Name, PID: os.Getpid(), Tool: a.Version, Purpose: "recover"}); err != nil {
				if errors.As(err, &held) {
					return did, nil
				}
				return did, err
			}
			locked = true
			// Somebody may have been at work between the look and the lock.
			if prop, err = a.proposeRecovery(ctx, v, intent); err != nil || prop.Empty() {
				return did, err
			}
		}
		did = true
		if err := a.carryOut(ctx, v, prop, cause); err != nil {
			a.event("recovery-failed", a.Name, "", err.Error(), cause)
			return did, err
		}
	}
	return did, nil
}

// proposeRecovery looks, and says what is needed. What a service refuses is an
// alarm, and keeps no other service from coming back.
func (a *Agent) proposeRecovery(ctx context.Context, v *cluster.View, intent service.Intent) (plan.Proposal, error) {
	if err := v.Observe(ctx, a.Services); err != nil {
		return plan.Proposal{}, err
	}
	p, err := v.RecoverPlan(intent, nil)
	refused, others := service.Split(err)
	if len(others) > 0 {
		return plan.Proposal{}, errors.Join(others...)
	}
	why := map[string]string{}
	for _, r := range refused {
		why[r.Service] = r.Reason + " — " + r.Remedy
	}
	a.clearRefusals(why)
	return plan.Propose(ctx, p, v.Readers())
}

// clearRefusals raises the alarms of what is refused, and ends those of what is
// not any more.
func (a *Agent) clearRefusals(refused map[string]string) {
	a.mu.Lock()
	var over []string
	for key := range a.alarms {
		if s, ok := strings.CutPrefix(key, refusalKey); ok && refused[s] == "" {
			over = append(over, key)
		}
	}
	a.mu.Unlock()
	for _, key := range over {
		a.alarm(key, "")
	}
	for s, why := range refused {
		a.alarm(refusalKey+s, why)
	}
}

const refusalKey = "recover "

// journalDir is where runs are recorded, beside those of the tool on this host.
const journalDir = "/var/lib/multihead"

// carryOut does what is needed, recorded step by step.
func (a *Agent) carryOut(ctx context.Context, v *cluster.View, prop plan.Proposal, cause string) error {
	begin := time.Now()
	name := strings.ReplaceAll(a.Cluster.Info.ClusterName, "/", "_")
	journal, err := plan.NewJournal(filepath.Join(journalDir, name, "runs"), plan.RunInfo{ID: begin.Format("20060102_150405.000"),
		Cluster: a.Cluster.Info.ClusterName, Command: "agent: recover", User: "agent", From: a.Name, Begin: begin, Steps: len(prop.Previews)})
	if err != nil {
		return fmt.Errorf("nothing was changed: %w", err)
	}
	engine := plan.NewEngine(v.Hosts, func(ev plan.Event) {
		if ev.Type == plan.StepState {
			return
		}
		if jerr := journal.Record(ev); jerr != nil {
			a.Log.Error("journal", "error", jerr)
		}
		switch ev.Type {
		case plan.StepStart:
			a.event("recovery", ev.Host, ev.Phase, ev.Text, cause)
		case plan.StepFailed, plan.UndoFailed:
			a.event("recovery-failed", ev.Host, ev.Phase, ev.Text, ev.Error)
		case plan.PhaseDone:
			a.Log.Info("recovered", "service", ev.Phase)
		}
	})
	_, err = engine.Apply(ctx, prop)
	return errors.Join(err, journal.Close(err))
}
