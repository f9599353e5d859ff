//go:build lab

package test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"multihead/internal/lab"
)

// allLosePower has all heads lose their power while clients write, come back in any
// order, or not all of them, and nobody touches a key: the agents bring back what does
// not find back by itself. MULTIHEAD_ORDERS=all tries every order of three heads.
func allLosePower(h *hosts) {
	t := h.t
	h.green()
	h.agentsHear(2)
	acked := &ledger{h: h, db: h.database()}
	t.Cleanup(func() { acked.db.Close() })
	acked.begin()
	running := h.sh("server2", "cd /tmp && sbatch --parsable --output=/dev/null --cpus-per-task=1 --wrap='sleep 7200'")
	h.eventually("the job runs", time.Minute, func() (bool, string) {
		out, err := h.trySh("server1", "squeue -h -o %T -j "+running)
		return err == nil && out == "RUNNING", out
	})
	// Slurm writes its state every few seconds; what it has not written when the
	// power goes, it does not know. What comes later is written later.
	runs := h.sh("server1", "date +%s")
	h.sh("server2", "cd /tmp && sbatch --wait --parsable --output=/dev/null --wrap=true")
	h.eventually("the job's start is on disk", time.Minute, func() (bool, string) {
		out, err := h.trySh("server1", "stat -c %Y /mnt/gluster/slurm/state/job_state")
		return err == nil && out > runs, out + " " + runs
	})
	heads := h.names(lab.Head)
	orders := [][]string{nil, {heads[2], heads[0], heads[1]}}
	if os.Getenv("MULTIHEAD_ORDERS") == "all" {
		orders = append([][]string{nil}, permutations(heads)...)
	}
	for _, order := range orders {
		name := "all together"
		if order != nil {
			name = strings.Join(order, ", then ")
		}
		t.Run(name, func(t *testing.T) {
			h := h.in(t)
			h.goDark(acked)
			if order == nil {
				h.boot(heads...)
			}
			for i, head := range order {
				if i > 0 {
					time.Sleep(15 * time.Second) // not a wait for anything: the fault is that they come one after another
				}
				h.boot(head)
			}
			h.backByItself(acked, running, heads)
		})
	}
	t.Run("F18: an agent that begins to recover something is killed", func(t *testing.T) {
		h := h.in(t)
		h.each(heads, agentKiller)
		h.goDark(acked)
		h.boot(heads...)
		h.backByItself(acked, running, heads)
		kills := 0
		for _, head := range heads {
			kills += len(strings.Fields(h.sh(head, "cat /run/agent-killed 2>/dev/null || true")))
		}
		t.Logf("agents were killed %d times", kills)
		if kills == 0 {
			t.Error("no agent was killed")
		}
		h.each(heads, "systemctl disable --now --quiet agent-killer; rm /etc/systemd/system/agent-killer.service /root/agent-killer; systemctl daemon-reload; sync")
	})
	t.Run("one is behind, and the others change tables", func(t *testing.T) {
		h := h.in(t)
		h.goDarkWhileTablesChange(acked, heads[0], heads[2])
		h.boot(heads...)
		h.backByItself(acked, running, heads)
		if out := h.must("events").stdout; !strings.Contains(out, "under a new identity") {
			t.Errorf("the tables of %s are not what the others were sent:\n%s", heads[0], out)
		}
		h.sh(heads[0], `mariadb -e "DROP DATABASE ddl"`)
	})
	t.Run("one never returns, and then it does", func(t *testing.T) {
		h := h.in(t)
		h.goDark(acked)
		before := len(acked.rows)
		h.boot(heads[1:]...)
		h.serves(acked, heads[1:])
		after := slices.Clone(acked.rows[before:]) // what was taken since the boot
		acked.rows = acked.rows[:before]
		missing := acked.completeButTheLast(h, heads[1:])
		t.Logf("%d of %d acknowledged rows are on the disk of %s alone", missing, before, heads[0])
		acked.rows = append(acked.rows, after...)
		acked.write(h, 20)
		h.boot(heads[0])
		h.backByItself(acked, running, heads)
		kept, _ := h.trySh(heads[0], "ls /var/lib/mysql/.kept/*/auth_portal/acked.ibd")
		if missing > 0 && !strings.Contains(kept, "acked.ibd") {
			t.Errorf("what only %s had is not kept: %q", heads[0], kept)
		}
	})
}

// agentKiller kills the agent, from the next boot on, when it has begun a step by which
// something recovers: the first five times.
const agentKiller = `cat >/root/agent-killer <<'END'
journalctl -b -f -n all -u multihead-agent | while read -r line; do
	case $line in *'event=recovery '*)
		systemctl kill -s KILL multihead-agent
		echo killed >>/run/agent-killed
		[ $(wc -l </run/agent-killed) -lt 5 ] || exit 0
	esac
done
END
printf '[Service]\nExecStart=/bin/sh /root/agent-killer\n[Install]\nWantedBy=multi-user.target\n' >/etc/systemd/system/agent-killer.service
systemctl daemon-reload; systemctl enable --quiet agent-killer; sync`

