//go:build lab

package test

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"multihead/internal/lab"
)

// The database alone, brought back by `multihead recover`: after the power of
// all heads, after the quorum of those that run, and with a head that is missing
// and comes back with as much as the others, or with more. What was acknowledged
// is never lost, and what only one head had is never overwritten.
func TestTheDatabaseComesBackAndNothingIsOverwritten(t *testing.T) {
	t.Parallel() // it waits more than it works; beside one other
	h := newLab(t, lab.Spec{Name: "galrec", Heads: 3})
	h.must("up", "--yes", "--phase", "prepare,mariadb")
	heads := h.names(lab.Head)
	s1, s2, s3 := heads[0], heads[1], heads[2]
	h.sh(s1, `mariadb -e "CREATE DATABASE kept; CREATE TABLE kept.t (n INT PRIMARY KEY)"`)
	w := &rows{}

	t.Run("all lose their power while rows are written, and return together", func(t *testing.T) {
		h := h.in(t)
		w.writeUntilDark(h, s1, heads...)
		h.bootWithoutDatabase(heads...)
		h.recoverDatabase(heads)
		w.complete(h, heads)
		// Two of them had their whole copy for less than half a minute.
		for _, head := range heads {
			if out := h.sh(head, "journalctl -q --no-pager -b -u mariadb | grep -F 'Incorrect information in file' | head -n 3"); out != "" {
				t.Errorf("what %s was sent was not on its disk: %s", head, out)
			}
		}
	})
	t.Run("all lose their power, and one is missing: nothing begins while it may only be late", func(t *testing.T) {
		h := h.in(t)
		w.writeUntilDark(h, s2, heads...)
		h.bootWithoutDatabase(s2)
		r := h.run("recover", "--service", "mariadb", "--yes")
		if r.code == 0 || !strings.Contains(r.stderr+r.stdout, "no majority of 3") {
			t.Fatalf("one head of three begins by itself, or fails for another reason: %s", r)
		}
		h.bootWithoutDatabase(s3)
		h.recoverDatabase([]string{s2, s3})
		w.complete(h, []string{s2, s3})
		w.write(h, s2, 3)
		h.bootWithoutDatabase(s1)
		h.recoverDatabase(heads)
		w.complete(h, heads)
		if kept := h.sh(s1, "ls -A /var/lib/mysql/.kept 2>/dev/null || true"); kept != "" {
			t.Errorf("%s had nothing more than the others, and %s is kept", s1, kept)
		}
	})
	t.Run("one comes back with more: it is kept, and mixed with nothing", func(t *testing.T) {
		h := h.in(t)
		h.off(heads...)
		h.bootWithoutDatabase(s1)
		// As somebody does by hand at night: it begins alone.
		h.sh(s1, `systemctl stop mariadb; p=$(galera_recovery 2>/dev/null); sed -i -e 's/^safe_to_bootstrap:.*/safe_to_bootstrap: 1/' -e "s/^seqno:.*/seqno: ${p##*:}/" /var/lib/mysql/grastate.dat; galera_new_cluster
mariadb -e "INSERT INTO kept.t VALUES (1000001), (1000002)"`)
		h.off(s1)
		h.bootWithoutDatabase(s2, s3)
		h.recoverDatabase([]string{s2, s3})
		w.write(h, s2, 5) // positions that s1 has given to something else
		h.bootWithoutDatabase(s1)
		h.recoverDatabase(heads)
		w.complete(h, heads)
		if got := h.sh(s1, `mariadb -N -e "SELECT COUNT(*) FROM kept.t WHERE n > 1000000"`); got != "0" {
			t.Errorf("%s serves %s rows that no other head has", s1, got)
		}
		if kept := h.sh(s1, "ls /var/lib/mysql/.kept/*/kept/t.ibd"); !strings.Contains(kept, "t.ibd") {
			t.Errorf("what only %s had is not kept: %q", s1, kept)
		}
		if seen := h.sh(s1, `mariadb -N -e "SHOW DATABASES"`); strings.Contains(seen, "kept-") || strings.Contains(seen, "#mysql50#") {
			t.Errorf("what is kept is taken for a database: %s", seen)
		}
		if r := h.run("discover", "-o", "json"); !strings.Contains(r.stdout, "kept_aside") {
			t.Errorf("nobody is told what is kept: %s", r)
		}
	})
	t.Run("the last one that runs has no quorum: it is given back, and the others return", func(t *testing.T) {
		h := h.in(t)
		for _, head := range []string{s2, s3} { // both at once, for one after the other takes no quorum
			h.sh(head, "systemctl kill --signal=SIGSTOP mariadb")
		}
		for _, head := range []string{s2, s3} {
			h.sh(head, "systemctl kill --signal=SIGKILL mariadb; systemctl stop mariadb; rm -f /var/lib/mysql/gvwstate.dat")
		}
		h.eventually("it has no quorum", time.Minute, func() (bool, string) {
			out, _ := h.trySh(s1, `mariadb -N -e "SHOW STATUS LIKE 'wsrep_cluster_status'"`)
			return strings.HasSuffix(out, "non-Primary"), out
		})
		before := h.sh(s1, "systemctl show mariadb --property=MainPID")
		h.recoverDatabase(heads)
		w.complete(h, heads)
		if after := h.sh(s1, "systemctl show mariadb --property=MainPID"); after != before {
			t.Errorf("mariadbd on %s was restarted, where giving its quorum back is enough", s1)
		}
	})
	t.Run("what was stopped in order stays stopped", func(t *testing.T) {
		h := h.in(t)
		h.must("down", "--yes", "--service", "mariadb")
		r := h.run("recover", "--service", "mariadb", "--yes")
		for _, head := range heads {
			if out, _ := h.trySh(head, "systemctl is-active mariadb"); out != "inactive" {
				t.Errorf("%s: %s after recover\n%s", head, out, r)
			}
		}
	})
}

