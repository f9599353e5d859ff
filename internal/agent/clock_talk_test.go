package agent

import (
	"context"
	"strings"
	"testing"
	"time"
)

// F10: three agents talk over their own TLS, and the clock of one is set a minute ahead.
// That one says so in its report, which status shows and events tells, and the others
// do not; it is over once the clock is right. (The lab cannot set a host's clock, and an
// agent asks no C library for the time, so that it could be told another.)
func TestAnAgentWhoseClockIsSetWrongSaysSo(t *testing.T) {
	c, ca := threeAgents(t)
	agents := map[string]*Agent{}
	for _, name := range []string{"a", "b", "w"} {
		agents[name] = running(t, c, name, ca.identity(name), machine(name))
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for _, a := range agents {
		go a.watchClocks(ctx)
		for _, peer := range c.HeadsAndWitnesses() {
			if peer.Hostname != a.Name {
				go a.talk(ctx, a.id, peer)
			}
		}
	}
	said := func(name string) string { return strings.Join(agents[name].report(time.Now()).Alarms, "; ") }
	set := func(off time.Duration) {
		b := agents["b"]
		b.mu.Lock()
		defer b.mu.Unlock()
		b.clocks.wall = func() time.Time { return time.Now().Add(off) }
	}
	// Asked again and again: the agents talk over real sockets, for which a bubble of fake
	// time does not wait, and that an alarm is over is told nowhere but in the report.
	await := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s never came: %q", what, said("b"))
			}
		}
	}
	set(time.Minute)
	await("the alarm", func() bool { return said("b") != "" })
	for _, word := range []string{"clock: its clock is", "1m0s ahead of a's", "1m0s ahead of w's", "munge"} {
		if !strings.Contains(said("b"), word) {
			t.Errorf("%q does not say %q", said("b"), word)
		}
	}
	if others := said("a") + said("w"); others != "" {
		t.Errorf("the others say: %s", others)
	}
	b := agents["b"]
	b.mu.Lock()
	events := b.events
	b.mu.Unlock()
	if len(events) != 1 || events[0].Kind != "alarm" || events[0].Service != clockKey {
		t.Errorf("events: %+v", events)
	}
	set(0)
	await("the end of the alarm", func() bool { return said("b") == "" })
}
