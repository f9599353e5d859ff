package agent

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"multihead/internal/cluster"
	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
	"multihead/internal/service/agentd"
)

// A head may be taken out of the cluster while it is off. When it is switched on
// again it still has its data, its place in everybody's files as it knows them, and
// daemons that start at boot: its mariadbd would be back in the cluster as a member
// that nobody counts with, and so would the garbd and the sentinel of a witness. So the
// others tell it, and it stops them for good.

// notice is what an agent is told instead of being heard.
type notice struct {
	Removed time.Time `json:"removed"` // when its head left the cluster
}

const (
	// toldFor is how long a head has to be told that it left before it acts on
	// it, and how long ago the last word may be.
	toldFor   = 3 * time.Second
	toldFresh = 10 * time.Second
	// retireEvery is the pause between two looks at whether all is stopped.
	retireEvery = 5 * time.Second
)

// loadRemoved reads who has left the cluster.
func loadRemoved() (agentd.Removed, error) {
	data, err := os.ReadFile(agentd.RemovedFile)
	if errors.Is(err, os.ErrNotExist) {
		return agentd.Removed{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("who has left the cluster: %w", err)
	}
	return agentd.ParseRemoved(data)
}

// turnAway tells an agent whose head has left the cluster that it has, and hears
// nothing of it. It says whether it did.
func (a *Agent) turnAway(c *tls.Conn) bool {
	cert := c.ConnectionState().PeerCertificates[0]
	name := cert.Subject.CommonName
	if !a.removed.Refuses(name, cert.NotBefore) {
		return false
	}
	a.Log.Warn("an agent whose head has left the cluster", "name", name, "address", c.RemoteAddr(), "left", a.removed[name])
	if c.ConnectionState().NegotiatedProtocol != beats {
		return true
	}
	_ = c.SetDeadline(time.Now().Add(dialLimit))
	_ = json.NewEncoder(c).Encode(notice{a.removed[name]})
	_ = c.CloseWrite()
	// What is closed with something unread is reset, and the notice with it.
	_, _ = io.Copy(io.Discard, io.LimitReader(c, maxBeat))
	return true
}

// listenFor reads what the other end of this agent's beats says: nothing, as a
// rule. It believes it, for the other end has proven who it is.
func (a *Agent) listenFor(c io.Reader, from string) {
	var n notice
	if err := json.NewDecoder(io.LimitReader(c, maxBeat)).Decode(&n); err != nil || n.Removed.IsZero() {
		return
	}
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Sub(a.told.last) > toldFresh {
		// Who says it first is who is named: the others say it as well, in turns.
		a.told.since, a.told.by, a.told.left = now, from, n.Removed
	}
	a.told.last = now
}

// told is what others say of this head's having left.
type told struct {
	since, last time.Time
	by          string
	left        time.Time
}

// out says whether this head has left the cluster, and by whom it is told.
func (t told) out(now time.Time) bool {
	return !t.last.IsZero() && now.Sub(t.last) <= toldFresh && t.last.Sub(t.since) >= toldFor
}

// hasLeft is out for whoever does not hold the lock.
func (a *Agent) hasLeft() (told, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.told, a.told.out(time.Now())
}

// retireWhenTold stops everything on a head or witness that has left, and keeps it
// from starting at the next boot. The agent itself goes on: it says why.
func (a *Agent) retireWhenTold(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-pulse(retireEvery):
		}
		t, out := a.hasLeft()
		if !out {
			continue
		}
		a.alarm("removed", a.takenOut(t))
		if err := a.retire(ctx); err != nil {
			a.Log.Warn("cannot stop everything on this head, which has left the cluster", "error", err)
		}
	}
}

// takenOut is what a person is told on a host that has left.
func (a *Agent) takenOut(t told) string {
	when := t.left.Local().Format(time.DateTime)
	if !a.isHead {
		return fmt.Sprintf("this witness was taken out of the cluster on %s, as %s says: it votes no more, and stays so. Bring it in again with multihead node add --kind witness.", when, t.by)
	}
	return fmt.Sprintf("this head was taken out of the cluster on %s, as %s says: everything on it is stopped and stays so. Its data is what it was when it went off. Wipe its disks, and bring it in again with multihead node add.", when, t.by)
}

// retire is down for this host alone, for good.
func (a *Agent) retire(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, recoverLimit)
	defer cancel()
	v, err := cluster.Reach(ctx, a.Cluster, a.Cluster.AllHosts(), a.reachSelf)
	if err != nil {
		return err
	}
	defer v.Close()
	services := slices.DeleteFunc(slices.Clone(a.Services), func(s service.Service) bool { return s.Name() == agentd.Name })
	if err := v.Observe(ctx, services); err != nil {
		return err
	}
	p, err := v.StopPlan(service.Intent{Mode: service.Auto, Nodes: []string{a.Name}}, nil)
	if err != nil {
		return err
	}
	for i := range p.Phases {
		p.Phases[i] = p.Phases[i].ForGood()
	}
	prop, err := plan.Propose(ctx, p, v.Readers())
	if err != nil || prop.Empty() {
		return err
	}
	_, err = plan.NewEngine(v.Hosts, func(ev plan.Event) {
		switch ev.Type {
		case plan.StepStart:
			a.event("removed", ev.Host, ev.Phase, ev.Text, "this head has left the cluster")
		case plan.StepFailed:
			a.event("removed", ev.Host, ev.Phase, ev.Text, ev.Error)
		}
	}).Apply(ctx, prop)
	return err
}

var errLeft = errors.New("this head has left its cluster")

// reachSelf reaches this host and no other.
func (a *Agent) reachSelf(ctx context.Context, specs []config.HostSpec) (map[string]host.Host, map[string]error, error) {
	reached, failed := map[string]host.Host{}, map[string]error{}
	for _, spec := range specs {
		if spec.Hostname != a.Name {
			failed[spec.Hostname] = errLeft
			continue
		}
		c, err := a.session(ctx, spec)
		if err != nil {
			return nil, nil, err
		}
		reached[spec.Hostname] = c
	}
	return reached, failed, nil
}
