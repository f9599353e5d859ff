package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"multihead/internal/config"
	"multihead/internal/drill/check"
	"multihead/internal/drill/clients"
	"multihead/internal/host"
)

// jobsLimit is how long accounting may take to know of a job.
const jobsLimit = 30 * time.Second

// checkJobs waits until everything that was accepted is told of, for accounting
// comes after the fact.
func (r *run) checkJobs(ctx context.Context, ops []clients.Op) []check.Verdict {
	if !slices.Contains(r.workloads(), clients.Sbatch) {
		return nil
	}
	jobs := slices.Concat(check.Of(ops, clients.Sbatch, ""), check.Of(ops, clients.Sbatch, clients.LongJob))
	deadline := time.Now().Add(jobsLimit)
	for {
		known, err := r.knownJobs(ctx)
		var v check.Verdict
		if err == nil {
			v = check.Jobs(jobs, known, r.jobPrefix(), r.long, r.unwritten())
		} else {
			v = unread("jobs", err)
		}
		if v.OK || time.Now().After(deadline) || sleep(ctx, time.Second) != nil {
			return []check.Verdict{v, r.checkNodes(ctx), r.checkControllers(ctx)}
		}
	}
}

// knownJobs are the run's jobs in squeue and sacct.
func (r *run) knownJobs(ctx context.Context) ([]check.Job, error) {
	h, err := r.anyHead(config.Slurm)
	if err != nil {
		return nil, err
	}
	prefix := r.jobPrefix()
	queue, err := h.Query(ctx, "squeue", "--noheader", "--states=all", "--format=%i|%j|%T|%S")
	if err != nil {
		return nil, err
	}
	jobs := parseJobs(queue, prefix)
	if !r.env.File.AccountingOn() {
		return jobs, nil
	}
	done, err := h.Query(ctx, "sacct", "--allusers", "--noheader", "--parsable2", "--allocations", "--duplicates",
		"--starttime=now-2hours", "--format=JobID,JobName%100,State,Start")
	if err != nil {
		return nil, err
	}
	return known(parseJobs(done, prefix), jobs), nil
}

// known joins what accounting and the queue have. The queue knows better; and a job
// that accounting takes for one that waits or runs, and the queue has not, was
// forgotten by slurmctld: it will never run, and is not known.
func known(accounted, queued []check.Job) []check.Job {
	var out []check.Job
	for _, j := range accounted {
		waits := slices.Contains([]string{"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED"}, j.State)
		if !waits || slices.ContainsFunc(queued, func(q check.Job) bool { return q.ID == j.ID && q.Name == j.Name }) {
			out = append(out, j)
		}
	}
	return append(out, queued...)
}

// jobPrefix begins the names of the run's jobs.
func (r *run) jobPrefix() string { return jobName + "-" + r.id + "-" }

// parseJobs reads lines of number, name, state and start, and takes those of a
// prefix.
func parseJobs(out, prefix string) []check.Job {
	var jobs []check.Job
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) < 4 || !strings.HasPrefix(f[1], prefix) {
			continue
		}
		state, _, _ := strings.Cut(f[2], " ") // "CANCELLED by 0"
		jobs = append(jobs, check.Job{ID: f[0], Name: f[1], State: state, Start: f[3]})
	}
	return jobs
}

// checkNodes compares the compute nodes with how they were before.
func (r *run) checkNodes(ctx context.Context) check.Verdict {
	now, err := r.computeNodes(ctx)
	if err != nil {
		return unread("no compute node lost", err)
	}
	v, lost := check.Nodes(r.nodes, now)
	r.drained = lost
	return v
}

// computeNodes are Slurm's nodes with their states and reasons.
func (r *run) computeNodes(ctx context.Context) (map[string]check.Node, error) {
	h, err := r.anyHead(config.Slurm)
	if err != nil {
		return nil, err
	}
	out, err := h.Query(ctx, "sinfo", "--noheader", "--Node", "--format=%N|%T|%E")
	if err != nil {
		return nil, err
	}
	nodes := map[string]check.Node{}
	for line := range strings.Lines(out) {
		f := strings.SplitN(strings.TrimSpace(line), "|", 3)
		if len(f) == 3 {
			nodes[f[0]] = check.Node{State: f[1], Reason: f[2]}
		}
	}
	return nodes, nil
}

// startedLimit is how long the long job is waited for. A busy cluster may not
// start it; nothing is then shown about running jobs.
const startedLimit = 20 * time.Second

// longJob waits until the job that is to run through the drill runs, and then
// for as long as a controller may take to write that down.
func (r *run) longJob(ctx context.Context) error {
	nodes, err := r.computeNodes(ctx)
	if err != nil {
		return err
	}
	r.nodes = nodes
	deadline := time.Now().Add(startedLimit)
	for {
		jobs, err := r.knownJobs(ctx)
		if err != nil {
			return err
		}
		for _, j := range jobs {
			if j.Name == r.jobPrefix()+clients.LongJob && j.State == "RUNNING" {
				r.long = j
				return sleep(ctx, stateSaved)
			}
		}
		if time.Now().After(deadline) {
			r.event("note", "the long job has not started: nothing will be shown about running jobs")
			return nil
		}
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

// stateSaved is how long slurmctld may take to write down what changed (5 s),
// and a bit.
const stateSaved = 7 * time.Second

// checkControllers asks every slurmctld by itself whether it is the one that
// acts: a backup refuses to be asked.
func (r *run) checkControllers(ctx context.Context) check.Verdict {
	answers := map[string]string{}
	for _, c := range r.env.File.SlurmControllers() {
		said, err := r.askController(ctx, c)
		if err != nil {
			said = err.Error()
		}
		answers[c.Hostname] = said
	}
	return check.Controllers(answers)
}

// askController asks the slurmctld of one head alone, by a copy of slurm.conf
// that names no other. It returns "" where that answers as the active one, and
// else what it says.
func (r *run) askController(ctx context.Context, c config.Controller) (string, error) {
	h, ok := r.env.Host(c.Hostname)
	if !ok {
		return "", errors.New("not reached")
	}
	conf, err := h.ReadFile(ctx, "/etc/slurm/slurm.conf")
	if err != nil {
		return "", err
	}
	var alone strings.Builder
	for line := range strings.Lines(string(conf)) {
		if !strings.HasPrefix(strings.TrimSpace(line), "SlurmctldHost") {
			alone.WriteString(line)
		}
	}
	fmt.Fprintf(&alone, "\nSlurmctldHost=%s(%s)\n", c.Hostname, c.Address)
	file := "/run/multihead-drill-" + r.id + ".conf"
	if err := h.WriteFile(ctx, file, []byte(alone.String()), host.Attr{Mode: 0o600}); err != nil {
		return "", err
	}
	defer func() { _ = h.Remove(context.WithoutCancel(ctx), file) }()
	ask, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	_, err = h.Ask(ask, host.Cmd{Argv: []string{"scontrol", "show", "config"}, Env: []string{"SLURM_CONF=" + file}})
	if err == nil {
		return "", nil
	}
	var exit *host.ExitError
	if errors.As(err, &exit) {
		return exit.Stdout + exit.Stderr, nil
	}
	return "", err
}
