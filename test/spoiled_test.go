//go:build lab

package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"multihead/internal/lab"
)

// Files of one head are spoiled, as by a disk or a hurried hand, and its daemon
// restarted on them: the other heads serve on, what is wrong is said, and up
// writes what the file of the cluster says.
func spoiledFilesStayOneHeadsTrouble(h *hosts) {
	heads := h.names(lab.Head)
	db := h.database()
	defer db.Close()
	for _, f := range []struct {
		name, file, spoil, restart, trouble string
	}{
		{"slurm.conf", "/etc/slurm/slurm.conf", "printf 'SlurmctldHost=\\nNonsense{\\n' > FILE", "slurmctld", "slurm"},
		{"settings of mariadbd", "/etc/mysql/mariadb.conf.d/zz-multihead.cnf", "printf '[mysqld]\\nno_such_setting = 1\\n' > FILE", "mariadb", "mariadb"},
		{"settings of redis-server", "/etc/redis/multihead-6379.conf", "printf 'no-such-setting yes\\n' > FILE", "redis-server@6379", "redis"},
		{"keepalived.conf", "/etc/keepalived/keepalived.conf", "head -c 300 /dev/urandom > FILE", "keepalived", "keepalived"},
		{"the agent's cluster file", "/etc/multihead/agent/cluster.yaml", "printf 'nodes: [\\n' > FILE", "multihead-agent", ""},
	} {
		h.t.Run(f.name+" is spoiled", func(t *testing.T) {
			h := h.in(t)
			holder := h.holder()
			victim := heads[0]
			if holder == victim && f.trouble == "keepalived" {
				victim = heads[1]
			}
			was := h.sh(victim, "test -s "+f.file+" && sha256sum < "+f.file)
			h.sh(victim, strings.ReplaceAll(f.spoil, "FILE", f.file))
			if out, err := h.trySh(victim, "timeout 10 systemctl restart "+f.restart); err == nil && f.trouble != "" && f.trouble != "keepalived" {
				t.Logf("%s starts all the same: %s", f.restart, out)
			}
			if f.trouble != "" {
				h.eventually("status says it", time.Minute, func() (bool, string) {
					r := h.run("status")
					return r.code != 0 && strings.Contains(r.stdout, victim), r.String()
				})
			}
			h.eventually("the others serve", time.Minute, func() (bool, string) {
				_, err := db.ExecContext(t.Context(), "CREATE TABLE IF NOT EXISTS spoiled (n INT AUTO_INCREMENT PRIMARY KEY)")
				if err == nil {
					_, err = db.ExecContext(t.Context(), "INSERT INTO spoiled () VALUES ()")
				}
				return err == nil, fmt.Sprint(err)
			})
			h.must("up", "--yes")
			h.green()
			h.eventually("every agent is well", time.Minute, func() (bool, string) {
				r := h.report(victim)
				return r.Fit, fmt.Sprintf("%+v", r)
			})
			if is := h.sh(victim, "sha256sum < "+f.file); is != was {
				t.Errorf("%s is not what it was", f.file)
			}
		})
	}
	h.t.Run("grastate.dat is spoiled: nothing of that head is thrown away without saying so", func(t *testing.T) {
		h := h.in(t)
		victim := heads[2]
		h.sh(victim, "systemctl stop mariadb; head -c 200 /dev/urandom > /var/lib/mysql/grastate.dat")
		r := h.run("plan")
		if !strings.Contains(r.stdout+r.stderr, "grastate.dat") {
			t.Errorf("the plan does not say it: %s", r)
		}
		// What a person does once they know: the others have all of it.
		h.sh(victim, "rm /var/lib/mysql/grastate.dat; systemctl start mariadb")
		h.green()
	})
	h.t.Run("the controllers' heartbeat is spoiled: the one in charge writes it anew", func(t *testing.T) {
		h := h.in(t)
		h.sh(heads[0], "head -c 50 /dev/urandom > /mnt/gluster/slurm/state/heartbeat")
		h.green()
		jobsFromEveryHead(h)
	})
}
