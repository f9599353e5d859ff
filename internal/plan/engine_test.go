package plan

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"multihead/internal/host"
	"multihead/internal/host/hosttest"
)

// machines makes n machines in memory, with something of the administrator's
// on each.
func machines(names ...string) (map[string]host.Host, map[string]*hosttest.Machine) {
	hosts, mems := map[string]host.Host{}, map[string]*hosttest.Machine{}
	for _, n := range names {
		m := hosttest.New(n).Dir("/etc", "/usr/sbin").File("/etc/mine.conf", "old\n", host.Attr{Mode: 0o640})
		hosts[n], mems[n] = m, m
	}
	return hosts, mems
}

func readers(hosts map[string]host.Host) map[string]host.Reader {
	out := map[string]host.Reader{}
	for n, h := range hosts {
		out[n] = h
	}
	return out
}

// apply proposes and applies, and returns what was told.
func apply(t *testing.T, hosts map[string]host.Host, p Plan) ([]PhaseResult, []Event, error) {
	t.Helper()
	prop, err := Propose(t.Context(), p, readers(hosts))
	if err != nil {
		t.Fatal(err)
	}
	var events []Event
	res, err := NewEngine(hosts, func(ev Event) { events = append(events, ev) }).Apply(t.Context(), prop)
	return res, events, err
}

func one(phase string, steps ...Step) Plan {
	return Plan{Phases: []Phase{{Name: phase, Stages: []Stage{{Name: "all", Steps: steps}}}}}
}

func write(id, h, p, data string) Step {
	return Step{ID: id, Host: h, Action: File{Path: p, Data: []byte(data), Attr: host.Attr{Mode: 0o600}}}
}

func failing(id, h string) Step {
	return Step{ID: id, Host: h, Action: Func{What: "fail", Change: func(context.Context, host.Host) (Action, error) {
		return nil, errors.New("the disk is full")
	}}}
}

func TestASecondRunChangesNothing(t *testing.T) {
	hosts, mems := machines("s1", "s2")
	p := one("x",
		write("a", "s1", "/etc/x/a.conf", "a\n"), write("a", "s2", "/etc/x/a.conf", "a\n"),
		Step{ID: "d", Host: "s1", Action: Dir{Path: "/srv/data", Attr: host.Attr{Mode: 0o700}}},
		Step{ID: "gone", Host: "s2", Action: Absent{Path: "/etc/mine.conf"}},
		Step{ID: "link", Host: "s2", Action: Link{Path: "/etc/l", Target: "/etc/x/a.conf"}})
	if _, _, err := apply(t, hosts, p); err != nil {
		t.Fatal(err)
	}
	before := len(mems["s1"].Changes()) + len(mems["s2"].Changes())
	prop, err := Propose(t.Context(), p, readers(hosts))
	if err != nil || !prop.Empty() {
		t.Fatalf("not empty: %+v, %v", prop.Plan, err)
	}
	if after := len(mems["s1"].Changes()) + len(mems["s2"].Changes()); after != before {
		t.Fatalf("proposing changed something: %d changes, then %d", before, after)
	}
}

