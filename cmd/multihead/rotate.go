package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"multihead/internal/config"
	"multihead/internal/plan"
	"multihead/internal/service"
	"multihead/internal/service/agentd"
	"multihead/internal/service/all"
	"multihead/internal/service/base"
)

// rotateFlags is what the verbs below rotate are told.
type rotateFlags struct {
	upFlags
	olderThan time.Duration
	without   []string
	finish    bool
}

func newRotateCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Change passwords, the munge key or the agents' certificates while the cluster serves",
		Example: `  multihead rotate passwords              those that were changed in the cluster file
  multihead rotate passwords --finish     once all clients have them: the old ones are refused
  multihead rotate munge
  multihead rotate certificates`,
	}
	cmd.AddCommand(newRotatePasswordsCmd(a), newRotateMungeCmd(a), newRotateCertificatesCmd(a))
	return cmd
}

// youngest is the age up to which a key or an authority is not replaced: the same
// command said twice changes nothing.
const youngest = time.Hour

func (f *rotateFlags) age(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&f.olderThan, "older-than", youngest, "only what is older than this `time`; 0s replaces it in any case")
}

func newRotateMungeCmd(a *app) *cobra.Command {
	var f rotateFlags
	cmd := &cobra.Command{
		Use:   "munge",
		Short: "Give all hosts a new munge key",
		Long: `Lays a new key beside the old one on all heads and compute nodes, then changes over
on all of them at once and has each prove itself to the others. Jobs go on; for about
the second that munge takes to restart, Slurm's commands may be refused. Where a host
fails, all have the old key again.

A host that does not answer would be shut out: it is refused, unless it is a compute
node named with --without. The same command gives it the key later. It also goes on
where a run was cut off.

Exit code: 0 done, or the key is not older than --older-than; 1 failed or refused; 64
usage; 75 another run is at work.`,
		Example: `  multihead rotate munge --dry-run
  multihead rotate munge --older-than 2160h --yes      for a timer: every 90 days
  multihead rotate munge --without node017`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.rotateMunge(cmd.Context(), f) },
	}
	f.changing(cmd)
	f.age(cmd)
	cmd.Flags().StringSliceVar(&f.without, "without", nil, "compute `nodes` that do not answer and get the key later")
	return cmd
}

