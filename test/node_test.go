//go:build lab

package test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"multihead/internal/drill/clients"
	"multihead/internal/lab"
)

// A fifth head joins and leaves while clients write to the database through the virtual
// address, to Redis and to the volume: no write fails, and everything is on the
// head that joined, and on those that stay once it has left. With another head off
// both are refused as a whole. A dead head is replaced by a fresh host.
func TestHeadsJoinLeaveAndAreReplacedWithClientsWriting(t *testing.T) {
	t.Parallel()
	h := newLab(t, lab.Spec{Name: "nod", Heads: 4, Spare: 1, Data: 1 << 30})
	h.clusterFile("server1", "server2", "server3", "server4")
	h.note("# rack 7, left door")
	h.must("up", "--yes")
	h.sh("server1", `cd /mnt/gluster/config && for i in $(seq 200); do echo "$i $(head -c 100 /dev/urandom | base64 -w0)" > f$i; done; sync`)
	h.sh("server1", `mariadb auth_portal -e "CREATE TABLE auth_portal.kept (n INT PRIMARY KEY, t TEXT); INSERT INTO auth_portal.kept SELECT seq, SHA2(RAND(), 512) FROM seq_1_to_20000"`)
	writers, keys := h.startWriters(true), h.startKeys()

	r := h.must("node", "add", "--name", "spare1", "--ip", h.address("spare1"), "--yes")
	t.Logf("add took %.1f s", r.took.Seconds())
	h.green()
	h.sameBricks("server1", "spare1")
	h.sameTables("kept", "server1", "spare1")
	if r := h.must("node", "add", "--name", "spare1", "--ip", h.address("spare1"), "--yes"); !strings.Contains(r.stdout, "No changes") {
		t.Errorf("added twice: %s", r)
	}

	h.leaves("spare1", keys)
	keys.strict(t)

	h.refusedWithAnotherOff(keys)
	h.replaced("server3", "spare1")
	keys.stopAndCheck(t)
	writers.stopAndCheck("spare1")
	h.sameTables("kept, writes", "server1", "server2", "server4", "spare1")
	h.sameBricks("server1", "spare1")
	h.comesBackInVain("server3")
	if text := h.text(); !strings.Contains(text, "# rack 7, left door") {
		t.Errorf("the comment is gone:\n%s", text)
	}
	if r := h.must("up", "--yes"); !strings.Contains(r.stdout, "No changes") {
		t.Errorf("up after all that: %s", r)
	}
}

// leaves takes a head out and looks at what it leaves behind.
func (h *hosts) leaves(name string, keys *keyWriter) {
	h.t.Helper()
	if r := h.run("node", "remove", name); r.code != 64 || !strings.Contains(r.stderr, "--confirm") {
		h.t.Errorf("removed without the cluster's name typed: %s", r)
	}
	r := h.must("node", "remove", name, "--confirm", h.Spec.Name)
	h.t.Logf("remove took %.1f s", r.took.Seconds())
	h.green()
	if strings.Contains(h.text(), name) {
		h.t.Errorf("the file names %s:\n%s", name, h.text())
	}
	if out := h.sh(name, running); out != "" {
		h.t.Errorf("on %s: %s", name, out)
	}
	if out := h.sh(name, "ls -d /data/glusterfs/brick.removed-*/config /var/lib/mysql/auth_portal /var/lib/redis-aside-6379-1"); strings.Count(out, "\n") != 2 {
		h.t.Errorf("its data is not kept: %s", out)
	}
	if out := h.sh(name, "ls /etc/multihead/pki/ca.pem /etc/multihead/pki/agent.pem 2>&1; true"); strings.Count(out, "No such file") != 2 {
		h.t.Errorf("secrets of agents stay: %s", out)
	}
	for _, head := range []string{"server1", "server2", "server3", "server4"} {
		if out := h.sh(head, "gluster volume info shared_data | grep -c ^Brick[0-9]; gluster pool list | grep -c Connected; mariadb -N -e \"SHOW STATUS LIKE 'wsrep_cluster_size'\" | cut -f2; grep -rl "+h.address(name)+" /etc/hosts /etc/slurm /etc/mysql /etc/keepalived /etc/multihead || true"); strings.Join(strings.Fields(out), " ") != "4 4 4" {
			h.t.Errorf("%s still knows %s: %s", head, name, out)
		}
	}
	nodes, err := keys.client.ClusterNodes(h.t.Context()).Result()
	if err != nil || strings.Contains(nodes, h.address(name)+":") {
		h.t.Errorf("Redis still knows %s (%v):\n%s", name, err, nodes)
	}
}

