package agent

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// network is who hears whom.
type network map[string][]string

func (n network) cut(a, b string) {
	without := func(list []string, x string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == x })
	}
	n[a], n[b] = without(n[a], b), without(n[b], a)
}

func whole(names ...string) network {
	n := network{}
	for _, a := range names {
		for _, b := range names {
			if a != b {
				n[a] = append(n[a], b)
			}
		}
	}
	return n
}

// world is several agents with what each has heard of the others.
type world struct {
	names, heads []string
	net          network
	verdicts     map[string]Verdict
	holds        map[string]bool
	sides        map[string]*side
	now          time.Time
}

func newWorld(heads []string, witnesses ...string) *world {
	w := &world{heads: heads, names: append(slices.Clone(heads), witnesses...), verdicts: map[string]Verdict{}, holds: map[string]bool{}, sides: map[string]*side{}, now: time.Unix(1000, 0)}
	w.net = whole(w.names...)
	for _, n := range w.names {
		w.sides[n] = &side{}
	}
	return w
}

func (w *world) of(self string) (Electorate, map[string]heard) {
	e := Electorate{Self: self, Heads: w.heads}
	peers := map[string]heard{}
	for _, n := range w.names {
		if n == self {
			continue
		}
		e.Peers = append(e.Peers, n)
		if slices.Contains(w.net[self], n) {
			peers[n] = heard{Beat{Name: n, Verdict: w.verdicts[n], Holds: w.holds[n], Hears: w.net[n], With: append([]string{n}, w.sides[n].with...)}, w.now}
		}
	}
	return e, peers
}

// passes lets time go by, and has every agent choose its side.
func (w *world) passes(d time.Duration) {
	w.now = w.now.Add(d)
	for _, n := range w.names {
		e, peers := w.of(n)
		w.sides[n].settle(e, w.verdicts[n], w.holds[n], peers, w.now)
	}
}

func (w *world) fit() string {
	var out []string
	for _, n := range w.heads {
		e, peers := w.of(n)
		if decide(e, w.verdicts[n], peers, w.now).Fit {
			out = append(out, n)
		}
	}
	return strings.Join(out, " ")
}

func TestAWitnessThatBothHalvesReachCountsForOne(t *testing.T) {
	parted := func(w *world) {
		for _, a := range []string{"s1", "s2"} {
			for _, b := range []string{"s3", "s4"} {
				w.net.cut(a, b)
			}
		}
	}
	four := []string{"s1", "s2", "s3", "s4"}
	for _, c := range []struct {
		name   string
		heads  []string
		others []string
		change func(*world)
		after  time.Duration
		fit    string
	}{
		{"all hear each other", four, []string{"w"}, func(*world) {}, 0, "s1 s2 s3 s4"},
		{"two halves: the one that has the address", four, []string{"w"}, func(w *world) { w.holds["s3"] = true; parted(w) }, 0, "s3 s4"},
		{"two halves, both have it for a moment: the first in the file", four, []string{"w"}, func(w *world) { w.holds["s1"], w.holds["s4"] = true, true; parted(w) }, 0, "s1 s2"},
		{"two halves: the one that turns out better off, after a while", four, []string{"w"}, func(w *world) {
			w.holds["s1"] = true
			parted(w)
			w.passes(0)
			w.verdicts["s1"], w.verdicts["s2"] = bad("mariadb"), bad("mariadb")
			w.passes(time.Second)
			if got := w.fit(); got != "s1 s2" {
				t.Errorf("at once: %s", got)
			}
		}, beforeFit, "s3 s4"},
		{"two halves without a witness: nobody", four, nil, parted, 0, ""},
		{"a bridge: one of the two ends", []string{"a", "b", "c"}, nil, func(w *world) { w.holds["c"] = true; w.net.cut("a", "c") }, 0, "b c"},
		{"a head that hears and is not heard", []string{"a", "b", "c"}, nil, func(w *world) { w.net["b"], w.net["c"] = []string{"c"}, []string{"b"} }, 0, "b c"},
		{"a head that is heard and does not hear", []string{"a", "b", "c"}, nil, func(w *world) { w.net["a"] = nil }, 0, "b c"},
		{"healed", four, []string{"w"}, func(w *world) { parted(w); w.passes(time.Second); w.net = whole(w.names...); w.passes(0) }, 0, "s1 s2 s3 s4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(c.heads, c.others...)
			w.passes(0)
			c.change(w)
			w.passes(c.after)
			w.passes(0) // what the others say of it is heard
			if got := w.fit(); got != c.fit {
				t.Errorf("%q may hold the address, want %q", got, c.fit)
			}
		})
	}
}

// Whoever hears whom, also one way: two heads that may both hold the address hear
// each other, so that VRRP leaves it to one of them.
func TestNoTwoHeadsThatDoNotHearEachOtherMayHoldIt(t *testing.T) {
	check := func(w *world, what int) {
		w.passes(0)
		w.passes(0)
		fit := strings.Fields(w.fit())
		for i, a := range fit {
			for _, b := range fit[i+1:] {
				if !slices.Contains(w.net[a], b) || !slices.Contains(w.net[b], a) {
					t.Fatalf("%d: %s and %s of %v", what, a, b, w.net)
				}
			}
		}
	}
	pairs := func(names []string) (out [][2]string) {
		for i, a := range names {
			for _, b := range names[i+1:] {
				out = append(out, [2]string{a, b})
			}
		}
		return out
	}
	for code := range 1 << 10 {
		w := newWorld([]string{"s1", "s2", "s3", "s4"}, "w")
		for i, p := range pairs(w.names) {
			if code>>i&1 == 1 {
				w.net.cut(p[0], p[1])
			}
		}
		check(w, code)
	}
	for code := range 1 << 12 {
		w := newWorld([]string{"s1", "s2", "s3"}, "w")
		for i, p := range pairs(w.names) {
			for k, way := range [][2]string{p, {p[1], p[0]}} {
				if code>>(2*i+k)&1 == 1 {
					w.net[way[0]] = slices.DeleteFunc(slices.Clone(w.net[way[0]]), func(n string) bool { return n == way[1] })
				}
			}
		}
		check(w, code)
	}
}

// The half whose better heads cannot have the address is no better half.
func TestAHalfIsAsGoodAsItsHeadsThatCanHaveTheAddress(t *testing.T) {
	e := Electorate{Self: "w", Peers: []string{"s1", "s2", "s3"}, Heads: []string{"s1", "s2", "s3"}, Bare: []string{"s2"}}
	peers := map[string]heard{"s1": {Beat: Beat{Verdict: bad("redis")}}, "s2": {Beat: Beat{Verdict: bad()}}, "s3": {Beat: Beat{Unable: true}}}
	for group, want := range map[string]int{"s1 s2": 1, "s1 s3": 1, "s2 s3": noHead, "s1": 1} {
		if got := worst(e, Verdict{}, peers, strings.Fields(group)); got != want {
			t.Errorf("%s: %d, want %d", group, got, want)
		}
	}
	e.Self, e.Peers = "s2", []string{"s1", "s3"}
	if got := worst(e, bad(), peers, []string{"s1"}); got != 1 {
		t.Errorf("this one runs no keepalived: %d", got)
	}
}
