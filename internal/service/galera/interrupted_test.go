package galera

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/service"
)

// What a head holds that was stopped in the middle of a change of tables or of a state
// transfer: all of its rows, or a part of somebody else's.
func TestWhatIsLeftOfAHeadThatWasInterrupted(t *testing.T) {
	const dir = "/var/lib/mysql/"
	at := func(d time.Duration) host.Attr {
		return host.Attr{Mode: 0o660, Owner: "mysql", Group: "mysql", ModTime: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(d)}
	}
	left := func(m *hosttest.Machine) *hosttest.Machine {
		return packaged(m).Dir(dir+"slurm_acct_db").File(dir+"grastate.dat", state(noUUID, "-1", "0"), at(0))
	}
	rows := func(m *hosttest.Machine) *hosttest.Machine {
		return left(m).File(dir+"gvwstate.dat", seen(who(1, 1), 5, who(1, 1), who(2, 1), who(3, 1)))
	}
	tests := []struct {
		name     string
		make     func(m *hosttest.Machine)
		data     service.Answer
		counts   bool // as one that was interrupted, with all of its rows
		identity string
	}{
		{"while tables were changed", func(m *hosttest.Machine) { rows(m) }, service.Yes, true, ""},
		{"while tables were changed, long after a copy came", func(m *hosttest.Machine) {
			rows(m).File(dir+"mariadb_backup_galera_info", "x", at(-time.Hour)).File(dir+"donor_galera_info", "x", at(-time.Hour))
		}, service.Yes, true, ""},
		{"the same, and it has begun to look for the others", func(m *hosttest.Machine) { left(m).File(dir+seenAside, seen(who(1, 1), 5, who(1, 1), who(2, 1))) }, service.Yes, true, ""},
		{"it was voted out, and left in order", func(m *hosttest.Machine) { left(m) }, service.Yes, false, ""},
		{"whom it saw last is not known", func(m *hosttest.Machine) { left(m).File(dir+"gvwstate.dat", "") }, service.Yes, false, ""},
		{"a copy has come, and is not written down", func(m *hosttest.Machine) {
			rows(m).File(dir+"mariadb_backup_galera_info", "x", at(time.Second))
		}, service.No, false, ""},
		{"it had asked for what it missed", func(m *hosttest.Machine) { rows(m).File(dir+"sst_in_progress", "") }, service.No, false, ""},
		{"a copy comes", func(m *hosttest.Machine) { rows(m).File(dir+".sst/ibdata1", "x") }, service.No, false, ""},
		{"it has no tables but the server's own", func(m *hosttest.Machine) {
			packaged(m).File(dir+"grastate.dat", state(noUUID, "-1", "0")).File(dir+"gvwstate.dat", seen(who(1, 1), 5, who(1, 1), who(2, 1), who(3, 1)))
		}, service.No, false, ""},
		{"what InnoDB says was found out", func(m *hosttest.Machine) {
			left(m).File(dir+"grastate.dat", string(markFound([]byte(state(noUUID, "-1", "0")), gtid{uuidA, 12})))
		}, service.Yes, true, uuidA},
		{"InnoDB says that it never was a member", func(m *hosttest.Machine) {
			rows(m).File(dir+"grastate.dat", string(markFound([]byte(state(noUUID, "-1", "0")), nowhere)))
		}, service.Yes, false, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := hosttest.New("s1")
			tt.make(m)
			d := lookDisk(t.Context(), m, "/var/lib/mysql")
			if d.data != tt.data || d.interrupted() != tt.counts || d.goesTo().uuid != tt.identity {
				t.Errorf("%+v", d)
			}
			if d.state.seqno >= 0 || d.state.safe {
				t.Errorf("its position counts: %+v", d)
			}
		})
	}
}

