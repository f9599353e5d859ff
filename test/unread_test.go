//go:build lab

package test

import (
	"fmt"
	"strings"
	"time"
)

// stateMissesABrick has a head return without what slurmctld saved while it was away, and
// the primary lose its power before that is on its brick: too few bricks have the state,
// and it cannot be opened until the third is back. Nobody begins without the jobs.
func (h *hosts) stateMissesABrick() {
	h.t.Helper()
	ctx := h.t.Context()
	const state, brick = "/mnt/gluster/slurm/state", "/data/glusterfs/brick/slurm/state"
	const away, dies, stays = "server3", "server1", "server2"
	h.eventually("the first head is in charge", 2*time.Minute, func() (bool, string) {
		out := h.run("status").stdout
		return strings.Contains(out, "primary "+dies), out
	})
	const did = "killed slurmctld, which stood by and would begin without its jobs"
	// An agent forgets what it did when its head loses its power: of the one that stays the
	// journal is asked.
	kills := func() string {
		h.t.Helper()
		return h.sh(stays, "journalctl -q --no-pager -u multihead-agent | grep -cF '"+did+"' || true")
	}
	before := kills()
	var jobs []string
	submit := func() {
		h.t.Helper()
		for range 3 {
			jobs = append(jobs, h.sh("node001", "sbatch --parsable --hold --output=/dev/null --wrap=true"))
		}
		h.eventually("the jobs are saved", time.Minute, func() (bool, string) {
			out, err := h.trySh(stays, fmt.Sprintf("[ %[1]s/job_state -nt %[1]s/hash.%[2]s/job.%[3]s/script ]",
				state, jobs[len(jobs)-1][len(jobs[len(jobs)-1])-1:], jobs[len(jobs)-1]))
			return err == nil, out
		})
	}
	submit()
	healers := []string{dies, stays}
	h.each(healers, "kill -STOP $(cat /run/gluster/shd/*/*.pid)") // it stays so
	h.t.Cleanup(func() { _, _ = h.trySh(stays, "kill -CONT $(cat /run/gluster/shd/*/*.pid)") })
	if err := h.PowerOff(ctx, away); err != nil {
		h.t.Fatal(err)
	}
	submit()
	if err := h.PowerOn(ctx, away); err != nil {
		h.t.Fatal(err)
	}
	h.eventually("its brick has the heartbeat again", time.Minute, func() (bool, string) {
		out, err := h.trySh(away, "[ $(($(date +%s) - $(stat -c %Y "+brick+"/heartbeat))) -le 2 ]")
		return err == nil, out
	})
	if err := h.PowerOff(ctx, dies); err != nil {
		h.t.Fatal(err)
	}
	begin := time.Now()
	h.eventually("slurmctld is killed", time.Minute, func() (bool, string) {
		return kills() != before, h.run("events").stdout
	})
	h.t.Logf("it was killed within %.1f s of the primary's death", time.Since(begin).Seconds())
	if err := h.PowerOn(ctx, dies); err != nil {
		h.t.Fatal(err)
	}
	h.sh(stays, "kill -CONT $(cat /run/gluster/shd/*/*.pid)")
	h.eventually("the jobs are there", 3*time.Minute, func() (bool, string) {
		out, err := h.trySh("node001", "timeout 30 squeue --noheader --format=%i,%T --jobs="+strings.Join(jobs, ","))
		return err == nil && strings.Count(out, "PENDING") == len(jobs), out
	})
	h.t.Logf("all %d jobs were there %.1f s after the primary's death", len(jobs), time.Since(begin).Seconds())
	h.sh("node001", "scancel "+strings.Join(jobs, " "))
	h.green()
}

// scriptLost takes a waiting job's script from the volume, as a power cut of all heads
// does right after a submission: slurmctld ends itself when it starts the job, once, and
// the job fails.
func (h *hosts) scriptLost() {
	h.t.Helper()
	const alarm = "slurmctld is to fail a job whose script is lost"
	// One that ended in the seconds that no controller saved holds its node until that
	// registers anew (DESIGN.md).
	h.sh("node001", "scancel --user=root")
	h.eventually("the node is free", 2*time.Minute, func() (bool, string) {
		out, err := h.trySh("node001", "timeout 30 sinfo --noheader --format=%T --nodes=node001")
		return err == nil && out == "idle", out
	})
	id := h.sh("node001", "cd /tmp && sbatch --parsable --hold --output=/dev/null --wrap=true")
	files := fmt.Sprintf("/mnt/gluster/slurm/state/hash.%s/job.%s", id[len(id)-1:], id)
	h.eventually("the job is saved", time.Minute, func() (bool, string) {
		out, err := h.trySh("server2", fmt.Sprintf("[ %s/../../job_state -nt %[1]s/script ]", files))
		return err == nil, out
	})
	h.sh("server2", "rm "+files+"/script")
	h.sh("node001", "scontrol release "+id)
	begin := time.Now()
	h.eventually("the job has failed", 2*time.Minute, func() (bool, string) {
		out, err := h.trySh("node001", "timeout 30 sacct --noheader --parsable2 --allocations --format=State --jobs="+id)
		return err == nil && out == "FAILED", out
	})
	h.sh("node001", "cd /tmp && sbatch --output=/dev/null --wrap=true")
	h.t.Logf("the job had failed and another was taken after %.1f s", time.Since(begin).Seconds())
	if out := h.must("events").stdout; !strings.Contains(out, alarm) || !strings.Contains(out, "the script of job "+id+" is on no disk") {
		h.t.Errorf("nobody says that the job failed:\n%s", out)
	}
	if out := h.sh("server2", "cat /mnt/gluster/slurm/state/.multihead-kept/job."+id+".*/environment | wc -c"); out == "0" {
		h.t.Error("what there was of the job is not kept")
	}
	h.green()
}
