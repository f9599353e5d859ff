package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"multihead/internal/service"
)

func newDownCmd(a *app) *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop the cluster, or a part of it, in order: nothing is lost and up starts it again",
		Long: `Stops services in the order that loses nothing, and leaves them stopped.

Exit code: 0 done, 1 failed or a host was left out, 64 usage, 75 another run is
at work, 78 the cluster file, 130 interrupted.`,
		Example: `  multihead down                    everything, jobs keep running on the compute nodes
  multihead down --service redis    one service on all heads
  multihead down --node server4     everything on one head`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.down(cmd.Context(), f) },
	}
	f.reach.flags(cmd)
	fl := cmd.Flags()
	fl.StringSliceVar(&f.nodes, "node", nil, "only these `hosts`")
	fl.StringSliceVar(&f.phases, "service", nil, "only these `services`")
	fl.BoolVar(&f.dryRun, "dry-run", false, "show what would be done; change nothing")
	fl.BoolVarP(&f.yes, "yes", "y", false, "do it without asking")
	f.output = formatFlag(cmd, "table", "json")
	return cmd
}

func (a *app) down(ctx context.Context, f upFlags) error {
	return a.reported(*f.output, func(a *app, report *upReport) error { return a.takeDown(ctx, f, report) })
}

func (a *app) takeDown(ctx context.Context, f upFlags, report *upReport) error {
	c, err := a.loadCluster()
	if err != nil {
		return err
	}
	run := &upRun{flags: f, report: report, aim: aimStop, intent: service.Intent{Mode: service.Auto, Nodes: f.nodes}}
	if run.phases, err = phaseNames(f.phases); err != nil {
		return err
	}
	if err := checkHosts(c, f.nodes); err != nil {
		return err
	}
	f.lookOnly = f.dryRun
	if run.sess, err = a.open(ctx, c, c.AllHosts(), f.reach); err != nil {
		return err
	}
	defer run.sess.close()
	if err := a.idle(ctx, run); err != nil {
		return err
	}
	if err := a.propose(ctx, run); err != nil {
		return err
	}
	a.saySkipped(run)
	report.found(run)
	if run.prop.Empty() {
		if !a.quiet {
			a.sayNoChanges(run)
		}
		return a.upDone(run)
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
	if err := a.apply(ctx, run); err != nil {
		return err
	}
	report.Outcome = outcomeDone
	if silent := strings.Join(run.sess.view.Unreached(), ", "); silent != "" {
		fmt.Fprintf(a.stdout, a.tr("Stopped on the hosts that answered; what still runs on %s is not known.\n"), silent)
	} else if !a.quiet {
		fmt.Fprintln(a.stdout, a.tr("Stopped. Start it again with: multihead up"))
	}
	return a.upDone(run)
}
