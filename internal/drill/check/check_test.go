package check_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"multihead/internal/drill/check"
	"multihead/internal/drill/clients"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

func op(n int64, r clients.Result) clients.Op { return clients.Op{N: n, Result: r} }

// judge fails the test unless the verdict is as wanted and says so in these
// words.
func judge(t *testing.T, v check.Verdict, ok bool, words string) {
	t.Helper()
	if v.OK != ok || !strings.Contains(v.Text, words) {
		t.Errorf("%+v; want ok %v with %q", v, ok, words)
	}
}

func TestNumbers(t *testing.T) {
	ops := []clients.Op{op(1, clients.OK), op(2, clients.Unknown), op(3, clients.Failed), op(4, clients.OK)}
	for _, c := range []struct {
		name  string
		nodes map[string][]int64
		ok    bool
		words string
	}{
		{"all acknowledged are everywhere", map[string][]int64{"a": {1, 4}, "b": {4, 1}}, true, "2 acknowledged"},
		{"an unknown one may be there", map[string][]int64{"a": {1, 2, 4}, "b": {1, 2, 4}}, true, "1 unknown"},
		{"an acknowledged one is lost everywhere", map[string][]int64{"a": {1}, "b": {1}}, false, "1 acknowledged and lost (4)"},
		{"an acknowledged one is lost on one node", map[string][]int64{"a": {1, 4}, "b": {1}}, false, "b: 1 acknowledged and lost"},
		{"one is there twice", map[string][]int64{"a": {1, 4, 4}}, false, "more than once (4)"},
		{"one that failed is there", map[string][]int64{"a": {1, 3, 4}}, false, "although they failed (3)"},
		{"nodes differ in an unknown one", map[string][]int64{"a": {1, 2, 4}, "b": {1, 4}}, false, "a and b differ"},
		{"no node was read", nil, false, "no node was read"},
	} {
		t.Run(c.name, func(t *testing.T) { judge(t, check.Numbers("list", ops, c.nodes), c.ok, c.words) })
	}
	judge(t, check.Numbers("list", nil, map[string][]int64{"a": {}}), false, "nothing was acknowledged")
}

func TestBank(t *testing.T) {
	judge(t, check.Bank(100, map[string]int64{"a": 100, "b": 100}), true, "100 on 2 nodes")
	judge(t, check.Bank(100, map[string]int64{"a": 100, "b": 99}), false, "b has 99 and not 100")
	judge(t, check.Bank(100, nil), false, "no node was read")
}

func TestKeys(t *testing.T) {
	window := []check.Window{{From: at(9), To: at(14)}}
	ops := []clients.Op{{N: 1, End: at(1), Result: clients.OK}, {N: 2, End: at(10), Result: clients.OK}, {N: 3, End: at(11), Result: clients.Unknown}}
	for _, c := range []struct {
		name   string
		values map[int64]string
		ok     bool
		lost   int
		words  string
	}{
		{"all there", map[int64]string{1: "1", 2: "2"}, true, 0, "2 acknowledged, 0 lost"},
		{"one lost in the declared time", map[int64]string{1: "1"}, true, 1, "1 lost within"},
		{"one lost at another time", map[int64]string{2: "2"}, false, 1, "outside the time"},
		{"one has another value", map[int64]string{1: "1", 2: "7"}, false, 0, "another value (2)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, lost := check.Keys(ops, c.values, window)
			judge(t, v, c.ok, c.words)
			if lost != c.lost {
				t.Errorf("%d lost, not %d", lost, c.lost)
			}
		})
	}
	v, _ := check.Keys(nil, nil, window)
	judge(t, v, false, "nothing was acknowledged")
}

