package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"multihead/internal/backup"
	"multihead/internal/config"
	"multihead/internal/plan"
	"multihead/internal/service"
	"multihead/internal/service/slurm"
)

// restoreFlags is what restore is told.
type restoreFlags struct {
	backupFlags
	only      string
	all       bool
	databases []string
}

func newRestoreCmd(a *app) *cobra.Command {
	var f restoreFlags
	cmd := &cobra.Command{
		Use:   "restore",
		Short: "Bring databases, Redis, Slurm's state, the volume, configuration or all back from a snapshot",
		Long: `Without --only, restore brings back databases that are missing, and leaves alone
what exists. With --only it makes one part as of the snapshot, with --all
everything that the snapshot has: that is how a cluster comes back on fresh hosts,
after multihead up has formed it there. Both ask for the cluster's name.

  database   one statement puts it in place; what was there stays as mh_old_…
  redis      batch by batch, while Redis serves; what was there is kept as files
  slurm      the jobs: slurmctld stops meanwhile, jobs run on, job numbers go on
  volume     the volume's files, if the snapshot has them (items: volume)
  configs    the site's own configuration files; multihead up writes the others

The snapshot is read back and compared with its checksums first, and what was
there stays beside. Where a step fails, all is as before.

Exit code: 0 done, or nothing is missing; 1 failed; 64 usage; 75 another run is at
work; 78 the cluster file; 130 interrupted.`,
		Example: `  multihead restore --latest --dry-run                         show what would be done
  multihead restore --latest                                   bring back what is missing
  multihead restore --latest --only database --database auth_portal
  multihead restore --id 20261122_030000 --only slurm          the jobs, as of then
  multihead restore --latest --all                             everything, onto a fresh cluster`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.restore(cmd.Context(), f) },
	}
	f.reach.flags(cmd)
	f.choice(cmd)
	cmd.MarkFlagsOneRequired("latest", "id")
	fl := cmd.Flags()
	fl.Var(choice{&f.only, []string{backup.OnlyDatabase, backup.OnlyRedis, backup.OnlySlurm, backup.OnlyVolume, backup.OnlyConfigs}}, "only",
		"replace this, though it exists: database, redis, slurm, volume or configs")
	fl.BoolVar(&f.all, "all", false, "replace everything that the snapshot has")
	fl.StringSliceVar(&f.databases, "database", nil, "these `databases` alone")
	fl.BoolVar(&f.dryRun, "dry-run", false, "show what would be done; change nothing")
	fl.BoolVarP(&f.yes, "yes", "y", false, "do it without asking; what replaces something still needs --confirm")
	fl.StringVar(&f.confirm, "confirm", "", "the cluster's `name`, typed: needed where something is replaced")
	cmd.MarkFlagsMutuallyExclusive("all", "only")
	cmd.MarkFlagsMutuallyExclusive("all", "database")
	return cmd
}

func (a *app) restore(ctx context.Context, f restoreFlags) error {
	if f.id != "" && !backup.ValidID(f.id) {
		return usageError(fmt.Errorf("%q is no snapshot id; multihead backup list shows them", f.id))
	}
	if f.only != "" && f.only != backup.OnlyDatabase && len(f.databases) > 0 {
		return usageError(errors.New("--database goes with --only database"))
	}
	if f.all {
		f.only = backup.All
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
	var want backup.Restore
	stamp := run.sess.view.Input.Stamp
	run.planner = func(ctx context.Context) (plan.Plan, error) {
		var err error
		if want, err = run.wanted(ctx, f, stamp); err != nil {
			return plan.Plan{}, err
		}
		want.Warn = a.warnings
		return want.Plan()
	}
	if err := a.propose(ctx, run); err != nil {
		a.saySkipped(run)
		return err
	}
	for _, n := range want.Left() {
		fmt.Fprintf(a.stderr, a.tr("%s exists and is left alone; --only database --database %s replaces it\n"), n, n)
	}
	run.question = func(ctx context.Context) error { return a.sureToRestore(ctx, run, want, f) }
	return a.onceAgreed(ctx, run, func() error {
		a.say(a.tr("Nothing is missing of what the snapshot has."))
		return nil
	}, func() error {
		if err := a.apply(ctx, run); err != nil {
			return err
		}
		a.say(fmt.Sprintf(a.tr("Restored from %s, compared, and on every head that answered."), want.Snapshot.ID))
		if len(want.Configs) > 0 {
			fmt.Fprintln(a.stdout, a.tr("Daemons read configuration files when they start: look at multihead plan, and restart what reads them."))
		}
		return nil
	})
}

// wanted looks at what there is, and says what is to be brought back.
func (run *upRun) wanted(ctx context.Context, f restoreFlags, stamp string) (backup.Restore, error) {
	c := run.sess.file
	r := backup.Restore{Cluster: c, Only: f.only, Named: f.databases, Stamp: strings.ReplaceAll(strings.TrimSuffix(stamp, "Z"), "T", "_"), Silent: run.sess.view.Unreached()}
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
		// Where it is off, a restore that was cut off may have left it so.
		if slices.ContainsFunc(slurm.DBDHosts(c), func(d config.Controller) bool { return d.Hostname == h.Name }) {
			r.Slurmdbd = append(r.Slurmdbd, h.Name)
		}
		if health[config.Slurm].Nodes[h.Name].Role == "primary" {
			r.InCharge = h.Name
		}
	}
	fit := r.Heads
	if len(c.HeadsWith(config.MariaDB)) == 0 {
		fit = names(run.reachedHeads())
	}
	var have []string
	for _, n := range fit {
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
	return r, run.present(ctx, &r)
}

// present looks at what the head that does the work, and the others, have now.
func (run *upRun) present(ctx context.Context, r *backup.Restore) error {
	c, reader := run.sess.file, run.sess.view.Hosts[r.Head]
	var err error
	if len(c.HeadsWith(config.MariaDB)) > 0 {
		if r.Existing, err = backup.Schemas(ctx, reader, c.Database.MariaDB.RootPassword); err != nil {
			return fmt.Errorf("which databases there are on %s: %w", r.Head, err)
		}
	}
	if r.Running, err = backup.Running(ctx, reader); err != nil {
		return err
	}
	if r.Only != backup.OnlyConfigs && r.Only != backup.All || !r.Snapshot.Has(backup.Configs) {
		return nil
	}
	list, err := backup.ReadConfigs(ctx, reader, c.SharedStorage.Backup.Path, r.Snapshot.ID)
	if err != nil {
		return err
	}
	r.Configs, err = backup.Changed(ctx, list, run.sess.view.Readers())
	return err
}

// sureToRestore asks: for a yes, and for the cluster's name where something is
// replaced.
func (a *app) sureToRestore(ctx context.Context, run *upRun, want backup.Restore, f restoreFlags) error {
	name, replaces := run.sess.file.Info.ClusterName, want.Replaces()
	if len(replaces) == 0 {
		return a.ask(ctx, f.upFlags)
	}
	what := strings.Join(replaces, ", ")
	return a.typedClusterOr(ctx, f.confirm, name, fmt.Sprintf(a.tr("%s will be as of %s. Type the cluster's name (%s) to go on: "), what, want.Snapshot.ID, name),
		fmt.Sprintf(a.tr("nothing was changed: %s would be replaced; say --confirm %s"), what, name))
}
