package agent

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestWhoseClockIsOff(t *testing.T) {
	now := time.Now()
	at := func(ahead ...time.Duration) map[string]reading {
		out := map[string]reading{}
		for i, a := range ahead {
			out["server"+string(rune('2'+i))] = reading{a, 10 * time.Millisecond, now}
		}
		return out
	}
	const s, m = time.Second, time.Minute
	for _, c := range []struct {
		name  string
		peers map[string]reading
		words []string // of what is said; none where nothing is
	}{
		{"alone", nil, nil},
		{"all agree", at(0, s, -s), nil},
		{"another one's is off", at(0, m, 0), nil},
		{"this one's is ahead", at(-m, -m, -m), []string{"1m0s ahead of server2's", "1m0s ahead of server4's", "from 300 s on munge refuses"}},
		{"this one's is behind", at(5200*time.Millisecond, 5100*time.Millisecond), []string{"5s behind server2's, 5s behind server3's"}},
		{"this one's is a little off", at(4900*time.Millisecond, 4900*time.Millisecond), nil},
		{"ten minutes", at(-10*m, -10*m), []string{"10m0s ahead of", "munge refuses credentials that are 300 s off"}},
		{"of two nobody knows", at(m), []string{"1m0s behind server2's; which of them is right cannot be told"}},
		{"two against two", at(0, m, m), []string{"1m0s behind server3's, 1m0s behind server4's; which of them"}},
		{"all three differ", at(m, -m), []string{"1m0s behind server2's, 1m0s ahead of server3's"}},
		{"one of four is off", at(0, 0, m), nil},
		{"too vague to tell", map[string]reading{"server2": {10 * s, 6 * s, now}, "server3": {10 * s, 6 * s, now}}, nil},
		{"vague, and sure all the same", map[string]reading{"server2": {m, 6 * s, now}, "server3": {m, 6 * s, now}}, []string{"1m0s behind"}},
		{"not heard any more", map[string]reading{"server2": {m, 0, now.Add(-m)}, "server3": {m, 0, now.Add(-m)}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := judgeClock(c.peers, clockOff, now)
			if (got == "") != (len(c.words) == 0) {
				t.Fatalf("%q", got)
			}
			for _, w := range c.words {
				if !strings.Contains(got, w) {
					t.Errorf("%q does not say %q", got, w)
				}
			}
		})
	}
}

// Agents compare their clocks by what they tell each other: the one that is off knows it,
// and how far, however long the way of the beats is, and the others find nothing.
func TestAgentsFindTheClockThatIsOff(t *testing.T) {
	for name, c := range map[string]struct{ off, way, stuck time.Duration }{
		"ahead":            {time.Minute, time.Millisecond, 0},
		"behind, long way": {-10 * time.Minute, 400 * time.Millisecond, 0},
		// What one sends comes late, as from a host that was frozen.
		"not off, and slow one way": {0, 0, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			clock := func(off time.Duration) *Agent {
				a := &Agent{clocks: newClocks(), started: now}
				a.clocks.wall = func() time.Time { return now.Add(off) }
				return a
			}
			agents := map[string]*Agent{"server1": clock(0), "server2": clock(0), "server3": clock(c.off)}
			for name, a := range agents {
				a.Name = name
			}
			for range 3 {
				for from, a := range agents {
					beat, _ := a.now()
					data, err := json.Marshal(beat)
					if err != nil {
						t.Fatal(err)
					}
					before := now
					for to, b := range agents {
						if to == from {
							continue
						}
						var beat Beat
						if err := json.Unmarshal(data, &beat); err != nil {
							t.Fatal(err)
						}
						now = before.Add(c.way)
						if from == "server3" {
							now = now.Add(c.stuck)
						}
						b.clocks.take(to, beat)
					}
					now = before.Add(beatEvery)
				}
			}
			for name, a := range agents {
				got := judgeClock(a.clocks.peers, clockOff, time.Now())
				if off := name == "server3" && c.off != 0; off != (got != "") {
					t.Errorf("%s: %q, %+v", name, got, a.clocks.peers)
				}
				for peer, r := range a.clocks.peers {
					want := time.Duration(0)
					if peer == "server3" {
						want = c.off
					} else if name == "server3" {
						want = -c.off
					}
					if (r.ahead - want).Abs() > r.within {
						t.Errorf("%s of %s: %s ±%s, and it is %s", name, peer, r.ahead, r.within, want)
					}
				}
			}
		})
	}
}

// A peer that is not heard any more is not told how late it was.
func TestWhatCameLongAgoSaysNothingOfClocks(t *testing.T) {
	c := newClocks()
	c.take("server1", Beat{Name: "server2", Sent: time.Now().UnixNano()})
	if now := time.Now(); len(c.lates(now)) != 1 || len(c.lates(now.Add(2*freshFor))) != 0 {
		t.Errorf("%+v", c)
	}
}

// An agent of an older release says nothing of its clock, and nothing is made of it.
func TestABeatWithoutATimeIsNoClock(t *testing.T) {
	c := newClocks()
	c.take("server1", Beat{Name: "server2"})
	if len(c.late)+len(c.peers) > 0 {
		t.Errorf("%+v", c)
	}
}
