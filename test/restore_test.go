//go:build lab

package test

import (
	"os"
	"strconv"
	"strings"
	"time"

	"multihead/internal/lab"
)

// stateDir is the lab's StateSaveLocation.
const stateDir = "/mnt/gluster/slurm/state"

// submit hands a job in and returns its number.
func (h *hosts) submit(head string, args string) int {
	h.t.Helper()
	out := h.sh(head, "cd /tmp && sbatch --parsable --output=/dev/null "+args)
	id, err := strconv.Atoi(out)
	if err != nil {
		h.t.Fatalf("sbatch said %q", out)
	}
	return id
}

// queue is the jobs that a head's squeue shows, with their states.
func (h *hosts) queue(head string) string {
	h.t.Helper()
	return strings.Join(strings.Fields(h.sh(head, "squeue --noheader --format='%i:%T' --sort=i")), " ")
}

func parts(h *hosts) {
	running := h.submit("server1", "--cpus-per-task=1 --wrap='sleep 7200'")
	held := h.submit("server1", "--hold --wrap=true")
	h.eventually("the job runs", 3*time.Minute, func() (bool, string) {
		out := h.queue("server1")
		return strings.Contains(out, strconv.Itoa(running)+":RUNNING"), out
	})
	var began string
	h.eventually("its process is there", 3*time.Minute, func() (bool, string) {
		out, err := h.trySh("node001", "pgrep -fx 'sleep 7200'")
		began = out
		return err == nil && out != "", out
	})
	const own = "/etc/chrony/site-own.conf"
	h.sh("server3", "install -m 640 -g adm /dev/stdin "+own+" <<E\nthen\nE")
	h.sh("server1", "mkdir -p /mnt/gluster/uploads/a && echo then > /mnt/gluster/uploads/a/f && echo gone > /mnt/gluster/uploads/gone && chown -R nobody /mnt/gluster/uploads/a && sync "+stateDir)
	// What slurmctld was told has to be on disk to be in the snapshot.
	h.eventually("slurmctld has saved its jobs", 3*time.Minute, func() (bool, string) {
		out := h.sh("server1", "find "+stateDir+" -path '*job."+strconv.Itoa(held)+"/script'; find "+stateDir+" -name job_state -newer "+stateDir+"/hash.*/job."+strconv.Itoa(held)+"/script")
		return strings.Contains(out, "job_state") && strings.Contains(out, "/script"), out
	})
	h.must("backup", "create")

	h.sh("server1", "scancel "+strconv.Itoa(held))
	later := h.submit("server1", "--hold --wrap=true")
	h.sh("server2", "echo now > /mnt/gluster/uploads/a/f; rm /mnt/gluster/uploads/gone; echo new > /mnt/gluster/uploads/new")
	h.sh("server3", "echo now > "+own)

	if r := h.run("restore", "--latest", "--only", "slurm", "--yes"); r.code != 64 || !strings.Contains(r.stderr, "--confirm "+h.Spec.Name) {
		h.t.Errorf("nobody typed the name: %s", r)
	}
	// The controllers start only with the state that is there now: the one that was
	// brought back fails, and what was there has to come back by itself.
	h.each(h.names(lab.Head), "mkdir -p /run/systemd/system/slurmctld.service.d && printf '[Service]\\nExecStartPre=/usr/bin/test -e "+stateDir+"/only-now\\n' > /run/systemd/system/slurmctld.service.d/trap.conf && systemctl daemon-reload")
	h.sh("server1", "touch "+stateDir+"/only-now")
	r := h.run("restore", "--latest", "--only", "slurm", "--yes", "--confirm", h.Spec.Name)
	if r.code != 1 || !strings.Contains(r.stderr, "rolled back") {
		h.t.Errorf("a state that slurmctld does not start with: %s", r)
	}
	h.eventually("Slurm has the jobs of before", 3*time.Minute, func() (bool, string) {
		out, err := h.trySh("server1", "squeue --noheader --format='%i:%T' --sort=i")
		return err == nil && strings.Contains(out, strconv.Itoa(later)) && !strings.Contains(out, strconv.Itoa(held)+":"), out
	})
	h.each(h.names(lab.Head), "rm /run/systemd/system/slurmctld.service.d/trap.conf && systemctl daemon-reload")
	h.sh("server1", "rm "+stateDir+"/only-now; test -z \"$(ls -d "+stateDir+".multihead* 2>/dev/null)\"")

	back := h.must("restore", "--latest", "--only", "slurm", "--yes", "--confirm", h.Spec.Name)
	want := strconv.Itoa(running) + ":RUNNING " + strconv.Itoa(held) + ":PENDING"
	if got := h.queue("server2"); got != want {
		h.t.Errorf("the queue is %q, and was %q: %s", got, want, back)
	}
	if got := h.sh("node001", "pgrep -fx 'sleep 7200'"); got != began {
		h.t.Errorf("the job that ran is process %s, and was %s", got, began)
	}
	if next := h.submit("server1", "--hold --wrap=true"); next <= later {
		h.t.Errorf("the next job is %d, and %d was given out before", next, later)
	}

	h.must("restore", "--latest", "--only", "volume", "--yes", "--confirm", h.Spec.Name)
	if got := h.sh("server3", "cd /mnt/gluster/uploads && cat a/f gone && stat -c %U a a/f && ls"); got != "then\ngone\nnobody\nnobody\na\ngone" {
		h.t.Errorf("the volume's files: %q", got)
	}
	if got := h.sh("server2", "cat /mnt/gluster/.multihead-kept-*/uploads/new"); got != "new" {
		h.t.Errorf("what was replaced is gone: %q", got)
	}
	h.sh("server2", "rm -r /mnt/gluster/.multihead-kept-* "+stateDir+".multihead-*")

	if r := h.must("restore", "--latest", "--only", "configs", "--yes", "--confirm", h.Spec.Name); !strings.Contains(r.stderr+r.stdout, own) {
		h.t.Errorf("the plan does not name the file: %s", r)
	}
	if got := h.sh("server3", "cat "+own+" && stat -c '%a %G' "+own+" && cat /data/system_backup/kept/*/configs"+own); got != "then\n640 adm\nnow" {
		h.t.Errorf("the configuration: %q", got)
	}
	if r := h.must("restore", "--latest", "--only", "configs"); !strings.Contains(r.stdout, "Nothing is missing") {
		h.t.Errorf("again: %s", r)
	}
	h.sh("server1", "scancel --state=PENDING --user=root; scancel "+strconv.Itoa(running))
}

