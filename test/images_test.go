//go:build lab

package test

import (
	"slices"
	"strings"
	"testing"

	"multihead/internal/lab"
)

// The other system that has to work.
func TestOtherImages(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		image string
		heads int
	}{
		{"bookworm", 3},
	} {
		t.Run(tt.image, func(t *testing.T) {
			h := newLab(t, lab.Spec{Name: "img-" + tt.image, Image: tt.image, Heads: tt.heads, Compute: 1})
			r := h.must("up", "--yes")
			t.Logf("up took %.1f s", r.took.Seconds())
			h.green()
			jobsFromEveryHead(h)
			rowsReplicate(h)
			slotsHaveReplicasElsewhere(h)
			oneVIPHolder(h)
			if r := h.must("up", "--yes"); !strings.Contains(r.stdout, "No changes") {
				t.Errorf("the second up: %s", r)
			}
		})
	}
}

// Two heads and a witness run Sentinel instead of Redis Cluster, and everything
// through another login than root: one whose sudo asks for a password.
//
// At first no key of ours is on the hosts: the first up logs in with the
// password and leaves its key.
func TestTwoHeadsAndAWitnessThroughSudo(t *testing.T) {
	t.Parallel()
	h := newLab(t, lab.Spec{Name: "two", Heads: 2, Compute: 1, Witness: 1, Spare: 1, Login: lab.LoginPassword})
	canary := h.watchForSecrets()
	r := h.must("up", "--yes")
	canary.stop()
	t.Logf("up took %.1f s", r.took.Seconds())
	h.takesOurKey()
	h.green()
	jobsFromEveryHead(h)
	rowsReplicate(h)
	out := h.sh("witness1", "REDISCLI_AUTH="+h.secrets()["REDIS_PASSWORD"]+" redis-cli -p 26379 SENTINEL masters | grep -A1 -e num-slaves -e num-other-sentinels -e quorum")
	t.Logf("the witness's sentinel says: %s", strings.ReplaceAll(out, "\n", " "))
	if !strings.Contains(strings.ReplaceAll(out, "\n", " "), "num-other-sentinels 2") {
		t.Errorf("the witness does not see two other sentinels")
	}
	if r := h.must("up", "--yes"); !strings.Contains(r.stdout, "No changes") {
		t.Errorf("the second up: %s", r)
	}
	eitherHeadMayGo(h)
	if r := h.must("up", "--yes"); !strings.Contains(r.stdout, "No changes") {
		t.Errorf("up after all that: %s", r)
	}
}

// takesOurKey makes sure that every host has our key, once, and takes it.
func (h *hosts) takesOurKey() {
	h.t.Helper()
	for _, name := range slices.Concat(h.names(lab.Head), h.names(lab.Compute), h.names(lab.Witness)) {
		if got := h.sh(name, `grep -c ' multihead$' ~admin/.ssh/authorized_keys`); got != "1" {
			h.t.Errorf("%s has %s keys of ours", name, got)
		}
	}
	r := h.run("discover", "-v")
	if n := strings.Count(r.stderr, "password=true"); n > 0 || !strings.Contains(r.stderr, "password=false") {
		h.t.Errorf("the password is still used: %s", r)
	}
}
