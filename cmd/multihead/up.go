package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
	"multihead/internal/service/all"
)

// upFlags is what up and plan are told.
type upFlags struct {
	reach
	bootstrap, join, standalone bool
	nodes, phases               []string
	dryRun, yes, diff           bool
	confirm                     string
	output                      *string
}

func (f *upFlags) addMode(cmd *cobra.Command) {
	f.reach.flags(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&f.bootstrap, "bootstrap", false, "form a new cluster; refused where one lives")
	fl.BoolVar(&f.join, "join", false, "only join; refused where no cluster lives")
	fl.BoolVar(&f.standalone, "standalone", false, "a cluster of this head alone (or of the one named with --node)")
	fl.StringSliceVar(&f.nodes, "node", nil, "change only these `hosts`")
	fl.StringSliceVar(&f.phases, "phase", nil, "only these `phases`: prepare, glusterfs (0), mariadb (1), redis (2), slurm (3), keepalived (4)")
	fl.StringVar(&f.confirm, "confirm", "", "the cluster's `name`, typed: needed where something is not known")
	f.output = formatFlag(cmd, "table", "json")
	cmd.MarkFlagsMutuallyExclusive("bootstrap", "join", "standalone")
}

func newUpCmd(a *app) *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Bring the cluster to what the file says: form it, join heads to it, start what is stopped",
		Long: `Looks at every host, shows what would be done, asks, does it and checks the
result by asking the services. What is already so is left alone: on a healthy
cluster, up changes nothing and says so. A phase that fails is rolled back.

With -o json standard output is one document: the plan, what became of it, and
how the cluster is in the end. Everything else is said on standard error.

Exit code: 0 done, 1 failed or a host was left out, 64 usage, 75 another run is
at work, 78 the cluster file, 130 interrupted.`,
		Example: `  multihead up                      look, show the plan, ask, do it
  multihead up --dry-run            look and show; nothing is changed
  multihead up --yes                without asking, for scripts
  multihead up --phase mariadb      one service
  multihead up --node server4       bring in one head`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.up(cmd.Context(), f) },
	}
	f.addMode(cmd)
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "show what would be done; change nothing")
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "do it without asking")
	cmd.Flags().BoolVar(&f.yes, "force", false, "the same as --yes")
	cmd.Flags().BoolVar(&f.diff, "diff", false, "show how files change")
	return cmd
}

// up is the pipeline: observe, plan, ask, lock, apply, verify.
func (a *app) up(ctx context.Context, f upFlags) error {
	return a.reported(*f.output, func(a *app, report *upReport) error { return a.bringUp(ctx, f, report) })
}

func (a *app) bringUp(ctx context.Context, f upFlags, report *upReport) error {
	f.lookOnly = f.dryRun
	run, err := a.prepare(ctx, f)
	if err != nil {
		return err
	}
	run.report = report
	defer run.sess.close()
	a.saySkipped(run)
	report.found(run)
	if run.prop.Empty() {
		if !a.quiet {
			a.sayNoChanges(run)
		}
		return errors.Join(a.wellOrNot(run), a.upDone(run))
	}
	if !a.quiet || !f.yes {
		a.showPlan(run)
	}
	if f.dryRun {
		a.sayNothingChanged()
		return nil
	}
	if err := a.ask(f); err != nil {
		return err
	}
	if err := a.lock(ctx, run); err != nil {
		return err
	}
	report.found(run)
	a.firstContact(ctx, run)
	for round := 1; ; round++ {
		if err := a.apply(ctx, run); err != nil {
			return err
		}
		done, err := a.verify(ctx, run)
		if err != nil || done {
			return err
		}
		// What was brought up may show what could not be seen before: a master
		// that came back finds its slots with another one.
		if round == maxRounds {
			return &exitError{exitFailed, errors.New(a.tr("the plan was carried out, and this is still needed: run up again; if it stays, look at the lines above"))}
		}
		if err := a.ask(f); err != nil {
			return err
		}
	}
}

// maxRounds bounds how often up goes on with what the round before uncovered.
const maxRounds = 3

// upRun is one run of up or plan.
type upRun struct {
	flags  upFlags
	sess   *session
	intent service.Intent
	phases []string
	stop   bool // down instead of up
	prop   plan.Proposal
	report *upReport
}

