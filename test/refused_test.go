//go:build lab

package test

import (
	"strings"
	"testing"
	"time"

	"multihead/internal/lab"
)

// What might exist is never formed a second time: not while a head is off, not
// while a daemon hangs, not while a probe gets no answer, not while the head
// that holds the data is away. Each time up says why, says what to do, and
// leaves every host as it is.
func TestNeverASecondCluster(t *testing.T) {
	t.Parallel()
	h := newLab(t, lab.Spec{Name: "second", Heads: 3, Compute: 1})

	refused := func(t *testing.T, because ...string) {
		t.Helper()
		h := h.in(t)
		r := h.run("up", "--yes")
		if r.code == 0 {
			t.Fatalf("not refused: %s", r)
		}
		for _, b := range because {
			if !strings.Contains(r.stderr, b) {
				t.Errorf("the reason does not say %q: %s", b, r)
			}
		}
		t.Logf("refused after %.1f s: %s", r.took.Seconds(), firstLines(r.stderr, 4))
	}

	t.Run("a head is off before anything was formed", func(t *testing.T) {
		was := h.in(t).fingerprints()
		if err := h.PowerOff(t.Context(), "server3"); err != nil {
			t.Fatal(err)
		}
		refused(t, "server3")
		if err := h.PowerOn(t.Context(), "server3"); err != nil {
			t.Fatal(err)
		}
		delete(was, "server3") // it has booted since
		h.in(t).unchanged(was, "the refused up")
	})
	t.Run("a head's answers get lost", func(t *testing.T) {
		was := h.in(t).fingerprints()
		if err := h.Freeze(t.Context(), "server2"); err != nil {
			t.Fatal(err)
		}
		refused(t, "server2")
		if err := h.Thaw(t.Context(), "server2"); err != nil {
			t.Fatal(err)
		}
		h.in(t).unchanged(was, "the refused up")
	})
	if t.Failed() {
		return
	}
	h.must("up", "--yes")
	h.green()
	h.sh("server1", `mariadb -e "CREATE TABLE auth_portal.kept (n INT PRIMARY KEY); INSERT INTO auth_portal.kept VALUES (42)"`)

	t.Run("sshd answers and every mariadbd hangs", func(t *testing.T) {
		h := h.in(t)
		for _, s := range h.names(lab.Head) {
			h.sh(s, "kill -STOP $(pidof mariadbd)")
		}
		refused(t, "mariadb")
		for _, s := range h.names(lab.Head) {
			h.sh(s, "kill -CONT $(pidof mariadbd)")
		}
		h.eventually("the cluster is green again", time.Minute, func() (bool, string) {
			r := h.run("status")
			return r.code == 0, r.String()
		})
	})
	t.Run("stopped, and the head that may hold more is off", func(t *testing.T) {
		h := h.in(t)
		h.must("down", "--yes")
		if err := h.PowerOff(t.Context(), "server1"); err != nil {
			t.Fatal(err)
		}
		refused(t, "server1")
		if err := h.PowerOn(t.Context(), "server1"); err != nil {
			t.Fatal(err)
		}
		h.must("up", "--yes")
		h.green()
		if got := h.sh("server3", `mariadb -N -e "SELECT n FROM auth_portal.kept"`); got != "42" {
			t.Errorf("the row reads %q", got)
		}
	})
	t.Run("--bootstrap over a living cluster", func(t *testing.T) {
		h := h.in(t)
		was := h.fingerprints()
		r := h.run("up", "--yes", "--bootstrap", "--confirm", h.Spec.Name)
		if r.code == 0 || !strings.Contains(r.stderr, "second cluster") {
			t.Errorf("not refused: %s", r)
		}
		h.unchanged(was, "the refused up")
	})
	t.Run("--standalone beside a living cluster", func(t *testing.T) {
		h := h.in(t)
		was := h.fingerprints()
		if r := h.run("up", "--yes", "--standalone", "--node", "server2"); r.code == 0 {
			t.Errorf("not refused: %s", r)
		}
		h.unchanged(was, "the refused up")
	})
	t.Run("another run is at work", func(t *testing.T) {
		h := h.in(t)
		h.sh("server1", `mkdir -p /run/multihead; echo '{"user":"kim","from":"admin1","pid":7,"tool":"x","purpose":"multihead up","since":"2026-01-02T03:04:05Z"}' > /run/multihead/lock`)
		h.sh("server1", "systemd-run --unit=holder --collect flock /run/multihead/lock sleep 600")
		h.sh("server2", "systemctl stop redis-server@6379 2>/dev/null || systemctl stop 'multihead-redis*' 2>/dev/null; systemctl stop keepalived")
		r := h.run("up", "--yes")
		if r.code != 75 || !strings.Contains(r.stderr, "kim") {
			t.Errorf("not told who is at work: %s", r)
		}
		h.sh("server1", "systemctl stop holder")
		h.must("up", "--yes")
		h.green()
	})
}

func firstLines(s string, n int) string {
	lines := strings.SplitN(s, "\n", n+1)
	if len(lines) > n {
		lines = lines[:n]
	}
	return strings.Join(lines, "\n")
}
