package agent

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func bad(names ...string) Verdict {
	v := Verdict{Bad: map[string]string{}}
	for _, n := range names {
		v.Bad[n] = "down"
	}
	return v
}

func maintained(names ...string) Verdict {
	v := bad(names...)
	v.Maintained = true
	return v
}

func TestWhoMayHoldTheAddress(t *testing.T) {
	now := time.Unix(1000, 0)
	four := Electorate{Self: "s1", Peers: []string{"s2", "s3", "s4", "w1"}, Heads: []string{"s1", "s2", "s3", "s4"}}
	two := Electorate{Self: "s1", Peers: []string{"s2"}, Heads: []string{"s1", "s2"}}
	one := Electorate{Self: "s1", Heads: []string{"s1"}}
	bare := two
	bare.Bare = []string{"s2"}
	type others map[string]Verdict
	tests := []struct {
		name  string
		e     Electorate
		own   Verdict
		peers others
		stale []string
		fit   bool
		why   string
	}{
		{"all well", four, bad(), others{"s2": bad(), "s3": bad(), "s4": bad(), "w1": bad()}, nil, true, ""},
		{"one daemon is bad here and well elsewhere", four, bad("mariadb"), others{"s2": bad(), "s3": bad()}, nil, false, "s2 is better off"},
		{"the same daemon is bad everywhere", four, bad("mariadb"), others{"s2": bad("mariadb"), "s3": bad("mariadb"), "s4": bad("mariadb")}, nil, true, "mariadb"},
		{"everybody has something else: nobody is better off", four, bad("mariadb"), others{"s2": bad("redis"), "s3": bad("glusterfs"), "s4": bad("slurm")}, nil, true, ""},
		{"two are bad here and one elsewhere", four, bad("mariadb", "slurm"), others{"s2": bad("redis"), "s3": bad("redis")}, nil, false, "s2"},
		{"only a witness is better off: it cannot hold the address", four, bad("mariadb"), others{"s2": bad("mariadb"), "w1": bad(), "s3": bad("mariadb")}, nil, true, ""},
		{"cut off from all", four, bad(), nil, nil, false, "in touch with 1 of 5"},
		{"in touch with one other", four, bad(), others{"s2": bad()}, nil, false, "in touch with 2 of 5"},
		{"in touch with a majority", four, bad(), others{"s2": bad(), "w1": bad()}, nil, true, ""},
		{"beats that are old do not count", four, bad(), others{"s2": bad(), "s3": bad(), "w1": bad()}, []string{"s2", "s3"}, false, "in touch with 2"},
		{"a head that is better off and silent is not waited for", four, bad("redis"), others{"s2": bad(), "s3": bad("redis"), "s4": bad("redis")}, []string{"s2"}, true, "redis"},
		{"two heads without a witness: VRRP alone", two, bad(), nil, nil, true, ""},
		{"two heads, the other is better off", two, bad("redis"), others{"s2": bad()}, nil, false, "s2"},
		{"a person works here, and elsewhere all is well", four, maintained(), others{"s2": bad(), "s3": bad()}, nil, false, "in maintenance; s2 is better off"},
		{"a person works here, and elsewhere something is bad", four, maintained(), others{"s2": bad("redis", "slurm"), "s3": bad("redis", "slurm")}, nil, false, "s2"},
		{"a person works on another head, and something is bad here", four, bad("redis"), others{"s2": maintained(), "s3": maintained()}, nil, true, "redis"},
		{"people work on all heads", four, maintained(), others{"s2": maintained(), "s3": maintained(), "s4": maintained()}, nil, true, "in maintenance"},
		{"a person works on the one head", one, maintained(), nil, nil, true, "in maintenance"},
		{"two heads, the other is better off and runs no keepalived", bare, bad("redis"), others{"s2": bad()}, nil, true, "redis"},
		{"one head", one, bad("redis"), nil, nil, true, "redis"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			peers := map[string]heard{}
			for name, v := range tt.peers {
				peers[name] = heard{Beat{Name: name, Verdict: v}, now.Add(-time.Second)}
			}
			for _, name := range tt.stale {
				p := peers[name]
				p.at = now.Add(-freshFor - time.Millisecond)
				peers[name] = p
			}
			if j := decide(tt.e, tt.own, peers, now); j.Fit != tt.fit || !strings.Contains(j.Why, tt.why) {
				t.Errorf("%+v", j)
			}
		})
	}
}

