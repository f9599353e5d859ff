package drill

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"multihead/internal/config"
	"multihead/internal/drill/check"
	"multihead/internal/drill/clients"
	"multihead/internal/host"
)

// invariants reads what is there and lets the checks compare it. What cannot be
// read is an invariant that was not shown, and counts as broken.
func (r *run) invariants(ctx context.Context, ops []clients.Op) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	groups := []func(context.Context, []clients.Op) []check.Verdict{
		r.checkSQL, r.checkRedis, r.checkVolume, r.checkJobs, r.checkVIP, r.checkPlan,
	}
	found := make([][]check.Verdict, len(groups))
	var wg sync.WaitGroup
	for i, g := range groups {
		wg.Go(func() { found[i] = g(ctx, ops) })
	}
	wg.Wait()
	r.res.Verdicts = append(r.res.Verdicts, slices.Concat(found...)...)
}

func unread(name string, err error) check.Verdict {
	return check.Verdict{Name: name, Text: "could not be read: " + err.Error()}
}

func (r *run) checkSQL(ctx context.Context, ops []clients.Op) []check.Verdict {
	if r.sql == nil {
		return nil
	}
	heads := r.env.File.HeadsWith(config.MariaDB)
	totals, lists, transfers := map[string]int64{}, map[string][]int64{}, map[string][]int64{}
	nodes := map[string]check.GaleraNode{}
	var out []check.Verdict
	for _, c := range heads {
		t, err := r.tablesOf(ctx, c.Hostname)
		if err != nil {
			out = append(out, unread("database of "+c.Hostname, err))
			continue
		}
		totals[c.Hostname], lists[c.Hostname], transfers[c.Hostname], nodes[c.Hostname] = t.total, t.list, t.transfers, t.node
	}
	out = append(out, check.Bank(accounts*deposit, totals),
		check.Numbers("acknowledged transfers", check.Of(ops, clients.SQL, clients.Transfer), transfers),
		check.Numbers("acknowledged appends", check.Of(ops, clients.SQL, clients.Append), lists),
		check.Register(slices.Concat(check.Of(ops, clients.SQL, clients.Read), check.Of(ops, clients.SQL, clients.Write)), "0"))
	if len(heads) > 1 {
		out = append(out, check.Galera(nodes, len(heads)))
	}
	return out
}

func (r *run) tablesOf(ctx context.Context, name string) (tables, error) {
	h, ok := r.env.Host(name)
	if !ok {
		return tables{}, errors.New("not reached")
	}
	db, err := asRoot(ctx, h, r.env.File.Database.MariaDB.RootPassword)
	if err != nil {
		return tables{}, err
	}
	defer db.Close()
	return readTables(ctx, db)
}

// redisClient is a client that reaches Redis through a head.
func (r *run) redisClient() (*redis.ClusterClient, error) {
	h, err := r.anyHead(config.Redis)
	if err != nil {
		return nil, err
	}
	return clients.RedisClient(*r.redisSpec(), h.Dial), nil
}

func (r *run) checkRedis(ctx context.Context, ops []clients.Op) []check.Verdict {
	if r.redisSpec() == nil {
		return nil
	}
	client, err := r.redisClient()
	if err != nil {
		return []check.Verdict{unread("redis keys", err)}
	}
	defer func() { _ = client.Close() }()
	values, err := r.redisValues(ctx, client, check.Of(ops, clients.Redis, ""))
	if err != nil {
		return []check.Verdict{unread("redis keys", err)}
	}
	v, lost := check.Keys(check.Of(ops, clients.Redis, ""), values, r.lossWindows())
	r.res.LostRedis = lost
	out := []check.Verdict{v}
	views := map[string][]check.SlotRange{}
	for i, c := range r.env.File.HeadsWith(config.Redis) {
		view, err := r.slotsOf(ctx, i, c)
		if err != nil {
			out = append(out, unread("slots as "+c.Hostname+" sees them", err))
			continue
		}
		views[c.Hostname] = view
	}
	return append(out, check.Slots(views))
}

// redisValues reads the keys of all operations, each by its number.
func (r *run) redisValues(ctx context.Context, client *redis.ClusterClient, ops []clients.Op) (map[int64]string, error) {
	values := map[int64]string{}
	const batch = 500
	for chunk := range slices.Chunk(ops, batch) {
		pipe := client.Pipeline()
		got := map[int64]*redis.StringCmd{}
		for _, op := range chunk {
			got[op.N] = pipe.Get(ctx, clients.RedisKey(r.id, op.N))
		}
		if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
			return nil, err
		}
		for n, cmd := range got {
			v, err := cmd.Result()
			switch {
			case err == nil:
				values[n] = v
			case !errors.Is(err, redis.Nil):
				return nil, err
			}
		}
	}
	return values, nil
}

