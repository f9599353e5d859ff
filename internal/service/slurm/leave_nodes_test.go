package slurm

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// working makes server1 have answered what the nodes do.
func working(change func(*work)) func(*State) {
	return func(s *State) {
		s.work = work{nodes: []string{"node001"}, asked: "server1", states: map[string]string{"node001": "idle", "node002": "idle"}}
		if change != nil {
			change(&s.work)
		}
	}
}

func offNode(name string) func(*State) {
	return func(s *State) {
		for i := range s.nodes {
			if s.nodes[i].name == name {
				s.nodes[i].reached, s.nodes[i].units = false, nil
			}
		}
	}
}

func TestAComputeNodeLeavesOnceNothingRunsOnIt(t *testing.T) {
	runs := func(w *work) { w.jobs = []job{{"17", "alice", "RUNNING", []string{"node001", "node002"}}} }
	const orderly = "drain:\n  server1 slurm.drain.node001\nno jobs:\n  server1 slurm.drained\nstop:\n  node001 slurm.node.leave\n"
	for name, c := range map[string]struct {
		intent service.Intent
		change func(*State)
		want   string
		note   string
	}{
		"an idle one":             {service.Intent{}, working(nil), orderly, ""},
		"its jobs are waited for": {service.Intent{JobsEnd: true}, working(runs), orderly, "17 of alice on node[001-002]"},
		"no new jobs from now on": {service.Intent{Drain: true}, working(runs), "drain:\n  server1 slurm.drain.node001\n", ""},
		"slurmctld never knew it": {service.Intent{}, working(func(w *work) { delete(w.states, "node001") }), "stop:\n  node001 slurm.node.leave\n", ""},
		"one that is gone":        {service.Intent{Lost: []string{"node001"}}, func(s *State) { working(nil)(s); offNode("node001")(s) }, "drain:\n  server1 slurm.drain.node001\nno jobs:\n  server1 slurm.drained\n", ""},
		"one that is gone, busy":  {service.Intent{Lost: []string{"node001"}}, func(s *State) { working(runs)(s); offNode("node001")(s) }, "drain:\n  server1 slurm.drain.node001\nno jobs:\n  server1 slurm.drained\n", "queued again, or fail"},
		"while a head is silent":  {service.Intent{}, func(s *State) { working(nil)(s); lost("server3")(s) }, orderly, "server3 does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			c.intent.LeavingComputes = []string{"node001"}
			s := stateOf(site(t), live("server1", 1), live("server2", 1), live("server3", 1), c.change)
			ph, err := s.Leave(c.intent)
			if err != nil || outline(ph) != c.want {
				t.Fatalf("%v\n%s\nwant:\n%s", err, outline(ph), c.want)
			}
			if notes := strings.Join(ph.Notes, "\n"); !strings.Contains(notes, c.note) || c.note == "" && notes != "" {
				t.Errorf("notes: %s", notes)
			}
		})
	}
}

func TestAComputeNodeStaysWhileJobsWouldBeLost(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*work)
		reason string
	}{
		"jobs run":         {func(w *work) { w.jobs = []job{{"17", "alice", "RUNNING", []string{"node001"}}} }, "jobs run there: 17 of alice on node001"},
		"many jobs run":    {func(w *work) { w.jobs = slices.Repeat([]job{{"17", "alice", "RUNNING", []string{"node001"}}}, 8) }, "and 3 more"},
		"one waits for it": {func(w *work) { w.wanting = []job{{"18", "bob", "PENDING", []string{"node001"}}} }, "1 job in the queue asks by name for node001, and could never run: 18 of bob on node001"},
		"it is reserved":   {func(w *work) { w.reservations = []string{"course"} }, "node001: reserved by course"},
		"nobody can say":   {func(w *work) { w.why = "slurmctld answers on no head" }, "what runs on node001 is not known: slurmctld answers on no head"},
		"it was not asked": {func(w *work) { w.nodes = nil }, "what runs on node001 is not known: it was not asked"},
	} {
		t.Run(name, func(t *testing.T) {
			s := stateOf(site(t), live("server1", 1), working(c.change))
			_, err := s.Leave(service.Intent{LeavingComputes: []string{"node001"}})
			var refused *service.Refusal
			if !errors.As(err, &refused) || !strings.Contains(refused.Reason, c.reason) || refused.Remedy == "" {
				t.Errorf("%v, want %q", err, c.reason)
			}
		})
	}
}

// controller is a head whose Slurm says these things.
func controller(sinfo, jobs, pending, reservations string) *hosttest.Machine {
	m := hosttest.New("server1")
	m.Answer("sinfo --all --Node", sinfo)
	m.Answer("squeue --all --noheader --nodelist=node001", jobs)
	m.Answer("squeue --all --noheader --states=PENDING", pending)
	m.Answer("scontrol --oneliner show reservation", reservations)
	return m
}

