//go:build lab

package test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"multihead/internal/lab"
)

// The main job, on four heads and two compute nodes: from nothing to a healthy
// cluster, and every promise about what comes after. The subtests share one
// lab and build on each other. The cluster has fencing, for the last of them.
func TestFourHeadsFormOneCluster(t *testing.T) {
	t.Parallel()
	h := newLab(t, lab.Spec{Name: "form", Heads: 4, Compute: 2, FenceTool: binary})
	steps := []struct {
		name string
		f    func(*hosts)
	}{
		{"a dry run in every mode changes nothing on bare hosts", dryRunsChangeNothing},
		{"up forms it", upForms},
		{"sbatch from every head runs and is accounted", jobsFromEveryHead},
		{"a row written on one head is read on the others", rowsReplicate},
		{"all slots are served with replicas on other heads", slotsHaveReplicasElsewhere},
		{"a compute node sees exactly one VIP holder", oneVIPHolder},
		{"discover prints the keys that scripts rely on", discoverKeys},
		{"a second up changes nothing", secondUpChangesNothing},
		{"a dry run in every mode changes nothing on a healthy cluster", dryRunsChangeNothing},
		{"no secret is readable", noSecretIsReadable},
		{"a service switched off on one head leaves that head out", nil},
		{"one head off: discover says so and up forms nothing", oneHeadOff},
		{"down, all power off and on, and up lose nothing", downAndUp},
		{"F15: three of four lose their power at once, and the last one serves", lastOfFourServes},
	}
	for _, s := range steps {
		if s.f == nil {
			continue // shown in its own test
		}
		if !t.Run(s.name, func(t *testing.T) { s.f(h.in(t)) }) {
			t.Fatal("the following steps build on this one")
		}
	}
}

func dryRunsChangeNothing(h *hosts) {
	was := h.fingerprints()
	for _, args := range [][]string{
		{"up", "--dry-run"}, {"up", "--dry-run", "--bootstrap"}, {"up", "--dry-run", "--join"},
		{"up", "--dry-run", "--standalone", "--node", "server1"}, {"up", "--dry-run", "--node", "server2"},
		{"plan"}, {"plan", "--diff"}, {"plan", "-o", "json"}, {"discover"}, {"status"}, {"down", "--dry-run"}, {"doctor"},
	} {
		r := h.run(args...)
		h.t.Logf("%v: exit %d after %.2f s", args, r.code, r.took.Seconds())
		if args[0] == "up" && r.code == 0 && !strings.Contains(r.stdout, "othing was changed") && !strings.Contains(r.stdout, "No changes") {
			h.t.Errorf("%v does not say that nothing was changed: %s", args, r)
		}
	}
	h.unchanged(was, "looking")
}

func upForms(h *hosts) {
	canary := h.watchForSecrets()
	r := h.must("up", "--yes")
	h.t.Logf("up took %.1f s", r.took.Seconds())
	canary.stop()
	for name, secret := range h.secrets() {
		if strings.Contains(r.stdout+r.stderr, secret) {
			h.t.Errorf("the output of up holds %s", name)
		}
	}
	h.green()
}

// green asks the services themselves, through the tool. How long they may take is
// nothing that a busy machine decides: a heal ends when it ends.
func (h *hosts) green() {
	h.t.Helper()
	begin := time.Now()
	h.eventually("status is UP, and discover says healthy", 3*time.Minute, func() (bool, string) {
		if r := h.run("status"); r.code != 0 {
			return false, r.String()
		}
		d := h.discover()
		return d.State == "healthy" && d.Active == d.Total, fmt.Sprintf("discover says %+v", d)
	})
	if took := time.Since(begin); took > 20*time.Second {
		h.t.Logf("green after %.0f s", took.Seconds())
	}
}

