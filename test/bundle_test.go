//go:build lab

package test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"multihead/internal/lab"
)

// Hosts that have none of the packages, no repository and no way out become a
// cluster from a bundle; a package that is missing from it, or damaged, is named
// before anything is done anywhere. Afterwards the records say what was done.
func TestBareHostsBecomeAClusterFromABundleAlone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "bundle")
	out, err := exec.CommandContext(t.Context(), binary, "bundle", "create", "--release", "trixie", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	h := newLab(t, lab.Spec{Name: "bundle", Image: "bare", Heads: 3, Compute: 1})
	h.cutOffFromPackages()
	h.useBundle(dir)
	was := h.fingerprints()
	kept := damage(t, dir, "galera-4_*.deb", "redis-server_*.deb")
	r := h.run("up", "--yes")
	for _, word := range []string{"galera-4", "is missing", "redis-server", "is damaged", "nothing was changed"} {
		if !strings.Contains(r.stderr, word) {
			t.Errorf("it does not say %q: %s", word, r)
		}
	}
	if r.code == 0 {
		t.Errorf("it went on with a broken bundle: %s", r)
	}
	h.restored(was, "an up with a broken bundle")
	kept()

	r = h.must("up", "--yes")
	t.Logf("up took %.1f s", r.took.Seconds())
	h.green()
	jobsFromEveryHead(h)
	rowsReplicate(h)
	slotsHaveReplicasElsewhere(h)
	oneVIPHolder(h)
	// What was installed needs the bundle no more.
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if r := h.must("up", "--yes"); !strings.Contains(r.stdout, "No changes") {
		t.Errorf("the second up: %s", r)
	}
	h.onRecord()
	h.maintenance()
}

// cutOffFromPackages leaves the hosts without any source of packages.
func (h *hosts) cutOffFromPackages() {
	h.t.Helper()
	for _, name := range h.all() {
		h.sh(name, ": > /etc/apt/sources.list && umount "+lab.RepositoryMount+" && rm -rf /var/lib/apt/lists/*")
		if out, err := h.trySh(name, "apt-get --simulate install munge"); err == nil {
			h.t.Fatalf("%s still has a source: %s", name, out)
		}
		// systemd forgets the mount's unit in its own time; no up does that.
		h.eventually("the mount's unit is forgotten on "+name, time.Minute, func() (bool, string) {
			out := h.sh(name, "systemctl daemon-reload; systemctl list-units --all --no-legend 'srv-multihead*'")
			return out == "", out
		})
	}
}

// useBundle names the bundle in the cluster file.
func (h *hosts) useBundle(dir string) {
	h.t.Helper()
	old, err := os.ReadFile(h.file)
	if err != nil {
		h.t.Fatal(err)
	}
	now := strings.Replace(string(old), "offline_mode: true", "offline_mode: true, offline_package_dir: "+dir, 1)
	if now == string(old) {
		h.t.Fatalf("%s does not say that the site is offline", h.file)
	}
	if err := os.WriteFile(h.file, []byte(now), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// damage takes one package out of a bundle and spoils a byte of another one;
// repair makes both as they were.
func damage(t *testing.T, dir, gone, spoiled string) (repair func()) {
	t.Helper()
	one := func(pattern string) string {
		found, err := filepath.Glob(filepath.Join(dir, "repository", pattern))
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: %v %v", pattern, found, err)
		}
		return found[0]
	}
	g, s := one(gone), one(spoiled)
	data, err := os.ReadFile(s)
	if err != nil {
		t.Fatal(err)
	}
	bad := append([]byte(nil), data...)
	bad[len(bad)/2] ^= 1
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Rename(g, g+".gone"))
	must(os.WriteFile(s, bad, 0o644))
	return func() {
		t.Helper()
		must(os.Rename(g+".gone", g))
		must(os.WriteFile(s, data, 0o644))
	}
}

// onRecord checks that the run is on record, whole, with the time of its steps, and
// that an agent's is as well, with its cause.
func (h *hosts) onRecord() {
	h.t.Helper()
	var list struct {
		Runs []struct {
			ID    string
			Steps int
		}
	}
	if err := json.Unmarshal([]byte(h.must("runs", "list", "-o", "json").stdout), &list); err != nil {
		h.t.Fatal(err)
	}
	id := "" // what the first round left is a run of its own, and a small one
	for _, r := range list.Runs {
		if r.Steps > 200 {
			id = r.ID
		}
	}
	r := h.must("runs", "show", id, "-o", "json")
	var run struct {
		Command, Result string
		Did             []struct {
			Host, Step, Result string
			Seconds            float64
		}
	}
	if err := json.Unmarshal([]byte(r.stdout), &run); err != nil {
		h.t.Fatal(err)
	}
	if run.Result != "done" || !strings.HasSuffix(run.Command, "up --yes") {
		h.t.Errorf("the record says %s of %q, %d steps", run.Result, run.Command, len(run.Did))
	}
	seconds := 0.0
	for _, s := range run.Did {
		seconds += s.Seconds
		if s.Result != "done" && s.Result != "was so" {
			h.t.Errorf("%s on %s: %s", s.Step, s.Host, s.Result)
		}
	}
	if seconds == 0 {
		h.t.Error("no step took any time")
	}
	h.sh("server2", "kill -9 $(pidof glusterfsd)")
	h.eventually("the agent's run is on record", time.Minute, func() (bool, string) {
		r := h.must("runs", "list", "--all")
		return strings.Contains(r.stdout, "agent: recover"), r.stdout
	})
	if r := h.must("runs", "show", "last", "--all"); !strings.Contains(r.stdout, "its brick does not run") {
		h.t.Errorf("the record does not say why: %s", r)
	}
}
