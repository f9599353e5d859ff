package agent

import (
	"slices"
	"time"

	"multihead/internal/service/agentd"
)

// keptEvents bounds what an agent remembers of what it did; the journal has all.
const keptEvents = 200

// event records something that the agent did, or that needs a person, with its
// cause: in the journal, and for whoever asks.
func (a *Agent) event(kind, host, service, what, cause string) {
	a.Log.Warn(what, "event", kind, "host", host, "service", service, "cause", cause)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count.event(kind, service)
	a.events = append(a.events, agentd.Event{Time: time.Now(), Kind: kind, Host: host, Service: service, What: what, Cause: cause})
	if n := len(a.events) - keptEvents; n > 0 {
		a.events = slices.Delete(a.events, 0, n)
	}
}

// alarm says that something needs a person, once for as long as it lasts.
func (a *Agent) alarm(key, what string) {
	a.mu.Lock()
	was := a.alarms[key]
	if what == "" {
		delete(a.alarms, key)
	} else {
		a.alarms[key] = what
	}
	a.mu.Unlock()
	if what != "" && what != was {
		a.event("alarm", a.Name, key, what, "")
	}
}
