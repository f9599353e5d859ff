//go:build lab

package test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"multihead/internal/lab"
)

// The tool is killed with -9 in the middle of what it does, again and again,
// until a run comes to its end: every run takes up where the one before was cut
// off. How many steps a run is given varies, so that over the runs every kind
// of step is cut off; with MULTIHEAD_KILL_AT=all every single step is cut off
// once, when it is first begun (make soak). In the end there is one cluster,
// complete, with all that was written to it on the way.
func TestKilledAgainAndAgainThroughABootstrap(t *testing.T) {
	t.Parallel()
	h := newLab(t, lab.Spec{Name: "kill", Heads: 3, Compute: 1})
	written := 0
	cutOff := map[string]bool{}
	for run := 1; ; run++ {
		kill := nth(2 + 5*run%17)
		if os.Getenv("MULTIHEAD_KILL_AT") == "all" {
			kill = func(step string) bool { return !cutOff[stamp.ReplaceAllString(step, "STAMP")] }
		}
		begun, code, out := h.killed(kill)
		if begun == "" {
			if code != 0 {
				t.Fatalf("run %d was not killed and fails: exit %d\n%s", run, code, out)
			}
			t.Logf("complete after %d killed runs, of %d different steps", run-1, len(cutOff))
			break
		}
		cutOff[stamp.ReplaceAllString(begun, "STAMP")] = true
		t.Logf("run %d was killed at: %s", run, begun)
		// As soon as there is a database, something is written that has to
		// stay.
		if _, err := h.trySh("server1", fmt.Sprintf(`mariadb -e "CREATE DATABASE IF NOT EXISTS kept; CREATE TABLE IF NOT EXISTS kept.t (n INT PRIMARY KEY); INSERT INTO kept.t VALUES (%d)"`, written+1)); err == nil {
			written++
		}
	}
	h.oneClusterOf(3)
	if got := h.sh("server3", `mariadb -N -e "SET SESSION wsrep_sync_wait=1; SELECT COUNT(*) FROM kept.t"`); got != strconv.Itoa(written) || written == 0 {
		t.Errorf("%s rows are there, %d were written", got, written)
	}
}

// A fresh cluster is begun, the tool killed at its Nth step, and up run once
// more. Continuous integration looks at a few N; MULTIHEAD_KILL_AT=all looks at
// every one (make soak).
func TestKilledOnceThenRunAgain(t *testing.T) {
	t.Parallel()
	at := []int{9, 31, 60}
	if v := os.Getenv("MULTIHEAD_KILL_AT"); v == "all" {
		at = nil
		for n := 1; n < 400; n++ {
			at = append(at, n)
		}
	} else if n, err := strconv.Atoi(v); err == nil {
		at = []int{n}
	}
	for _, n := range at {
		last := false
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			h := newLab(t, lab.Spec{Name: fmt.Sprintf("killat%d", n), Heads: 3, Compute: 1})
			begun, code, out := h.killed(nth(n))
			if begun == "" {
				last = true
				if code != 0 {
					t.Fatalf("exit %d\n%s", code, out)
				}
				return
			}
			t.Logf("killed at: %s", begun)
			h.must("up", "--yes")
			h.oneClusterOf(3)
		})
		if last {
			t.Logf("a bootstrap has fewer than %d steps", n)
			break
		}
	}
}

// stamp is what names the files that a run keeps aside: another one in every run.
var stamp = regexp.MustCompile(`\d{8}T\d{6}Z`)

// nth chooses the nth step that begins.
func nth(n int) func(string) bool {
	return func(string) bool { n--; return n == 0 }
}

// killed runs up and kills it with -9 when it begins the step that kill says. It
// returns that step, or "" and how the run ended where there was none.
func (h *hosts) killed(kill func(step string) bool) (begun string, code int, output string) {
	h.t.Helper()
	return h.killedIn(kill, "up")
}

// killedIn is killed for another verb.
func (h *hosts) killedIn(kill func(step string) bool, verb ...string) (begun string, code int, output string) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 5*time.Minute)
	defer cancel()
	cmd := h.command(ctx, append(verb, "--yes", "-v")...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	var all strings.Builder
	sc := bufio.NewScanner(stderr)
	for sc.Scan() {
		all.WriteString(sc.Text() + "\n")
		if _, step, ok := strings.Cut(sc.Text(), " begin "); ok && begun == "" && kill(step) {
			begun = step
			_ = cmd.Process.Kill()
		}
	}
	_ = cmd.Wait()
	if begun != "" {
		return begun, -1, all.String()
	}
	return "", cmd.ProcessState.ExitCode(), all.String()
}

// oneClusterOf makes sure that there is one cluster of each kind, of n heads,
// and that it is healthy.
func (h *hosts) oneClusterOf(n int) {
	h.t.Helper()
	h.green()
	ids := map[string]bool{}
	volumes := map[string]bool{}
	for _, head := range h.names(lab.Head)[:n] {
		ids[h.sh(head, `mariadb -N -e "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME='wsrep_cluster_state_uuid'"`)] = true
		volumes[h.sh(head, `gluster --mode=script volume info | grep 'Volume ID'`)] = true
		if got := len(h.redisNodes(head)); got != 2*n {
			h.t.Errorf("%s sees %d redis instances, not %d", head, got, 2*n)
		}
	}
	if len(ids) != 1 || len(volumes) != 1 {
		h.t.Errorf("more than one cluster: Galera %v, GlusterFS %v", ids, volumes)
	}
	slotsHaveReplicasElsewhere(h)
}