func TestWhatANodeHasToDo(t *testing.T) {
	const sinfo = "node001 mixed\nnode001 mixed\nnode002 idle\n"
	for name, c := range map[string]struct {
		m                          *hosttest.Machine
		jobs, wanting, booked, why string
	}{
		"nothing": {controller(sinfo, "", "5|bob|PENDING|\n6|bob|PENDING|(null)\n", "No reservations in the system\n"), "", "", "", ""},
		"a job, one that asks for it, and a reservation": {
			controller(sinfo, "17_3|alice|COMPLETING|node[001-002]\n", "18|bob|PENDING|node[001,004]\n19|bob|PENDING|node002\n",
				"ReservationName=course StartTime=2026-01-01T00:00:00 Nodes=node[001-002] NodeCnt=2\nReservationName=other Nodes=node002\n"),
			"17_3 of alice on node[001-002]", "18 of bob on node[001,004]", "course", ""},
		"a job on a node that is in no partition": {
			controller("node002 idle\n", "17|alice|RUNNING|node001\n", "", "").Answer("scontrol --oneliner show node",
				"NodeName=node001 Arch=x86_64 State=MIXED ThreadsPerCore=1\nNodeName=node002 State=IDLE\n"),
			"17 of alice on node001", "", "", ""},
		"a line that is no job": {controller(sinfo, "slurm_load_jobs: nonsense\n", "", ""), "", "", "", "squeue said"},
	} {
		t.Run(name, func(t *testing.T) {
			w := work{nodes: []string{"node001"}}
			err := w.ask(t.Context(), c.m)
			if c.why != "" {
				if err == nil || !strings.Contains(err.Error(), c.why) {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil || some(w.jobs) != c.jobs || some(w.wanting) != c.wanting || strings.Join(w.reservations, " ") != c.booked {
				t.Errorf("%v: %+v", err, w)
			}
		})
	}
}

func TestANodeIsDrainedAndTakesJobsAgainWhereItStays(t *testing.T) {
	state := "idle"
	m := hosttest.New("server1")
	m.OnQuery("sinfo --all --Node", func(host.Cmd) (string, error) { return "node001 " + state + "\n", nil })
	m.OnRun("scontrol update NodeName=node001 State=DRAIN", func(host.Cmd) (string, error) { state = "drained"; return "", nil })
	m.OnRun("scontrol update NodeName=node001 State=UNDRAIN", func(host.Cmd) (string, error) { state = "idle"; return "", nil })
	a := drained("node001")
	if done, err := a.Done(t.Context(), m); done || err != nil {
		t.Fatal(done, err)
	}
	undo, err := a.Do(t.Context(), m)
	if err != nil || state != "drained" || undo == nil {
		t.Fatal(state, undo, err)
	}
	if done, err := a.Done(t.Context(), m); !done || err != nil {
		t.Errorf("twice: %v, %v", done, err)
	}
	if _, err := undo.Do(t.Context(), m); err != nil || state != "idle" {
		t.Error(state, err)
	}
}

func TestStatesThatNeedNoDraining(t *testing.T) {
	for name, c := range map[string]struct {
		state       string
		drain, gone bool // already so
	}{
		"serving":              {"idle", false, false},
		"silent":               {"idle*", false, false},
		"drained by a person":  {"drained", true, true},
		"draining, with a job": {"draining", true, false},
		"silent and drained":   {"drained*", true, true},
		"down":                 {"down*", false, true},
		"unknown to slurmctld": {"", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			line := ""
			if c.state != "" {
				line = "node001 " + c.state + "\n"
			}
			m := hosttest.New("server1").Answer("sinfo --all --Node", line).Answer("scontrol --oneliner show node", "NodeName=node002 State=IDLE\n")
			for _, x := range []struct {
				a    plan.Action
				want bool
			}{{drained("node001"), c.drain}, {down("node001"), c.gone}} {
				if got, err := x.a.Done(t.Context(), m); got != x.want || err != nil {
					t.Errorf("%s: %v, %v", x.a, got, err)
				}
			}
		})
	}
}

func TestAStateByNodeIsTheStateByPartition(t *testing.T) {
	for by, want := range map[string]string{
		"IDLE": "idle", "MIXED+DRAIN": "draining", "IDLE+DRAIN": "drained", "ALLOCATED+DRAIN": "draining", "IDLE+COMPLETING+DRAIN": "draining",
		"DOWN*": "down*", "DOWN+DRAIN": "drained", "DOWN*+NOT_RESPONDING": "down*+not_responding", "UNKNOWN": "unknown",
	} {
		if got := unpartitioned("NodeName=n1 Arch=x86_64 State=" + by + " Comment=State=IDLE\n")["n1"]; got != want {
			t.Errorf("%s is %q, want %q", by, got, want)
		}
	}
	if got := unpartitioned("No nodes in the system\n"); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestHardwareIsWhatSlurmdSays(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want config.Hardware
	}{
		"of 22.05": {"NodeName=n1 CPUs=16 Boards=1 SocketsPerBoard=2 CoresPerSocket=4 ThreadsPerCore=2 RealMemory=31875\nUpTime=0-01:02:03\n",
			config.Hardware{CPUs: 16, Sockets: 2, CoresPerSocket: 4, ThreadsPerCore: 2, MemoryMB: 31744}},
		"two boards":          {"NodeName=n1 CPUs=8 Boards=2 SocketsPerBoard=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=1024", config.Hardware{CPUs: 8, Sockets: 2, CoresPerSocket: 4, ThreadsPerCore: 1, MemoryMB: 1024}},
		"parts do not add up": {"NodeName=n1 CPUs=3 Boards=1 SocketsPerBoard=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=1024", config.Hardware{CPUs: 3, MemoryMB: 1024}},
		"nothing":             {"slurmd: fatal", config.Hardware{}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := parseHardware(c.text); got.CPUs != c.want.CPUs || got.Sockets != c.want.Sockets || got.CoresPerSocket != c.want.CoresPerSocket ||
				got.ThreadsPerCore != c.want.ThreadsPerCore || got.MemoryMB != c.want.MemoryMB {
				t.Errorf("%+v", got)
			}
		})
	}
}

