package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"multihead/internal/backup"
	"multihead/internal/config"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// restoreFlags is what restore is told.
type restoreFlags struct {
	backupFlags
	only      string
	databases []string
}

func newRestoreCmd(a *app) *cobra.Command {
	var f restoreFlags
	cmd := &cobra.Command{
		Use:   "restore",
		Short: "Bring databases, or Redis, back from a snapshot while the cluster serves",
		Long: `Without --only, restore brings back what is missing: a database that was dropped.
What exists is left alone. With --only database, it replaces what exists as well,
and asks for the cluster's name.

The snapshot is read back and compared with its checksums, loaded under another
name, compared again, and put in its place in one statement; what was there stays
beside it, in a database named mh_old_…. With --only redis the keys become those
of the snapshot, whatever head serves them now; what was there is kept as files.
Where a step fails, all is as before.

Exit code: 0 done, or nothing is missing; 1 failed; 64 usage; 75 another run is at
work; 78 the cluster file; 130 interrupted.`,
		Example: `  multihead restore --latest --dry-run                         show what would be done
  multihead restore --latest                                   bring back what is missing
  multihead restore --latest --only database --database auth_portal
  multihead restore --id 20261122_030000 --only database       all databases, as of then`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.restore(cmd.Context(), f) },
	}
	f.reach.flags(cmd)
	f.choice(cmd)
	cmd.MarkFlagsOneRequired("latest", "id")
	fl := cmd.Flags()
	fl.Var(choice{&f.only, []string{"database", "redis"}}, "only", "replace this, though it exists: database or redis")
	fl.StringSliceVar(&f.databases, "database", nil, "these `databases` alone")
	fl.BoolVar(&f.dryRun, "dry-run", false, "show what would be done; change nothing")
	fl.BoolVarP(&f.yes, "yes", "y", false, "do it without asking; what replaces something still needs --confirm")
	fl.StringVar(&f.confirm, "confirm", "", "the cluster's `name`, typed: needed where something is replaced")
	return cmd
}

func (a *app) restore(ctx context.Context, f restoreFlags) error {
	if f.id != "" && !backup.ValidID(f.id) {
		return usageError(fmt.Errorf("%q is no snapshot id; multihead backup list shows them", f.id))
	}
	if f.only == "redis" && len(f.databases) > 0 {
		return usageError(errors.New("--database goes with --only database"))
	}
	f.lookOnly = f.dryRun
	run, err := a.backupSession(ctx, f.backupFlags)
	if err != nil {
		return err
	}
	defer run.sess.close()
	if err := a.idle(ctx, run); err != nil {
		return err
	}
	a.saySkipped(run)
	stamp := run.sess.view.Input.Stamp
	want, err := run.wanted(ctx, f, stamp)
	if err != nil {
		return a.refusals(err)
	}
	run.planner = func(ctx context.Context) (plan.Plan, error) {
		again, err := run.wanted(ctx, f, stamp)
		if err != nil {
			return plan.Plan{}, err
		}
		return again.Plan()
	}
	if err := a.propose(ctx, run); err != nil {
		return err
	}
	for _, n := range want.Left() {
		fmt.Fprintf(a.stderr, a.tr("%s exists and is left alone; --only database --database %s replaces it\n"), n, n)
	}
	if run.prop.Empty() {
		fmt.Fprintln(a.stdout, a.tr("Nothing is missing of what the snapshot has."))
		return nil
	}
	a.showPlan(run)
	if f.dryRun {
		a.sayNothingChanged()
		return nil
	}
	if err := a.sureToRestore(run, want, f); err != nil {
		return err
	}
	if err := a.lock(ctx, run); err != nil {
		return err
	}
	if err := a.apply(ctx, run); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, a.tr("Restored from %s, compared, and on every head that answered.\n"), want.Snapshot.ID)
	return nil
}

// wanted looks at what there is, and says what is to be brought back.
func (run *upRun) wanted(ctx context.Context, f restoreFlags, stamp string) (backup.Restore, error) {
	c := run.sess.file
	r := backup.Restore{Cluster: c, Replace: f.only == "database", Redis: f.only == "redis", Named: f.databases, Stamp: strings.ReplaceAll(strings.TrimSuffix(stamp, "Z"), "T", "_")}
	health, err := run.healths(ctx)
	if err != nil {
		return r, err
	}
	held := backup.Look(ctx, run.sess.view.Readers(), c.SharedStorage.Backup.Path)
	if r.Snapshot, err = backup.Pick(backup.Merge(held), f.id); err != nil {
		return r, err
	}
	for _, h := range run.reachedHeads() {
		if health[config.MariaDB].Nodes[h.Name].State == service.Up {
			r.Heads = append(r.Heads, h.Name)
		}
		if c.Runs(h.Name, config.Slurm) {
			r.Slurm = append(r.Slurm, h.Name)
		}
	}
	var have []string
	for _, n := range r.Heads {
		if slices.Contains(r.Snapshot.On, n) {
			have = append(have, n)
		}
	}
	if len(have) == 0 {
		return r, &service.Refusal{Service: backup.Phase, Reason: fmt.Sprintf("no head has both a whole copy of %s and a database that serves", r.Snapshot.ID),
			Remedy: "Look at multihead status and multihead backup list; multihead recover brings a database back that does not serve."}
	}
	if r.Head, err = backup.Choose(c, have, health); err != nil {
		return r, err
	}
	reader := run.sess.view.Hosts[r.Head]
	if r.Existing, err = backup.Schemas(ctx, reader, c.Database.MariaDB.RootPassword); err != nil {
		return r, fmt.Errorf("which databases there are on %s: %w", r.Head, err)
	}
	if r.Running, err = backup.Running(ctx, reader); err != nil {
		return r, err
	}
	return r, nil
}

// sureToRestore asks: for a yes, and for the cluster's name where something is
// replaced.
func (a *app) sureToRestore(run *upRun, want backup.Restore, f restoreFlags) error {
	name, replaces := run.sess.file.Info.ClusterName, want.Replaces()
	if len(replaces) == 0 {
		return a.ask(f.upFlags)
	}
	if f.confirm == "" {
		in, ok := a.stdin.(*os.File)
		if !ok || !term.IsTerminal(int(in.Fd())) {
			return usageError(fmt.Errorf(a.tr("nothing was changed: %s would be replaced; say --confirm %s"), strings.Join(replaces, ", "), name))
		}
		fmt.Fprintf(a.stderr, a.tr("%s will be as of %s. Type the cluster's name (%s) to go on: "), strings.Join(replaces, ", "), want.Snapshot.ID, name)
		line, err := bufio.NewReader(in).ReadString('\n')
		if err != nil {
			return err
		}
		f.confirm = strings.TrimSpace(line)
	}
	if f.confirm != name {
		return &exitError{exitUsage, errors.New(a.tr("nothing was changed") + ": " + f.confirm + " != " + name)}
	}
	run.flags.yes = true // it was said
	return nil
}
