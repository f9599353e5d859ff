//go:build lab

package test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"

	"multihead/internal/drill/clients"
	"multihead/internal/lab"
)

// secretsRotate replaces passwords, the munge key and the agents' certificates while
// clients log in and write all the time, and while the tool is killed in between: no
// client is refused that has a password which is meant to be good, jobs go on, and what
// is retired is refused afterwards. It begins with a healthy cluster.
func secretsRotate(h *hosts) {
	t := h.t
	for _, s := range []struct {
		name string
		f    func(*hosts)
	}{
		{"passwords", passwordsRotate},
		{"certificates", certificatesRotate},
		{"the munge key", mungeRotates},
	} {
		if !t.Run(s.name, func(t *testing.T) { s.f(h.in(t)) }) {
			t.Fatal("the following steps build on this one")
		}
	}
}

// changeSecrets gives the lab's cluster file new values for these variables, and
// returns all values before and after, for canaries.
func (h *hosts) changeSecrets(names ...string) (old, all map[string]string) {
	h.t.Helper()
	old = h.secrets()
	all = maps.Clone(old)
	data, err := os.ReadFile(h.SecretsPath())
	if err != nil {
		h.t.Fatal(err)
	}
	text := string(data)
	for _, name := range names {
		next := strings.ToLower(rand.Text())[:20]
		if !strings.Contains(text, name+"="+old[name]+"\n") {
			h.t.Fatalf("the lab has no %s", name)
		}
		text = strings.Replace(text, name+"="+old[name]+"\n", name+"="+next+"\n", 1)
		all["the new "+name] = next
	}
	if err := os.WriteFile(h.SecretsPath(), []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
	if err := h.WriteClusterFile(h.ClusterFile(), lab.ClusterOptions{}); err != nil {
		h.t.Fatal(err)
	}
	return old, all
}

// logins logs in anew for every write, to the database through the VIP and to Redis,
// with passwords that may change meanwhile.
type logins struct {
	h      *hosts
	stop   chan struct{}
	wg     sync.WaitGroup
	mu     sync.Mutex
	good   []map[string]string // sets of passwords that have to be good now
	writes int
	again  []string // tries that ended in something else than a refusal, on a busy machine
	fails  []string
	begun  time.Time
}

// refused says whether an error is one of a password.
func refused(err error) bool {
	return slices.ContainsFunc([]string{"Access denied", "WRONGPASS", "NOAUTH", "invalid password"}, func(word string) bool { return strings.Contains(err.Error(), word) })
}

func (h *hosts) login(secrets map[string]string) error {
	ctx, cancel := context.WithTimeout(h.t.Context(), 20*time.Second)
	defer cancel()
	if err := h.loginSQL(ctx, secrets["DB_AUTH_PASSWORD"]); err != nil {
		return fmt.Errorf("the database: %w", err)
	}
	if err := h.loginRedis(ctx, secrets["REDIS_PASSWORD"]); err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	return nil
}

func (h *hosts) loginSQL(ctx context.Context, password string) error {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.DBName = "auth_user", password, "auth_portal"
	cfg.Net, cfg.Addr = "tcp", lab.VIP+":3306"
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) { return h.Dial(ctx, network, addr) }
	c, err := mysql.NewConnector(cfg)
	if err != nil {
		return err
	}
	db := sql.OpenDB(c)
	defer db.Close()
	_, err = db.ExecContext(ctx, "INSERT INTO logins () VALUES ()")
	return err
}

func (h *hosts) loginRedis(ctx context.Context, password string) error {
	var at []string
	for _, name := range h.names(lab.Head) {
		host, err := h.Host(name)
		if err != nil {
			return err
		}
		at = append(at, host.Address.String()+":6379", host.Address.String()+":6380")
	}
	c := clients.RedisClient(clients.RedisSpec{Addresses: at, Password: password},
		func(ctx context.Context, network, addr string) (net.Conn, error) { return h.Dial(ctx, network, addr) })
	defer c.Close()
	return c.Incr(ctx, "logins").Err()
}

