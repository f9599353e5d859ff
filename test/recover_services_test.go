//go:build lab

package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"multihead/internal/lab"
)

// daemonsComeBack looks at daemons of Slurm, GlusterFS, Redis and keepalived: killed,
// frozen, on a head that lost its power and comes back. No job whose number was told is
// missing after it.
func daemonsComeBack(h *hosts) {
	t := h.t
	h.green()
	h.agentsHear(2)
	jobs := &submitted{}

	t.Run("killed daemons are started anew", func(t *testing.T) {
		h := h.in(t)
		for _, d := range []struct{ name, pid, serves string }{
			{"slurmctld", unitPID("slurmctld"), "timeout 5 squeue"},
			{"slurmdbd", unitPID("slurmdbd"), "timeout 5 sacctmgr -nP show cluster"},
			{"redis-server", unitPID("redis-server@6380"), "systemctl is-active redis-server@6380"},
			{"keepalived", unitPID("keepalived"), "systemctl is-active keepalived"},
			{"glusterd", "cat /run/glusterd.pid", "timeout 5 gluster --mode=script pool list"},
			{"the brick", "cat /run/gluster/vols/*/*.pid", "kill -0 $(cat /run/gluster/vols/*/*.pid)"},
			{"the volume's client", "pgrep -f 'glusterfs .*/mnt/gluster$'", "timeout 5 ls /mnt/gluster/slurm"},
		} {
			was := h.sh("server1", d.pid)
			begin := time.Now()
			h.sh("server1", "kill -9 "+was)
			h.eventually(d.name+" serves again", time.Minute, func() (bool, string) {
				now, err := h.trySh("server1", d.pid)
				if err != nil || now == "" || now == was {
					return false, fmt.Sprint(now, err)
				}
				out, err := h.trySh("server1", d.serves)
				return err == nil, out
			})
			t.Logf("%s was back %.1f s after its death", d.name, time.Since(begin).Seconds())
		}
		h.isUp()
		jobs.submit(h)
	})

	for _, d := range []struct{ unit, asks string }{
		{"slurmctld", "timeout 5 squeue"},
		{"redis-server@6379", "systemctl is-active redis-server@6379"},
	} {
		t.Run(d.unit+" is frozen: killed, and not in charge beside another", func(t *testing.T) {
			h := h.in(t)
			was := h.sh("server1", unitPID(d.unit))
			begin := time.Now()
			h.sh("server1", "systemctl kill -s STOP "+d.unit)
			h.eventually("another process of it serves", 2*time.Minute, func() (bool, string) {
				now, err := h.trySh("server1", unitPID(d.unit))
				if err != nil || now == was {
					return false, fmt.Sprint(now, err)
				}
				out, err := h.trySh("server1", d.asks)
				return err == nil, out
			})
			t.Logf("it served again after %.1f s", time.Since(begin).Seconds())
			jobs.submit(h)
			// The agents spread crowded masters as well, some minutes later.
			h.run("recover", "--yes")
			h.isUp()
			h.oneInCharge()
		})
	}

	t.Run("a controller ends because another tells it to: it stands by again", func(t *testing.T) {
		h := h.in(t)
		was := h.sh("server3", unitPID("slurmctld"))
		h.sh("server3", "kill -TERM "+was) // what slurmctld does to itself then; it ends as after a stop
		h.eventually("another process of it stands by", 2*time.Minute, func() (bool, string) {
			now, err := h.trySh("server3", unitPID("slurmctld"))
			return err == nil && now != was, now
		})
		h.isUp()
	})

	t.Run("a person stops slurmctld on a head: it stays stopped", func(t *testing.T) {
		h := h.in(t)
		h.sh("server3", "systemctl stop slurmctld")
		if r := h.run("recover", "--yes", "--service", "slurm"); strings.Contains(r.stdout, "start slurmctld") {
			t.Errorf("recover: %s", r)
		}
		if out, _ := h.trySh("server3", "systemctl is-active slurmctld"); out != "inactive" {
			t.Errorf("slurmctld on server3 is %s", out)
		}
		h.sh("server3", "systemctl start slurmctld")
	})

	t.Run("the primary loses its power and comes back", func(t *testing.T) {
		h := h.in(t)
		if out := h.sh("server1", "systemctl is-enabled slurmctld || true"); out != "disabled" {
			t.Errorf("systemd would start slurmctld at boot: %s", out)
		}
		if err := h.PowerOff(t.Context(), "server1"); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		jobs.from = "server3"
		jobs.submit(h)
		t.Logf("jobs were taken %.1f s after the power went", time.Since(begin).Seconds())
		h.boot("server1")
		h.eventually("its slurmctld is in charge again", 3*time.Minute, func() (bool, string) {
			jobs.submit(h) // all the while
			r := h.run("status")
			return strings.Contains(r.stdout, "primary server1") && r.code == 0, r.stdout + h.whatAgentsDid(h.names(lab.Head))
		})
		h.oneInCharge()
		h.isUp()
	})

	if lost := jobs.lost(h); len(lost) > 0 {
		t.Errorf("jobs whose numbers were told and that nobody knows: %v of %v", lost, jobs.ids)
	}
}

// unitPID prints the process number of a unit's daemon, and fails where it has none.
func unitPID(unit string) string {
	return "systemctl show --property=MainPID --value " + unit + " | grep -v '^0$'"
}

// submitted is the jobs whose numbers sbatch told.
type submitted struct {
	from string
	ids  []string
}

func (s *submitted) submit(h *hosts) {
	h.t.Helper()
	from := s.from
	if from == "" {
		from = "server2"
	}
	h.eventually("a job is taken", 2*time.Minute, func() (bool, string) {
		out, err := h.trySh(from, "cd /tmp && timeout 20 sbatch --parsable --output=/dev/null --wrap=true")
		if err == nil {
			s.ids = append(s.ids, out)
		}
		return err == nil, out
	})
}

// lost is those that accounting does not know.
func (s *submitted) lost(h *hosts) []string {
	h.t.Helper()
	var missing []string
	h.eventually("accounting has heard of all jobs", time.Minute, func() (bool, string) {
		out, err := h.trySh("server1", "sacct -nXP -o jobid -j "+strings.Join(s.ids, ","))
		known := map[string]bool{}
		for _, id := range strings.Fields(out) {
			known[id] = true
		}
		missing = nil
		for _, id := range s.ids {
			if !known[id] {
				missing = append(missing, id)
			}
		}
		return err == nil && len(missing) == 0, fmt.Sprint(missing)
	})
	return missing
}

// isUp waits until status says so.
func (h *hosts) isUp() {
	h.t.Helper()
	h.eventually("status is UP", 3*time.Minute, func() (bool, string) {
		r := h.run("status")
		return r.code == 0, r.String() + h.whatAgentsDid(h.names(lab.Head))
	})
}

// oneInCharge looks for a while who writes the heartbeat: one alone.
func (h *hosts) oneInCharge() {
	h.t.Helper()
	out := h.sh("server2", `for i in $(seq 20); do
		set -- $(od -An -tu8 --endian=big /mnt/gluster/slurm/state/heartbeat 2>/dev/null); [ -z "$2" ] || echo $2; sleep 0.3
	done | sort -u`)
	if strings.Contains(out, "\n") || out == "" {
		h.t.Errorf("more than one slurmctld writes the heartbeat: %q", out)
	}
}
