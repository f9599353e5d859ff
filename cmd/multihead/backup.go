package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"multihead/internal/agent"
	"multihead/internal/backup"
	"multihead/internal/cluster"
	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/lab"
	"multihead/internal/service"
	"multihead/internal/service/agentd"
	"multihead/internal/service/all"
)

func newBackupCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Make, list, verify and forget snapshots of the cluster's state",
		Long: `A snapshot has the databases, Redis, Slurm's state, the volume's layout and the
configuration of all heads, each as the file's shared_storage.backup.items say.
One head that does not hold the virtual address makes it; every head keeps a
copy on its own disk, encrypted and deduplicated by restic. Nothing is stopped.

Keep ` + backup.KeyFile + ` and the cluster file somewhere else as well: without
the key nobody reads a snapshot, and it is in none.`,
		Example: `  multihead backup create           make one now
  multihead backup list             what there is, where, and when it was verified
  multihead backup verify --latest  read it back on every head and compare
  multihead backup verify --restore-in-lab   bring it back, in a lab, and compare
  multihead backup prune            forget what is older than the file asks for`,
	}
	cmd.AddCommand(newBackupCreateCmd(a), newBackupListCmd(a), newBackupVerifyCmd(a), newBackupPruneCmd(a), newBackupImportCmd(a))
	return cmd
}

// backupFlags is what the verbs below backup are told.
type backupFlags struct {
	upFlags
	full, scheduled, latest, deep bool
	inLab, keep                   bool
	id                            string
}

func newBackupCreateCmd(a *app) *cobra.Command {
	var f backupFlags
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a snapshot now, copy it to every head, read every copy back",
		Example: `  multihead backup create
  multihead backup create --full     read all files of the volume again, and the whole repositories
  multihead backup create --dry-run  show what would be done`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.backupCreate(cmd.Context(), f) },
	}
	f.reach.flags(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&f.full, "full", false, "trust no time stamp and read the whole repositories: slower")
	fl.BoolVar(&f.dryRun, "dry-run", false, "show what would be done; change nothing")
	fl.BoolVar(&f.scheduled, "scheduled", false, "for the timer on each head: only where this head acts for the cluster; prune afterwards")
	return cmd
}

func newBackupListCmd(a *app) *cobra.Command {
	var f backupFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List the snapshots, and which heads have them", Args: cobra.NoArgs,
		Example: "  multihead backup list\n  multihead backup list -o json",
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.backupList(cmd.Context(), f) },
	}
	f.reach.flags(cmd)
	f.output = formatFlag(cmd, "table", "json")
	return cmd
}

func newBackupVerifyCmd(a *app) *cobra.Command {
	var f backupFlags
	cmd := &cobra.Command{
		Use: "verify", Short: "Read snapshots back from every head's disk and compare them with what was stored", Args: cobra.NoArgs,
		Long: `Reads snapshots back on the heads that have them, and compares them with their
checksums.

With --restore-in-lab one snapshot is rehearsed: hosts are made on this machine,
in a network that nothing leads out of; the cluster is formed there by the file
that the snapshot has, everything is restored, and every database, key, job and
file is compared. Of the real cluster only the snapshot is read. It takes some
minutes, root, and what multihead lab setup installs; the lab is removed however
it ends, unless --keep says otherwise.

Exit code: 0 whole, and in a rehearsal all equal; 1 not, or it could not be told;
64 usage; 78 the cluster file; 130 interrupted.`,
		Example: `  multihead backup verify                   all of them
  multihead backup verify --latest
  multihead backup verify --id 20261122_030000 --deep
  multihead backup verify --restore-in-lab  rehearse the newest one: bring it back, in a lab
  multihead backup verify --restore-in-lab --id 20261122_030000 --keep`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case f.inLab:
				return a.backupRehearse(cmd.Context(), f, lab.Ready)
			case f.keep:
				return usageError(errors.New("--keep goes with --restore-in-lab"))
			}
			return a.backupVerify(cmd.Context(), f)
		},
	}
	f.reach.flags(cmd)
	f.choice(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&f.deep, "deep", false, "read the whole repositories as well, the volume's files among them")
	fl.BoolVar(&f.inLab, "restore-in-lab", false, "bring one back in a lab on this machine and compare: the newest one unless --id names it")
	fl.BoolVar(&f.keep, "keep", false, "leave the lab of a rehearsal as it is, for a look")
	cmd.MarkFlagsMutuallyExclusive("deep", "restore-in-lab")
	return cmd
}

