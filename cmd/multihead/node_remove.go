package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/service"
)

// removeFlags is what node remove and node replace are told.
type removeFlags struct {
	upFlags
	services []string
	gone     bool
	name, ip string // of the host that takes the place

	kindText string
	kind     kindOfHost
	wait     time.Duration // for jobs on compute nodes
}

func (f *removeFlags) flags(cmd *cobra.Command) {
	f.reach.flags(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&f.gone, "gone", false, "they do not answer, are switched off, and stay off")
	fl.StringVar(&f.confirm, "confirm", "", "the cluster's `name`, typed: for scripts, in the place of the question")
	fl.BoolVar(&f.dryRun, "dry-run", false, "show what would be done; change nothing")
	f.output = formatFlag(cmd, "table", "json")
}

func newNodeRemoveCmd(a *app) *cobra.Command {
	var f removeFlags
	cmd := &cobra.Command{
		Use:   "remove HOST...",
		Short: "Take hosts out of the cluster, the others serving on, and out of the cluster file",
		Long: `Heads: moves what only these serve or hold to the others, has the others forget
them, stops their daemons for good, and takes them out of the cluster file; then
does what up does. Data stays on their disks, under other names where it would be in
the way if they came back. With --service they leave these services only.

It is refused where the others could not serve, or would hold less than all. A head
that does not answer may be serving: only where it is switched off and stays off say
--gone. What was only on it is then lost, which is refused where it can be seen.
Never switch a head on again that left in this way, before its disks are wiped.

Compute nodes take no new jobs from then on; once nothing runs on them, slurmd and
munge stop and the munge key goes. While jobs run there it is refused, unless --wait
says how long to wait for them: nothing is locked meanwhile. Jobs that ask for such a
node by name, and reservations of it, are named and have to be dealt with first. With
--gone the controller is told that they are down, and gives up what ran there.

Witnesses stop voting first: garbd, the sentinel, the agent. It is refused while a
head does not answer or is no member, for then their vote may be the one that counts.

The file is written when the hosts have left. A run that is cut off before that is
continued by the same command, and taken back by up, which leaves compute nodes
drained (scontrol update nodename=NODE state=resume); after that, up continues it.

Exit code: 0 done, 1 failed, 64 usage, 75 another run is at work, 78 the cluster
file, 130 interrupted.`,
		Example: `  multihead node remove server5
  multihead node remove server5 --dry-run
  multihead node remove server5 --service redis
  multihead node remove server3 --gone              switched off for good
  multihead node remove node003 node004 --wait 12h --yes
  multihead node remove witness1`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.reported(*f.output, func(a *app, report *upReport) error { return a.nodeRemove(cmd.Context(), f, names, report) })
		},
	}
	f.flags(cmd)
	fl := cmd.Flags()
	fl.StringSliceVar(&f.services, "service", nil, "of heads, only these `services`: glusterfs, mariadb, redis, slurm, keepalived")
	fl.StringVar(&f.kindText, "kind", "", "what they are to be no longer: head, compute or witness (default: what the file has them as; a head first)")
	fl.DurationVar(&f.wait, "wait", 0, "of compute nodes: let their jobs end, for this `time` at most (90m, 12h)")
	fl.BoolVarP(&f.yes, "yes", "y", false, "compute nodes that answer: do it without asking")
	return cmd
}

func newNodeReplaceCmd(a *app) *cobra.Command {
	var f removeFlags
	cmd := &cobra.Command{
		Use:   "replace HEAD --ip ADDRESS [--name HOSTNAME]",
		Short: "Put a fresh host in a head's place: the head leaves, the host joins with its part of the file",
		Long: `Does what node remove does for the head, gives its place in the cluster file, with
its priority and services, to the other host, and then does what up does. Without
--name the host has the same name as the head. What switches the old machine off
(fencing.devices) is taken out of the file: the new one's own is to be written there.

Exit code: 0 done, 1 failed, 64 usage, 75 another run is at work, 78 the cluster
file, 130 interrupted.`,
		Example: `  multihead node replace server3 --name server6 --ip 192.168.1.106 --gone
  multihead node replace server3 --ip 192.168.1.106 --gone`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.reported(*f.output, func(a *app, report *upReport) error { return a.nodeReplace(cmd.Context(), f, names[0], report) })
		},
	}
	f.flags(cmd)
	cmd.Flags().StringVar(&f.name, "name", "", "the new machine's own `hostname` (default: the head's)")
	cmd.Flags().StringVar(&f.ip, "ip", "", "the new machine's `address`")
	return cmd
}

