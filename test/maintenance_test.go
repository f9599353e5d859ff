//go:build lab

package test

import (
	"strings"
	"time"
)

// maintenance puts the head with the address and Slurm's primary into maintenance,
// reboots it, and ends it; then another one's ends by itself.
func (h *hosts) maintenance() {
	h.t.Helper()
	// One brick was killed for the record's sake; what could not be healed at once
	// is tried again after a minute.
	h.eventually("it is healed", 2*time.Minute, func() (bool, string) {
		r := h.run("status")
		return r.code == 0, r.String()
	})
	h.hasAddress("server1", true, "before anything else")
	h.must("maintenance", "on", "server1", "--for", "20m", "--reason", "new memory", "--yes")
	h.hasAddress("server1", false, "in maintenance")
	if out := h.sh("server2", "scontrol ping; cd /tmp && sbatch --parsable --output=/dev/null --wrap=true"); !strings.Contains(out, "server1 is DOWN") {
		h.t.Errorf("Slurm on server1: %s", out)
	}
	r := h.must("status")
	for _, word := range []string{"MAINT", "new memory"} {
		if !strings.Contains(r.stdout, word) {
			h.t.Errorf("status does not say %q: %s", word, r)
		}
	}
	if r := h.must("up", "--yes"); !strings.Contains(r.stdout, "No changes") || !strings.Contains(r.stderr, "server1 is left alone") {
		h.t.Errorf("up: %s", r)
	}
	if r := h.run("maintenance", "on", "server2", "--for", "1h", "--yes"); r.code == 0 || !strings.Contains(r.stderr, "--confirm") {
		h.t.Errorf("a second head: %s", r)
	}

	// After a boot the agents start slurmctld, and bring the brick back: not here.
	if err := h.PowerOff(h.t.Context(), "server1"); err != nil {
		h.t.Fatal(err)
	}
	h.eventually("the one that is off is shown in maintenance", time.Minute, func() (bool, string) {
		r := h.run("maintenance", "list")
		return strings.Contains(r.stdout, "server1"), r.String()
	})
	if err := h.PowerOn(h.t.Context(), "server1"); err != nil {
		h.t.Fatal(err)
	}
	h.eventually("its copy is whole again, and the maintenance goes on", 2*time.Minute, func() (bool, string) {
		r := h.run("status")
		return strings.Contains(r.stdout, "3/3 bricks, replica 3, heal queue empty") && strings.Contains(r.stdout, "MAINT server1"), r.String()
	})
	h.hasAddress("server1", false, "in maintenance, after a boot")
	if out, err := h.trySh("server1", "systemctl is-active slurmctld"); err == nil {
		h.t.Errorf("slurmctld was started on a head in maintenance: %s", out)
	}
	h.must("maintenance", "off", "server1", "--yes")
	h.green()
	h.hasAddress("server1", true, "after maintenance")
	if r := h.must("maintenance", "list"); strings.Contains(r.stdout, "server1") {
		h.t.Errorf("it is in maintenance still: %s", r)
	}

	h.must("maintenance", "on", "server2", "--for", "1m", "--yes")
	h.eventually("it ends by itself, and what was stopped runs again", 3*time.Minute, func() (bool, string) {
		out, err := h.trySh("server2", "systemctl is-active slurmctld && ! test -e /etc/multihead/maintenance.json")
		return err == nil, out
	})
	h.green()
	if r := h.must("events"); !strings.Contains(r.stdout, "the maintenance is over") {
		h.t.Errorf("nobody says why: %s", r)
	}
}

// hasAddress awaits that a head has the virtual address, or that another one has.
func (h *hosts) hasAddress(head string, has bool, when string) {
	h.t.Helper()
	h.eventually("who has the address "+when, time.Minute, func() (bool, string) {
		owner := h.discover().VIPOwner
		return owner != "" && (owner == head) == has, owner
	})
}