func (h *hosts) startLogins(good ...map[string]string) *logins {
	h.t.Helper()
	w := &logins{h: h, stop: make(chan struct{}), good: good, begun: time.Now()}
	w.wg.Add(1)
	go func() {
		defer w.wg.Done()
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-w.stop:
				return
			case <-tick.C:
			}
			w.mu.Lock()
			sets := slices.Clone(w.good)
			w.mu.Unlock()
			for _, secrets := range sets {
				w.once(secrets)
			}
		}
	}()
	return w
}

// once logs in and writes. A refusal is one, whatever comes after; other errors may
// be those of a busy machine, and are tried again for a while.
func (w *logins) once(secrets map[string]string) {
	for begin := time.Now(); ; {
		err := w.h.login(secrets)
		w.mu.Lock()
		switch said := time.Now().Format("15:04:05.000"); {
		case err == nil:
			w.writes++
		case refused(err) || time.Since(begin) > time.Minute:
			w.fails = append(w.fails, said+" "+err.Error())
		default:
			w.again = append(w.again, said+" "+err.Error())
		}
		over := err == nil || len(w.fails) > 0
		w.mu.Unlock()
		select {
		case <-w.stop:
			return
		default:
		}
		if over {
			return
		}
	}
}

// use says which passwords have to be good from now on, and waits until each was used.
func (w *logins) use(good ...map[string]string) {
	w.h.t.Helper()
	w.mu.Lock()
	w.good = good
	until := w.writes + 2*len(good) + 1 // one may have begun with the ones before
	w.mu.Unlock()
	w.h.eventually("clients log in", time.Minute, func() (bool, string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.writes >= until || len(w.fails) > 0, fmt.Sprint(w.writes, w.fails)
	})
}

func (w *logins) end() {
	w.h.t.Helper()
	close(w.stop)
	w.wg.Wait()
	w.h.t.Logf("%d logins with a write each in %.0f s, %d tries again: %v", w.writes, time.Since(w.begun).Seconds(), len(w.again), w.again)
	for _, f := range w.fails {
		w.h.t.Errorf("a client saw: %s", f)
	}
}

func passwordsRotate(h *hosts) {
	h.sh("server1", `mariadb -e "CREATE TABLE auth_portal.logins (n BIGINT AUTO_INCREMENT PRIMARY KEY)"`)
	if r := h.must("rotate", "passwords", "--yes"); !strings.Contains(r.stdout, "No changes") {
		h.t.Errorf("nothing was changed in the file: %s", r)
	}
	old, all := h.changeSecrets("DB_AUTH_PASSWORD", "DB_SLURM_PASSWORD", "DB_ROOT_PASSWORD", "REDIS_PASSWORD")
	now := h.secrets()
	canary := h.watchFor(all)
	w := h.startLogins(old)
	w.use(old)

	if r := h.run("rotate", "passwords", "--finish", "--yes"); r.code == 0 || !strings.Contains(r.stderr, "does not use all passwords") {
		h.t.Errorf("finishing before anything began: %s", r)
	}
	r := h.must("rotate", "passwords", "--dry-run")
	if !strings.Contains(r.stdout, "accept the new passwords") || !strings.Contains(r.stdout, "othing was changed") {
		h.t.Errorf("the dry run: %s", r)
	}
	// Killed as Redis is told, and again as the agents are.
	for _, at := range []string{"accepts the new password", "write /etc/multihead/agent/cluster.yaml"} {
		begun, code, out := h.killedIn(func(step string) bool { return strings.Contains(step, at) }, "rotate", "passwords")
		if begun == "" {
			h.t.Fatalf("it was not killed at %q: exit %d\n%s", at, code, out)
		}
		w.use(old)
	}
	r = h.must("rotate", "passwords", "--yes")
	h.t.Logf("rotate passwords, the third run: %.1f s", r.took.Seconds())
	if !strings.Contains(r.stdout, "--finish") {
		h.t.Errorf("it does not say how it ends: %s", r)
	}
	w.use(old, now)
	if r := h.must("up", "--yes"); !strings.Contains(r.stdout, "No changes") {
		h.t.Errorf("up in between: %s", r)
	}
	if r := h.must("rotate", "passwords", "--yes"); !strings.Contains(r.stdout, "No changes") || !strings.Contains(r.stdout, "--finish") {
		h.t.Errorf("again: %s", r)
	}
	// One that starts anew meanwhile takes both as well. Clients have moved.
	head, port := h.aCopy(now["REDIS_PASSWORD"])
	h.sh(head, "systemctl restart redis-server@"+port)
	h.eventually("both are good after a restart", time.Minute, func() (bool, string) {
		for _, p := range []string{old["REDIS_PASSWORD"], now["REDIS_PASSWORD"]} {
			if out, err := h.askRedis(head, port, p, "PING"); err != nil || out != "PONG" {
				return false, fmt.Sprint(out, err)
			}
		}
		return true, ""
	})
	h.green()
	w.use(now)
	r = h.must("rotate", "passwords", "--finish", "--yes")
	h.t.Logf("rotate passwords --finish: %.1f s", r.took.Seconds())
	w.use(now)
	w.end()
	canary.stop()
	if err := h.loginSQL(h.t.Context(), old["DB_AUTH_PASSWORD"]); err == nil || !strings.Contains(err.Error(), "Access denied") {
		h.t.Errorf("the database takes the old password: %v", err)
	}
	for _, head := range h.names(lab.Head) {
		for _, port := range []string{"6379", "6380"} {
			if out, err := h.askRedis(head, port, old["REDIS_PASSWORD"], "PING"); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
				h.t.Errorf("redis on %s:%s takes the old password: %s, %v", head, port, out, err)
			}
		}
	}
	jobsFromEveryHead(h)
	for _, args := range [][]string{{"up", "--yes"}, {"rotate", "passwords", "--yes"}, {"rotate", "passwords", "--finish", "--yes"}} {
		if r := h.must(args...); !strings.Contains(r.stdout, "No changes") {
			h.t.Errorf("%v afterwards: %s", args, r)
		}
	}
	h.green()
	h.noneReadable(all)
}