// permutations are all orders of a list.
func permutations(list []string) [][]string {
	if len(list) == 0 {
		return [][]string{nil}
	}
	var out [][]string
	for i, first := range list {
		rest := slices.Delete(slices.Clone(list), i, i+1)
		for _, p := range permutations(rest) {
			out = append(out, append([]string{first}, p...))
		}
	}
	return out
}

// ledger writes rows from outside the heads and knows which were acknowledged.
type ledger struct {
	h    *hosts
	db   *sql.DB
	mu   sync.Mutex
	last int
	rows []int
}

func (l *ledger) begin() {
	l.h.t.Helper()
	if _, err := l.db.ExecContext(l.h.t.Context(), "CREATE TABLE acked (n INT PRIMARY KEY)"); err != nil {
		l.h.t.Fatal(err)
	}
}

// one writes one row, and notes it where it was acknowledged.
func (l *ledger) one(ctx context.Context) error {
	l.mu.Lock()
	l.last++
	n := l.last
	l.mu.Unlock()
	_, err := l.db.ExecContext(ctx, "INSERT INTO acked VALUES (?)", n)
	if err == nil {
		l.mu.Lock()
		l.rows = append(l.rows, n)
		l.mu.Unlock()
	}
	return err
}

// write writes so many rows, each tried until it is taken.
func (l *ledger) write(h *hosts, n int) {
	h.t.Helper()
	for range n {
		h.eventually("a row is taken", time.Minute, func() (bool, string) {
			err := l.one(h.t.Context())
			return err == nil, fmt.Sprint(err)
		})
	}
}

// complete makes sure that a head has every row that was acknowledged.
func (l *ledger) complete(h *hosts, head string) {
	h.t.Helper()
	if lost := l.lost(h, head); len(lost) > 0 {
		h.t.Errorf("%s lost %d of %d acknowledged rows: %v", head, len(lost), len(l.rows), lost)
	}
}

// lagging is how many of the last rows may be on the disk of the head alone that
// acknowledged them: Galera answers once the others have received a row, and flow
// control (gcs.fc_limit, 16) holds the writers up where they have not yet applied
// more than that; beside those are what the writers had under way.
const lagging = 40

// completeButTheLast is complete for heads that go on without the one that
// acknowledged: of the rows just before the power went, some may be on its disk
// alone, and are kept there. It says how many, and forgets them.
func (l *ledger) completeButTheLast(h *hosts, heads []string) (missing int) {
	h.t.Helper()
	gone := map[int]bool{}
	for _, head := range heads {
		for _, n := range l.lost(h, head) {
			gone[n] = true
		}
	}
	newest := l.rows[len(l.rows)-min(len(l.rows), lagging):]
	l.rows = slices.DeleteFunc(slices.Clone(l.rows), func(n int) bool {
		if gone[n] && !slices.Contains(newest, n) {
			h.t.Errorf("row %d is missing, and was acknowledged long before the power went", n)
		}
		return gone[n]
	})
	return len(gone)
}

// lost lists the acknowledged rows that a head has not.
func (l *ledger) lost(h *hosts, head string) []int {
	h.t.Helper()
	have := map[string]bool{}
	// It may still be receiving its copy.
	h.eventually(head+" answers", time.Minute, func() (bool, string) {
		out, err := h.trySh(head, `mariadb -N -e "SET SESSION wsrep_sync_wait=1; SELECT n FROM auth_portal.acked"`)
		for _, n := range strings.Fields(out) {
			have[n] = true
		}
		return err == nil, out
	})
	var lost []int
	for _, n := range l.rows {
		if !have[fmt.Sprint(n)] {
			lost = append(lost, n)
		}
	}
	return lost
}

// goDark cuts the power of all heads while clients write.
func (h *hosts) goDark(l *ledger) {
	h.t.Helper()
	ctx, stop := context.WithCancel(h.t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if l.one(ctx) != nil {
					return // the power is off
				}
			}
		})
	}
	before := len(l.rows)
	h.eventually("rows are written", time.Minute, func() (bool, string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.rows) > before+100, fmt.Sprint(len(l.rows))
	})
	if err := h.PowerOff(h.t.Context(), h.names(lab.Head)...); err != nil {
		h.t.Fatal(err)
	}
	stop()
	wg.Wait()
}

