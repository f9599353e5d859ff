package agent

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"multihead/internal/config"
	"multihead/internal/fence"
)

// quiet is a peer that has been silent for some seconds and whose device said
// something: off, on, no answer, not asked yet, or there is none.
func quiet(seconds int, says string) silentPeer {
	p := silentPeer{For: time.Duration(seconds) * time.Second, Looked: true, Says: "fence_x says " + says}
	switch says {
	case "off":
		p.Off = true
	case "unasked":
		p.Looked, p.Says = false, ""
	case "none":
		p = silentPeer{For: p.For, NoAgent: true}
	}
	return p
}

func maintainedAndSilent(p silentPeer) silentPeer { p.Maintained = true; return p }

func left(p silentPeer) silentPeer { p.Left = true; return p }

func lives(p silentPeer) silentPeer {
	p.Lives = "its kernel answers, and no agent runs there"
	return p
}

func TestWhoIsFencedByWhom(t *testing.T) {
	four := []string{"s1", "s2", "s3", "s4"}
	type silent map[string]silentPeer
	tests := []struct {
		name   string
		self   string
		heads  []string
		wit    []string
		silent silent
		change func(*fenceScene)
		kill   string
		look   string
		wait   string
		alarm  string
	}{
		{name: "all well", self: "s1", heads: four},
		{name: "one of four is silent: three serve by themselves", self: "s1", heads: four, silent: silent{"s4": quiet(60, "on")}},
		{name: "a head is silent and a service is lost on all others", self: "s1", heads: four, silent: silent{"s4": quiet(60, "on")},
			change: func(s *fenceScene) { s.NoService, s.NoServiceFor = "glusterfs", time.Minute }, kill: "s4"},
		{name: "a service is lost on a majority that has just booted, and one is still booting", self: "s1", heads: four, silent: silent{"s4": func() silentPeer { p := quiet(60, "on"); p.Never = true; return p }()},
			change: func(s *fenceScene) { s.NoService, s.NoServiceFor = "glusterfs", time.Minute }, alarm: "it may be booting"},
		{name: "a service is lost for a moment, as in every failover", self: "s1", heads: four, silent: silent{"s4": quiet(60, "on")},
			change: func(s *fenceScene) { s.NoService, s.NoServiceFor = "glusterfs", 5*time.Second }, wait: "glusterfs"},
		{name: "another head of the majority comes first", self: "s2", heads: four, silent: silent{"s4": quiet(20, "on")},
			change: func(s *fenceScene) { s.NoService, s.NoServiceFor = "glusterfs", time.Minute }, wait: "30s"},
		{name: "a service is lost and nobody is silent", self: "s1", heads: four,
			change: func(s *fenceScene) { s.NoService, s.NoServiceFor = "redis", time.Hour }},

		{name: "three of four fell silent: their devices are asked first", self: "s4", heads: four,
			silent: silent{"s1": quiet(3, "unasked"), "s2": quiet(3, "unasked"), "s3": quiet(3, "off")}, look: "s1 s2", wait: "asking"},
		{name: "three of four lost power: the last one goes on", self: "s4", heads: four,
			silent: silent{"s1": quiet(6, "off"), "s2": quiet(6, "off"), "s3": quiet(6, "off")}, kill: "s1 s2 s3"},
		{name: "three of four lost power a moment ago", self: "s4", heads: four,
			silent: silent{"s1": quiet(4, "off"), "s2": quiet(4, "off"), "s3": quiet(4, "off")}, wait: "5s"},
		{name: "three of four lost power, with the witness alive", self: "s2", heads: four, wit: []string{"w1"},
			silent: silent{"s1": quiet(6, "off"), "s3": quiet(6, "off"), "s4": quiet(6, "off")}, kill: "s1 s3 s4"},
		{name: "three of four and the witness lost power", self: "s2", heads: four, wit: []string{"w1"},
			silent: silent{"s1": quiet(6, "off"), "s3": quiet(6, "off"), "s4": quiet(6, "off"), "w1": quiet(6, "none")}, kill: "", alarm: "cut off",
			change: func(s *fenceScene) {
				s.Outside = false
				s.Silent["s4"] = quiet(60, "on")
			}},
		{name: "one against three: they have the majority", self: "s1", heads: four,
			silent: silent{"s2": quiet(99, "on"), "s3": quiet(99, "on"), "s4": quiet(99, "on")}, alarm: "3 others may be alive"},
		{name: "three are silent and no device answers", self: "s1", heads: four,
			silent: silent{"s2": quiet(99, "nothing"), "s3": quiet(99, "nothing"), "s4": quiet(99, "nothing")}, alarm: "s2: fence_x says nothing"},
		{name: "three are silent, one is off for certain: the others are no majority", self: "s1", heads: four,
			silent: silent{"s2": quiet(12, "off"), "s3": quiet(12, "on"), "s4": quiet(12, "on")}, kill: "s2 s3 s4"},
		{name: "three are silent, one has no device", self: "s1", heads: four,
			silent: silent{"s2": quiet(12, "off"), "s3": quiet(12, "off"), "s4": quiet(12, "none")}, alarm: "s4 has no fence device"},
		{name: "this agent has just started", self: "s1", heads: four, change: func(s *fenceScene) { s.LostFor = -1 },
			silent: silent{"s2": quiet(1, "unasked"), "s3": quiet(1, "unasked"), "s4": quiet(1, "unasked")}, wait: "just started"},
		{name: "this head has booted long ago and hears nobody", self: "s1", heads: four, change: func(s *fenceScene) { s.LostFor = -1 },
			silent: silent{"s2": quiet(99, "off"), "s3": quiet(99, "off"), "s4": quiet(99, "off")}, alarm: "newer data"},

		{name: "two against two: the side with the first head goes first", self: "s1", heads: four,
			silent: silent{"s3": quiet(10, "on"), "s4": quiet(10, "on")}, kill: "s3 s4"},
		{name: "two against two: not before their time", self: "s1", heads: four,
			silent: silent{"s3": quiet(9, "on"), "s4": quiet(12, "on")}, wait: "10s"},
		{name: "two against two: the other side waits", self: "s3", heads: four,
			silent: silent{"s1": quiet(29, "on"), "s2": quiet(29, "on")}, wait: "30s"},
		{name: "two against two: and goes when its time has come", self: "s3", heads: four,
			silent: silent{"s1": quiet(30, "on"), "s2": quiet(30, "on")}, kill: "s1 s2"},
		{name: "two against two: the second head leaves it to the first", self: "s2", heads: four,
			silent: silent{"s3": quiet(29, "on"), "s4": quiet(29, "on")}, wait: "30s"},
		{name: "two against two: the witness is on the other side, which serves", self: "s1", heads: four, wit: []string{"w1"},
			silent: silent{"s3": quiet(99, "on"), "s4": quiet(99, "on"), "w1": quiet(99, "none")}, alarm: "may be alive"},
		{name: "two against two: the witness is on this side", self: "s1", heads: four, wit: []string{"w1"},
			silent: silent{"s3": quiet(99, "on"), "s4": quiet(99, "on")}},
		{name: "two against two: somebody still hears them", self: "s1", heads: four,
			silent: silent{"s3": quiet(99, "on"), "s4": quiet(99, "on")}, change: func(s *fenceScene) { s.Hears["s2"] = []string{"s1", "s4"} }, alarm: "s2 still hears s4"},

		{name: "three fell silent, and one of them is back: the other two may only be slower to boot", self: "s4", heads: four,
			silent: silent{"s2": quiet(99, "on"), "s3": quiet(99, "on")}, change: func(s *fenceScene) { s.Lapsed = []string{"s1"} }, alarm: "s1: was silent"},

		{name: "one of two, and the world answers", self: "s1", heads: four[:2], silent: silent{"s2": quiet(10, "on")}, kill: "s2"},
		{name: "the other of two waits", self: "s2", heads: four[:2], silent: silent{"s1": quiet(19, "on")}, wait: "20s"},
		{name: "one of two, and nothing answers: it is cut off itself", self: "s1", heads: four[:2], silent: silent{"s2": quiet(99, "on")},
			change: func(s *fenceScene) { s.Outside = false }, alarm: "cut off"},
		{name: "one of two, nothing answers but the device, which says off", self: "s1", heads: four[:2], silent: silent{"s2": quiet(99, "off")},
			change: func(s *fenceScene) { s.Outside = false }, kill: "s2"},
		{name: "one of two is in maintenance and restarts", self: "s1", heads: four[:2], silent: silent{"s2": maintainedAndSilent(quiet(99, "on"))}, alarm: "in maintenance"},
		{name: "one of two is in maintenance, and its power goes off and on", self: "s1", heads: four[:2], silent: silent{"s2": maintainedAndSilent(quiet(99, "off"))}, alarm: "in maintenance"},
		{name: "one of two is in maintenance, and silent for a moment", self: "s1", heads: four[:2], silent: silent{"s2": maintainedAndSilent(quiet(5, "on"))}, wait: "in maintenance"},
		{name: "one of two is in maintenance, and a service is lost", self: "s1", heads: four[:2], silent: silent{"s2": maintainedAndSilent(quiet(9999, "on"))},
			change: func(s *fenceScene) { s.NoService, s.NoServiceFor = "mariadb", time.Hour }, alarm: "in maintenance"},
		{name: "a service is lost, and the one that is silent is in maintenance", self: "s1", heads: four, silent: silent{"s4": maintainedAndSilent(quiet(60, "on"))},
			change: func(s *fenceScene) { s.NoService, s.NoServiceFor = "glusterfs", time.Minute }, alarm: "in maintenance"},
		{name: "three of four lost power, one of them in maintenance: the last one goes on", self: "s4", heads: four,
			silent: silent{"s1": maintainedAndSilent(quiet(6, "off")), "s2": quiet(6, "off"), "s3": quiet(6, "off")}, kill: "s1 s2 s3"},
		{name: "two of three are silent, and one that is in maintenance has power", self: "s3", heads: four[:3],
			silent: silent{"s1": maintainedAndSilent(quiet(99, "on")), "s2": quiet(99, "off")}, alarm: "s1 is silent, and nobody is fenced: it is in maintenance"},
		{name: "one of two restarts in order", self: "s1", heads: four[:2], silent: silent{"s2": left(quiet(90, "on"))}, alarm: "stopped in order"},
		{name: "one of two restarts in order, and its device says off meanwhile", self: "s1", heads: four[:2], silent: silent{"s2": left(quiet(90, "off"))}, alarm: "stopped in order"},
		{name: "one of two restarts in order, and a service waits for it", self: "s1", heads: four[:2], silent: silent{"s2": left(quiet(90, "on"))},
			change: func(s *fenceScene) { s.NoService, s.NoServiceFor = "redis", time.Minute }, alarm: "stopped in order"},
		{name: "one of two was shut down in order, and nothing needs it", self: "s1", heads: four[:2], silent: silent{"s2": left(quiet(9999, "on"))}, alarm: "stopped in order"},
		{name: "one of two was shut down in order long ago, and a service needs it", self: "s1", heads: four[:2], silent: silent{"s2": left(quiet(600, "on"))},
			change: func(s *fenceScene) { s.NoService, s.NoServiceFor = "redis", time.Minute }, kill: "s2"},
		{name: "one of four restarts in order, and a service waits for it", self: "s1", heads: four, silent: silent{"s4": left(quiet(60, "on"))},
			change: func(s *fenceScene) { s.NoService, s.NoServiceFor = "redis", time.Minute }, alarm: "stopped in order"},
		{name: "three of four were shut down in order, and are off: the last one goes on", self: "s4", heads: four,
			silent: silent{"s1": left(quiet(6, "off")), "s2": left(quiet(6, "off")), "s3": left(quiet(6, "off"))}, kill: "s1 s2 s3"},
		{name: "the agent of one of two has ended", self: "s1", heads: four[:2], silent: silent{"s2": lives(quiet(9999, "on"))}, alarm: "no agent runs there"},
		{name: "the agent of one of two has ended a moment ago", self: "s1", heads: four[:2], silent: silent{"s2": lives(quiet(9, "on"))}, wait: "no agent runs there"},
		{name: "the agents of two of four have ended", self: "s1", heads: four, silent: silent{"s3": lives(quiet(99, "on")), "s4": lives(quiet(99, "on"))}, alarm: "no agent runs there"},
		{name: "a service is lost on a majority, and a head without an agent may be why", self: "s1", heads: four, silent: silent{"s4": lives(quiet(60, "on"))},
			change: func(s *fenceScene) { s.NoService, s.NoServiceFor = "glusterfs", time.Minute }, kill: "s4"},
		{name: "one head alone", self: "s1", heads: four[:1]},
		{name: "a witness fences nobody", self: "w1", heads: four, wit: []string{"w1"},
			silent: silent{"s1": quiet(99, "off"), "s2": quiet(99, "off"), "s3": quiet(99, "off"), "s4": quiet(99, "off")}},
		{name: "one of three, the others lost power", self: "s3", heads: four[:3], silent: silent{"s1": quiet(9, "off"), "s2": quiet(9, "off")}, kill: "s1 s2"},
		{name: "one of three, the others are on", self: "s3", heads: four[:3], silent: silent{"s1": quiet(99, "on"), "s2": quiet(99, "on")}, alarm: "2 others"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := fenceScene{Self: tt.self, Heads: tt.heads, Witnesses: tt.wit, Silent: map[string]silentPeer(tt.silent), Hears: map[string][]string{}, Outside: true}
			for _, p := range tt.silent {
				s.LostFor = max(s.LostFor, p.For)
			}
			if tt.change != nil {
				tt.change(&s)
			}
			o := decideFence(s)
			if strings.Join(o.Kill, " ") != tt.kill || strings.Join(o.Look, " ") != tt.look ||
				(o.Wait == "") != (tt.wait == "") || !strings.Contains(o.Wait, tt.wait) ||
				(o.Alarm == "") != (tt.alarm == "") || !strings.Contains(o.Alarm, tt.alarm) {
				t.Errorf("%+v", o)
			}
		})
	}
}

