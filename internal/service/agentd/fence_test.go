package agentd

import (
	"strings"
	"testing"

	"multihead/internal/config"
	"multihead/internal/host/hosttest"
	"multihead/internal/service"
)

func TestThePackageOfAFenceAgent(t *testing.T) {
	const trixie, bookworm = "ID=debian\nVERSION_ID=\"13\"\n", "PRETTY_NAME=x\nID=debian\nVERSION_ID=\"12\"\n"
	for _, tt := range []struct{ agent, release, want string }{
		{"fence_ipmilan", trixie, "fence-agents-ipmilan"}, {"fence_ipmilan", bookworm, "fence-agents"},
		{"fence_idrac", trixie, "fence-agents-ipmilan"}, {"fence_ilo4_ssh", trixie, "fence-agents-ilo-ssh"},
		{"fence_redfish", "ID=ubuntu\nVERSION_ID=\"24.04\"\n", "fence-agents-redfish"}, {"fence_redfish", "ID=ubuntu\nVERSION_ID=\"22.04\"\n", "fence-agents"},
		{"fence_redfish", "ID=debian\n", "fence-agents-redfish"}, {"fence_vmware_rest", "ID=rocky\nVERSION_ID=\"9.4\"\n", "fence-agents-vmware-rest"},
		{"fence_xvm", trixie, "fence-virt"},
	} {
		if got := fencePackage(tt.agent, tt.release); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.agent, got, tt.want)
		}
	}
}

func TestFenceAgentsThatAreThereAreNotInstalled(t *testing.T) {
	c := &config.Cluster{Fencing: config.Fencing{Enabled: true, Devices: []config.FenceDevice{
		{Node: "a", Agent: "fence_ipmilan"}, {Node: "b", Agent: "fence_own"}, {Node: "b", Agent: "fence_ipmilan"},
	}}}
	m := hosttest.New("a").Dir("/usr/sbin").File("/usr/sbin/fence_own", "#!").File("/etc/os-release", "ID=debian\nVERSION_ID=13\n")
	s := seat{name: "a", head: true, reached: true}
	s.lookForFenceAgents(t.Context(), m, c)
	if got := strings.Join(s.fencePackages, " "); got != "fence-agents-ipmilan" || !s.reached {
		t.Errorf("%q %v", got, s)
	}
	c.Fencing.Enabled = false
	s = seat{name: "a", head: true, reached: true}
	if s.lookForFenceAgents(t.Context(), m, c); s.fencePackages != nil {
		t.Error("fencing is off, and its packages are wanted")
	}
}

func TestWhatIsOffAndWhatNeedsAPersonIsSaid(t *testing.T) {
	s := &State{seats: []seat{
		{name: "a", head: true, reached: true, runs: service.Yes, report: &Report{Fit: true, Dead: map[string]string{"b": "fence_x says off, twice"}}},
		{name: "b", head: true, why: "no route"},
	}}
	if h := s.Health(); !strings.Contains(h.Summary, "b is off: fence_x says off, twice") {
		t.Errorf("%+v", h)
	}
	s.seats[0].report = &Report{Fit: true, Alarms: []string{"fencing: b: fence_x says that it is still on"}, Fencing: "switching off b"}
	if h := s.Health(); h.State != service.Degraded || !strings.Contains(h.Reason, "still on") || !strings.Contains(h.Summary, "a: switching off b") {
		t.Errorf("%+v", h)
	}
}
