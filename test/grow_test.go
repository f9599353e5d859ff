//go:build lab

package test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"multihead/internal/lab"
)

// A cluster grows 1 → 2 → 3 → 4 while clients write to the database through
// the VIP and to the volume: none of them sees an error, and nothing they wrote
// is missing on the newest head. Every other growth is run on the new head
// itself.
func TestGrowthFromOneHeadToFourWithClientsWriting(t *testing.T) {
	t.Parallel()
	h := newLab(t, lab.Spec{Name: "grow", Heads: 4, Compute: 1})
	h.clusterFile("server1", "node001")
	h.must("up", "--yes")
	h.green()
	h.losesPower("server1")

	writers := h.startWriters(false)
	heads := []string{"server1"}
	for n := 2; n <= 4; n++ {
		head := fmt.Sprintf("server%d", n)
		heads = append(heads, head)
		h.clusterFile(append(heads, "node001")...)
		begin := time.Now()
		if n == 3 {
			h.upOnHead(head)
		} else {
			h.must("up", "--yes")
		}
		t.Logf("%d → %d heads took %.1f s", n-1, n, time.Since(begin).Seconds())
		h.green()
	}
	writers.stopAndCheck("server4")
	if r := h.must("up", "--yes"); !strings.Contains(r.stdout, "No changes") {
		t.Errorf("up after growth: %s", r)
	}
}

// losesPower cuts the power of the only head, without a word, and makes sure that
// its database is there again by itself, and everything after up.
func (h *hosts) losesPower(head string) {
	h.t.Helper()
	h.sh(head, `mariadb -e "CREATE DATABASE kept; CREATE TABLE kept.t (n INT PRIMARY KEY); INSERT INTO kept.t VALUES (1)"`)
	if err := errors.Join(h.PowerOff(h.t.Context(), head), h.PowerOn(h.t.Context(), head)); err != nil {
		h.t.Fatal(err)
	}
	begin := time.Now()
	h.eventually("the database is back by itself", time.Minute, func() (bool, string) {
		out, err := h.trySh(head, `mariadb -N -e "SELECT n FROM kept.t"`)
		return err == nil && out == "1", fmt.Sprint(out, err)
	})
	h.t.Logf("the database was back %.1f s after the boot", time.Since(begin).Seconds())
	h.must("up", "--yes")
	h.green()
}

// upOnHead brings the tool and the file to a head and runs up there.
func (h *hosts) upOnHead(head string) {
	h.t.Helper()
	h.copyTo(head, binary, "/root/mh/multihead", "0755")
	h.copyTo(head, h.KeyPath(), "/root/mh/key", "0600")
	h.copyTo(head, h.KnownHosts(), "/root/mh/known_hosts", "0644")
	h.copyTo(head, h.file, "/root/mh/my_multihead_cluster.yaml", "0600")
	h.sh(head, "sed -i 's#ssh_key_path: .*#ssh_key_path: /root/mh/key#' /root/mh/my_multihead_cluster.yaml")
	out, err := h.trySh(head, "cd /root/mh && ./multihead up --yes 2>&1")
	if err != nil {
		h.t.Fatalf("up on %s: %v\n%s", head, err, out)
	}
}

// copyTo writes a file of this machine on a host.
func (h *hosts) copyTo(host, from, to, mode string) {
	h.t.Helper()
	in, err := os.Open(from)
	if err != nil {
		h.t.Fatal(err)
	}
	defer in.Close()
	cmd := exec.CommandContext(h.t.Context(), binary, "lab", "exec", "--name", h.Spec.Name, host, "--",
		"sh", "-c", fmt.Sprintf("mkdir -p %s && cat > %s && chmod %s %s", path.Dir(to), to, mode, to))
	cmd.Stdin = in
	if out, err := cmd.CombinedOutput(); err != nil {
		h.t.Fatalf("copy to %s: %v\n%s", host, err, out)
	}
}

// writers are clients outside of the heads that write all the time and note
// every error and every gap.
type writers struct {
	h     *hosts
	stop  chan struct{}
	wg    sync.WaitGroup
	mu    sync.Mutex
	again bool // a row that failed is tried again, as an application does it
	rows  int
	gap   time.Duration // the longest insert, with all its attempts
	fails []string
}