// However a cluster falls apart, and whatever is on and off in it: of two sides
// that can both act, none is switched off by another that started at the same
// moment; nobody fences where the others may have a majority; and what is fenced
// is fenced whole.
func TestNoTwoSidesFenceEachOtherAtOnce(t *testing.T) {
	for heads := 2; heads <= 5; heads++ {
		for wit := range 2 {
			var names []string
			for i := range heads {
				names = append(names, string(rune('a'+i)))
			}
			witnesses := []string{"w"}[:wit]
			voters := slices.Concat(names, witnesses)
			quorum := len(voters)/2 + 1
			for cut := range 1 << len(voters) { // who is on the other side
				first := map[bool]int{} // side → the second at which it begins
				for second := 0; second <= 120; second++ {
					for _, self := range names {
						o, mine := partitioned(self, names, witnesses, cut, second)
						if len(o.Kill) == 0 {
							continue
						}
						side := cut>>slices.Index(names, self)&1 == 1
						if _, ok := first[side]; !ok {
							first[side] = second
						}
						if others := len(voters) - mine; others >= quorum || mine >= quorum {
							t.Fatalf("%d heads, %d witnesses, cut %b: %s of %d fences %v", heads, wit, cut, self, mine, o.Kill)
						}
					}
				}
				if len(first) == 2 && max(first[true]-first[false], first[false]-first[true]) < int(sideStep.Seconds()) {
					t.Fatalf("%d heads, %d witnesses, cut %b: both sides begin together: %v", heads, wit, cut, first)
				}
			}
		}
	}
}