// slotsOf asks one server, through its own head, who serves what.
func (r *run) slotsOf(ctx context.Context, n int, c config.Controller) ([]check.SlotRange, error) {
	h, ok := r.env.Host(c.Hostname)
	if !ok {
		return nil, errors.New("not reached")
	}
	slots, err := clients.SlotsOf(ctx, *r.redisSpec(), n, h.Dial)
	if err != nil {
		return nil, err
	}
	var out []check.SlotRange
	for _, sl := range slots {
		if len(sl.Nodes) > 0 {
			out = append(out, check.SlotRange{From: sl.Start, To: sl.End, Master: sl.Nodes[0].ID})
		}
	}
	return out, nil
}

// cleanRedis removes the run's keys. Those that it cannot reach go by themselves
// within an hour.
func (r *run) cleanRedis(ctx context.Context) error {
	ops := check.Of(r.record.all(), clients.Redis, "")
	if len(ops) == 0 {
		return nil
	}
	client, err := r.redisClient()
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	for chunk := range slices.Chunk(ops, 500) {
		pipe := client.Pipeline()
		for _, op := range chunk {
			pipe.Del(ctx, clients.RedisKey(r.id, op.N))
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return fmt.Errorf("remove the drill's keys from Redis (they go by themselves within an hour): %w", err)
		}
	}
	return nil
}

// checkVolume reads the lines as every head sees them.
func (r *run) checkVolume(ctx context.Context, ops []clients.Op) []check.Verdict {
	if len(r.volume) == 0 {
		return nil
	}
	var out []check.Verdict
	views := map[string][]int64{}
	for _, c := range r.env.File.HeadsWith(config.GlusterFS) {
		h, ok := r.env.Host(c.Hostname)
		if !ok {
			out = append(out, unread("volume on "+c.Hostname, errors.New("not reached")))
			continue
		}
		for _, f := range r.volume {
			data, err := h.ReadFile(ctx, path.Join(r.volumeDir(), f.file))
			var numbers []int64
			if err == nil {
				numbers, err = lines(string(data))
			}
			if err != nil {
				out = append(out, unread("volume on "+c.Hostname, err))
			}
			for _, n := range numbers {
				views[c.Hostname] = append(views[c.Hostname], n+f.by.first)
			}
		}
	}
	out = append(out, check.Numbers("fsynced lines", check.Of(ops, clients.Volume, clients.Append), views))
	h, err := r.anyHead(config.GlusterFS)
	if err != nil {
		return append(out, unread("volume healed", err))
	}
	summary, err := h.Query(ctx, "gluster", "--mode=script", "volume", "heal", r.env.File.SharedStorage.GlusterFS.VolumeName, "info", "summary")
	if err != nil {
		return append(out, unread("volume healed", err))
	}
	return append(out, check.Heal(summary))
}

// lines reads one number a line.
func lines(data string) ([]int64, error) {
	var out []int64
	for line := range strings.Lines(data) {
		n, err := strconv.ParseInt(strings.TrimSuffix(line, "\n"), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("a line is damaged: %w", err)
		}
		out = append(out, n)
	}
	return out, nil
}

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
	return append(parseJobs(done, prefix), jobs...), nil // squeue knows better
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

func (r *run) checkVIP(_ context.Context, ops []clients.Op) []check.Verdict {
	seen := check.Of(ops, clients.ARP, "")
	if len(seen) == 0 {
		return []check.Verdict{{Name: "one holder of the virtual address", Text: "nobody could be asked from " + orHere(r.env.Client) + ": it is not on the address's own network"}}
	}
	v, overlaps := check.Holders(seen)
	r.res.Overlaps = overlaps
	return []check.Verdict{v}
}

func (r *run) checkPlan(ctx context.Context, _ []clients.Op) []check.Verdict {
	const name = "nothing left to do for up"
	changes, err := r.env.Plan(ctx)
	if err != nil {
		return []check.Verdict{unread(name, err)}
	}
	return []check.Verdict{{Name: name, OK: len(changes) == 0, Text: strings.Join(changes, "; ")}}
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
