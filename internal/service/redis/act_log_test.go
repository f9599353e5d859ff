package redis

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"path"
	"slices"
	"strings"
	"testing"

	"multihead/internal/config"
	"multihead/internal/host/hosttest"
	"multihead/internal/service"
)

// talk has a server behind an address that answers each command with what answer says.
func talk(m *hosttest.Machine, addr string, answer func(cmd []string) string) {
	m.OnDial("tcp", addr, func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		in := make(chan []string, 1024)
		go func() { // what comes is taken in while an answer is on its way, as a socket does
			defer close(in)
			r := bufio.NewReader(theirs)
			for {
				v, err := readReply(r, 0)
				if err != nil {
					return
				}
				cmd, _ := words(v)
				in <- cmd
			}
		}()
		go func() {
			defer theirs.Close()
			for cmd := range in {
				if _, err := theirs.Write([]byte(answer(cmd))); err != nil {
					return
				}
			}
		}()
		return ours, nil
	})
}

func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

func list(words ...string) string {
	out := fmt.Sprintf("*%d\r\n", len(words))
	for _, w := range words {
		out += bulk(w)
	}
	return out
}

// keeping is a server that keeps its keys on disk in one way or the other.
type keeping struct {
	m        *hosttest.Machine
	log      bool
	save     string
	file     string // its config_file
	writing  int    // questions until what it writes is complete
	bgsave   string // outcome of the next snapshot
	snapshot bool   // it is writing one
	said     []string
}

func (k *keeping) answer(cmd []string) string {
	if cmd[0] != "INFO" && cmd[0] != "AUTH" && !(cmd[0] == "CONFIG" && cmd[1] == "GET") {
		settings, _ := k.m.ReadFile(context.Background(), "/etc/redis/multihead-6379.conf")
		k.said = append(k.said, fmt.Sprintf("%s (file %s)", strings.Join(cmd, " "), yesNo(keepsLog(settings, false))))
	}
	switch {
	case cmd[0] == "INFO":
		busy := map[bool]string{false: "0", true: "1"}[k.writing > 0]
		rdb, aof := "0", busy
		if k.snapshot {
			rdb, aof = busy, "0"
		}
		if k.writing > 0 {
			k.writing--
		}
		return bulk(fmt.Sprintf("config_file:%s\r\nloading:0\r\naof_enabled:%s\r\naof_rewrite_in_progress:%s\r\naof_rewrite_scheduled:0\r\n"+
			"aof_last_bgrewrite_status:ok\r\naof_last_write_status:ok\r\nrdb_bgsave_in_progress:%s\r\nrdb_last_bgsave_status:%s\r\nrole:master\r\n",
			k.file, map[bool]string{false: "0", true: "1"}[k.log], aof, rdb, k.bgsave))
	case cmd[0] == "BGSAVE":
		k.snapshot, k.writing = true, 2
	case cmd[0] == "CONFIG" && cmd[1] == "GET":
		have := map[string]string{"save": k.save, "appendonly": yesNo(k.log)}
		var out []string
		for _, name := range cmd[2:] {
			out = append(out, name, have[name])
		}
		return list(out...)
	case cmd[0] == "CONFIG" && cmd[1] == "SET":
		for n := 2; n+1 < len(cmd); n += 2 {
			switch cmd[n] {
			case "appendonly":
				if on := cmd[n+1] == "yes"; on != k.log {
					k.log, k.snapshot = on, false
					if on {
						k.writing = 2
					}
				}
			case "save":
				k.save = cmd[n+1]
			}
		}
	}
	return "+OK\r\n"
}

func newKeeping(log bool) *keeping {
	i := lab(1).heads[0].servers[0].at
	k := &keeping{m: hosttest.New("server1"), log: log, file: i.StateFile(), bgsave: "ok", save: map[bool]string{false: "3600 1", true: ""}[log]}
	k.m.File(i.settingsFile(), "port 6379\nappendonly "+yesNo(log)+"\n").File(i.StateFile(), string(stateText(i)))
	talk(k.m, i.local(), k.answer)
	return k
}

