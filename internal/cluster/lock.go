package cluster

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"golang.org/x/sync/errgroup"

	"multihead/internal/host"
)

// Lock takes the lock of every reached head, so that one run of the tool is at
// work at a time. Two runs go for the heads in the same order, so they cannot
// each hold a part; and more than half of the heads of the file have to be
// held, so that two runs that reach different heads cannot both go on. Heads that
// are proven off (View.Proven) do not count: no run is at work there. Nor do any
// that are silent where a person says so (View.Few). A lock whose tool was cut off
// is awaited for as long as ctx lasts, and so is one that gives way.
//
// The locks end with the connections: a tool that was killed leaves none.
func (v *View) Lock(ctx context.Context, owner host.Owner) error {
	var names []string
	total := 0
	for _, head := range v.Cluster.Nodes.Controllers {
		switch {
		case v.Hosts[head.Hostname] != nil:
			names = append(names, head.Hostname)
			total++
		case v.Dead[head.Hostname] == "":
			total++
		}
	}
	if len(names) == 0 || 2*len(names) <= total && !v.Few {
		return fmt.Errorf("only %d of %d heads were reached: more than half are needed to lock the cluster, so that no other run can be at work; bring heads back, or take those that are gone for good out of the file",
			len(names), total)
	}
	sort.Strings(names)
	// The first name decides between two runs; the rest follow at once.
	if err := v.lockHost(ctx, names[0], owner); err != nil {
		return err
	}
	var g errgroup.Group
	for _, name := range names[1:] {
		g.Go(func() error { return v.lockHost(ctx, name, owner) })
	}
	return g.Wait()
}

// LockAgain takes the lock of heads whose connections were made anew since Lock: the old
// ones' locks ended with them.
func (v *View) LockAgain(ctx context.Context, owner host.Owner, before map[string]host.Host) error {
	var names []string
	for _, head := range v.Cluster.Nodes.Controllers {
		if h := v.Hosts[head.Hostname]; h != nil && h != before[head.Hostname] {
			names = append(names, head.Hostname)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		if err := v.lockHost(ctx, name, owner); err != nil {
			return err
		}
	}
	return nil
}

func (v *View) lockHost(ctx context.Context, name string, owner host.Owner) error {
	l, ok := v.Hosts[name].(host.Locker)
	if !ok {
		return fmt.Errorf("%s: this connection cannot lock", name)
	}
	// The kernel offers no event for a lock that comes free on another host.
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	told := false
	for {
		_, err := l.Lock(ctx, owner) // the lease ends with the connection
		var held *host.LockedError
		if err == nil || !errors.As(err, &held) || !v.worthWaiting(held, owner, &told) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// worthWaiting says whether a lock comes free before long, and tells View.Waiting
// once that it is waited for. Two that give way do not wait for each other.
func (v *View) worthWaiting(held *host.LockedError, owner host.Owner, told *bool) bool {
	// Its own, over a connection that was lost and whose end the host has not noticed yet.
	own := held.Owner.PID == owner.PID && held.Owner.From == owner.From && held.Owner.User == owner.User && owner.PID != 0
	wait := own || held.Owner.Orphaned || held.Owner.Yields && !owner.Yields
	if wait && !*told && v.Waiting != nil {
		*told = true
		v.Waiting(held)
	}
	return wait
}

// Idle waits until no head finishes the last step of a run that was cut off, nor
// has an agent at work, which is asked to give way: a daemon in the middle of its
// start would be neither there nor not there. A run that is alive is a
// *host.LockedError at once. owner is who waits.
func (v *View) Idle(ctx context.Context, owner host.Owner) error {
	var g errgroup.Group
	for _, head := range v.Cluster.Nodes.Controllers {
		l, ok := v.Hosts[head.Hostname].(host.Locker)
		if !ok {
			continue
		}
		g.Go(func() error { return v.idle(ctx, l, owner) })
	}
	return g.Wait()
}

func (v *View) idle(ctx context.Context, l host.Locker, owner host.Owner) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	told := false
	for {
		held, err := l.Holder(ctx, &owner)
		if err != nil || held == nil {
			return err
		}
		if !v.worthWaiting(held, owner, &told) {
			return held
		}
		select {
		case <-ctx.Done():
			return held
		case <-tick.C:
		}
	}
}