// prepare observes and plans. It changes nothing.
func (a *app) prepare(ctx context.Context, f upFlags) (*upRun, error) {
	c, err := a.loadCluster()
	if err != nil {
		return nil, err
	}
	run := &upRun{flags: f, intent: service.Intent{Mode: service.Auto, Nodes: f.nodes}}
	if run.phases, err = phaseNames(f.phases); err != nil {
		return nil, err
	}
	if err := checkHosts(c, f.nodes); err != nil {
		return nil, err
	}
	switch {
	case f.bootstrap:
		run.intent.Mode = service.Bootstrap
	case f.join:
		run.intent.Mode = service.Join
	case f.standalone:
		run.intent.Mode = service.Standalone
	}
	if f.confirm != "" {
		if f.confirm != c.Info.ClusterName {
			return nil, usageError(fmt.Errorf("--confirm %s is not this cluster's name, which is %s", f.confirm, c.Info.ClusterName))
		}
		run.intent.Confirmed = true
	}
	if run.sess, err = a.open(ctx, c, c.AllHosts(), f.reach); err != nil {
		return nil, err
	}
	if err := a.idle(ctx, run); err != nil {
		run.sess.close()
		return nil, err
	}
	if f.standalone {
		if err := a.standalone(ctx, run); err != nil {
			run.sess.close()
			return nil, err
		}
	}
	if err := a.propose(ctx, run); err != nil {
		run.sess.close()
		return nil, err
	}
	return run, nil
}

// idle lets the last step of a run that was cut off come to its end before the
// cluster is looked at, and refuses beside a run that is at work. A dry run
// looks in any case.
func (a *app) idle(ctx context.Context, run *upRun) error {
	if run.flags.lookOnly {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	return a.locked(run.sess.view.Idle(ctx))
}

// locked gives a lock that somebody else holds its exit code.
func (a *app) locked(err error) error {
	var held *host.LockedError
	switch {
	case errors.As(err, &held):
		return &exitError{exitLocked, fmt.Errorf("%s: %w", a.tr("nothing was changed"), err)}
	case err != nil:
		return fmt.Errorf("%s: %w", a.tr("nothing was changed"), err)
	}
	return nil
}

// propose observes, plans, and asks every host what of the plan is needed.
func (a *app) propose(ctx context.Context, run *upRun) error {
	if err := run.sess.observe(ctx, all.Services()); err != nil {
		return err
	}
	planned := run.sess.view.Plan
	if run.stop {
		planned = run.sess.view.StopPlan
	}
	p, err := planned(run.intent, run.phases)
	if err != nil {
		return a.refusals(err)
	}
	run.prop, err = plan.Propose(ctx, p, run.sess.view.Readers())
	if err != nil {
		return fmt.Errorf("nothing was changed: what is needed cannot be told: %w", err)
	}
	return nil
}

// standalone narrows the cluster to one head, once it is certain that no other
// head of the file is part of anything.
func (a *app) standalone(ctx context.Context, run *upRun) error {
	view := run.sess.view
	head := view.Local
	if len(run.flags.nodes) == 1 {
		head = run.flags.nodes[0]
	}
	if head == "" {
		return usageError(errors.New("--standalone: this machine is none of the file's heads; name one with --node"))
	}
	if err := run.sess.observe(ctx, servicesButBase()); err != nil {
		return err
	}
	if err := view.Alone(head); err != nil {
		return a.refusals(err)
	}
	return view.Narrow(head)
}

// saySkipped names the hosts that did not answer.
func (a *app) saySkipped(run *upRun) {
	for _, name := range run.sess.view.Unreached() {
		fmt.Fprintf(a.stderr, a.tr("%s was not reached and is left alone: %v\n"), name, run.sess.view.Errs[name])
	}
}

// sayNoChanges says that there is nothing to do: of the hosts that answered,
// which are not always all.
func (a *app) sayNoChanges(run *upRun) {
	silent := strings.Join(run.sess.view.Unreached(), ", ")
	switch {
	case silent == "" && run.stop:
		fmt.Fprintln(a.stdout, a.tr("No changes: it is stopped already."))
	case silent == "":
		fmt.Fprintln(a.stdout, a.tr("No changes: the cluster is as the file says."))
	case run.stop:
		fmt.Fprintf(a.stdout, a.tr("Nothing to stop on the hosts that answered; what still runs on %s is not known.\n"), silent)
	default:
		fmt.Fprintf(a.stdout, a.tr("No changes on the hosts that answered; not reached: %s.\n"), silent)
	}
}

func (a *app) sayNothingChanged() {
	if !a.quiet {
		fmt.Fprintln(a.stdout, a.tr("Nothing was changed."))
	}
}

func (a *app) showPlan(run *upRun) {
	pal := a.colours(a.stdout)
	run.prop.WriteText(a.stdout, pal.kind)
	if run.flags.diff {
		run.prop.WriteDiff(a.stdout)
	}
}

// ask waits for a person's yes. Without a terminal there is nobody to ask.
func (a *app) ask(f upFlags) error {
	if f.yes {
		return nil
	}
	in, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return usageError(errors.New(a.tr("nothing was changed: there is no terminal to ask on; say --yes to go on without asking")))
	}
	fmt.Fprint(a.stderr, a.tr("Go on? [y/N] "))
	line, err := bufio.NewReader(in).ReadString('\n')
	if answer := strings.ToLower(strings.TrimSpace(line)); err == nil && (answer == "y" || answer == "yes") {
		return nil
	}
	return &exitError{exitFailed, errors.New(a.tr("nothing was changed"))}
}

