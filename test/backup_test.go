//go:build lab

package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"multihead/internal/lab"
)

// A snapshot is made and brought back while clients write, what is damaged is
// found, and the timers make one snapshot between them, also after a failover.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	h := newLab(t, lab.Spec{Name: "bak", Heads: 3, Compute: 1, Spare: 1})
	h.backups()
	h.must("up", "--yes")
	h.green()
	if r := h.must("up", "--yes"); !strings.Contains(r.stdout, "No changes") {
		t.Errorf("up: %s", r)
	}
	for _, head := range h.names(lab.Head) {
		if got := h.sh(head, "stat -c '%a %U' /etc/multihead/backup.key /data/system_backup"); got != "600 root\n700 root" {
			t.Errorf("%s: %s", head, got)
		}
		for _, tm := range []string{"full", "incremental"} {
			h.sh(head, "systemctl is-active multihead-backup-"+tm+".timer && systemd-analyze calendar \"$(systemctl cat multihead-backup-"+tm+".timer | sed -n s/OnCalendar=//p)\"")
		}
	}
	h.sh("server1", fill)

	t.Run("a dropped database comes back equal while clients write", func(t *testing.T) { dropped(h.in(t)) })
	t.Run("what exists is replaced only by name, and stays beside", func(t *testing.T) { replaced(h.in(t)) })
	t.Run("a damaged copy is found, and another head's is used", func(t *testing.T) { damaged(h.in(t)) })
	t.Run("a snapshot of a newer server, or of another format, is refused", func(t *testing.T) { foreign(h.in(t)) })
	t.Run("a full disk is found before anything is collected", func(t *testing.T) { full(h.in(t)) })
	t.Run("a backup that was cut off leaves nothing that counts", func(t *testing.T) { cutOff(h.in(t)) })
	t.Run("jobs, files and configuration come back, or stay where that fails", func(t *testing.T) { parts(h.in(t)) })
	t.Run("the timers make one snapshot, also after the leading head died", func(t *testing.T) { scheduled(h.in(t)) })
	t.Run("a rehearsal brings the cluster back on fresh hosts, equal", func(t *testing.T) { rehearsed(h.in(t)) })
}

// fill makes a database with everything that a database has.
const fill = `mariadb -e "CREATE DATABASE site; CREATE TABLE site.log (id BIGINT AUTO_INCREMENT PRIMARY KEY, at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP(3)); CREATE USER client@'%' IDENTIFIED BY 'lab'; GRANT ALL ON site.* TO client@'%'"
mariadb auth_portal <<"E"
CREATE TABLE users (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50), notes TEXT, bin VARBINARY(64));
CREATE TABLE rights (id INT AUTO_INCREMENT PRIMARY KEY, user_id INT, what VARCHAR(20), FOREIGN KEY (user_id) REFERENCES users(id));
INSERT INTO users (name,notes,bin) SELECT CONCAT("u",seq), REPEAT("한글 'note'\n", 5), UNHEX(SHA2(seq,256)) FROM seq_1_to_20000;
INSERT INTO rights (user_id,what) SELECT id, "read" FROM users WHERE id % 2 = 1;
CREATE TABLE audit (id INT AUTO_INCREMENT PRIMARY KEY, u INT);
CREATE TRIGGER users_ai AFTER INSERT ON users FOR EACH ROW INSERT INTO audit (u) VALUES (NEW.id);
CREATE VIEW readers AS SELECT u.name, g.what FROM users u JOIN rights g ON g.user_id=u.id;
DELIMITER //
CREATE PROCEDURE how_many() BEGIN SELECT COUNT(*) FROM users; END//
CREATE FUNCTION twice(x INT) RETURNS INT DETERMINISTIC RETURN 2*x//
E
# Two whose views read each other's: neither can be made whole without the other.
mariadb -e "CREATE DATABASE cad; CREATE DATABASE sim; CREATE TABLE cad.parts (id INT PRIMARY KEY, run INT); CREATE TABLE sim.runs (id INT PRIMARY KEY, state INT);
INSERT INTO cad.parts VALUES (1, 7); INSERT INTO sim.runs VALUES (7, 3);
CREATE VIEW cad.open AS SELECT p.id, r.state FROM cad.parts p JOIN sim.runs r ON r.id=p.run;
CREATE VIEW sim.used AS SELECT r.id, o.state FROM sim.runs r JOIN cad.open o;
CREATE VIEW cad.all_used AS SELECT id, state FROM sim.used;
GRANT SELECT ON cad.open TO client@'%';
CREATE DEFINER=client@'%' VIEW site.own AS SELECT id FROM site.log; CREATE DEFINER=client@'%' VIEW site.by AS SELECT id FROM site.own"
# What databases have after some years: rows that do not fit a statement as they are dumped,
# a view and a right about what is gone, a role.
mariadb -e "CREATE DATABASE odd COMMENT 'it''s; odd'"
mariadb odd <<"E"
CREATE TABLE big (id INT PRIMARY KEY, b LONGBLOB);
INSERT INTO big VALUES (1, REPEAT(x'00ff', 5*1024*1024));
CREATE TABLE gone (id INT);
CREATE VIEW stale AS SELECT id FROM gone;
CREATE VIEW fine AS SELECT id FROM big;
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DO DELETE FROM big WHERE id < 0;
CREATE EVENT off ON SCHEDULE EVERY 1 DAY DISABLE DO DELETE FROM big WHERE id < 0;
CREATE ROLE staff;
GRANT SELECT ON odd.* TO staff;
GRANT staff TO client@'%';
SET DEFAULT ROLE staff FOR client@'%';
GRANT SELECT ON odd.gone TO client@'%';
DROP TABLE gone;
E`

