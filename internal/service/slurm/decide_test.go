package slurm

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"multihead/internal/config"
	"multihead/internal/golden"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// stateOf is a state in which every head of the test file was reached, runs
// nothing and holds nothing; changes make it another.
func stateOf(c *config.Cluster, changes ...func(*State)) *State {
	s := &State{cluster: c, stamp: "19700101T000000Z"}
	for i, h := range c.SlurmControllers() {
		s.heads = append(s.heads, head{
			common:     common{name: h.Hostname, reached: true, pkg: families["debian"], units: map[string]string{ctldUnit: "inactive", dbdUnit: "inactive"}},
			controller: true, index: i,
			listens: service.No, dbd: service.No,
			state: stateDir{path: c.Slurm.StateSaveLocation, data: service.No},
		})
	}
	for _, n := range c.AllComputes() {
		s.nodes = append(s.nodes, node{
			common: common{name: n.Hostname, reached: true, pkg: families["debian"], units: map[string]string{nodeUnit: "inactive"}},
			spec:   n, cgroups: service.Yes,
		})
	}
	for _, change := range changes {
		change(s)
	}
	return s
}

const threeHosts = "ClusterName=hpc_portal\nSlurmctldHost=server2(192.0.2.12)\nSlurmctldHost=server1(192.0.2.11)\nSlurmctldHost=server3(192.0.2.13)\n"

// live makes a slurmctld run on a head; the last heartbeat is of index.
func live(name string, index int) func(*State) {
	return func(s *State) {
		for i := range s.heads {
			h := &s.heads[i]
			if index >= 0 {
				h.state.data, h.state.cluster = service.Yes, "hpc_portal"
				h.state.beat = &heartbeat{time.Unix(1000, 0), index}
			}
			if h.name == name {
				h.units[ctldUnit], h.units[dbdUnit], h.listens = "active", "active", service.Yes
				if name == "server2" {
					h.dbd = service.Yes
				}
				h.conf = []byte(threeHosts)
			}
		}
	}
}

func onHead(name string, change func(*head)) func(*State) {
	return func(s *State) {
		for i := range s.heads {
			if s.heads[i].name == name {
				change(&s.heads[i])
			}
		}
	}
}

func lost(name string) func(*State) {
	return onHead(name, func(h *head) {
		h.reached, h.why, h.units, h.listens, h.state = false, "timed out", nil, service.Unsure, stateDir{}
	})
}