// off cuts the power of heads.
func (h *hosts) off(heads ...string) {
	h.t.Helper()
	if err := h.PowerOff(h.t.Context(), heads...); err != nil {
		h.t.Fatal(err)
	}
}

// bootWithoutDatabase boots heads and does not wait for what their boot waits
// for: a daemon that looks for the others keeps a boot from ending.
func (h *hosts) bootWithoutDatabase(heads ...string) {
	h.t.Helper()
	ctx, stop := context.WithCancel(h.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.PowerOn(ctx, heads...) }()
	for _, head := range heads {
		h.eventually(head+" answers", 2*time.Minute, func() (bool, string) {
			out, err := h.trySh(head, "systemctl is-active ssh && systemctl show mariadb --property=ActiveState --value")
			return err == nil && !strings.HasSuffix(out, "inactive"), fmt.Sprint(out, err)
		})
	}
	stop()
	<-ended
}

// recoverDatabase runs recover until the database serves on all these heads in
// one cluster.
func (h *hosts) recoverDatabase(heads []string) {
	h.t.Helper()
	begin := time.Now()
	var last result
	h.eventually("the database serves on "+strings.Join(heads, ", "), 4*time.Minute, func() (bool, string) {
		ids := map[string]bool{}
		for _, head := range heads {
			out, err := h.trySh(head, `mariadb -N -e "SHOW STATUS WHERE Variable_name IN ('wsrep_cluster_state_uuid', 'wsrep_cluster_status', 'wsrep_local_state_comment', 'wsrep_ready')"`)
			if err != nil || !strings.Contains(out, "\tPrimary") || !strings.Contains(out, "\tSynced") || !strings.Contains(out, "\tON") {
				last = h.run("recover", "--service", "mariadb", "--yes")
				return false, head + ": " + out + "\n" + last.String()
			}
			id, _, _ := strings.Cut(out, "\n")
			ids[id] = true
		}
		return len(ids) == 1, fmt.Sprint(ids)
	})
	h.t.Logf("the database serves on %s after %.1f s", strings.Join(heads, ", "), time.Since(begin).Seconds())
}

// rows are what was written through a head's own mariadbd and acknowledged.
type rows struct {
	last  int // the last one tried
	acked []int
}

// writeUntilDark writes one row after the other on a head until the power of
// heads goes.
func (w *rows) writeUntilDark(h *hosts, on string, heads ...string) {
	h.t.Helper()
	head, err := h.Host(on)
	if err != nil {
		h.t.Fatal(err)
	}
	before := len(w.acked)
	cmd, err := head.Command(h.t.Context(), "sh", "-c", fmt.Sprintf(`n=%d; while mariadb -e "INSERT INTO kept.t VALUES ($n)"; do echo $n; n=$((n+1)); done`, w.last+1))
	if err != nil {
		h.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	sc := bufio.NewScanner(out)
	cut := false
	for sc.Scan() {
		if _, err := fmt.Sscan(sc.Text(), &w.last); err != nil {
			h.t.Fatalf("%q: %v", sc.Text(), err)
		}
		w.acked = append(w.acked, w.last)
		if len(w.acked)-before >= 15 && !cut {
			cut = true
			go func() { _ = h.PowerOff(h.t.Context(), heads...) }()
		}
	}
	_ = cmd.Wait()
	h.off(heads...) // all of them are, before anything goes on
	if !cut {
		h.t.Fatalf("only %d rows were written", len(w.acked)-before)
	}
	w.last++ // the one that was under way may be there or not
}

// write writes so many rows on a head.
func (w *rows) write(h *hosts, on string, n int) {
	h.t.Helper()
	for range n {
		w.last++
		h.sh(on, fmt.Sprintf(`mariadb -e "INSERT INTO kept.t VALUES (%d)"`, w.last))
		w.acked = append(w.acked, w.last)
	}
}

// complete makes sure that every head has each acknowledged row, and all the same.
func (w *rows) complete(h *hosts, heads []string) {
	h.t.Helper()
	var first []string
	for _, head := range heads {
		have := strings.Fields(h.sh(head, `mariadb -N -e "SET SESSION wsrep_sync_wait=1; SELECT n FROM kept.t ORDER BY n"`))
		for _, n := range w.acked {
			if !slices.Contains(have, fmt.Sprint(n)) {
				h.t.Errorf("%s: row %d was acknowledged and is not there", head, n)
			}
		}
		if first == nil {
			first = have
		} else if !slices.Equal(first, have) {
			h.t.Errorf("%s and %s differ:\n%v\n%v", heads[0], head, first, have)
		}
	}
}
