package agent

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestOneHeadOfAMajorityLeads(t *testing.T) {
	now := time.Unix(1000, 0)
	fresh, old := heard{at: now.Add(-time.Second)}, heard{at: now.Add(-time.Minute)}
	three := []string{"a", "b", "c"}
	for _, tt := range []struct {
		name  string
		self  string
		heads []string
		peers map[string]heard
		dead  map[string]string
		want  bool
	}{
		{"the first, all are there", "a", three, map[string]heard{"b": fresh, "c": fresh}, nil, true},
		{"not the second, all are there", "b", three, map[string]heard{"a": fresh, "c": fresh}, nil, false},
		{"the second, without the first", "b", three, map[string]heard{"a": old, "c": fresh}, nil, true},
		{"nobody alone", "a", three, map[string]heard{"b": old}, nil, false},
		{"the last one, the others proven to be off", "c", three, nil, map[string]string{"a": "x", "b": "x"}, true},
		{"not with one of two proven and the other one silent", "c", three, nil, map[string]string{"a": "x"}, false},
		{"one that is heard is not off, whatever was proven", "c", three, map[string]heard{"a": fresh}, map[string]string{"a": "x", "b": "x"}, false},
		{"two heads need each other", "a", []string{"a", "b"}, map[string]heard{"b": old}, nil, false},
		{"two heads that hear each other", "a", []string{"a", "b"}, map[string]heard{"b": fresh}, nil, true},
		{"half of four is no majority", "a", []string{"a", "b", "c", "d"}, map[string]heard{"b": fresh}, nil, false},
		{"half of four and a witness is one", "a", []string{"a", "b", "c", "d"}, map[string]heard{"b": fresh, "w": fresh}, nil, true},
		{"a witness never", "w", []string{"a", "b"}, map[string]heard{"a": fresh, "b": fresh}, nil, false},
		{"a head alone is its own majority", "a", []string{"a"}, nil, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := Electorate{Self: tt.self, Heads: tt.heads}
			for _, n := range append(slices.Clone(tt.heads), "w") {
				if _, asked := tt.peers[n]; n != tt.self && (n != "w" || asked) {
					e.Peers = append(e.Peers, n)
				}
			}
			if got, why := leads(e, tt.peers, tt.dead, now); got != tt.want {
				t.Errorf("%v: %s", got, why)
			}
		})
	}
}

// Whoever hears whom, two heads of which each hears the other never lead both,
// and there is no leader without a majority.
func TestTwoHeadsThatHearEachOtherNeverLeadBoth(t *testing.T) {
	now := time.Unix(1000, 0)
	names := []string{"a", "b", "c", "d"}
	for bits := range 1 << 12 {
		hears := map[string]map[string]heard{}
		i := 0
		for _, self := range names {
			hears[self] = map[string]heard{}
			for _, other := range names {
				if self == other {
					continue
				}
				if bits>>i&1 == 1 {
					hears[self][other] = heard{at: now}
				}
				i++
			}
		}
		var led []string
		for _, self := range names {
			var peers []string
			for _, o := range names {
				if o != self {
					peers = append(peers, o)
				}
			}
			if yes, _ := leads(Electorate{Self: self, Heads: names, Peers: peers}, hears[self], nil, now); yes {
				led = append(led, self)
				if len(hears[self]) < 2 {
					t.Fatalf("%s leads and hears %d of 3", self, len(hears[self]))
				}
			}
		}
		for _, x := range led {
			for _, y := range led {
				_, xy := hears[x][y]
				_, yx := hears[y][x]
				if x != y && xy && yx {
					t.Fatalf("%012b: %s and %s", bits, x, y)
				}
			}
		}
	}
}

func TestPausesGrowAndEndWhenItHasBeenCalm(t *testing.T) {
	now := time.Unix(1000, 0)
	var p throttle
	if !p.ready(now) {
		t.Fatal("the first attempt waits")
	}
	var pauses []string
	for range 9 {
		p.tried(now, false)
		pauses = append(pauses, p.next.Sub(now).String())
		now = p.next
	}
	if got := strings.Join(pauses, " "); got != "10s 20s 40s 1m20s 2m40s 5m20s 10m0s 10m0s 10m0s" {
		t.Error(got)
	}
	if p.fresh(now.Add(-time.Second)); p.ready(now.Add(-time.Second)) {
		t.Error("what changes all the time is tried all the time")
	}
	now = now.Add(calmFor + time.Second)
	if p.tried(now, false); p.next.Sub(now) != firstPause {
		t.Error(p.next.Sub(now))
	}
	for range 20 {
		p.tried(p.next, true)
	}
	end := p.next
	if p.fresh(now); !p.ready(now) {
		t.Errorf("twenty recoveries went well, and the next thing that fails waits until %v", end)
	}
}

