//go:build lab

package test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"multihead/internal/lab"
)

// MariaDB, Galera, GlusterFS, Slurm, munge, Redis and keepalived become newer on three
// heads, one after the other, the one with the address last, while clients write through
// the virtual address and to Redis. A package whose daemon does not start, and one whose
// script fails, stop it at the first head, which gets back what it had. A run that was
// killed in between is gone on with.
func TestPackagesAreUpgradedOneHeadAtATime(t *testing.T) {
	t.Parallel()
	h := newLab(t, lab.Spec{Name: "upg", Heads: 3})
	h.must("up", "--yes")
	h.green()
	if r := h.must("upgrade", "--yes"); !strings.Contains(r.stdout, "No changes") {
		t.Errorf("with nothing newer: %s", r)
	}
	was := h.versions()
	rows, keys := h.startRows(), h.startKeys()

	h.stopsAtTheFirstHead(was, "1", "[ $p != redis-tools ] || printf '#!/bin/sh\\nexit 1\\n' > $d/usr/bin/redis-check-rdb", "start redis-server@")
	h.stopsAtTheFirstHead(was, "2", "[ $p != redis-server ] || { printf '#!/bin/sh\\n[ \"$1\" != configure ] || exit 1\\n' > $d/DEBIAN/postinst; chmod 755 $d/DEBIAN/postinst; }", "FAILED server2: upgrade keepalived")
	keys.strict(t)

	h.offer("3", "", "redis", "keepalived", "mariadb", "galera-4", "glusterfs", "slurm-wlm", "munge")
	r := h.must("upgrade", "--dry-run")
	for _, word := range []string{"redis-server", "keepalived", "mariadb-server", "galera-4", "glusterfs-server", "slurmctld", "munge", "Nothing was changed"} {
		if !strings.Contains(r.stdout, word) {
			t.Errorf("the plan does not say %q: %s", word, r)
		}
	}
	// Every head has read its sources: the run before did.
	begun, code, out := h.killedIn(func(step string) bool { return strings.Contains(step, "start redis-server@") }, "upgrade")
	if begun == "" {
		t.Fatalf("nothing to kill it at: exit %d\n%s", code, out)
	}
	t.Logf("killed at: %s", begun)
	r = h.must("upgrade", "--yes")
	t.Logf("the rest took %.1f s", r.took.Seconds())
	h.green()
	for head, v := range h.versions() {
		for name, now := range v {
			if now != was[head][name]+"+mh3" {
				t.Errorf("%s on %s is %s", name, head, now)
			}
		}
	}
	if heads := h.oneByOne(); !slices.Equal(heads, []string{"server2", "server3", "server1"}) {
		t.Errorf("the heads were done in the order %v", heads)
	}
	keys.strict(t)
	keys.stopAndCheck(t)
	rows.stopAndCheck("server2")
	if r := h.must("upgrade", "--yes"); !strings.Contains(r.stdout, "No changes") {
		t.Errorf("twice: %s", r)
	}
	if r := h.must("maintenance", "list"); strings.Contains(r.stdout, "server") {
		t.Errorf("a head is in maintenance still: %s", r)
	}
	if r := h.must("up", "--yes"); !strings.Contains(r.stdout, "No changes") {
		t.Errorf("up after it: %s", r)
	}
}

// madeNewer lists, on a head, the packages that are made of sources, as a pattern.
func madeNewer(sources ...string) string {
	return fmt.Sprintf(`dpkg-query -W -f '${source:Package} ${db:Status-Abbrev} ${Package} ${Version}\n' | awk '$1 ~ /^(%s)$/ && $2 == "ii" { print $3, $4 }'`, strings.Join(sources, "|"))
}

