package agent

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/service/agentd"
)

func clusterOf(heads, witnesses int) *config.Cluster {
	c := &config.Cluster{}
	for i := range heads {
		h := config.Controller{}
		h.Hostname = string(rune('a' + i))
		c.Nodes.Controllers = append(c.Nodes.Controllers, h)
	}
	for i := range witnesses {
		w := config.Witness{}
		w.Hostname = string(rune('w' + i))
		c.Witnesses = append(c.Witnesses, w)
	}
	return c
}

func TestAnAgentIsOneOfTheFile(t *testing.T) {
	a, err := New(Options{Name: "b", Cluster: clusterOf(3, 1), Log: slog.New(slog.DiscardHandler)})
	if err != nil || !a.isHead || len(a.electorate.Peers) != 3 || len(a.electorate.Heads) != 3 || a.electorate.quorum() != 3 {
		t.Errorf("%v %+v", err, a.electorate)
	}
	if w, err := New(Options{Name: "w", Cluster: clusterOf(3, 1)}); err != nil || w.isHead {
		t.Errorf("a witness: %v", err)
	}
	if _, err := New(Options{Name: "z", Cluster: clusterOf(3, 1)}); err == nil {
		t.Error("a host that the file does not name became an agent")
	}
}

// Keepalived is told only what is new, and an agent that is started again goes
// on from what the one before it said.
func TestTheVerdictOutlivesTheAgent(t *testing.T) {
	m := hosttest.New("a").Dir("/run/multihead")
	a := &Agent{Options: Options{Local: m}}
	if !a.lastVerdict(t.Context()) {
		t.Error("a head without a verdict may hold the address")
	}
	for _, fit := range []bool{false, false, true} {
		if err := a.track(t.Context(), fit); err != nil {
			t.Fatal(err)
		}
		if got := a.lastVerdict(t.Context()); got != fit {
			t.Errorf("told %v, read %v", fit, got)
		}
	}
	if n := len(m.Changes()); n != 2 {
		t.Errorf("%d writes for two changes: %v", n, m.Changes())
	}
	if err := m.WriteFile(t.Context(), agentd.TrackFile, []byte("garbage"), host.Attr{Mode: 0o644}); err != nil || !a.lastVerdict(t.Context()) {
		t.Error("a file that says nothing keeps nobody from the address")
	}
}

// Who may take the address is what the file says, where there is an address at all.
func TestHeadsWithoutKeepalivedAreKnown(t *testing.T) {
	c := clusterOf(3, 1)
	for i := range c.Nodes.Controllers {
		c.Nodes.Controllers[i].Services.Keepalived = i != 1
	}
	for _, vip := range []netip.Addr{{}, netip.MustParseAddr("192.0.2.1")} {
		c.Network.VIP.Address = vip
		for _, name := range []string{"a", "w"} {
			a, err := New(Options{Name: name, Cluster: c, Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(a.electorate.Bare, " "); got != map[bool]string{true: "b", false: ""}[vip.IsValid()] {
				t.Errorf("%s, address %s: %q", name, vip, got)
			}
		}
	}
}
