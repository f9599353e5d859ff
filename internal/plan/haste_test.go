package plan

import (
	"testing"
	"time"
)

func TestWhatStandsStillIsHastenedMoreAndMoreSeldom(t *testing.T) {
	const s = time.Second
	begin := time.Now()
	var u haste
	for i, look := range []struct {
		after time.Duration
		seen  string
		due   bool
	}{
		{0, "9 entries", false},
		{4 * s, "9 entries", false},
		{5 * s, "9 entries", true},
		{14 * s, "9 entries", false},
		{15 * s, "9 entries", true}, // twice that time
		{34 * s, "9 entries", false},
		{35 * s, "9 entries", true},
		{36 * s, "8 entries", false}, // it comes by itself
		{41 * s, "8 entries", true},
		{51 * s, "8 entries", true},
		{71 * s, "8 entries", true},
		{111 * s, "8 entries", true},
		{170 * s, "8 entries", false},
		{171 * s, "8 entries", true}, // once a minute in the end
		{231 * s, "8 entries", true},
	} {
		if got := u.due(look.seen, begin.Add(look.after)); got != look.due {
			t.Errorf("look %d, after %s: %v", i, look.after, got)
		}
	}
}
