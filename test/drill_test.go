//go:build lab

package test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"multihead/internal/lab"
)

// drilled is what `drill run -o json` prints, as far as it is looked at here.
type drilled struct {
	Held   bool `json:"held"`
	Drills []struct {
		Name string `json:"name"`
		Runs []struct {
			Green    bool     `json:"green"`
			Victims  []string `json:"victims"`
			Services []struct {
				Service      string `json:"service"`
				Acknowledged int    `json:"acknowledged"`
			} `json:"services"`
			Invariants []struct {
				Name string `json:"name"`
				OK   bool   `json:"ok"`
				Text string `json:"text"`
			} `json:"invariants"`
		} `json:"runs"`
	} `json:"drills"`
}

// Heads lose power, daemons are killed and stopped, the network is cut; what was
// acknowledged is there afterwards. How long it took is told and not judged: the
// machine under this test has other things to do.
func TestDrills(t *testing.T) {
	t.Parallel() // it waits more than it works; beside one other
	h := newLab(t, lab.Spec{Name: "drill", Heads: 3, Compute: 1})
	h.must("up", "--yes")
	h.green()
	// The second to die first, while the head with the address is also in charge of Slurm:
	// one in charge that lives, and wants a script that was only on the two that died, ends
	// itself without saving (DESIGN.md), and the jobs of its last seconds are gone.
	for _, name := range []string{"second-dies-during-heal", "power-off-vip-owner", "kill-mariadbd", "stall-slurmctld-5", "partition-vip-owner", "cut-storage-vip-owner", "disk-hangs-vip-owner"} {
		t.Run(name, func(t *testing.T) { h.in(t).drill(name) })
	}
	t.Run("a lost row is found", func(t *testing.T) { h.in(t).lostRow() })
	// Replays of what drills found.
	t.Run("the primary dies while it replaces its heartbeat", func(t *testing.T) { h.in(t).heartbeatLost() })
	t.Run("the state misses a brick, and the primary dies", func(t *testing.T) { h.in(t).stateMissesABrick() })
	t.Run("a script is on no disk", func(t *testing.T) { h.in(t).scriptLost() })
	t.Run("a brick comes back with what the others have removed", func(t *testing.T) { h.in(t).removedComesBack() })
	t.Run("a client dies in the middle of a change, and a brick comes back", func(t *testing.T) { h.in(t).replacedMeanwhile("server3", "server1", "server2") })
	t.Run("the self-heal daemons stand still", func(t *testing.T) { h.in(t).healersStandStill() })
}

// heartbeatLost takes slurmctld's heartbeat away in the moment in which the power of its
// head goes, as it does itself for some milliseconds each second: a backup takes over.
func (h *hosts) heartbeatLost() {
	h.t.Helper()
	ctx := h.t.Context()
	h.sh("server1", "systemctl kill --signal=STOP slurmctld") // it writes no other
	h.sh("server2", "cd /mnt/gluster/slurm/state && until cp -p heartbeat heartbeat.new 2>/dev/null; do :; done; rm heartbeat")
	if err := h.PowerOff(ctx, "server1"); err != nil {
		h.t.Fatal(err)
	}
	begin := time.Now()
	h.eventually("a job is accepted", 2*time.Minute, func() (bool, string) {
		out, err := h.trySh("node001", "timeout 30 sbatch --parsable --output=/dev/null --wrap=true")
		return err == nil, out
	})
	h.t.Logf("a job was accepted after %.1f s", time.Since(begin).Seconds())
	if err := h.PowerOn(ctx, "server1"); err != nil {
		h.t.Fatal(err)
	}
	h.green()
	if out := h.must("events").stdout; !strings.Contains(out, "put back the heartbeat") {
		h.t.Errorf("nobody says that it put the heartbeat back:\n%s", out)
	}
}

