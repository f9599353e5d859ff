package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"multihead/internal/config"
	"multihead/internal/fence"
	"multihead/internal/host"
	"multihead/internal/service/agentd"
)

const (
	// fenceEvery is the pause between two decisions.
	fenceEvery = 500 * time.Millisecond
	// lookAgain is the pause before a device that did not answer is asked again.
	lookAgain = 3 * time.Second
	// lookDevice is how long it may take to answer when it is only asked.
	lookDevice = 5 * time.Second
	// proofEvery is the pause between two questions whether a head that is
	// proven off still is.
	proofEvery = 10 * time.Second
	// atOnce is how many devices are asked at the same time: agents are Python
	// programs of 30 MB, and this head has other uses for its memory.
	atOnce = 4
)

// fencing is what the agent knows of heads that are silent. The agent's mutex
// guards it.
type fencing struct {
	began  time.Time
	order  fenceOrder
	looks  map[string]*look
	proofs map[string]fence.Proof // made here; they last until the head is heard again
	on     map[string]bool        // of those, the ones whose device says on by now
	broken map[string]time.Time   // service → since when no head of this side offers it
	well   map[string]bool        // services that some head offered since this agent began
	lapsed map[string]bool        // peers that were silent, and not off, while there was no majority

	outside      bool // the newest answer, and when it was asked for
	outsideAsked time.Time

	saved  string   // what proofsFile has
	round  []string // who is being switched off
	cancel context.CancelFunc
	failed int               // rounds, one after another
	next   time.Time         // when the next may begin
	errs   map[string]string // head → why it could not be proven off
}

// look is a device that was asked whether its head has power.
type look struct {
	power   fence.Power
	says    string
	asked   time.Time
	pending bool
	lost    time.Duration // since the majority was lost, when it answered
}

func newFencing(now time.Time) fencing {
	return fencing{began: now, looks: map[string]*look{}, proofs: map[string]fence.Proof{}, on: map[string]bool{}, broken: map[string]time.Time{}, well: map[string]bool{}, lapsed: map[string]bool{}}
}

// hears are the peers that are heard. The caller holds the mutex.
func (a *Agent) hears(now time.Time) []string {
	var out []string
	for _, name := range a.electorate.Peers {
		if p, ok := a.peers[name]; ok && now.Sub(p.at) <= freshFor {
			out = append(out, name)
		}
	}
	return out
}

// proven are the heads that are proven off, by this agent or one that it hears,
// and that nobody has heard since. The caller holds the mutex.
func (a *Agent) proven(now time.Time) map[string]string {
	out := map[string]string{}
	for name, p := range a.fencing.proofs {
		out[name] = p.String()
	}
	heard := a.hears(now)
	for _, peer := range heard {
		if !slices.Contains(a.electorate.Heads, peer) {
			continue // a witness fences nobody, and is not believed to have
		}
		for name, how := range a.peers[peer].Proven {
			if _, own := out[name]; !own && name != a.Name && slices.Contains(a.electorate.Heads, name) {
				out[name] = how + ", by " + peer
			}
		}
	}
	for _, peer := range heard {
		delete(out, peer)
		for _, name := range a.peers[peer].Hears {
			delete(out, name)
		}
	}
	return out
}

// ownProofs are the proofs that this agent made, for the others. The caller holds
// the mutex.
func (a *Agent) ownProofs() map[string]string {
	out := map[string]string{}
	for name, p := range a.fencing.proofs {
		out[name] = p.String()
	}
	return out
}

// back are heads that are proven off by somebody and have power again. The caller
// holds the mutex.
func (a *Agent) back(now time.Time) map[string]bool {
	out := maps.Clone(a.fencing.on)
	for _, peer := range a.hears(now) {
		if !slices.Contains(a.electorate.Heads, peer) {
			continue
		}
		for _, name := range a.peers[peer].Back {
			out[name] = true
		}
	}
	return out
}

// proofsFile keeps the proofs over a restart of the agent, not of the head: it lies
// where nothing outlives that.
const proofsFile = agentd.RunDir + "/proofs.json"

// saveProofs writes the proofs down where they have changed.
func (a *Agent) saveProofs(ctx context.Context) {
	a.mu.Lock()
	data, err := json.Marshal(a.fencing.proofs)
	same := string(data) == a.fencing.saved
	a.mu.Unlock()
	if err != nil || same {
		return
	}
	if err := a.Local.WriteFile(ctx, proofsFile, data, host.Attr{Mode: 0o600}); err != nil {
		a.Log.Error("proofs are not kept over a restart", "error", err)
		return
	}
	a.mu.Lock()
	a.fencing.saved = string(data)
	a.mu.Unlock()
}