// settingsOf is the step that writes the settings of the first head's first server.
func settingsOf(log bool) settingsStep {
	w := lab(1).wanted
	w.conf.AppendOnly = log
	i := lab(1).heads[0].servers[0].at
	return settingsStep{File: secretFile(i.settingsFile(), w.settingsText(i, modeStandalone, 1)), at: i, password: w.conf.Password,
		log: log, save: setting{Value: w.save()}.plain()}
}

func (k *keeping) written(t *testing.T) bool {
	t.Helper()
	b, err := k.m.ReadFile(t.Context(), "/etc/redis/multihead-6379.conf")
	if err != nil {
		t.Fatal(err)
	}
	return keepsLog(b, false)
}

func TestARunningServerIsChangedBeforeItsFile(t *testing.T) {
	const points = "3600 1 300 100 60 10000"
	for _, tt := range []struct {
		name string
		log  bool // what it does and its file says
		live bool // it has been told already by a run that was cut off
		want []string
		back []string
	}{
		{"an append-only file is begun", false, false, []string{"CONFIG SET appendonly yes (file no)"},
			[]string{"BGSAVE (file yes)", "CONFIG SET save 3600 1 appendonly no (file yes)"}},
		{"it was begun, and the run was cut off", false, true, []string{"CONFIG SET appendonly yes (file no)"}, nil},
		{"it is ended, after a snapshot", true, false, []string{"BGSAVE (file yes)", "CONFIG SET save " + points + " appendonly no (file yes)"},
			[]string{"CONFIG SET appendonly yes (file no)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKeeping(tt.log)
			if tt.live {
				k.log, k.writing = !tt.log, 3
			}
			early := false
			k.m.Before(func(op, path string) error {
				early = early || op == "write" && strings.Contains(path, "multihead-") && k.writing > 0
				return nil
			})
			undo, err := settingsOf(!tt.log).Do(t.Context(), k.m)
			if err != nil || !slices.Equal(k.said, tt.want) || k.written(t) == tt.log || k.log == tt.log || early {
				t.Fatalf("%v: said %q, file %v, server %v, written before it was complete: %v", err, k.said, k.written(t), k.log, early)
			}
			if tt.back == nil {
				return
			}
			k.said = nil
			if _, err := undo.Do(t.Context(), k.m); err != nil || !slices.Equal(k.said, tt.back) || k.written(t) != tt.log || k.log != tt.log || early {
				t.Errorf("the way back: %v: said %q, file %v, server %v, early %v", err, k.said, k.written(t), k.log, early)
			}
		})
	}
}

func TestTheFileStaysWhereTheServerCannotFollow(t *testing.T) {
	k := newKeeping(true)
	k.bgsave = "err"
	if _, err := settingsOf(false).Do(t.Context(), k.m); err == nil || !strings.Contains(err.Error(), "disk full") || !k.written(t) || !k.log {
		t.Errorf("%v, file %v, server %v", err, k.written(t), k.log)
	}
	k = newKeeping(false)
	undo, err := settingsOf(true).Do(t.Context(), k.m)
	if err != nil {
		t.Fatal(err)
	}
	k.bgsave = "err"
	if _, err := undo.Do(t.Context(), k.m); err == nil || !k.written(t) || !k.log {
		t.Errorf("the way back: %v, file %v, server %v", err, k.written(t), k.log)
	}
}

func TestSettingsThatSayTheSameOfTheLogAskNobody(t *testing.T) {
	k := newKeeping(true)
	if _, err := settingsOf(true).Do(t.Context(), k.m); err != nil || len(k.said) > 0 || !k.written(t) {
		t.Errorf("%v %q", err, k.said)
	}
	m := hosttest.New("server1").Dir(confRoot) // a new server
	if _, err := settingsOf(true).Do(t.Context(), m); err != nil {
		t.Error(err)
	}
}