// aCopy is a Redis server that no client needs for writing.
func (h *hosts) aCopy(password string) (head, port string) {
	h.t.Helper()
	for _, head := range h.names(lab.Head) {
		for _, port := range []string{"6380", "6379"} {
			out, err := h.askRedis(head, port, password, "ROLE")
			if err != nil {
				h.t.Fatal(err)
			}
			if strings.HasPrefix(out, "[slave") {
				return head, port
			}
		}
	}
	h.t.Fatal("there is no copy")
	return "", ""
}

// askRedis asks one server, without a command line that others could read.
func (h *hosts) askRedis(head, port, password, question string) (string, error) {
	c := redis.NewClient(&redis.Options{Addr: h.address(head) + ":" + port, Password: password, Dialer: h.Dial, MaxRetries: -1})
	defer c.Close()
	out, err := c.Do(h.t.Context(), question).Result()
	return fmt.Sprint(out), err
}

func certificatesRotate(h *hosts) {
	serial := func() string {
		var out []string
		for _, head := range h.names(lab.Head) {
			out = append(out, h.sh(head, "sha256sum < /etc/multihead/pki/ca.crt; grep -c BEGIN /etc/multihead/pki/ca.crt"))
		}
		return strings.Join(out, " ")
	}
	was := serial()
	if r := h.must("rotate", "certificates", "--yes"); !strings.Contains(r.stdout, "No changes") || serial() != was {
		h.t.Errorf("an authority of minutes: %s", r)
	}
	w := h.startLogins(h.secrets())
	holder := h.discover().VIPOwner
	for _, n := range []int{5, 7} {
		begun, code, out := h.killedIn(nth(n), "rotate", "certificates", "--older-than", "0s")
		if begun == "" {
			h.t.Fatalf("it was not killed: exit %d\n%s", code, out)
		}
		h.t.Logf("killed at: %s", begun)
		if r := h.run("up", "--yes"); r.code == 0 || !strings.Contains(r.stderr, "rotate certificates") {
			h.t.Errorf("up beside a rotation that was cut off: %s", r)
		}
	}
	r := h.must("rotate", "certificates", "--yes")
	h.t.Logf("rotate certificates, the third run: %.1f s", r.took.Seconds())
	w.end()
	if now := h.discover().VIPOwner; now != holder {
		h.t.Errorf("the address went from %s to %s", holder, now)
	}
	now := strings.Fields(serial())
	if slices.Equal(now, strings.Fields(was)) {
		h.t.Error("the authority is the same")
	}
	for i := range now {
		if now[i] != now[i%3] || i%3 == 2 && now[i] != "1" {
			h.t.Errorf("the heads trust different authorities, or more than one: %v", now)
		}
	}
	for _, args := range [][]string{{"rotate", "certificates", "--yes"}, {"up", "--yes"}} {
		if r := h.must(args...); !strings.Contains(r.stdout, "No changes") {
			h.t.Errorf("%v afterwards: %s", args, r)
		}
	}
	h.green()
}

