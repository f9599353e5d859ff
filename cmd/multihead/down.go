package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
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
	f.changing(cmd)
	fl := cmd.Flags()
	fl.StringSliceVar(&f.nodes, "node", nil, "only these `hosts`")
	fl.StringSliceVar(&f.phases, "service", nil, "only these `services`")
	f.output = formatFlag(cmd, "table", "json")
	return cmd
}

func (a *app) down(ctx context.Context, f upFlags) error {
	return a.reported(*f.output, func(a *app, report *upReport) error {
		run, err := a.openRun(ctx, f, aimStop)
		if err != nil {
			return err
		}
		defer run.sess.close()
		run.report = report
		if err := a.propose(ctx, run); err != nil {
			return err
		}
		return a.onceAgreed(ctx, run, func() error {
			if !a.quiet {
				a.sayNoChanges(run)
			}
			return a.upDone(run)
		}, func() error { return a.takeDown(ctx, run) })
	})
}

func (a *app) takeDown(ctx context.Context, run *upRun) error {
	if err := a.apply(ctx, run); err != nil {
		return err
	}
	run.report.Outcome = outcomeDone
	if silent := strings.Join(run.sess.view.Unreached(), ", "); silent != "" {
		fmt.Fprintf(a.stdout, a.tr("Stopped on the hosts that answered; what still runs on %s is not known.\n"), silent)
	} else {
		a.say(a.tr("Stopped. Start it again with: multihead up"))
	}
	return a.upDone(run)
}