// removedComesBack makes of one brick what a power cut does, which takes the last seconds
// from its directories: there a directory is again that was removed on all others. What
// its daemon cannot heal by its identity is healed by its name.
func (h *hosts) removedComesBack() {
	h.t.Helper()
	const dir, brick = "/mnt/gluster/uploads/came-back", "/data/glusterfs/brick/uploads/came-back"
	// Where GlusterFS keeps what belongs to an identity, and what is to be healed.
	const paths = `set -e; g=/data/glusterfs/brick/.glusterfs; i=$g/indices/xattrop; b=` + brick + `
gfid() { getfattr --absolute-names -e hex -n trusted.gfid "$1" | sed -n 's/.*=0x\(.\{8\}\)\(.\{4\}\)\(.\{4\}\)\(.\{4\}\)\(.*\)/\1-\2-\3-\4-\5/p'; }
`
	h.sh("server2", "mkdir "+dir+" && echo x > "+dir+"/f && sync")
	h.eventually("it is on all bricks", time.Minute, func() (bool, string) {
		out, err := h.trySh("server3", "cat "+brick+"/f; ls /data/glusterfs/brick/.glusterfs/indices/xattrop | grep -vc xattrop- || true")
		return err == nil && out == "x\n0", out
	})
	h.sh("server3", paths+`for n in 0 1; do setfattr -n trusted.afr.shared_data-client-$n -v 0x000000010000000100000001 $b; done
base=$(find $i -name 'xattrop-*' -print -quit) # none before the brick had anything to heal since its start
[ -n "$base" ] || { base=$i/xattrop-$(cat /proc/sys/kernel/random/uuid); : >$base; }
ln $base $i/$(gfid $b)`)
	for _, head := range []string{"server1", "server2"} {
		h.sh(head, paths+`for f in $b/f $b; do x=$(gfid $f); rm -rf $f $g/$(echo $x | cut -c1-2)/$(echo $x | cut -c3-4)/$x; done`)
	}
	const did = "look up by their names"
	byAgents := func() int { return strings.Count(h.run("events").stdout, did) }
	before := byAgents()
	h.eventually("there is something to look up, or the agents have done it", 2*time.Minute, func() (bool, string) {
		r := h.run("recover", "--dry-run")
		return strings.Contains(r.stdout, did) || byAgents() > before, r.String()
	})
	begin := time.Now()
	if r := h.run("recover", "--yes"); !strings.Contains(r.stdout, did) && byAgents() == before {
		h.t.Errorf("it was not looked up: %s", r)
	}
	h.eventually("all bricks have the same", time.Minute, func() (bool, string) { // what is in the directory comes after it
		var seen []string
		for _, head := range []string{"server1", "server2", "server3"} {
			out, err := h.trySh(head, "cat "+brick+"/f; ls /data/glusterfs/brick/.glusterfs/indices/xattrop | grep -vc xattrop- || true")
			seen = append(seen, fmt.Sprint(out, err))
		}
		return strings.Join(seen, " ") == "x\n0<nil> x\n0<nil> x\n0<nil>", fmt.Sprintf("%q", seen)
	})
	h.t.Logf("it was healed %.1f s after the lookup began", time.Since(begin).Seconds())
	h.sh("server1", "rm -r "+dir)
	h.green()
}

// drill runs one and checks its invariants, and that nothing of it is left.
func (h *hosts) drill(name string) {
	h.t.Helper()
	r := h.run("drill", "run", name, "-o", "json")
	d := parseDrill(h, r)
	run := d.Drills[0].Runs[0]
	if len(run.Invariants) < 10 {
		h.t.Errorf("only %d invariants were looked at", len(run.Invariants))
	}
	for _, v := range run.Invariants {
		if !v.OK {
			h.t.Errorf("%s: %s", v.Name, v.Text)
		}
	}
	for _, s := range run.Services {
		h.t.Logf("%s: %d acknowledged", s.Service, s.Acknowledged)
		if s.Acknowledged == 0 {
			h.t.Errorf("%s: nothing was acknowledged", s.Service)
		}
	}
	h.t.Logf("%s: %v\n%s", name, run.Victims, r.stderr)
	h.nothingLeft()
}

func parseDrill(h *hosts, r result) drilled {
	h.t.Helper()
	var d drilled
	if err := json.Unmarshal([]byte(r.stdout), &d); err != nil {
		h.t.Fatalf("%v: %s", err, r)
	}
	if len(d.Drills) != 1 || len(d.Drills[0].Runs) != 1 {
		h.t.Fatalf("no run: %s", r)
	}
	return d
}

// lostRow deletes an acknowledged row behind the drill's back: the check of the
// list has to see it, and so has whoever reads the exit code.
func (h *hosts) lostRow() {
	h.t.Helper()
	const sabotage = "MULTIHEAD_DRILL_SABOTAGE"
	if err := os.Setenv(sabotage, "DELETE FROM list WHERE n = 3"); err != nil {
		h.t.Fatal(err)
	}
	defer os.Unsetenv(sabotage)
	r := h.run("drill", "run", "kill-agent", "-o", "json")
	if r.code != 1 {
		h.t.Errorf("exit %d: %s", r.code, r)
	}
	for _, v := range parseDrill(h, r).Drills[0].Runs[0].Invariants {
		if v.Name == "acknowledged appends" {
			if v.OK || !strings.Contains(v.Text, "1 acknowledged and lost (3)") {
				h.t.Errorf("%+v", v)
			}
		} else if !v.OK {
			h.t.Errorf("%s: %s", v.Name, v.Text)
		}
	}
	h.nothingLeft()
}

// nothingLeft looks for what drills make.
func (h *hosts) nothingLeft() {
	h.t.Helper()
	head := h.names(lab.Head)[0]
	for what, script := range map[string]string{
		"databases": "mariadb -N -e \"SHOW DATABASES LIKE 'multihead_drill'\"",
		"accounts":  "mariadb -N -e \"SELECT User FROM mysql.global_priv WHERE User LIKE 'multihead_drill%'\"",
		"files":     "ls -d /mnt/gluster/multihead_drill 2>/dev/null || true",
		"jobs":      "squeue -h -o '%j' -t PD,R | grep multihead-drill || true",
	} {
		if out := h.sh(head, script); out != "" {
			h.t.Errorf("%s are left: %s", what, out)
		}
	}
	hosts := append(h.names(lab.Head), h.names(lab.Compute)...)
	for _, host := range hosts {
		units := strings.Fields(h.sh(host, "systemctl list-units --plain --no-legend 'multihead-drill*' | cut -d ' ' -f 1"))
		if units = slices.DeleteFunc(units, func(u string) bool { return !strings.HasSuffix(u, ".service") }); len(units) > 0 {
			h.t.Errorf("%s: workers are left: %v", host, units)
		}
	}
}
