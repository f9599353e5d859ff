//go:build lab

package test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"multihead/internal/lab"
)

// eitherHeadMayGo shows what two heads and a witness are for: the power of one head is
// cut, the first of the volume's bricks among them, and the other serves everything;
// what it wrote is on both once the first is back.
func eitherHeadMayGo(h *hosts) {
	h.arbiterIs("witness1")
	for _, pair := range [][2]string{{"server1", "server2"}, {"server2", "server1"}} {
		dead, other := pair[0], pair[1]
		h.t.Run(dead+" loses its power: the other writes", func(t *testing.T) {
			h := h.in(t)
			if err := h.PowerOff(t.Context(), dead); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			h.eventually(other+" writes to the volume", time.Minute, func() (bool, string) {
				out, err := h.trySh(other, "timeout 20 sh -c 'date > /mnt/gluster/config/without-"+dead+" && sync /mnt/gluster/config/without-"+dead+"'")
				return err == nil, fmt.Sprint(out, err)
			})
			t.Logf("the volume took a write after %.1f s", time.Since(begin).Seconds())
			h.eventually("a job is taken and runs", 2*time.Minute, func() (bool, string) {
				out, err := h.trySh(other, "cd /tmp && timeout 30 srun hostname")
				return err == nil && out == "node001", fmt.Sprint(out, err)
			})
			t.Logf("a job ran after %.1f s", time.Since(begin).Seconds())
			if err := h.PowerOn(t.Context(), dead); err != nil {
				t.Fatal(err)
			}
			h.green()
			h.sameBricks("server1", "server2")
			if out := h.sh(dead, "cat /data/glusterfs/brick/config/without-"+dead); out == "" {
				t.Errorf("%s has not what was written without it", dead)
			}
		})
	}
	h.t.Run("all lose their power, the witness too: the votes are back as well", func(t *testing.T) {
		h := h.in(t)
		for _, name := range []string{"server1", "server2", "witness1"} {
			if err := h.PowerOff(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"witness1", "server2", "server1"} {
			if err := h.PowerOn(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		h.green()
		h.arbiterIs("witness1")
	})
	h.t.Run("the database runs on one head alone, and its settings change", func(t *testing.T) { h.in(t).settingsOfTheOnlyOne() })
	h.t.Run("both were shut down in order, and the witness stayed on", func(t *testing.T) {
		h := h.in(t)
		for _, name := range []string{"server2", "server1"} {
			h.sh(name, "systemctl stop mariadb")
		}
		for _, name := range []string{"server1", "server2"} {
			if err := h.PowerOff(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"server1", "server2"} {
			if err := h.PowerOn(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		h.green()
		h.votes(3)
	})
	h.t.Run("a client dies in the middle of a change, and a brick comes back", func(t *testing.T) {
		h.in(t).replacedMeanwhile("server2", "server1", "witness1")
	})
	h.t.Run("a third head comes, and goes again: the arbiter makes way for it, and comes back", func(t *testing.T) {
		h := h.in(t)
		r := h.must("node", "add", "--name", "spare1", "--ip", h.address("spare1"), "--yes")
		t.Logf("node add took %.1f s", r.took.Seconds())
		h.green()
		h.sameBricks("server1", "spare1")
		if out := h.sh("server2", "gluster volume info shared_data; gluster pool list"); strings.Contains(out, "arbiter") || strings.Contains(out, h.address("witness1")) {
			t.Errorf("the witness still has a part in the volume:\n%s", out)
		}
		if out := h.sh("witness1", "systemctl is-active glusterd; systemctl is-enabled glusterd; true"); out != "inactive\ndisabled" {
			t.Errorf("glusterd on the witness: %s", out)
		}
		r = h.must("node", "remove", "spare1", "--confirm", h.Spec.Name)
		t.Logf("node remove took %.1f s", r.took.Seconds())
		h.green()
		h.arbiterIs("witness1")
	})
}

// settingsOfTheOnlyOne has MariaDB's settings changed where it runs on one head alone,
// beside a witness that would keep the quorum without it and let nobody in any more; and
// then to some that it does not start with.
func (h *hosts) settingsOfTheOnlyOne() {
	h.t.Helper()
	file := h.file
	defer func() { h.file = file }()
	settings := func(text string) {
		h.t.Helper()
		data, err := os.ReadFile(file)
		if err != nil {
			h.t.Fatal(err)
		}
		h.file = h.t.TempDir() + "/cluster.yaml"
		now := strings.Replace(string(data), "\n  mariadb:\n", "\n  mariadb:\n    config: {"+text+"}\n", 1)
		if err := os.WriteFile(h.file, []byte(now), 0o600); err != nil {
			h.t.Fatal(err)
		}
	}
	const allowed = `mariadb -N -e "SELECT @@max_connections"`
	h.sh("server2", "systemctl stop mariadb")
	settings("innodb_nonsense: 1")
	if r := h.run("up", "--yes"); r.code == 0 || !strings.Contains(r.stdout+r.stderr, "unknown variable") {
		h.t.Fatalf("settings that mariadbd does not start with: %s", r)
	}
	if got := h.sh("server1", allowed); got == "222" {
		h.t.Errorf("max_connections is %s before", got)
	}
	settings("max_connections: 222")
	h.must("up", "--yes")
	h.green()
	h.votes(3)
	for _, name := range []string{"server1", "server2"} {
		if got := h.sh(name, allowed); got != "222" {
			h.t.Errorf("max_connections on %s is %s", name, got)
		}
	}
	h.file = file
	h.must("up", "--yes")
	h.green()
	h.votes(3)
}

// votes makes sure of how many vote in the database, those without data among them.
func (h *hosts) votes(want int) {
	h.t.Helper()
	for _, name := range h.names(lab.Head) {
		if got := h.sh(name, `mariadb -N -e "SHOW STATUS LIKE 'wsrep_cluster_size'"`); !strings.HasSuffix(got, fmt.Sprint("\t", want)) {
			h.t.Errorf("%s: %s; %d are to vote", name, got, want)
		}
	}
}

// arbiterIs looks whether a witness has the arbiter's brick: every name and nothing
// that is written.
func (h *hosts) arbiterIs(witness string) {
	h.t.Helper()
	if r := h.must("status"); !strings.Contains(r.stdout, "2 copies and an arbiter") {
		h.t.Errorf("status: %s", r)
	}
	if out := h.sh("server1", "gluster volume info shared_data | grep 'arbiter)'"); !strings.Contains(out, h.address(witness)) {
		h.t.Errorf("the arbiter's brick: %s", out)
	}
	const names = "cd /data/glusterfs/brick/config && find . | sort | sha256sum"
	if a, b := h.sh("server1", names), h.sh(witness, names); a != b {
		h.t.Errorf("the names on server1 (%s) and %s (%s) differ", a, witness, b)
	}
	if out := h.sh(witness, "find /data/glusterfs/brick -path '*/.glusterfs' -prune -o -type f -size +0 -print"); out != "" {
		h.t.Errorf("%s has content of files:\n%s", witness, out)
	}
}
