//go:build lab

package test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
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
// complete, with all that was written to it on the way. Then a head joins it in
// the same way, and leaves it, while clients write.
func TestKilledAgainAndAgainThroughABootstrap(t *testing.T) {
	t.Parallel()
	h := newLab(t, lab.Spec{Name: "kill", Heads: 3, Compute: 1, Spare: 1})
	heads := h.names(lab.Head)
	h.clusterFile(append(heads, "node001")...)
	written := 0
	h.killedAgainAndAgain(func() {
		// As soon as there is a database, something is written that has to
		// stay.
		if _, err := h.trySh("server1", fmt.Sprintf(`mariadb -e "CREATE DATABASE IF NOT EXISTS kept; CREATE TABLE IF NOT EXISTS kept.t (n INT PRIMARY KEY); INSERT INTO kept.t VALUES (%d)"`, written+1)); err == nil {
			written++
		}
	}, "up")
	h.oneClusterOf(3)
	if got := h.sh("server3", `mariadb -N -e "SET SESSION wsrep_sync_wait=1; SELECT COUNT(*) FROM kept.t"`); got != strconv.Itoa(written) || written == 0 {
		t.Errorf("%s rows are there, %d were written", got, written)
	}

	rows, keys := h.startRows(), h.startKeys()
	join := []string{"node", "add", "--name", "spare1", "--ip", h.address("spare1")}
	h.killedAgainAndAgain(nil, join...)
	h.green()
	h.sameBricks("server1", "spare1")
	if r := h.must(append(join, "--yes")...); !strings.Contains(r.stdout, "No changes") {
		t.Errorf("joined already: %s", r)
	}
	h.killedAgainAndAgain(nil, "node", "remove", "spare1", "--confirm", h.Spec.Name)
	h.oneClusterOf(3)
	if out := h.sh("spare1", running); out != "" {
		t.Errorf("on spare1: %s", out)
	}
	keys.stopAndCheck(t)
	rows.stopAndCheck("server3")
	if r := h.must("up", "--yes"); !strings.Contains(r.stdout, "No changes") {
		t.Errorf("up after all that: %s", r)
	}
}

// killedAgainAndAgain runs a verb until a run comes to its end, and kills all others;
// between (may be nil) is called after each of these.
func (h *hosts) killedAgainAndAgain(between func(), verb ...string) {
	h.t.Helper()
	what := strings.Join(verb[:min(len(verb), 2)], " ")
	cutOff := map[string]bool{}
	for run := 1; ; run++ {
		kill := nth(2 + 5*run%17)
		if os.Getenv("MULTIHEAD_KILL_AT") == "all" {
			kill = func(step string) bool { return !cutOff[stamp.ReplaceAllString(step, "STAMP")] }
		}
		begun, code, out := h.killedIn(kill, verb...)
		if begun == "" {
			// What took a host out of the file, and was killed then, says what does the rest.
			if code == 64 && run > 1 && strings.Contains(out, "multihead up finishes that") {
				h.t.Logf("%s: up does the rest", what)
				verb = []string{"up"}
				continue
			}
			if code != 0 {
				h.t.Fatalf("%s: run %d was not killed and fails: exit %d\n%s", what, run, code, out)
			}
			h.t.Logf("%s: complete after %d killed runs, of %d different steps", what, run-1, len(cutOff))
			return
		}
		cutOff[stamp.ReplaceAllString(begun, "STAMP")] = true
		h.t.Logf("%s: run %d was killed at: %s", what, run, begun)
		if between != nil {
			between()
		}
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
			begun, code, out := h.killedIn(nth(n), "up")
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

// killedIn runs a verb and kills it with -9 when it begins the step that kill says. It
// returns that step, or "" and how the run ended where there was none.
func (h *hosts) killedIn(kill func(step string) bool, verb ...string) (begun string, code int, output string) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 5*time.Minute)
	defer cancel()
	args := append(slices.Clone(verb), "-v")
	if !slices.Contains(verb, "--confirm") {
		args = append(args, "--yes")
	}
	cmd := h.command(ctx, args...)
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
