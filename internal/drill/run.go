package drill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"multihead/internal/cluster"
	"multihead/internal/config"
	"multihead/internal/drill/check"
	"multihead/internal/drill/clients"
	"multihead/internal/host"
	"multihead/internal/service"
)

// Env is the cluster as a drill meets it.
type Env struct {
	File    *config.Cluster
	Outside Outside // nil where the hosts are real
	// Client is the compute node where the workloads run; empty is this machine.
	Client string
	// Look observes the cluster anew; hosts that came back are reached again.
	Look func(ctx context.Context) (cluster.Status, error)
	// Host is a host that was reached by the last look.
	Host func(name string) (host.Host, bool)
	// Worker starts a worker on a host ("" is this machine) and returns its
	// connection, and how far that host's clock is ahead of ours.
	Worker func(ctx context.Context, name string) (io.ReadWriteCloser, time.Duration, error)
	// Plan lists what `up` would change, in words.
	Plan func(ctx context.Context) ([]string, error)
	// Sabotage, for testing the checks themselves, is called once the workloads
	// have ended and before what is there is read.
	Sabotage func(ctx context.Context) error
	// Say tells a person what happens.
	Say func(text string)
}

// Limits of a run.
const (
	warmLimit  = 45 * time.Second  // until all workloads succeed, before anything is broken
	warmTime   = 3 * time.Second   // for which they must
	holdLimit  = 75 * time.Second  // for which a fault lasts at most while services are gone
	greenLimit = 150 * time.Second // until the cluster is well again by itself
	lookEvery  = 2 * time.Second
	runLimit   = 20 * time.Minute
)

// Run plays one scenario once. The error is for what kept it from being played;
// that the cluster did not hold is in the result.
func Run(ctx context.Context, env Env, s Scenario, st cluster.Status) (*Result, error) {
	ctx, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	r := &run{env: env, s: s, cast: CastOf(st), record: &record{}}
	r.id = time.Now().UTC().Format("20060102150405")
	r.res = &Result{ID: s.ID, Name: s.Name, Breaks: s.Breaks, Expect: s.Expect, Cluster: env.File.Info.ClusterName, Heads: len(r.cast.Heads),
		Begin: time.Now(), Owner: r.cast.Owner, Primary: r.cast.Primary, Victims: s.Victims(r.cast), Client: env.Client}
	err := r.all(ctx)
	return r.res, err
}

// run is one run of a scenario.
type run struct {
	env     Env
	s       Scenario
	cast    Cast
	id      string
	record  *record
	res     *Result
	sql     *database // nil where the cluster has none
	parts   []*worker
	volume  []appended            // files on the volume
	long    check.Job             // the job that runs through the drill; zero where it had not started
	nodes   map[string]check.Node // Slurm's, before
	drained []string              // of them, those that were lost meanwhile
}

// appended is a file on the volume, and who appended to it.
type appended struct {
	file string
	by   *worker
}

// event is something that happened, for the timeline.
func (r *run) event(kind, text string) {
	r.res.Events = append(r.res.Events, Event{time.Now(), kind, text})
	r.env.Say(text)
}

// all is the whole run: set up, work, break, mend, wait, check, clean up.
// Whatever was made is removed, and whatever was broken is undone, also where
// something fails on the way or Ctrl-C is pressed.
func (r *run) all(ctx context.Context) (err error) {
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
		defer cancel()
		for _, w := range r.parts {
			w.close()
		}
		if cerr := r.cleanUp(clean); cerr != nil {
			r.event("note", "cleaning up: "+cerr.Error())
			err = errors.Join(err, cerr)
		}
	}()
	if err := r.setUp(ctx); err != nil {
		return fmt.Errorf("preparing: %w", err)
	}
	if err := r.warm(ctx); err != nil {
		return fmt.Errorf("before anything was broken: %w", err)
	}
	if slices.Contains(r.workloads(), clients.Sbatch) {
		if err := r.longJob(ctx); err != nil {
			return fmt.Errorf("before anything was broken: %w", err)
		}
	}
	if err := r.breakAndMend(ctx); err != nil {
		return err
	}
	if err := r.green(ctx); err != nil {
		return err
	}
	for _, w := range r.parts {
		w.stop(ctx)
	}
	r.res.End = time.Now()
	if r.env.Sabotage != nil {
		if err := r.env.Sabotage(ctx); err != nil {
			return err
		}
	}
	r.judge(ctx)
	return nil
}