func newBackupPruneCmd(a *app) *cobra.Command {
	var f backupFlags
	cmd := &cobra.Command{
		Use: "prune", Short: "Forget snapshots that the file's retention does not keep", Args: cobra.NoArgs,
		Example: "  multihead backup prune --dry-run\n  multihead backup prune --yes",
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.backupPrune(cmd.Context(), f) },
	}
	f.reach.flags(cmd)
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "show what would be forgotten; change nothing")
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "do it without asking")
	return cmd
}

func (f *backupFlags) choice(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.latest, "latest", false, "the newest snapshot that is whole")
	cmd.Flags().StringVar(&f.id, "id", "", "the snapshot of this `id`, as backup list shows it")
	cmd.MarkFlagsMutuallyExclusive("latest", "id")
}

// backupSession reaches the heads: over SSH for a person, through the agents for
// a timer.
func (a *app) backupSession(ctx context.Context, f backupFlags) (*upRun, error) {
	c, err := a.loadCluster()
	if err != nil {
		return nil, err
	}
	if !c.SharedStorage.Backup.Enabled {
		return nil, &exitError{exitConfig, errors.New(a.tr("backups are off in the cluster file: write shared_storage.backup.enabled: true, then multihead up"))}
	}
	run := &upRun{flags: f.upFlags, report: &upReport{}, again: a.tr("the record of this run is ")}
	var specs []config.HostSpec
	for _, h := range c.Nodes.Controllers {
		specs = append(specs, h.HostSpec)
	}
	if !f.scheduled {
		run.sess, err = a.open(ctx, c, specs, f.reach)
		return run, err
	}
	run.sess, err = a.openByAgents(ctx, c, specs)
	return run, err
}

// openByAgents reaches the heads as agents do.
func (a *app) openByAgents(ctx context.Context, c *config.Cluster, specs []config.HostSpec) (*session, error) {
	name, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	connect, err := agent.Connector(agent.Options{Name: name, Version: version, Cluster: c, Local: host.NewLocal(name), Services: all.Services()})
	if err != nil {
		return nil, err
	}
	view, err := cluster.Reach(ctx, c, specs, connect)
	if err != nil {
		return nil, err
	}
	view.Local = name
	return &session{file: c, specs: specs, view: view}, nil
}

// reachedHeads are the heads that answered, in the file's order.
func (run *upRun) reachedHeads() []backup.Head {
	var out []backup.Head
	for _, h := range run.sess.file.Nodes.Controllers {
		if r, ok := run.sess.view.Hosts[h.Hostname]; ok {
			out = append(out, backup.Head{Name: h.Hostname, Address: h.Address.String(), Reader: r})
		}
	}
	return out
}

func names(heads []backup.Head) []string {
	var out []string
	for _, h := range heads {
		out = append(out, h.Name)
	}
	return out
}

// healths asks the services how they are.
func (run *upRun) healths(ctx context.Context) (map[string]service.Health, error) {
	if err := run.sess.observe(ctx, servicesButBase()); err != nil {
		return nil, err
	}
	out := map[string]service.Health{}
	for n, s := range run.sess.view.States {
		out[n] = s.Health()
	}
	return out, nil
}

// leadsHere says whether this head acts for the cluster, and who does.
func leadsHere(ctx context.Context) (bool, string, error) {
	name, err := os.Hostname()
	if err != nil {
		return false, "", err
	}
	r, err := agentd.Ask(ctx, host.NewLocal(name))
	if err != nil {
		return false, "", fmt.Errorf("this head's agent, which knows who acts for the cluster: %w", err)
	}
	return r.Leads, name, nil
}

func (a *app) backupPrune(ctx context.Context, f backupFlags) error {
	f.lookOnly = f.dryRun
	run, err := a.backupSession(ctx, f)
	if err != nil {
		return err
	}
	defer run.sess.close()
	a.saySkipped(run)
	return a.pruneWhat(ctx, run, f.yes)
}

// pruneWhat forgets, on every head by itself, what its retention does not keep.
func (a *app) pruneWhat(ctx context.Context, run *upRun, sure bool) error {
	b := run.sess.file.SharedStorage.Backup
	held := backup.Look(ctx, run.sess.view.Readers(), b.Path)
	a.sayUnreadable(held)
	on := backup.Excess(held, b.Retention, backup.Zone(run.sess.file))
	if len(on) == 0 {
		fmt.Fprintln(a.stdout, a.tr("Nothing to forget: the retention keeps every snapshot there is."))
		return nil
	}
	return a.carryBackup(ctx, run, backup.Forget(b.Path, on), sure)
}