// database opens the site's database through the VIP, from outside the heads.
func (h *hosts) database() *sql.DB {
	h.t.Helper()
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.DBName = "auth_user", h.secrets()["DB_AUTH_PASSWORD"], "auth_portal"
	cfg.Net, cfg.Addr = "tcp", lab.VIP+":3306"
	cfg.Timeout, cfg.ReadTimeout, cfg.WriteTimeout = 5*time.Second, 20*time.Second, 20*time.Second
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return h.Dial(ctx, network, addr)
	}
	c, err := mysql.NewConnector(cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	return sql.OpenDB(c)
}

// startWriters begins to write. Where a row is not tried again every error counts.
func (h *hosts) startWriters(again bool) *writers {
	h.t.Helper()
	w := &writers{h: h, again: again, stop: make(chan struct{})}
	db := h.database()
	if _, err := db.ExecContext(h.t.Context(), "CREATE TABLE IF NOT EXISTS writes (n INT PRIMARY KEY, at TIMESTAMP(6) DEFAULT CURRENT_TIMESTAMP(6))"); err != nil {
		h.t.Fatal(err)
	}
	w.wg.Add(1)
	go func() {
		defer w.wg.Done()
		defer db.Close()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		begin := time.Now()
		for n := 1; ; {
			at := time.Now()
			// What failed may be there all the same.
			_, err := db.ExecContext(context.Background(), "INSERT IGNORE INTO writes (n) VALUES (?)", n)
			w.mu.Lock()
			if err != nil {
				w.fails = append(w.fails, fmt.Sprintf("%s insert %d: %v", at.Format("15:04:05.000"), n, err))
			} else {
				w.rows++
			}
			w.gap = max(w.gap, time.Since(begin))
			if err == nil || !w.again {
				n++
				begin = time.Now()
			}
			w.mu.Unlock()
			select {
			case <-w.stop:
				return
			case <-tick.C:
			}
		}
	}()
	h.sh("server1", `rm -f /run/writer.*; nohup sh -c '
		i=0
		while [ ! -e /run/writer.stop ]; do
			i=$((i+1))
			echo $i | dd of=/mnt/gluster/uploads/written oflag=append conv=notrunc,fsync status=none 2>>/run/writer.err || echo "append $i failed" >> /run/writer.err
			echo $i > /run/writer.count
		done; touch /run/writer.done' >/dev/null 2>&1 &`)
	return w
}

// stopAndCheck ends the writers and compares what they were told with what is
// there, on the newest head.
func (w *writers) stopAndCheck(newest string) {
	h := w.h
	h.t.Helper()
	close(w.stop)
	w.wg.Wait()
	h.sh("server1", "touch /run/writer.stop")
	h.eventually("the volume's writer ends", time.Minute, func() (bool, string) {
		_, err := h.trySh("server1", "test -e /run/writer.done")
		return err == nil, ""
	})
	h.t.Logf("%d rows were written, the longest insert took %s", w.rows, w.gap.Round(time.Millisecond))
	for _, f := range w.fails {
		h.t.Logf("a client saw: %s", f)
	}
	switch {
	case len(w.fails) > 0 && !w.again:
		h.t.Errorf("%d inserts failed", len(w.fails))
	case len(w.fails) > 0 && w.gap > failoverBound:
		h.t.Errorf("inserts failed, and one took %s", w.gap)
	}
	got := h.sh(newest, `mariadb -N -e "SET SESSION wsrep_sync_wait=1; SELECT COUNT(*) FROM auth_portal.writes"`)
	if got != fmt.Sprint(w.rows) {
		h.t.Errorf("%s has %s rows, %d were acknowledged", newest, got, w.rows)
	}
	if out, _ := h.trySh("server1", "cat /run/writer.err"); out != "" {
		h.t.Errorf("the volume's writer saw: %s", out)
	}
	count := h.sh("server1", "cat /run/writer.count")
	h.t.Logf("%s fsynced appends to the volume", count)
	if got := h.sh(newest, "wc -l < /mnt/gluster/uploads/written"); strings.TrimSpace(got) != count {
		h.t.Errorf("%s has %s lines, %s were acknowledged", newest, got, count)
	}
}
