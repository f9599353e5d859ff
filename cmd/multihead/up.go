package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"multihead/internal/cluster"
	"multihead/internal/config"
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

// changing adds the flags of every verb that changes the cluster.
func (f *upFlags) changing(cmd *cobra.Command) {
	f.reach.flags(cmd)
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "show what would be done; change nothing")
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "do it without asking")
}

func (f *upFlags) addMode(cmd *cobra.Command) {
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
	f.changing(cmd)
	f.addMode(cmd)
	cmd.Flags().BoolVar(&f.yes, "force", false, "the same as --yes")
	cmd.Flags().BoolVar(&f.diff, "diff", false, "show how files change")
	return cmd
}

// up is the pipeline: observe, plan, ask, lock, apply, verify.
func (a *app) up(ctx context.Context, f upFlags) error {
	return a.reported(*f.output, func(a *app, report *upReport) error {
		run, err := a.openRun(ctx, f, aimUp)
		if err != nil {
			return err
		}
		defer run.sess.close()
		run.report = report
		if err := a.prepare(ctx, run); err != nil {
			return err
		}
		return a.carryOut(ctx, run)
	})
}

// upRun is one run of a verb that changes the cluster, or of plan.
type upRun struct {
	flags  upFlags
	sess   *session
	intent service.Intent
	phases []string
	aim    aim
	prop   plan.Proposal
	report *upReport
	rest   *resting        // the head whose maintenance begins or ends
	said   map[string]bool // heads in maintenance that were named to the person
	// refused is why some services are not recovered, beside others that are.
	refused error
	// agreed is done once the plan was said yes to and the cluster is locked,
	// before anything else; nil is nothing.
	agreed func() error
	// again is what a person is told where the run failed; empty is to run up again.
	again string
	// planner plans instead of the services, for what is not about them.
	planner func(context.Context) (plan.Plan, error)
	// upPhases is the phases of the up that follows once hosts have left; none means all.
	upPhases []string
	// proofs is why hosts that leave are taken for off: hostname → reason.
	proofs map[string]string
	// then is said below the plan; empty is nothing.
	then string
	// interrupt is what a Ctrl-C does instead of what it does in every other run; nil
	// for that.
	interrupt func(*plan.Engine, *progress) (release func())
	// question is what a person is asked before the plan is done; nil is for a yes.
	question func(context.Context) error
	// still refuses what may not be done any more, by a fresh look under the lock; nil
	// refuses nothing.
	still func() error
	// held says that the cluster is locked by this run.
	held bool
}

// aim is what a run plans: what the file says, a stop, that what is there serves
// again, that one head is worked on, or that heads leave.
type aim int

const (
	aimUp aim = iota
	aimStop
	aimRecover
	aimRest   // maintenance of one head begins
	aimReturn // and ends
	aimLeave
)

// openRun begins a run: it reads the file, checks what the flags name, the verb's own
// checks first, reaches the hosts, and waits until nobody is at work there.
func (a *app) openRun(ctx context.Context, f upFlags, to aim, checks ...func(*config.Cluster) error) (*upRun, error) {
	c, err := a.loadCluster()
	if err != nil {
		return nil, err
	}
	for _, check := range checks {
		if err := check(c); err != nil {
			return nil, err
		}
	}
	return a.openRunOf(ctx, c, f, to)
}

// openRunOf is openRun with a file that was read already.
func (a *app) openRunOf(ctx context.Context, c *config.Cluster, f upFlags, to aim) (*upRun, error) {
	f.lookOnly = f.lookOnly || f.dryRun
	run := &upRun{flags: f, report: &upReport{}, aim: to,
		intent: service.Intent{Mode: service.Auto, Nodes: f.nodes, Confirmed: f.confirm != ""}}
	confirm := "--confirm"
	if to == aimRecover {
		confirm = "--accept-data-loss"
	}
	var err error
	if run.phases, err = phaseNames(f.phases); err != nil {
		return nil, err
	}
	if err := checkHosts(c, f.nodes); err != nil {
		return nil, err
	}
	if err := confirms(c, confirm, f.confirm); err != nil {
		return nil, err
	}
	if run.sess, err = a.open(ctx, c, c.AllHosts(), f.reach); err != nil {
		return nil, err
	}
	if err := a.idle(ctx, run); err != nil {
		run.sess.close()
		return nil, err
	}
	return run, nil
}

// prepare plans what up does. It changes nothing.
func (a *app) prepare(ctx context.Context, run *upRun) error {
	switch {
	case run.flags.bootstrap:
		run.intent.Mode = service.Bootstrap
	case run.flags.join:
		run.intent.Mode = service.Join
	case run.flags.standalone:
		run.intent.Mode = service.Standalone
		if err := a.standalone(ctx, run); err != nil {
			return err
		}
	}
	return a.propose(ctx, run)
}

