package cluster

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"golang.org/x/sync/errgroup"
)

// Owner is who holds the cluster's lock and what for.
type Owner struct {
	User    string    `json:"user"`
	From    string    `json:"from"` // the machine the tool runs on
	PID     int       `json:"pid"`
	Command string    `json:"command"`
	Since   time.Time `json:"since"`
}

// Locker is a host that can be held by one run of the tool at a time. The lock
// is the host's own and ends with the connection, so that a tool that was
// killed leaves none behind.
type Locker interface {
	// Lock takes the lock or returns a *LockedError.
	Lock(ctx context.Context, owner Owner) error
}

// LockedError says who is at work.
type LockedError struct {
	Host     string
	Owner    Owner
	Orphaned bool // its tool is gone; the host still finishes the step it was at
}

// Error names the owner and the age of the lock.
func (e *LockedError) Error() string {
	s := fmt.Sprintf("%s: another run is at work: %s, by %s from %s, for %s",
		e.Host, e.Owner.Command, e.Owner.User, e.Owner.From, time.Since(e.Owner.Since).Round(time.Second))
	if e.Orphaned {
		s += "; it was cut off and the host is finishing its last step"
	}
	return s
}

// Lock takes the lock on every reached head, in the order of their names, so
// that two runs cannot each hold a part. More than half of the heads of the
// file have to be held: two runs that reach different heads cannot both have
// that. An orphaned lock is awaited, for as long as ctx lasts.
func (v *View) Lock(ctx context.Context, owner Owner) error {
	var names []string
	for _, head := range v.Cluster.Nodes.Controllers {
		if v.Hosts[head.Hostname] != nil {
			names = append(names, head.Hostname)
		}
	}
	if total := len(v.Cluster.Nodes.Controllers); 2*len(names) <= total {
		return fmt.Errorf("only %d of %d heads were reached: more than half are needed to lock the cluster, so that no other run can be at work; bring heads back, or take those that are gone for good out of the file",
			len(names), total)
	}
	sort.Strings(names)
	if len(names) == 0 {
		return errors.New("no head was reached: nothing to lock")
	}
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

func (v *View) lockHost(ctx context.Context, name string, owner Owner) error {
	l, ok := v.Hosts[name].(Locker)
	if !ok {
		return fmt.Errorf("%s: this connection cannot lock", name)
	}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		err := l.Lock(ctx, owner)
		var held *LockedError
		if err == nil || !errors.As(err, &held) || !held.Orphaned {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}
