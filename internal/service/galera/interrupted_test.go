package galera

import (
	"strings"
	"testing"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/service"
)

// What a head holds that was stopped in the middle of a change of tables or of a state
// transfer: all of its rows, or a part of somebody else's.
func TestWhatIsLeftOfAHeadThatWasInterrupted(t *testing.T) {
	const dir = "/var/lib/mysql/"
	rows := func(m *hosttest.Machine) *hosttest.Machine {
		return packaged(m).Dir(dir+"slurm_acct_db").File(dir+"grastate.dat", state(noUUID, "-1", "0"))
	}
	tests := []struct {
		name     string
		make     func(m *hosttest.Machine)
		whole    bool // all of its rows
		identity string
	}{
		{"while tables were changed", func(m *hosttest.Machine) { rows(m) }, true, ""},
		{"while tables were changed, long after a copy came", func(m *hosttest.Machine) {
			m.File(dir+"mariadb_backup_galera_info", "x").File(dir+"donor_galera_info", "x")
			rows(m)
		}, true, ""},
		{"a copy has come, and is not written down", func(m *hosttest.Machine) {
			rows(m).File(dir+"mariadb_backup_galera_info", "x")
		}, false, ""},
		{"it had asked for what it missed", func(m *hosttest.Machine) { rows(m).File(dir+"sst_in_progress", "") }, true, ""},
		{"the same, and the file has not reached the disk", func(m *hosttest.Machine) {
			rows(m).File(dir+"sst_in_progress", "").File(dir+"grastate.dat", state(uuidA, "9", "1"))
		}, true, ""},
		{"it had asked, and rsync writes over what is here", func(m *hosttest.Machine) {
			rows(m).File(dir+"sst_in_progress", "").File(dir+"rsync_sst.conf", "")
		}, false, ""},
		{"the copy begins to come, and nothing is deleted", func(m *hosttest.Machine) {
			rows(m).File(dir+"sst_in_progress", "").File(dir+".sst/ibdata1", "x")
		}, true, ""},
		{"the transfer was refused", func(m *hosttest.Machine) { rows(m).File(dir+".sst/ibdata1", "x") }, true, ""},
		{"it is being deleted", func(m *hosttest.Machine) {
			m.Dir(dir+"slurm_acct_db", dir+".gone").File(dir+"ibdata1", "x").File(dir+".sst/ibdata1", "x").File(dir+"sst_in_progress", "").
				File(dir+"grastate.dat", state(uuidA, "-1", "0"))
		}, false, uuidA},
		{"the copy is being moved to its place", func(m *hosttest.Machine) {
			rows(m).File(dir+"sst_in_progress", "").File(dir+".sst/backup-my.cnf", "x")
		}, false, ""},
		{"its transfer was cut off before anybody had put anything here", func(m *hosttest.Machine) {
			packaged(m).File(dir+"sst_in_progress", "").File(dir+"grastate.dat", state(noUUID, "-1", "0"))
		}, false, ""},
		{"what InnoDB says was found out", func(m *hosttest.Machine) {
			m.Dir(dir+"mysql", dir+"slurm_acct_db").File(dir+"sst_in_progress", "").
				File(dir+"grastate.dat", string(markFound([]byte(state(noUUID, "-1", "0")), gtid{uuidA, 12})))
		}, true, uuidA},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := hosttest.New("s1")
			tt.make(m)
			d := lookDisk(t.Context(), m, "/var/lib/mysql")
			if d.interrupted() != tt.whole || d.partial == tt.whole || d.goesTo().uuid != tt.identity {
				t.Errorf("%+v", d)
			}
			if d.state.seqno >= 0 || d.state.safe {
				t.Errorf("its position counts: %+v", d)
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
		"it never was a member": {noUUID + ":-1", gtid{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			m := packaged(machine("failed")).Dir("/var/lib/mysql/portal").
				File("/var/lib/mysql/grastate.dat", state(noUUID, "-1", "0"), host.Attr{Mode: 0o660, Owner: "mysql", Group: "mysql"})
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
	n.disk.state.uuid = ""
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

// What rsync had sent when it was cut off looks like the whole of it.
func TestWithRsyncAPartIsNotToldFromTheWhole(t *testing.T) {
	for method, want := range map[string]service.Answer{"mariabackup": service.Yes, "rsync": service.Unsure} {
		m := packaged(machine("failed")).Dir("/var/lib/mysql/portal").File("/var/lib/mysql/grastate.dat", state(noUUID, "-1", "0"))
		conf := config.MariaDBConfig{}
		conf.Galera.SSTMethod = method
		n := observe(t.Context(), service.Node{Spec: config.HostSpec{Hostname: "s1"}, Reader: m}, conf, false)
		if n.disk.data != want || n.unread() != (want == service.Yes) {
			t.Errorf("%s: %+v", method, n.disk)
		}
	}
}

// With rsync the data of before the cluster began anew is overwritten, not kept aside.
func TestWithRsyncDataThatMayBeMoreIsNotOverwritten(t *testing.T) {
	next := successor(uuidA, 20, "")
	for name, c := range map[string]struct {
		old   node
		joins bool
	}{
		"all of it is there":           {crashed("s2", 20, 5, 1, 2), true},
		"it goes further":              {crashed("s2", 21, 5, 1, 2), false},
		"nobody knows how far it goes": {crashed("s2", -1, 5, 1, 2), false},
	} {
		for _, method := range []string{"mariabackup", "rsync"} {
			joins := c.joins || method == "mariabackup"
			s := stateOf(live("s1", next), c.old)
			s.conf.Galera.SSTMethod = method
			if _, err := s.decide(auto); (err == nil) != joins {
				t.Errorf("%s, %s: up: %v", name, method, err)
			}
			p, err := s.Recover(auto)
			if err != nil || strings.Contains(outline(p), "start/s2") != joins {
				t.Errorf("%s, %s: recover: %v\n%s", name, method, err, outline(p))
			}
		}
	}
}
