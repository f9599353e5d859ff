//go:build lab

package test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

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
	for _, name := range []string{"power-off-vip-owner", "kill-mariadbd", "stall-slurmctld-5", "partition-vip-owner", "cut-storage-vip-owner", "disk-hangs-vip-owner", "second-dies-during-heal"} {
		t.Run(name, func(t *testing.T) { h.in(t).drill(name) })
	}
	t.Run("a lost row is found", func(t *testing.T) { h.in(t).lostRow() })
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