// lock takes the cluster's lock and makes sure that what was shown is still
// what is needed.
func (a *app) lock(ctx context.Context, run *upRun) error {
	name, from := whoami()
	ctxLock, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	err := run.sess.view.Lock(ctxLock, host.Owner{User: name, From: from, PID: os.Getpid(), Tool: version, Purpose: commandLine()})
	if err := a.locked(err); err != nil {
		return err
	}
	shown, err := json.Marshal(run.prop.JSON())
	if err != nil {
		return err
	}
	if err := a.propose(ctx, run); err != nil {
		return err
	}
	now, err := json.Marshal(run.prop.JSON())
	if err != nil {
		return err
	}
	if string(shown) == string(now) {
		return nil
	}
	fmt.Fprintln(a.stderr, a.tr("The cluster changed while the plan was shown. The plan is now:"))
	a.showPlan(run)
	return a.ask(run.flags)
}

// commandLine is how the tool was called. Flags of this tool never hold a
// secret.
func commandLine() string { return strings.Join(append([]string{"multihead"}, os.Args[1:]...), " ") }

// apply does what was agreed, recorded step by step.
func (a *app) apply(ctx context.Context, run *upRun) error {
	dir := filepath.Join(stateDir(run.sess.file), "runs")
	if u, err := plan.FindUnfinished(dir); err == nil && u != nil {
		fmt.Fprintf(a.stderr, a.tr("The run of %s by %s was cut off (last: %s %s on %s). Carrying on from what the hosts show.\n"),
			u.Info.Begin.Format(time.DateTime), u.Info.User, u.Last.Phase, u.Last.Text, u.Last.Host)
	}
	name, from := whoami()
	begin := time.Now()
	journal, err := plan.NewJournal(dir, plan.RunInfo{ID: begin.Format("20060102_150405.000"), Cluster: run.sess.file.Info.ClusterName,
		Command: commandLine(), User: name, From: from, Begin: begin, Steps: len(run.prop.Previews)})
	if err != nil {
		return fmt.Errorf("nothing was changed: %w", err)
	}
	run.report.Outcome = outcomeFailed // until it is known to have gone well
	prog := newProgress(a.stderr, len(run.prop.Previews), a.verbose)
	engine := plan.NewEngine(run.sess.view.Hosts, func(ev plan.Event) {
		if ev.Type != plan.StepState {
			if jerr := journal.Record(ev); jerr != nil {
				fmt.Fprintln(a.stderr, jerr)
			}
		}
		if !a.quiet {
			prog.Event(ev)
		}
	})
	release := a.onInterrupt(engine, prog)
	results, err := engine.Apply(ctx, run.prop)
	release()
	prog.Close()
	err = errors.Join(err, journal.Close(err))
	if err == nil {
		return nil
	}
	a.tellResults(results)
	if errors.Is(err, plan.ErrStopped) {
		return &exitError{exitInterrupted, err}
	}
	return &exitError{exitFailed, fmt.Errorf("%w\n%s%s", err, a.tr("run up again to carry on; the record of this run is "), journal.Path())}
}