func TestAFailedPhaseIsRolledBackToTheExactEarlierState(t *testing.T) {
	hosts, mems := machines("s1", "s2")
	was := map[string][]string{"s1": tree(mems["s1"]), "s2": tree(mems["s2"])}
	p := Plan{Phases: []Phase{{Name: "x", Stages: []Stage{
		{Name: "files", Steps: []Step{
			write("mine", "s1", "/etc/mine.conf", "new\n"), write("deep", "s1", "/srv/a/b/c.conf", "c\n"),
			write("mine", "s2", "/etc/mine.conf", "new\n"),
			{ID: "gone", Host: "s2", Action: Absent{Path: "/etc/mine.conf"}},
			{ID: "mode", Host: "s1", Action: SetAttr{Path: "/etc/mine.conf", Attr: host.Attr{Mode: 0o644}}},
		}},
		{Name: "then", Steps: []Step{
			{ID: "d", Host: "s2", Action: Dir{Path: "/srv/data"}},
			{ID: "aside", Host: "s1", Action: Aside{Path: "/etc/mine.conf", To: "/etc/mine.conf.aside"}},
		}},
		{Name: "fails", Steps: []Step{failing("f", "s2")}},
		{Name: "never", Steps: []Step{write("late", "s1", "/etc/late", "x")}},
	}}}}
	res, _, err := apply(t, hosts, p)
	if err == nil || !strings.Contains(err.Error(), "the disk is full") {
		t.Fatalf("error %v", err)
	}
	for n, want := range was {
		if got := tree(mems[n]); !slices.Equal(got, want) {
			t.Errorf("%s is not as it was:\n%s\nwas:\n%s", n, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	if len(res[0].Undone) == 0 || len(res[0].Kept) != 0 {
		t.Errorf("said %+v", res[0])
	}
}

// tree is what is on a machine, less the inode numbers: a file that is put
// back is a new one.
func tree(m *hosttest.Machine) []string {
	var out []string
	for _, line := range m.Tree() {
		f := strings.Fields(line)
		out = append(out, strings.Join(append(f[:4:4], f[5:]...), " "))
	}
	return out
}

func TestAOneWayStepEndsTheRollbackOutLoud(t *testing.T) {
	hosts, mems := machines("s1")
	oneWay := write("moved", "s1", "/etc/moved", "x")
	oneWay.OneWay = "the slots' keys have moved"
	p := Plan{Phases: []Phase{{Name: "x", Stages: []Stage{
		{Name: "1", Steps: []Step{write("first", "s1", "/etc/first", "x")}},
		{Name: "2", Steps: []Step{oneWay}},
		{Name: "3", Steps: []Step{write("third", "s1", "/etc/third", "x"), failing("f", "s1")}},
	}}}}
	res, events, err := apply(t, hosts, p)
	if err == nil {
		t.Fatal("no error")
	}
	for p, there := range map[string]bool{"/etc/first": true, "/etc/moved": true, "/etc/third": false} {
		if _, err := mems["s1"].Stat(t.Context(), p); (err == nil) != there {
			t.Errorf("%s there: %v", p, err == nil)
		}
	}
	if len(res[0].Kept) != 1 || !strings.Contains(res[0].Kept[0], "keys have moved") {
		t.Errorf("kept %q", res[0].Kept)
	}
	if !slices.ContainsFunc(events, func(e Event) bool { return e.Type == UndoStopped }) {
		t.Error("no event says that the rollback ended there")
	}
}

func TestPhasesRunBesideEachOtherAndAfterWhatTheyNeed(t *testing.T) {
	hosts, _ := machines("s1")
	meet := make(chan struct{}) // both sides of it have to run at once
	var mu sync.Mutex
	var order []string
	note := func(name string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, name)
	}
	phase := func(name string, f func(), after ...string) Phase {
		return Phase{Name: name, After: after, Stages: []Stage{{Steps: []Step{{ID: name, Host: "s1",
			Action: Func{What: name, Change: func(context.Context, host.Host) (Action, error) {
				f()
				note(name)
				return nil, nil
			}}}}}}}
	}
	p := Plan{Phases: []Phase{
		phase("base", func() {}),
		phase("a", func() { meet <- struct{}{} }, "base"),
		phase("b", func() { <-meet }, "base"),
		phase("c", func() {}, "a", "b"),
	}}
	if _, _, err := apply(t, hosts, p); err != nil {
		t.Fatal(err)
	}
	if order[0] != "base" || order[3] != "c" {
		t.Fatalf("order %v", order)
	}
}

// alone is an action that fails when it meets another one of its kind.
type alone struct {
	running *int
	mu      *sync.Mutex
	met     *bool
}

func (a alone) String() string                                  { return "alone" }
func (a alone) Exclusive() string                               { return "packages" }
func (a alone) Done(context.Context, host.Reader) (bool, error) { return false, nil }
func (a alone) Do(context.Context, host.Host) (Action, error) {
	count := func(n int) {
		a.mu.Lock()
		defer a.mu.Unlock()
		*a.running += n
		*a.met = *a.met || *a.running > 1
	}
	count(1)
	runtime.Gosched()
	count(-1)
	return nil, nil
}

func TestPhasesDoNotMeetAtWhatAHostHasOnce(t *testing.T) {
	hosts, _ := machines("s1")
	a := alone{new(int), new(sync.Mutex), new(bool)}
	var p Plan
	for i := range 20 {
		p.Phases = append(p.Phases, Phase{Name: fmt.Sprint(i), Stages: []Stage{{Steps: []Step{{ID: "a", Host: "s1", Action: a}}}}})
	}
	if _, _, err := apply(t, hosts, p); err != nil || *a.met {
		t.Fatalf("they met: %v, %v", *a.met, err)
	}
}

func TestWhatComesAfterAFailedPhaseDoesNotBegin(t *testing.T) {
	hosts, mems := machines("s1")
	p := Plan{Phases: []Phase{
		{Name: "a", Stages: []Stage{{Steps: []Step{failing("f", "s1")}}}},
		{Name: "b", After: []string{"a"}, Stages: []Stage{{Steps: []Step{write("b", "s1", "/etc/b", "x")}}}},
		{Name: "c", Stages: []Stage{{Steps: []Step{write("c", "s1", "/etc/c", "x")}}}},
	}}
	res, _, err := apply(t, hosts, p)
	if err == nil || !res[1].NotRun || res[2].Err != nil {
		t.Fatalf("%+v, %v", res, err)
	}
	if _, err := mems["s1"].Stat(t.Context(), "/etc/b"); err == nil {
		t.Error("b ran")
	}
	if _, err := mems["s1"].Stat(t.Context(), "/etc/c"); err != nil {
		t.Error("c, which needs neither, did not run")
	}
}

func TestStopFinishesTheStepAndUndoesNothing(t *testing.T) {
	hosts, mems := machines("s1")
	var eng *Engine
	stop := Step{ID: "stop", Host: "s1", Action: Func{What: "stop", Change: func(context.Context, host.Host) (Action, error) {
		eng.Stop()
		return Absent{Path: "/etc/mine.conf"}, nil
	}}}
	prop, err := Propose(t.Context(), one("x", write("a", "s1", "/etc/a", "x"), stop, write("b", "s1", "/etc/b", "x")), readers(hosts))
	if err != nil {
		t.Fatal(err)
	}
	eng = NewEngine(hosts, func(Event) {})
	_, err = eng.Apply(t.Context(), prop)
	if !errors.Is(err, ErrStopped) {
		t.Fatalf("error %v", err)
	}
	for p, there := range map[string]bool{"/etc/a": true, "/etc/b": false, "/etc/mine.conf": true} {
		if _, err := mems["s1"].Stat(t.Context(), p); (err == nil) != there {
			t.Errorf("%s there: %v", p, err == nil)
		}
	}
}

func TestUnknownIsNotNo(t *testing.T) {
	hosts, _ := machines("s1")
	unsure := Step{ID: "u", Host: "s1", Action: Func{What: "ask the daemon",
		Satisfied: func(context.Context, host.Reader) (bool, error) { return false, errors.New("it hangs") },
		Change:    func(context.Context, host.Host) (Action, error) { return nil, nil }}}
	if _, err := Propose(t.Context(), one("x", unsure), readers(hosts)); err == nil || !strings.Contains(err.Error(), "it hangs") {
		t.Fatalf("error %v", err)
	}
	// Where an earlier step is to change things, the daemon may not even be there.
	prop, err := Propose(t.Context(), one("x", write("a", "s1", "/etc/a", "x"), unsure), readers(hosts))
	if err != nil || len(prop.Previews) != 2 {
		t.Fatalf("%+v, %v", prop.Previews, err)
	}
}

func TestAUnitIsRestartedWhenAFileItReadsIsToChange(t *testing.T) {
	hosts, mems := machines("s1")
	mems["s1"].Answer("systemctl show", "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n"+
		"ActiveEnterTimestamp=Sat 2100-01-02 03:04:05.000001 UTC\nExecMainStartTimestamp=Sat 2100-01-02 03:04:05.000001 UTC\n")
	unit := Step{ID: "unit", Host: "s1", Action: Running("x.service", "/etc/mine.conf")}
	prop, err := Propose(t.Context(), one("x", unit), readers(hosts))
	if err != nil || !prop.Empty() {
		t.Fatalf("a running unit with old files is to be left alone: %+v, %v", prop.Previews, err)
	}
	prop, err = Propose(t.Context(), one("x", write("conf", "s1", "/etc/mine.conf", "new"), unit), readers(hosts))
	if err != nil || prop.Previews[Ref{"x", "unit", "s1"}].Kind != Restart {
		t.Fatalf("%+v, %v", prop.Previews, err)
	}
	if got := prop.Summary(); got != "Plan: 0 to add, 1 to change, 0 to destroy; 1 restarts." {
		t.Errorf("summary %q", got)
	}
}

func TestAUnitIsRestartedWhenItsProgramWasReplacedByAnOlderOne(t *testing.T) {
	hosts, mems := machines("s1")
	mems["s1"].Answer("systemctl show", "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nMainPID=42\n"+
		"ExecMainStartTimestamp=Sat 2100-01-02 03:04:05.000001 UTC\n").Link("/usr/local/bin/x", "/proc/42/exe")
	unit := Running("x.service", "/usr/local/bin/x")
	unit.Program = true
	step := one("x", Step{ID: "unit", Host: "s1", Action: unit})
	if prop, err := Propose(t.Context(), step, readers(hosts)); err != nil || !prop.Empty() {
		t.Fatalf("%+v, %v", prop.Previews, err)
	}
	mems["s1"].Link("/usr/local/bin/x (deleted)", "/proc/42/exe")
	if prop, err := Propose(t.Context(), step, readers(hosts)); err != nil || prop.Previews[Ref{"x", "unit", "s1"}].Kind != Restart {
		t.Fatalf("%+v, %v", prop.Previews, err)
	}
}

func TestARestartIsUndoneAfterItsFileIsBack(t *testing.T) {
	hosts, mems := machines("s1")
	m := mems["s1"]
	m.Answer("systemctl show", "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nExecMainStartTimestamp=Sat 2000-01-01 03:04:05.000001 UTC\n")
	var read []string // what the daemon found at each restart
	m.OnRun("systemctl restart", func(host.Cmd) (string, error) {
		data, err := m.ReadFile(context.Background(), "/etc/mine.conf")
		read = append(read, string(data))
		return "", err
	})
	p := Plan{Phases: []Phase{{Name: "x", Stages: []Stage{
		{Name: "1", Steps: []Step{write("conf", "s1", "/etc/mine.conf", "new\n"), {ID: "unit", Host: "s1", Action: Running("x.service", "/etc/mine.conf")}}},
		{Name: "2", Steps: []Step{failing("f", "s1")}},
	}}}}
	if _, _, err := apply(t, hosts, p); err == nil {
		t.Fatal("no error")
	}
	if !slices.Equal(read, []string{"new\n", "old\n"}) {
		t.Fatalf("the daemon read %q", read)
	}
}

func TestAUnitsFileThatIsPutBackIsReadAgain(t *testing.T) {
	hosts, mems := machines("s1")
	m := mems["s1"]
	const unit, fresh = "/etc/systemd/system/x.service.d/mine.conf", "/etc/systemd/system/x.service.d/new.conf"
	m.File(unit, "old\n")
	var read []string // by systemd
	m.OnRun("systemctl daemon-reload", func(host.Cmd) (string, error) {
		data, _ := m.ReadFile(t.Context(), unit)
		_, err := m.Stat(t.Context(), fresh)
		read = append(read, fmt.Sprintf("%s%v", data, err == nil))
		return "", nil
	})
	p := Plan{Phases: []Phase{{Name: "x", Stages: []Stage{
		{Name: "1", Steps: []Step{write("unit", "s1", unit, "new\n"), write("fresh", "s1", fresh, "new\n"), write("conf", "s1", "/etc/mine.conf", "new\n")}},
		{Name: "2", Steps: []Step{failing("f", "s1")}},
	}}}}
	if _, _, err := apply(t, hosts, p); err == nil {
		t.Fatal("no error")
	}
	if len(read) == 0 || read[len(read)-1] != "old\nfalse" {
		t.Errorf("systemd read %q", read)
	}
}

func TestAUnitThatAnEarlierStepStopsIsStartedAgain(t *testing.T) {
	hosts, mems := machines("s1")
	mems["s1"].Answer("systemctl show", "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nExecMainStartTimestamp=Sat 2100-01-02 03:04:05.000001 UTC\n")
	prop, err := Propose(t.Context(), one("x", Step{ID: "off", Host: "s1", Action: Stopped("x")}, Step{ID: "on", Host: "s1", Action: Running("x.service")}), readers(hosts))
	if err != nil || len(prop.Previews) != 2 {
		t.Fatalf("%+v, %v", prop.Previews, err)
	}
}

func TestAUnitThatAPackageMayBringIsLookedAtAgain(t *testing.T) {
	hosts, mems := machines("s1")
	mems["s1"].Answer("dpkg-query", "").Answer("systemctl show", "LoadState=not-found\nActiveState=inactive\nUnitFileState=\n")
	install := Step{ID: "pkg", Host: "s1", Action: Packages{Names: []string{"x"}}}
	stop := Step{ID: "off", Host: "s1", Action: Stopped("x.service")}
	prop, err := Propose(t.Context(), one("x", install, stop), readers(hosts))
	if err != nil || len(prop.Previews) != 2 {
		t.Fatalf("a unit that is not there yet is not stopped for good: %+v, %v", prop.Previews, err)
	}
	mems["s1"].Answer("systemctl show", "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nExecMainStartTimestamp=Sat 2100-01-02 03:04:05.000001 UTC\n")
	prop, err = Propose(t.Context(), one("x", install, Step{ID: "on", Host: "s1", Action: Running("x.service")}), readers(hosts))
	if err != nil || len(prop.Previews) != 1 {
		t.Fatalf("a unit that runs is left alone: %+v, %v", prop.Previews, err)
	}
}

func TestAStepThatFailedHalfWayAndCannotBeTakenBackEndsTheRollback(t *testing.T) {
	hosts, mems := machines("s1")
	half := failing("half", "s1")
	half.OneWay = "half of the keys have moved"
	p := Plan{Phases: []Phase{{Name: "x", Stages: []Stage{
		{Name: "1", Steps: []Step{write("first", "s1", "/etc/first", "x")}},
		{Name: "2", Steps: []Step{half}},
	}}}}
	res, _, err := apply(t, hosts, p)
	if _, serr := mems["s1"].Stat(t.Context(), "/etc/first"); err == nil || serr != nil || len(res[0].Kept) != 1 {
		t.Fatalf("%v, %v, %+v", err, serr, res[0])
	}
}

// What is final stays, with all that its hosts got before it; the rest goes.
func TestWhatIsFinalStaysWhenAnotherHeadFails(t *testing.T) {
	hosts, mems := machines("s1", "s2", "s3")
	join := func(h string) Step {
		s := write("join", h, "/var/lib/data", "rows\n")
		s.Final.Why = "it has all data"
		return s
	}
	p := Plan{Phases: []Phase{{Name: "db", Stages: []Stage{
		{Name: "prepare", Steps: []Step{write("conf", "s1", "/etc/new.conf", "x\n"), write("conf", "s2", "/etc/new.conf", "x\n"), write("conf", "s3", "/etc/new.conf", "x\n")}},
		{Name: "join s2", Steps: []Step{join("s2")}},
		{Name: "join s3", Steps: []Step{write("half", "s3", "/etc/half.conf", "x\n"), failing("join", "s3")}},
	}}}}
	before := mems["s3"].Tree()
	res, _, err := apply(t, hosts, p)
	if err == nil || len(res[0].Kept) != 1 || !strings.Contains(res[0].Kept[0], "it has all data") {
		t.Fatalf("%v %+v", err, res)
	}
	if !slices.Equal(mems["s3"].Tree(), before) {
		t.Errorf("the head that failed is not as it was: %v", mems["s3"].Tree())
	}
	for _, path := range []string{"/etc/new.conf", "/var/lib/data"} {
		if _, err := mems["s2"].Stat(t.Context(), path); err != nil {
			t.Errorf("the head that had joined lost %s", path)
		}
	}
	if _, err := mems["s1"].Stat(t.Context(), "/etc/new.conf"); err == nil {
		t.Error("a head that nothing final happened on keeps what failed")
	}
}

func TestAFinalStepThatFailedIsTakenBack(t *testing.T) {
	hosts, mems := machines("s1")
	bad := failing("join", "s1")
	bad.Final.Why = "it has all data"
	before := mems["s1"].Tree()
	if _, _, err := apply(t, hosts, one("db", write("conf", "s1", "/etc/new.conf", "x\n"), bad)); err == nil {
		t.Fatal("it did not fail")
	}
	if !slices.Equal(mems["s1"].Tree(), before) {
		t.Errorf("%v", mems["s1"].Tree())
	}
}

// Members that were restarted in turn are restarted in turn on the way back,
// each awaited; where one does not come back the others are left running.
func TestRestartsAreUndoneOneStageAfterTheOther(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lame  string // the host that does not come back
		again []string
		kept  int
	}{
		{"all come back", "", []string{"s2", "s1"}, 0},
		{"the first to go does not come back", "s2", []string{"s2"}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hosts, mems := machines("s1", "s2", "s3")
			var mu sync.Mutex
			var order []string
			var stages []Stage
			for _, name := range []string{"s1", "s2"} {
				restarts := 0
				mems[name].Answer("systemctl show", "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nExecMainStartTimestamp=Mon 2001-01-01 00:00:00.000000 UTC\n")
				mems[name].OnRun("systemctl", func(host.Cmd) (string, error) {
					mu.Lock()
					defer mu.Unlock()
					if restarts++; restarts > 1 {
						order = append(order, name)
					}
					return "", nil
				})
				u := Running("db.service", "/etc/db.conf")
				u.Then = Func{What: "it is back", Change: func(context.Context, host.Host) (Action, error) {
					if name == tt.lame {
						return nil, errors.New("it is not part of the cluster")
					}
					return nil, nil
				}}
				stages = append(stages, Stage{Name: name, Steps: []Step{write("conf", name, "/etc/db.conf", "new\n"), {ID: "unit", Host: name, Action: u}}})
			}
			stages = append(stages, Stage{Name: "s3", Steps: []Step{failing("x", "s3")}})
			res, _, err := apply(t, hosts, Plan{Phases: []Phase{{Name: "db", Stages: stages}}})
			if err == nil || !slices.Equal(order, tt.again) || len(res[0].Kept) != tt.kept {
				t.Errorf("%v, restarted %v, kept %q", err, order, res[0].Kept)
			}
		})
	}
}

