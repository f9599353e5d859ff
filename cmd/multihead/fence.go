package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"multihead/internal/config"
	"multihead/internal/fence"
)

func newFenceCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fence",
		Short: "Ask the devices that switch heads off, and switch one off for certain",
		Long: `The agents switch silent heads off by themselves, where service depends on
whether they live, and only go on once a device has said off twice. This is to see
beforehand whether the devices answer, and for a person who wants a head off.`,
		Example: `  multihead fence status            every device, asked from every head
  multihead fence status server2
  multihead fence off server2       power off without a shutdown; asks for the name`,
	}
	cmd.AddCommand(newFenceStatusCmd(a), newFenceOffCmd(a))
	return cmd
}

func newFenceStatusCmd(a *app) *cobra.Command {
	// Not for looking only: a fence agent that is asked is the same program that
	// switches off, and such a connection refuses it.
	var r reach
	cmd := &cobra.Command{
		Use:   "status [HEAD...]",
		Short: "Ask every device, from every head, whether its head has power",
		Long: "Any head may be the last one, so each has to reach the devices of all others.\n\n" +
			"Exit code: 0 every device answered every head, 1 one did not, 64 usage, 78 the cluster file.",
		Example: "  multihead fence status\n  multihead fence status -o json",
	}
	r.flags(cmd)
	output := formatFlag(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		hosts, err := hostArgs(args)
		if err != nil {
			return err
		}
		return a.fenceStatus(cmd.Context(), r, hosts, *output)
	}
	return cmd
}

// deviceAnswer is what one device said to one head.
type deviceAnswer struct {
	Head  string      `json:"head"` // whom it switches off
	Agent string      `json:"agent"`
	From  string      `json:"from"` // who asked
	Power fence.Power `json:"power"`
	Error string      `json:"error,omitempty"`
}

// fenceDevices are the devices of the named heads, of all where none is named.
func fenceDevices(c *config.Cluster, names []string) ([]config.FenceDevice, error) {
	var out []config.FenceDevice
	for _, h := range c.Nodes.Controllers {
		if len(names) == 0 || slices.Contains(names, h.Hostname) {
			out = append(out, fence.Devices(c.Fencing, h.Hostname)...)
		}
	}
	for _, n := range names {
		if _, ok := c.Head(n); !ok {
			return nil, usageError(fmt.Errorf("%s is not a head of the cluster file", n))
		}
	}
	if len(out) == 0 {
		return nil, usageError(errors.New("the cluster file names no fence device there: add fencing.devices"))
	}
	return out, nil
}

// headSpecs are the heads alone: who else is there need not be reached.
func headSpecs(c *config.Cluster) []config.HostSpec {
	return c.HeadsAndWitnesses()[:len(c.Nodes.Controllers)]
}

// asksAtOnce is how many devices one head asks at the same time: each question
// is a program of its own.
const asksAtOnce = 4

// askDevices asks every device from every head that was reached.
func askDevices(ctx context.Context, sess *session, devices []config.FenceDevice) []deviceAnswer {
	var out []deviceAnswer
	for _, d := range devices {
		for _, h := range sess.file.Nodes.Controllers {
			if sess.view.Hosts[h.Hostname] != nil {
				out = append(out, deviceAnswer{Head: d.Node, Agent: d.Agent, From: h.Hostname})
			}
		}
	}
	var all errgroup.Group
	for _, from := range sess.file.Nodes.Controllers {
		var g errgroup.Group
		g.SetLimit(asksAtOnce)
		all.Go(func() error {
			for i := range out {
				if out[i].From != from.Hostname {
					continue
				}
				d := devices[slices.IndexFunc(devices, func(d config.FenceDevice) bool { return d.Node == out[i].Head && d.Agent == out[i].Agent })]
				g.Go(func() error {
					p, err := fence.Status(ctx, sess.view.Hosts[from.Hostname], d, fence.Usual())
					if out[i].Power = p; err != nil {
						out[i].Error = err.Error()
					}
					return nil
				})
			}
			return g.Wait()
		})
	}
	_ = all.Wait() // each answer has its own error
	return out
}

