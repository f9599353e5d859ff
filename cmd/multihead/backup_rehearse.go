package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"multihead/internal/backup"
	"multihead/internal/cluster"
	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/lab"
	"multihead/internal/plan"
	"multihead/internal/service/agentd"
)

// rehearsal brings a snapshot back on hosts that are made for it. Of the real
// cluster it has the one head that the snapshot is read from, to look at only:
// everything that changes something goes to the lab.
type rehearsal struct {
	*app
	snap  backup.Snapshot
	from  host.Reader
	store repository
	name  string // of the lab
	spec  lab.Spec
	of    *config.Cluster // the file that the snapshot has
	heads []string        // of the rehearsal, by their names in that file

	lab    *lab.Lab
	file   *config.Cluster // the rehearsal's, with the lab's addresses
	parts  []backup.Compared
	formed time.Duration
	took   time.Duration // of the restore
}

// backupRehearse proves a snapshot by bringing it back, in a lab on this machine, where
// ready says that one can be made.
func (a *app) backupRehearse(ctx context.Context, f backupFlags, ready func() error) error {
	if f.id != "" && !backup.ValidID(f.id) {
		return usageError(fmt.Errorf("%q is no snapshot id; multihead backup list shows them", f.id))
	}
	if err := ready(); err != nil {
		return &exitError{exitFailed, fmt.Errorf("%s\n%w", a.tr("nothing was done: a rehearsal makes a lab on the machine that it is started on, and that cannot be made here:"), err)}
	}
	// A lab is taken down however this ends, so that a Ctrl-C ends what runs and
	// not the tool.
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	f.lookOnly = true // the heads refuse every change
	real, err := a.backupSession(ctx, f)
	if err != nil {
		return err
	}
	defer real.sess.close()
	a.saySkipped(real)
	r, err := a.newRehearsal(ctx, real.sess.file, real.sess.view.Readers(), f.id)
	if err != nil {
		return err
	}
	err = r.perform(ctx, real.sess.file)
	if f.keep {
		r.sayKept()
	} else {
		err = errors.Join(err, lab.Down(context.WithoutCancel(ctx), r.name, r.tellLab))
	}
	switch {
	case ctx.Err() != nil:
		return &exitError{exitInterrupted, errors.Join(errors.New(a.tr("interrupted")), err)}
	case err != nil:
		return &exitError{exitFailed, err}
	}
	fmt.Fprintf(a.stdout, a.tr("The snapshot %s came back whole: formed in %s, restored in %s.\n"), r.snap.ID, clock(r.formed), clock(r.took))
	return nil
}

// newRehearsal finds the snapshot, and the file that it has. It only looks, and
// refuses what could not be rehearsed.
func (a *app) newRehearsal(ctx context.Context, c *config.Cluster, heads map[string]host.Reader, id string) (*rehearsal, error) {
	root := c.SharedStorage.Backup.Path
	held := backup.Look(ctx, heads, root)
	a.sayUnreadable(held)
	r := &rehearsal{app: a, name: rehearsalName(c.Info.ClusterName)}
	names, err := lab.Names()
	if err != nil {
		return nil, err
	}
	if slices.Contains(names, r.name) {
		return nil, &exitError{exitFailed, fmt.Errorf(a.tr("nothing was done: the lab %[1]s is there already, of a rehearsal that runs, was kept or was killed. multihead lab down --name %[1]s removes it"), r.name)}
	}
	if r.snap, err = backup.Pick(backup.Merge(held), id); err != nil {
		return nil, a.refusals(err)
	}
	head := r.snap.On[0]
	r.from = heads[head]
	stored := held[head].Stored
	i := slices.IndexFunc(stored, func(s backup.Stored) bool { return s.ID == r.snap.ID })
	r.store = repository{from: r.from, layout: backup.Layout{Root: root}, snapshot: stored[i].Restic}
	if r.of, err = a.fileOf(ctx, c, r.from, root, r.snap); err != nil {
		return nil, err
	}
	for _, h := range r.of.Nodes.Controllers[:backup.Rehearsed(r.of)] {
		r.heads = append(r.heads, h.Hostname)
	}
	bytes, err := r.store.size(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", head, err)
	}
	r.spec = rehearsalSpec(r.name, len(r.heads), backup.RehearsalImage(r.snap.Software), bytes, r.snap.Bytes)
	return r, a.roomFor(r.spec, bytes, r.snap.Bytes)
}

