package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"multihead/internal/cluster"
	"multihead/internal/drill/check"
	"multihead/internal/drill/clients"
	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/service"
)

func status(owner string, heads int) cluster.Status {
	s := cluster.Status{Name: "hpc", State: service.Up, VIPOwner: owner, Survives: cluster.Survival{AtOnce: 1, Weakest: []string{"mariadb"}}}
	for i := range heads {
		s.Heads = append(s.Heads, cluster.HeadStatus{Hostname: fmt.Sprintf("server%d", i+1), State: service.Up})
	}
	return s
}

func TestScenariosAreWhole(t *testing.T) {
	seen := map[string]bool{}
	undoes := map[Verb]Verb{PowerOff: PowerOn, Freeze: Thaw, Partition: HealNet, OneWay: HealNet, CutOff: HealNet,
		Fill: Free, Hold: Release, ReadOnly: PowerOn}
	for _, s := range Scenarios() {
		if seen[s.Name] || s.Name == "" || s.Breaks == "" || s.Expect == "" || s.Heads < 2 || len(s.Begin) == 0 {
			t.Errorf("%s: not whole, or twice", s.Title())
		}
		seen[s.Name] = true
		for _, st := range slices.Concat(s.Begin, s.End) {
			if outside := st.Do != Signal && st.Do != Stall && st.Do != Wait && st.Do != Heals; outside && !s.Lab {
				t.Errorf("%s: %s needs somebody outside, and it is offered on real hosts", s.Name, st.Do)
			}
		}
		for _, st := range s.Begin {
			undo, needed := undoes[st.Do]
			if needed && !slices.ContainsFunc(slices.Concat(s.Begin, s.End), func(e Step) bool { return e.Do == undo }) {
				t.Errorf("%s: nothing undoes %s", s.Name, st.Do)
			}
		}
	}
}

func TestADrillSeesAHeal(t *testing.T) {
	cell := func(w service.Word, role string) cluster.CellStatus { return cluster.CellStatus{State: w, Role: role} }
	st := func(db, brick cluster.CellStatus, volume service.Word) cluster.Status {
		return cluster.Status{Heads: []cluster.HeadStatus{
			{Hostname: "server1", Services: map[string]cluster.CellStatus{"mariadb": cell(service.Degraded, "Donor/Desynced"), "glusterfs": cell(service.Up, "brick")}},
			{Hostname: "server2", Services: map[string]cluster.CellStatus{"mariadb": db, "glusterfs": brick}}},
			Services: []cluster.ServiceStatus{{Service: "glusterfs", State: volume, Reason: "healing, 3 entries to go"}}}
	}
	up, down := cell(service.Up, ""), cell(service.Down, "")
	for _, c := range []struct {
		name string
		st   cluster.Status
		want string
	}{
		{"nothing known", cluster.Status{}, ""},
		{"all well", st(up, up, service.Up), ""},
		{"it boots", st(down, down, service.Degraded), ""},
		{"its database is sent what it lacks", st(cell(service.Degraded, "Joiner"), down, service.Degraded), "mariadb Joiner"},
		{"its brick is healed", st(down, up, service.Degraded), "glusterfs healing, 3 entries to go"},
	} {
		if got := healing(c.st, []string{"server2"}); got != c.want {
			t.Errorf("%s: %q, not %q", c.name, got, c.want)
		}
	}
}

// Every head that is switched off is switched on again, in every scenario.
func TestWhatIsSwitchedOffIsSwitchedOn(t *testing.T) {
	for _, heads := range []int{3, 4} {
		for _, owner := range []string{"server1", "server3"} {
			c := CastOf(status(owner, heads))
			for _, s := range Scenarios() {
				off := map[string]bool{}
				for _, st := range slices.Concat(s.Begin, s.End) {
					for _, h := range c.On(st) {
						switch st.Do {
						case PowerOff:
							off[h] = true
						case PowerOn:
							delete(off, h)
						}
					}
				}
				if len(off) > 0 {
					t.Errorf("%s with %d heads, owner %s: stay off: %v", s.Name, heads, owner, off)
				}
			}
		}
	}
}

