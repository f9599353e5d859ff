package agentd

import (
	"strings"
	"testing"
	"time"

	"multihead/internal/host/hosttest"
	"multihead/internal/service"
)

func TestAHeadInMaintenanceIsShownAsSuchAlsoWhileItIsOff(t *testing.T) {
	now := time.Unix(1000, 0)
	m := &Maintenance{Since: now.Add(-time.Hour), Until: now.Add(time.Hour), By: "kim", Reason: "new memory"}
	up := func(name string, peers map[string]Peer) seat {
		return seat{name: name, head: true, reached: true, runs: service.Yes, report: &Report{Fit: true, Peers: peers}}
	}
	for name, tt := range map[string]struct {
		a    seat
		b    map[string]Peer // what b knows of a
		want service.Word
	}{
		"it says so":                      {seat{name: "a", head: true, reached: true, runs: service.Yes, report: &Report{Maintenance: m}}, nil, service.Maint},
		"it is off, and another knows":    {seat{name: "a", head: true, why: "no route"}, map[string]Peer{"a": {Maintenance: m}}, service.Maint},
		"it is off, and nobody knows":     {seat{name: "a", head: true, why: "no route"}, nil, service.Unknown},
		"it is off, and its time is over": {seat{name: "a", head: true, why: "no route"}, map[string]Peer{"a": {Maintenance: &Maintenance{Until: now}}}, service.Unknown},
		"it says no, and another is late": {up("a", nil), map[string]Peer{"a": {Heard: true, Maintenance: m}}, service.Up},
	} {
		t.Run(name, func(t *testing.T) {
			s := &State{at: now, seats: []seat{tt.a, up("b", tt.b)}}
			n := s.Health().Nodes["a"]
			if n.State != tt.want {
				t.Errorf("%+v", n)
			}
			if tt.want == service.Maint && (!strings.Contains(n.Reason, "kim: new memory") || len(s.Maintained()) != 1) {
				t.Errorf("%q, %v", n.Reason, s.Maintained())
			}
		})
	}
}

func TestAMaintenanceWithoutAnEndIsNone(t *testing.T) {
	for text, ok := range map[string]bool{`{"until":"2026-11-22T10:00:00Z","by":"kim"}`: true, `{"by":"kim"}`: false, `{`: false, ``: false} {
		if _, err := ParseMaintenance([]byte(text)); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
	if m, err := ReadMaintenance(t.Context(), hosttest.New("a")); m != nil || err != nil {
		t.Errorf("%v %v", m, err)
	}
}

func FuzzParseMaintenance(f *testing.F) {
	f.Add([]byte(`{"until":"2026-11-22T10:00:00Z","by":"kim","start":["slurmctld.service"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := ParseMaintenance(data); err == nil && m.Until.IsZero() {
			t.Error("it has no end")
		}
	})
}