func jobsFromEveryHead(h *hosts) {
	heads := h.names(lab.Head)
	ids := map[string]string{}
	for _, head := range heads {
		out := h.sh(head, "cd /tmp && sbatch --parsable --output=/dev/null --wrap='hostname'")
		ids[head] = strings.TrimSpace(strings.Split(out, ";")[0])
	}
	for head, id := range ids {
		h.eventually("job "+id+" of "+head+" is accounted as completed", 2*time.Minute, func() (bool, string) {
			out, err := h.trySh(heads[len(heads)-1], "sacct --noheader --parsable2 --allocations --format=State --jobs="+id)
			return err == nil && strings.HasPrefix(out, "COMPLETED"), out
		})
	}
}

func rowsReplicate(h *hosts) {
	heads := h.names(lab.Head)
	h.sh(heads[0], `mariadb -e "CREATE TABLE IF NOT EXISTS auth_portal.seen (head VARCHAR(64) PRIMARY KEY)"`)
	for _, head := range heads {
		h.sh(head, fmt.Sprintf(`mariadb -e "REPLACE INTO auth_portal.seen VALUES ('%s')"`, head))
	}
	for _, head := range heads {
		got := h.sh(head, `mariadb -N -e "SET SESSION wsrep_sync_wait=1; SELECT COUNT(*) FROM auth_portal.seen"`)
		if got != fmt.Sprint(len(heads)) {
			h.t.Errorf("%s reads %s rows", head, got)
		}
	}
}

// redisNodes are the lines of CLUSTER NODES as a head sees them.
func (h *hosts) redisNodes(head string) [][]string {
	h.t.Helper()
	out := h.sh(head, "REDISCLI_AUTH="+h.secrets()["REDIS_PASSWORD"]+" redis-cli -p 6379 CLUSTER NODES")
	var nodes [][]string
	for _, line := range strings.Split(out, "\n") {
		if f := strings.Fields(line); len(f) >= 8 {
			nodes = append(nodes, f)
		}
	}
	return nodes
}

func slotsHaveReplicasElsewhere(h *hosts) {
	host := func(f []string) string { return strings.Split(f[1], ":")[0] }
	nodes := h.redisNodes("server1")
	masters := map[string]string{}
	slots := 0
	for _, f := range nodes {
		if !strings.Contains(f[2], "master") {
			continue
		}
		masters[f[0]] = host(f)
		for _, r := range f[8:] {
			lo, hi, ok := strings.Cut(r, "-")
			if !ok {
				hi = lo
			}
			var a, b int
			if _, err := fmt.Sscan(lo+" "+hi, &a, &b); err != nil {
				h.t.Fatalf("slots %q: %v", r, err)
			}
			slots += b - a + 1
		}
	}
	if slots != 16384 {
		h.t.Errorf("%d slots are served", slots)
	}
	for id, where := range masters {
		elsewhere := 0
		for _, f := range nodes {
			if f[3] == id && host(f) != where {
				elsewhere++
			}
		}
		if elsewhere == 0 {
			h.t.Errorf("the master on %s has no replica on another head: %v", where, nodes)
		}
	}
}

func oneVIPHolder(h *hosts) {
	// The neighbour that the compute node talks to, and who says it has it.
	h.sh("node001", "ping -c 1 -W 2 "+lab.VIP)
	lladdr := strings.Fields(h.sh("node001", "ip neigh show "+lab.VIP+" | grep -o 'lladdr [^ ]*'"))[1]
	var holders []string
	for _, head := range h.names(lab.Head) {
		if out, _ := h.trySh(head, "ip -o addr show | grep -w "+lab.VIP); out != "" {
			holders = append(holders, head)
			if mac := h.sh(head, "cat /sys/class/net/host0/address"); mac != lladdr {
				h.t.Errorf("%s holds the VIP with %s, and node001 talks to %s", head, mac, lladdr)
			}
		}
	}
	if len(holders) != 1 {
		h.t.Errorf("the VIP is held by %v", holders)
	}
}