// refusedWithAnotherOff cuts the power of server3: nobody may leave then, neither a
// head that serves nor the silent one without a word, and nobody joins.
func (h *hosts) refusedWithAnotherOff(keys *keyWriter) {
	h.t.Helper()
	keys.lenient()
	if err := h.PowerOff(h.t.Context(), "server3"); err != nil {
		h.t.Fatal(err)
	}
	before := h.text()
	for _, name := range []string{"server2", "server3"} {
		r := h.run("node", "remove", name, "--confirm", h.Spec.Name)
		if r.code == 0 || !strings.Contains(r.stderr, "nothing was changed") || !strings.Contains(r.stderr, "server3 does not answer") {
			h.t.Errorf("remove %s with server3 off: %s", name, r)
		}
	}
	if r := h.run("node", "add", "--name", "spare1", "--ip", h.address("spare1"), "--yes"); r.code == 0 || !strings.Contains(r.stderr, "server3") {
		h.t.Errorf("add spare1 with server3 off: %s", r)
	}
	if out := h.sh("spare1", running); out != "" {
		h.t.Errorf("spare1 has half joined: %s", out)
	}
	if h.text() != before {
		h.t.Errorf("the file changed though it was refused:\n%s", h.text())
	}
}

// sameTables compares what heads have in tables of the site's database that nobody
// writes to meanwhile, by what each of them reads.
func (h *hosts) sameTables(tables string, heads ...string) {
	h.t.Helper()
	of := map[string]string{}
	for _, head := range heads {
		of[head] = h.sh(head, `mariadb -N auth_portal -e "SET SESSION wsrep_sync_wait=1; CHECKSUM TABLE `+tables+` EXTENDED"`)
		if of[head] != of[heads[0]] || strings.Contains(of[head], "NULL") {
			h.t.Errorf("%s has other rows than %s: %q, %q", head, heads[0], of[head], of[heads[0]])
		}
	}
}

// replaced puts a fresh host in a dead head's place.
func (h *hosts) replaced(dead, fresh string) {
	h.t.Helper()
	r := h.must("node", "replace", dead, "--name", fresh, "--ip", h.address(fresh), "--gone", "--confirm", h.Spec.Name)
	h.t.Logf("replace took %.1f s", r.took.Seconds())
	h.green()
	if text := h.text(); strings.Contains(text, dead) || !strings.Contains(text, fresh) {
		h.t.Errorf("the file:\n%s", text)
	}
}

// comesBackInVain switches a head on again that was taken out while it was off: its
// daemons start at boot, and it stops them once the others have told it.
func (h *hosts) comesBackInVain(dead string) {
	h.t.Helper()
	if err := h.PowerOn(h.t.Context(), dead); err != nil {
		h.t.Fatal(err)
	}
	h.eventually(dead+" stops its services for good", 2*time.Minute, func() (bool, string) {
		out, err := h.trySh(dead, running+"; findmnt -n /mnt/gluster || true")
		if err == nil && out == "multihead-agent runs\nmultihead-agent starts at boot" {
			return true, ""
		}
		return false, fmt.Sprint(out, err)
	})
	if out := h.sh(dead, "journalctl -b -u multihead-agent --no-pager | grep -c 'event=alarm.*service=removed' || true"); out != "1" {
		h.t.Errorf("%s says %s times why", dead, out)
	}
	h.eventually("the database has its four members", time.Minute, func() (bool, string) {
		out, err := h.trySh("server1", `mariadb -N -e "SHOW STATUS LIKE 'wsrep_cluster_size'" | cut -f2`)
		return err == nil && out == "4", fmt.Sprint(out, err)
	})
	h.green()
}

// running lists what runs on a head and what starts at its boot.
const running = `for u in mariadb glusterd keepalived multihead-agent redis-server@6379 redis-server@6380 slurmctld slurmdbd; do
	case $(systemctl is-active $u) in inactive|failed|unknown) ;; *) echo "$u runs" ;; esac; systemctl is-enabled --quiet $u && echo "$u starts at boot"; done; true`

func (h *hosts) text() string {
	h.t.Helper()
	data, err := os.ReadFile(h.file)
	if err != nil {
		h.t.Fatal(err)
	}
	return string(data)
}

