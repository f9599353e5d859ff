package main

import (
	"context"
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"multihead/internal/cluster"
	"multihead/internal/plan"
	"multihead/internal/service"
)

func newPlanCmd(a *app) *cobra.Command {
	var f upFlags
	var detailed bool
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what up would do, and what the cluster will survive",
		Example: `  multihead plan                    what up would do
  multihead plan --diff             with the changes of files
  multihead plan -o json            for scripts
  multihead plan --detailed-exitcode; echo $?    0 no change, 2 changes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.plan(cmd.Context(), f, detailed) },
	}
	f.reach.flags(cmd)
	f.addMode(cmd)
	cmd.Flags().BoolVar(&f.diff, "diff", false, "show how files change")
	cmd.Flags().BoolVar(&detailed, "detailed-exitcode", false, "exit 0 for no change, 2 for changes")
	return cmd
}

func (a *app) plan(ctx context.Context, f upFlags, detailed bool) error {
	f.lookOnly = true
	run, err := a.openRun(ctx, f, aimUp)
	if err != nil {
		return err
	}
	defer run.sess.close()
	if err := a.prepare(ctx, run); err != nil {
		return err
	}
	a.saySkipped(run)
	survival := run.sess.view.Survival()
	if *f.output == "json" {
		err = a.printJSON(struct {
			plan.JSON
			Survival cluster.Survival `json:"survival"`
		}{run.prop.JSON(), survival})
	} else {
		if run.prop.Empty() {
			a.sayNoChanges(run)
			if status := run.sess.view.Status(nil); status.State != service.Up {
				fmt.Fprintf(a.stdout, a.tr("The cluster is %s all the same:\n"), status.State)
				a.sayProblems(a.stdout, run, status)
			}
		} else {
			a.showPlan(run)
		}
		a.printSurvival(survival)
		fmt.Fprintln(a.stdout, a.tr("Nothing was changed."))
	}
	if err == nil && detailed && !run.prop.Empty() {
		return &exitError{2, nil}
	}
	return err
}

// printSurvival says what the cluster as the file asks for it can lose.
func (a *app) printSurvival(s cluster.Survival) {
	if len(s.Services) == 0 {
		fmt.Fprintf(a.stdout, "\n%s.\n", upperFirst(a.sentence(s)))
		return
	}
	fmt.Fprintf(a.stdout, a.tr("\nAs the file says, with all heads up the cluster %s.\n"), a.sentence(s))
	t := table.NewWriter()
	t.SetStyle(a.tableStyle())
	t.AppendHeader(table.Row{"SERVICE", "AT ONCE", "IN TURN", "WHY", "RAISED BY"})
	t.SetColumnConfigs([]table.ColumnConfig{
		{Number: 4, WidthMax: 48, WidthMaxEnforcer: text.WrapSoft},
		{Number: 5, WidthMax: 40, WidthMaxEnforcer: text.WrapSoft},
	})
	for _, sv := range s.Services {
		t.AppendRow(table.Row{sv.Service, sv.AtOnce, sv.InTurn, sv.Why, sv.RaisedBy})
	}
	fmt.Fprintln(a.stdout, t.Render())
}
