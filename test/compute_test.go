//go:build lab

package test

import (
	"bufio"
	"context"
	"strings"
	"time"
)

// joinAndLeave has a compute node join while a job runs, and leave once its jobs have
// ended; one that died is taken out; a witness votes and leaves again. The job of
// another node notices nothing of all that. It begins with two heads and node001.
func joinAndLeave(h *hosts) {
	t := h.t
	h.note("# rack 7, left door")
	h.eventually("node001 takes jobs", 2*time.Minute, func() (bool, string) { s := h.nodeState("node001"); return s == "idle", s })

	long := h.runJob("node001", "sleep 3600")
	r := h.must("node", "add", "--kind", "compute", "--name", "node002", "--ip", h.address("node002"), "--yes")
	t.Logf("adding a compute node took %.1f s", r.took.Seconds())
	h.eventually("node002 takes jobs", 2*time.Minute, func() (bool, string) { s := h.nodeState("node002"); return s == "idle", s })
	if text := h.text(); !strings.Contains(text, "node[001-002]") || !strings.Contains(text, "# rack 7, left door") {
		t.Errorf("the file:\n%s", text)
	}
	if r := h.must("node", "add", "--kind", "compute", "--name", "node002", "--ip", h.address("node002"), "--yes"); !strings.Contains(r.stdout, "No changes") {
		t.Errorf("added twice: %s", r)
	}
	h.busyNodeStays("node001", long)
	h.leavesWithItsJobs("node002")
	if s := h.jobState(long); s != "RUNNING" {
		t.Errorf("the job on node001 is %q", s)
	}
	h.must("node", "add", "--kind", "compute", "--name", "node002", "--ip", h.address("node002"), "--yes")
	h.eventually("node002 takes jobs again", 2*time.Minute, func() (bool, string) { s := h.nodeState("node002"); return s == "idle", s })
	h.deadNodeLeaves("node001", long)
	h.witnessComesAndGoes()
	h.goneWitnessComesBack()
	if r := h.must("up", "--yes"); !strings.Contains(r.stdout, "No changes") {
		t.Errorf("up after all that: %s", r)
	}
}

// runJob has a job run on a node, and waits until it does.
func (h *hosts) runJob(node, script string) string {
	h.t.Helper()
	out := h.sh("server1", "cd /tmp && sbatch --parsable --exclusive --output=/dev/null --wrap='"+script+"'")
	job, _, _ := strings.Cut(out, ";")
	h.eventually("job "+job+" runs on "+node, 2*time.Minute, func() (bool, string) {
		s := h.sh("server1", "squeue --noheader --format='%T %N' --jobs="+job)
		return s == "RUNNING "+node, s
	})
	return job
}

func (h *hosts) jobState(job string) string {
	h.t.Helper()
	return h.sh("server1", "squeue --noheader --format=%T --jobs="+job)
}

// nodeState is what Slurm says of a node, empty where it does not know it.
func (h *hosts) nodeState(node string) string {
	out, _ := h.trySh("server1", "sinfo --Node --noheader --format='%N %T' | awk '$1 == \""+node+"\" {print $2}' | sort -u")
	return out
}

// busyNodeStays asks for a node to leave on which a job runs.
func (h *hosts) busyNodeStays(node, job string) {
	h.t.Helper()
	before := h.text()
	r := h.run("node", "remove", node, "--yes")
	if r.code != 1 || !strings.Contains(r.stderr, "jobs run there: "+job+" of root on "+node) || !strings.Contains(r.stderr, "--wait") {
		h.t.Errorf("removed with a job on it: %s", r)
	}
	if s := h.nodeState(node); strings.HasPrefix(s, "drain") || h.text() != before {
		h.t.Errorf("refused, and %s is %s; the file:\n%s", node, s, h.text())
	}
}

// leavesWithItsJobs lets a node leave while a job runs on it, which ends after a
// while.
func (h *hosts) leavesWithItsJobs(node string) {
	h.t.Helper()
	// The other node is taken as a whole, so that this is where it runs.
	job := h.runJob(node, "sleep 3600")
	if r := h.run("node", "remove", node, "--wait", "1s", "--yes"); r.code != 1 || !strings.Contains(r.stderr, "no new jobs are taken there") {
		h.t.Errorf("a job that goes on: %s", r)
	}
	if s := h.nodeState(node); !strings.HasPrefix(s, "drain") {
		h.t.Errorf("%s is %s", node, s)
	}
	r := h.runUntil("Waiting for: job "+job+" of root on "+node, func() {
		// It waits for this job, and the job goes on: only now may it end.
		if s := h.jobState(job); s != "RUNNING" {
			h.t.Errorf("while it is waited for the job is %q", s)
		}
		if text := h.text(); !strings.Contains(text, node) {
			h.t.Errorf("it waits, and the file says:\n%s", text)
		}
		h.sh("server1", "scancel "+job)
	}, "node", "remove", node, "--wait", "10m", "--yes")
	if r.code != 0 {
		h.t.Fatalf("remove: %s", r)
	}
	h.t.Logf("removing a compute node took %.1f s", r.took.Seconds())
	h.gone(node)
	if out := h.sh(node, "systemctl is-active slurmd munge; systemctl is-enabled slurmd munge; ls /etc/munge/munge.key* 2>/dev/null; true"); strings.Join(strings.Fields(out), " ") != "inactive inactive disabled disabled" {
		h.t.Errorf("on %s: %s", node, out)
	}
}

