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