// fileOf is the cluster file that the snapshot has, or the one at hand where it has
// none.
func (a *app) fileOf(ctx context.Context, c *config.Cluster, from host.Reader, root string, snap backup.Snapshot) (*config.Cluster, error) {
	if snap.Has(backup.Configs) {
		list, err := backup.ReadConfigs(ctx, from, root, snap.ID)
		if err != nil {
			return nil, err
		}
		of, found, err := backup.FileOf(list, agentd.ConfigFile, append([]string{snap.Host}, snap.Heads...))
		if found || err != nil {
			return of, err
		}
	}
	fmt.Fprintln(a.stderr, a.tr("The snapshot has no cluster file (items: configs): the rehearsal is formed by the one at hand."))
	return c, nil
}

// rehearsalName is the lab of a cluster's rehearsals: a lab's name is short.
func rehearsalName(clusterName string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(clusterName))
	return "rehearsal-" + name[:min(len(name), 14)]
}

// rehearsalSpec is a lab with room for a repository of so many bytes, and for what
// comes out of it: files of the volume may take three times what restic makes of
// them, and databases twice what was collected, in tables and in their logs. The
// disks are sparse.
func rehearsalSpec(name string, heads int, image string, stored, collected int64) lab.Spec {
	return lab.Spec{Name: name, Heads: heads, Image: image,
		Data: lab.DefaultData + 7*stored + 3*collected, System: lab.DefaultSystem + 6*collected}
}

// roomFor refuses where the machine's disk is too small for what will be written.
func (a *app) roomFor(spec lab.Spec, stored, collected int64) error {
	need := stored + int64(spec.Heads)*(1<<30+3*stored+4*collected)
	var st syscall.Statfs_t
	dir := lab.Dir()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := syscall.Statfs(dir, &st); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	free := int64(st.Bavail) * st.Bsize //nolint:gosec // no disk is that large
	if free < need {
		return &exitError{exitFailed, fmt.Errorf(a.tr("nothing was done: %[1]s has %[2]s free, and the rehearsal may take %[3]s. Make room, or name another disk's directory in %[4]s"),
			dir, backup.Size(free), backup.Size(need), lab.DirVariable)}
	}
	return nil
}

// perform carries the rehearsal out as a run of its own, on record like any other,
// and prints what came back.
func (r *rehearsal) perform(ctx context.Context, c *config.Cluster) error {
	_, here := whoami()
	machine := host.NewLocal(here)
	run := &upRun{report: &upReport{}, again: r.tr("the record of this run is "),
		sess:      &session{file: c, view: &cluster.View{Cluster: c, Hosts: map[string]host.Host{here: machine}}},
		interrupt: func(*plan.Engine, *progress) func() { return func() {} }, // the context ends
	}
	var err error
	if run.prop, err = plan.Propose(ctx, r.plan(here), run.sess.view.Readers()); err != nil {
		return err
	}
	if !r.quiet {
		fmt.Fprintf(r.stderr, r.tr("Rehearsing %s, read from %s, in the lab %s: %s.\n"), r.snap.ID, r.from.Name(), r.name, counted(len(r.heads), "head"))
	}
	err = r.apply(ctx, run)
	if len(r.parts) > 0 {
		r.printParts()
	}
	return err
}