// backups adds the section to the lab's cluster file.
func (h *hosts) backups() {
	h.t.Helper()
	h.clusterFile(append(h.names(lab.Head), h.names(lab.Compute)...)...)
	data, err := os.ReadFile(h.file)
	if err != nil {
		h.t.Fatal(err)
	}
	const after = "    directories: [frontend_builds, slurm/state, slurm/logs, uploads, config]\n"
	// Half a day from now: a timer that runs out in the middle makes one snapshot more.
	hour := time.Now().UTC().Add(12*time.Hour + 9*time.Hour).Hour() // of the lab's time zone, Asia/Seoul
	text := strings.Replace(string(data), after, after+fmt.Sprintf(`  backup:
    enabled: true
    schedule: {full_backup: "0 %[1]d * * 0", incremental: "0 %[1]d * * 1-6"}
    retention: {daily: 7, weekly: 4, monthly: 12}
    items: [configs, databases, slurm_state, glusterfs_meta, volume]
`, hour), 1)
	if text == string(data) {
		h.t.Fatal("the lab's cluster file has no place for the section")
	}
	if err := os.WriteFile(h.file, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// content is everything of a database as a dump has it. What a table will number
// next is left out: each head keeps that for itself.
func (h *hosts) content(head, db string) string {
	h.t.Helper()
	return h.sh(head, "mariadb-dump --skip-dump-date --routines --triggers "+db+" | sed 's/ AUTO_INCREMENT=[0-9]*//' | sha256sum")
}

// listing is what `backup list -o json` prints, as far as the tests read it.
type listing struct {
	Snapshots []listedSnapshot `json:"snapshots"`
	Problems  []string         `json:"problems"`
}

type listedSnapshot struct {
	ID       string            `json:"id"`
	Host     string            `json:"host"`
	Heads    []string          `json:"heads"`
	Bad      map[string]string `json:"bad"`
	Verified *time.Time        `json:"verified"`
}

func (h *hosts) snapshots() listing {
	h.t.Helper()
	r := h.must("backup", "list", "-o", "json")
	var l listing
	if err := json.Unmarshal([]byte(r.stdout), &l); err != nil {
		h.t.Fatalf("%v: %s", err, r)
	}
	return l
}

// clientThroughVIP writes rows until the file /run/client.stop is there, and
// returns how many were acknowledged, how many refused, and the longest time in
// milliseconds between two.
func (h *hosts) clientThroughVIP(from string, during func()) (acknowledged, refused, gap int) {
	h.t.Helper()
	h.sh(from, "rm -f /run/client.stop")
	ctx, cancel := context.WithTimeout(h.t.Context(), 4*time.Minute)
	defer cancel()
	type end struct {
		out string
		err error
	}
	done := make(chan end, 1)
	go func() {
		out, err := h.Exec(ctx, from, "bash", "-c", `n=0; bad=0; gap=0; last=$(date +%s%3N)
while [ ! -e /run/client.stop ]; do
  if mariadb --connect-timeout=2 -h `+lab.VIP+` -u client -plab site -e "INSERT INTO log () VALUES ()" 2>/dev/null; then
    now=$(date +%s%3N); [ $((now-last)) -gt $gap ] && gap=$((now-last)); last=$now; n=$((n+1)); : > /run/client.writes
  else bad=$((bad+1)); fi
done; echo $n $bad $gap`)
		done <- end{out, err}
	}()
	h.eventually("the client writes", time.Minute, func() (bool, string) {
		out, err := h.trySh(from, "ls /run/client.writes")
		return err == nil, out
	})
	during()
	h.sh(from, "touch /run/client.stop; rm -f /run/client.writes")
	e := <-done
	if _, err := fmt.Sscan(e.out, &acknowledged, &refused, &gap); err != nil {
		h.t.Fatalf("the client said %q: %v, %v", e.out, err, e.err)
	}
	return acknowledged, refused, gap
}

func dropped(h *hosts) {
	before := h.content("server1", "auth_portal")
	var made, back result
	n, bad, gap := h.clientThroughVIP("server2", func() {
		made = h.must("backup", "create")
		h.sh("server2", "mariadb -e 'DROP DATABASE auth_portal; DROP DATABASE cad; DROP DATABASE sim'")
		dry := h.must("restore", "--latest", "--dry-run")
		if !strings.Contains(dry.stdout, "auth_portal") || strings.Contains(dry.stdout, "load site") {
			h.t.Errorf("the dry run: %s", dry)
		}
		if got := h.sh("server1", "mariadb -N -e \"SHOW DATABASES LIKE '%auth_portal'\""); got != "" {
			h.t.Errorf("the dry run made %s", got)
		}
		back = h.must("restore", "--latest", "--yes")
	})
	for _, head := range h.names(lab.Head) {
		if after := h.content(head, "auth_portal"); after != before {
			h.t.Errorf("%s: auth_portal is %s, and was %s", head, after, before)
		}
		if got := h.sh(head, "mariadb -N -e 'SELECT id, state FROM cad.all_used'"); got != "7\t3" {
			h.t.Errorf("%s: the views that need each other's databases say %q", head, got)
		}
	}
	h.t.Logf("made in %.1f s, brought back in %.1f s; %d writes acknowledged, %d refused, longest gap %d ms", made.took.Seconds(), back.took.Seconds(), n, bad, gap)
	if rows, err := strconv.Atoi(h.sh("server3", "mariadb -N -e 'SELECT COUNT(*) FROM site.log'")); err != nil || rows < n || bad > 0 {
		h.t.Errorf("%d rows of %d acknowledged writes, %d refused: %v", rows, n, bad, err)
	}
	for _, said := range []string{"odd.stale cannot be dumped", "odd.nightly, odd.off"} {
		if !strings.Contains(made.stderr, said) {
			h.t.Errorf("nobody was warned of %q: %s", said, made)
		}
	}
	l := h.snapshots()
	if len(l.Snapshots) != 1 || len(l.Snapshots[0].Heads) != 3 || l.Snapshots[0].Verified == nil || len(l.Problems) > 0 {
		h.t.Errorf("%+v", l)
	}
	if l.Snapshots[0].Host == h.holder() {
		h.t.Error("it was made on the head that holds the virtual address")
	}
	if r := h.must("restore", "--latest", "--yes"); !strings.Contains(r.stdout, "Nothing is missing") {
		h.t.Errorf("again: %s", r)
	}
	secret := strings.TrimSpace(h.sh("server1", "cat /etc/multihead/backup.key"))
	for _, r := range []result{made, back} {
		if strings.Contains(r.stdout+r.stderr, secret) {
			h.t.Error("the repositories' password is shown")
		}
	}
}

func replaced(h *hosts) {
	before := h.content("server1", "auth_portal")
	h.sh("server1", "mariadb auth_portal -e 'DELETE FROM rights; DROP VIEW readers; DROP PROCEDURE how_many; CREATE TABLE later (id INT PRIMARY KEY); INSERT INTO later VALUES (7)'")
	args := []string{"restore", "--latest", "--only", "database", "--database", "auth_portal", "--yes"}
	if r := h.run(args...); r.code != 64 || !strings.Contains(r.stderr, "--confirm "+h.Spec.Name) {
		h.t.Errorf("nobody typed the name: %s", r)
	}
	if got := h.sh("server1", "mariadb -N -e 'SELECT COUNT(*) FROM auth_portal.rights'"); got != "0" {
		h.t.Errorf("a refused restore changed something: %s", got)
	}
	// A restore that fails before anything was moved leaves what is there where it is.
	h.each(h.names(lab.Head), "cd /data/system_backup && ! test -e kept && touch kept")
	if r := h.run(append(args, "--confirm", h.Spec.Name)...); r.code == 0 || !strings.Contains(r.stdout+r.stderr, "kept") {
		h.t.Errorf("nothing could be kept, and it goes on: %s", r)
	}
	if got := h.sh("server1", "mariadb -N -e 'SELECT id FROM auth_portal.later'"); got != "7" {
		h.t.Fatalf("a restore that failed took what was there away: %s", got)
	}
	h.each(h.names(lab.Head), "rm /data/system_backup/kept")
	h.must(append(args, "--confirm", h.Spec.Name)...)
	if after := h.content("server3", "auth_portal"); after != before {
		h.t.Errorf("auth_portal is %s, and was %s", after, before)
	}
	kept := h.sh("server2", "mariadb -N -e \"SHOW DATABASES LIKE 'mh\\\\_old%auth_portal'\"")
	if got := h.sh("server2", "mariadb -N -e 'SELECT id FROM `"+kept+"`.later'"); got != "7" {
		h.t.Errorf("%s does not have what was replaced: %s", kept, got)
	}
	h.sh("server2", "mariadb -e 'DROP DATABASE `"+kept+"`'")
}

func damaged(h *hosts) {
	maker := h.snapshots().Snapshots[0].Host
	// One byte in the middle of the largest file.
	file := h.sh(maker, "ls -S /data/system_backup/repository/data/*/* | head -1")
	h.sh(maker, "chmod u+w "+file+"; printf X | dd of="+file+" bs=1 seek=$(($(stat -c %s "+file+")/2)) conv=notrunc status=none")
	r := h.run("backup", "verify", "--latest")
	if r.code != 1 || !strings.Contains(r.stderr, maker) {
		h.t.Errorf("the damage is not found: %s", r)
	}
	l := h.snapshots().Snapshots[0]
	if l.Bad[maker] == "" || len(l.Heads) != 2 {
		h.t.Errorf("%+v", l)
	}
	if r := h.run("status"); r.code != 1 || !strings.Contains(r.stdout, "damaged") {
		h.t.Errorf("status: %s", r)
	}
	before := h.content("server1", "auth_portal")
	h.sh("server1", "mariadb -e 'DROP DATABASE auth_portal'")
	if r := h.must("restore", "--latest", "--yes"); strings.Contains(r.stdout, "on "+maker+"\n") && strings.Contains(r.stdout, "load auth_portal beside what is there, and compare it  on "+maker) {
		h.t.Errorf("the damaged copy was used: %s", r)
	}
	if after := h.content(maker, "auth_portal"); after != before {
		h.t.Errorf("auth_portal is %s, and was %s", after, before)
	}
	// The copy is thrown away, and comes again with the next snapshot's.
	h.sh(maker, "rm -r /data/system_backup/repository /data/system_backup/snapshots")
}

func foreign(h *hosts) {
	const file = "/data/system_backup/snapshots/*/metadata.json"
	var had []string
	for _, head := range h.names(lab.Head) {
		if h.sh(head, "ls "+file+" 2>/dev/null || true") != "" {
			had = append(had, head)
		}
	}
	h.each(had, "cp -a "+file+" /root/metadata; sed -i 's/\"mariadb\": \"[^\"]*\"/\"mariadb\": \"99.1.0\"/' "+file)
	if r := h.run("restore", "--latest", "--only", "database", "--confirm", h.Spec.Name, "--yes"); r.code != 1 || !strings.Contains(r.stderr, "99.1.0") {
		h.t.Errorf("a newer server's snapshot: %s", r)
	}
	h.each(had, "sed -i 's/\"version\": 1,/\"version\": 2,/' "+file)
	if r := h.run("restore", "--latest", "--yes"); r.code != 1 || !strings.Contains(r.stderr, "no snapshot") {
		h.t.Errorf("another format: %s", r)
	}
	if l := h.snapshots(); len(l.Snapshots) != 0 || len(l.Problems) != len(had) {
		h.t.Errorf("%+v", l)
	}
	h.each(had, "cp -a /root/metadata "+file)
}

func full(h *hosts) {
	heads := h.names(lab.Head)
	h.each(heads, "mkdir -p /data/system_backup && mount -t tmpfs -o size=60m,mode=700 tmpfs /data/system_backup")
	r := h.run("backup", "create")
	if r.code != 1 || !strings.Contains(r.stderr, "free") {
		h.t.Errorf("%s", r)
	}
	h.each(heads, "test ! -e /data/system_backup/staging && umount /data/system_backup")
	h.green()
}

func cutOff(h *hosts) {
	was := len(h.snapshots().Snapshots)
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	cmd := h.command(ctx, "backup", "create")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	var maker string
	h.eventually("it is at work", time.Minute, func() (bool, string) {
		for _, head := range h.names(lab.Head) {
			if _, err := h.trySh(head, "ls -d /data/system_backup/staging/databases"); err == nil {
				maker = head
				return true, ""
			}
		}
		return false, "nobody collects"
	})
	if err := cmd.Process.Kill(); err != nil {
		h.t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if n := len(h.snapshots().Snapshots); n != was {
		h.t.Errorf("%d snapshots, %d before", n, was)
	}
	// What was at work ends by itself, and the next one waits for nobody who is gone.
	h.eventually("the work that lost its tool ends", 3*time.Minute, func() (bool, string) {
		out, err := h.trySh(maker, "pgrep -af '[b]ackup-work'")
		return err != nil, out
	})
	h.sh(maker, "touch -d '-10 min' /data/system_backup/staging/.owner")
	h.must("backup", "create")
	if l := h.snapshots(); len(l.Snapshots) != was+1 || len(l.Problems) > 0 {
		h.t.Errorf("%+v", l)
	}
	h.sh(maker, "test ! -e /data/system_backup/staging")
}

func scheduled(h *hosts) {
	count := func() int { return len(h.snapshots().Snapshots) }
	fire := func(heads []string) {
		h.each(heads, "systemctl start multihead-backup-full.service")
	}
	was := count()
	// Those of the same day give way to it: what counts is the newest.
	newest := h.snapshots().Snapshots[was-1].ID
	heads := h.names(lab.Head)
	fire(heads)
	l := h.snapshots()
	if got := l.Snapshots[len(l.Snapshots)-1].ID; got == newest || made(h, heads) != 1 {
		h.t.Errorf("%d heads made a snapshot; the newest is %s, and was %s", made(h, heads), got, newest)
	}
	if err := h.PowerOff(h.t.Context(), "server1"); err != nil {
		h.t.Fatal(err)
	}
	rest := []string{"server2", "server3"}
	h.eventually("server2 acts for the cluster", 3*time.Minute, func() (bool, string) {
		out, err := h.trySh("server2", "curl -s --unix-socket /run/multihead/agent.sock http://agent/v1/report | grep -o '\"leads\":true'")
		return err == nil, out
	})
	newest = l.Snapshots[len(l.Snapshots)-1].ID
	// Right after a failover one may find a service without a master, and is
	// started anew by systemd.
	h.each(rest, "systemctl start --no-block multihead-backup-full.service")
	h.eventually("there is a new one, on both", 3*time.Minute, func() (bool, string) {
		l = h.snapshots2()
		got := l.Snapshots[len(l.Snapshots)-1]
		return got.ID != newest && len(got.Heads) == 2, h.sh("server2", "journalctl --no-pager -o cat -n 5 -u multihead-backup-full.service")
	})
	// It is listed before it has been read back.
	h.eventually("the timers' work has ended on both", 3*time.Minute, func() (bool, string) {
		for _, head := range rest {
			if out, _ := h.trySh(head, "systemctl is-active multihead-backup-full.service"); out != "inactive" {
				return false, head + ": " + out
			}
		}
		return true, ""
	})
	if n := made(h, rest); n != 1 {
		h.t.Errorf("%d of %v made one", n, rest)
	}
}

// snapshots2 is snapshots while a head is off.
func (h *hosts) snapshots2() listing {
	h.t.Helper()
	r := h.run("backup", "list", "-o", "json")
	var l listing
	if err := json.Unmarshal([]byte(r.stdout), &l); err != nil || len(l.Snapshots) == 0 {
		h.t.Fatalf("%v: %s", err, r)
	}
	return l
}

// made counts the heads whose timer's service made a snapshot.
func made(h *hosts, heads []string) int {
	n := 0
	for _, head := range heads {
		if strings.Contains(h.sh(head, "journalctl --no-pager -o cat -u multihead-backup-full.service"), "read back and whole") {
			n++
		}
	}
	return n
}