func (a *app) nodeRemove(ctx context.Context, f removeFlags, names []string, report *upReport) error {
	if err := switchable(f.services); err != nil {
		return err
	}
	e, err := a.edit(func(d *config.Document, c *config.Cluster) error {
		var err error
		if f.kind, err = commonKind(c, f.kindText, names); err != nil {
			return err
		}
		if err := f.check(); err != nil {
			return err
		}
		if f.kind == kindHead {
			return drop(d, names, f.services)
		}
		return dropOther(d, f.kind, names)
	})
	if err != nil {
		return err
	}
	if e.same() {
		return a.hasLeft(ctx, f, e, names, report)
	}
	return a.leave(ctx, f, e, names, report)
}

// hasLeft is the way of services that the file has switched off already. They leave in
// order where they have not: a person wrote it there. What an earlier run was cut off
// from after that is what up does.
func (a *app) hasLeft(ctx context.Context, f removeFlags, e *edited, names []string, report *upReport) error {
	before, err := e.withServices(names, f.services)
	if err != nil {
		return err
	}
	still, err := a.stillServes(ctx, f, before, names, report)
	if err != nil {
		return err
	}
	if still {
		return a.leave(ctx, f, before, names, report)
	}
	run := &upRun{flags: f.upFlags, report: report, intent: service.Intent{Mode: service.Auto}}
	run.flags.lookOnly = f.dryRun
	run.question = func(ctx context.Context) error { return a.agreeToLeave(ctx, f, e, names) }
	if run.sess, err = a.open(ctx, e.after, e.after.AllHosts(), run.flags.reach); err != nil {
		return err
	}
	defer run.sess.close()
	if err := a.idle(ctx, run); err != nil {
		return err
	}
	if err := a.propose(ctx, run); err != nil {
		return err
	}
	return a.carryOut(ctx, run)
}

// stillServes says whether anything of the services is left to leave. It only looks.
func (a *app) stillServes(ctx context.Context, f removeFlags, e *edited, names []string, report *upReport) (bool, error) {
	f.lookOnly = true
	run := f.run(e, names, report)
	var err error
	if run.sess, err = a.open(ctx, e.before, e.before.AllHosts(), f.reach); err != nil {
		return false, err
	}
	defer func() { run.sess.close() }()
	run.aboutLeaving()
	if err := a.idle(ctx, run); err != nil {
		return false, err
	}
	err = a.propose(ctx, run)
	return !run.prop.Empty(), err
}