func newRotateCertificatesCmd(a *app) *cobra.Command {
	var f rotateFlags
	cmd := &cobra.Command{
		Use:   "certificates",
		Short: "Give the agents a new authority and new certificates",
		Long: `Has every agent trust a new authority beside the old one, gives each a certificate
of the new one, then has all forget the old one: one agent after the other, each
hearing all others before the next. A run that was cut off is continued by the same
command. Certificates that end soon need none of this: up renews them.

Exit code: 0 done, or the authority is not older than --older-than; 1 failed or
refused; 64 usage; 75 another run is at work.`,
		Example: `  multihead rotate certificates --dry-run
  multihead rotate certificates --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.rotateCertificates(cmd.Context(), f) },
	}
	f.changing(cmd)
	f.age(cmd)
	return cmd
}

// rotation opens a run of one of the verbs.
func (a *app) rotation(ctx context.Context, f rotateFlags, checks ...func(*config.Cluster) error) (*upRun, error) {
	run, err := a.openRun(ctx, f.upFlags, aimUp, checks...)
	if err == nil {
		run.again = "the same command again carries on; the record of this run is "
	}
	return run, err
}

// mayRekey checks what --without names, and that there is a key.
func (f *rotateFlags) mayRekey(c *config.Cluster) error {
	if err := checkHosts(c, f.without); err != nil {
		return err
	}
	for _, name := range f.without {
		if _, head := c.Head(name); head {
			return usageError(fmt.Errorf("--without %s: it is a head; a head that misses the new key is shut out of Slurm", name))
		}
	}
	if len(c.HeadsWith(config.Slurm)) == 0 {
		return usageError(errors.New("no head of the cluster file has slurm, so there is no munge key"))
	}
	return nil
}

func (a *app) rotateMunge(ctx context.Context, f rotateFlags) error {
	run, err := a.rotation(ctx, f, f.mayRekey)
	if err != nil {
		return err
	}
	defer run.sess.close()
	r := &base.KeyRotation{OlderThan: f.olderThan, Without: f.without}
	if r.Fresh, err = base.NewMungeKey(); err != nil {
		return err
	}
	var age time.Duration
	run.planner = func(ctx context.Context) (plan.Plan, error) {
		keys := base.ObserveMungeKeys(ctx, run.sess.view.Input)
		age = keys.Age()
		ph, err := keys.Plan(r)
		return plan.Plan{Phases: []plan.Phase{ph}}, err
	}
	return a.rotate(ctx, run, func() string {
		return fmt.Sprintf(a.tr("No changes: all hosts have one munge key, made %s ago. --older-than 0s replaces it all the same."), age.Round(time.Second))
	}, a.tr("All hosts have the new munge key, and each has proven it."))
}

func (a *app) rotateCertificates(ctx context.Context, f rotateFlags) error {
	run, err := a.rotation(ctx, f)
	if err != nil {
		return err
	}
	defer run.sess.close()
	r, err := agentd.NewRotation(run.sess.file.Info.ClusterName, f.olderThan, time.Now())
	if err != nil {
		return err
	}
	var age time.Duration
	run.planner = func(ctx context.Context) (plan.Plan, error) {
		if err := run.sess.observe(ctx, []service.Service{agentd.New()}); err != nil {
			return plan.Plan{}, err
		}
		state, ok := run.sess.view.States[agentd.Name].(*agentd.State)
		if !ok {
			return plan.Plan{}, errors.New("the agents could not be looked at")
		}
		age = state.AuthorityAge()
		ph, err := state.Rotate(r)
		return plan.Plan{Phases: []plan.Phase{ph}}, err
	}
	return a.rotate(ctx, run, func() string {
		return fmt.Sprintf(a.tr("No changes: the agents' authority was made %s ago. --older-than 0s replaces it all the same."), age.Round(time.Second))
	}, a.tr("The agents know each other by the new authority alone."))
}

// rotate carries a rotation out that is one plan: shown, asked, locked, applied, and
// looked at again.
func (a *app) rotate(ctx context.Context, run *upRun, nothing func() string, done string) error {
	if err := a.propose(ctx, run); err != nil {
		return err
	}
	return a.onceAgreed(ctx, run, func() error {
		a.say(nothing())
		return nil
	}, func() error {
		if err := a.applyAll(ctx, run); err != nil {
			return err
		}
		a.say(done)
		return nil
	})
}

// applyAll applies what was agreed, and what its result shows to be needed still.
func (a *app) applyAll(ctx context.Context, run *upRun) error {
	for round := 1; !run.prop.Empty(); round++ {
		if round > maxRounds {
			return &exitError{exitFailed, errors.New(a.tr("the plan was carried out, and this is still needed: run the command again; if it stays, look at the lines above"))}
		}
		if err := a.apply(ctx, run); err != nil {
			return err
		}
		if err := a.propose(ctx, run); err != nil {
			return fmt.Errorf("the plan was carried out, and then: %w", err)
		}
	}
	return nil
}

// healthy refuses where something is wrong already, or a host does not answer: it
// would miss the rotation.
func (a *app) healthy(ctx context.Context, run *upRun) error {
	if err := run.sess.observe(ctx, all.Services()); err != nil {
		return err
	}
	var wrong []string
	for _, p := range run.sess.view.Status(nil).Problems {
		wrong = append(wrong, strings.TrimSpace("  "+problemLine(p, palette{})))
	}
	if len(wrong) == 0 {
		return nil
	}
	return &service.Refusal{Service: "passwords", Reason: a.tr("the cluster is not well, and what is away now would miss the rotation:") + "\n  " + strings.Join(wrong, "\n  "),
		Remedy: a.tr("Mend that first: multihead status, multihead up.")}
}
