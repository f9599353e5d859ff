package upgrade

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"multihead/internal/host/hosttest"
	"multihead/internal/plan"
	"multihead/internal/service/agentd"
)

const installed = "ii \tredis-server\t5:8.0.2-3\tredis\n" +
	"ii \tredis-tools\t5:8.0.2-3\tredis\n" +
	"ii \tlibjemalloc2\t5.3.0-1\tjemalloc\n" +
	"hi \tkeepalived\t1:2.3.3-1\tkeepalived\n" +
	"iF \tchrony\t4.6-1\tchrony\n" +
	"rc \tmunge\t0.5\tmunge\n"

const policy = `redis-server:
  Installed: 5:8.0.2-3
  Candidate: 5:8.0.2-3+deb13u1
  Version table:
     5:8.0.2-3+deb13u1 500
        500 file:/srv/newer ./ Packages
 *** 5:8.0.2-3 100
        100 /var/lib/dpkg/status
redis-tools:
  Installed: 5:8.0.2-3
  Candidate: 5:8.0.2-3+deb13u1
keepalived:
  Installed: 1:2.3.3-1
  Candidate: 1:2.3.4-1
chrony:
  Installed: 4.6-1
  Candidate: 4.6-1
`

func machine() *hosttest.Machine {
	m := hosttest.New("server1")
	m.Answer("dpkg-query", installed).Answer("apt-cache policy chrony keepalived redis-server redis-tools", policy)
	m.Answer("systemctl list-units", "")
	return m
}

func TestWhatIsUpgradedIsOursAndNewer(t *testing.T) {
	wanted := map[string]string{"redis-server": "redis", "keepalived": "keepalived", "chrony": "prepare", "munge": "prepare"}
	for _, tt := range []struct {
		name          string
		offers        map[string]string
		changes, held []string
	}{
		{name: "the hosts' own sources",
			changes: []string{"chrony 4.6-1 (there by half)", "redis-server 5:8.0.2-3 → 5:8.0.2-3+deb13u1", "redis-tools 5:8.0.2-3 → 5:8.0.2-3+deb13u1"},
			held:    []string{"keepalived 1:2.3.3-1 → 1:2.3.4-1"}},
		{name: "a bundle, some of it older, some of it for others", offers: map[string]string{"redis-tools": "5:8.0.2-4", "redis-server": "5:8.0.1-1", "libjemalloc2": "6", "chrony": "4.6-2", "munge": "1"},
			changes: []string{"chrony 4.6-1 → 4.6-2", "redis-tools 5:8.0.2-3 → 5:8.0.2-4"}},
		{name: "a bundle without any of it", offers: map[string]string{}, changes: []string{"chrony 4.6-1 (there by half)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, err := look(t.Context(), machine(), wanted, tt.offers)
			if err != nil {
				t.Fatal(err)
			}
			var changes []string
			for _, c := range f.Changes {
				changes = append(changes, c.String())
			}
			if !slices.Equal(changes, tt.changes) || !slices.Equal(f.Held, tt.held) {
				t.Errorf("changes %q, held %q", changes, f.Held)
			}
			for _, c := range f.Changes {
				if strings.HasPrefix(c.Name, "redis") && f.Phase[c.Name] != "redis" {
					t.Errorf("%s belongs to %q", c.Name, f.Phase[c.Name])
				}
			}
		})
	}
}

func TestADaemonOlderThanItsPackageIsFound(t *testing.T) {
	m := hosttest.New("server1")
	m.Answer("dpkg-query", "ii \tgarbd\t1\tgarbd\nii \tredis-sentinel\t1\tredis\n").Answer("apt-cache", "")
	m.File("/var/lib/dpkg/info/garbd.list", "/.\n/usr/lib/systemd/system/garb.service\n")
	m.File("/var/lib/dpkg/info/redis-sentinel.list", "/lib/systemd/system/redis-sentinel@.service\n")
	m.Answer("systemctl list-units --plain --no-legend --state=running garb.service redis-sentinel@*.service",
		"garb.service loaded active running Garbd\nredis-sentinel@26379.service loaded active running Sentinel\n")
	state := func(at string) string {
		return "LoadState=loaded\nActiveState=active\nExecMainStartTimestamp=" + at + "\n"
	}
	m.Answer("systemctl show --timestamp=us+utc garb.service", state("Mon 2001-01-01 00:00:00.000000 UTC"))
	m.Answer("systemctl show --timestamp=us+utc redis-sentinel@26379.service", state("Mon 2091-01-01 00:00:00.000000 UTC"))
	f, err := look(t.Context(), m, map[string]string{"garbd": "mariadb", "redis-sentinel": "redis"}, map[string]string{})
	want := []Unit{{"garb.service", "garbd", true}, {"redis-sentinel@26379.service", "redis-sentinel", false}}
	if err != nil || !slices.Equal(f.Units, want) {
		t.Errorf("%+v, %v", f.Units, err)
	}
	if !f.needs() || f.rests() {
		t.Error("a restart needs no maintenance, and is needed")
	}
}

func TestOnlyAnUpgradesOwnMaintenanceIsGoneOnWith(t *testing.T) {
	for reason, want := range map[string]bool{Reason: true, "new memory": false, "": false} {
		m := machine()
		a, err := agentd.Enter(agentd.Maintenance{Until: later(), Reason: reason, Start: []string{"mariadb.service"}})
		if err != nil {
			t.Fatal(err)
		}
		m.Dir(agentd.Dir)
		if _, err := a.Do(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		f, err := look(t.Context(), m, nil, map[string]string{})
		if err != nil || (f.Begun != nil) != want {
			t.Errorf("%q: %+v, %v", reason, f.Begun, err)
		}
	}
}

func TestPackagesOfTheSameSourceGoTogether(t *testing.T) {
	have := map[string]plan.Installed{"mariadb-server": {Source: "mariadb"}, "libmariadb3": {Source: "mariadb"}, "libc6": {Source: "glibc"}, "redis-server": {Source: "redis"}}
	got := related(have, map[string]string{"mariadb-server": "mariadb", "galera-4": "mariadb"})
	if want := map[string]string{"mariadb-server": "mariadb", "libmariadb3": "mariadb"}; !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func FuzzPolicyIsRead(f *testing.F) {
	f.Add(policy)
	f.Fuzz(func(t *testing.T, text string) {
		for name, version := range parsePolicy(text) {
			if name == "" || version == "(none)" {
				t.Errorf("%q: %q", name, version)
			}
		}
	})
}