func TestTheSettingsOfAServerThatHasStoppedAreNotTurned(t *testing.T) {
	i := lab(1).heads[0].servers[0].at
	empty, _ := hex.DecodeString(emptyRDB)
	full := string(empty[:len(empty)-9]) + "\xfe\x00\xfb\x01\x00"
	for _, keys := range []bool{true, false} {
		m := hosttest.New("server1").File(i.settingsFile(), "appendonly no\n").File(i.StateFile(), string(stateText(i)))
		m.File("/var/lib/redis/dump.rdb", map[bool]string{true: full, false: string(empty)}[keys])
		_, err := settingsOf(true).Do(t.Context(), m)
		b, _ := m.ReadFile(t.Context(), i.settingsFile())
		if (err != nil) != keys || keepsLog(b, false) == keys {
			t.Errorf("keys %v: %v", keys, err)
		}
	}
}

// What is put in force is written down by the server itself where it has a file of its
// own: not before the append-only file is complete.
func TestInForceRemembersACompleteLog(t *testing.T) {
	i := lab(1).heads[0].servers[0].at
	k := newKeeping(false)
	k.m.File(i.StateFile(), string(stateText(i))+"appendonly no\n")
	talk(k.m, i.local(), func(cmd []string) string {
		if cmd[0] == "CONFIG" && cmd[1] == "REWRITE" && k.writing > 0 {
			t.Error("it is written down that the append-only file counts, and it is not complete")
		}
		return k.answer(cmd)
	})
	want := []setting{{Name: "appendonly", Value: "yes", Live: true}, {Name: "save", Value: `""`, Live: true}}
	undo, err := inForce(i, want, config.NewSecret("pw")).Do(t.Context(), k.m)
	if err != nil || !k.log || k.save != "" || !strings.HasPrefix(k.said[len(k.said)-1], "CONFIG REWRITE") {
		t.Fatalf("%v: %q, %+v", err, k.said, k)
	}
	k.said = nil
	if _, err := undo.Do(t.Context(), k.m); err != nil || k.log || k.save != "3600 1" || !strings.HasPrefix(k.said[0], "BGSAVE") {
		t.Errorf("the way back: %v: %q", err, k.said)
	}
}

func TestANodeIsNotRestartedWithoutItsKeys(t *testing.T) {
	i := lab(1).heads[0].servers[0].at
	k := newKeeping(true)
	k.m.File(i.settingsFile(), "appendonly no\n")
	err := restartAsNode(t.Context(), k.m, i, config.NewSecret("pw"))
	if err == nil || !strings.Contains(err.Error(), "would not have its keys") || len(k.m.Changes()) > 0 {
		t.Errorf("%v, %v", err, k.m.Changes())
	}
	m := hosttest.New("server1").File(i.settingsFile(), "appendonly yes\n").File(i.StateFile(), string(stateText(i))+"appendonly no\n")
	m.File("/var/lib/redis/dump.rdb", strings.Repeat("x", smallSnapshot+1))
	err = restartAsNode(t.Context(), m, i, config.NewSecret("pw"))
	if err == nil || !strings.Contains(err.Error(), "snapshot alone") || len(m.Changes()) > 0 {
		t.Errorf("stopped: %v, %v", err, m.Changes())
	}
}