// loadProofs reads what the agent before this one proved. Each counts once its
// device has confirmed it.
func (a *Agent) loadProofs(ctx context.Context) {
	proofs := map[string]fence.Proof{}
	data, err := a.Local.ReadFile(ctx, proofsFile)
	if err == nil {
		err = json.Unmarshal(data, &proofs)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fencing.saved = "{}"
	if err != nil {
		return // there are none, or they are not to be relied on
	}
	for name, p := range proofs {
		if slices.Contains(a.electorate.Heads, name) && name != a.Name {
			a.fencing.proofs[name], a.fencing.on[name] = p, true
		}
	}
	a.fencing.saved = string(data)
}

// provenDead are the heads that are proven to have no power now, and by what.
func (a *Agent) provenDead() map[string]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	out := a.proven(now)
	for name := range a.back(now) {
		delete(out, name)
	}
	return out
}

// living is the electorate without the heads that are proven off. One that was
// switched on again is not a voter before it is heard, unless there are so many
// of them that they could have a majority of their own. The caller holds the
// mutex.
func (a *Agent) living(now time.Time) Electorate {
	e := a.electorate
	dead := a.proven(now)
	if len(dead) == 0 {
		return e
	}
	returning := a.back(now)
	maps.DeleteFunc(returning, func(name string, _ bool) bool { return dead[name] == "" })
	if len(returning) >= e.quorum() {
		maps.DeleteFunc(dead, func(name, _ string) bool { return returning[name] })
	}
	gone := func(name string) bool { return dead[name] != "" }
	e.Peers = slices.DeleteFunc(slices.Clone(e.Peers), gone)
	e.Heads = slices.DeleteFunc(slices.Clone(e.Heads), gone)
	e.Dead = len(a.electorate.Peers) - len(e.Peers)
	return e
}

// scene is what the decision sees. The caller holds the mutex.
func (a *Agent) scene(now time.Time) fenceScene {
	e := a.living(now)
	s := fenceScene{Self: a.Name, Heads: e.Heads, Silent: map[string]silentPeer{}, Hears: map[string][]string{}, Outside: a.fencing.outside}
	var ages []time.Duration
	for _, name := range e.Peers {
		if !slices.Contains(e.Heads, name) {
			s.Witnesses = append(s.Witnesses, name)
		}
		p, ever := a.peers[name]
		age := now.Sub(a.fencing.began)
		if ever {
			age = now.Sub(p.at)
			ages = append(ages, age)
		}
		if ever && age <= freshFor {
			s.Hears[name] = p.Hears
			continue
		}
		s.Silent[name] = silentPeer{For: age, NoAgent: len(fence.Devices(a.Cluster.Fencing, name)) == 0, Never: !ever}
	}
	voters := len(e.Peers) + 1
	quorum := voters/2 + 1
	s.LostFor = lostFor(ages, quorum)
	if voters-len(s.Silent) >= quorum {
		clear(a.fencing.looks)
		clear(a.fencing.lapsed)
	}
	for name, p := range s.Silent {
		l := a.fencing.looks[name]
		inTime := l != nil && !l.pending && l.power != "" && l.lost <= lookWindow
		p.Off = inTime && l.power == fence.Off
		p.Looked = inTime && l.power != fence.Unknown || s.LostFor > lookWindow
		if p.Says = "its device was not asked in time"; l != nil && l.says != "" {
			p.Says = l.says
		}
		s.Silent[name] = p
		// Where it has not been asked yet, it may turn out to be off.
		if p.Looked && !p.Off {
			a.fencing.lapsed[name] = true
		}
	}
	for name := range a.fencing.lapsed {
		if _, heard := s.Hears[name]; heard {
			s.Lapsed = append(s.Lapsed, name)
		}
	}
	slices.Sort(s.Lapsed)
	s.NoService, s.NoServiceFor = a.noService(s, now)
	return s
}