func TestLooksThatDoNothingStayFrequent(t *testing.T) {
	now := time.Unix(1000, 0)
	var p throttle
	var pauses []string
	for range 6 {
		p.looked(now)
		pauses = append(pauses, p.next.Sub(now).String())
		now = p.next
	}
	if got := strings.Join(pauses, " "); got != "10s 20s 40s 1m0s 1m0s 1m0s" {
		t.Error(got)
	}
	if p.tried(now, true); p.next.Sub(now) != firstPause {
		t.Errorf("looks count as attempts: %v", p.next.Sub(now))
	}
}

func TestWhatIsRefusedWhileAHeadIsMissingIsLookedAtAsSoonAsItHasBeenWaitedFor(t *testing.T) {
	start := time.Unix(1000, 0)
	var l ledger
	var at []int
	for s := range 60 {
		now := start.Add(time.Duration(s) * time.Second)
		if l.due([]string{"b mariadb: gone"}, []string{"c"}, now) {
			at = append(at, s)
			l.pace.looked(now)
		}
	}
	if fmt.Sprint(at) != "[6 16 30 40]" {
		t.Error(at)
	}
}

func TestRecoveryWaitsUntilThingsHaveSettled(t *testing.T) {
	start := time.Unix(1000, 0)
	bad := []string{"b mariadb: gone"}
	for _, tt := range []struct {
		name string
		see  func(second int) (wrong, missing []string)
		want int // the first second at which it acts, -1 never within 100
	}{
		{"nothing wrong", func(int) ([]string, []string) { return nil, nil }, -1},
		{"wrong from the beginning", func(int) ([]string, []string) { return bad, nil }, 6},
		{"wrong for a moment", func(s int) ([]string, []string) {
			if s%5 < 3 {
				return bad, nil
			}
			return nil, nil
		}, -1},
		{"another reason is the same thing", func(s int) ([]string, []string) { return []string{fmt.Sprintf("b mariadb: %d", s)}, nil }, 6},
		{"hosts still come", func(s int) ([]string, []string) {
			if s < 20 {
				return bad, []string{"c"}
			}
			return bad, nil
		}, 6},
		{"hosts come and go", func(s int) ([]string, []string) { return bad, []string{"c", "d"}[:s/4%2+1] }, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l ledger
			got := -1
			for s := range 100 {
				wrong, missing := tt.see(s)
				if l.due(wrong, missing, start.Add(time.Duration(s)*time.Second)) {
					got = s
					break
				}
			}
			if got != tt.want {
				t.Errorf("after %d s, not %d", got, tt.want)
			}
		})
	}
}

func TestEverythingIsLookedAtNowAndThen(t *testing.T) {
	var l ledger
	start := time.Unix(1000, 0)
	if l.due(nil, nil, start) || l.due(nil, nil, start.Add(lookAnyway-time.Second)) {
		t.Error("too early")
	}
	if !l.due(nil, nil, start.Add(lookAnyway)) {
		t.Error("never")
	}
}

func TestWhatHangsIsKilledOnceItHasHungForLong(t *testing.T) {
	now := time.Unix(1000, 0)
	var h hangs
	look := func(after time.Duration, units ...string) []string { return h.see("redis", units, now.Add(after)) }
	if k := look(0, "r1", "r2"); k != nil {
		t.Error("at once:", k)
	}
	h.see("mariadb", nil, now.Add(time.Second)) // another service's look says nothing of these
	if k := look(3*time.Second, "r1"); k != nil {
		t.Error("too early:", k)
	}
	if k := look(hungFor, "r1", "r2"); len(k) != 1 || k[0] != "r1" {
		t.Error("r2 had woken up in between:", k)
	}
	if k := look(hungFor+3*time.Second, "r1"); k != nil {
		t.Error("again at once:", k)
	}
	if k := look(hungFor+hungPause, "r1"); len(k) != 1 {
		t.Error("it still hangs:", k)
	}
}
