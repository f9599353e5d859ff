package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"multihead/internal/config"
	"multihead/internal/service"
)

func newRecoverCmd(a *app) *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Make a cluster serve again after power loss or lost quorum; form nothing, change no setting",
		Long: `Looks at every host, shows what would make serve again what exists and does
not, asks, and does it. It installs nothing, changes no setting, forms nothing
anew, and leaves alone what a person stopped. The agents do the same by
themselves; this is for when they do not run, or may not decide.

A database is started again from the head whose data goes furthest. Where a
head that may have gone further does not answer, that is refused, unless more
than half of those that were last in touch are here. With the cluster's name
typed it goes on all the same: what only the silent head knows is then missing.
Of the shared volume that choice is written down, and copies that were left out
give way to it when they come back (docs/recover.md).

Exit code: 0 done, 1 failed or something is still wrong, 64 usage, 75 another
run is at work, 78 the cluster file, 130 interrupted.`,
		Example: `  multihead recover                          look, show, ask, do it
  multihead recover --dry-run                look and show; nothing is changed
  multihead recover --accept-data-loss NAME  go on without heads that may know more`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.bringBack(cmd.Context(), f) },
	}
	f.reach.flags(cmd)
	fl := cmd.Flags()
	fl.StringSliceVar(&f.nodes, "node", nil, "change only these `hosts`")
	fl.StringSliceVar(&f.phases, "service", nil, "only these `services`")
	fl.StringVar(&f.confirm, "accept-data-loss", "", "the cluster's `name`, typed: go on where a silent head may know more")
	fl.BoolVar(&f.dryRun, "dry-run", false, "show what would be done; change nothing")
	fl.BoolVarP(&f.yes, "yes", "y", false, "do it without asking")
	f.output = formatFlag(cmd, "table", "json")
	return cmd
}

func (a *app) bringBack(ctx context.Context, f upFlags) error {
	return a.reported(*f.output, func(a *app, report *upReport) error {
		c, err := a.loadCluster()
		if err != nil {
			return err
		}
		run, err := a.recovery(ctx, c, f)
		if err != nil {
			return err
		}
		defer run.sess.close()
		run.report = report
		return a.carryOut(ctx, run)
	})
}

// recovery observes and plans. It changes nothing.
func (a *app) recovery(ctx context.Context, c *config.Cluster, f upFlags) (*upRun, error) {
	f.lookOnly = f.dryRun
	run := &upRun{flags: f, aim: aimRecover}
	// A person who asks has waited.
	run.intent = service.Intent{Mode: service.Auto, Nodes: f.nodes, Without: true, Confirmed: f.confirm != ""}
	name, from := whoami()
	run.intent.By = name + " on " + from
	if f.confirm != "" && f.confirm != c.Info.ClusterName {
		return nil, usageError(fmt.Errorf("--accept-data-loss %s is not this cluster's name, which is %s", f.confirm, c.Info.ClusterName))
	}
	var err error
	if run.phases, err = phaseNames(f.phases); err != nil {
		return nil, err
	}
	if err := checkHosts(c, f.nodes); err != nil {
		return nil, err
	}
	if run.sess, err = a.open(ctx, c, c.AllHosts(), f.reach); err != nil {
		return nil, err
	}
	run.sess.view.Proven(provenOff(ctx, c, run.sess.view))
	if err = a.idle(ctx, run); err == nil {
		err = a.propose(ctx, run)
	}
	if err != nil {
		run.sess.close()
		return nil, err
	}
	return run, nil
}
