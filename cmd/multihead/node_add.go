package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"multihead/internal/config"
	"multihead/internal/service"
)

// addFlags is what node add is told.
type addFlags struct {
	upFlags
	name, ip string
	spec     config.HostSpec
	priority int
	services []string

	kind       string
	partitions []string // of a compute node
	hardware   []string // of a compute node, as key=value
}

func newNodeAddCmd(a *app) *cobra.Command {
	var f addFlags
	cmd := &cobra.Command{
		Use:   "add --name HOSTNAME --ip ADDRESS [--kind head|compute|witness]",
		Short: "Add a host: write it into the cluster file and bring it in, the others serving on",
		Long: `Writes the host into the cluster file, after the last one of its kind and like it,
and then does what up does. With --service a head runs these services only; on a head
that is in the file already they are switched on.

A compute node is asked what it has (slurmd -C), unless --hardware says it, and is
added to the partitions of the last compute node, or to those that --partition names;
one that is in the file already joins these as well. What else differs is refused.
Running jobs notice nothing. For it, and for a witness, only the phases are run that
have to do with it.

The file is written once the plan was agreed to, before anything else. A run that is
cut off is continued by the same command, or by up.

Exit code: 0 done, 1 failed, 64 usage, 75 another run is at work, 78 the cluster
file, 130 interrupted.`,
		Example: `  multihead node add --name server5 --ip 192.168.1.105
  multihead node add --name server5 --ip 192.168.1.105 --service redis --service mariadb
  multihead node add --name server5 --ip 192.168.1.105 --dry-run
  multihead node add --kind compute --name node003 --ip 192.168.1.123
  multihead node add --kind compute --name gpu01 --ip 192.168.1.140 --partition gpu --hardware gres=gpu:a100:2
  multihead node add --kind witness --name witness1 --ip 192.168.1.110`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.reported(*f.output, func(a *app, report *upReport) error { return a.nodeAdd(cmd.Context(), f, report) })
		},
	}
	f.reach.flags(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.name, "name", "", "the machine's own `hostname`")
	fl.StringVar(&f.ip, "ip", "", "the `address` that the other hosts reach it at")
	fl.StringSliceVar(&f.services, "service", nil, "only these `services`: glusterfs, mariadb, redis, slurm, keepalived (default: those of the last head)")
	fl.IntVar(&f.priority, "priority", 0, "for the virtual address; the highest head holds it (default: below all others)")
	fl.StringVar(&f.kind, "kind", string(kindHead), "what it is to be: head, compute or witness")
	fl.StringSliceVar(&f.partitions, "partition", nil, "of a compute node: these `partitions` (default: those of the last compute node)")
	fl.StringArrayVar(&f.hardware, "hardware", nil, "of a compute node, as `key=value` with the cluster file's keys: cpus=8, memory_mb=16384, gres=gpu:a100:2 (default: what it says itself)")
	fl.StringVar(&f.spec.SSHUser, "ssh-user", "", "`login` over SSH (default: that of the last one of its kind)")
	fl.IntVar(&f.spec.SSHPort, "ssh-port", 0, "SSH `port` (default: that of the last one of its kind)")
	fl.StringVar(&f.spec.SSHKeyPath, "ssh-key", "", "private key `file` (default: that of the last one of its kind)")
	fl.BoolVar(&f.dryRun, "dry-run", false, "show what would be done; change nothing")
	fl.BoolVarP(&f.yes, "yes", "y", false, "do it without asking")
	f.output = formatFlag(cmd, "table", "json")
	return cmd
}

func (a *app) nodeAdd(ctx context.Context, f addFlags, report *upReport) error {
	kind, err := f.check()
	if err != nil {
		return err
	}
	e, err := a.edit(func(d *config.Document, c *config.Cluster) error {
		if kind == kindHead {
			return f.change(d, c)
		}
		return f.changeOther(ctx, a, kind, d, c)
	})
	if err != nil {
		return err
	}
	run := &upRun{flags: f.upFlags, report: report, intent: service.Intent{Mode: service.Auto}, phases: kind.phases()}
	run.flags.lookOnly = f.dryRun
	if run.sess, err = a.open(ctx, e.after, e.after.AllHosts(), run.flags.reach); err != nil {
		return err
	}
	defer run.sess.close()
	if cause := run.sess.view.Errs[f.name]; cause != nil {
		return a.unreached(f.name, cause)
	}
	if err := a.idle(ctx, run); err != nil {
		return err
	}
	if err := a.propose(ctx, run); err != nil {
		return err
	}
	e.show(a)
	if !e.same() {
		run.agreed = func() error { return e.write(a) }
	}
	return a.carryOut(ctx, run)
}

// check refuses flags that do not go together.
func (f *addFlags) check() (kindOfHost, error) {
	kind, err := kindNamed(f.kind)
	if err != nil {
		return "", err
	}
	switch {
	case kind != kindHead && (len(f.services) > 0 || f.priority > 0):
		return "", usageError(fmt.Errorf("--service and --priority are for heads, not for a %s", kind))
	case kind != kindCompute && (len(f.partitions) > 0 || len(f.hardware) > 0):
		return "", usageError(fmt.Errorf("--partition and --hardware are for compute nodes, not for a %s", kind))
	}
	return kind, switchable(f.services)
}

// change writes a head into the file. One that is there as it was asked for is
// left as it is: an earlier run was cut off.
func (f *addFlags) change(d *config.Document, c *config.Cluster) error {
	if h, ok := c.Head(f.name); ok {
		if f.ip != "" && h.Address.String() != f.ip {
			return usageError(fmt.Errorf("%s is in the file with the address %s; another host takes its place with: multihead node replace %s --ip %s", f.name, h.Address, f.name, f.ip))
		}
		for _, s := range f.services {
			if !h.Services.Has(s) {
				if err := d.SetService(c, f.name, s, true); err != nil {
					return err
				}
			}
		}
		return nil
	}
	spec, err := hostSpec(f.name, f.ip)
	if err != nil {
		return err
	}
	for _, other := range c.AllHosts() {
		if other.Hostname == f.name || other.Address == spec.Address {
			return usageError(fmt.Errorf("%s (%s) is in the file already, as a %s", other.Hostname, other.Address, kindsOf(c, other.Hostname)[0]))
		}
	}
	f.spec.Hostname, f.spec.Address = spec.Hostname, spec.Address
	h := c.NextHead(f.spec, f.services)
	if f.priority > 0 {
		h.Priority = f.priority
	}
	return d.AddHead(c, h)
}

// inWords is names as a person reads them.
func inWords(names []string) string { return strings.Join(names, ", ") }
