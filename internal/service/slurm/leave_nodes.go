package slurm

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// leaveReason is what Slurm shows as the reason why a leaving node takes no jobs.
const leaveReason = "multihead: leaves the cluster"

// leaveNodes is how compute nodes leave: they take no new jobs, those that they have
// end, and only then slurmd stops. A node that is gone is said to be down, by which
// the controller gives up what ran there. The lines of slurm.conf are those of the
// plan that follows, which knows the nodes no more.
func (s *State) leaveNodes(intent service.Intent) (stages []plan.Stage, notes []string, err error) {
	names := intent.LeavingComputes
	if len(names) == 0 {
		return nil, nil, nil
	}
	if err := s.mayLeaveNodes(intent); err != nil {
		return nil, nil, err
	}
	w := s.work
	drain, end, stop := plan.Stage{Name: "drain"}, plan.Stage{Name: "no jobs"}, plan.Stage{Name: "stop"}
	for _, n := range w.known(names) {
		a := drained(n)
		if intent.Gone(n) {
			a = down(n)
		}
		drain.Steps = append(drain.Steps, step(w.asked, "drain."+n, a))
	}
	if intent.Drain {
		return []plan.Stage{drain}, nil, nil
	}
	if known := w.known(names); len(known) > 0 {
		end.Steps = append(end.Steps, step(w.asked, "drained", noJobs(known)))
	}
	for _, n := range s.nodes {
		if n.reached && slices.Contains(names, n.name) {
			stop.Steps = append(stop.Steps, step(n.name, "node.leave", plan.Stopped(nodeUnit)))
		}
	}
	return []plan.Stage{drain, end, stop}, s.leaveNotes(intent), nil
}

// leaveNotes is what a person should know before saying yes.
func (s *State) leaveNotes(intent service.Intent) []string {
	var notes, lost []string
	for _, n := range intent.LeavingComputes {
		if intent.Gone(n) {
			lost = append(lost, n)
		}
	}
	if jobs := s.work.of(lost); len(jobs) > 0 {
		notes = append(notes, fmt.Sprintf("these jobs had a node that is gone, and are queued again, or fail where they may not be: %s", some(jobs)))
	}
	if jobs := s.work.jobs; intent.JobsEnd && len(jobs) > 0 {
		notes = append(notes, fmt.Sprintf("waited for, without the lock of the cluster, once no new ones are taken: %s", some(jobs)))
	}
	for _, h := range s.heads {
		if !h.reached {
			notes = append(notes, fmt.Sprintf("%s does not answer: its slurm.conf names them until multihead up reaches it", h.name))
		}
	}
	return notes
}

// mayLeaveNodes refuses where jobs would be lost, or it is not known that none are.
func (s *State) mayLeaveNodes(intent service.Intent) error {
	w, names := s.work, strings.Join(intent.LeavingComputes, ", ")
	for _, n := range intent.LeavingComputes {
		if w.why == "" && !slices.Contains(w.nodes, n) {
			w.why = "it was not asked"
		}
	}
	if w.why != "" {
		return refusal("Look at multihead status, and bring a controller back: multihead recover, or multihead up. Then run this again.",
			"what runs on %s is not known: %s", names, w.why)
	}
	if len(w.wanting) > 0 {
		return refusal("Cancel them, or change what they ask for (scontrol update jobid=… reqnodelist=), and run this again.",
			"%s, and could never run: %s", wanting(len(w.wanting), names), some(w.wanting))
	}
	if len(w.reservations) > 0 {
		return refusal("Delete them, or give them other nodes (scontrol update reservation=… nodes=…), and run this again.",
			"%s: reserved by %s", names, strings.Join(w.reservations, ", "))
	}
	var serving []string
	for _, n := range intent.LeavingComputes {
		if !intent.Gone(n) {
			serving = append(serving, n)
		}
	}
	jobs := w.of(serving)
	if len(jobs) > 0 && !intent.JobsEnd && !intent.Drain {
		return refusal("Say how long to wait for them, as --wait 12h: no new ones are taken meanwhile. Or cancel them.",
			"jobs run there: %s", some(jobs))
	}
	return nil
}

func wanting(n int, names string) string {
	if n == 1 {
		return "1 job in the queue asks by name for " + names
	}
	return fmt.Sprintf("%d jobs in the queue ask by name for %s", n, names)
}

// some is a few jobs by name, and how many more there are.
func some(jobs []job) string {
	const most = 5
	var out []string
	for _, j := range jobs[:min(most, len(jobs))] {
		out = append(out, j.String())
	}
	if more := len(jobs) - most; more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(out, ", ")
}

// drained keeps new jobs off a node. Taken back, it takes jobs again; where a person
// has drained it before there is nothing to take back.
func drained(name string) plan.Action {
	return plan.Func{
		What: "take no new jobs on " + name, Kind: plan.Change,
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			st, err := stateOfNode(ctx, h, name)
			return st == "" || strings.HasPrefix(st, "drain"), err
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			if err := updateNode(ctx, h, name, "State=DRAIN", "Reason="+leaveReason); err != nil {
				return nil, err
			}
			return plan.Func{What: "take jobs on " + name + " again", Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
				return nil, updateNode(ctx, h, name, "State=UNDRAIN")
			}}, nil
		},
	}
}

// down tells the controller that a node is gone. Nothing is to be taken back: it is
// so.
func down(name string) plan.Action {
	return plan.Func{
		What: "say that " + name + " is down", Kind: plan.Change,
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			st, err := stateOfNode(ctx, h, name)
			// drained is drain without a job on it; draining has one.
			return st == "" || strings.HasPrefix(st, "down") || strings.HasPrefix(st, "drained"), err
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			return nil, updateNode(ctx, h, name, "State=DOWN", "Reason="+leaveReason)
		},
	}
}

func updateNode(ctx context.Context, h host.Host, name string, words ...string) error {
	_, err := h.Run(ctx, host.Command(append([]string{"scontrol", "update", "NodeName=" + name}, words...)...))
	return err
}

// stateOfNode is a node's state by the controller; empty where it does not know it.
func stateOfNode(ctx context.Context, h host.Reader, name string) (string, error) {
	states, err := statesOf(ctx, h, []string{name})
	return states[name], err
}

// noJobs waits until the last job has ended, the cleaning up after it included.
func noJobs(names []string) plan.Await {
	return plan.Await{
		What:    "no job has " + strings.Join(names, ", "),
		Timeout: 2 * time.Minute,
		Every:   time.Second,
		Until: func(ctx context.Context, h host.Reader) (bool, string, error) {
			jobs, err := jobsOn(ctx, h, names)
			return err == nil && len(jobs) == 0, some(jobs), err
		},
	}
}