func mungeRotates(h *hosts) {
	key := func(host string) string { return h.sh(host, "sha256sum < /etc/munge/munge.key") }
	was := key("server1")
	h.sh("server1", "rm -f /run/asker.*")
	job := strings.Split(h.sh("server1", "cd /tmp && sbatch --parsable --output=/dev/null --wrap='sleep 600'"), ";")[0]
	state := func() string { return h.sh("server2", "squeue --noheader --format=%T --jobs="+job) }
	h.eventually("the job runs", time.Minute, func() (bool, string) { s := state(); return s == "RUNNING", s })
	h.sh("server2", `nohup bash -c '
		gap=0; bad=0; n=0; last=$(date +%s%3N)
		while [ ! -e /run/asker.stop ]; do
			if squeue --noheader >/dev/null 2>&1; then now=$(date +%s%3N); [ $((now-last)) -gt $gap ] && gap=$((now-last)); last=$now; n=$((n+1)); else bad=$((bad+1)); fi
		done; echo "$n asked, $bad refused, longest gap $gap ms" > /run/asker.said' >/dev/null 2>&1 &`)

	// Killed in the middle of changing over, some hosts have one key and some the other.
	begun, code, out := h.killedIn(func(step string) bool { return strings.Contains(step, "start munge.service") }, "rotate", "munge", "--older-than", "0s")
	if begun == "" {
		h.t.Fatalf("it was not killed: exit %d\n%s", code, out)
	}
	r := h.must("rotate", "munge", "--yes")
	h.t.Logf("rotate munge, after one that was killed: %.1f s", r.took.Seconds())
	now := key("server1")
	if now == was {
		h.t.Error("the key is the same")
	}
	for _, host := range h.all() {
		if got := key(host); got != now {
			h.t.Errorf("%s has another key than server1", host)
		}
		if out := h.sh(host, "ls /etc/munge"); strings.Contains(out, "next") {
			h.t.Errorf("%s keeps a key that is in use: %s", host, out)
		}
	}
	if r := h.must("rotate", "munge", "--yes"); !strings.Contains(r.stdout, "No changes") {
		h.t.Errorf("again: %s", r)
	}
	h.sh("server2", "touch /run/asker.stop")
	h.eventually("the client ends", time.Minute, func() (bool, string) {
		out, err := h.trySh("server2", "cat /run/asker.said")
		if err == nil && out != "" {
			h.t.Log("squeue through two rotations: " + out)
		}
		return err == nil && out != "", out
	})
	if s := state(); s != "RUNNING" {
		h.t.Errorf("the job that ran is %s", s)
	}
	if out := h.sh("server1", "sinfo --noheader --nodes=node001 --format=%T"); strings.ContainsAny(out, "*") || strings.Contains(out, "down") {
		h.t.Errorf("node001 is %s", out)
	}
	h.sh("server1", "scancel "+job)
	jobsFromEveryHead(h)

	// A node that is off would be shut out: refused, or said, and given the key later.
	if err := h.PowerOff(h.t.Context(), "node001"); err != nil {
		h.t.Fatal(err)
	}
	if r := h.run("rotate", "munge", "--older-than", "0s", "--yes"); r.code == 0 || !strings.Contains(r.stderr, "--without node001") || key("server1") != now {
		h.t.Errorf("with a node off: %s", r)
	}
	h.must("rotate", "munge", "--older-than", "0s", "--without", "node001", "--yes")
	if err := h.PowerOn(h.t.Context(), "node001"); err != nil {
		h.t.Fatal(err)
	}
	h.must("rotate", "munge", "--yes")
	if a, b := key("server1"), key("node001"); a != b || a == now {
		h.t.Errorf("the node that was off has %s, server1 %s, before %s", b, a, now)
	}
	h.must("up", "--yes")
	h.green()
	jobsFromEveryHead(h)
}
