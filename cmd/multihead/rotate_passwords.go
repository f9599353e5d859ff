package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"multihead/internal/config"
	"multihead/internal/plan"
	"multihead/internal/service"
	"multihead/internal/service/agentd"
)

func newRotatePasswordsCmd(a *app) *cobra.Command {
	var f rotateFlags
	cmd := &cobra.Command{
		Use:   "passwords",
		Short: "Move to the passwords that were changed in the cluster file: both are good until --finish",
		Long: `First change passwords in the cluster file, or the variables that it names: those of
database.mariadb.databases, root_password, redis.cluster.password. What is in use now
is known from the cluster itself.

MariaDB and Redis then accept the new passwords beside the old ones, and what the
cluster itself uses (slurmdbd, copies of Redis, agents) is moved to the new ones, as
up does. From then on both are good, also after a restart of a server: give your
clients the new ones in your own time. With --finish only the file's are good.

A run that was cut off leaves both good, and the same command continues it. It is
refused while anything is wrong with the cluster.

Exit code: 0 done, or nothing to do; 1 failed or refused; 64 usage; 75 another run is
at work; 78 the cluster file; 130 interrupted.`,
		Example: `  multihead rotate passwords --dry-run
  multihead rotate passwords
  multihead rotate passwords --finish     the old passwords are refused from then on`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.rotatePasswords(cmd.Context(), f) },
	}
	f.changing(cmd)
	cmd.Flags().BoolVar(&f.finish, "finish", false, "refuse the old ones; connections that are open go on")
	return cmd
}

func (a *app) rotatePasswords(ctx context.Context, f rotateFlags) error {
	run, err := a.rotation(ctx, f)
	if err != nil {
		return err
	}
	defer run.sess.close()
	c := run.sess.file
	old, err := run.inUse(ctx)
	if err != nil {
		return a.refusals(err)
	}
	switch {
	case f.finish && old != nil:
		return a.refusals(&service.Refusal{Service: "passwords", Reason: "the cluster itself does not use all passwords of the file yet",
			Remedy: "Run multihead rotate passwords first, give your clients the new ones, then finish."})
	case f.finish:
		return a.retirePasswords(ctx, run)
	case old == nil:
		return a.noneChanged(ctx, run)
	}
	if err := run.become(ctx, old); err != nil {
		return err
	}
	run.planner = func(ctx context.Context) (plan.Plan, error) {
		if err := a.healthy(ctx, run); err != nil {
			return plan.Plan{}, err
		}
		return run.sess.view.AcceptPlan(c)
	}
	if err := a.propose(ctx, run); err != nil {
		return err
	}
	run.then = a.tr("Then what the cluster itself uses is moved to the new passwords, as multihead up does. The old ones stay good.")
	return a.onceAgreed(ctx, run, nil, func() error {
		if err := a.applyAll(ctx, run); err != nil {
			return err
		}
		return a.movePasswords(ctx, run, c)
	})
}

// movePasswords brings the cluster to the file with the new passwords, once both are
// accepted everywhere.
func (a *app) movePasswords(ctx context.Context, run *upRun, c *config.Cluster) error {
	run.planner, run.then = nil, ""
	if err := run.become(ctx, c); err != nil {
		return err
	}
	if err := a.propose(ctx, run); err != nil {
		return err
	}
	if !run.prop.Empty() {
		a.offer(run)
		if err := a.agree(ctx, run); err != nil {
			return err
		}
		if err := a.rounds(ctx, run); err != nil {
			return err
		}
	}
	a.say(a.tr("The cluster uses the new passwords, and the old ones are good as well. Give your clients the new ones, then: multihead rotate passwords --finish"))
	return nil
}

// noneChanged ends a run that finds the passwords of the file in use. One that was cut
// off may have given the agents their file and not started them anew: that is done first.
func (a *app) noneChanged(ctx context.Context, run *upRun) error {
	if err := a.healthy(ctx, run); err != nil {
		return a.refusals(err)
	}
	if err := a.propose(ctx, run); err != nil {
		return err
	}
	if run.prop.Empty() {
		a.say(a.tr("No changes: the cluster uses the passwords of the file."))
		return a.sayOlder(ctx, run)
	}
	return a.onceAgreed(ctx, run, nil, func() error {
		if err := a.rounds(ctx, run); err != nil {
			return err
		}
		a.say(a.tr("The cluster uses the passwords of the file."))
		return a.sayOlder(ctx, run)
	})
}