// versions are the versions of what an upgrade is about, on every head.
func (h *hosts) versions() map[string]map[string]string {
	h.t.Helper()
	out := map[string]map[string]string{}
	for _, head := range h.names(lab.Head) {
		out[head] = map[string]string{}
		for line := range strings.Lines(h.sh(head, madeNewer("redis", "keepalived", "mariadb", "galera-4", "glusterfs", "slurm-wlm", "munge"))) {
			name, version, _ := strings.Cut(strings.TrimSpace(line), " ")
			out[head][name] = version
		}
		if len(out[head]) < 20 {
			h.t.Errorf("%s has of what is to be upgraded only %v", head, out[head])
		}
	}
	return out
}

// offer gives every head a source with newer packages, made of those that it has of some
// sources. spoil is a script that sees each package's directory as $d.
func (h *hosts) offer(revision, spoil string, sources ...string) {
	h.t.Helper()
	script := fmt.Sprintf(`set -e
repo=/srv/newer; work=$(mktemp -d); rm -rf $repo; mkdir $repo
%s | while read p old; do
	d=$work/$p; mkdir -p $d/DEBIAN; chmod 755 $d
	dpkg -L $p | sed -n 's|^/\(..*\)|\1|p' | grep -vx '\.' | tar -C / --no-recursion --ignore-failed-read -cf - -T - 2>/dev/null | tar -C $d -xpf -
	dpkg-query -s $p | awk '/^[^ ]/ { skip = /^(Status|Conffiles):/ } !skip' | sed "s|$old|$old+mh%s|g" > $d/DEBIAN/control
	for s in preinst postinst prerm postrm conffiles config templates triggers shlibs; do [ ! -e /var/lib/dpkg/info/$p.$s ] || cp -p /var/lib/dpkg/info/$p.$s $d/DEBIAN/$s; done
	%s
	dpkg-deb -Zgzip -z1 -b $d $repo/$p.deb >/dev/null
done
rm -rf $work; cd $repo
for f in *.deb; do dpkg-deb -f $f; echo "Filename: ./$f"; echo "Size: $(stat -c %%s $f)"; echo "SHA256: $(sha256sum $f | cut -d' ' -f1)"; echo; done > Packages
printf 'Origin: site\nLabel: site\nDate: %%s\nSHA256:\n %%s %%s Packages\n' "$(date -uR)" "$(sha256sum Packages | cut -d' ' -f1)" "$(stat -c %%s Packages)" > Release
echo 'deb [trusted=yes] file:/srv/newer ./' > /etc/apt/sources.list.d/newer.list
apt-get -qq update`, madeNewer(sources...), revision, spoil)
	var wg sync.WaitGroup
	for _, head := range h.names(lab.Head) {
		wg.Go(func() {
			if out, err := h.trySh(head, script); err != nil {
				h.t.Errorf("packages on %s: %v\n%s", head, err, out)
			}
		})
	}
	wg.Wait()
	if h.t.Failed() {
		h.t.FailNow()
	}
}

// stopsAtTheFirstHead offers packages that are broken: the upgrade fails, all heads have
// what they had, and on two of them nothing was touched.
func (h *hosts) stopsAtTheFirstHead(was map[string]map[string]string, revision, spoil, at string) {
	h.t.Helper()
	h.offer(revision, spoil, "redis", "keepalived")
	pids := func(head string) string { return h.sh(head, "pidof redis-server keepalived mariadbd slurmctld") }
	before := map[string]string{"server1": pids("server1"), "server3": pids("server3")}
	r := h.run("upgrade", "--yes")
	h.t.Logf("stopped after %.1f s", r.took.Seconds())
	if r.code != 1 || !strings.Contains(r.stderr, at) || !strings.Contains(r.stderr, "on server2") || !strings.Contains(r.stderr, "the cluster is up again") {
		h.t.Errorf("with a broken package: %s", r)
	}
	for _, head := range []string{"server1", "server3"} {
		if now := pids(head); now != before[head] {
			h.t.Errorf("on %s daemons were %s and are %s", head, before[head], now)
		}
	}
	for head, v := range h.versions() {
		for name, now := range v {
			if now != was[head][name] {
				h.t.Errorf("%s on %s is %s, not as before", name, head, now)
			}
		}
	}
	h.green()
	if out := h.sh("server2", "dpkg --audit; ls /usr/sbin/policy-rc.d /etc/multihead/maintenance.json 2>/dev/null; true"); out != "" {
		h.t.Errorf("on the head that was brought back: %s", out)
	}
}

