//go:build lab

package test

import (
	"testing"

	"multihead/internal/lab"
)

// Scenes that need the same hosts share a lab: making one and forming its cluster is a
// minute of all cores. Each leaves a healthy cluster behind, and says what it needs.
// They are the longest tests, so they begin early: in the order of the files' names.

// What happens to one head, and then to all of them, mends itself: both on one lab.
func TestServicesComeBackByThemselves(t *testing.T) {
	t.Parallel()
	h := newLab(t, lab.Spec{Name: "mend", Heads: 3, Compute: 1})
	h.must("up", "--yes")
	t.Run("daemons, and a head that loses its power", func(t *testing.T) { daemonsComeBack(h.in(t)) })
	t.Run("all heads lose their power, and nobody touches a key", func(t *testing.T) { allLosePower(h.in(t)) })
}

// No second cluster is ever formed; the one that is gets new secrets.
func TestNeverASecondClusterAndNewSecretsForTheOne(t *testing.T) {
	t.Parallel()
	h := newLab(t, lab.Spec{Name: "second", Heads: 3, Compute: 1})
	if !t.Run("never a second cluster", func(t *testing.T) { neverASecond(h.in(t)) }) {
		t.Fatal("what follows needs the cluster that was formed")
	}
	t.Run("secrets are rotated without downtime", func(t *testing.T) { secretsRotate(h.in(t)) })
}

// On two heads every phase is made to fail before the cluster is formed; what formed in
// the end takes compute nodes and a witness in, and lets them go. They share a lab,
// for both are about two heads.
func TestTwoHeadsFormInSpiteOfFailuresAndOthersJoinAndLeave(t *testing.T) {
	t.Parallel()
	h := newLab(t, lab.Spec{Name: "farm", Heads: 2, Compute: 2, Witness: 1, Data: 1 << 30})
	h.clusterFile("server1", "server2", "node001")
	if !t.Run("a failed phase is rolled back", func(t *testing.T) { failedPhases(h.in(t)) }) {
		t.Fatal("what follows needs the cluster that was formed")
	}
	t.Run("compute nodes and witnesses join and leave", func(t *testing.T) { joinAndLeave(h.in(t)) })
}