func discoverKeys(h *hosts) {
	d := h.discover()
	if d.Total != 4 || d.Active != 4 || d.Inactive != 0 || d.VIPOwner != "server1" || d.State != "healthy" {
		h.t.Errorf("%+v", d)
	}
	want := map[string][]string{"glusterfs": {"peers"}, "mariadb": {"cluster_size", "state"}, "redis": {"cluster_state", "nodes"},
		"slurm": {"controller"}, "keepalived": {"vip"}}
	for _, c := range d.Controllers {
		if c.Status != "active" || c.Uptime == "" || c.IP == "" {
			h.t.Errorf("%+v", c)
		}
		for name, keys := range want {
			if c.Services[name]["status"] != "ok" {
				h.t.Errorf("%s on %s: %v", name, c.Hostname, c.Services[name])
			}
			for _, k := range keys {
				if _, ok := c.Services[name][k]; !ok {
					h.t.Errorf("%s on %s has no %s: %v", name, c.Hostname, k, c.Services[name])
				}
			}
		}
	}
}

func secondUpChangesNothing(h *hosts) {
	was := h.fingerprints()
	r := h.must("up", "--yes")
	h.t.Logf("the second up took %.2f s", r.took.Seconds())
	if !strings.Contains(r.stdout, "No changes") {
		h.t.Errorf("it does not say so: %s", r)
	}
	if r := h.run("plan", "--detailed-exitcode"); r.code != 0 {
		h.t.Errorf("plan --detailed-exitcode: %s", r)
	}
	h.unchanged(was, "a second up")
}

func oneHeadOff(h *hosts) {
	if err := h.PowerOff(h.t.Context(), "server4"); err != nil {
		h.t.Fatal(err)
	}
	r := h.run("discover", "-o", "json")
	h.t.Logf("discover with one head off took %.2f s", r.took.Seconds())
	d := h.discover()
	if d.Active != 3 || d.Inactive != 1 || d.State != "degraded" {
		h.t.Errorf("%+v", d)
	}
	for _, c := range d.Controllers {
		if c.Hostname == "server4" && (c.Status != "inactive" || c.Error == "") {
			h.t.Errorf("%+v", c)
		}
	}
	if r := h.run("status"); r.code != 1 || !strings.Contains(r.stdout, "server4") {
		h.t.Errorf("status: %s", r)
	}
	if r := h.run("up", "--yes", "--bootstrap"); r.code == 0 {
		h.t.Errorf("--bootstrap over a living cluster was not refused: %s", r)
	}
	if err := h.PowerOn(h.t.Context(), "server4"); err != nil {
		h.t.Fatal(err)
	}
	// What a returning head needs is started by its own systemd, and by up.
	h.eventually("up brings the head back in", 4*time.Minute, func() (bool, string) {
		r := h.run("up", "--yes")
		return r.code == 0, r.String()
	})
	h.green()
}

func downAndUp(h *hosts) {
	rows := h.sh("server1", `mariadb -N -e "SELECT COUNT(*) FROM auth_portal.seen"`)
	h.sh("server1", "echo kept > /mnt/gluster/uploads/kept && sync")
	jobs := h.sh("server1", "sacct --noheader --parsable2 --allocations --format=JobID | sort | tr '\\n' ' '")
	h.must("down", "--yes")
	if r := h.run("down", "--yes"); r.code != 0 || !strings.Contains(r.stdout, "No changes") {
		h.t.Errorf("a second down: %s", r)
	}
	for _, head := range h.names(lab.Head) {
		if out, _ := h.trySh(head, "systemctl is-active mariadb slurmctld slurmdbd keepalived"); strings.Contains(strings.ReplaceAll(out, "inactive", ""), "active") {
			h.t.Errorf("%s still runs something after down: %s", head, out)
		}
	}
	// The cluster is carried to another room.
	if err := errors.Join(h.PowerOff(h.t.Context()), h.PowerOn(h.t.Context())); err != nil {
		h.t.Fatal(err)
	}
	h.eventually("up brings all of it back", 4*time.Minute, func() (bool, string) {
		r := h.run("up", "--yes")
		return r.code == 0, r.String()
	})
	h.green()
	if got := h.sh("server2", `mariadb -N -e "SELECT COUNT(*) FROM auth_portal.seen"`); got != rows {
		h.t.Errorf("%s rows, were %s", got, rows)
	}
	if got := h.sh("server3", "cat /mnt/gluster/uploads/kept"); got != "kept" {
		h.t.Errorf("the file reads %q", got)
	}
	if got := h.sh("server2", "sacct --noheader --parsable2 --allocations --format=JobID | sort | tr '\\n' ' '"); got != jobs {
		h.t.Errorf("jobs %s, were %s", got, jobs)
	}
}

