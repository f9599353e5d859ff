package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"multihead/internal/agent"
	"multihead/internal/backup"
	"multihead/internal/cluster"
	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
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

Keep ` + backup.KeyFile + ` somewhere else as well: without it nobody reads a
snapshot, and it is in none.`,
		Example: `  multihead backup create           make one now
  multihead backup list             what there is, where, and when it was verified
  multihead backup verify --latest  read it back on every head and compare
  multihead backup prune            forget what is older than the file asks for`,
	}
	cmd.AddCommand(newBackupCreateCmd(a), newBackupListCmd(a), newBackupVerifyCmd(a), newBackupPruneCmd(a))
	return cmd
}

// backupFlags is what the verbs below backup are told.
type backupFlags struct {
	upFlags
	full, scheduled, latest, deep bool
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
		Example: "  multihead backup verify            all of them\n  multihead backup verify --latest\n  multihead backup verify --id 20261122_030000 --deep",
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.backupVerify(cmd.Context(), f) },
	}
	f.reach.flags(cmd)
	f.choice(cmd)
	cmd.Flags().BoolVar(&f.deep, "deep", false, "read the whole repositories as well, the volume's files among them")
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

func (a *app) backupCreate(ctx context.Context, f backupFlags) error {
	if f.scheduled {
		if a.configPath == "" {
			a.configPath = agentd.ConfigFile
		}
		yes, name, err := leadsHere(ctx)
		if err != nil {
			return err
		}
		if !yes {
			fmt.Fprintf(a.stdout, "%s does not act for the cluster: another head makes the snapshot\n", name)
			return nil
		}
	}
	run, err := a.backupSession(ctx, f)
	if err != nil {
		if c := new(exitError); f.scheduled && errors.As(err, &c) && c.code == exitConfig {
			fmt.Fprintln(a.stdout, c.err) // switched off since the timer was set
			return nil
		}
		return err
	}
	defer run.sess.close()
	a.saySkipped(run)
	health, err := run.healths(ctx)
	if err != nil {
		return err
	}
	heads := run.reachedHeads()
	maker, err := backup.Choose(run.sess.file, names(heads), health)
	if err != nil {
		return err
	}
	cr := backup.Create{Cluster: run.sess.file, Tool: version, Begin: time.Now(), Full: f.full, Reached: heads, Missing: run.sess.view.Unreached()}
	for _, h := range heads {
		if h.Name == maker {
			cr.Maker = h
		} else {
			cr.Others = append(cr.Others, h)
		}
	}
	if err := a.carryBackup(ctx, run, cr.Plan(), true); err != nil || f.dryRun {
		return err
	}
	fmt.Fprintf(a.stdout, a.tr("Snapshot %s is on %s, read back and whole.\n"), cr.ID(), strings.Join(names(heads), ", "))
	if f.scheduled {
		if err := a.pruneWhat(ctx, run, true); err != nil {
			return err
		}
	}
	if left := run.sess.view.Unreached(); len(left) > 0 && f.scheduled {
		// Status says that the head is off; made again, the snapshot would lack
		// the same copy.
		fmt.Fprintf(a.stdout, a.tr("%s was not reached and has no copy")+"\n", strings.Join(left, ", "))
	} else if len(left) > 0 {
		return &exitError{exitFailed, fmt.Errorf(a.tr("%s was not reached and has no copy"), strings.Join(left, ", "))}
	}
	return nil
}

// carryBackup shows what is to be done, asks where something could be lost, and
// does it.
func (a *app) carryBackup(ctx context.Context, run *upRun, p plan.Plan, sure bool) error {
	var err error
	if run.prop, err = plan.Propose(ctx, p, run.sess.view.Readers()); err != nil {
		return fmt.Errorf("nothing was changed: what is needed cannot be told: %w", err)
	}
	if !a.quiet && (run.flags.dryRun || !sure) {
		a.showPlan(run)
	}
	if run.flags.dryRun {
		a.sayNothingChanged()
		return nil
	}
	if !sure {
		if err := a.ask(run.flags); err != nil {
			return err
		}
	}
	return a.apply(ctx, run)
}

// listed is what `backup list -o json` prints of a snapshot.
type listed struct {
	ID       string            `json:"id"`
	Time     time.Time         `json:"time"`
	Host     string            `json:"host"`
	Items    []string          `json:"items"`
	Full     bool              `json:"full"`
	Bytes    int64             `json:"bytes"`
	Heads    []string          `json:"heads"`
	Bad      map[string]string `json:"bad"`
	Verified *time.Time        `json:"verified"`
	Software map[string]string `json:"software"`
	Warnings []string          `json:"warnings"`
}

func (a *app) backupList(ctx context.Context, f backupFlags) error {
	f.lookOnly = true
	run, err := a.backupSession(ctx, f)
	if err != nil {
		return err
	}
	defer run.sess.close()
	a.saySkipped(run)
	held := backup.Look(ctx, run.sess.view.Readers(), run.sess.file.SharedStorage.Backup.Path)
	list := backup.Merge(held)
	problems := a.sayUnreadable(held)
	if *f.output == "json" {
		out := struct {
			Version   int      `json:"version"`
			Snapshots []listed `json:"snapshots"`
			Problems  []string `json:"problems"`
		}{1, []listed{}, problems}
		for _, s := range list {
			l := listed{ID: s.ID, Time: s.Time, Host: s.Host, Items: s.Items, Full: s.Full, Bytes: s.Bytes, Heads: append([]string{}, s.On...), Bad: s.Bad, Software: s.Software, Warnings: append([]string{}, s.Warnings...)}
			if !s.Verified.IsZero() {
				l.Verified = &s.Verified
			}
			out.Snapshots = append(out.Snapshots, l)
		}
		return a.printJSON(out)
	}
	if len(list) == 0 {
		fmt.Fprintln(a.stdout, a.tr("There is no snapshot yet: multihead backup create makes one."))
		return nil
	}
	printSnapshots(a.stdout, list, backup.Zone(run.sess.file))
	return nil
}

func printSnapshots(w io.Writer, list []backup.Snapshot, zone *time.Location) {
	fmt.Fprintf(w, "%-16s  %-20s  %-12s  %8s  %-24s  %-16s  %s\n", "ID", "TIME", "MADE BY", "SIZE", "ON", "VERIFIED", "ITEMS")
	for _, s := range list {
		verified := "no"
		if !s.Verified.IsZero() {
			verified = s.Verified.In(zone).Format("2006-01-02 15:04")
		}
		fmt.Fprintf(w, "%-16s  %-20s  %-12s  %8s  %-24s  %-16s  %s\n", s.ID, s.Time.In(zone).Format(time.DateTime), s.Host, backup.Size(s.Bytes),
			strings.Join(s.On, ","), verified, strings.Join(s.Items, ","))
		for _, h := range slices.Sorted(maps.Keys(s.Bad)) {
			fmt.Fprintf(w, "  %s: DAMAGED: %s\n", h, s.Bad[h])
		}
		for _, warning := range s.Warnings {
			fmt.Fprintf(w, "  %s\n", warning)
		}
	}
}

func (a *app) sayUnreadable(held map[string]backup.Held) []string {
	out := []string{}
	for _, n := range slices.Sorted(maps.Keys(held)) {
		h := held[n]
		if h.Err != nil {
			out = append(out, fmt.Sprintf("%s: %v", n, h.Err))
		}
		for _, u := range h.Unknown {
			out = append(out, fmt.Sprintf("%s: %s", n, u))
		}
	}
	for _, line := range out {
		fmt.Fprintln(a.stderr, line)
	}
	return out
}

func (a *app) backupVerify(ctx context.Context, f backupFlags) error {
	if f.id != "" && !backup.ValidID(f.id) {
		return usageError(fmt.Errorf("%q is no snapshot id; multihead backup list shows them", f.id))
	}
	run, err := a.backupSession(ctx, f)
	if err != nil {
		return err
	}
	defer run.sess.close()
	a.saySkipped(run)
	root := run.sess.file.SharedStorage.Backup.Path
	held := backup.Look(ctx, run.sess.view.Readers(), root)
	bad := a.sayUnreadable(held)
	on, err := whatToVerify(held, f)
	if err != nil {
		return err
	}
	// One that is damaged keeps no other from being read.
	var errs []error
	for _, h := range slices.Sorted(maps.Keys(on)) {
		for _, id := range on[h] {
			err := a.carryBackup(ctx, run, backup.Verify(root, map[string][]string{h: {id}}, f.deep), true)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			fmt.Fprintf(a.stdout, a.tr("%s on %s: whole\n"), id, h)
		}
	}
	if len(bad) > 0 {
		errs = append(errs, errors.New(strings.Join(bad, "; ")))
	}
	if err := errors.Join(errs...); err != nil {
		return &exitError{exitFailed, err}
	}
	return nil
}

func whatToVerify(held map[string]backup.Held, f backupFlags) (map[string][]string, error) {
	list := backup.Merge(held)
	if len(list) == 0 {
		return nil, &exitError{exitFailed, errors.New("there is no snapshot")}
	}
	id := f.id
	if f.latest {
		id = list[len(list)-1].ID
	}
	on := map[string][]string{}
	for n, h := range held {
		for _, s := range h.Stored {
			if id == "" || s.ID == id {
				on[n] = append(on[n], s.ID)
			}
		}
	}
	if len(on) == 0 {
		return nil, &exitError{exitFailed, fmt.Errorf("no head has the snapshot %s; multihead backup list shows what there is", id)}
	}
	return on, nil
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
