package host

import (
	"testing"
	"time"
)

func TestATimeThatNoFormatCanCarryIsNoTime(t *testing.T) {
	if got := sane(time.Unix(140234843088152, 0)); !got.IsZero() {
		t.Errorf("%v", got)
	}
	if now := time.Now(); !sane(now).Equal(now) {
		t.Error("a real time was lost")
	}
}
