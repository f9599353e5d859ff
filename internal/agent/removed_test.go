package agent

import (
	"strings"
	"testing"
	"time"
)

func TestAHeadHasLeftOnlyWhenItIsToldAgainAndAgain(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		since, last time.Duration // ago
		want        bool
	}{
		"told once":           {0, 0, false},
		"told for a while":    {4 * time.Second, time.Second, true},
		"told long ago":       {time.Minute, 20 * time.Second, false},
		"told, and just once": {2 * time.Second, time.Second, false},
	} {
		if got := (told{since: now.Add(-c.since), last: now.Add(-c.last)}).out(now); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	if (told{}).out(now) {
		t.Error("never told, and out")
	}
}

func TestOnlyANoticeIsBelieved(t *testing.T) {
	for text, want := range map[string]bool{
		`{"removed":"2026-01-02T03:04:05Z"}`: true,
		`{"name":"s2","seq":1}`:              false,
		`{"removed":""}`:                     false,
		"":                                   false,
	} {
		a := &Agent{}
		a.listenFor(strings.NewReader(text), "s2")
		if got := !a.told.last.IsZero(); got != want {
			t.Errorf("%q: believed %t", text, got)
		}
	}
}