// warm waits until every workload succeeds for a while.
func (r *run) warm(ctx context.Context) error {
	r.env.Say("waiting until all workloads succeed")
	deadline := time.Now().Add(warmLimit)
	for {
		missing, why := r.notServed(warmTime)
		if len(missing) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not work as a client sees it: %s", strings.Join(missing, ", "), why)
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// workloads are those that run.
func (r *run) workloads() []string {
	var out []string
	for _, w := range r.parts {
		for _, what := range w.what {
			if !slices.Contains(out, what) {
				out = append(out, what)
			}
		}
	}
	return out
}

// notServed lists the workloads that had not one success in each second of the
// last while, and the last error of one.
func (r *run) notServed(while time.Duration) (missing []string, why string) {
	now := time.Now()
	ops := r.record.all()
	for _, w := range r.workloads() {
		step := max(time.Second, 3*clients.Resolution(w))
		for back := time.Duration(0); back < while; back += step {
			if ok, err := succeeded(ops, w, now.Add(-back-step), now.Add(-back)); !ok {
				missing, why = append(missing, w), err
				break
			}
		}
	}
	return missing, why
}

// succeeded says whether every part of a workload had a success that ended in a
// time.
func succeeded(ops []clients.Op, workload string, from, to time.Time) (ok bool, why string) {
	parts := map[string]bool{}
	for _, op := range ops {
		if op.Workload != workload || op.Kind == clients.LongJob {
			continue
		}
		key := op.Kind + op.Part
		if _, known := parts[key]; !known {
			parts[key] = false
		}
		if op.End.After(from) && !op.End.After(to) {
			if op.Result == clients.OK {
				parts[key] = true
			} else {
				why = op.Err
			}
		}
	}
	for _, had := range parts {
		if !had {
			return false, why
		}
	}
	return len(parts) > 0, why
}

// breakAndMend plays the scenario. What was begun is mended also when the way
// there failed.
func (r *run) breakAndMend(ctx context.Context) error {
	st := &stage{cast: r.cast, outside: r.env.Outside, host: r.env.Host, look: r.env.Look, clients: []string{r.env.Client},
		say: func(text string) { r.event("fault", text) }, note: func(text string) { r.event("note", text) }}
	r.res.Broken = time.Now()
	err := st.play(ctx, r.s.Begin)
	if err == nil {
		err = r.hold(ctx)
	}
	mend, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Minute)
	defer cancel()
	r.res.Mending = time.Now()
	if merr := st.play(mend, r.s.End); merr != nil {
		err = errors.Join(err, fmt.Errorf("undoing the fault: %w", merr))
	}
	r.res.Mended = time.Now()
	return err
}

// hold lets the fault last until everything serves again, but not for ever.
func (r *run) hold(ctx context.Context) error {
	least := r.res.Broken.Add(r.s.Hold)
	most := r.res.Broken.Add(holdLimit)
	for {
		now := time.Now()
		if now.After(least) {
			missing, _ := r.notServed(2 * time.Second)
			if len(missing) == 0 || r.s.Total {
				return nil
			}
			if now.After(most) {
				r.event("note", "still gone: "+strings.Join(missing, ", "))
				return nil
			}
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// green waits until the cluster is well again by itself, and the clients see
// it too.
func (r *run) green(ctx context.Context) error {
	r.env.Say("waiting until the cluster is well again by itself")
	deadline := r.res.Mended.Add(greenLimit)
	last := ""
	for {
		st, err := r.env.Look(ctx)
		if err != nil && ctx.Err() != nil {
			return err
		}
		well := err == nil && st.State == service.Up
		if well {
			r.volumeAgain(ctx)
		}
		missing, why := r.notServed(2 * time.Second)
		if well && len(missing) == 0 {
			r.res.Green = true
			r.res.ToGreen = time.Since(r.res.Mended)
			r.event("green", "well again, "+seconds(r.res.ToGreen)+" after the fault was undone")
			return nil
		}
		r.res.NotGreen = r.res.NotGreen[:0]
		for _, p := range st.Problems {
			r.res.NotGreen = append(r.res.NotGreen, strings.TrimSpace(fmt.Sprintf("%s %s %s: %s", p.State, p.Host, p.Service, p.Reason)))
		}
		if len(missing) > 0 {
			r.res.NotGreen = append(r.res.NotGreen, strings.TrimSpace("clients do not get: "+strings.Join(missing, ", ")+" "+why))
		}
		if now := strings.Join(st.NotUp(), ", "); now != last {
			last = now
			r.event("state", "now "+now)
		}
		if time.Now().After(deadline) {
			r.event("note", fmt.Sprintf("not well %s after the fault was undone: %s", greenLimit, strings.Join(r.res.NotGreen, "; ")))
			return nil
		}
		if err := sleep(ctx, lookEvery); err != nil {
			return err
		}
	}
}

// judge measures the gaps, and compares what is there with what was
// acknowledged.
func (r *run) judge(ctx context.Context) {
	r.env.Say("checking what was acknowledged")
	ops := r.record.all()
	r.res.ops = ops
	for _, w := range r.workloads() {
		r.res.Services = append(r.res.Services, r.measure(ops, w))
	}
	r.invariants(ctx, ops)
	if !r.res.Green {
		r.res.Verdicts = append(r.res.Verdicts, check.Verdict{Name: "well again by itself", Text: strings.Join(r.res.NotGreen, "; ")})
	} else {
		r.res.Verdicts = append(r.res.Verdicts, check.Verdict{Name: "well again by itself", OK: true, Text: "after " + seconds(r.res.ToGreen)})
	}
	r.res.settle()
}

// measure sums up one workload.
func (r *run) measure(ops []clients.Op, w string) ServiceResult {
	out := ServiceResult{Service: w, Bound: r.s.Bounds[w], Resolution: clients.Resolution(w)}
	for _, op := range ops {
		if op.Workload != w {
			continue
		}
		switch op.Result {
		case clients.OK:
			out.Acknowledged++
		case clients.Failed:
			out.Failed++
		default:
			out.Unknown++
		}
	}
	// From a moment before, so that the success before the fault is the
	// beginning of the gap.
	before := r.res.Broken.Add(-2 * time.Second)
	out.Gap = check.LongestGap(ops, w, before, r.res.Mending)
	out.Return = check.LongestGap(ops, w, r.res.Mending.Add(-2*time.Second), r.res.End)
	out.Held = r.s.Total || out.Bound == 0 || out.Gap.Returned && out.Gap.Length <= out.Bound
	return out
}

// lossWindows are the times in which Redis may lose what it acknowledged: around
// each thing that was broken, for as long as a master may not know yet that it
// is alone. What ends a fault is none, but where it takes a head's power.
func (r *run) lossWindows() []check.Window {
	timeout := r.env.File.Redis.Cluster.ClusterNodeTimeout.Duration()
	var out []check.Window
	for _, e := range r.res.Events {
		breaks := !e.At.After(r.res.Mending) || strings.HasPrefix(e.Text, string(PowerOff)+" ")
		if e.Kind == "fault" && breaks {
			out = append(out, check.Window{From: e.At.Add(-time.Second), To: e.At.Add(timeout + 2*time.Second)})
		}
	}
	return out
}

// saveWait is how long slurmctld may keep what it accepted before it writes it to
// its state directory: SAVE_MAX_WAIT in its source, 5 s, and a moment for the write.
const saveWait = 6 * time.Second

// unwritten are the times in which Slurm may forget what it accepted: before anything is
// broken that another controller may take over for (the head's power, its storage, the
// network, slurmctld itself), and before what is undone by taking a head's power.
func (r *run) unwritten() []check.Window {
	var out []check.Window
	for _, e := range r.res.Events {
		breaks := !e.At.After(r.res.Mending) || strings.HasPrefix(e.Text, string(PowerOff)+" ")
		if e.Kind == "fault" && breaks {
			out = append(out, check.Window{From: e.At.Add(-saveWait), To: e.At.Add(time.Second)})
		}
	}
	return out
}

// survivor is a head that the scenario does nothing to, for what must be done
// on a head; the last one where it takes all of them.
func (r *run) survivor(name string) string {
	var heads []string
	for _, h := range r.env.File.HeadsWith(name) {
		heads = append(heads, h.Hostname)
	}
	if i := slices.IndexFunc(heads, func(h string) bool { return !slices.Contains(r.res.Victims, h) }); i >= 0 {
		return heads[i]
	}
	if len(heads) == 0 {
		return ""
	}
	return heads[len(heads)-1]
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