// withServices is an edit to the same file from one in which heads have these services.
func (e *edited) withServices(heads, services []string) (*edited, error) {
	d, err := config.ParseDocument(e.path, e.old)
	if err != nil {
		return nil, configError(e.path, err)
	}
	for _, name := range heads {
		for _, s := range services {
			c, err := d.Cluster()
			if err == nil {
				err = d.SetService(c, name, s, true)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	out := *e
	if out.before, _, err = config.Parse(e.path, d.Bytes()); err != nil {
		return nil, err
	}
	return &out, nil
}

// check refuses flags that do not go together.
func (f *removeFlags) check() error {
	switch {
	case f.kind != kindHead && len(f.services) > 0:
		return usageError(fmt.Errorf("--service is for heads, not for a %s", f.kind))
	case f.kind != kindCompute && (f.wait != 0 || f.yes):
		return usageError(fmt.Errorf("--wait and --yes are for compute nodes; a %s leaves where the cluster's name is typed, or given with --confirm", f.kind))
	case f.gone && (f.wait != 0 || f.yes):
		return usageError(errors.New("--gone: there is nothing to wait for, and the cluster's name is to be typed, or given with --confirm"))
	case f.wait < 0:
		return usageError(fmt.Errorf("--wait %s: write a time such as 90m or 12h", f.wait))
	}
	return nil
}

// isHead refuses names that are no heads of the file.
func isHead(c *config.Cluster, name string) error {
	if _, ok := c.Head(name); ok {
		return nil
	}
	var heads []string
	for _, h := range c.Nodes.Controllers {
		heads = append(heads, h.Hostname)
	}
	return usageError(fmt.Errorf("%s is no head of the cluster file, which has %s; if it has just been taken out, multihead up finishes that", name, inWords(heads)))
}

// drop takes heads out of the file, or switches services of theirs off. Each edit
// looks at the file as the one before has left it.
func drop(d *config.Document, names, services []string) error {
	for _, name := range names {
		if len(services) == 0 {
			c, err := d.Cluster()
			if err == nil {
				err = d.DropHead(c, name)
			}
			if err != nil {
				return err
			}
		}
		for _, s := range services {
			c, err := d.Cluster()
			if err == nil {
				err = d.SetService(c, name, s, false)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *app) nodeReplace(ctx context.Context, f removeFlags, old string, report *upReport) error {
	if f.name == "" {
		f.name = old
	}
	spec, err := hostSpec(f.name, f.ip)
	if err != nil {
		return err
	}
	e, err := a.edit(func(d *config.Document, c *config.Cluster) error {
		if err := isHead(c, old); err != nil {
			return err
		}
		return d.ReplaceHead(c, old, spec)
	})
	if err != nil {
		return err
	}
	if h, _ := e.before.Head(old); h.Hostname == spec.Hostname && h.Address == spec.Address {
		return usageError(fmt.Errorf("%s has that address already: if the same machine was installed anew, take it out with node remove %s --gone and bring it in with node add", old, old))
	}
	if slices.ContainsFunc(e.before.Fencing.Devices, func(d config.FenceDevice) bool { return d.Node == old }) {
		fmt.Fprintf(a.stderr, a.tr("Warning: ")+a.tr("what switches the old %s off is taken out of the file: write the new machine's own device below fencing.devices, and run up\n"), old)
	}
	fresh, _ := e.after.Head(f.name)
	r := f.reach
	r.lookOnly = true
	look, err := a.open(ctx, e.after, []config.HostSpec{fresh.HostSpec}, r)
	if err != nil {
		return err
	}
	defer look.close()
	if cause := look.view.Errs[f.name]; cause != nil {
		return a.unreached(f.name, cause)
	}
	return a.leave(ctx, f, e, []string{old}, report)
}

// leave has hosts leave the cluster, writes the file that does not name them any
// more, and brings the others to it.
func (a *app) leave(ctx context.Context, f removeFlags, e *edited, names []string, report *upReport) error {
	f.lookOnly = f.dryRun
	run := f.run(e, names, report)
	var err error
	if run.sess, err = a.open(ctx, e.before, e.before.AllHosts(), f.reach); err != nil {
		return err
	}
	defer func() { run.sess.close() }()
	run.aboutLeaving()
	if err := a.idle(ctx, run); err != nil {
		return err
	}
	if err := a.propose(ctx, run); err != nil {
		return err
	}
	report.found(run)
	a.showPlan(run)
	e.show(a)
	fmt.Fprintln(a.stdout, a.tr("Then the hosts that stay are brought to the file, as multihead up does."))
	if f.dryRun {
		a.sayNothingChanged()
		return nil
	}
	run.question = func(ctx context.Context) error { return a.agreeToLeave(ctx, f, e, names) }
	if err := a.agree(ctx, run); err != nil {
		return err
	}
	run.intent.Confirmed = true
	if f.wait > 0 {
		if err := a.awaitWork(ctx, run, e, f.wait); err != nil {
			return err
		}
		run.agreedAll() // whoever agreed may have gone home
	}
	return a.carryOutLeave(ctx, run, e)
}

// run is the leaving of these hosts.
func (f *removeFlags) run(e *edited, names []string, report *upReport) *upRun {
	run := &upRun{flags: f.upFlags, report: report, aim: aimLeave, phases: f.services, proofs: map[string]string{},
		intent: service.Intent{Mode: service.Auto, Leaving: names, Confirmed: f.confirm == e.before.Info.ClusterName}}
	if f.kind == kindCompute {
		run.intent.Leaving, run.intent.LeavingComputes, run.intent.JobsEnd = nil, names, f.wait > 0
	}
	run.upPhases = f.kind.phases()
	if f.gone {
		run.intent.Lost = names
		for _, n := range names {
			run.proofs[n] = "a person says that it is off for good"
		}
	}
	return run
}

// agreeToLeave asks. A compute node has no data and no vote: a yes is enough for one
// that ends its jobs first.
func (a *app) agreeToLeave(ctx context.Context, f removeFlags, e *edited, names []string) error {
	if f.kind == kindCompute && !f.gone {
		return a.ask(ctx, f.upFlags)
	}
	name := e.before.Info.ClusterName
	return a.typedCluster(ctx, f.confirm, name, fmt.Sprintf(a.tr("%s leaves the cluster. Type the cluster's name (%s) to go on: "), inWords(names), name))
}

// agreedAll has nothing asked from here on.
func (run *upRun) agreedAll() { run.question, run.flags.yes = nil, true }

// carryOutLeave does what was agreed. A file that is written only when the heads
// have left is what makes a run that was cut off go on: until then they leave, and
// from then on the others forget them.
func (a *app) carryOutLeave(ctx context.Context, run *upRun, e *edited) error {
	if err := a.lock(ctx, run); err != nil {
		return err
	}
	// Before anything is done: a file that is not written leaves them half out.
	if err := e.writable(a); err != nil {
		return err
	}
	run.agreedAll()
	for round := 1; !run.prop.Empty(); round++ {
		if round > maxRounds {
			return &exitError{exitFailed, errors.New(a.tr("the plan was carried out, and this is still needed: run the command again; if it stays, look at the lines above"))}
		}
		if err := a.apply(ctx, run); err != nil {
			return err
		}
		if err := a.propose(ctx, run); err != nil {
			return err
		}
	}
	run.report.Outcome = outcomeFailed // until the others are brought to the file
	if err := e.write(a); err != nil {
		return err
	}
	if err := run.become(ctx, e.after); err != nil {
		return err
	}
	if err := a.propose(ctx, run); err != nil {
		return err
	}
	if run.prop.Empty() {
		_, err := a.verify(ctx, run)
		return err
	}
	if !a.quiet {
		a.showPlan(run)
	}
	return a.rounds(ctx, run)
}

// become turns the run into an up with another file, over the connections that
// stand: the lock is held by them. Over those that were lost it is taken again.
func (run *upRun) become(ctx context.Context, c *config.Cluster) error {
	before := maps.Clone(run.sess.view.Hosts)
	run.sess.file, run.sess.specs = c, c.AllHosts()
	run.aim, run.phases = aimUp, run.upPhases
	run.intent = service.Intent{Mode: service.Auto}
	if run.held {
		ctx = whileLocked(ctx)
	}
	err := run.sess.reach(ctx)
	for name, h := range before {
		if conn, ok := h.(connection); ok && run.sess.view.Hosts[name] != h {
			_ = conn.Close()
		}
	}
	if err != nil || !run.held {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	err = run.sess.view.LockAgain(ctx, owner(), before)
	if errors.As(err, new(*host.LockedError)) {
		err = &exitError{exitLocked, fmt.Errorf("a connection was lost, and the lock with it: %w", err)}
	}
	return err
}
