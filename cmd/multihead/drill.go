package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"multihead/internal/cluster"
	"multihead/internal/drill"
)

// drillFlags is what `drill run` is told.
type drillFlags struct {
	reach
	runs    int
	confirm string
	client  string
	html    string
	history string
	output  *string
}

func newDrillCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drill",
		Short: "Break the cluster on purpose, measure what clients see, and check that nothing was lost",
		Example: `  multihead drill list
  multihead --lab drill run power-off-vip-owner
  multihead --lab drill run F3 --runs 20 --html report.html
  multihead drill run kill-mariadbd --confirm NAME      on a real cluster`,
	}
	cmd.AddCommand(newDrillListCmd(a), newDrillRunCmd(a))
	return cmd
}

func newDrillListCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List what can be broken, and what should come of it",
		Example: "  multihead drill list\n  multihead drill list -o json",
		Args:    cobra.NoArgs,
	}
	output := formatFlag(cmd, "table", "json")
	cmd.RunE = func(*cobra.Command, []string) error {
		if *output == "json" {
			return a.printJSON(drill.List())
		}
		t := table.NewWriter()
		t.SetStyle(a.tableStyle())
		t.AppendHeader(table.Row{"ID", "NAME", "WHERE", "WHAT IS BROKEN"})
		for _, s := range drill.Scenarios() {
			where := "anywhere"
			if s.Lab {
				where = "lab"
			}
			t.AppendRow(table.Row{s.ID, s.Name, where, s.Breaks})
		}
		fmt.Fprintln(a.stdout, t.Render())
		return nil
	}
	return cmd
}

func newDrillRunCmd(a *app) *cobra.Command {
	var f drillFlags
	cmd := &cobra.Command{
		Use:   "run NAME...",
		Short: "Run drills: by name, or by number for all of that number",
		Long: `Clients outside the heads work on the database, Redis, the shared volume, Slurm
and the virtual address while something is broken. Then the fault is undone, the
cluster has to become well again by itself, and what was acknowledged is compared
with what is there.

On a real cluster only what the hosts undo by themselves can be broken; it is
refused where the cluster is not well, or could not survive it, and it asks for
the cluster's name. What drills make (the database multihead_drill, keys, files
and jobs of that name) is removed in the end.

Exit code: 0 held, 1 something was lost, took longer than its bound, or could
not be played, 64 usage, 78 the cluster file, 130 interrupted.`,
		Example: `  multihead --lab drill run power-off-vip-owner
  multihead --lab drill run F3 F5 --runs 5 --html report.html
  multihead drill run kill-mariadbd --confirm NAME`,
		Args: atLeast(1, "name a drill; multihead drill list shows them"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.drillRun(cmd.Context(), f, args) },
	}
	f.reach.flags(cmd)
	fl := cmd.Flags()
	fl.IntVar(&f.runs, "runs", 1, "how often each is run")
	fl.StringVar(&f.confirm, "confirm", "", "the cluster's `name`, typed: needed where the hosts are real")
	fl.StringVar(&f.client, "client", "", "the compute `node` that the clients run on (default the first one that answers)")
	fl.StringVar(&f.html, "html", "", "write a report with the timeline to this `file`")
	fl.StringVar(&f.history, "history", "", "write every operation of the clients to this `file`, one line of JSON each")
	f.output = formatFlag(cmd, "table", "json")
	return cmd
}

// drillRun plays the scenarios, one after another, as often as asked. It stops
// where the cluster does not get well: what follows would measure that.
func (a *app) drillRun(ctx context.Context, f drillFlags, names []string) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	scenarios, err := drill.Find(names)
	if err != nil {
		return usageError(err)
	}
	if f.runs < 1 || f.runs > 1000 {
		return usageError(fmt.Errorf("--runs %d: between 1 and 1000", f.runs))
	}
	d, err := a.openDrill(ctx, f)
	if err != nil {
		return err
	}
	defer d.sess.close()
	if err := a.confirmDrill(ctx, d, f, scenarios); err != nil {
		return err
	}
	results, err := d.playAll(ctx, scenarios, f.runs)
	if ctx.Err() != nil && err != nil {
		err = &exitError{exitInterrupted, err}
	}
	return errors.Join(err, a.reportDrills(results, f))
}

// playAll plays and collects. A result is kept also where its run failed.
func (d *drillSession) playAll(ctx context.Context, scenarios []drill.Scenario, runs int) ([]*drill.Result, error) {
	var results []*drill.Result
	for _, s := range scenarios {
		for n := range runs {
			st, err := d.look(ctx)
			if err != nil {
				return results, err
			}
			if err := s.Refused(st, d.env.Outside != nil); err != nil {
				return results, &exitError{exitFailed, err}
			}
			d.say(fmt.Sprintf("%s, run %d of %d: %s", s.Title(), n+1, runs, s.Breaks))
			r, err := drill.Run(ctx, d.env, s, st)
			results = append(results, r)
			if err != nil {
				return results, fmt.Errorf("%s: %w", s.Name, err)
			}
			if !r.Green {
				return results, nil
			}
		}
	}
	return results, nil
}

// confirmDrill makes sure that whoever breaks a real cluster means this one. It
// first checks that it may be broken at all.
func (a *app) confirmDrill(ctx context.Context, d *drillSession, f drillFlags, scenarios []drill.Scenario) error {
	st, err := d.look(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range scenarios {
		errs = append(errs, s.Refused(st, d.env.Outside != nil))
	}
	if err := errors.Join(errs...); err != nil {
		return &exitError{exitFailed, fmt.Errorf("%s: %w", a.tr("nothing was changed"), err)}
	}
	if d.env.Outside != nil {
		return nil
	}
	return a.typedName(ctx, st, f, scenarios)
}

func (a *app) typedName(ctx context.Context, st cluster.Status, f drillFlags, scenarios []drill.Scenario) error {
	name := st.Name
	if f.confirm != "" {
		if f.confirm != name {
			return usageError(fmt.Errorf("--confirm %s is not this cluster's name, which is %s", f.confirm, name))
		}
		return nil
	}
	if !a.terminal() {
		return usageError(fmt.Errorf(a.tr("nothing was changed: this breaks the cluster on purpose; say --confirm %s"), name))
	}
	for _, s := range scenarios {
		fmt.Fprintf(a.stderr, "  %s: %s\n", s.Title(), s.Breaks)
	}
	fmt.Fprintf(a.stderr, a.tr("This breaks the cluster on purpose. Type its name (%s) to go on: "), name)
	answer, err := readLine(ctx, a.stdin)
	if err != nil {
		return err
	}
	if answer != name {
		return &exitError{exitFailed, errors.New(a.tr("nothing was changed"))}
	}
	return nil
}
