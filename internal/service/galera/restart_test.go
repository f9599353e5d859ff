package galera

import (
	"errors"
	"strings"
	"testing"
	"time"

	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// renewals is the part of an outline that is about changed settings.
func renewals(p plan.Phase) string {
	var out []string
	for line := range strings.Lines(outline(p)) {
		for _, about := range []string{"settings on", "the witness", "at boot", "note: mariadbd on"} {
			if strings.HasPrefix(line, about) {
				out = append(out, strings.TrimSpace(line))
			}
		}
	}
	return strings.Join(out, "\n")
}

// A node that is restarted needs somebody who goes on with all data and can give it
// what it missed. A witness has the quorum alone and gives nothing.
func TestWhoIsRestartedAndWhatGoesOnMeanwhile(t *testing.T) {
	of := func(size int) func(*node) { return func(n *node) { n.status.size, n.due = size, true } }
	s1 := func(size int) node { return with(live("s1", uuidA), of(size)) }
	const one = "settings on s1: boot/s1 unit/s1 restarted/s1"
	aside := "the witness steps aside: arbiter-aside/w1\n" + one + "\nthe witness votes again: arbiter-back/w1"
	for name, c := range map[string]struct {
		s    *State
		want string
	}{
		"the only head":                                      {stateOf(s1(1)), one},
		"the other is off, and nobody votes":                 {stateOf(s1(1), lost("s2")), one},
		"the other is off, and a witness votes":              {witness(stateOf(s1(2), lost("s2")), service.Yes), aside},
		"the other is off, and nothing changes":              {witness(stateOf(with(s1(2), func(n *node) { n.due = false }), lost("s2")), service.Yes), one},
		"the other is off, and the witness does not run":     {witness(stateOf(s1(1), lost("s2")), service.No), one},
		"the other is off, and nobody can ask the witness":   {witness(stateOf(s1(2), lost("s2")), service.Unsure), "at boot: boot/s1\nnote: mariadbd on s1 goes on with the settings that it has: 1 others"},
		"the others were not reached and may serve":          {stateOf(s1(3), lost("s2"), lost("s3")), "at boot: boot/s1\nnote: mariadbd on s1 goes on with the settings that it has: 2 others"},
		"the other starts, and this one may be sending data": {stateOf(s1(2), starts("s2")), "at boot: boot/s1\nnote: mariadbd on s1 goes on with the settings that it has: 1 others"},
		"one of three is off":                                {stateOf(s1(2), live("s2", uuidA), lost("s3")), one + "\n" + strings.ReplaceAll(one, "s1", "s2")},
		"one has not all data yet":                           {stateOf(s1(2), joining("s2", uuidA)), strings.ReplaceAll(one, "s1", "s2") + "\n" + one},
	} {
		t.Run(name, func(t *testing.T) {
			if got := renewals(planOf(t, c.s, auto)); !strings.HasPrefix(got, c.want) || strings.Count(got, "\n") != strings.Count(c.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// A witness that runs has stepped aside by then, so it is started again, and again by
// the next run where the tool was killed in between.
func TestAWitnessThatStepsAsideVotesAgain(t *testing.T) {
	state := func(active string) string {
		return "LoadState=loaded\nActiveState=" + active + "\nUnitFileState=enabled\n"
	}
	w := hosttest.New("w1").Answer("systemctl show --timestamp=us+utc garb.service", state("active"))
	b := builder{s: witness(stateOf(live("s1", uuidA), lost("s2")), service.Yes)}
	b.stepAside()
	b.voteAgain()
	p, err := plan.Propose(t.Context(), plan.Plan{Phases: []plan.Phase{b.out}}, map[string]host.Reader{"w1": w})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := outline(p.Plan.Phases[0]), "the witness steps aside: arbiter-aside/w1\nthe witness votes again: arbiter-back/w1\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	killed := planOf(t, witness(stateOf(live("s1", uuidA), lost("s2")), service.No), auto)
	if got := outline(killed); !strings.Contains(got, "witness: arbiter-packages/w1 arbiter-settings/w1 arbiter-unit/w1 arbiter/w1") {
		t.Errorf("the next run leaves it stopped:\n%s", got)
	}
}

// Old files are put back first; then the daemons are restarted, the last first, and the
// witness is away while the only member is.
func TestAWitnessIsAwayWhileTheOldSettingsAreReadToo(t *testing.T) {
	w := hosttest.New("w1").Answer("systemctl show --timestamp=us+utc garb.service", "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n").
		OnRun("systemctl stop", func(host.Cmd) (string, error) { return "", nil })
	b := builder{s: witness(stateOf(live("s1", uuidA), lost("s2")), service.Yes)}
	b.stepAside()
	undo, err := b.out.Stages[0].Steps[0].Action.Do(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	if _, late := undo.(plan.Late); !late {
		t.Errorf("%T comes before the restart of the only member", undo)
	}
}

func TestWithoutTheWitnessTheOnlyMemberIsNotRestarted(t *testing.T) {
	s := witness(stateOf(with(live("s1", uuidA), func(n *node) { n.status.size, n.due = 2, true }), lost("s2")), service.Yes)
	p, err := s.Plan(service.Intent{Mode: service.Auto, Nodes: []string{"s1"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := renewals(p); !strings.HasPrefix(got, "at boot: boot/s1\nnote: mariadbd on s1 goes on") {
		t.Errorf("%s", got)
	}
}

// A garbd that cannot be restarted keeps nobody from beginning.
func TestALetGoThatFailsIsNoError(t *testing.T) {
	for _, err := range []error{nil, errors.New("exit code 1")} {
		w := hosttest.New("w1").OnRun("systemctl try-restart garb.service", func(host.Cmd) (string, error) { return "", err })
		s := witness(stateOf(stopped("s1", uuidA, 9, true)), service.Yes)
		if _, err := s.letGo()[0].Action.Do(t.Context(), w); err != nil || !ran(w, "systemctl try-restart garb.service") {
			t.Errorf("%v %v", err, w.Changes())
		}
	}
}

// The only member did not come up with its new settings. With the old ones it is begun
// with again: left to itself it looks for others, which are not there.
func TestTheOnlyMemberComesBackWithItsOldSettings(t *testing.T) {
	for name, c := range map[string]struct {
		state  string
		begins bool
	}{
		"as it was stopped":                  {state(uuidA, "9", "1"), true},
		"it had begun to serve":              {state(uuidA, "-1", "1"), true},
		"it was not the last":                {state(uuidA, "9", "0"), false},
		"it has data of another cluster now": {state(uuidB, "9", "1"), false},
	} {
		t.Run(name, func(t *testing.T) {
			m := packaged(machine("failed")).Dir("/var/lib/mysql/portal").File("/var/lib/mysql/grastate.dat", c.state)
			r := renewed{renew{at: debian}, uuidA}
			if _, err := r.Do(t.Context(), m); (err == nil) != c.begins {
				t.Errorf("%v", err)
			}
			if ran(m, "galera_new_cluster") != c.begins {
				t.Errorf("%v", m.Changes())
			}
		})
	}
}

func TestARestartIsDue(t *testing.T) {
	s := stateOf(live("s1", uuidA))
	n := s.nodes[0]
	settings, err := s.settings(n)
	if err != nil {
		t.Fatal(err)
	}
	drop, err := dropIn(debian)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(d time.Duration) host.Attr {
		return host.Attr{Mode: 0o644, Owner: "root", Group: "root", ModTime: began.Add(d)}
	}
	tests := []struct {
		name     string
		settings string
		written  time.Duration // after the daemon began
		said     string        // what systemd says besides
		want     bool
	}{
		{"all is as it should be", string(settings), -time.Hour, "active", false},
		{"the file changes", string(settings) + "max_connections = 9\n", -time.Hour, "active", true},
		{"it was changed and the daemon was not restarted", string(settings), time.Second, "active", true},
		{"systemd does not say", string(settings), -time.Hour, "", true},
	}
	for _, tt := range tests {
		m := hosttest.New("s1").Dir("/etc/mysql/mariadb.conf.d", "/etc/systemd/system/mariadb.service.d").
			File(debian.settingsFile(), tt.settings, at(tt.written)).File(dropInFile, string(drop), at(-time.Hour))
		if tt.said != "" {
			m.Answer("systemctl show --timestamp=us+utc mariadb.service", "LoadState=loaded\nUnitFileState=enabled\nActiveState="+tt.said+
				"\nExecMainStartTimestamp="+began.Format("Mon 2006-01-02 15:04:05.999999 MST")+"\n")
		}
		if got := s.restartDue(t.Context(), m, n); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
