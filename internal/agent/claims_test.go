package agent

import (
	"net/netip"
	"testing"
	"time"
)

// The address moves from head to head, and for a moment both may be heard.
func TestAClaimCountsOnceItLasts(t *testing.T) {
	var c claim
	at := func(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }
	for _, s := range []struct {
		ms   int
		sure bool
	}{{0, false}, {900, false}, {1000, true}, {3000, true}, {3000 + 20_001, false}, {3000 + 21_001, true}} {
		if got := c.again(at(s.ms)); got != s.sure {
			t.Errorf("after %d ms: %v", s.ms, got)
		}
	}
	if c.over(at(44_000)) || !c.over(at(44_003)) || (&claim{}).over(at(0)) {
		t.Error("over at the wrong time")
	}
}

func TestNeighboursOfTheKernelsTable(t *testing.T) {
	got := neighbours(`IP address       HW type     Flags       HW address            Mask     Device
192.0.2.12       0x1         0x2         02:00:00:00:00:0c     *        eth0
192.0.2.13       0x1         0x0         00:00:00:00:00:00     *        eth0
nonsense
`)
	if len(got) != 1 || got[netip.MustParseAddr("192.0.2.12")] != "02:00:00:00:00:0c" {
		t.Errorf("%v", got)
	}
}
