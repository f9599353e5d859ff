package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service/all"
	"multihead/internal/upgrade"
)

func newUpgradeCmd(a *app) *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Upgrade the packages of the services, one head at a time, while the cluster serves",
		Long: `Asks the hosts which newer versions their package sources offer, or the bundle that
the cluster file names, of the packages that multihead's services use, and of no
others. Then, one head after the other: the head goes into maintenance, what has to
stop stops, the packages change (the site's files in /etc are kept), it starts, and
everything has to be whole again before the next one. Heads that hold neither the
virtual address nor Slurm's primary come first, the one with the address last; then
witnesses; then compute nodes, one alone before the others. The hosts get this
multihead in the same order.

What the packages replace is put aside on each host first. The first head that is not
well stops the upgrade and is brought back to what it had; the others are not touched.

A new series of MariaDB, Slurm, GlusterFS or Redis is refused.

Exit code: 0 done or nothing to do, 1 failed or refused, 64 usage, 75 another run is
at work, 78 the cluster file, 130 interrupted.`,
		Example: `  multihead upgrade --dry-run          what would become newer, and in which order
  multihead upgrade                    look, show the plan, ask, do it
  multihead upgrade --phase redis      the packages of one service`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.reported(*f.output, func(a *app, report *upReport) error { return a.upgrade(cmd.Context(), f, report) })
		},
	}
	f.changing(cmd)
	fl := cmd.Flags()
	fl.StringSliceVar(&f.phases, "phase", nil, "only the packages of these `phases`: prepare, glusterfs (0), mariadb (1), redis (2), slurm (3), keepalived (4)")
	fl.StringVar(&f.confirm, "confirm", "", "the cluster's `name`, typed: needed where a service is away meanwhile")
	f.output = formatFlag(cmd, "table", "json")
	return cmd
}

func (a *app) upgrade(ctx context.Context, f upFlags, report *upReport) error {
	run, err := a.openRun(ctx, f, aimUp)
	if err != nil {
		return err
	}
	defer run.sess.close()
	run.report = report
	run.again = "heads not named above were not touched. See why with multihead runs show last, then multihead upgrade again: it goes on where it ended. The record of this run is "
	name, from := whoami()
	u := &upgrade.Run{View: run.sess.view, Site: offlineSite(run.sess.file), Only: run.phases, Confirmed: run.intent.Confirmed, By: name, From: from}
	run.planner = planner(run, u.Plan)
	if u.Site == nil {
		a.freshLists(ctx, run)
	}
	if err := a.propose(ctx, run); err != nil {
		return err
	}
	return a.onceAgreed(ctx, run, func() error {
		a.say(a.tr("No changes: the packages of the services are the newest that are offered, and multihead is this one."))
		return a.upDone(run)
	}, func() error { return a.headByHead(ctx, run, u) })
}

// planner looks at the cluster before it plans.
func planner(run *upRun, of func(context.Context) (plan.Plan, error)) func(context.Context) (plan.Plan, error) {
	return func(ctx context.Context) (plan.Plan, error) {
		if err := run.sess.observe(ctx, all.Services()); err != nil {
			return plan.Plan{}, err
		}
		return of(ctx)
	}
}

// freshLists has every host's apt read what its sources offer now. Where that fails what
// it read last stands.
func (a *app) freshLists(ctx context.Context, run *upRun) {
	if run.flags.dryRun {
		fmt.Fprintln(a.stderr, a.tr("The package lists are as of the hosts' last update; without --dry-run they are brought up to date first."))
		return
	}
	if !a.quiet {
		fmt.Fprintln(a.stderr, a.tr("Reading what the hosts' package sources offer."))
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	hosts := run.sess.view.Hosts
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		wg.Go(func() {
			_, err := hosts[name].Run(ctx, host.Cmd{Argv: []string{"apt-get", "--quiet", "update"}, Env: []string{"DEBIAN_FRONTEND=noninteractive"}})
			if err == nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintf(a.stderr, a.tr("%s: its package lists are as they were: %v\n"), name, err)
		})
	}
	wg.Wait()
}

// headByHead does it and looks at the result.
func (a *app) headByHead(ctx context.Context, run *upRun, u *upgrade.Run) error {
	if err := a.partByPart(ctx, run, u); err != nil {
		return err
	}
	run.planner = planner(run, u.Plan)
	if done, err := a.verify(ctx, run); err != nil || done {
		return err
	}
	return &exitError{exitFailed, errors.New(a.tr("the plan was carried out, and this is still needed: run the command again; if it stays, look at the lines above"))}
}

// partByPart does one host after the other, each planned with what the one before has
// left. One that still needs something when it is done is not begun again.
func (a *app) partByPart(ctx context.Context, run *upRun, u *upgrade.Run) error {
	run.planner = planner(run, u.Next)
	for before := ""; ; {
		if err := a.propose(ctx, run); err != nil {
			return &exitError{exitFailed, fmt.Errorf("%s: %w", a.tr("stopped before the next host, those before it are done"), err)}
		}
		if run.prop.Empty() || run.prop.Plan.Phases[0].Name == before {
			return nil
		}
		before = run.prop.Plan.Phases[0].Name
		if err := a.apply(ctx, run); errors.Is(err, plan.ErrStopped) {
			return err
		} else if err != nil {
			return a.broughtBack(ctx, run, u, err)
		}
	}
}

// broughtBack says how the cluster is after a head failed and was undone.
func (a *app) broughtBack(ctx context.Context, run *upRun, u *upgrade.Run, cause error) error {
	fmt.Fprintln(a.stderr, a.tr("Waiting until the cluster is well again."))
	said := a.tr("the cluster is up again, as it was before the head that failed")
	if err := u.Settled(ctx); err != nil {
		said = fmt.Sprintf(a.tr("the cluster is not well: %v"), err)
	}
	if err := run.sess.observe(ctx, all.Services()); err == nil {
		status := run.sess.view.Status(run.sess.view.Vitals(ctx))
		run.report.Status = &status
	}
	return &exitError{exitFailed, fmt.Errorf("%w\n%s", cause, said)}
}