// goDarkWhileTablesChange cuts the power of all heads while a statement changes tables,
// with a row before it that one of them has taken and another has not: Galera, left to
// itself, takes the one that is behind for the only one with a position.
func (h *hosts) goDarkWhileTablesChange(l *ledger, takes, behind string) {
	h.t.Helper()
	// One that takes a second or more to change.
	h.sh(takes, `mariadb -e "CREATE DATABASE ddl; CREATE TABLE ddl.wide (n INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(200))"
mariadb ddl -e "INSERT INTO wide (v) SELECT REPEAT('x', 180) FROM seq_1_to_500000"`)
	for _, head := range h.names(lab.Head) {
		h.eventually(head+" has the table", 2*time.Minute, func() (bool, string) {
			out, err := h.trySh(head, `mariadb -N -e "SELECT COUNT(*) FROM ddl.wide"`)
			return err == nil && out == "500000", out
		})
	}
	h.sh(behind, `systemd-run --quiet mariadb -e "FLUSH TABLES WITH READ LOCK; DO SLEEP(600)"`)
	h.eventually(behind+" applies nothing", time.Minute, func() (bool, string) {
		out, err := h.trySh(behind, `mariadb -N -e "SELECT INFO FROM information_schema.PROCESSLIST"`)
		return err == nil && strings.Contains(out, "DO SLEEP"), out
	})
	l.last++
	h.sh(takes, fmt.Sprintf(`mariadb -e "INSERT INTO auth_portal.acked VALUES (%d)"`, l.last))
	l.rows = append(l.rows, l.last)
	h.sh(takes, `systemd-run --quiet mariadb -e "ALTER TABLE ddl.wide FORCE, ALGORITHM=COPY"`)
	h.eventually(takes+" changes the table", time.Minute, func() (bool, string) {
		out, err := h.trySh(takes, "grep uuid /var/lib/mysql/grastate.dat")
		return err == nil && strings.Contains(out, " 00000000-0000-0000-0000-000000000000"), out
	})
	if err := h.PowerOff(h.t.Context(), h.names(lab.Head)...); err != nil {
		h.t.Fatal(err)
	}
}

func (h *hosts) boot(heads ...string) {
	h.t.Helper()
	if err := h.PowerOn(h.t.Context(), heads...); err != nil {
		h.t.Fatal(err)
	}
}

// serves waits until these heads serve everything, and says how long after the
// last boot that was.
func (h *hosts) serves(l *ledger, heads []string) {
	h.t.Helper()
	begin := time.Now()
	h.eventually("rows are taken again", 4*time.Minute, func() (bool, string) {
		err := l.one(h.t.Context())
		return err == nil, fmt.Sprint(err) + h.whatAgentsDid(heads)
	})
	h.t.Logf("the database serves %.1f s after the last boot%s", time.Since(begin).Seconds(), h.whatAgentsDid(heads))
	h.eventually("jobs are taken again", 2*time.Minute, func() (bool, string) {
		out, err := h.trySh(heads[0], "cd /tmp && timeout 5 sbatch --parsable --output=/dev/null --wrap=true")
		return err == nil, out + h.whatAgentsDid(heads)
	})
	h.t.Logf("jobs are taken %.1f s after the last boot", time.Since(begin).Seconds())
}

// backByItself waits until everything is green and nothing is missing.
func (h *hosts) backByItself(l *ledger, running string, heads []string) {
	h.t.Helper()
	begin := time.Now()
	h.eventually("status is UP", 4*time.Minute, func() (bool, string) {
		r := h.run("status")
		return r.code == 0, r.String() + h.whatAgentsDid(heads)
	})
	h.t.Logf("green %.1f s after the last boot", time.Since(begin).Seconds())
	h.green()
	ids := map[string]bool{}
	for _, head := range heads {
		l.complete(h, head)
		ids[h.sh(head, `mariadb -N -e "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME='wsrep_cluster_state_uuid'"`)] = true
	}
	if len(ids) != 1 {
		h.t.Errorf("more than one Galera cluster: %v", ids)
	}
	if out := h.sh(heads[0], "squeue -h -o %T -j "+running); out != "RUNNING" {
		h.t.Errorf("the job that ran all along is %q", out)
	}
	l.write(h, 5)
}

// whatAgentsDid is what the agents say they did, for a test that fails.
func (h *hosts) whatAgentsDid(heads []string) string {
	var b strings.Builder
	for _, head := range heads {
		out, err := h.trySh(head, "curl -s --max-time 3 --unix-socket /run/multihead/agent.sock http://agent/v1/events")
		var events []map[string]any
		if err != nil || json.Unmarshal([]byte(out), &events) != nil {
			continue
		}
		for _, e := range events {
			fmt.Fprintf(&b, "\n%s: %v %v %v: %v (%v)", head, e["time"], e["host"], e["service"], e["what"], e["cause"])
		}
	}
	return b.String()
}