// plan is the rehearsal's steps. None has an undo: the lab goes as a whole.
func (r *rehearsal) plan(here string) plan.Plan {
	ph := plan.Phase{Name: "rehearsal"}
	add := func(id, what string, do func(context.Context) error) {
		ph.Stages = append(ph.Stages, plan.Stage{Name: id, Steps: []plan.Step{{ID: "rehearsal." + id, Host: here,
			Action: plan.Func{What: what, Timeout: 12 * time.Hour, Change: func(ctx context.Context, _ host.Host) (plan.Action, error) { return nil, do(ctx) }}}}})
	}
	add("lab", fmt.Sprintf("make the lab %s, with %s of the image %s", r.name, counted(r.spec.Heads, "head"), r.spec.Image), r.makeLab)
	add("carry", "copy the snapshot from "+r.from.Name()+" into it", r.carry)
	add("form", "form the cluster there, as up does", r.form)
	add("import", "read the snapshot back there", r.bringIn)
	add("restore", "restore everything there, as restore --all does", r.restore)
	add("compare", "compare what came back with what the snapshot has", r.compare)
	return plan.Plan{Phases: []plan.Phase{ph}}
}

// makeLab makes the hosts, gives them the names of the heads, for services go by
// those, and writes the cluster file.
func (r *rehearsal) makeLab(ctx context.Context) error {
	var err error
	if r.lab, err = lab.Up(ctx, r.spec, r.tellLab); err != nil {
		return err
	}
	if err := os.Chmod(r.lab.Path(), 0o700); err != nil { //nolint:gosec // a directory: what follows is the real cluster's
		return err
	}
	stage := backup.Stage{Network: netip.MustParsePrefix(lab.Subnet), VIP: netip.MustParseAddr(lab.VIP), Login: "root", Key: r.lab.KeyPath()}
	for i, h := range r.lab.Hosts() {
		stage.Heads = append(stage.Heads, h.Address)
		if h.Name == r.heads[i] {
			continue
		}
		if _, err := h.Exec(ctx, "sh", "-c", `hostnamectl set-hostname "$1" && sed -i "s/^127\.0\.1\.1.*/127.0.1.1\t$1/" /etc/hosts`, "sh", r.heads[i]); err != nil {
			return err
		}
	}
	var text string
	if text, r.file, err = stage.Render(r.of); err != nil {
		return err
	}
	return writeSecret(r.lab.ClusterFile(), text)
}

// writeSecret replaces a file by one that root alone reads.
func writeSecret(path, text string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o600)
}

// printParts shows what the snapshot has beside what came back.
func (r *rehearsal) printParts() {
	pal := r.colours(r.stdout)
	t := table.NewWriter()
	t.SetStyle(r.tableStyle())
	t.AppendHeader(table.Row{"PART", "IN THE SNAPSHOT", "IN THE REHEARSAL", "EQUAL"})
	for _, p := range r.parts {
		t.AppendRow(table.Row{p.Part, p.Snapshot, p.Back, equalWord(p.Equal, pal)})
	}
	fmt.Fprintln(r.stdout, t.Render())
	for _, p := range r.parts {
		for _, why := range p.Why {
			fmt.Fprintf(r.stdout, "  %s: %s\n", p.Part, why)
		}
	}
}

// sayKept says how to look at a lab that stays, and how to be rid of it.
func (r *rehearsal) sayKept() {
	fmt.Fprintf(r.stderr, r.tr("The lab %[1]s stays. It has the data and the passwords of the real cluster.\n"), r.name)
	fmt.Fprintf(r.stderr, "  multihead --lab=%[1]s status\n  multihead lab shell --name %[1]s server1\n  multihead lab down --name %[1]s\n", r.name)
}

// tellLab says what happens to the lab, to who wants to hear more.
func (r *rehearsal) tellLab(e lab.Event) {
	if r.verbose {
		fmt.Fprintln(r.stderr, strings.TrimSpace(e.Host+" "+e.Text))
	}
}