// oneByOne are the heads in the order in which upgrades came to their end on them.
func (h *hosts) oneByOne() []string {
	h.t.Helper()
	var list struct {
		Runs []struct{ ID, Command string }
	}
	if err := json.Unmarshal([]byte(h.must("runs", "list", "-o", "json").stdout), &list); err != nil {
		h.t.Fatal(err)
	}
	var run struct {
		Result string
		Did    []struct{ Phase, Host, Step, Result string }
	}
	var heads []string
	slices.Reverse(list.Runs) // the oldest first
	for _, r := range list.Runs {
		if !strings.Contains(r.Command, "upgrade --yes") {
			continue
		}
		if err := json.Unmarshal([]byte(h.must("runs", "show", r.ID, "-o", "json").stdout), &run); err != nil {
			h.t.Fatal(err)
		}
		for _, s := range run.Did {
			if s.Step == "upgrade.green" && s.Result == "done" && run.Result == "done" {
				heads = append(heads, s.Host)
			}
		}
	}
	return heads
}

// rowWriter writes rows through the virtual address, each over a connection of its own,
// and each until it is acknowledged, as a portal does.
type rowWriter struct {
	h        *hosts
	stop     chan struct{}
	done     sync.WaitGroup
	rows     int
	gap      time.Duration
	episodes []string // the first failure after a success, each
}

func (h *hosts) startRows() *rowWriter {
	h.t.Helper()
	w := &rowWriter{h: h, stop: make(chan struct{})}
	db := h.database()
	if _, err := db.ExecContext(h.t.Context(), "CREATE TABLE rows_kept (n INT PRIMARY KEY)"); err != nil {
		h.t.Fatal(err)
	}
	db.SetMaxIdleConns(-1)
	w.done.Go(func() {
		defer db.Close()
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			w.write(db, w.rows+1)
			select {
			case <-w.stop:
				return
			case <-tick.C:
			}
		}
	})
	return w
}

// write writes one row, until it is there or the test is over.
func (w *rowWriter) write(db *sql.DB, n int) {
	begin := time.Now()
	for try := 1; ; try++ {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		_, err := db.ExecContext(ctx, "INSERT INTO rows_kept (n) VALUES (?)", n)
		cancel()
		var said *mysql.MySQLError
		if err == nil || try > 1 && errors.As(err, &said) && said.Number == 1062 { // an earlier try was it
			w.rows = n
			w.gap = max(w.gap, time.Since(begin))
			return
		}
		if try == 1 {
			w.episodes = append(w.episodes, fmt.Sprintf("%s row %d: %v", begin.Format("15:04:05.000"), n, err))
		}
		select {
		case <-w.stop:
			return
		default:
		}
	}
}

// stopAndCheck counts the rows on a head. Requests may fail when the address moves: once
// when its head goes, and once when it comes back.
func (w *rowWriter) stopAndCheck(head string) {
	h := w.h
	h.t.Helper()
	close(w.stop)
	w.done.Wait()
	h.t.Logf("%d rows were written, the longest took %s; failures: %q", w.rows, w.gap.Round(time.Millisecond), w.episodes)
	if w.gap > failoverBound {
		h.t.Errorf("a row took %s", w.gap)
	}
	got := h.sh(head, `mariadb -N -e "SET SESSION wsrep_sync_wait=1; SELECT COUNT(*) FROM auth_portal.rows_kept WHERE n <= `+fmt.Sprint(w.rows)+`"`)
	if got != fmt.Sprint(w.rows) || w.rows == 0 {
		h.t.Errorf("%s has %s rows, %d were acknowledged", head, got, w.rows)
	}
}
