package galera

import (
	"context"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"

	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/service"
)

// machine is a head whose daemon is in the given state and whose socket
// nobody listens on.
func machine(active string) *hosttest.Machine {
	ok := func(host.Cmd) (string, error) { return "", nil }
	m := hosttest.New("s1").Dir("/var/lib/dpkg").File("/var/lib/dpkg/status", "")
	m.Answer("systemctl show mariadb.service", active+"\n").Answer("journalctl", "")
	m.OnDial("unix", debian.socket, func(context.Context) (net.Conn, error) { return nil, syscall.ECONNREFUSED })
	m.OnRun("systemctl", ok).OnRun("galera_new_cluster", ok)
	m.OnRun("mysql_install_db", func(host.Cmd) (string, error) {
		m.Dir("/var/lib/mysql/mysql")
		return "", nil
	})
	return m
}

func ran(m *hosttest.Machine, what string) bool {
	return slices.ContainsFunc(m.Changes(), func(c hosttest.Change) bool { return strings.Contains(c.String(), what) })
}

func TestBeginLooksAgain(t *testing.T) {
	here := disk{data: service.Yes, hasState: true, state: saved{uuidA, 9, true}}
	tests := []struct {
		name   string
		active string
		make   func(m *hosttest.Machine)
		action begin
		wrong  string
	}{
		{"bare", "inactive", func(m *hosttest.Machine) { packaged(m) }, begin{from: fresh, was: disk{data: service.No}}, ""},
		{"data came since", "inactive", func(m *hosttest.Machine) { packaged(m).Dir("/var/lib/mysql/portal") }, begin{from: fresh, was: disk{data: service.No}}, "has changed"},
		{"it became part of a cluster since", "inactive", func(m *hosttest.Machine) {
			packaged(m).File("/var/lib/mysql/grastate.dat", state(uuidB, "3", "1"))
		}, begin{from: fresh, was: disk{data: service.No}}, "has changed"},
		{"it runs by now", "active", func(m *hosttest.Machine) { packaged(m) }, begin{from: fresh, was: disk{data: service.No}}, "is active since"},
		{"it starts by now", "activating", func(m *hosttest.Machine) { packaged(m) }, begin{from: fresh, was: disk{data: service.No}}, "is activating since"},
		{"stopped in order", "inactive", func(m *hosttest.Machine) {
			packaged(m).File("/var/lib/mysql/grastate.dat", state(uuidA, "9", "1"))
		}, begin{from: returning, was: here}, ""},
		{"it was started and stopped since", "inactive", func(m *hosttest.Machine) {
			packaged(m).File("/var/lib/mysql/grastate.dat", state(uuidA, "12", "1"))
		}, begin{from: returning, was: here}, "has changed"},
		{"its grastate.dat cannot be read", "inactive", func(m *hosttest.Machine) {
			packaged(m).File("/var/lib/mysql/grastate.dat", "")
		}, begin{from: returning, was: here}, "missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := machine(tt.active)
			tt.make(m)
			tt.action.at = debian
			_, err := tt.action.Do(t.Context(), m)
			if (err == nil) != (tt.wrong == "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("error %v, want one with %q", err, tt.wrong)
			}
			if ran(m, "galera_new_cluster") != (tt.wrong == "") {
				t.Errorf("changes: %v", m.Changes())
			}
		})
	}
}

func TestBeginFromANodeThatDidNotStopLastSetsItsFlag(t *testing.T) {
	m := packaged(machine("inactive")).File("/var/lib/mysql/grastate.dat", state(uuidA, "9", "0"), host.Attr{Mode: 0o660, Owner: "mysql", Group: "mysql"})
	b := begin{at: debian, from: returning, was: disk{data: service.Yes, state: saved{uuidA, 9, false}}}
	if _, err := b.Do(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	raw, err := m.ReadFile(t.Context(), "/var/lib/mysql/grastate.dat")
	if s, perr := parseSaved(raw); err != nil || perr != nil || s != (saved{uuidA, 9, true}) {
		t.Errorf("%s", raw)
	}
	if info, err := m.Stat(t.Context(), "/var/lib/mysql/grastate.dat"); err != nil || info.Owner != "mysql" || info.Mode.Perm() != 0o660 {
		t.Errorf("%+v %v", info, err)
	}
}

// Taking a node back out keeps what came into it, and leaves an empty data
// directory, so that the next run sees a bare head again.
func TestLeaveKeepsWhatCameAside(t *testing.T) {
	m := packaged(machine("inactive")).Dir("/var/lib/mysql/portal").File("/var/lib/mysql/portal/users.ibd", "rows").
		File("/var/lib/mysql/grastate.dat", state(uuidA, "9", "1"))
	if _, err := (leave{at: debian, from: fresh}).Do(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(m.Tree(), func(l string) bool {
		return strings.HasPrefix(l, "/var/lib/mysql.undone-") && strings.Contains(l, "/portal/users.ibd") && strings.Contains(l, "rows")
	}) {
		t.Error("what came into the node is gone")
	}
	if d := lookDisk(t.Context(), m, debian.dataDir); d.data != service.No {
		t.Errorf("afterwards: %+v", d)
	}
	if _, err := m.Stat(t.Context(), "/var/lib/mysql/debian-11.8.flag"); err != nil {
		t.Error("the package's mark of its version is gone")
	}
}

func TestLeaveBeforeAnythingCameTakesItsTracesAway(t *testing.T) {
	m := packaged(machine("inactive")).File("/var/lib/mysql/grastate.dat", state(noUUID, "-1", "0")).File("/var/lib/mysql/galera.cache", "x")
	if _, err := (leave{at: debian, from: fresh}).Do(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	for _, l := range m.Tree() {
		if strings.Contains(l, "undone") || strings.Contains(l, "grastate") || strings.Contains(l, "galera.cache") {
			t.Error(l)
		}
	}
}

func TestLeaveOfAServerThatWasThereKeepsItsData(t *testing.T) {
	m := packaged(machine("inactive")).File("/var/lib/mysql/portal/users.ibd", "rows").File("/var/lib/mysql/grastate.dat", state(uuidA, "9", "1"))
	if _, err := (leave{at: debian, from: adopted}).Do(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Stat(t.Context(), "/var/lib/mysql/portal/users.ibd"); err != nil {
		t.Error("its data was moved")
	}
	if _, err := m.Stat(t.Context(), "/var/lib/mysql/grastate.dat"); err == nil {
		t.Error("it would be taken for a member of a cluster that was undone")
	}
	if ran(m, "mysql_install_db") {
		t.Error("a new data directory was made")
	}
}
