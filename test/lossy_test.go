//go:build lab

package test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"multihead/internal/lab"
)

// A network that loses frames and heads that have no processor to spare are no
// reason for a failover. MULTIHEAD_SOAK=30m makes it last that long.
func TestLossAndLoadAreNoReasonForAFailover(t *testing.T) {
	// Alone: its load is for its own hosts, and what others do is no part of it.
	during := 45 * time.Second
	if v := os.Getenv("MULTIHEAD_SOAK"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil {
			t.Fatalf("MULTIHEAD_SOAK: %v", err)
		}
		during = d
	}
	h := newLab(t, lab.Spec{Name: "lossy", Heads: 3, Witness: 1, Compute: 1})
	h.must("up", "--yes")
	h.green()
	h.agentsHear(3)
	heads := h.names(lab.Head)
	was, masters := h.settled(), h.masters()
	since := h.sh("server1", "date +%s")

	// Each host's share: a frame passes two of them, and is lost 5 times of 100.
	if err := h.Loss(t.Context(), 2.5, h.all()...); err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(during)
	// The hosts of a lab share its cores: one that spins for each of them.
	h.sh("node001", "systemd-run --quiet --unit=spins sh -c 'for _ in $(seq $(nproc)); do (while :; do :; done) & done; wait'")
	rows := h.startRows()
	for time.Now().Before(end) {
		if now := h.holders(); len(now) > 0 && !slices.Equal(now, []string{was}) {
			t.Errorf("the address was at %s and is at %v", was, now)
			break
		}
	}
	h.sh("node001", "systemctl is-active spins && systemctl stop spins")
	if err := h.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	rows.stopAndCheck("server1")
	h.underLoad() // F24
	if now := h.holders(); !slices.Equal(now, []string{was}) {
		t.Errorf("the address was at %s and is at %v", was, now)
	}
	for _, head := range heads {
		out := h.sh(head, "journalctl --no-pager --since=@"+since+" -u keepalived -u slurmctld -u mariadb -u multihead-agent | grep -E '"+
			"Entering (MASTER|FAULT) STATE|taking over|non-Primary|event=(fence|proof|recovery)|fit=false' || true")
		if out != "" {
			t.Errorf("%s: %s", head, out)
		}
	}
	if now := h.masters(); !slices.Equal(now, masters) {
		t.Errorf("Redis' masters were %v and are %v", masters, now)
	}
	h.green()
}

// masters are the addresses of Redis' masters.
func (h *hosts) masters() []string {
	var out []string
	for _, f := range h.redisNodes("server1") {
		if strings.Contains(f[2], "master") {
			out = append(out, f[1])
		}
	}
	slices.Sort(out)
	return out
}