// lockWait bounds how long a lock is waited for that comes free by itself: the
// longest step of an agent's recovery is a database that reads its log again.
const lockWait = 10 * time.Minute

// idle lets the last step of a run that was cut off, and the agents' recovery, come
// to its end before the cluster is looked at, and refuses beside a run that is at
// work. A dry run looks in any case.
func (a *app) idle(ctx context.Context, run *upRun) error {
	if run.flags.lookOnly {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	var once sync.Once
	run.sess.view.Waiting = func(held *host.LockedError) {
		once.Do(func() {
			fmt.Fprintf(a.stderr, a.tr("Waiting: %v. It gives way at the end of its step.\n"), held)
		})
	}
	return a.locked(run.sess.view.Idle(ctx, owner()))
}

// owner is who takes the lock of the cluster.
func owner() host.Owner {
	name, from := whoami()
	return host.Owner{User: name, From: from, PID: os.Getpid(), Tool: version, Purpose: commandLine()}
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
	if run.planner != nil {
		p, err := run.planner(ctx)
		if err != nil {
			return a.refusals(err)
		}
		if run.prop, err = plan.Propose(ctx, p, run.sess.view.Readers()); err != nil {
			return fmt.Errorf("nothing was changed: what is needed cannot be told: %w", err)
		}
		return nil
	}
	if err := run.sess.observe(ctx, all.Services()); err != nil {
		return err
	}
	v := run.sess.view
	a.leaveMaintained(run)
	planned := map[aim]func(service.Intent, []string) (plan.Plan, error){aimUp: v.Plan, aimStop: v.StopPlan, aimRecover: v.RecoverPlan,
		aimLeave: v.LeavePlan,
		aimRest:  run.restPlan, aimReturn: run.returnPlan}[run.aim]
	p, err := planned(run.intent, run.phases)
	switch {
	case err == nil:
	case run.aim == aimRecover && !p.Empty():
		// One service that is refused keeps no other from coming back.
		run.refused = err
	default:
		return a.refusals(err)
	}
	if len(run.said) > 0 {
		p = p.On(run.intent.Includes) // what others need of a head that a person works on waits
	}
	site := offlineSite(run.sess.file)
	if site != nil && run.aim == aimUp {
		p = site.Provide(p)
	}
	run.prop, err = plan.Propose(ctx, p, run.sess.view.Readers())
	if err != nil {
		return fmt.Errorf("nothing was changed: what is needed cannot be told: %w", err)
	}
	if site != nil {
		if err := site.Check(ctx, run.prop, run.sess.view.Readers()); err != nil {
			return fmt.Errorf("%s: %w", a.tr("nothing was changed"), err)
		}
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
	case run.aim == aimRecover:
		fmt.Fprintln(a.stdout, a.tr("Nothing to recover: what exists on the hosts that answered serves, or was stopped by a person."))
	case silent == "" && run.aim == aimStop:
		fmt.Fprintln(a.stdout, a.tr("No changes: it is stopped already."))
	case silent == "":
		fmt.Fprintln(a.stdout, a.tr("No changes: the cluster is as the file says."))
	case run.aim == aimStop:
		fmt.Fprintf(a.stdout, a.tr("Nothing to stop on the hosts that answered; what still runs on %s is not known.\n"), silent)
	default:
		fmt.Fprintf(a.stdout, a.tr("No changes on the hosts that answered; not reached: %s.\n"), silent)
	}
}

func (a *app) sayNothingChanged() { a.say(a.tr("Nothing was changed.")) }

func (a *app) showPlan(run *upRun) {
	pal := a.colours(a.stdout)
	run.prop.WriteText(a.stdout, pal.kind)
	if run.flags.diff {
		run.prop.WriteDiff(a.stdout)
	}
}

// wellOrNot says what is wrong although there is nothing that up would change,
// so that "no changes" is never taken for "all is well".
func (a *app) wellOrNot(run *upRun) error {
	status := run.sess.view.Status(nil)
	run.report.Status = &status
	if status.State == service.Up || status.State == service.Maint {
		return nil
	}
	a.sayProblems(a.stderr, run, status)
	return &exitError{exitFailed, fmt.Errorf(a.tr("nothing that up can change, and the cluster is %s"), status.State)}
}

// sayProblems prints what is wrong, and what the plan leaves alone and why.
func (a *app) sayProblems(w io.Writer, run *upRun, status cluster.Status) {
	pal := a.colours(w)
	for _, p := range status.Problems {
		fmt.Fprintln(w, problemLine(p, pal))
	}
	for _, ph := range run.prop.Plan.Phases {
		for _, n := range ph.Notes {
			fmt.Fprintf(w, "  %s: %s\n", ph.Name, n)
		}
	}
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