func (a *app) fenceStatus(ctx context.Context, r reach, names []string, output string) error {
	c, err := a.loadCluster()
	if err != nil {
		return err
	}
	devices, err := fenceDevices(c, names)
	if err != nil {
		return err
	}
	sess, err := a.open(ctx, c, headSpecs(c), r)
	if err != nil {
		return err
	}
	defer sess.close()
	if len(sess.view.Hosts) == 0 {
		return errors.New(a.tr("no head answered"))
	}
	answers := askDevices(ctx, sess, devices)
	if output == "json" {
		err = a.printJSON(answers)
	} else {
		a.printDevices(c, answers)
	}
	if err == nil && slices.ContainsFunc(answers, func(x deviceAnswer) bool { return x.Error != "" }) {
		return &exitError{code: exitFailed}
	}
	return err
}

// printDevices prints one line for each device and each different answer.
func (a *app) printDevices(c *config.Cluster, answers []deviceAnswer) {
	if !c.Fencing.Enabled {
		fmt.Fprintln(a.stdout, a.tr("Fencing is off: the agents switch nobody off (fencing.enabled)."))
	}
	t := table.NewWriter()
	t.SetStyle(a.tableStyle())
	t.AppendHeader(table.Row{"HEAD", "DEVICE", "POWER", "ASKED FROM", "WHY"})
	done := map[deviceAnswer]bool{}
	for _, x := range answers {
		same := x
		if same.From = ""; done[same] {
			continue
		}
		done[same] = true
		var from []string
		for _, y := range answers {
			other := y
			if other.From = ""; other == same {
				from = append(from, y.From)
			}
		}
		t.AppendRow(table.Row{x.Head, x.Agent, x.Power, strings.Join(from, " "), x.Error})
	}
	fmt.Fprintln(a.stdout, t.Render())
}

func newFenceOffCmd(a *app) *cobra.Command {
	var r reach
	var confirm string
	cmd := &cobra.Command{
		Use:   "off HEAD",
		Short: "Cut a head's power, without a shutdown, and prove it",
		Long: `What was not written to its disks is lost, as in a power failure. It stays off until
a person switches it on; then it joins again as any head that comes back.

Exit code: 0 it is off for certain, 1 it may be on, 64 usage, 78 the cluster file.`,
		Example: "  multihead fence off server2\n  multihead fence off server2 --confirm server2   for scripts",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.fenceOff(cmd.Context(), r, args[0], confirm) },
	}
	r.flags(cmd)
	cmd.Flags().StringVar(&confirm, "confirm", "", "the head's `name`, typed: does it without asking")
	return cmd
}

func (a *app) fenceOff(ctx context.Context, r reach, name, confirm string) error {
	c, err := a.loadCluster()
	if err != nil {
		return err
	}
	devices, err := fenceDevices(c, []string{name})
	if err != nil {
		return err
	}
	if confirm == "" {
		if confirm, err = a.typed(ctx, fmt.Sprintf(a.tr("Cut the power of %s? Type its name: "), name),
			a.tr("nothing was switched off: there is no terminal to ask on; give --confirm with the head's name")); err != nil {
			return err
		}
	}
	if confirm != name {
		return usageError(fmt.Errorf(a.tr("that is not %s: nothing was switched off"), name))
	}
	sess, err := a.open(ctx, c, headSpecs(c), r)
	if err != nil {
		return err
	}
	defer sess.close()
	var errs []error
	for _, h := range c.Nodes.Controllers {
		from := sess.view.Hosts[h.Hostname]
		if h.Hostname == name || from == nil {
			continue
		}
		p, err := fence.Kill(ctx, from, devices, fence.Usual())
		if err == nil {
			fmt.Fprintf(a.stdout, a.tr("%s is off: %s, asked from %s\n"), name, p.How, h.Hostname)
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", h.Hostname, err))
	}
	if len(errs) == 0 {
		return errors.New(a.tr("no other head answered"))
	}
	return fmt.Errorf(a.tr("%s may be on: %w"), name, errors.Join(errs...))
}
