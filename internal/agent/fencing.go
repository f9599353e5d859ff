package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"multihead/internal/fence"
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
	knocks map[string]*knock
	proofs map[string]fence.Proof // made here; they last until the head is heard again
	on     map[string]bool        // of those, the ones whose device says on by now
	back   map[string]time.Time   // heads that are proven off by anybody → since when they have had power again
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
	asking
	power fence.Power
	says  string
	lost  time.Duration // since the majority was lost, when it answered
}

// asking is a question that is put again and again, one at a time.
type asking struct {
	asked   time.Time
	pending bool
}

// due begins the question where it is time to ask again.
func (q *asking) due(now time.Time) bool {
	if q.pending || now.Sub(q.asked) < lookAgain {
		return false
	}
	q.pending, q.asked = true, now
	return true
}

func newFencing(now time.Time) fencing {
	return fencing{began: now, looks: map[string]*look{}, knocks: map[string]*knock{}, proofs: map[string]fence.Proof{}, on: map[string]bool{}, back: map[string]time.Time{}, broken: map[string]time.Time{}, well: map[string]bool{}, lapsed: map[string]bool{}}
}

// proofsFile keeps the proofs over a restart of the agent, not of the head: it lies
// where nothing outlives that.
const proofsFile = agentd.RunDir + "/proofs.json"

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
		if a.told.out(now) {
			order = fenceOrder{} // it has left: the others' power is none of its business
		}
		a.fencing.order = order
		look, knock := a.toLook(order.Look, now), a.toKnock(s, now)
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
		for _, name := range knock {
			work.Go(func() { a.knockAt(ctx, name) })
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
		if l.due(now) {
			out = append(out, name)
		}
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
