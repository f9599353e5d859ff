package agent

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"multihead/internal/host"
	"multihead/internal/service/agentd"
)

// watchMaintenance follows whether a person works on this head, and ends it when its
// time is over.
func (a *Agent) watchMaintenance(ctx context.Context) {
	for {
		m, err := agentd.ReadMaintenance(ctx, a.Local)
		switch {
		case err != nil && ctx.Err() == nil:
			// What cannot be read may be one: what was known stays.
			a.alarm("maintenance", err.Error())
		case err == nil:
			a.alarm("maintenance", "")
			a.maintain(ctx, m, time.Now())
		}
		select {
		case <-ctx.Done():
			return
		case <-pulse(time.Second):
		}
	}
}

// maintain takes over what the file says.
func (a *Agent) maintain(ctx context.Context, m *agentd.Maintenance, now time.Time) {
	if m != nil && m.Over(now) {
		a.endMaintenance(ctx, m)
		m = nil
	}
	a.mu.Lock()
	was := a.maint
	a.maint = m
	a.mu.Unlock()
	if (was == nil) != (m == nil) {
		a.Log.Warn("maintenance", "on", m != nil)
	}
}

// endMaintenance starts what was stopped for it, once: the file goes first, so that
// units that do not start are not started for ever. What fails then is recovery's.
func (a *Agent) endMaintenance(ctx context.Context, m *agentd.Maintenance) {
	if err := os.Remove(agentd.MaintenanceFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.alarm("maintenance", "its time is over, and it cannot be ended: "+err.Error())
		return
	}
	a.event("maintenance", a.Name, "", "the maintenance is over", m.String())
	for _, unit := range m.Start {
		if _, err := a.Local.Run(ctx, host.Command("systemctl", "start", "--no-block", unit)); err != nil {
			a.event("recovery-failed", a.Name, "", "start "+unit+" after maintenance", err.Error())
			continue
		}
		a.event("recovery", a.Name, "", "start "+unit, "it was stopped for the maintenance that is over")
	}
}

// maintained are the hosts in maintenance, this one among them, as their agents last
// said. a.mu is held.
func (a *Agent) maintained(now time.Time) map[string]*agentd.Maintenance {
	out := map[string]*agentd.Maintenance{}
	if a.maint != nil {
		out[a.Name] = a.maint
	}
	for name, p := range a.peers {
		if m := p.Maintenance; m != nil && !m.Over(now) {
			out[name] = m
		}
	}
	return out
}

// tended are the hosts that recovery may change: nil where none is in maintenance,
// and with it all of them.
func (a *Agent) tended() []string {
	a.mu.Lock()
	resting := a.maintained(time.Now())
	a.mu.Unlock()
	if len(resting) == 0 {
		return nil
	}
	out := []string{}
	for _, spec := range a.Cluster.AllHosts() {
		if resting[spec.Hostname] == nil {
			out = append(out, spec.Hostname)
		}
	}
	return out
}

// withoutMaintained drops what is wrong on hosts in maintenance: it is meant to be.
func withoutMaintained(wrong []string, resting map[string]*agentd.Maintenance) []string {
	for _, name := range slices.Collect(maps.Keys(resting)) {
		wrong = slices.DeleteFunc(wrong, func(w string) bool { return strings.HasPrefix(w, name+" ") })
	}
	return wrong
}