// Such a head does not form the cluster again with what others know less of: Galera forms
// it by itself where all come back that were there last.
func TestAHeadThatWasInterruptedDoesNotBeginByItself(t *testing.T) {
	const none = "uuid:    " + noUUID + "\n"
	for name, tt := range map[string]struct {
		files []string // in the order of their age
		was   string   // grastate.dat
		left  string
	}{
		"while tables were changed":          {files: []string{"grastate.dat", "gvwstate.dat"}, was: none, left: "grastate.dat gvwstate.dat.interrupted"},
		"the same, long after a copy came":   {files: []string{"donor_galera_info", "grastate.dat", "gvwstate.dat"}, was: none, left: "donor_galera_info grastate.dat gvwstate.dat.interrupted"},
		"its position was found out":         {files: []string{"grastate.dat", "gvwstate.dat.interrupted"}, was: string(markFound([]byte(none), gtid{uuidA, 12})), left: "grastate.dat gvwstate.dat.interrupted"},
		"and again":                          {files: []string{"grastate.dat", "gvwstate.dat.interrupted"}, was: none, left: "grastate.dat gvwstate.dat.interrupted"},
		"it has seen others since":           {files: []string{"grastate.dat", "gvwstate.dat.interrupted", "gvwstate.dat"}, was: none, left: "grastate.dat gvwstate.dat.interrupted"},
		"it lost its power":                  {files: []string{"grastate.dat", "gvwstate.dat"}, was: "uuid: " + uuidA + "\n", left: "grastate.dat gvwstate.dat"},
		"it has an identity again":           {files: []string{"grastate.dat", "gvwstate.dat.interrupted"}, was: "uuid: " + uuidA + "\n", left: "grastate.dat"},
		"it is a part of a copy":             {files: []string{"grastate.dat", "gvwstate.dat", "sst_in_progress"}, was: none, left: "grastate.dat gvwstate.dat sst_in_progress"},
		"a copy comes":                       {files: []string{"grastate.dat", "gvwstate.dat", ".sst"}, was: none, left: ".sst grastate.dat gvwstate.dat"},
		"the copy is there, and not written": {files: []string{"grastate.dat", "gvwstate.dat", "donor_galera_info"}, was: none, left: "donor_galera_info grastate.dat gvwstate.dat"},
		"it left in order":                   {files: []string{"grastate.dat"}, was: none, left: "grastate.dat"},
		"it never was a member":              {files: []string{"ibdata1"}, left: "ibdata1"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for i, f := range tt.files {
				p := filepath.Join(dir, f)
				at := time.Date(2026, 1, 2, 3, 4, i, 0, time.UTC)
				if err := errors.Join(os.WriteFile(p, []byte(tt.was), 0o600), os.Chtimes(p, at, at)); err != nil {
					t.Fatal(err)
				}
			}
			moved := slices.Contains(tt.files, "gvwstate.dat") && strings.HasSuffix(tt.left, seenAside)
			for _, says := range []bool{moved, false} { // each start
				out, err := exec.CommandContext(t.Context(), "sh", "-c", interruptedText, "mariadb-interrupted", dir).CombinedOutput()
				if err != nil || strings.Contains(string(out), "multihead recover") != says || !says && len(out) > 0 {
					t.Fatalf("%v: %s", err, out)
				}
			}
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			var left []string
			for _, e := range entries {
				left = append(left, e.Name())
			}
			if got := strings.Join(left, " "); got != tt.left {
				t.Errorf("left is %q", got)
			}
			if raw, err := os.ReadFile(filepath.Join(dir, "grastate.dat")); err == nil && parseFound(raw).uuid != "" {
				t.Errorf("what was found out before this start stands: %s", raw)
			}
		})
	}
}

func TestWhatInnoDBSaysIsWrittenBesideTheState(t *testing.T) {
	for _, before := range []string{state(noUUID, "-1", "0"), state(noUUID, "-1", "0") + "     ", string(markFound([]byte(state(noUUID, "-1", "0")), gtid{uuidB, 3}))} {
		after := markFound([]byte(before), gtid{uuidA, 12})
		if got := parseFound(after); got != (gtid{uuidA, 12}) {
			t.Errorf("%q: %+v", after, got)
		}
		if s, err := parseSaved(after); err != nil || s != (saved{seqno: -1}) {
			t.Errorf("%q: %+v, %v", after, s, err)
		}
		// Galera begins a file anew that is longer than this.
		if len(after) > 256 {
			t.Errorf("%d bytes", len(after))
		}
		begun := markPosition(after, uuidB, 12)
		if s, err := parseSaved(begun); err != nil || s != (saved{uuidB, 12, false}) || parseFound(begun) != (gtid{}) {
			t.Errorf("%q", begun)
		}
	}
	for _, none := range []string{"", "# InnoDB goes up to x:1\n", "# InnoDB goes up to " + uuidA + ":-1\n"} {
		if got := parseFound([]byte(none)); got != (gtid{}) {
			t.Errorf("%q: %+v", none, got)
		}
	}
}