// runUntil runs the tool to its end, and does something once it has said a line. It
// fails the test where the tool never says it.
func (h *hosts) runUntil(said string, then func(), args ...string) result {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 10*time.Minute)
	defer cancel()
	cmd := h.command(ctx, args...)
	var out, errOut strings.Builder
	cmd.Stdout = &out
	stderr, err := cmd.StderrPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	seen := false
	for sc := bufio.NewScanner(stderr); sc.Scan(); {
		errOut.WriteString(sc.Text() + "\n")
		if strings.Contains(sc.Text(), said) && !seen {
			seen = true
			then()
		}
	}
	_ = cmd.Wait() // its exit code is in the result
	r := result{stdout: out.String(), stderr: errOut.String(), code: cmd.ProcessState.ExitCode(), took: time.Since(begin)}
	if !seen {
		h.t.Fatalf("it never said %q: %s", said, r)
	}
	return r
}

// gone looks for what still names a host.
func (h *hosts) gone(node string) {
	h.t.Helper()
	if text := h.text(); strings.Contains(text, node) {
		h.t.Errorf("the file names %s:\n%s", node, text)
	}
	if s := h.nodeState(node); s != "" {
		h.t.Errorf("Slurm knows %s: %s", node, s)
	}
	for _, head := range []string{"server1", "server2"} {
		if out := h.sh(head, "grep -rlwF "+h.address(node)+" /etc/hosts /etc/slurm /etc/multihead || true"); out != "" {
			h.t.Errorf("%s still knows %s: %s", head, node, out)
		}
	}
}

// deadNodeLeaves cuts the power of a node on which a job runs.
func (h *hosts) deadNodeLeaves(node, job string) {
	h.t.Helper()
	if err := h.PowerOff(h.t.Context(), node); err != nil {
		h.t.Fatal(err)
	}
	if r := h.run("node", "remove", node, "--yes"); r.code != 1 || !strings.Contains(r.stderr, "unknown is not gone") {
		h.t.Errorf("silent, and removed: %s", r)
	}
	if r := h.run("node", "remove", node, "--gone"); r.code != 64 || !strings.Contains(r.stderr, "--confirm") {
		h.t.Errorf("gone, without the name typed: %s", r)
	}
	h.must("node", "remove", node, "--gone", "--confirm", h.Spec.Name)
	h.gone(node)
	// Slurm has queued it again, and waits for some minutes before it begins.
	if s := h.jobState(job); s != "PENDING" && s != "RUNNING" {
		h.t.Errorf("the job of the dead node is %q", s)
	}
	h.sh("server1", "scancel "+job)
}

// votes asks a head how many vote about the database.
const votes = `mariadb -N -e "SHOW STATUS LIKE 'wsrep_cluster_size'" | cut -f2`

// sentinels is how many sentinels that of a head counts, itself among them.
func (h *hosts) sentinels(head string) string {
	h.t.Helper()
	return h.sh(head, "REDISCLI_AUTH="+h.secrets()["REDIS_PASSWORD"]+" redis-cli -p 26379 info sentinel | grep -o 'sentinels=[0-9]*'")
}

// witnessComesAndGoes brings a third vote to two heads, and takes it away.
func (h *hosts) witnessComesAndGoes() {
	h.t.Helper()
	h.must("node", "add", "--kind", "witness", "--name", "witness1", "--ip", h.address("witness1"), "--yes")
	h.green()
	if n := h.sh("server1", votes); n != "3" {
		h.t.Errorf("%s vote about the database", n)
	}
	if r := h.run("node", "remove", "witness1"); r.code != 64 || !strings.Contains(r.stderr, "--confirm") {
		h.t.Errorf("removed without the cluster's name typed: %s", r)
	}
	h.must("node", "remove", "witness1", "--confirm", h.Spec.Name)
	for _, head := range []string{"server1", "server2"} {
		if out := h.sh(head, votes) + " " + h.sentinels(head); out != "2 sentinels=2" {
			h.t.Errorf("%s counts %s", head, out)
		}
	}
	if out := h.sh("witness1", "systemctl is-active garb multihead-agent redis-sentinel@26379; ls /etc/multihead/pki/agent.pem 2>/dev/null; true"); strings.Contains(out, "\nactive") || strings.HasPrefix(out, "active") || strings.Contains(out, "pem") {
		h.t.Errorf("on witness1: %s", out)
	}
	if text := h.text(); strings.Contains(text, "witness1") {
		h.t.Errorf("the file:\n%s", text)
	}
}

// goneWitnessComesBack takes a witness out that is off, and switches it on again: it
// does not know that it has left, and votes until it is told.
func (h *hosts) goneWitnessComesBack() {
	h.t.Helper()
	h.must("node", "add", "--kind", "witness", "--name", "witness1", "--ip", h.address("witness1"), "--yes")
	h.sh("witness1", "sync") // that its daemons start at boot is on its disk
	if err := h.PowerOff(h.t.Context(), "witness1"); err != nil {
		h.t.Fatal(err)
	}
	h.must("node", "remove", "witness1", "--gone", "--confirm", h.Spec.Name)
	if err := h.PowerOn(h.t.Context(), "witness1"); err != nil {
		h.t.Fatal(err)
	}
	h.eventually("the witness stops voting for good", 2*time.Minute, func() (bool, string) {
		out, _ := h.trySh("witness1", "systemctl is-active garb redis-sentinel@26379; systemctl is-enabled garb redis-sentinel@26379")
		return strings.Join(strings.Fields(out), " ") == "inactive inactive disabled disabled", out
	})
	h.eventually("two vote about the database", 2*time.Minute, func() (bool, string) { n := h.sh("server1", votes); return n == "2", n })
	// It has told the sentinels that it is there again, and they count it from then on.
	h.must("up", "--yes")
	for _, head := range []string{"server1", "server2"} {
		if n := h.sentinels(head); n != "sentinels=2" {
			h.t.Errorf("after up %s counts %s", head, n)
		}
	}
}