// noService finds the service that all heads of this side have been without for
// longest. The caller holds the mutex.
func (a *Agent) noService(s fenceScene, now time.Time) (name string, since time.Duration) {
	for _, svc := range []string{config.GlusterFS, config.MariaDB, config.Redis} {
		broken := a.bad[svc] != "" && len(s.Silent) > 0
		for _, h := range s.Heads {
			if _, silent := s.Silent[h]; !silent && h != a.Name && a.Cluster.Runs(h, svc) && a.peers[h].Verdict.Bad[svc] == "" {
				broken = false
			}
		}
		if !broken {
			a.fencing.well[svc] = a.fencing.well[svc] || len(s.Silent) == 0 || a.bad[svc] == ""
			delete(a.fencing.broken, svc)
			continue
		}
		if !a.fencing.well[svc] {
			continue // it has not come up yet since this agent began
		}
		if a.fencing.broken[svc].IsZero() {
			a.fencing.broken[svc] = now
		}
		if d := now.Sub(a.fencing.broken[svc]); name == "" || d > since {
			name, since = svc, d
		}
	}
	return name, since
}

// fenceHeads is the role that proves silent heads off where that is what service
// depends on. It ends with ctx.
func (a *Agent) fenceHeads(ctx context.Context) {
	if !a.isHead || !a.Cluster.Fencing.Enabled {
		return
	}
	var work sync.WaitGroup
	defer work.Wait()
	a.loadProofs(ctx)
	tick := time.NewTicker(fenceEvery)
	defer tick.Stop()
	var checked time.Time
	for {
		now := time.Now()
		a.mu.Lock()
		a.endProofs(now)
		s := a.scene(now)
		was := a.fencing.order
		order := decideFence(s)
		a.fencing.order = order
		look := a.toLook(order.Look, now)
		begin := a.beginRound(order.Kill, now)
		probe := len(s.Silent) == len(s.Heads)+len(s.Witnesses)-1 && len(s.Silent) > 0 && now.Sub(a.fencing.outsideAsked) > lookAgain
		if probe {
			a.fencing.outsideAsked = now
		}
		a.mu.Unlock()
		a.saveProofs(ctx)
		a.say(was, order)
		for _, name := range look {
			work.Go(func() { a.lookAt(ctx, name) })
		}
		if len(begin) > 0 {
			limited, cancel := context.WithCancel(ctx)
			a.mu.Lock()
			a.fencing.cancel = cancel
			a.mu.Unlock()
			work.Go(func() { defer cancel(); a.kill(limited, begin) })
		}
		if probe {
			work.Go(func() { a.lookOutside(ctx) })
		}
		if now.Sub(checked) > proofEvery {
			checked = now
			work.Go(func() { a.checkProofs(ctx) })
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// fenceAlarm is what a person hears of as long as it lasts.
const fenceAlarm = "fencing"

// say tells people what is new.
func (a *Agent) say(was, is fenceOrder) {
	if is.Wait != "" && is.Wait != was.Wait {
		a.Log.Warn("heads are silent", "next", is.Wait)
	}
	alarm := is.Alarm
	if len(is.Kill) > 0 {
		a.mu.Lock()
		alarm = a.unproven()
		a.mu.Unlock()
	}
	a.alarm(fenceAlarm, alarm)
}

// unproven is why nobody takes over from heads that were to be switched off. It
// is the same for as long as the devices say the same. The caller holds the mutex.
func (a *Agent) unproven() string {
	var said []string
	for _, name := range slices.Sorted(maps.Keys(a.fencing.errs)) {
		said = append(said, name+": "+a.fencing.errs[name])
	}
	if len(said) == 0 {
		return ""
	}
	return "not proven off, so nobody takes over, and it is tried again: " + strings.Join(said, "; ")
}

// endProofs ends the proof of who is heard again. The caller holds the mutex.
func (a *Agent) endProofs(now time.Time) {
	still := a.proven(now)
	for name := range a.fencing.proofs {
		if _, ok := still[name]; !ok {
			delete(a.fencing.proofs, name)
			delete(a.fencing.on, name)
			a.Log.Info("is heard again: no longer proven off", "head", name)
		}
	}
}

// toLook picks those whose devices are to be asked now. The caller holds the
// mutex.
func (a *Agent) toLook(names []string, now time.Time) []string {
	var out []string
	for _, name := range names {
		l := a.fencing.looks[name]
		if l == nil {
			l = &look{}
			a.fencing.looks[name] = l
		}
		if l.pending || now.Sub(l.asked) < lookAgain {
			continue
		}
		l.pending, l.asked = true, now
		out = append(out, name)
	}
	return out
}

// lookAt asks a silent head's devices whether it has power.
func (a *Agent) lookAt(ctx context.Context, name string) {
	lim := fence.Usual()
	lim.Status = lookDevice
	power, says := fence.Unknown, ""
	for _, d := range fence.Devices(a.Cluster.Fencing, name) {
		p, err := fence.Status(ctx, a.Local, d, lim)
		if err == nil {
			power, says = p, fmt.Sprintf("%s says %s", d.Agent, p)
			break
		}
		says = err.Error()
	}
	a.Log.Info("asked a silent head's device", "head", name, "answer", says)
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if l := a.fencing.looks[name]; l != nil {
		l.pending, l.power, l.says = false, power, says
		l.lost = a.scene(now).LostFor
	}
}

// beginRound says whom to switch off now: nobody while that is being done, or
// has just failed. What is no longer wanted is ended. The caller holds the mutex.
func (a *Agent) beginRound(names []string, now time.Time) []string {
	f := &a.fencing
	if len(names) == 0 && f.round == nil {
		f.failed, f.errs = 0, nil
		return nil
	}
	if f.round != nil {
		if !slices.Equal(names, f.round) && f.cancel != nil {
			f.cancel()
		}
		return nil
	}
	if now.Before(f.next) && f.failed > 0 {
		return nil
	}
	f.round = names
	return names
}

// kill switches heads off and keeps the proofs, of all or of none.
func (a *Agent) kill(ctx context.Context, names []string) {
	const cause = "silent, and service depends on whether they live"
	for _, name := range names {
		a.event("fence", name, "", "switching it off", cause)
	}
	proofs := make([]fence.Proof, len(names))
	errs := make([]error, len(names))
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i, name := range names {
		g.Go(func() error {
			proofs[i], errs[i] = fence.Kill(ctx, a.Local, fence.Devices(a.Cluster.Fencing, name), fence.Usual())
			return nil
		})
	}
	_ = g.Wait() // each keeps its own error
	for i, name := range names {
		if errs[i] == nil {
			a.event("proof", name, "", proofs[i].How, cause)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	f := &a.fencing
	f.round, f.cancel = nil, nil
	if ctx.Err() != nil {
		a.Log.Info("fencing was ended: things have changed", "heads", names)
		return
	}
	f.errs = map[string]string{}
	for i, name := range names {
		if errs[i] != nil {
			f.errs[name] = errs[i].Error()
			a.Log.Error("could not be proven off: nobody takes over", "head", name, "error", errs[i])
		}
	}
	if len(f.errs) > 0 {
		f.failed++
		f.next = time.Now().Add(afterFailure(f.failed))
		return
	}
	f.failed, f.errs = 0, nil
	for _, p := range proofs {
		f.proofs[p.Host] = p
		delete(f.on, p.Host)
	}
}

// checkProofs asks whether the heads that were switched off still are. A device
// that does not answer ends no proof: nothing here switches anything on.
func (a *Agent) checkProofs(ctx context.Context) {
	a.mu.Lock()
	names := slices.Sorted(maps.Keys(a.fencing.proofs))
	a.mu.Unlock()
	var g errgroup.Group
	g.SetLimit(atOnce)
	for _, name := range names {
		g.Go(func() error {
			for _, d := range fence.Devices(a.Cluster.Fencing, name) {
				p, err := fence.Status(ctx, a.Local, d, fence.Usual())
				if err != nil {
					continue
				}
				a.mu.Lock()
				if _, ok := a.fencing.proofs[name]; ok && a.fencing.on[name] != (p == fence.On) {
					a.fencing.on[name] = p == fence.On
					a.Log.Warn("a head that was proven off has changed", "head", name, "power", p)
				}
				if !a.fencing.on[name] {
					delete(a.fencing.on, name)
				}
				a.mu.Unlock()
				break
			}
			return nil
		})
	}
	_ = g.Wait() // nothing fails
}

// fenceReport is which heads are proven off, and what is being done. The caller
// holds the mutex.
func (a *Agent) fenceReport(now time.Time) (off map[string]string, doing string) {
	off = a.proven(now)
	for name := range a.back(now) {
		if _, ok := off[name]; ok {
			off[name] += "; on again, and not heard yet"
		}
	}
	if len(a.fencing.round) > 0 {
		return off, "switching off " + strings.Join(a.fencing.round, ", ")
	}
	return off, a.fencing.order.Wait
}
