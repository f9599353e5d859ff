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
}

func newNodeAddCmd(a *app) *cobra.Command {
	var f addFlags
	cmd := &cobra.Command{
		Use:   "add --name HOSTNAME --ip ADDRESS",
		Short: "Add a head: write it into the cluster file and bring it in, the others serving on",
		Long: `Writes the host into the cluster file, after the last head and like it, and then
does what up does. With --service the head runs these services only; on a head that
is in the file already they are switched on.

The file is written once the plan was agreed to, before anything else. A run that is
cut off is continued by the same command, or by up.

Exit code: 0 done, 1 failed, 64 usage, 75 another run is at work, 78 the cluster
file, 130 interrupted.`,
		Example: `  multihead node add --name server5 --ip 192.168.1.105
  multihead node add --name server5 --ip 192.168.1.105 --service redis --service mariadb
  multihead node add --name server5 --ip 192.168.1.105 --dry-run`,
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
	fl.StringVar(&f.spec.SSHUser, "ssh-user", "", "`login` over SSH (default: that of the last head)")
	fl.IntVar(&f.spec.SSHPort, "ssh-port", 0, "SSH `port` (default: that of the last head)")
	fl.StringVar(&f.spec.SSHKeyPath, "ssh-key", "", "private key `file` (default: that of the last head)")
	fl.BoolVar(&f.dryRun, "dry-run", false, "show what would be done; change nothing")
	fl.BoolVarP(&f.yes, "yes", "y", false, "do it without asking")
	f.output = formatFlag(cmd, "table", "json")
	return cmd
}

func (a *app) nodeAdd(ctx context.Context, f addFlags, report *upReport) error {
	if err := switchable(f.services); err != nil {
		return err
	}
	e, err := a.edit(f.change)
	if err != nil {
		return err
	}
	run := &upRun{flags: f.upFlags, report: report, intent: service.Intent{Mode: service.Auto}}
	run.flags.lookOnly = f.dryRun
	if run.sess, err = a.open(ctx, e.after, e.after.AllHosts(), run.flags.reach); err != nil {
		return err
	}
	defer run.sess.close()
	if cause := run.sess.view.Errs[f.name]; cause != nil {
		return &exitError{exitFailed, fmt.Errorf("%s: "+a.tr("%s was not reached: %w"), a.tr("nothing was changed"), f.name, cause)}
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

// change writes the host into the file. One that is there as it was asked for is
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
			return usageError(fmt.Errorf("%s (%s) is in the file already, and is no head", other.Hostname, other.Address))
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