// onInterrupt makes the first Ctrl-C finish the steps that run and the second
// one stop at once.
func (a *app) onInterrupt(engine *plan.Engine, prog *progress) (release func()) {
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, os.Interrupt)
	done := make(chan struct{})
	go func() {
		select {
		case <-done:
			return
		case <-ch:
		}
		fmt.Fprintln(a.stderr, a.tr("\nFinishing the steps that run; Ctrl-C again stops at once."))
		engine.Stop()
		select {
		case <-done:
		case <-ch:
			fmt.Fprintln(a.stderr, a.tr("\nStopped. Half done:"))
			for _, line := range prog.Running() {
				fmt.Fprintln(a.stderr, "  "+line)
			}
			fmt.Fprintln(a.stderr, a.tr("The hosts finish the command they are at. Run up again to carry on."))
			os.Exit(exitInterrupted)
		}
	}()
	return func() { signal.Stop(ch); close(done) }
}

// tellResults says what became of every phase of a run that failed.
func (a *app) tellResults(results []plan.PhaseResult) {
	for _, r := range results {
		switch {
		case r.NotRun:
			fmt.Fprintf(a.stderr, a.tr("%s: not begun\n"), r.Phase)
		case r.Err != nil && len(r.Kept) == 0 && len(r.Undone) > 0:
			fmt.Fprintf(a.stderr, a.tr("%s: rolled back: %s\n"), r.Phase, counted(len(r.Undone), "step"))
		case r.Err != nil && len(r.Kept) > 0:
			fmt.Fprintf(a.stderr, a.tr("%s: rolled back as far as it goes: %s; these stay:\n"), r.Phase, counted(len(r.Undone), "step"))
			for _, k := range r.Kept {
				fmt.Fprintf(a.stderr, "  %s\n", k)
			}
		}
	}
}

// verify asks the services again, all of them. With nothing left to do it shows
// the result and is done; else it shows what is left.
func (a *app) verify(ctx context.Context, run *upRun) (done bool, err error) {
	if err := a.propose(ctx, run); err != nil {
		return false, fmt.Errorf("the plan was carried out, and then: %w", err)
	}
	if !run.prop.Empty() {
		fmt.Fprintln(a.stderr, a.tr("The result shows what else is needed:"))
		run.prop.WriteText(a.stderr, a.colours(a.stderr).kind)
		return false, nil
	}
	status := run.sess.view.Status(run.sess.view.Vitals(ctx))
	run.report.Outcome, run.report.Status = outcomeDone, &status
	if !a.quiet || status.State != service.Up {
		a.printStatus(status, false)
	}
	return true, a.upDone(run)
}

// firstContact puts our key on the hosts that only took the password, so that
// the password can go from the cluster file. A host where that fails is reached
// with the password as before.
func (a *app) firstContact(ctx context.Context, run *upRun) {
	targets := run.sess.withPassword()
	if len(targets) == 0 {
		return
	}
	if err := a.putKeys(ctx, run.sess.dial, targets); err != nil {
		fmt.Fprintf(a.stderr, a.tr("The password is still needed: %v\n"), err)
	}
}

// wellOrNot says what is wrong although there is nothing that up would change,
// so that "no changes" is never taken for "all is well".
func (a *app) wellOrNot(run *upRun) error {
	status := run.sess.view.Status(nil)
	run.report.Status = &status
	if status.State == service.Up {
		return nil
	}
	pal := a.colours(a.stderr)
	for _, p := range status.Problems {
		fmt.Fprintln(a.stderr, problemLine(p, pal))
	}
	return &exitError{exitFailed, fmt.Errorf(a.tr("nothing that up can change, and the cluster is %s"), status.State)}
}

// upDone is the end of an up that did what it could: hosts that were left out
// make it a failure, for the file asks for them.
func (a *app) upDone(run *upRun) error {
	left := run.sess.view.Unreached()
	if len(left) == 0 {
		return nil
	}
	return &exitError{exitFailed, fmt.Errorf("%s left out: not reached", strings.Join(left, ", "))}
}
