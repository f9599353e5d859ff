//go:build lab

package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"multihead/internal/backup"
	"multihead/internal/lab"
)

// rehearsed brings the snapshot back on fresh hosts by the verb that does it, and
// looks at those hosts as well: what the verb calls equal has to be.
func rehearsed(h *hosts) {
	if err := h.PowerOn(h.t.Context(), "server1"); err != nil {
		h.t.Fatal(err)
	}
	h.green()
	redis := h.secrets()["REDIS_PASSWORD"]
	held := h.submit("server2", "--hold --wrap=true")
	h.sh("server2", "export REDISCLI_AUTH="+redis+"; for i in $(seq 200); do echo SET key$i value$i; done | redis-cli -c >/dev/null; redis-cli -c HSET hash a 1 b 2 >/dev/null; head -c 3000000 /dev/urandom > /mnt/gluster/uploads/large")
	h.eventually("slurmctld has saved the job", 3*time.Minute, func() (bool, string) {
		out := h.sh("server2", fmt.Sprintf("find %[1]s -name job_state -newermt \"$(stat -c %%y %[1]s/hash.*/job.%[2]d/script) + 4 seconds\"", stateDir, held))
		if out == "" {
			h.sh("server2", fmt.Sprintf("scontrol update jobid=%d comment=$(date +%%s)", held)) // it saves what changed
		}
		return out != "", out
	})
	h.offsite()
	for _, head := range h.names(lab.Head) {
		h.knowOffsite(head)
	}
	if r := h.must("backup", "create"); strings.Contains(r.stderr, "off-site") || !strings.Contains(r.stdout, "backup.key") {
		h.t.Errorf("%s", r)
	}
	h.green()
	had := h.possession("server2", redis)

	name := "rehearsal-" + h.Spec.Name
	h.t.Cleanup(func() {
		if err := lab.Down(context.Background(), name, nil); err != nil {
			h.t.Error(err)
		}
	})
	interrupted(h, name)
	r := h.must("backup", "verify", "--restore-in-lab", "--keep")
	for _, part := range []string{"configuration", "database auth_portal", "database site", "database slurm_acct_db", "accounts", "Redis", "201 keys", "Slurm", "1 job,", "volume"} {
		if !strings.Contains(r.stdout, part) {
			h.t.Errorf("%q is not in the table", part)
		}
	}
	h.t.Logf("%s", r)
	if again := h.run("backup", "verify", "--restore-in-lab"); again.code != 1 || !strings.Contains(again.stderr, "multihead lab down --name "+name) {
		h.t.Errorf("beside one that was kept: %s", again)
	}
	if runs := h.must("runs", "list", "-n", "1"); !strings.Contains(runs.stdout, "--restore-in-lab") {
		h.t.Errorf("it is not on record: %s", runs)
	}
	if got := h.possession("server2", redis); !maps.Equal(got, had) {
		h.t.Errorf("the real cluster has %v, and had %v", got, had)
	}

	l, err := lab.Open(name)
	if err != nil {
		h.t.Fatal(err)
	}
	there := &hosts{Lab: l, t: h.t, file: l.ClusterFile()}
	for _, head := range there.names(lab.Head) {
		for what, is := range there.possession(head, redis) {
			if is != had[what] {
				h.t.Errorf("in the rehearsal %s has %s %q, and it was %q", head, what, is, had[what])
			}
		}
	}
	if info, err := os.Stat(l.ClusterFile()); err != nil || info.Mode().Perm() != 0o600 {
		h.t.Errorf("the file with the passwords: %v %v", info, err)
	}
	differences(there, redis, held)
	if err := lab.Down(h.t.Context(), name, nil); err != nil {
		h.t.Fatal(err)
	}

	// A head that lost its repository gets the off-site copies.
	newest := h.snapshots().Snapshots
	last := newest[len(newest)-1].ID
	h.sh("server3", "rm -r /data/system_backup/repository /data/system_backup/snapshots")
	h.must("backup", "import", "--node", "server3")
	if l := h.snapshots(); !slices.ContainsFunc(l.Snapshots, func(s listedSnapshot) bool { return s.ID == last && len(s.Heads) == 3 && s.Verified != nil }) {
		h.t.Errorf("%+v", l)
	}
	h.green()
}

// interrupted begins a rehearsal and interrupts it while its cluster is formed:
// nothing of it stays.
func interrupted(h *hosts, name string) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 5*time.Minute)
	defer cancel()
	cmd := h.command(ctx, "backup", "verify", "--restore-in-lab")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.eventually("up is at work in its lab", 4*time.Minute, func() (bool, string) {
		l, err := lab.Open(name)
		if err != nil {
			return false, err.Error()
		}
		out, err := l.Exec(ctx, "server1", "ls", "/usr/local/bin/multihead")
		return err == nil, out
	})
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		h.t.Fatal(err)
	}
	_ = cmd.Wait() // the code says how
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		h.t.Errorf("interrupted: exit %d: %s", code, out.String())
	}
	if names, err := lab.Names(); err != nil || slices.Contains(names, name) {
		h.t.Errorf("interrupted, and the lab is there: %v %v", names, err)
	}
}

// differences breaks every part of a rehearsed cluster, and asks for the comparison
// again: each has to be seen.
func differences(h *hosts, redis string, held int) {
	h.t.Helper()
	list := h.snapshots2().Snapshots
	h.sh("server1", fmt.Sprintf(`export REDISCLI_AUTH=%s
redis-cli -c SET key7 other >/dev/null; redis-cli -c HSET hash c 3 >/dev/null
mariadb -e "UPDATE auth_portal.users SET name='other' WHERE id=7; DROP USER client@'%%'"
scancel %d
printf x | dd of=/mnt/gluster/uploads/large bs=1 seek=1000 conv=notrunc status=none; echo x > /mnt/gluster/uploads/more`, redis, held))
	h.eventually("the job is gone", time.Minute, func() (bool, string) {
		out := h.queue("server1")
		return out == "", out
	})
	job, err := json.Marshal(backup.Job{Op: "compare", ID: list[len(list)-1].ID, Root: backup.RehearsalRoot, Mount: "/mnt/gluster", State: stateDir,
		Redis: "192.0.2.11:6379", Password: redis, Accounting: "slurm_acct_db"})
	if err != nil {
		h.t.Fatal(err)
	}
	head, err := h.Host("server1")
	if err != nil {
		h.t.Fatal(err)
	}
	var out bytes.Buffer
	if err := head.Pipe(h.t.Context(), bytes.NewReader(job), &out, "multihead", "backup-work"); err != nil {
		h.t.Fatalf("%v: %s", err, out.String())
	}
	var got backup.Result
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		h.t.Fatal(err)
	}
	// The views of site are in the name of the account that went.
	want := map[string]string{"database auth_portal": "not the same", "database site": "views", "accounts": "client@%", "Redis": "key7", "Slurm": fmt.Sprint(held), "volume": "uploads/large"}
	for _, p := range got.Compared {
		why, changed := want[p.Part]
		if p.Equal == changed || changed && !strings.Contains(strings.Join(p.Why, "; "), why) {
			h.t.Errorf("%+v", p)
		}
	}
	if len(got.Compared) < len(want) {
		h.t.Errorf("%+v", got)
	}
}
