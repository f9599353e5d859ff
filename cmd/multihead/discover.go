package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"multihead/internal/cluster"
)

func newDiscoverCmd(a *app) *cobra.Command {
	f := reach{lookOnly: true}
	cmd := &cobra.Command{
		Use:   "discover",
		Short: "Ask every head, all at once, what of the cluster is there",
		Example: `  multihead discover                a table
  multihead discover -o json        for scripts; its keys stay`,
		Long: "Exit code: 0 a head answered, 1 none did, 64 usage, 78 the cluster file.",
		Args: cobra.NoArgs,
	}
	f.flags(cmd)
	output := formatFlag(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return a.discover(cmd.Context(), f, *output) }
	return cmd
}

// look reaches the heads and asks their services; it changes nothing.
func (a *app) look(ctx context.Context, f reach) (*session, map[string]cluster.Vitals, error) {
	sess, err := a.openHeads(ctx, f)
	if err != nil {
		return nil, nil, err
	}
	vitals, err := sess.ask(ctx)
	if err != nil {
		sess.close()
		return nil, nil, err
	}
	return sess, vitals, nil
}

// ask asks the services that heads offer, and how the heads are.
func (s *session) ask(ctx context.Context) (map[string]cluster.Vitals, error) {
	vitals := make(chan map[string]cluster.Vitals, 1)
	go func() { vitals <- s.view.Vitals(ctx) }()
	err := s.observe(ctx, servicesButBase())
	return <-vitals, err
}

func (a *app) discover(ctx context.Context, f reach, output string) error {
	sess, vitals, err := a.look(ctx, f)
	if err != nil {
		return err
	}
	defer sess.close()
	d := sess.view.Discovery(vitals)
	if output == "json" {
		err = a.printJSON(d)
	} else {
		a.printDiscovery(sess.view, d)
	}
	if err == nil && d.ActiveControllers == 0 {
		return &exitError{exitFailed, errors.New(a.tr("no head answered"))}
	}
	return err
}

func (a *app) printDiscovery(v *cluster.View, d cluster.Discovery) {
	t := table.NewWriter()
	t.SetStyle(a.tableStyle())
	t.AppendHeader(table.Row{"HEAD", "ADDRESS", "STATUS", "LOAD", "UPTIME", "SERVICES"})
	for _, h := range d.Controllers {
		load, uptime := "-", "-"
		if h.Uptime != "" {
			load, uptime = fmt.Sprintf("%.2f", h.Load), h.Uptime
		}
		t.AppendRow(table.Row{h.Hostname, h.IP, h.Status, load, uptime, describeServices(v, h)})
	}
	fmt.Fprintln(a.stdout, t.Render())
	fmt.Fprintf(a.stdout, a.tr("%d of %d heads active, %s, cluster %s\n"), d.ActiveControllers, d.TotalControllers,
		a.holder("VIP", d.VIPOwner, d.InactiveControllers > 0), d.ClusterState)
}

// holder says who holds the virtual address. With a head that did not answer,
// that nobody else does is no proof that nobody does.
func (a *app) holder(vip, owner string, unsure bool) string {
	switch {
	case owner != "":
		return fmt.Sprintf(a.tr("%s on %s"), vip, owner)
	case unsure:
		return fmt.Sprintf(a.tr("%s not known where"), vip)
	default:
		return fmt.Sprintf(a.tr("%s on no head"), vip)
	}
}

func describeServices(v *cluster.View, h cluster.DiscoveredHead) string {
	if h.Status != "active" {
		return h.Error
	}
	out := ""
	for _, s := range v.Services {
		facts, ok := h.Services[s.Name()]
		if !ok {
			continue
		}
		if out != "" {
			out += "  "
		}
		out += fmt.Sprintf("%s %s", s.Name(), facts["status"])
	}
	return out
}
