package galera

import (
	"errors"
	"strings"
	"testing"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// A member whose return failed is no member that a person stopped: the agents bring it
// back once they can. What never was one is taken out again for good.
func TestAReturnThatFailedIsNotAPersonsStop(t *testing.T) {
	for name, c := range map[string]struct {
		from    origin
		forgets bool
	}{"a member": {returning, false}, "a new head": {fresh, true}} {
		t.Run(name, func(t *testing.T) {
			m := packaged(machine("failed")).Dir("/etc/mysql/mariadb.conf.d").
				Answer("systemctl show --timestamp=us+utc mariadb.service", "LoadState=loaded\nActiveState=failed\nUnitFileState=enabled\n")
			m.OnRun("systemctl", func(c host.Cmd) (string, error) {
				if c.Argv[1] == "start" {
					return "", errors.New("exit code 1")
				}
				return "", nil
			})
			_, err := join{Unit: plan.Running(unit), at: debian, from: c.from, donors: []string{"s2"}}.Do(t.Context(), m)
			if err == nil {
				t.Fatal("it joined")
			}
			last, stopped := "", false
			for _, ch := range m.Changes() {
				if s := ch.String(); strings.Contains(s, "systemctl start") || strings.Contains(s, "reset-failed") {
					last = s
				}
				stopped = stopped || strings.Contains(ch.String(), "systemctl stop")
			}
			if got := strings.Contains(last, "reset-failed"); got != c.forgets || !stopped {
				t.Errorf("%v", m.Changes())
			}
			if _, err := m.Stat(t.Context(), debian.joinFile()); err == nil {
				t.Error("its donor stays named")
			}
		})
	}
}

func TestAStoppedDatabaseSaysWhoStartsIt(t *testing.T) {
	for name, c := range map[string]struct {
		n    node
		says bool
	}{
		"stopped in order":          {byPerson("s1", 5), true},
		"it does not start at boot": {with(crashed("s1", 5, 0), func(n *node) { n.unit.enabled = false }), true},
		"it failed":                 {crashed("s1", -1, 5, 1, 2), false},
		"nobody asked":              {stopped("s1", uuidA, 5, true), false},
	} {
		if h := c.n.health(); h.State != service.Down || strings.Contains(h.Reason, "multihead up starts it") != c.says {
			t.Errorf("%s: %s", name, h.Reason)
		}
	}
}
