package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/spf13/cobra"

	"multihead/internal/config"
)

func newNodeCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Add a host to the cluster, take one out, or put another head in one's place",
		Long: `Changes the cluster file, with its comments kept, and the cluster with it, while
it serves. The old file is kept beside it.`,
		Example: `  multihead node add --name server5 --ip 192.168.1.105
  multihead node remove server5
  multihead node remove server3 --gone              it is off and stays off
  multihead node add --kind compute --name node003 --ip 192.168.1.123
  multihead node remove node003 --wait 12h          no new jobs, and gone once the last has ended
  multihead node replace server3 --name server6 --ip 192.168.1.106 --gone`,
	}
	cmd.AddCommand(newNodeAddCmd(a), newNodeRemoveCmd(a), newNodeReplaceCmd(a))
	return cmd
}

// edited is a cluster file before and after an edit.
type edited struct {
	path     string
	old, new []byte
	before   *config.Cluster
	after    *config.Cluster
}

// edit changes the text of the cluster file, in memory, and reads the result as
// any other file is read: one that could not be used is not written.
func (a *app) edit(change func(d *config.Document, c *config.Cluster) error) (*edited, error) {
	path, err := a.findClusterFile()
	if err != nil {
		return nil, err
	}
	c, err := a.loadCluster()
	if err != nil {
		return nil, err
	}
	e := &edited{path: path, before: c}
	if e.old, err = os.ReadFile(path); err != nil {
		return nil, &exitError{exitConfig, fmt.Errorf("cluster file: %w", err)}
	}
	d, err := config.ParseDocument(path, e.old)
	if err != nil {
		return nil, configError(path, err)
	}
	if err := change(d, c); err != nil {
		return nil, err
	}
	e.new = d.Bytes()
	if e.after, _, err = config.Parse(path, e.new); err != nil {
		var invalid *config.InvalidError
		if errors.As(err, &invalid) {
			return nil, &exitError{exitConfig, fmt.Errorf("%s: %s\n%s", a.tr("nothing was changed"), a.tr("the file would not be usable after this change"), invalid.Problems)}
		}
		return nil, err
	}
	return e, nil
}

func (e *edited) same() bool { return string(e.old) == string(e.new) }

// show prints the lines of the file that change, without secrets.
func (e *edited) show(a *app) {
	if e.same() {
		return
	}
	fmt.Fprintf(a.stdout, a.tr("%s changes:\n"), e.path)
	old, err := config.WithoutSecrets(e.path, e.old)
	var changed []byte
	if err == nil {
		changed, err = config.WithoutSecrets(e.path, e.new)
	}
	if err != nil {
		fmt.Fprintf(a.stdout, a.tr("  its lines are not shown: %v\n"), err)
		return
	}
	for line := range strings.Lines(udiff.Unified("", "", string(old), string(changed))) {
		switch {
		case strings.HasPrefix(line, "---"), strings.HasPrefix(line, "+++"):
		case strings.HasPrefix(line, "-"), strings.HasPrefix(line, "+"):
			fmt.Fprint(a.stdout, "  "+line)
		}
	}
}

// write puts the new text in the place of the old one, if nobody else has changed
// it meanwhile.
func (e *edited) write(a *app) error {
	if e.same() {
		return nil
	}
	if err := e.stands(a); err != nil {
		return err
	}
	kept, err := config.Rewrite(e.path, e.new)
	if err == nil && !a.quiet {
		fmt.Fprintf(a.stdout, a.tr("%s is changed; the old one is %s\n"), e.path, kept)
	}
	return err
}

// writable refuses where the new text could not be put in the place of the old one.
func (e *edited) writable(a *app) error {
	if e.same() {
		return nil
	}
	if err := e.stands(a); err != nil {
		return err
	}
	if err := config.Rewritable(e.path, e.new); err != nil {
		return &exitError{exitConfig, fmt.Errorf(a.tr("%s could not be changed (%w), so that nothing was done; it is to be changed once the hosts have left"), e.path, err)}
	}
	return nil
}

// stands refuses where somebody else has changed the file since it was read.
func (e *edited) stands(a *app) error {
	now, err := os.ReadFile(e.path)
	if err != nil {
		return &exitError{exitConfig, fmt.Errorf("cluster file: %w", err)}
	}
	if string(now) != string(e.old) {
		return &exitError{exitConfig, fmt.Errorf(a.tr("%s was changed by somebody else meanwhile and is left as it is; run the command again"), e.path)}
	}
	return nil
}

// switchable checks names of services that a head can have switched on or off.
func switchable(names []string) error {
	for _, n := range names {
		if !slices.Contains(config.ServiceNames(), n) || n == config.Web {
			return usageError(fmt.Errorf("--service %s: write one of glusterfs, mariadb, redis, slurm, keepalived", n))
		}
	}
	return nil
}

// hostSpec is --name and --ip.
func hostSpec(name, ip string) (config.HostSpec, error) {
	addr, err := netip.ParseAddr(ip)
	if name == "" || err != nil {
		return config.HostSpec{}, usageError(errors.New("write --name HOSTNAME and --ip ADDRESS of the host"))
	}
	return config.HostSpec{Hostname: name, Address: addr}, nil
}