// partitioned is what one head decides some seconds after a cut.
func partitioned(self string, heads, witnesses []string, cut, seconds int) (o fenceOrder, mine int) {
	s := fenceScene{Self: self, Heads: heads, Witnesses: witnesses, Silent: map[string]silentPeer{}, Outside: true}
	voters := slices.Concat(heads, witnesses)
	where := cut >> slices.Index(voters, self) & 1
	for i, v := range voters {
		if cut>>i&1 == where {
			mine++
			continue
		}
		p := quiet(seconds, "on")
		p.NoAgent = slices.Contains(witnesses, v)
		s.Silent[v] = p
	}
	s.LostFor = time.Duration(seconds) * time.Second
	return decideFence(s), mine
}

func TestWhenTheMajorityWasLost(t *testing.T) {
	s := func(n ...int) (out []time.Duration) {
		for _, x := range n {
			out = append(out, time.Duration(x)*time.Second)
		}
		return out
	}
	for _, tt := range []struct {
		ages   []time.Duration
		quorum int
		want   time.Duration
	}{
		{s(1, 30, 2), 3, 2 * time.Second}, {s(40, 30, 20), 3, 30 * time.Second}, {s(7), 2, 7 * time.Second}, {s(7), 3, -1}, {nil, 2, -1}, {nil, 1, 0},
	} {
		if got := lostFor(tt.ages, tt.quorum); got != tt.want {
			t.Errorf("%v, quorum %d: %s", tt.ages, tt.quorum, got)
		}
	}
	if a, b := afterFailure(1), afterFailure(50); a != 15*time.Second || b != 5*time.Minute {
		t.Error(a, b)
	}
}