// offsite adds a target to the cluster file: a host that is none of the cluster.
func (h *hosts) offsite() {
	h.t.Helper()
	spare, err := h.Host("spare1")
	if err != nil {
		h.t.Fatal(err)
	}
	data, err := os.ReadFile(h.file)
	if err != nil {
		h.t.Fatal(err)
	}
	const before = "    retention: {daily: 7, weekly: 4, monthly: 12}\n"
	text := strings.Replace(string(data), before, before+"    offsite: {repository: \"sftp:root@"+spare.Address.String()+":/data/offsite\"}\n", 1)
	if text == string(data) {
		h.t.Fatal("the cluster file has no place for the off-site target")
	}
	if err := os.WriteFile(h.file, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// knowOffsite lets root of a head onto the off-site host, as an administrator would.
func (h *hosts) knowOffsite(head string) {
	h.t.Helper()
	spare, err := h.Host("spare1")
	if err != nil {
		h.t.Fatal(err)
	}
	pub := h.sh(head, "mkdir -p -m 700 /root/.ssh; test -e /root/.ssh/id_ed25519 || ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519; ssh-keyscan -T 60 -t ed25519 "+spare.Address.String()+" >> /root/.ssh/known_hosts 2>/dev/null; cat /root/.ssh/id_ed25519.pub")
	h.sh("spare1", "mkdir -p -m 700 /root/.ssh; echo '"+pub+"' >> /root/.ssh/authorized_keys")
}

// possession is what a cluster has: databases and accounts, keys, jobs and files.
// Accounts of a rehearsal's compute nodes, which are nowhere, do not count.
// redis is the password of its Redis.
func (h *hosts) possession(head, redis string) map[string]string {
	h.t.Helper()
	out := map[string]string{}
	for _, db := range []string{"site", "auth_portal"} {
		out[db] = h.content(head, db)
	}
	out["accounting"] = h.sh(head, "mariadb -N -e 'SELECT id_job,state,time_submit FROM slurm_acct_db.bak_job_table ORDER BY 1,3' | sha256sum")
	out["accounts"] = h.sh(head, "mariadb -N -e \"SELECT user,host,JSON_VALUE(priv,'$.authentication_string') FROM mysql.global_priv WHERE host NOT LIKE '198.18.%' ORDER BY 1,2\" | sha256sum")
	// A right on what is gone cannot be given again.
	out["rights"] = h.sh(head, "mariadb -N -e \"SHOW GRANTS FOR client@'%'\" | grep -vF '`odd`.`gone`'")
	out["keys"] = h.sh(head, "export REDISCLI_AUTH="+redis+"; for n in $(redis-cli CLUSTER NODES | awk '$3 ~ /master/ {sub(/@.*/,\"\",$2); print $2}'); do for k in $(redis-cli -h ${n%:*} -p ${n#*:} --scan); do echo $k $(redis-cli -c GET $k); done; done | sort | sha256sum")
	out["jobs"] = h.queue(head)
	out["files"] = h.sh(head, "cd /mnt/gluster/uploads && { find . -type f -printf '%p %u %m\n'; find . -type f -exec sha256sum {} +; } | sort | sha256sum")
	return out
}
