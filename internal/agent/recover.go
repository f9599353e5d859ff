package agent

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"multihead/internal/service"
)

const (
	// settleFor is how long the same things have to be wrong, with the same
	// hosts in touch, before anything is done: daemons that start find each
	// other by themselves, and best.
	settleFor = 6 * time.Second
	// waitForMissing is how long heads are waited for that do not answer,
	// before what a majority holds may go on without them. One that comes later
	// is sent all data anew; every second more is one without service, and two
	// minutes after the last boot all has to serve.
	waitForMissing = 30 * time.Second
	// lookAnyway is the pause between two looks where nothing seems wrong:
	// some things are seen by nobody who looks at one head alone.
	lookAnyway = 5 * time.Minute
	// lookSoon is the same after something changed: a head that came back left
	// masters of Redis where they went while it was away.
	lookSoon = 20 * time.Second
)

// ledger is what recovery knows from one moment to the next.
type ledger struct {
	seen    string    // what is wrong where, and who is in touch
	since   time.Time // since when that has been so
	missing time.Time // since when the same hosts have been missing
	who     string    // which
	waited  bool      // they have been waited for long enough
	looked  time.Time // when all services were last looked at
	resting int       // how many hosts are in maintenance
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
		resting := a.maintained(now)
		a.mu.Unlock()
		yes, _ := leads(a.electorate, peers, dead, now)
		if a.led(yes); !yes {
			l = ledger{pace: l.pace}
			continue
		}
		if l.looked.IsZero() {
			l.soon(now) // who led before may have been about to look
		}
		wrong, missing := a.survey(own, peers, dead, now)
		wrong = withoutMaintained(wrong, resting)
		if len(resting) != l.resting {
			l.resting = len(resting)
			l.soon(now) // what waited for the end of a maintenance
		}
		if !l.due(wrong, missing, now) {
			continue
		}
		l.looked = now
		waited := l.waited && !a.mayHaveGoneOn(missing, peers)
		intent := service.Intent{Mode: service.Auto, Nodes: a.tended(), Without: len(missing) == 0 || waited, Unattended: true}
		did, again, err := a.bringBack(ctx, intent, strings.Join(wrong, "; "))
		if !did {
			a.waits(again)
		}
		l.ended(time.Now(), did, again, err == nil, len(wrong) > 0)
		if err != nil {
			a.Log.Warn("recovery", "error", err)
		}
	}
}

// waits notes whether something waits that time or another look may help.
func (a *Agent) waits(yes bool) {
	if was := a.waiting; was != yes {
		a.waiting = yes
		a.Log.Info("something waits for another look", "waits", yes)
	}
}

// mayHaveGoneOn says whether one of those that are missing could serve without a
// majority: with fencing a head goes on alone once the others are proven off, and
// one that was not heard since this agent began may have done that.
func (a *Agent) mayHaveGoneOn(missing []string, peers map[string]heard) bool {
	return a.Cluster.Fencing.Enabled && slices.ContainsFunc(missing, func(name string) bool {
		_, ever := peers[name]
		return !ever && slices.Contains(a.electorate.Heads, name)
	})
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
		a.clearRefusals()
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
		l.who, l.missing, l.waited = who, now, false
	}
	if !l.waited && now.Sub(l.missing) >= waitForMissing {
		l.waited = true
		l.pace.fresh(now) // what was refused without them may be done now
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
	switch age := now.Sub(l.looked); {
	case !l.pace.ready(now):
		return false
	case now.Sub(l.since) < settleFor:
		return age >= 2*lookAnyway-lookSoon // what comes and goes for minutes does not settle
	case len(wrong) > 0:
		return true
	default:
		return age >= lookAnyway
	}
}

// ended notes how a look ended: whether it did anything, whether something waits for
// another one, whether it ended well, and whether anything was wrong.
func (l *ledger) ended(now time.Time, did, again, well, wrong bool) {
	if did {
		l.pace.tried(now, well)
	} else if !well || wrong {
		l.pace.looked(now)
	}
	if did || again || !well {
		l.soon(now)
	}
}

// soon has everything looked at before long, and nothing later than it would be: what
// comes and goes must not put the next look off for ever.
func (l *ledger) soon(now time.Time) {
	if at := now.Add(lookSoon - lookAnyway); l.looked.IsZero() || at.Before(l.looked) {
		l.looked = at
	}
}
