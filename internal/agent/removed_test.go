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

func TestWhoSaidFirstThatAHeadLeftIsNamed(t *testing.T) {
	a := &Agent{}
	for _, from := range []string{"s2", "s3", "s2"} {
		a.listenFor(strings.NewReader(`{"removed":"2026-01-02T03:04:05Z"}`), from)
	}
	if a.told.by != "s2" || a.told.left.Year() != 2026 {
		t.Errorf("%+v", a.told)
	}
	a.told.last = a.told.last.Add(-time.Minute)
	if a.listenFor(strings.NewReader(`{"removed":"2027-01-02T03:04:05Z"}`), "s3"); a.told.by != "s3" || a.told.left.Year() != 2027 {
		t.Errorf("after a silence: %+v", a.told)
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
