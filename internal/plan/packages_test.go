package plan

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"multihead/internal/host"
	"multihead/internal/host/hosttest"
)

// debian is a machine whose dpkg knows these packages. An installation brings
// those that it was asked for and the ones in brings.
func debian(have map[string]string, brings ...string) (*hosttest.Machine, map[string]string) {
	m := hosttest.New("s1").Dir("/etc", "/usr/sbin")
	list := func(host.Cmd) (string, error) {
		var out strings.Builder
		for _, n := range slices.Sorted(maps.Keys(have)) {
			fmt.Fprintf(&out, "%-3s %s\n", have[n], n)
		}
		return out.String(), nil
	}
	ok := func(host.Cmd) (string, error) { return "", nil }
	m.OnQuery("dpkg-query", list).OnRun("dpkg --configure", ok).OnRun("dpkg --remove", ok).OnRun("dpkg --purge", ok)
	m.OnQuery("getent", func(host.Cmd) (string, error) { return "", hosttest.Exit(2, "") })
	m.OnRun("apt-get", func(cmd host.Cmd) (string, error) {
		at := slices.Index(cmd.Argv, "install")
		for _, n := range append(slices.Clone(cmd.Argv[at+1:]), brings...) {
			have[n] = "ii"
		}
		return "", nil
	})
	return m, have
}

// ran lists the commands that were run and begin with these words, less the
// words.
func ran(m *hosttest.Machine, words string) []string {
	var out []string
	for _, c := range m.Changes() {
		if rest, ok := strings.CutPrefix(c.Cmd.String(), words+" "); c.Op == "run" && ok {
			out = append(out, rest)
		}
	}
	return out
}

func TestOnlyWhatIsMissingIsInstalled(t *testing.T) {
	for status, missing := range map[string]bool{
		"ii": false, "hi": false, "ri": false, // what is there, whatever is wanted of it
		"rc": true, "un": true, "iU": true, "iF": true, "iHR": true, "iiR": true, "": true,
	} {
		have := map[string]string{"other": "ii", "x": status}
		if status == "" {
			delete(have, "x")
		}
		m, _ := debian(have)
		p := Packages{Names: []string{"other", "x"}}
		done, err := p.Done(t.Context(), m)
		if err != nil || done == missing {
			t.Errorf("%q: done %v, %v", status, done, err)
		}
		if !missing {
			continue
		}
		if _, err := p.Do(t.Context(), m); err != nil {
			t.Errorf("%q: %v", status, err)
		}
		for _, line := range ran(m, "apt-get") {
			if !strings.HasSuffix(line, " install x") {
				t.Errorf("%q: apt-get %s", status, line)
			}
		}
		if done, err := p.Done(t.Context(), m); err != nil || !done {
			t.Errorf("%q: not done after it was done: %v", status, err)
		}
	}
}

func TestTakingPackagesOffDeletesNothingThatWasThereBefore(t *testing.T) {
	bare := func(*hosttest.Machine, map[string]string) {}
	for _, tt := range []struct {
		name    string
		install string
		brings  string
		before  func(*hosttest.Machine, map[string]string)
		after   func(*hosttest.Machine)
		remove  string
		purge   string
	}{
		{name: "on a bare machine everything goes", install: "redis-server redis-tools", before: bare, remove: "redis-server redis-tools", purge: "redis-server redis-tools"},
		{name: "an empty directory holds nothing", install: "redis-tools", remove: "redis-tools", purge: "redis-tools",
			before: func(m *hosttest.Machine, _ map[string]string) { m.Dir("/var/lib/redis") }},
		{name: "keys of a Redis whose package was removed", install: "redis-server redis-tools", remove: "redis-server redis-tools",
			before: func(m *hosttest.Machine, _ map[string]string) { m.File("/var/lib/redis/dump.rdb", "REDIS0011") }},
		{name: "keys that are elsewhere, by a link", install: "redis-tools", remove: "redis-tools",
			before: func(m *hosttest.Machine, _ map[string]string) { m.Link("/data/redis", "/var/lib/redis") }},
		{name: "a directory that cannot be read", install: "redis-tools", remove: "redis-tools",
			before: func(m *hosttest.Machine, _ map[string]string) { m.File("/var/lib/redis", "not a directory") }},
		{name: "keys that the way back could not clear", install: "redis-server", remove: "redis-server", before: bare,
			after: func(m *hosttest.Machine) { m.File("/var/lib/redis/dump.rdb", "REDIS0011") }},
		{name: "configuration of a package that was removed", install: "chrony", remove: "chrony",
			before: func(_ *hosttest.Machine, have map[string]string) { have["chrony"] = "rc" }},
		{name: "munge's key", install: "munge chrony", remove: "chrony munge", purge: "chrony",
			before: func(m *hosttest.Machine, _ map[string]string) { m.File("/etc/munge/munge.key", "k") }},
		{name: "an account that others use", install: "slurmctld", remove: "slurmctld",
			before: func(m *hosttest.Machine, _ map[string]string) {
				m.Answer("getent passwd slurm", "slurm:x:64030:64030::/nonexistent:/bin/false\n")
			}},
		{name: "it cannot be told whether there is an account", install: "slurmctld", remove: "slurmctld",
			before: func(m *hosttest.Machine, _ map[string]string) {
				m.OnQuery("getent", func(host.Cmd) (string, error) { return "", errors.New("LDAP hangs") })
			}},
		{name: "slurm.conf, deleted by the purge of what slurmctld depends on", install: "slurmctld", brings: "slurm-wlm-basic-plugins libmunge2",
			remove: "libmunge2 slurm-wlm-basic-plugins slurmctld",
			before: func(m *hosttest.Machine, _ map[string]string) {
				m.File("/etc/slurm/slurm.conf", "ClusterName=hpc")
			}},
		{name: "the books of a volume", install: "glusterfs-server", brings: "glusterfs-common", remove: "glusterfs-common glusterfs-server",
			before: func(m *hosttest.Machine, _ map[string]string) { m.File("/var/lib/glusterd/glusterd.info", "UUID=x") }},
		{name: "a setting for a daemon to come", install: "keepalived", remove: "keepalived",
			before: func(m *hosttest.Machine, _ map[string]string) { m.File("/etc/default/keepalived", "x") }},
		{name: "a package of which nothing is known", install: "keepalived", brings: "libodd", remove: "keepalived libodd", purge: "keepalived", before: bare},
		{name: "what was installed before stays", install: "redis-server redis-tools", remove: "redis-server", purge: "redis-server",
			before: func(_ *hosttest.Machine, have map[string]string) { have["redis-tools"] = "hi" }},
		{name: "an installation that was cut off is taken off as well", install: "keepalived", remove: "keepalived", purge: "keepalived",
			before: func(m *hosttest.Machine, have map[string]string) {
				m.OnRun("apt-get", func(host.Cmd) (string, error) {
					have["keepalived"] = "iF"
					return "", errors.New("its script failed")
				})
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, have := debian(map[string]string{"base": "ii"}, strings.Fields(tt.brings)...)
			tt.before(m, have)
			undo, _ := Packages{Names: strings.Fields(tt.install)}.Do(t.Context(), m)
			if undo == nil {
				t.Fatal("nothing takes it back")
			}
			if tt.after != nil {
				tt.after(m)
			}
			if _, err := undo.Do(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(ran(m, "dpkg --remove"), "; "); got != tt.remove {
				t.Errorf("removed %q, want %q", got, tt.remove)
			}
			if got := strings.Join(ran(m, "dpkg --purge"), "; "); got != tt.purge {
				t.Errorf("purged %q, want %q", got, tt.purge)
			}
		})
	}
}
