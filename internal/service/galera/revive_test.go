package galera

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/service"
)

func TestParseRecovered(t *testing.T) {
	tests := []struct {
		out   string
		seqno int64
		ok    bool
	}{
		{"--wsrep_start_position=" + uuidA + ":22\n", 22, true},
		{"--wsrep_start_position=" + uuidA + ":22,0-1-5\n", 22, true},
		{"--wsrep-start-position=" + uuidA + ":0\n", 0, true},
		{"--wsrep_start_position=" + noUUID + ":-1\n", 0, false},
		{"--wsrep_start_position=" + uuidA + ":-1\n", 0, false},
		{"\n", 0, false},
		{"", 0, false},
		{"--wsrep_start_position=" + uuidA + ":99999999999999999999\n", 0, false},
	}
	for _, tt := range tests {
		uuid, seqno, err := parseRecovered(tt.out)
		if (err == nil) != tt.ok || tt.ok && (uuid != uuidA || seqno != tt.seqno) {
			t.Errorf("%q: %s, %d, %v", tt.out, uuid, seqno, err)
		}
	}
}

func TestAPositionIsWrittenDownAsAnOrderlyStopWould(t *testing.T) {
	next := successor(uuidA, 20, "")
	tests := []struct {
		name   string
		active string
		before string
		finds  string
		after  saved
		kills  bool
		wrong  string
	}{
		{name: "it looks for the others", active: "activating", before: state(uuidA, "-1", "0"), finds: uuidA + ":22", after: saved{uuidA, 22, false}, kills: true},
		{name: "it has given up", active: "failed", before: state(uuidA, "-1", "0"), finds: uuidA + ":22", after: saved{uuidA, 22, false}},
		{name: "it runs without quorum", active: "active", before: state(uuidA, "-1", "1"), finds: uuidA + ":22", after: saved{uuidA, 22, true}, kills: true},
		{name: "it had not begun to write", active: "activating", before: state(uuidA, "9", "0"), finds: uuidA + ":22", after: saved{uuidA, 9, false}, kills: true},
		{name: "the cluster was to begin anew and did not get to it", active: "inactive", before: state(next, "-1", "1"), finds: uuidA + ":20", after: saved{next, 20, true}},
		{name: "the data is of another cluster than the file", active: "inactive", before: state(uuidB, "-1", "0"), finds: uuidA + ":22", after: saved{uuidB, -1, false}, wrong: "for a person to say"},
		{name: "the data went further than where the new identity begins", active: "inactive", before: state(next, "-1", "0"), finds: uuidA + ":22", after: saved{next, -1, false}, wrong: "for a person to say"},
		{name: "nothing is found", active: "inactive", before: state(uuidA, "-1", "0"), finds: noUUID + ":-1", after: saved{uuidA, -1, false}, wrong: "part of a copy"},
		{name: "somebody is stopping it", active: "deactivating", before: state(uuidA, "-1", "0"), finds: uuidA + ":22", after: saved{uuidA, -1, false}, wrong: "run again"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := packaged(machine(tt.active)).Dir("/var/lib/mysql/portal").
				File("/var/lib/mysql/grastate.dat", tt.before, host.Attr{Mode: 0o660, Owner: "mysql", Group: "mysql"}).
				File("/var/lib/mysql/gvwstate.dat", seen(who(1, 1), 5, who(1, 1), who(2, 1)))
			m.OnRun("systemd-run", func(host.Cmd) (string, error) { return "--wsrep_start_position=" + tt.finds + "\n", nil })
			_, err := position{at: debian}.Do(t.Context(), m)
			if (err == nil) != (tt.wrong == "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
				t.Fatalf("error %v, want one with %q", err, tt.wrong)
			}
			raw, err := m.ReadFile(t.Context(), "/var/lib/mysql/grastate.dat")
			if s, perr := parseSaved(raw); err != nil || perr != nil || s != tt.after {
				t.Errorf("%s", raw)
			}
			if info, err := m.Stat(t.Context(), "/var/lib/mysql/grastate.dat"); err != nil || info.Owner != "mysql" || info.Mode.Perm() != 0o660 {
				t.Errorf("%+v %v", info, err)
			}
			if ran(m, "SIGKILL") != tt.kills {
				t.Errorf("changes: %v", m.Changes())
			}
			if d := lookDisk(t.Context(), m, debian.dataDir); !d.last.known() {
				t.Error("whom it saw last is forgotten")
			}
			if tt.wrong == "" && ran(m, "reset-failed") {
				t.Error("it looks as if a person had stopped it")
			}
		})
	}
}

// What is left of a daemon that was frozen with its socket open: it is taken by
// the kernel and never answered.
func TestADaemonThatTakesConnectionsAndSaysNothingHangs(t *testing.T) {
	frozen := func(m *hosttest.Machine) {
		m.File("/sys/fs/cgroup/system.slice/"+unit+"/cgroup.procs", "77\n").File("/proc/77/stat", "77 (mariadbd) T 1 77 77 0")
	}
	for name, tt := range map[string]struct {
		make func(*hosttest.Machine)
		hung bool
	}{
		"frozen":                          {frozen, true},
		"frozen, and it is sent all data": {func(m *hosttest.Machine) { frozen(m); m.File("/var/lib/mysql/sst_in_progress", "") }, false},
		"silent, as on a busy disk":       {func(*hosttest.Machine) {}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := packaged(machine("active")).File(debian.pidFile, "7")
				m.OnDial("unix", debian.socket, func(context.Context) (net.Conn, error) {
					near, far := net.Pipe()
					t.Cleanup(func() { _ = far.Close() })
					return near, nil
				})
				tt.make(m)
				n := head("s1")
				begin := time.Now()
				n.look(t.Context(), m, config.Secret{}, true)
				if took := time.Since(begin); took > 2*time.Second {
					t.Errorf("a brief look takes %s, and an agent has two seconds", took)
				}
				if n.hung != tt.hung || n.stands != unasked {
					t.Errorf("%+v", n)
				}
				if h := n.health(); len(h.Hung) > 0 != tt.hung || h.State != service.Unknown {
					t.Errorf("%+v", h)
				}
			})
		})
	}
}

func TestAUnitThatAPersonStopped(t *testing.T) {
	say := func(result, file, up string) string {
		return "Result=" + result + "\nUnitFileState=" + file + "\nActiveEnterTimestampMonotonic=" + up + "\n"
	}
	tests := []struct {
		name, said string
		parked     bool
	}{
		{"it was up and was stopped in order", say("success", "enabled", "25283120984"), true},
		{"it was up and was killed", say("signal", "enabled", "25283120984"), false},
		{"it was up and failed", say("exit-code", "enabled", "25283120984"), false},
		{"it never was up since the host booted", say("success", "enabled", "0"), false},
		{"it does not start at boot", say("success", "disabled", "0"), true},
		{"systemd says nothing", "", true},
	}
	for _, tt := range tests {
		m := hosttest.New("s1").Answer("systemctl show mariadb.service", tt.said)
		n := node{stands: off, unit: lookJob(t.Context(), m)}
		if n.parked() != tt.parked {
			t.Errorf("%s: %+v", tt.name, n.unit)
		}
	}
}
