package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"multihead/internal/plan"
	"multihead/internal/service"
)

// onceAgreed takes a run from its plan to its end, as every verb that changes
// something does. Where nothing is needed that is nothing's word; a nil one goes on
// all the same. Any other plan is shown. A dry run ends there; else a person agrees,
// the cluster is locked, the plan is made sure of under the lock, and work is done.
func (a *app) onceAgreed(ctx context.Context, run *upRun, nothing, work func() error) error {
	a.saySkipped(run)
	if run.refused != nil {
		fmt.Fprintln(a.stderr, a.refusals(run.refused))
	}
	run.report.found(run)
	if run.prop.Empty() && nothing != nil {
		return nothing()
	}
	a.offer(run)
	if run.flags.dryRun {
		a.sayNothingChanged()
		return nil
	}
	if err := a.agree(ctx, run); err != nil {
		return err
	}
	if err := a.lock(ctx, run); err != nil {
		return err
	}
	run.report.found(run)
	return work()
}

// offer shows the plan, unless it is to be done quietly and without asking.
func (a *app) offer(run *upRun) {
	if a.quiet && run.flags.yes {
		return
	}
	a.showPlan(run)
	if run.then != "" {
		fmt.Fprintln(a.stdout, run.then)
	}
}

// agree asks what the verb asks. While the cluster is locked the question has a limit,
// and with its error the run ends, and with that the lock.
func (a *app) agree(ctx context.Context, run *upRun) error {
	if run.held {
		ctx = whileLocked(ctx)
	}
	if run.question != nil {
		return run.question(ctx)
	}
	return a.ask(ctx, run.flags)
}

// carryOut is the way of up, and of what ends like it: what the result uncovers is
// done as well, and the services are asked how they are.
func (a *app) carryOut(ctx context.Context, run *upRun) error {
	nothing := func() error {
		if !a.quiet {
			a.sayNoChanges(run)
		}
		return errors.Join(a.wellOrNot(run), a.upDone(run))
	}
	if run.agreed != nil {
		nothing = nil
	}
	return a.onceAgreed(ctx, run, nothing, func() error {
		if run.agreed != nil {
			if err := run.agreed(); err != nil {
				return err
			}
		}
		if run.aim == aimUp {
			a.firstContact(ctx, run)
		}
		return a.rounds(ctx, run)
	})
}

// rounds carries the plan out, and what its result uncovers.
func (a *app) rounds(ctx context.Context, run *upRun) error {
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
		if err := a.agree(ctx, run); err != nil {
			return err
		}
	}
}

// maxRounds bounds how often a run goes on with what the round before uncovered.
const maxRounds = 6

// lock takes the cluster's lock and makes sure that what was shown is still
// what is needed.
func (a *app) lock(ctx context.Context, run *upRun) error {
	if run.aim == aimRecover || len(run.intent.Lost) > 0 {
		// A head that was switched on while the question stood is not taken for dead.
		if err := run.sess.reachAgain(ctx); err != nil {
			return err
		}
		if run.aim == aimLeave {
			run.aboutLeaving() // what was said of them, to the new view
		}
	}
	ctxLock, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	run.sess.view.Few = run.aim == aimRecover && run.intent.Confirmed
	err := run.sess.view.Lock(ctxLock, owner())
	if err := a.locked(err); err != nil {
		return err
	}
	run.held = true
	shown, err := json.Marshal(run.prop.JSON())
	if err != nil {
		return err
	}
	if err := a.propose(ctx, run); err != nil {
		return err
	}
	if run.still != nil {
		if err := run.still(); err != nil {
			return err
		}
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
	return a.agree(ctx, run)
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
	journal, err := plan.NewJournal(dir, plan.RunInfo{ID: begin.UTC().Format("20060102_150405.000"), Cluster: run.sess.file.Info.ClusterName,
		Command: commandLine(), User: name, From: from, Begin: begin, Steps: len(run.prop.Previews), Plan: run.prop.PlannedSteps()})
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
	interrupt := a.onInterrupt
	if run.interrupt != nil {
		interrupt = run.interrupt
	}
	release := interrupt(engine, prog)
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
	return &exitError{exitFailed, fmt.Errorf("%w\n%s%s", err, a.carryOn(run), journal.Path())}
}

// carryOn says how a run that was cut off or failed goes on.
func (a *app) carryOn(run *upRun) string {
	switch {
	case run.again != "":
		return a.tr(run.again)
	case run.aim == aimLeave && len(run.intent.LeavingComputes) > 0:
		// up leaves them drained: it may be said by somebody else, while one waits for
		// the jobs on them to end.
		return fmt.Sprintf(a.tr("the file still names them: the same command again carries on. To keep them: multihead up, and then, for it leaves them drained, scontrol update nodename=%s state=resume; the record of this run is "),
			strings.Join(run.intent.LeavingComputes, ","))
	case run.aim == aimLeave:
		return a.tr("the file still names them: the same command again carries on, up takes them back in; the record of this run is ")
	}
	return a.tr("run up again to carry on; the record of this run is ")
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
