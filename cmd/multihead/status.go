package main

import (
	"bytes"
	"context"
	"encoding/json"
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
	"multihead/internal/service/agentd"
)

func newStatusCmd(a *app) *cobra.Command {
	f := reach{lookOnly: true}
	var watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "One screen: does it serve, what is broken, what can it still lose",
		Long:  "Exit code: 0 all is well, 1 degraded, 2 down, 3 unknown, 64 usage, 78 the cluster file.",
		Example: `  multihead status
  multihead status --watch          again every two seconds
  multihead status -o wide          with addresses, roles and the arithmetic
  multihead status -o json`,
		Args: cobra.NoArgs,
	}
	f.flags(cmd)
	output := formatFlag(cmd, "table", "wide", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if watch {
			return a.watchStatus(cmd.Context(), f, *output)
		}
		return a.status(cmd.Context(), f, *output)
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again every two seconds, until Ctrl-C")
	return cmd
}

// statusCode is what scripts branch on.
func statusCode(w service.Word) int {
	switch w {
	case service.Up, service.Maint: // a person knows of it, and it ends by itself
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

// watchPause is how long a screen of --watch stands.
const watchPause = 2 * time.Second

// watchStatus keeps its connections and asks again; a host that comes back is
// reached again.
func (a *app) watchStatus(ctx context.Context, f reach, output string) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	sess, vitals, err := a.look(ctx, f)
	if err != nil {
		return endOfWatch(ctx, err)
	}
	defer func() { sess.close() }()
	for {
		if err := a.drawStatus(sess.view.Status(vitals), output); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchPause):
		}
		if err := sess.reach(ctx); err != nil {
			return endOfWatch(ctx, err)
		}
		if vitals, err = sess.ask(ctx); err != nil {
			return endOfWatch(ctx, err)
		}
	}
}

// endOfWatch is the error that a watch ended with; Ctrl-C is none.
func endOfWatch(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// drawStatus writes one screen of --watch over the one before, in one write, so
// that nobody sees half of it; as JSON it is one document on a line.
func (a *app) drawStatus(s cluster.Status, output string) error {
	if output == "json" {
		return json.NewEncoder(a.stdout).Encode(s)
	}
	var screen bytes.Buffer
	screen.WriteString(clearScreen)
	frame := *a
	frame.stdout, frame.color = &screen, "never"
	if a.colours(a.stdout).on {
		frame.color = "always"
	}
	frame.printStatus(s, output == "wide")
	_, err := a.stdout.Write(screen.Bytes())
	return err
}

// clearScreen takes the cursor to the first line and wipes what is below.
const clearScreen = "\x1b[H\x1b[2J"

// serviceLabels are the short names of the status table's columns.
func serviceLabels() map[string]string {
	return map[string]string{config.GlusterFS: "GFS", config.MariaDB: "MDB", config.Redis: "RDS",
		config.Slurm: "SLM", config.Web: "WEB", config.Keepalived: "VIP", agentd.Name: "AGT", "backup": "BAK"}
}

func (a *app) printStatus(s cluster.Status, wide bool) {
	pal, w := a.colours(a.stdout), a.stdout
	fmt.Fprintf(w, "%s  %s  %s", s.Name, pal.word(s.State, string(s.State)), counted(s.Size, "head"))
	if !s.UpSince.IsZero() {
		fmt.Fprintf(w, "  up %s", age(s.Time.Sub(s.UpSince)))
	}
	if s.VIP != "" {
		fmt.Fprint(w, "  ", a.holder("VIP "+s.VIP, s.VIPOwner, s.Unsure()))
	}
	fmt.Fprintf(w, "\n%s\n", a.canLose(s))
	for _, p := range s.Problems {
		fmt.Fprintln(w, problemLine(p, pal))
	}
	fmt.Fprintln(w, a.headTable(s, pal, wide))
	for _, sv := range s.Services {
		line := sv.Summary
		if line == "" || sv.State == service.Unknown { // what is not known has nothing to count
			line = sv.Reason
		}
		fmt.Fprintf(w, "%-11s %s  %s\n", sv.Service, pal.word(sv.State, fmt.Sprintf("%-8s", sv.State)), line)
	}
	if wide {
		a.printSurvival(s.Survives)
	}
}

// canLose says what the cluster can lose now. What the file promises holds while
// all of it is up; with something lost already it is said to be no more than
// that.
func (a *app) canLose(s cluster.Status) string {
	can := a.sentence(s.Survives)
	switch {
	case s.State == service.Up || len(s.Survives.Services) == 0:
		return upperFirst(can)
	case s.Unsure():
		return fmt.Sprintf(a.tr("With all heads up it %s.\nWhat it can lose now is not known: %s"), can, strings.Join(s.NotUp(), ", "))
	default:
		return fmt.Sprintf(a.tr("With all heads up it %s.\nNow it is not that: %s"), can, strings.Join(s.NotUp(), ", "))
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
		load, up := "-", "-"
		if h.Vitals() {
			load, up = fmt.Sprintf("%.2f", h.Load), age(h.Uptime)
		}
		row := table.Row{h.Hostname, pal.word(h.State, string(h.State)), load}
		if wide {
			row = table.Row{h.Hostname, h.IP, pal.word(h.State, string(h.State)), load, up}
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
