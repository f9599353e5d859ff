package agent

import (
	"context"
	"slices"
	"time"

	"multihead/internal/host"
)

const (
	// hungFor is how long a daemon has to hang before it is killed: longer than
	// one that is busy or swapped out keeps silent, and shorter than another
	// slurmctld takes to step in (10 s and more), which would have to give way
	// again.
	hungFor = 5 * time.Second
	// hungPause is the pause between two kills of one unit; killing more often
	// would not mend what the first did not.
	hungPause = time.Minute
)

// hangs follows which units hang, of one head.
type hangs struct {
	since  map[string]time.Time // unit → since when it has been hanging
	killed map[string]time.Time // unit → when it was killed last
}

// see takes what a look at one service found and returns the units that are to
// be killed now. known are the units that were seen hanging by that service.
func (h *hangs) see(service string, units []string, now time.Time) (kill []string) {
	if h.since == nil {
		h.since, h.killed = map[string]time.Time{}, map[string]time.Time{}
	}
	for key := range h.since {
		if s, unit, _ := cutKey(key); s == service && !slices.Contains(units, unit) {
			delete(h.since, key)
		}
	}
	for _, u := range units {
		key := service + " " + u
		if h.since[key].IsZero() {
			h.since[key] = now
		}
		if now.Sub(h.since[key]) < hungFor || now.Sub(h.killed[u]) < hungPause {
			continue
		}
		h.killed[u] = now
		kill = append(kill, u)
	}
	return kill
}

func cutKey(key string) (service, unit string, ok bool) {
	for i := range key {
		if key[i] == ' ' {
			return key[:i], key[i+1:], true
		}
	}
	return key, "", false
}

// endHung kills what hangs; systemd starts it anew. A daemon that wakes up late
// would go on with what it believed before.
func (a *Agent) endHung(ctx context.Context, service string, units []string) {
	a.mu.Lock()
	kill := a.hangs.see(service, units, time.Now())
	if a.maint != nil {
		kill = nil // a person works here, with a debugger perhaps
	}
	a.mu.Unlock()
	for _, u := range kill {
		_, err := a.Local.Run(ctx, host.Command("systemctl", "kill", "--signal=SIGKILL", "--kill-whom=all", u))
		cause := "it runs and has answered nothing for " + hungFor.String()
		if err != nil {
			cause += "; and that failed: " + err.Error()
		}
		a.event("kill", a.Name, service, "killed "+u, cause)
	}
}