func FuzzJobs(f *testing.F) {
	f.Add("17_3|alice|COMPLETING|node[001-002]\n")
	f.Add("18|bob|PENDING|(null)\n")
	f.Fuzz(func(t *testing.T, text string) {
		jobs, err := parseJobs(text)
		if err == nil && len(jobs) == 0 && strings.TrimSpace(text) != "" {
			t.Errorf("%q is taken for no job", text)
		}
	})
}

// A node whose slurmd cannot be stopped stays a node: it takes jobs again.
func TestANodeThatCannotBeStoppedIsTakenBack(t *testing.T) {
	for name, fails := range map[string]bool{"it stops": false, "it does not stop": true} {
		t.Run(name, func(t *testing.T) {
			state, jobs, runs, enabled := "mixed", "17|alice|COMPLETING|node001\n", "active", "enabled"
			ctl, n := hosttest.New("server1"), hosttest.New("node001")
			ctl.OnQuery("sinfo --all --Node", func(host.Cmd) (string, error) { return "node001 " + state + "\n", nil })
			ctl.OnQuery("squeue --all --noheader --nodelist=node001", func(host.Cmd) (string, error) {
				was := jobs
				jobs = "" // it is cleaned up after while that is awaited
				return was, nil
			})
			ctl.OnRun("scontrol update NodeName=node001 State=DRAIN", func(host.Cmd) (string, error) { state = "drained"; return "", nil })
			ctl.OnRun("scontrol update NodeName=node001 State=UNDRAIN", func(host.Cmd) (string, error) { state = "idle"; return "", nil })
			n.OnQuery("systemctl show", func(host.Cmd) (string, error) {
				return "LoadState=loaded\nActiveState=" + runs + "\nUnitFileState=" + enabled + "\n", nil
			})
			n.OnRun("systemctl disable", func(host.Cmd) (string, error) { enabled = "disabled"; return "", nil })
			n.OnRun("systemctl enable", func(host.Cmd) (string, error) { enabled = "enabled"; return "", nil })
			n.OnRun("systemctl reset-failed", func(host.Cmd) (string, error) { return "", nil })
			n.OnRun("systemctl start", func(host.Cmd) (string, error) { runs = "active"; return "", nil })
			n.OnRun("systemctl stop", func(host.Cmd) (string, error) {
				if fails {
					return "", errors.New("a job's files are on a disk that hangs")
				}
				runs = "inactive"
				return "", nil
			})
			s := stateOf(site(t), live("server1", 1), working(nil))
			ph, err := s.Leave(service.Intent{LeavingComputes: []string{"node001"}})
			if err != nil {
				t.Fatal(err)
			}
			ph.Name = "slurm"
			prop, err := plan.Propose(t.Context(), plan.Plan{Phases: []plan.Phase{ph}}, map[string]host.Reader{"server1": ctl, "node001": n})
			if err != nil {
				t.Fatal(err)
			}
			_, err = plan.NewEngine(map[string]host.Host{"server1": ctl, "node001": n}, func(plan.Event) {}).Apply(t.Context(), prop)
			got := strings.Join([]string{state, runs, enabled}, " ")
			if want := map[bool]string{false: "drained inactive disabled", true: "idle active enabled"}[fails]; got != want || (err != nil) != fails {
				t.Errorf("%s, %v; want %s", got, err, want)
			}
		})
	}
}