// sayOlder says whether other passwords than those of the file are still good.
func (a *app) sayOlder(ctx context.Context, run *upRun) error {
	run.planner = run.retirePlan(a)
	if err := a.propose(ctx, run); err != nil {
		return err
	}
	if !run.prop.Empty() {
		a.say(a.tr("Older ones are good as well, until: multihead rotate passwords --finish"))
	}
	return nil
}

func (run *upRun) retirePlan(a *app) func(context.Context) (plan.Plan, error) {
	return func(ctx context.Context) (plan.Plan, error) {
		if err := a.healthy(ctx, run); err != nil {
			return plan.Plan{}, err
		}
		return run.sess.view.RetirePlan()
	}
}

// retirePasswords ends a rotation, once nothing of the cluster's own needs the old
// passwords.
func (a *app) retirePasswords(ctx context.Context, run *upRun) error {
	if err := a.propose(ctx, run); err != nil {
		return err
	}
	if !run.prop.Empty() {
		return a.refusals(&service.Refusal{Service: "passwords", Reason: "the cluster is not as the file says, so something of its own may use an old password",
			Remedy: "Run multihead up first."})
	}
	run.planner = run.retirePlan(a)
	return a.rotate(ctx, run, func() string { return a.tr("No changes: the passwords of the file are the only ones that are good.") },
		a.tr("Only the passwords of the file are good now."))
}

// inUse is the file with the passwords that the cluster itself uses, from the copies
// of its agents; nil where all of them have those of the file. Every head has to
// show its copy.
func (run *upRun) inUse(ctx context.Context) (*config.Cluster, error) {
	c := run.sess.file
	var old *config.Cluster
	var errs []error
	for _, n := range run.sess.view.Input.Heads {
		refuse := func(err error) {
			errs = append(errs, &service.Refusal{Service: "passwords", Reason: fmt.Sprintf("%s does not show what it uses now: %v", n.Name(), err),
				Remedy: "Bring it back first, or run multihead up there if it is new: a head that misses the rotation is shut out."})
		}
		if !n.Reached() {
			refuse(n.Err)
			continue
		}
		data, err := n.Reader.ReadFile(ctx, agentd.ConfigFile)
		if err != nil {
			refuse(err)
			continue
		}
		copied, _, err := config.Parse(agentd.ConfigFile, data)
		if err != nil {
			refuse(errors.New("its agent's copy of the cluster file cannot be read by this version"))
			continue
		}
		if now := withPasswordsOf(c, copied); old == nil && !samePasswords(c, now) {
			old = now
		}
	}
	return old, errors.Join(errs...)
}

// withPasswordsOf is a cluster file with the passwords of another one, where that
// has them.
func withPasswordsOf(c, other *config.Cluster) *config.Cluster {
	out := *c
	db, theirs := &out.Database.MariaDB, other.Database.MariaDB
	db.RootPassword = theirs.RootPassword
	db.Databases = slices.Clone(db.Databases)
	for i, d := range db.Databases {
		at := slices.IndexFunc(theirs.Databases, func(o config.DatabaseSpec) bool { return o.Name == d.Name && o.User == d.User })
		if at >= 0 {
			db.Databases[i].Password = theirs.Databases[at].Password
		}
	}
	out.Redis.Cluster.Password = other.Redis.Cluster.Password
	out.Slurm.Accounting.StoragePass = other.Slurm.Accounting.StoragePass
	return &out
}

// samePasswords says whether two files with the same databases have the same
// passwords.
func samePasswords(a, b *config.Cluster) bool {
	return a.Database.MariaDB.RootPassword == b.Database.MariaDB.RootPassword && a.Redis.Cluster.Password == b.Redis.Cluster.Password &&
		a.Slurm.Accounting.StoragePass == b.Slurm.Accounting.StoragePass && slices.Equal(a.Database.MariaDB.Databases, b.Database.MariaDB.Databases)
}
