// Package agent is the daemon on every head and witness. It looks at its own
// head's services, tells the other agents what it finds, hears the same from
// them, and says to keepalived whether the head may hold the virtual address.
//
// Nothing depends on it: where it dies or hangs, the services go on, and
// keepalived with the last verdict.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sync/errgroup"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/service"
	"multihead/internal/service/agentd"
)

// Options is what an agent is started with.
type Options struct {
	Name     string            // of this host in the cluster file
	Version  string            // of the tool
	Cluster  *config.Cluster   // the file
	Local    host.Host         // this machine
	Services []service.Service // what heads may run
	Log      *slog.Logger
}

// Agent is one running agent.
type Agent struct {
	Options
	electorate Electorate
	isHead     bool

	mu     sync.Mutex
	bad    map[string]string // service → why; of this head
	peers  map[string]heard
	judged Judgement // the newest
	fit    bool      // what counts
	side   side
	holds  bool                // this head has the virtual address
	maint  *agentd.Maintenance // a person works on this head
	seq    uint64

	fencing fencing
	told    told
	mutes   mutes

	removed agentd.Removed // who has left the cluster; only read
	id      *identity
	hangs   hangs
	clocks  clocks
	leading bool // it acts for the cluster
	waiting bool // it found nothing to do yet (watchCluster's own)
	events  []agentd.Event
	alarms  map[string]string // what needs a person, by what it is about

	started time.Time
	stopped func() bool                   // somebody ended it in order: a person, or systemd at a shutdown
	again   map[string]chan chan struct{} // service → who wants it looked at now
	count   counters
	eyes    *keeping // this machine, as looks see it
}

// New makes an agent. A name that is neither a head nor a witness of the file
// is an error.
func New(opt Options) (*Agent, error) {
	a := &Agent{Options: opt, bad: map[string]string{}, peers: map[string]heard{}, fit: true, alarms: map[string]string{},
		fencing: newFencing(time.Now()), mutes: newMutes(), started: time.Now(), stopped: func() bool { return false }, clocks: newClocks()}
	a.electorate.Self = opt.Name
	found := false
	for i, spec := range opt.Cluster.HeadsAndWitnesses() {
		isHead := i < len(opt.Cluster.Nodes.Controllers)
		if isHead {
			a.electorate.Heads = append(a.electorate.Heads, spec.Hostname)
			if opt.Cluster.Network.VIP.Address.IsValid() && !opt.Cluster.Runs(spec.Hostname, config.Keepalived) {
				a.electorate.Bare = append(a.electorate.Bare, spec.Hostname)
			}
		}
		if spec.Hostname == opt.Name {
			found, a.isHead = true, isHead
			continue
		}
		a.electorate.Peers = append(a.electorate.Peers, spec.Hostname)
	}
	if !found {
		return nil, fmt.Errorf("the cluster file has no head and no witness %q", opt.Name)
	}
	return a, nil
}

// Run works until ctx is done. Each role is a function that ends with ctx.
func (a *Agent) Run(ctx context.Context) error {
	t, err := loadIdentity()
	if err != nil {
		return err
	}
	a.id = t
	if a.removed, err = loadRemoved(); err != nil {
		return err
	}
	sock, err := listenLocal(ctx)
	if err != nil {
		return err
	}
	whole := ctx
	a.stopped = func() bool { return whole.Err() != nil } // and not because a part of it failed
	g, ctx := errgroup.WithContext(ctx)
	if a.isHead {
		a.watchServices(ctx, g)
		g.Go(func() error { a.watchMaintenance(ctx); return nil })
		g.Go(func() error { a.watchAddress(ctx); return nil })
		g.Go(func() error { a.watchClaims(ctx); return nil })
		g.Go(func() error { a.watchCluster(ctx); return nil })
	}
	g.Go(func() error { a.retireWhenTold(ctx); return nil })
	g.Go(func() error { return a.listen(ctx, t) })
	for _, spec := range a.Cluster.HeadsAndWitnesses() {
		if spec.Hostname != a.Name {
			g.Go(func() error { a.talk(ctx, t, spec); return nil })
		}
	}
	g.Go(func() error { return a.serveLocal(ctx, sock) })
	g.Go(func() error { a.serveMetrics(ctx); return nil })
	g.Go(func() error { a.judge(ctx); return nil })
	g.Go(func() error { a.watchClocks(ctx); return nil })
	g.Go(func() error { a.fenceHeads(ctx); return nil })
	a.Log.Info("agent is up", "version", a.Version, "peers", len(a.electorate.Peers))
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady) // started by hand there is nobody to tell
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// judgeEvery is the pause between two judgements. What comes in from outside is
// judged at the next one.
const judgeEvery = 250 * time.Millisecond

// aliveEvery is the pause between two words to systemd's watchdog, which waits
// for 10 s.
const aliveEvery = 2 * time.Second

// judge decides again and again whether this head may hold the address, and
// tells keepalived when that changes.
func (a *Agent) judge(ctx context.Context) {
	s := steady{fit: a.lastVerdict(ctx)}
	grace := time.Now().Add(freshFor) // the others have not been heard yet
	var written *bool
	var told time.Time
	for {
		now := time.Now()
		a.mu.Lock()
		own := Verdict{Bad: copyOf(a.bad), Maintained: a.maint != nil}
		e := a.living(now)
		a.side.settle(e, own, a.holds, a.peers, now)
		fell := a.fellSilent(e, now)
		j := decide(e, own, a.peers, now)
		if a.told.out(now) {
			j = Judgement{Why: "this head has left the cluster"}
		}
		a.mu.Unlock()
		if now.Before(grace) {
			j = Judgement{Fit: s.fit, Why: "just started"}
		}
		for _, dead := range fell {
			a.outlive(ctx, dead)
		}
		fit := s.settle(j.Fit, now)
		a.mu.Lock()
		was := a.fit
		a.judged, a.fit = j, fit
		a.mu.Unlock()
		if was != fit {
			a.Log.Warn("may hold the virtual address", "fit", fit, "why", j.Why)
		}
		if a.isHead && (written == nil || *written != fit) && !now.Before(grace) {
			if err := a.track(ctx, fit); err != nil {
				a.Log.Error("keepalived cannot be told", "error", err)
			} else {
				written = &fit
			}
		}
		if now.Sub(told) > aliveEvery {
			told = now
			_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-pulse(judgeEvery):
		case <-a.mutes.heard: // another finds somebody silent
		}
	}
}

// lastVerdict is what the agent before this one told keepalived: a restart of the
// agent alone moves nothing.
func (a *Agent) lastVerdict(ctx context.Context) bool {
	data, err := a.Local.ReadFile(ctx, agentd.TrackFile)
	return err != nil || string(data) != unfit
}

// The contents of the file that keepalived follows.
const (
	fitToHold = "0\n"
	unfit     = "1\n"
)

// track writes what keepalived follows: 0 while the head may hold the address.
func (a *Agent) track(ctx context.Context, fit bool) error {
	value := fitToHold
	if !fit {
		value = unfit
	}
	old, err := a.Local.ReadFile(ctx, agentd.TrackFile)
	if err == nil && string(old) == value {
		return nil
	}
	return a.Local.WriteFile(ctx, agentd.TrackFile, []byte(value), host.Attr{Mode: 0o644})
}

func copyOf(m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}