// secrets are the passwords of the lab's cluster file, by name.
func (h *hosts) secrets() map[string]string {
	h.t.Helper()
	s, err := h.Secrets()
	if err != nil {
		h.t.Fatal(err)
	}
	out := map[string]string{}
	for k, v := range s {
		if len(v) >= 8 {
			out[k] = v
		}
	}
	if len(out) < 5 {
		h.t.Fatalf("only %d secrets: the canary would prove nothing", len(out))
	}
	return out
}

// secretWatch samples the arguments of every process of every host: all of
// them are processes of this machine as well.
type secretWatch struct {
	h    *hosts
	done chan struct{}
	wg   sync.WaitGroup
	seen int
}

func (h *hosts) watchForSecrets() *secretWatch { return h.watchFor(h.secrets()) }

// watchFor does so for these secrets.
func (h *hosts) watchFor(secrets map[string]string) *secretWatch {
	w := &secretWatch{h: h, done: make(chan struct{})}
	w.wg.Add(1)
	go func() {
		defer w.wg.Done()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-w.done:
				return
			case <-tick.C:
			}
			files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			for _, f := range files {
				data, _ := os.ReadFile(f)
				w.seen++
				for name, secret := range secrets {
					if strings.Contains(string(data), secret) {
						h.t.Errorf("%s stands in the arguments of %q", name, strings.ReplaceAll(string(data), "\x00", " "))
					}
				}
			}
		}
	}()
	return w
}

func (w *secretWatch) stop() {
	close(w.done)
	w.wg.Wait()
	if w.seen < 1000 {
		w.h.t.Errorf("only %d looks at arguments: the canary proves nothing", w.seen)
	}
}

// noSecretIsReadable looks for the planted secrets in every file that others
// than root and the daemon's own user may read, in every log, and in the
// journals of the hosts and of the tool.
func noSecretIsReadable(h *hosts) { h.noneReadable(h.secrets()) }

func (h *hosts) noneReadable(secrets map[string]string) {
	h.t.Helper()
	var patterns []string
	for _, s := range secrets {
		patterns = append(patterns, s)
	}
	list := strings.Join(patterns, "\n")
	for _, host := range h.all() {
		script := "umask 077; cat > /run/canary <<'END'\n" + list + "\nEND\n" +
			`find / -xdev -type f -perm /004 -not -path '/proc/*' -not -path '/sys/*' -size -20M -print0 2>/dev/null | xargs -0 grep -lFf /run/canary 2>/dev/null
			 grep -rlFf /run/canary /var/log /run/log /data 2>/dev/null
			 journalctl --no-pager 2>/dev/null | grep -Ff /run/canary | sed 's/^/journal: /' | cut -c1-60
			 # the check can find something at all
			 grep -rlFf /run/canary /etc 2>/dev/null | sed 's/^/expected: /'
			 rm -f /run/canary; true`
		expected := 0
		for _, line := range strings.Split(h.sh(host, script), "\n") {
			switch {
			case strings.HasPrefix(line, "expected: "):
				expected++
			case line != "":
				h.t.Errorf("%s: a secret stands in %s", host, line)
			}
		}
		if strings.HasPrefix(host, "server") && expected == 0 {
			h.t.Errorf("%s: no file at all holds a secret: the canary proves nothing", host)
		}
	}
	_ = filepath.WalkDir(filepath.Dir(h.ClusterFile())+"/state", func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		data, _ := os.ReadFile(p)
		for name, s := range secrets {
			if strings.Contains(string(data), s) {
				h.t.Errorf("%s stands in the record %s", name, p)
			}
		}
		return nil
	})
}