// The position of a head that was interrupted is found out and no more: Galera is still
// to send it a whole copy.
func TestThePositionOfAnInterruptedHead(t *testing.T) {
	for name, c := range map[string]struct {
		finds string
		found gtid
		wrong bool
	}{
		"it was a member":       {uuidA + ":22", gtid{uuidA, 22}, false},
		"it never was a member": {noUUID + ":-1", nowhere, false},
		"it does not start":     {"", gtid{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			m := packaged(machine("failed")).Dir("/var/lib/mysql/portal").
				File("/var/lib/mysql/grastate.dat", state(noUUID, "-1", "0"), host.Attr{Mode: 0o660, Owner: "mysql", Group: "mysql"}).
				File("/var/lib/mysql/gvwstate.dat", seen(who(1, 1), 5, who(1, 1), who(2, 1), who(3, 1)))
			m.OnRun("systemd-run", func(host.Cmd) (string, error) { return "--wsrep_start_position=" + c.finds + "\n", nil })
			p := position{at: debian}
			if done, err := p.Done(t.Context(), m); done || err != nil {
				t.Errorf("%v %v", done, err)
			}
			if _, err := p.Do(t.Context(), m); (err != nil) != c.wrong {
				t.Fatal(err)
			}
			d := lookDisk(t.Context(), m, debian.dataDir)
			if d.state != (saved{seqno: -1}) || d.found != c.found {
				t.Errorf("%+v", d)
			}
			if done, err := p.Done(t.Context(), m); done == c.wrong || err != nil {
				t.Errorf("afterwards: %v %v", done, err)
			}
		})
	}
}

// interrupted is a head that was stopped in the middle; its data goes up to seqno, which
// is not known where it is negative.
func interrupted(name string, seqno int64, seq int, members ...int) node {
	n := crashed(name, -1, seq, members...)
	n.disk.state.uuid, n.disk.hasState = "", true
	if len(n.disk.last.members) == 0 {
		n.disk.last = crashed(name, -1, 5, 1, 2).disk.last
	}
	n.disk.why = "grastate.dat has no identity any more"
	if seqno >= 0 {
		n.disk.found = gtid{uuidA, seqno}
	}
	return n
}

func TestDecideAboutAHeadThatWasInterrupted(t *testing.T) {
	on := func(n node) node { n.stands = starting; return n }
	tests := []struct {
		name    string
		nodes   []node
		joiners string
		skipped string
		refused string
	}{
		{name: "nobody lives, and what it holds is not known", nodes: []node{interrupted("s1", -1, 5, 1, 2), blank("s2")}, refused: "what s1 holds is not known"},
		{name: "nobody lives, and it is known", nodes: []node{interrupted("s1", 9, 5, 1, 2), blank("s2")}, joiners: "s2"},
		{name: "nobody lives, and another goes as far", nodes: []node{interrupted("s1", 9, 5, 1, 2), stopped("s2", uuidA, 9, false)}, joiners: "s1"},
		{name: "nobody lives, and another goes less far", nodes: []node{interrupted("s1", 9, 5, 1, 2), stopped("s2", uuidA, 8, true)}, joiners: "s2"},
		{name: "others live, and what it holds is not known", nodes: []node{live("s1", uuidA), interrupted("s2", -1, 5, 1, 2)}, skipped: "s2"},
		{name: "others live, and it is on its way", nodes: []node{live("s1", uuidA), on(interrupted("s2", -1, 5, 1, 2))}, joiners: "s2"},
		{name: "others live, and it is behind", nodes: []node{live("s1", uuidA), interrupted("s2", 9, 5, 1, 2)}, joiners: "s2"},
		{name: "others live, and it is further", nodes: []node{live("s1", uuidA), interrupted("s2", 10, 5, 1, 2)}, refused: "goes further (10)"},
		{name: "others live, of another history", nodes: []node{live("s1", uuidB), interrupted("s2", 9, 5, 1, 2)}, refused: "another cluster"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := stateOf(tt.nodes...).decide(auto)
			checkDecision(t, d, err, tt.joiners, tt.skipped, tt.refused)
		})
	}
	for _, st := range planOf(t, stateOf(interrupted("s1", 9, 5, 1, 2), stopped("s2", uuidA, 8, true)), auto).Stages {
		for _, step := range st.Steps {
			if b, ok := step.Action.(begin); ok && b.anew == "" {
				t.Error("the others go on with tables that it has changed, or not")
			}
		}
	}
	if got := (&builder{}).origin(interrupted("s1", 9, 5, 1)); got != returning {
		t.Errorf("undoing its start would take its identity: %d", got)
	}
	if e := stateOf(interrupted("s1", -1, 5, 1)).Evidence()[0]; e.Data != service.Unsure {
		t.Errorf("%+v", e)
	}
}
