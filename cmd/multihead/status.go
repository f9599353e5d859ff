package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"multihead/internal/cluster"
	"multihead/internal/config"
	"multihead/internal/service"
)

func newStatusCmd(a *app) *cobra.Command {
	f := reach{lookOnly: true}
	var output string
	var watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "One screen: does it serve, what is broken, what can it still lose",
		Long:  "Exit code: 0 all is well, 1 degraded, 2 down, 3 unknown.",
		Example: `  multihead status
  multihead status --watch          again every two seconds
  multihead status -o wide          with addresses, roles and the arithmetic
  multihead status -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watch {
				return a.watchStatus(cmd.Context(), f, output)
			}
			return a.status(cmd.Context(), f, output)
		},
	}
	f.flags(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table, wide or json")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again every two seconds, until Ctrl-C")
	return cmd
}

// statusCode is what scripts branch on.
func statusCode(w service.Word) int {
	switch w {
	case service.Up:
		return 0
	case service.Down:
		return 2
	case service.Unknown:
		return 3
	default:
		return 1
	}
}

func (a *app) status(ctx context.Context, f reach, output string) error {
	sess, vitals, err := a.look(ctx, f)
	if err != nil {
		return err
	}
	defer sess.close()
	s := sess.view.Status(vitals)
	if output == "json" {
		err = a.printJSON(s)
	} else {
		a.printStatus(s, output == "wide")
	}
	if err == nil && statusCode(s.State) != 0 {
		return &exitError{statusCode(s.State), nil}
	}
	return err
}

// watchStatus keeps its connections and asks again; a host that comes back is
// reached again.
func (a *app) watchStatus(ctx context.Context, f reach, output string) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		fmt.Fprint(a.stdout, "\x1b[H\x1b[2J")
		if err := a.status(ctx, f, output); err != nil && statusError(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// statusError tells an error from a state that is not Up.
func statusError(err error) bool {
	var e *exitError
	return !errors.As(err, &e) || e.err != nil
}

// serviceLabels are the short names of the status table's columns.
func serviceLabels() map[string]string {
	return map[string]string{config.GlusterFS: "GFS", config.MariaDB: "MDB", config.Redis: "RDS",
		config.Slurm: "SLM", config.Web: "WEB", config.Keepalived: "VIP"}
}

func (a *app) printStatus(s cluster.Status, wide bool) {
	pal, w := a.colours(a.stdout), a.stdout
	fmt.Fprintf(w, "%s  %s  %s", s.Name, pal.word(s.State, string(s.State)), counted(s.Size, "head"))
	if !s.UpSince.IsZero() {
		fmt.Fprintf(w, "  up %s", age(s.Time.Sub(s.UpSince)))
	}
	if s.VIP != "" {
		fmt.Fprintf(w, "  VIP %s on %s", s.VIP, orNone(s.VIPOwner))
	}
	fmt.Fprintf(w, "\n%s\n", a.sentence(s.SurvivesNow))
	for _, p := range s.Problems {
		fmt.Fprintln(w, problemLine(p, pal))
	}
	fmt.Fprintln(w, a.headTable(s, pal, wide))
	for _, sv := range s.Services {
		line := sv.Summary
		if line == "" {
			line = sv.Reason
		}
		fmt.Fprintf(w, "%-11s %s  %s\n", sv.Service, pal.word(sv.State, fmt.Sprintf("%-8s", sv.State)), line)
	}
	if wide {
		a.printSurvival(s.SurvivesNow)
	}
}

// problemLine is a state with its host, its service and its reason.
func problemLine(p cluster.Problem, pal palette) string {
	what := strings.TrimSpace(p.Host + " " + p.Service)
	return fmt.Sprintf("  %s %s: %s", pal.word(p.State, string(p.State)), what, p.Reason)
}

func (a *app) headTable(s cluster.Status, pal palette, wide bool) string {
	t := table.NewWriter()
	t.SetStyle(a.tableStyle())
	header := table.Row{"HEAD", "STATUS", "LOAD"}
	if wide {
		header = table.Row{"HEAD", "ADDRESS", "STATUS", "LOAD", "UP"}
	}
	labels := serviceLabels()
	for _, sv := range s.Services {
		header = append(header, labels[sv.Service])
	}
	t.AppendHeader(header)
	for _, h := range s.Heads {
		row := table.Row{h.Hostname, pal.word(h.State, string(h.State)), fmt.Sprintf("%.2f", h.Load)}
		if wide {
			row = table.Row{h.Hostname, h.IP, pal.word(h.State, string(h.State)), fmt.Sprintf("%.2f", h.Load), age(h.Uptime)}
		}
		for _, sv := range s.Services {
			c, ok := h.Services[sv.Service]
			if !ok {
				row = append(row, "-")
				continue
			}
			cell := pal.word(c.State, string(c.State))
			if c.Role != "" {
				cell += " " + c.Role
			}
			row = append(row, cell)
		}
		t.AppendRow(row)
	}
	return t.Render()
}

// tableStyle is box drawing where the terminal's locale can show it, ASCII
// elsewhere.
func (a *app) tableStyle() table.Style {
	style := table.StyleLight
	if !utf8Locale() {
		style = table.StyleDefault
	}
	style.Options.SeparateRows = false
	return style
}

// age is a duration as people say it.
func age(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", int(d.Hours())/24)
	case d >= time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	case d >= time.Minute:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	default:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	}
}