func TestRoles(t *testing.T) {
	c := CastOf(status("server2", 4))
	for role, want := range map[Role]string{Owner: "[server2]", Spare: "[server4]", Rest: "[server1 server3 server4]",
		All: "[server1 server2 server3 server4]", Half: "[server2 server1]"} {
		if got := fmt.Sprint(c.Of(role)); got != want {
			t.Errorf("%s: %s, not %s", role, got, want)
		}
	}
	if got := c.On(Step{On: All, Nth: 3}); fmt.Sprint(got) != "[server3]" {
		t.Error(got)
	}
	if got := c.On(Step{On: Owner, Nth: 2}); len(got) != 0 {
		t.Error(got)
	}
}

func TestADrillIsRefused(t *testing.T) {
	byName := map[string]Scenario{}
	for _, s := range Scenarios() {
		byName[s.Name] = s
	}
	off, kill := byName["power-off-vip-owner"], byName["kill-mariadbd"]
	weak := status("server1", 3)
	weak.Survives.AtOnce = 0
	broken := status("server1", 3)
	broken.State = service.Degraded
	for _, c := range []struct {
		name  string
		s     Scenario
		st    cluster.Status
		lab   bool
		words string
	}{
		{"in a lab", off, status("server1", 3), true, ""},
		{"a daemon on real hosts", kill, status("server1", 3), false, ""},
		{"power on real hosts", off, status("server1", 3), false, "only in a lab"},
		{"a cluster that cannot lose a head", off, weak, true, "can lose 0 (limited by mariadb)"},
		{"a daemon of a cluster that cannot lose a head", kill, weak, false, ""},
		{"a cluster that is not well", kill, broken, false, "is DEGRADED before anything is broken"},
		{"nobody holds the address", kill, status("", 3), false, "no head holds"},
		{"too few heads", byName["partition-vip-owner"], status("server1", 2), true, "needs 3 heads"},
		{"an odd number of heads", byName["partition-half"], status("server1", 5), true, "even number"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.s.Refused(c.st, c.lab)
			if (err == nil) != (c.words == "") || err != nil && !strings.Contains(err.Error(), c.words) {
				t.Errorf("%v; want %q", err, c.words)
			}
		})
	}
}

func TestFind(t *testing.T) {
	list, err := Find([]string{"f3", "power-off-vip-owner", "kill-agent"})
	if err != nil || len(list) != 3 {
		t.Errorf("%v %v", list, err)
	}
	if _, err := Find([]string{"no-such-drill"}); err == nil {
		t.Error("found")
	}
}

// The timer that wakes a daemon is set before it is stopped: whoever stops it
// may not be there any more.
func TestStallSetsTheTimerFirst(t *testing.T) {
	m := hosttest.New("server1")
	var order []string
	record := func(c host.Cmd) (string, error) { order = append(order, strings.Join(c.Argv, " ")); return "", nil }
	m.OnRun("systemd-run", record).OnRun("systemctl", record)
	s := &stage{cast: CastOf(status("server1", 3)), host: func(string) (host.Host, bool) { return m, true }, say: func(string) {}, note: func(string) {}}
	if err := s.play(t.Context(), []Step{{Do: Stall, On: Owner, Arg: "mariadb.service", For: 5 * time.Second}}); err != nil {
		t.Fatal(err)
	}
	if len(order) != 2 || !strings.Contains(order[0], "--on-active=5") || !strings.Contains(order[0], "--signal=CONT") || !strings.Contains(order[1], "--signal=STOP") {
		t.Errorf("%q", order)
	}
}

func TestWithoutALabNothingOutsideIsDone(t *testing.T) {
	s := &stage{cast: CastOf(status("server1", 3)), host: func(string) (host.Host, bool) { return nil, false }, say: func(string) {}, note: func(string) {}}
	for _, v := range []Verb{PowerOff, PowerOn, Freeze, Partition, Fill, ReadOnly} {
		if err := s.play(context.Background(), []Step{{Do: v, On: Owner, Arg: "data"}}); !errors.Is(err, errNeedsLab) {
			t.Errorf("%s: %v", v, err)
		}
	}
}

// cuts is somebody outside who writes down what is cut.
type cuts struct {
	Outside
	seen []string
}

func (c *cuts) Partition(_ context.Context, hosts, others []string, oneWay bool, only string) error {
	c.seen = append(c.seen, fmt.Sprintf("%v %v %v %q", hosts, others, oneWay, only))
	return nil
}

