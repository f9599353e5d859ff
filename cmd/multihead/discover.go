package main

import (
	"context"
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"multihead/internal/cluster"
)

func newDiscoverCmd(a *app) *cobra.Command {
	f := reach{lookOnly: true}
	var output string
	cmd := &cobra.Command{
		Use:   "discover",
		Short: "Ask every head, all at once, what of the cluster is there",
		Example: `  multihead discover                a table
  multihead discover -o json        for scripts; its keys stay`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.discover(cmd.Context(), f, output) },
	}
	f.flags(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

// look reaches the heads and asks their services; it changes nothing.
func (a *app) look(ctx context.Context, f reach) (*session, map[string]cluster.Vitals, error) {
	c, err := a.loadCluster()
	if err != nil {
		return nil, nil, err
	}
	sess, err := a.open(ctx, c, headSpecs(c), f)
	if err != nil {
		return nil, nil, err
	}
	vitals := make(chan map[string]cluster.Vitals, 1)
	go func() { vitals <- sess.view.Vitals(ctx) }()
	err = sess.observe(ctx, servicesButBase())
	found := <-vitals
	if err != nil {
		sess.close()
		return nil, nil, err
	}
	return sess, found, nil
}

func (a *app) discover(ctx context.Context, f reach, output string) error {
	sess, vitals, err := a.look(ctx, f)
	if err != nil {
		return err
	}
	defer sess.close()
	d := sess.view.Discovery(vitals)
	if output == "json" {
		return a.printJSON(d)
	}
	t := table.NewWriter()
	t.SetStyle(a.tableStyle())
	t.AppendHeader(table.Row{"HEAD", "ADDRESS", "STATUS", "LOAD", "UPTIME", "SERVICES"})
	for _, h := range d.Controllers {
		t.AppendRow(table.Row{h.Hostname, h.IP, h.Status, fmt.Sprintf("%.2f", h.Load), h.Uptime, describeServices(sess.view, h)})
	}
	fmt.Fprintln(a.stdout, t.Render())
	fmt.Fprintf(a.stdout, a.tr("%d of %d heads active, VIP on %s, cluster %s\n"), d.ActiveControllers, d.TotalControllers, orNone(d.VIPOwner), d.ClusterState)
	return nil
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

func orNone(s string) string {
	if s == "" {
		return "nobody"
	}
	return s
}