// note writes a comment above the second head of the file.
func (h *hosts) note(comment string) {
	h.t.Helper()
	text := strings.Replace(h.text(), "    - hostname: server2", "    "+comment+"\n    - hostname: server2", 1)
	if err := os.WriteFile(h.file, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h *hosts) address(name string) string {
	h.t.Helper()
	host, err := h.Host(name)
	if err != nil {
		h.t.Fatal(err)
	}
	return host.Address.String()
}

// sameBricks compares what two heads have on their own disks of what nobody writes
// to meanwhile.
func (h *hosts) sameBricks(a, b string) {
	h.t.Helper()
	const sum = "cd /data/glusterfs/brick/config && find . -type f | sort | xargs sha256sum | sha256sum"
	if x, y := h.sh(a, sum), h.sh(b, sum); x != y {
		h.t.Errorf("the bricks of %s and %s differ", a, b)
	}
	if out := h.sh(a, "gluster volume heal shared_data info summary | grep 'Number of entries in heal pending' | grep -v ': 0' || true"); out != "" {
		h.t.Logf("being written just now: %s", out)
	}
}

// keyWriter writes to Redis all the time, and notes what was acknowledged.
type keyWriter struct {
	client *redis.ClusterClient
	stop   chan struct{}
	done   sync.WaitGroup
	mu     sync.Mutex
	lax    bool // a head is dead: a write that fails is tried again
	wrote  int
	gap    time.Duration
	since  time.Time     // of the first write that failed and has not succeeded yet
	down   time.Duration // the longest such time
	fails  []string
}

// quiet keeps what the library says of every dial out of the log.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// redis is a client of the cluster's Redis: it asks some heads for the others.
func (h *hosts) redis() *redis.ClusterClient {
	h.t.Helper()
	redis.SetLogger(quiet{})
	spec := clients.RedisSpec{Password: h.secrets()["REDIS_PASSWORD"]}
	for _, name := range []string{"server1", "server2", "server3"} {
		spec.Addresses = append(spec.Addresses, h.address(name)+":6379")
	}
	return clients.RedisClient(spec, h.Dial)
}

func (h *hosts) startKeys() *keyWriter {
	h.t.Helper()
	w := &keyWriter{client: h.redis(), stop: make(chan struct{})}
	w.done.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; {
			begin := time.Now()
			err := w.client.Set(context.Background(), fmt.Sprintf("key%d", n), n, 0).Err()
			w.mu.Lock()
			w.gap = max(w.gap, time.Since(begin))
			switch {
			case err == nil:
				if !w.since.IsZero() && !w.lax {
					w.down = max(w.down, time.Since(w.since))
				}
				w.since = time.Time{}
				n++
				w.wrote = n
			case !w.lax:
				if w.since.IsZero() {
					w.since = begin
				}
				w.fails = append(w.fails, fmt.Sprintf("%s key%d: %v", begin.Format("15:04:05.000"), n, err))
			}
			w.mu.Unlock()
			select {
			case <-w.stop:
				return
			case <-tick.C:
			}
		}
	})
	return w
}

func (w *keyWriter) lenient() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lax = true
}

// failoverBound is how long writes may fail where a head is taken for dead: on a
// machine that does nothing for a second it is. It is generous, for nothing here is
// about how long a failover takes.
const failoverBound = 30 * time.Second

// strict says what failed for longer than a failover while every head that left did
// so in order.
func (w *keyWriter) strict(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	t.Logf("%d keys were written, the longest write took %s, %d were refused at first", w.wrote, w.gap.Round(time.Millisecond), len(w.fails))
	for _, f := range w.fails {
		t.Logf("a client of Redis saw: %s", f)
	}
	if !w.since.IsZero() {
		w.down = max(w.down, time.Since(w.since))
	}
	if w.down > failoverBound {
		t.Errorf("Redis refused writes for %s", w.down)
	}
}

// stopAndCheck reads every key that was acknowledged.
func (w *keyWriter) stopAndCheck(t *testing.T) {
	t.Helper()
	close(w.stop)
	w.done.Wait()
	defer w.client.Close()
	lost := 0
	for n := range w.wrote {
		got, err := w.client.Get(t.Context(), fmt.Sprintf("key%d", n)).Int()
		if err != nil || got != n {
			if lost++; lost < 5 {
				t.Errorf("key%d: %d, %v", n, got, err)
			}
		}
	}
	t.Logf("%d keys were acknowledged, %d are lost", w.wrote, lost)
}