// survivorOf is the first head of a cluster with fence devices, which has proven all
// other heads off.
func survivorOf(t *testing.T, heads, witnesses int, now time.Time) *Agent {
	t.Helper()
	c := clusterOf(heads, witnesses)
	c.Fencing.Enabled = true
	for _, h := range c.Nodes.Controllers {
		c.Fencing.Devices = append(c.Fencing.Devices, config.FenceDevice{Node: h.Hostname, Agent: "fence_x"})
	}
	a, err := New(Options{Name: "a", Cluster: c, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range a.electorate.Peers {
		a.peers[name] = heard{Beat{Name: name}, now.Add(-time.Minute)}
		if slices.Contains(a.electorate.Heads, name) {
			a.fencing.proofs[name] = fence.Proof{Host: name, When: now}
		}
	}
	a.fencing.outside = true
	return a
}

// A head that was switched off and is on again boots for minutes, and its proof is no
// reason to switch it off again.
func TestAHeadThatWasFencedMayBoot(t *testing.T) {
	began := time.Now()
	for _, tt := range []struct {
		name  string
		heads int
		on    []string
		after time.Duration
		heard string
		fit   bool
		alarm string
		kill  string
	}{
		{name: "one of two, off", heads: 2, fit: true},
		{name: "one of two boots", heads: 2, on: []string{"b"}, fit: true},
		{name: "one of two takes minutes", heads: 2, on: []string{"b"}, after: 4 * time.Minute, fit: true},
		{name: "one of two never comes", heads: 2, on: []string{"b"}, after: bootFor, fit: true, alarm: "b: proven off, on again for 5m"},
		{name: "one of three boots", heads: 3, on: []string{"b"}, fit: true},
		{name: "two of three boot: they may be a majority, and are left alone all the same", heads: 3, on: []string{"b", "c"}, alarm: "nobody is fenced"},
		{name: "and stay silent", heads: 3, on: []string{"b", "c"}, after: time.Hour, alarm: "nobody is fenced"},
		{name: "one of two was heard since, and fell silent", heads: 2, on: []string{"b"}, heard: "b", fit: true, kill: "b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := began
			a := survivorOf(t, tt.heads, 0, now)
			for _, name := range tt.on {
				a.fencing.on[name] = true
			}
			if tt.heard != "" {
				a.peers[tt.heard] = heard{Beat{Name: tt.heard}, now}
				a.endProofs(now)
				now = now.Add(silentFor)
			}
			a.scene(now) // in which it is seen for the first time
			s := a.scene(now.Add(tt.after))
			for n, p := range s.Silent {
				p.Looked = true
				s.Silent[n] = p
			}
			o := decideFence(s)
			if strings.Join(o.Kill, " ") != tt.kill || (o.Alarm == "") != (tt.alarm == "") || !strings.Contains(o.Alarm, tt.alarm) {
				t.Errorf("%+v", o)
			}
			if j := decide(a.living(now), bad(), a.peers, now); j.Fit != tt.fit {
				t.Errorf("%+v", j)
			}
		})
	}
}

func TestAServiceThatIsLostDoesNotEndABoot(t *testing.T) {
	s := fenceScene{Self: "s1", Heads: []string{"s1", "s2", "s3"}, Silent: map[string]silentPeer{"s3": {For: time.Minute, Back: true}},
		NoService: "mariadb", NoServiceFor: time.Minute}
	if o := decideFence(s); len(o.Kill) > 0 || !strings.Contains(o.Alarm, "may be booting") {
		t.Errorf("%+v", o)
	}
}