func TestTheWayBackFromADirectoryLeavesWhatWasThere(t *testing.T) {
	i := lab(1).heads[0].servers[1].at
	keys := strings.Repeat("x", smallSnapshot+1)
	for _, tt := range []struct {
		name   string
		before string // a file that is there
	}{{"nothing was there", ""}, {"a snapshot", "dump.rdb"}, {"nodes", i.nodeFile()}, {"a log", "appendonlydir/appendonly.aof.1.incr.aof"}} {
		m := hosttest.New("server1").Dir(dataRoot)
		if tt.before != "" {
			m.File(path.Join(i.dir(), tt.before), keys) // in a directory that is root's
		}
		undo, err := dataDir(i).Do(t.Context(), m)
		if err != nil {
			t.Fatal(tt.name, err)
		}
		if tt.before == "" {
			m.File(path.Join(i.dir(), "dump.rdb"), keys)
		}
		_, err = undo.Do(t.Context(), m)
		_, aside := m.Stat(t.Context(), i.aside()+"-1")
		if err != nil || (aside == nil) != (tt.before == "") {
			t.Errorf("%s: kept aside %v, %v", tt.name, aside == nil, err)
		}
		if tt.before != "" {
			if _, err := m.Stat(t.Context(), path.Join(i.dir(), tt.before)); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
	}
}

func TestUnread(t *testing.T) {
	keys := disk{data: service.Yes}
	with := func(change func(*disk)) disk { d := keys; change(&d); return d }
	for _, tt := range []struct {
		name    string
		d       disk
		yes, no bool // it would not have its keys with a log, without
		as      service.Answer
	}{
		{"no keys", disk{data: no, rdb: true}, false, false, unsure},
		{"a snapshot alone", with(func(d *disk) { d.rdb, d.log = true, no }), true, false, no},
		{"a snapshot alone, its settings written too early", with(func(d *disk) { d.rdb, d.log = true, service.Yes }), true, false, no},
		{"a log alone", with(func(d *disk) { d.manifest, d.log = true, service.Yes }), false, true, service.Yes},
		{"a log alone, its settings written too early", with(func(d *disk) { d.manifest, d.log = true, no }), false, true, service.Yes},
		{"a log and an old snapshot", with(func(d *disk) { d.manifest, d.rdb, d.log = true, true, service.Yes }), false, true, service.Yes},
		{"a snapshot and an old log", with(func(d *disk) { d.manifest, d.rdb, d.log = true, true, no }), true, false, no},
		{"both, nothing written down", with(func(d *disk) { d.manifest, d.rdb = true, true }), true, true, unsure},
		{"parts of a log", keys, true, true, unsure},
		{"it cannot be seen", disk{why: "permission denied"}, true, true, unsure},
		{"its keys cannot be seen", disk{why: "garbage", log: no}, true, false, no},
	} {
		y, as := tt.d.unread(true)
		n, _ := tt.d.unread(false)
		if (y != "") != tt.yes || (n != "") != tt.no || tt.d.data != no && as != tt.as {
			t.Errorf("%s: with a log %q, without %q, as %v", tt.name, y, n, as)
		}
	}
}

func TestLookDiskSeesWhatAServerWouldRead(t *testing.T) {
	i := lab(1).heads[0].servers[0].at
	const log = "/var/lib/redis/appendonlydir/appendonly.aof"
	state := string(stateText(i))
	for _, tt := range []struct {
		name     string
		files    map[string]string
		log      service.Answer
		manifest bool
	}{
		{"nothing", nil, unsure, false},
		{"the settings say yes", map[string]string{i.StateFile(): state, i.settingsFile(): "appendonly yes\n"}, service.Yes, false},
		{"the settings say no", map[string]string{i.StateFile(): state, i.settingsFile(): "appendonly no\n"}, no, false},
		{"its own file outweighs them", map[string]string{i.StateFile(): state + "appendonly no\n", i.settingsFile(): "appendonly yes\n"}, no, false},
		{"its own file does not include them", map[string]string{i.StateFile(): "port 6379\n", i.settingsFile(): "appendonly yes\n"}, no, false},
		{"the settings are gone", map[string]string{i.StateFile(): state}, unsure, false},
		{"a log that is not complete yet", map[string]string{log + ".1.incr.aof": "x", i.StateFile(): state, i.settingsFile(): "appendonly no\n"}, no, false},
		{"a log", map[string]string{log + ".1.incr.aof": "x", log + ".manifest": "x", i.StateFile(): state, i.settingsFile(): "appendonly yes\n"}, service.Yes, true},
	} {
		m := hosttest.New("server1")
		for name, content := range tt.files {
			m.File(name, content)
		}
		if d := lookDisk(t.Context(), m, i); d.log != tt.log || d.manifest != tt.manifest {
			t.Errorf("%s: %+v", tt.name, d)
		}
	}
}

func TestAppendonlyOfTheClusterFile(t *testing.T) {
	stopped := func(s *State, n, k int, d disk) {
		sv := &s.heads[n-1].servers[k]
		d.data, d.nodes = service.Yes, sv.view()
		*sv = server{at: sv.at, answer: absent, managed: true, disk: d}
	}
	formed := func(log bool) *State {
		s := lab(3)
		s.cluster([]int{1, 2, 3}, nil)
		s.wanted.conf.AppendOnly = log
		return s
	}
	for _, tt := range []struct {
		name    string
		state   *State
		intent  service.Intent
		refused string
		remedy  string
	}{
		{"a running cluster is changed live", formed(false), service.Intent{}, "", ""},
		{"a stopped copy, nothing changed", func() *State {
			s := formed(true)
			stopped(s, 3, 1, disk{manifest: true, rdb: true, log: service.Yes})
			return s
		}(), service.Intent{}, "", ""},
		{"a stopped copy has a log, and none is wanted", func() *State {
			s := formed(false)
			stopped(s, 3, 1, disk{manifest: true, rdb: true, log: service.Yes})
			return s
		}(), service.Intent{}, "server3:6380 is stopped", "appendonly: true"},
		{"a stopped server has a snapshot, and a log is wanted", func() *State {
			s := formed(true)
			stopped(s, 3, 1, disk{rdb: true, log: no})
			return s
		}(), service.Intent{}, "snapshot alone", "appendonly: false"},
		{"the same, and an old log", func() *State {
			s := formed(true)
			stopped(s, 3, 1, disk{rdb: true, manifest: true, log: no})
			return s
		}(), service.Intent{}, "used the other one last", "appendonly: false"},
		{"the same on a head that is left alone", func() *State {
			s := formed(true)
			stopped(s, 3, 1, disk{rdb: true, log: no})
			return s
		}(), service.Intent{Nodes: []string{"server1"}}, "", ""},
		{"a pair becomes a cluster", func() *State { s := lab(3); s.pair(5); return s }(), service.Intent{}, "", ""},
		{"a pair becomes a cluster, and ends its log with it", func() *State {
			s := lab(3)
			s.pair(5)
			s.wanted.conf.AppendOnly = false
			return s
		}(), service.Intent{}, "become a node", "appendonly: true"},
		{"a stopped server becomes a cluster, and begins a log with it", func() *State {
			s := lab(3)
			s.alone(1, 5, true)
			stopped(s, 1, 0, disk{rdb: true, log: no})
			return s
		}(), service.Intent{}, "snapshot alone", "appendonly: false"},
		{"a pair stays one, and ends its log", func() *State {
			s := lab(2)
			s.pair(5)
			s.wanted.conf.AppendOnly = false
			return s
		}(), service.Intent{}, "", ""},
		{"a server set up by hand without a log is taken over with one", func() *State {
			s := lab(3)
			s.alone(2, 7, false).info["aof_enabled"] = "0"
			return s
		}(), service.Intent{}, "", ""},
	} {
		tt.intent.Mode = service.Auto
		_, err := tt.state.Plan(tt.intent)
		var r *service.Refusal
		switch {
		case tt.refused == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.refused != "" && (!errors.As(err, &r) || !strings.Contains(r.Reason, tt.refused) || !strings.Contains(r.Remedy, tt.remedy)):
			t.Errorf("%s: %v, want a refusal with %q, %q", tt.name, err, tt.refused, tt.remedy)
		}
	}
}