func TestStaleUnitsAreSeenWithinTheSecondOfTheirStart(t *testing.T) {
	show := "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nExecMainStartTimestamp=%s\n"
	for _, tt := range []struct {
		started string
		done    bool
	}{
		{"Sun 2020-03-01 10:00:00.400000 UTC", false}, // the file is 100 ms younger
		{"Sun 2020-03-01 10:00:00.600000 UTC", true},
	} {
		m := hosttest.New("s1").Dir("/etc").File("/etc/f", "x", host.Attr{ModTime: stamp("Sun 2020-03-01 10:00:00.500000 UTC")}).
			Answer("systemctl show", fmt.Sprintf(show, tt.started))
		done, err := Running("x", "/etc/f").Done(t.Context(), m)
		if err != nil || done != tt.done {
			t.Errorf("started %s: done %v, %v", tt.started, done, err)
		}
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	hosts, _ := machines("s1")
	s := write("a", "s1", "/etc/a", "canary-7")
	f := s.Action.(File)
	f.Secret = true
	s.Action = f
	prop, err := Propose(t.Context(), one("x", s), readers(hosts))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	prop.WriteText(&out, Plain)
	prop.WriteDiff(&out)
	fmt.Fprintf(&out, "%+v", prop.JSON())
	if strings.Contains(out.String(), "canary-7") {
		t.Errorf("shown:\n%s", out.String())
	}
}

func TestAWaitEndsWhenTheConditionHoldsOrNeverWill(t *testing.T) {
	split := errors.New("split-brain")
	for _, tt := range []struct {
		name  string
		looks []error // what each look finds; after the last one the condition holds
		asked int
		err   error
	}{
		{"it holds", nil, 1, nil},
		{"it cannot be asked yet", []error{errors.New("refused"), errors.New("refused")}, 3, nil},
		{"it never will", []error{errors.New("refused"), Never(split)}, 2, split},
		{"it never will, as something wrapped says", []error{fmt.Errorf("volume: %w", Never(split))}, 1, split},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := 0
			_, err := Await{What: "all is copied", Timeout: time.Hour, Every: time.Millisecond,
				Until: func(context.Context, host.Reader) (bool, string, error) {
					asked++
					if asked <= len(tt.looks) {
						return false, "", tt.looks[asked-1]
					}
					return true, "", nil
				}}.Do(t.Context(), hosttest.New("s1"))
			if asked != tt.asked || !errors.Is(err, tt.err) || err != nil && !strings.Contains(err.Error(), "all is copied") {
				t.Errorf("asked %d times, %v", asked, err)
			}
		})
	}
}