func TestJobs(t *testing.T) {
	ops := []clients.Op{{N: 0, Kind: clients.LongJob, Value: "10", Result: clients.OK}, {N: 0, Value: "11", Result: clients.OK}, {N: 1, Result: clients.Unknown}}
	long := check.Job{ID: "10", Name: "d-long", State: "RUNNING", Start: "03:00"}
	ended := check.Job{ID: "11", Name: "d-0", State: "COMPLETED"}
	ops[1].End = time.Unix(100, 0)
	before := []check.Window{{From: time.Unix(95, 0), To: time.Unix(101, 0)}}
	after := []check.Window{{From: time.Unix(101, 0), To: time.Unix(106, 0)}}
	for _, c := range []struct {
		name    string
		jobs    []check.Job
		long    check.Job
		ok      bool
		words   string
		windows []check.Window
	}{
		{"all known", []check.Job{long, ended}, long, true, "the long one runs on", before},
		{"one was accepted and not yet written when the power went", []check.Job{long}, long, true, "1 lost within the declared bound", before},
		{"one was written long before the power went", []check.Job{long}, long, false, "neither", after},
		{"a number was given anew, as it was not yet written", []check.Job{long, {ID: "11", Name: "d-7", State: "COMPLETED"}}, long, true, "1 lost", before},
		{"one told of twice is one", []check.Job{long, ended, ended}, long, true, "none killed", nil},
		{"the long job had not started", []check.Job{{ID: "10", Name: "d-long", State: "PENDING"}, ended}, check.Job{}, true, "nothing was shown about running jobs", nil},
		{"a number is not known", []check.Job{long}, long, false, "1 of 2 jobs that were accepted are neither", nil},
		{"a number is that of another job", []check.Job{long, {ID: "11", Name: "d-7", State: "COMPLETED"}}, long, false, "neither", nil},
		{"one was killed", []check.Job{long, {ID: "11", Name: "d-0", State: "NODE_FAIL"}}, long, false, "11 NODE_FAIL", nil},
		{"the long one was started anew", []check.Job{{ID: "10", Name: "d-long", State: "RUNNING", Start: "03:05"}, ended}, long, false, "ran since 03:00 and is now RUNNING since 03:05", nil},
		{"one submission made two jobs", []check.Job{long, ended, {ID: "12", Name: "d-0", State: "PENDING"}}, long, false, "more than one job (d-0)", nil},
	} {
		t.Run(c.name, func(t *testing.T) { judge(t, check.Jobs(ops, c.jobs, "d-", c.long, c.windows), c.ok, c.words) })
	}
	judge(t, check.Jobs(nil, nil, "d-", check.Job{}, nil), false, "no job was accepted")
}

func TestNodes(t *testing.T) {
	before := map[string]check.Node{"n1": {State: "idle"}, "n2": {State: "drained"}, "n3": {State: "mixed"}}
	v, lost := check.Nodes(before, map[string]check.Node{"n1": {State: "allocated"}, "n2": {State: "drained"}, "n3": {State: "idle"}})
	judge(t, v, true, "3 nodes")
	if len(lost) != 0 {
		t.Error(lost)
	}
	v, lost = check.Nodes(before, map[string]check.Node{"n1": {"draining", "Duplicate jobid"}, "n2": {State: "idle"}, "n3": {State: "down*"}})
	judge(t, v, false, "n1 was idle and is draining: Duplicate jobid")
	if fmt.Sprint(lost) != "[n1 n3]" {
		t.Error(lost)
	}
}

// asked makes a question for every answer, each 200 ms after the one before.
func asked(answers ...string) []clients.Op {
	var ops []clients.Op
	for i, a := range answers {
		begin := at(float64(i) * 0.2)
		ops = append(ops, clients.Op{Workload: clients.ARP, Begin: begin, End: begin.Add(200 * time.Millisecond), Value: a})
	}
	return ops
}

func TestHolders(t *testing.T) {
	times := func(n int, a string) []string {
		var out []string
		for range n {
			out = append(out, a)
		}
		return out
	}
	for _, c := range []struct {
		name     string
		answers  []string
		ok       bool
		overlaps int
		words    string
	}{
		{"one all the time", times(20, "a"), true, 0, "a in the end"},
		{"it moves, with nobody in between", append(append(times(5, "a"), "", "", ""), times(5, "b")...), true, 0, "b in the end"},
		{"both answer for a moment", append(append(times(5, "a"), "a,b", "a,b"), times(5, "b")...), true, 2, "two answered 2 times, 0.4 s"},
		{"both answer for long", append(append(times(5, "a"), times(8, "a,b")...), times(5, "b")...), false, 8, "a and b answered at the same time for 1.6 s"},
		{"both answer in the end", append(times(5, "a"), "a,b"), false, 1, "in the end both"},
		{"nobody answers in the end", append(times(5, "a"), times(8, "")...), false, 0, "nobody answered in the last"},
		{"nobody ever", times(5, ""), false, 0, "nobody was ever seen"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, overlaps := check.Holders(asked(c.answers...))
			judge(t, v, c.ok, c.words)
			if overlaps != c.overlaps {
				t.Errorf("%d overlaps, not %d", overlaps, c.overlaps)
			}
		})
	}
}