// What a drill waits for breaks nothing, so it allows no acknowledged key to be lost:
// every wait had counted as a fault.
func TestWaitingIsNoFault(t *testing.T) {
	var faults, notes []string
	s := &stage{cast: CastOf(status("server1", 3)), say: func(text string) { faults = append(faults, text) }, note: func(text string) { notes = append(notes, text) },
		look: func(context.Context) (cluster.Status, error) { return status("server1", 3), nil }}
	if err := s.play(t.Context(), []Step{{Do: Wait, For: time.Millisecond}, {Do: Heals, On: Spare, For: time.Minute}}); err != nil {
		t.Fatal(err)
	}
	if len(faults) > 0 || !slices.Equal(notes, []string{"wait 1ms", "server3 had healed before it was seen to"}) {
		t.Errorf("faults %q, notes %q", faults, notes)
	}
}

func TestACutOfTheStorageCutsNothingElse(t *testing.T) {
	out := &cuts{}
	s := &stage{cast: CastOf(status("server2", 3)), outside: out, clients: []string{"node001"}, say: func(string) {}, note: func(string) {}}
	list, err := Find([]string{"F8", "partition-vip-owner"})
	if err != nil {
		t.Fatal(err)
	}
	for _, sc := range list {
		if err := s.play(t.Context(), sc.Begin); err != nil {
			t.Errorf("%s: %v", sc.Name, err)
		}
	}
	want := []string{"[server2] [server1 server3] false \"storage\"", "[server3] [server1 server2] false \"storage\"",
		"[server2] [server1 server3] false \"\"", "[server2] [node001] false \"\""}
	if !slices.Equal(out.seen, want) {
		t.Errorf("%q", out.seen)
	}
}

func result(held bool, gap time.Duration, verdicts ...check.Verdict) *Result {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := &Result{ID: "F3", Name: "power-off-vip-owner", Begin: now, Broken: now, Mending: now.Add(20 * time.Second), Mended: now.Add(21 * time.Second),
		End: now.Add(40 * time.Second), Green: true, ToGreen: 9 * time.Second, Owner: "server1", Victims: []string{"server1"}, Verdicts: verdicts,
		Services: []ServiceResult{{Service: clients.SQL, Gap: check.Gap{From: now, To: now.Add(gap), Length: gap, Returned: true}, Bound: 5 * time.Second, Held: held}}}
	r.ops = []clients.Op{{Workload: clients.SQL, End: now.Add(time.Second), Result: clients.OK}, {Workload: clients.SQL, End: now.Add(2 * time.Second), Result: clients.Failed}}
	r.settle()
	return r
}

func TestOneBrokenInvariantBreaksTheDrill(t *testing.T) {
	good, bad := check.Verdict{Name: "a", OK: true}, check.Verdict{Name: "b", Text: "<lost>"}
	for _, c := range []struct {
		r    *Result
		held bool
	}{
		{result(true, time.Second, good), true},
		{result(true, time.Second, good, bad), false},
		{result(false, 9*time.Second, good), false},
		{result(true, time.Second), false}, // nothing was checked
	} {
		if c.r.Held != c.held {
			t.Errorf("%+v", c.r)
		}
	}
	all := Report([]*Result{result(true, time.Second, good), result(true, 3*time.Second, good), result(true, 2*time.Second, bad)})
	if s := all.Drills[0].Services[0]; all.Held || len(all.Drills) != 1 || s.P50 != 2*time.Second || s.Worst != 3*time.Second {
		t.Errorf("%+v", all)
	}
}

func TestThePageNeedsNothingBesideIt(t *testing.T) {
	page, err := HTML([]*Result{result(true, time.Second, check.Verdict{Name: "x", Text: "<script>"})}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for _, word := range []string{"<script", "http:", "https:", "src=", "url(", "ZgotmplZ"} {
		if strings.Contains(text, word) {
			t.Errorf("the page has %q", word)
		}
	}
	for _, word := range []string{"did not hold", "&lt;script&gt;", "<svg", "power-off-vip-owner"} {
		if !strings.Contains(text, word) {
			t.Errorf("the page lacks %q", word)
		}
	}
}
