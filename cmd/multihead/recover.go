package main

import (
	"context"

	"github.com/spf13/cobra"
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

Exit code: 0 done, 1 failed or something is still wrong, 64 usage, 75 another
run is at work, 78 the cluster file, 130 interrupted.`,
		Example: `  multihead recover                          look, show, ask, do it
  multihead recover --dry-run                look and show; nothing is changed
  multihead recover --accept-data-loss NAME  go on without heads that may know more`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.bringBack(cmd.Context(), f) },
	}
	f.changing(cmd)
	fl := cmd.Flags()
	fl.StringSliceVar(&f.nodes, "node", nil, "change only these `hosts`")
	fl.StringSliceVar(&f.phases, "service", nil, "only these `services`")
	fl.StringVar(&f.confirm, "accept-data-loss", "", "the cluster's `name`, typed: go on where a silent head may know more")
	f.output = formatFlag(cmd, "table", "json")
	return cmd
}

func (a *app) bringBack(ctx context.Context, f upFlags) error {
	return a.reported(*f.output, func(a *app, report *upReport) error {
		run, err := a.openRun(ctx, f, aimRecover)
		if err != nil {
			return err
		}
		defer run.sess.close()
		run.report = report
		run.intent.Without = true // a person who asks has waited
		if err := a.propose(ctx, run); err != nil {
			return err
		}
		return a.carryOut(ctx, run)
	})
}
