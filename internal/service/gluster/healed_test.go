package gluster

import (
	"slices"
	"strings"
	"testing"
	"time"

	"multihead/internal/host/hosttest"
	"multihead/internal/plan"
)

// Heal info locks every entry that waits: it is asked about the last few, and where
// nothing becomes fewer.
func TestHealInfoIsAskedAboutTheLastFewAndWhereNothingBecomesFewer(t *testing.T) {
	var q queue
	begin := time.Now()
	for i, look := range []struct {
		after time.Duration
		n     int
		waits bool
	}{
		{0, 400, true},
		{9 * time.Second, 400, true},
		{11 * time.Second, 400, false}, // nothing becomes fewer: ask why
		{12 * time.Second, 399, true},
		{13 * time.Second, 450, true}, // writes come
		{21 * time.Second, 420, true},
		{23 * time.Second, 420, false},
		{24 * time.Second, askBelow + 1, true},
		{25 * time.Second, askBelow, false},
		{26 * time.Second, 0, false},
	} {
		if got := q.shrinks(look.n, begin.Add(look.after)); got != look.waits {
			t.Errorf("look %d, %d entries: waits %v", i, look.n, got)
		}
	}
}

const heals = `Gathering count of entries to be healed on volume shared_data has been successful

Brick 192.0.2.11:/b
Number of entries: 3

Brick 192.0.2.12:/b
Number of entries: 150

Brick 192.0.2.13:/b
Status: Transport endpoint is not connected
Number of entries: -
`

func TestALongHealQueueIsCountedAndNotAskedAbout(t *testing.T) {
	s := live(cluster(2), 2)
	m := hosttest.New("server1").Answer("gluster --mode=script --xml volume heal shared_data statistics heal-count", heals)
	wait := s.healed("server1", "server2").Action.(plan.Await)
	if ok, state, err := wait.Until(t.Context(), m); ok || err != nil || state != "153 entries to heal" {
		t.Errorf("%v, %q, %v", ok, state, err)
	}
	if slices.ContainsFunc(m.Asked(), func(cmd string) bool { return strings.HasSuffix(cmd, " summary") }) {
		t.Errorf("asked: %v", m.Asked())
	}
}
