package slurm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"multihead/internal/host"
	"multihead/internal/hostlist"
	"multihead/internal/service"
)

// work is what the compute nodes that are to leave have to do, by the controller.
type work struct {
	nodes        []string // that were asked about
	asked        string   // the head that it was asked on
	why          string   // why it is not known; empty where it is
	states       map[string]string
	jobs         []job    // that run on them, or end there
	wanting      []job    // that wait for one of them by name
	reservations []string // that name one of them
}

// job is one line of squeue.
type job struct {
	id, user, state string
	nodes           []string // that it has, or asks for
}

func (j job) String() string {
	return fmt.Sprintf("%s of %s on %s", j.id, j.user, hostlist.Compress(j.nodes))
}

// The questions. The separator is one that no user's name has.
var (
	askStates = []string{"sinfo", "--all", "--Node", "--noheader", "--format=%N %T"}
	askNodes  = []string{"scontrol", "--oneliner", "show", "node"}
	jobFormat = "--format=%i|%u|%T|%N"
)

// askWork asks the controller what the nodes do.
func (s *State) askWork(ctx context.Context, names []string) {
	s.work = work{nodes: names}
	w := &s.work
	i := s.active()
	if i < 0 {
		i = slices.IndexFunc(s.heads, func(h head) bool { return h.reached && h.listens == service.Yes })
	}
	if i < 0 {
		w.why = "slurmctld answers on no head"
		return
	}
	w.asked = s.heads[i].name
	ctx, cancel := context.WithTimeout(ctx, 3*lookTime)
	defer cancel()
	if err := w.ask(ctx, s.heads[i].reader); err != nil {
		w.why = err.Error()
	}
}

func (w *work) ask(ctx context.Context, r host.Reader) error {
	var err error
	if w.states, err = statesOf(ctx, r, w.nodes); err != nil {
		return err
	}
	known := w.known(w.nodes)
	if len(known) == 0 {
		return nil
	}
	if w.jobs, err = jobsOn(ctx, r, known); err != nil {
		return err
	}
	out, err := r.Query(ctx, "squeue", "--all", "--noheader", "--states=PENDING", "--format=%i|%u|%T|%n")
	if err != nil {
		return err
	}
	waiting, err := parseJobs(out)
	if err != nil {
		return err
	}
	for _, j := range waiting {
		if slices.ContainsFunc(j.nodes, func(n string) bool { return slices.Contains(known, n) }) {
			w.wanting = append(w.wanting, j)
		}
	}
	if out, err = r.Query(ctx, "scontrol", "--oneliner", "show", "reservation"); err != nil {
		return err
	}
	w.reservations, err = reservationsOn(out, known)
	return err
}

// known is those of the names that the controller knows. It would take the others
// for a mistake.
func (w *work) known(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return w.states[n] == "" })
}

// of is the jobs that run on one of these nodes.
func (w *work) of(names []string) []job {
	var out []job
	for _, j := range w.jobs {
		if slices.ContainsFunc(j.nodes, func(n string) bool { return slices.Contains(names, n) }) {
			out = append(out, j)
		}
	}
	return out
}

// jobsOn is the jobs that have one of these nodes, those that end among them.
func jobsOn(ctx context.Context, r host.Reader, names []string) ([]job, error) {
	out, err := r.Query(ctx, "squeue", "--all", "--noheader", "--nodelist="+strings.Join(names, ","), jobFormat)
	if err != nil {
		return nil, err
	}
	return parseJobs(out)
}

// statesOf is what the controller says of nodes, at least of these; those that it does
// not know are not in it. sinfo goes through the partitions: a node that is in none is
// not in its answer, and may have jobs.
func statesOf(ctx context.Context, r host.Reader, names []string) (map[string]string, error) {
	out, err := r.Query(ctx, askStates...)
	if err != nil {
		return nil, err
	}
	states := nodeStates(out)
	if !slices.ContainsFunc(names, func(n string) bool { return states[n] == "" }) {
		return states, nil
	}
	if out, err = r.Query(ctx, askNodes...); err != nil {
		return nil, err
	}
	for name, state := range unpartitioned(out) {
		if states[name] == "" {
			states[name] = state
		}
	}
	return states, nil
}

// unpartitioned reads the answer to askNodes: node → state, in sinfo's words as far as
// they are told apart here.
func unpartitioned(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		name, state := "", ""
		for word := range strings.FieldsSeq(line) {
			if v, ok := strings.CutPrefix(word, "NodeName="); ok && name == "" {
				name = v
			}
			if v, ok := strings.CutPrefix(word, "State="); ok && state == "" {
				state = strings.ToLower(v)
			}
		}
		base, flags, _ := strings.Cut(state, "+")
		busy := base == "allocated" || base == "mixed" || strings.Contains(flags, "completing")
		switch {
		case name == "":
			continue
		case strings.Contains(flags, "drain") && busy:
			state = "draining"
		case strings.Contains(flags, "drain"):
			state = "drained"
		case state == "":
			state = "unknown"
		}
		out[name] = state
	}
	return out
}

// nodeStates reads the answer to askStates: node → state.
func nodeStates(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 2 {
			out[f[0]] = f[1]
		}
	}
	return out
}

// parseJobs reads lines of number, user, state and nodes. One that is not
// understood is an error: it may be a job.
func parseJobs(text string) ([]job, error) {
	var out []job
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		f := strings.Split(line, "|")
		if len(f) != 4 || f[0] == "" {
			return nil, fmt.Errorf("squeue said %q", line)
		}
		j := job{id: f[0], user: f[1], state: f[2]}
		if f[3] != "" && f[3] != "(null)" {
			var err error
			if j.nodes, err = hostlist.Expand(f[3]); err != nil {
				return nil, fmt.Errorf("squeue said %q: %w", line, err)
			}
		}
		out = append(out, j)
	}
	return out, nil
}

// reservationsOn reads scontrol --oneliner show reservation: the names of those that
// have one of these nodes.
func reservationsOn(text string, names []string) ([]string, error) {
	var out []string
	for line := range strings.Lines(text) {
		name, nodes := "", ""
		for word := range strings.FieldsSeq(line) {
			if v, ok := strings.CutPrefix(word, "ReservationName="); ok {
				name = v
			}
			if v, ok := strings.CutPrefix(word, "Nodes="); ok {
				nodes = v
			}
		}
		if name == "" || nodes == "" || nodes == "(null)" {
			continue
		}
		list, err := hostlist.Expand(nodes)
		if err != nil {
			return nil, fmt.Errorf("reservation %s of %q: %w", name, nodes, err)
		}
		if slices.ContainsFunc(list, func(n string) bool { return slices.Contains(names, n) }) {
			out = append(out, name)
		}
	}
	return out, nil
}

// Work implements service.Worker.
func (s *State) Work() ([]string, error) {
	if s.work.why != "" {
		return nil, errors.New(s.work.why)
	}
	var out []string
	for _, j := range s.work.jobs {
		out = append(out, "job "+j.String())
	}
	return out, nil
}

var _ service.Worker = (*State)(nil)