func TestGalera(t *testing.T) {
	good := check.GaleraNode{UUID: "u", Component: "Primary", State: "Synced", Size: 2}
	judge(t, check.Galera(map[string]check.GaleraNode{"a": good, "b": good}, 2), true, "one history")
	other := good
	other.UUID = "v"
	judge(t, check.Galera(map[string]check.GaleraNode{"a": good, "b": other}, 2), false, "2 histories")
	alone := good
	alone.Component, alone.Size = "non-Primary", 1
	judge(t, check.Galera(map[string]check.GaleraNode{"a": good, "b": alone}, 2), false, "b is non-Primary")
	judge(t, check.Galera(map[string]check.GaleraNode{"a": good}, 2), false, "1 of 2 nodes answered")
}

func TestSlots(t *testing.T) {
	good := []check.SlotRange{{0, 8000, "x"}, {8001, 16383, "y"}}
	judge(t, check.Slots(map[string][]check.SlotRange{"a": good, "b": good}), true, "16384 slots")
	judge(t, check.Slots(map[string][]check.SlotRange{"a": good[:1]}), false, "8383 slots without a master")
	judge(t, check.Slots(map[string][]check.SlotRange{"a": append(good[:2:2], check.SlotRange{5, 6, "y"})}), false, "2 with two")
	judge(t, check.Slots(map[string][]check.SlotRange{"a": good, "b": {{0, 16383, "x"}}}), false, "b sees other masters")
	judge(t, check.Slots(nil), false, "no node was asked")
}

func TestHeal(t *testing.T) {
	brick := func(status string, entries, split int) string {
		return fmt.Sprintf("Brick a:/b\nStatus: %s\nTotal Number of entries: %d\nNumber of entries in heal pending: 0\nNumber of entries in split-brain: %d\n\n", status, entries, split)
	}
	judge(t, check.Heal(brick("Connected", 0, 0)+brick("Connected", 0, 0)), true, "2 bricks")
	judge(t, check.Heal(brick("Connected", 3, 0)), false, "total number of entries: 3")
	judge(t, check.Heal(brick("Connected", 0, 1)), false, "split-brain: 1")
	judge(t, check.Heal(brick("Transport endpoint is not connected", 0, 0)), false, "not connected")
	judge(t, check.Heal("Brick a:/b\nStatus: Connected\nTotal Number of entries: -\n"), false, "entries: -")
	judge(t, check.Heal(""), false, "no brick")
}

func TestLongestGap(t *testing.T) {
	ok := func(end float64, part string) clients.Op {
		return clients.Op{Workload: clients.SQL, Kind: part, End: at(end), Result: clients.OK}
	}
	ops := []clients.Op{ok(1, "x"), ok(2, "x"), ok(6, "x"), ok(7, "x"), {Workload: clients.SQL, Kind: "x", End: at(4), Result: clients.Failed}}
	g := check.LongestGap(ops, clients.SQL, at(0), at(8))
	if g.Length != 4*time.Second || !g.From.Equal(at(2)) || !g.To.Equal(at(6)) || !g.Returned {
		t.Errorf("%+v", g)
	}
	// The part that is worst off counts, whatever the others do.
	both := slices.Concat(ops, []clients.Op{ok(1, "y"), ok(7.9, "y")})
	if g := check.LongestGap(both, clients.SQL, at(0), at(8)); g.Part != "y" || g.Length != 6900*time.Millisecond {
		t.Errorf("%+v", g)
	}
	// What never came back has not returned.
	if g := check.LongestGap(ops, clients.SQL, at(0), at(30)); g.Returned || g.Length != 23*time.Second {
		t.Errorf("%+v", g)
	}
	// A part that never succeeded at all is gone from the beginning.
	never := []clients.Op{{Workload: clients.SQL, Kind: "z", End: at(1), Result: clients.Failed}}
	if g := check.LongestGap(never, clients.SQL, at(0), at(9)); g.Returned || g.Length != 9*time.Second {
		t.Errorf("%+v", g)
	}
	// Reads alone are not serving.
	reads := []clients.Op{{Workload: clients.SQL, Kind: clients.Read, End: at(4), Result: clients.OK}}
	if g := check.LongestGap(append(reads, ok(1, "x"), ok(8, "x")), clients.SQL, at(0), at(8)); g.Length != 7*time.Second {
		t.Errorf("%+v", g)
	}
}

func TestControllers(t *testing.T) {
	const standby = "slurm_load_ctl_conf error: Slurm backup controller in standby mode"
	judge(t, check.Controllers(map[string]string{"a": "", "b": standby, "c": standby}), true, "a, 2 stand by")
	judge(t, check.Controllers(map[string]string{"a": "", "b": "", "c": standby}), false, "2 act (a, b)")
	judge(t, check.Controllers(map[string]string{"a": standby, "b": standby}), false, "0 act")
	judge(t, check.Controllers(map[string]string{"a": "", "b": "Socket timed out"}), false, "b said neither: Socket timed out")
}
