package agent

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"multihead/internal/fence"
	"multihead/internal/host"
)

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

// returning are the heads that are proven off, have power again, and have not been
// heard since: they may be booting. The caller holds the mutex.
func (a *Agent) returning(now time.Time) map[string]bool {
	dead, out := a.proven(now), a.back(now)
	maps.DeleteFunc(out, func(name string, _ bool) bool { return dead[name] == "" })
	return out
}

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
	returning := a.returning(now)
	if len(returning) >= e.majority() {
		maps.DeleteFunc(dead, func(name, _ string) bool { return returning[name] })
	}
	gone := func(name string) bool { return dead[name] != "" }
	e.Peers = slices.DeleteFunc(slices.Clone(e.Peers), gone)
	e.Heads = slices.DeleteFunc(slices.Clone(e.Heads), gone)
	e.Dead = len(a.electorate.Peers) - len(e.Peers)
	return e
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
