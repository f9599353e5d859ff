package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"multihead/internal/plan"
	"multihead/internal/service"
)

// runColour is the state whose colour a result is shown in.
func runColour(r plan.RunResult) service.Word {
	switch r {
	case plan.RunDone:
		return service.Up
	case plan.RunFailed, plan.RunCutOff:
		return service.Down
	case plan.RunStopped, plan.RunWorking:
		return service.Degraded
	}
	return service.Unknown
}

func stepColour(r plan.StepResult) service.Word {
	switch r {
	case plan.StepIsDone, plan.StepWasSo:
		return service.Up
	case plan.StepHasFailed, plan.StepUndoFailed:
		return service.Down
	case plan.StepNotEnded, plan.StepUndone, plan.StepKept:
		return service.Degraded
	}
	return service.Unknown
}

func (a *app) printRuns(runs []foundRun, complete bool) {
	if len(runs) == 0 {
		if complete {
			fmt.Fprintln(a.stdout, a.tr("No run is on record here. --all looks on the heads as well."))
		}
		return
	}
	pal := a.colours(a.stdout)
	t := table.NewWriter()
	t.SetStyle(a.tableStyle())
	t.AppendHeader(table.Row{"ID", "ON", "BEGAN", "WHO", "COMMAND", "RESULT", "STEPS", "TOOK"})
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 5, WidthMax: 48, WidthMaxEnforcer: text.WrapSoft}})
	for _, r := range runs {
		t.AppendRow(table.Row{r.ID, r.On, r.Begin.Local().Format(time.DateTime), r.User, shortCommand(r.Command),
			pal.word(runColour(r.Result), string(r.Result)),
			fmt.Sprintf("%d/%d", r.Count(plan.StepIsDone, plan.StepWasSo), len(r.Did)), took(r.Seconds())})
	}
	fmt.Fprintln(a.stdout, t.Render())
}

// shortCommand is a command without the tool's own name and the file's place.
func shortCommand(c string) string {
	words := strings.Fields(strings.TrimPrefix(c, "multihead "))
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return strings.HasPrefix(w, "--config=") }), " ")
}

// printRun shows all of one run: how it began and ended, and its steps in the
// plan's order.
func (a *app) printRun(r foundRun) {
	pal := a.colours(a.stdout)
	line := func(label, value string) {
		if value != "" {
			fmt.Fprintf(a.stdout, "%s  %s\n", text.Pad(a.tr(label), 9, ' '), value)
		}
	}
	line("run", r.ID+"  "+pal.word(runColour(r.Result), string(r.Result)))
	line("cluster", r.Cluster)
	line("command", r.Command)
	line("who", fmt.Sprintf(a.tr("%s, from %s"), r.User, r.From))
	line("record", fmt.Sprintf(a.tr("on %s"), r.On))
	line("began", r.Begin.Local().Format(time.RFC3339))
	if r.End.IsZero() {
		line("last seen", r.Last.Local().Format(time.RFC3339))
	} else {
		line("ended", fmt.Sprintf(a.tr("%s, after %s"), r.End.Local().Format(time.RFC3339), took(r.Seconds())))
	}
	line("cause", r.Cause)
	line("error", r.Error)
	fmt.Fprintln(a.stdout)
	t := table.NewWriter()
	t.SetStyle(a.tableStyle())
	t.AppendHeader(table.Row{"PHASE", "HOST", "STEP", "RESULT", "AT", "TOOK"})
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 3, WidthMax: 64, WidthMaxEnforcer: text.WrapSoft}})
	for _, s := range r.Did {
		at, lasted := "-", "-"
		if !s.Begin.IsZero() {
			at = fmt.Sprintf("+%.1f s", s.Begin.Sub(r.Begin).Seconds())
		}
		if s.Result != plan.StepNotBegun && s.Result != plan.StepNotEnded {
			lasted = took(s.Seconds)
		}
		what := s.Text
		if s.Error != "" {
			what += "\n" + s.Error
		}
		t.AppendRow(table.Row{s.Phase, s.Host, what, pal.word(stepColour(s.Result), string(s.Result)), at, lasted})
	}
	fmt.Fprintln(a.stdout, t.Render())
	for _, p := range r.Phases {
		switch {
		case !p.Ended:
			fmt.Fprintf(a.stdout, a.tr("%s: not ended\n"), p.Phase)
		case p.Error != "":
			fmt.Fprintf(a.stdout, a.tr("%s: failed after %s\n"), p.Phase, took(p.Seconds))
		default:
			fmt.Fprintf(a.stdout, a.tr("%s: done in %s\n"), p.Phase, took(p.Seconds))
		}
	}
}
