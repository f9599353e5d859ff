package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"multihead/internal/config"
)

func newConfigControllersCmd(a *app) *cobra.Command {
	var service string
	cmd := &cobra.Command{
		Use:   "controllers",
		Short: "List the heads, or those that run a service",
		Example: `  multihead config controllers
  multihead config controllers --service mariadb
  for h in $(multihead config controllers --service redis -o name); do ssh $h uptime; done`,
		Args: args(cobra.NoArgs, "controllers [--service S]"),
	}
	format := formatFlag(cmd, "table", "json", "yaml", "name")
	cmd.Flags().StringVar(&service, "service", "", "only heads that run it: "+strings.Join(config.ServiceNames(), ", "))
	cmd.RunE = func(*cobra.Command, []string) error {
		if service != "" && !slices.Contains(config.ServiceNames(), service) {
			return usageError(fmt.Errorf("--service %s is not known; write one of %s", service, strings.Join(config.ServiceNames(), ", ")))
		}
		c, err := a.loadCluster()
		if err != nil {
			return err
		}
		heads := c.Nodes.Controllers
		if service != "" {
			heads = c.HeadsWith(service)
		}
		return a.printHeads(heads, *format)
	}
	return cmd
}

// headJSON is a head as scripts see it.
type headJSON struct {
	Hostname string          `json:"hostname"`
	IP       string          `json:"ip"`
	SSHUser  string          `json:"ssh_user"`
	SSHPort  int             `json:"ssh_port"`
	Priority int             `json:"priority"`
	VIPOwner bool            `json:"vip_owner"`
	Services map[string]bool `json:"services"`
}

func (a *app) printHeads(heads []config.Controller, format string) error {
	switch format {
	case "name":
		for _, h := range heads {
			fmt.Fprintln(a.stdout, h.Hostname)
		}
	case "json":
		return a.printJSON(headsJSON(heads))
	case "yaml":
		for _, h := range heads {
			fmt.Fprintf(a.stdout, "- {hostname: %s, ip_address: %s, ssh_user: %s, ssh_port: %d, priority: %d, vip_owner: %t, services: [%s]}\n",
				h.Hostname, h.Address, h.SSHUser, h.SSHPort, h.Priority, h.VIPOwner, strings.Join(h.Services.Names(), ", "))
		}
	case "table":
		header := []any{"HOSTNAME", "ADDRESS", "SSH", "PRIORITY", "OWNER"}
		for _, s := range config.ServiceNames() {
			header = append(header, strings.ToUpper(s))
		}
		t := plainTable(header...)
		for _, h := range heads {
			row := table.Row{h.Hostname, h.Address, h.SSHUser + ":" + strconv.Itoa(h.SSHPort), h.Priority, yesOrDash(h.VIPOwner)}
			for _, s := range config.ServiceNames() {
				row = append(row, yesOrDash(h.Services.Has(s)))
			}
			t.AppendRow(row)
		}
		fmt.Fprintln(a.stdout, t.Render())
	}
	return nil
}

func headsJSON(heads []config.Controller) []headJSON {
	out := make([]headJSON, 0, len(heads))
	for _, h := range heads {
		services := make(map[string]bool)
		for _, s := range config.ServiceNames() {
			services[s] = h.Services.Has(s)
		}
		out = append(out, headJSON{h.Hostname, h.Address.String(), h.SSHUser, h.SSHPort, h.Priority, h.VIPOwner, services})
	}
	return out
}

func yesOrDash(b bool) string {
	if b {
		return "yes"
	}
	return "-"
}

func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func newConfigVIPCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "vip",
		Short: "Print the virtual address and who may hold it",
		Example: `  multihead config vip
  multihead config vip -o name                # the address alone
  multihead config vip -o json`,
		Args: args(cobra.NoArgs, "vip"),
	}
	format := formatFlag(cmd, "table", "json", "yaml", "name")
	cmd.RunE = func(*cobra.Command, []string) error {
		c, err := a.loadCluster()
		if err != nil {
			return err
		}
		return a.printVIP(c, *format)
	}
	return cmd
}

func (a *app) printVIP(c *config.Cluster, format string) error {
	vip := c.Network.VIP
	if !vip.Address.IsValid() && format != "json" {
		return &exitError{exitConfig, fmt.Errorf("%s sets no virtual address; add network: vip: {address: ...}", c.File())}
	}
	owner := ""
	if h, ok := c.VIPOwner(); ok {
		owner = h.Hostname
	}
	holders := c.HeadsWith(config.Keepalived)
	slices.SortFunc(holders, func(x, y config.Controller) int { return y.Priority - x.Priority })
	names := make([]string, 0, len(holders))
	for _, h := range holders {
		names = append(names, h.Hostname)
	}
	switch format {
	case "name":
		fmt.Fprintln(a.stdout, vip.Address)
	case "json":
		address := ""
		if vip.Address.IsValid() {
			address = vip.Address.String()
		}
		return a.printJSON(struct {
			Address   string   `json:"address"`
			Netmask   int      `json:"netmask"`
			Interface string   `json:"interface"`
			RouterID  int      `json:"vrrp_router_id"`
			Owner     string   `json:"owner"`
			Heads     []string `json:"heads"`
		}{address, vip.Netmask, vip.Interface, vip.VRRPRouterID, owner, names})
	case "yaml":
		fmt.Fprintf(a.stdout, "address: %s\nnetmask: %d\ninterface: %s\nvrrp_router_id: %d\nowner: %s\nheads: [%s]\n",
			vip.Address, vip.Netmask, vip.Interface, vip.VRRPRouterID, owner, strings.Join(names, ", "))
	case "table":
		t := plainTable("ADDRESS", "INTERFACE", "VRRP ID", "OWNER", "THEN")
		then := "-"
		if len(names) > 1 {
			then = strings.Join(names[1:], ", ")
		}
		t.AppendRow(table.Row{fmt.Sprintf("%s/%d", vip.Address, vip.Netmask), vip.Interface, vip.VRRPRouterID, owner, then})
		fmt.Fprintln(a.stdout, t.Render())
	}
	return nil
}