func TestDecide(t *testing.T) {
	stopped := func(s *State) {
		for i := range s.heads {
			s.heads[i].state.data, s.heads[i].state.cluster = service.Yes, "hpc_portal"
		}
	}
	for _, c := range []struct {
		name    string
		changes []func(*State)
		intent  service.Intent
		want    string // verdict and where it begins
		refused string
	}{
		{"nothing anywhere", nil, service.Intent{Mode: service.Auto}, "form server2", ""},
		{"nothing anywhere, told to join", nil, service.Intent{Mode: service.Join}, "", "no head is part of a live cluster"},
		{"one lives", []func(*State){live("server1", 1)}, service.Intent{}, "join server1", ""},
		{"one lives, told to bootstrap", []func(*State){live("server1", 1)}, service.Intent{Mode: service.Bootstrap}, "", "second cluster"},
		{"all stopped", []func(*State){stopped}, service.Intent{}, "resume server2", ""},
		{"stopped, the first head is gone", []func(*State){stopped, lost("server2")}, service.Intent{}, "", "server2"},
		{"stopped, the first head is gone, confirmed", []func(*State){stopped, lost("server2")}, service.Intent{Mode: service.Bootstrap, Confirmed: true}, "resume server1", ""},
		{"one lives, another is gone", []func(*State){live("server1", 1), lost("server2")}, service.Intent{}, "join server1", ""},
		{"nothing on those that answer, one is gone", []func(*State){lost("server3")}, service.Intent{}, "", "server3"},
		{"the volume hangs on one, nothing lives", []func(*State){onHead("server3", func(h *head) {
			h.state.data, h.state.why = service.Unsure, "read: deadline exceeded"
		})}, service.Intent{}, "", "deadline exceeded"},
		{"the volume hangs on one, another lives", []func(*State){live("server1", 1), onHead("server3", func(h *head) {
			h.state.data, h.state.why = service.Unsure, "read: deadline exceeded"
		})}, service.Intent{}, "join server1", ""},
		{"state of another cluster", []func(*State){onHead("server1", func(h *head) {
			h.state.data, h.state.cluster = service.Yes, "other"
		})}, service.Intent{}, "", "holds the state of the cluster other"},
		{"another cluster lives", []func(*State){live("server1", -1), onHead("server1", func(h *head) {
			h.conf = []byte("ClusterName=other\n")
		})}, service.Intent{}, "", "runs for the cluster other"},
		{"the jobs of this cluster lie on a local disk", []func(*State){live("server1", -1), onHead("server1", func(h *head) {
			h.oldState = stateDir{path: "/var/spool/slurmctld", data: service.Yes, cluster: "hpc_portal"}
		})}, service.Intent{}, "", "cp --archive /var/spool/slurmctld/. /mnt/gluster/slurm/state/"},
		{"the jobs were moved already", []func(*State){stopped, onHead("server1", func(h *head) {
			h.oldState = stateDir{path: "/var/spool/slurmctld", data: service.Yes, cluster: "hpc_portal"}
		})}, service.Intent{}, "resume server2", ""},
		{"names differ in case only", []func(*State){onHead("server1", func(h *head) {
			h.state.data, h.state.cluster = service.Yes, "HPC_Portal"
		})}, service.Intent{}, "resume server1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := stateOf(site(t), c.changes...)
			d, err := s.decide(c.intent)
			if c.refused != "" {
				var r *service.Refusal
				if !errors.As(err, &r) || !strings.Contains(err.Error(), c.refused) || r.Remedy == "" {
					t.Fatalf("got %v %v", d, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			first := d.First
			if d.Verdict == service.Joins {
				first = d.Members[0]
			}
			if got := string(d.Verdict) + " " + first; got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestSeveralControllersNeedSharedState(t *testing.T) {
	c := site(t)
	c.Slurm.StateSaveLocation = "/var/spool/slurmctld"
	s := stateOf(c)
	if _, err := s.Plan(service.Intent{}); err == nil || !strings.Contains(err.Error(), "not on storage that all of them see") {
		t.Errorf("got %v", err)
	}
}

func TestAccountingWithoutAnAccountIsRefused(t *testing.T) {
	c := site(t)
	c.Database.MariaDB.Databases = nil
	s := stateOf(c)
	if _, err := s.Plan(service.Intent{}); err == nil || !strings.Contains(err.Error(), "slurm_acct_db") {
		t.Errorf("got %v", err)
	}
}

func TestWhoIsInCharge(t *testing.T) {
	two := "SlurmctldHost=server1(192.0.2.11)\n"
	for _, c := range []struct {
		name    string
		changes []func(*State)
		want    string
	}{
		{"nobody runs", nil, ""},
		{"one alone, without heartbeat", []func(*State){live("server1", -1)}, "server1"},
		{"two without heartbeat", []func(*State){live("server1", -1), live("server2", -1)}, ""},
		{"the heartbeat says", []func(*State){live("server1", 1), live("server2", 1)}, "server1"},
		{"it died and nobody has taken over", []func(*State){live("server1", 0)}, ""},
		{"the index counts the lines that were there", []func(*State){live("server1", 0), onHead("server1", func(h *head) { h.conf = []byte(two) })}, "server1"},
	} {
		s := stateOf(site(t), c.changes...)
		got := ""
		if i := s.active(); i >= 0 {
			got = s.heads[i].name
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestCgroups(t *testing.T) {
	no := func(s *State) { s.nodes[1].cgroups, s.nodes[1].whyNot = service.No, "no controller cpu" }
	had := func(line string) func(*State) {
		return onHead("server2", func(h *head) { h.conf = []byte("ProctrackType=" + line + "\n") })
	}
	unknown := func(s *State) {
		for i := range s.nodes {
			s.nodes[i].cgroups = service.Unsure
		}
	}
	for _, c := range []struct {
		name    string
		cluster *config.Cluster
		changes []func(*State)
		want    bool
		note    string
	}{
		{"all can", site(t), nil, true, ""},
		{"one cannot", site(t), []func(*State){no}, false, "node002: no controller cpu"},
		{"the file says no", site(t, "network: {", "cgroup: {enabled: false}\nnetwork: {"), nil, false, ""},
		{"nothing is known", site(t), []func(*State){unknown}, false, ""},
		{"it was on and stays on", site(t), []func(*State){no, had("proctrack/cgroup")}, true, "will not work on node002"},
		{"it was off and stays off", site(t), []func(*State){had("proctrack/linuxproc")}, false, "as before"},
	} {
		got, note := stateOf(c.cluster, c.changes...).cgroupsUsable()
		if got != c.want || c.note == "" && note != "" || !strings.Contains(note, c.note) {
			t.Errorf("%s: %v %q", c.name, got, note)
		}
	}
}

func TestCgroup2Offers(t *testing.T) {
	for in, want := range map[string]service.Answer{
		"cpuset cpu io memory hugetlb pids\n": service.Yes, "": service.No, "cpu io pids": service.No,
	} {
		if got, _ := cgroup2Offers(in); got != want {
			t.Errorf("%q: %v", in, got)
		}
	}
}

// outline is a phase in short: stage, then host and step.
func outline(ph plan.Phase) string {
	var b strings.Builder
	for _, st := range ph.Stages {
		if len(st.Steps) == 0 {
			continue
		}
		b.WriteString(st.Name + ":\n")
		for _, s := range st.Steps {
			b.WriteString("  " + s.Host + " " + s.ID + "\n")
		}
	}
	return b.String()
}

func TestPlanOutlines(t *testing.T) {
	for name, s := range map[string]*State{
		"plan.form.txt": stateOf(site(t)),
		"plan.grow.txt": stateOf(site(t), live("server1", 0), onHead("server1", func(h *head) {
			h.conf = []byte("ClusterName=hpc_portal\nSlurmctldHost=server1(192.0.2.11)\n")
		})),
		"plan.returns.txt": stateOf(site(t), live("server1", 1), live("server3", 1), onHead("server2", func(h *head) {
			h.listens, h.units[ctldUnit] = service.No, "failed"
		})),
	} {
		ph, err := s.Plan(service.Intent{})
		if err != nil {
			t.Fatal(err)
		}
		golden.Check(t, filepath.Join("testdata", name), []byte(outline(ph)))
	}
}

// The first controller of the file is server2, and server1 has taken over from it.
func TestABackupGivesWayInUpOnlyWhereTheFirstOneComesBack(t *testing.T) {
	for _, c := range []struct {
		name  string
		nodes []string
		want  bool
	}{
		{"both are in the plan", nil, true},
		{"the first one is left alone: it is in maintenance", []string{"server1", "server3"}, false},
		{"the one in charge is left alone", []string{"server2", "server3"}, false},
	} {
		s := stateOf(site(t), live("server1", 1), live("server3", 1), onHead("server2", func(h *head) {
			h.listens, h.units[ctldUnit] = service.No, "inactive"
		}))
		ph, err := s.Plan(service.Intent{Nodes: c.nodes})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(outline(ph), "give-way"); got != c.want {
			t.Errorf("%s: %v\n%s", c.name, got, outline(ph))
		}
	}
}

func TestStopEndsWithTheControllerInCharge(t *testing.T) {
	all := []func(*State){live("server1", 1), live("server2", 1), live("server3", 1)}
	for _, c := range []struct {
		name  string
		nodes []string
		want  string
	}{
		{"everything", nil, "backups:\n  server2 slurm.ctld.stop\n  server3 slurm.ctld.stop\ncontroller in charge:\n  server1 slurm.ctld.stop\n" +
			"accounting:\n  server2 slurm.dbd.stop\n  server1 slurm.dbd.stop\n  server3 slurm.dbd.stop\n"},
		{"the one in charge hands over first", []string{"server1"}, "hand over:\n  server2 slurm.takeover\n" +
			"controller in charge:\n  server1 slurm.ctld.stop\naccounting:\n  server1 slurm.dbd.stop\n"},
		{"a backup", []string{"server3"}, "backups:\n  server3 slurm.ctld.stop\naccounting:\n  server3 slurm.dbd.stop\n"},
	} {
		ph, err := stateOf(site(t), all...).Stop(service.Intent{Nodes: c.nodes})
		if err != nil || outline(ph) != c.want {
			t.Errorf("%s: %v\n%s", c.name, err, outline(ph))
		}
	}
}

func TestHealth(t *testing.T) {
	up := []func(*State){live("server1", 1), live("server2", 1), live("server3", 1), func(s *State) {
		s.cluWide.nodes = &nodeCounts{total: 4, idle: 4}
	}}
	for _, c := range []struct {
		name    string
		changes []func(*State)
		state   service.Word
		reason  string
	}{
		{"all well", nil, service.Up, ""},
		{"a backup is down", []func(*State){onHead("server3", func(h *head) { h.listens, h.units[ctldUnit] = service.No, "failed" })}, service.Degraded, "server3: slurmctld does not run (failed)"},
		{"a head is not known", []func(*State){lost("server3")}, service.Degraded, "server3: timed out"},
		{"nobody accounts", []func(*State){onHead("server2", func(h *head) { h.dbd = service.No })}, service.Degraded, "no slurmdbd answers"},
		{"the standing-by slurmdbd does not run", []func(*State){onHead("server1", func(h *head) { h.units[dbdUnit] = "failed" })}, service.Degraded, "slurmdbd does not run (failed)"},
		{"most nodes are down", []func(*State){func(s *State) { s.cluWide.nodes = &nodeCounts{total: 4, idle: 1, down: 3, bad: []string{"n1 down*"}} }}, service.Degraded, "n1 down*"},
		{"one of many nodes is down", []func(*State){func(s *State) { s.cluWide.nodes = &nodeCounts{total: 4, idle: 3, down: 1} }}, service.Up, ""},
		{"the controller does not answer", []func(*State){func(s *State) { s.cluWide.nodes, s.cluWide.why = nil, "deadline exceeded" }}, service.Degraded, "deadline exceeded"},
	} {
		h := stateOf(site(t), append(append([]func(*State){}, up...), c.changes...)...).Health()
		if h.State != c.state || !strings.Contains(h.Reason, c.reason) || (c.reason == "") != (h.Reason == "") {
			t.Errorf("%s: %s %q", c.name, h.State, h.Reason)
		}
		if n := h.Nodes["server1"]; n.Role != "primary" || n.Facts["controller"] != "primary" {
			t.Errorf("%s: server1 is %+v", c.name, n)
		}
	}
	if h := stateOf(site(t)).Health(); h.State != service.Down {
		t.Errorf("nothing runs: %s %s", h.State, h.Reason)
	}
	if h := stateOf(site(t), lost("server1"), lost("server2"), lost("server3")).Health(); h.State != service.Unknown {
		t.Errorf("nothing is known: %s %s", h.State, h.Reason)
	}
}

func TestSurvival(t *testing.T) {
	four := "  compute_nodes:\n"
	for _, c := range []struct {
		name    string
		cluster *config.Cluster
		want    int
	}{
		{"three controllers, three bricks", site(t), 1},
		{"five controllers on three bricks", site(t, four, "    - {hostname: server4, ip_address: 192.0.2.14, priority: 70, services: {slurm: true}}\n    - {hostname: server5, ip_address: 192.0.2.15, priority: 60, services: {slurm: true}}\n"+four), 1},
		{"storage of the site's own", site(t, "network: {", "shared_storage: {type: nfs, nfs: {server: nas, export: /x, mount_point: /mnt/x}}\nnetwork: {"), 2},
		{"one controller", site(t, "slurm_config:\n", "slurm_config:\n  multi_master: {enabled: false}\n"), 0},
	} {
		if got := stateOf(c.cluster).Survival(); got.AtOnce != c.want || got.InTurn != c.want || got.Why == "" {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}