// Whatever is bad where, some head that is in touch with all is fit.
func TestThereIsAlwaysOneThatMayHoldIt(t *testing.T) {
	names := []string{"s1", "s2", "s3"}
	services := []string{"glusterfs", "mariadb", "redis"}
	now := time.Unix(1000, 0)
	for code := range 1 << 12 {
		verdicts := map[string]Verdict{}
		for i, n := range names {
			v := bad()
			for k, s := range services {
				if code>>(3*i+k)&1 == 1 {
					v.Bad[s] = "down"
				}
			}
			v.Maintained = code>>(9+i)&1 == 1
			verdicts[n] = v
		}
		fit := 0
		for _, self := range names {
			e := Electorate{Self: self, Heads: names}
			peers := map[string]heard{}
			for _, n := range names {
				if n != self {
					e.Peers = append(e.Peers, n)
					peers[n] = heard{Beat{Name: n, Verdict: verdicts[n]}, now}
				}
			}
			if decide(e, verdicts[self], peers, now).Fit {
				fit++
			}
		}
		if fit == 0 {
			t.Fatalf("nobody may hold it: %v", verdicts)
		}
	}
}

func TestAJudgementHasToLast(t *testing.T) {
	now := time.Unix(1000, 0)
	s := steady{fit: true}
	steps := []struct {
		after time.Duration
		fit   bool
		want  bool
	}{
		{0, false, true}, {time.Second, true, true}, // one bad look
		{time.Second, false, true}, {time.Second, false, true}, {600 * time.Millisecond, false, false},
		{time.Second, true, false}, {4 * time.Second, true, false}, {500 * time.Millisecond, false, false}, // came and went
		{time.Second, true, false}, {5 * time.Second, true, true},
	}
	for i, st := range steps {
		now = now.Add(st.after)
		if got := s.settle(st.fit, now); got != st.want {
			t.Fatalf("step %d: %v", i, got)
		}
	}
}

// Whatever is bad where, and whether or not each head's keepalived runs or lives, some
// head that can take the address is fit, where there is one.
func TestTheAddressIsNotLeftToHeadsThatCannotTakeIt(t *testing.T) {
	names := []string{"s1", "s2", "s3"}
	now := time.Unix(1000, 0)
	for code := range 1 << 12 {
		var bare []string
		beats := map[string]Beat{}
		able := 0
		for i, n := range names {
			b := Beat{Name: n, Verdict: bad()}
			if code>>(4*i)&1 == 1 {
				b.Verdict.Bad["redis"] = "down"
			}
			b.Verdict.Maintained = code>>(4*i+1)&1 == 1
			b.Unable = code>>(4*i+2)&1 == 1
			if code>>(4*i+3)&1 == 1 {
				bare = append(bare, n)
			} else if !b.Unable {
				able++
			}
			beats[n] = b
		}
		fit := 0
		for _, self := range names {
			e := Electorate{Self: self, Heads: names, Bare: bare}
			peers := map[string]heard{}
			for _, n := range names {
				if n != self {
					e.Peers = append(e.Peers, n)
					peers[n] = heard{beats[n], now}
				}
			}
			if able := !slices.Contains(bare, self) && !beats[self].Unable; able && decide(e, beats[self].Verdict, peers, now).Fit {
				fit++
			}
		}
		if able > 0 && fit == 0 {
			t.Fatalf("nobody that could have it may: %v, without keepalived %v", beats, bare)
		}
	}
}
