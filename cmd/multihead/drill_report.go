package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"multihead/internal/drill"
)

// reportDrills prints what came of the runs. The error is what did not hold.
func (a *app) reportDrills(results []*drill.Result, f drillFlags) error {
	var errs []error
	if f.html != "" && len(results) > 0 {
		page, err := drill.HTML(results, time.Now())
		if err == nil {
			err = os.WriteFile(f.html, page, 0o644)
		}
		errs = append(errs, err)
	}
	if f.history != "" {
		errs = append(errs, writeHistory(f.history, results))
	}
	if *f.output == "json" {
		errs = append(errs, a.printJSON(drill.Report(results)))
	} else {
		a.printDrills(results)
	}
	if slices.ContainsFunc(results, func(r *drill.Result) bool { return !r.Held }) {
		errs = append(errs, &exitError{exitFailed, errors.New(a.tr("the cluster did not hold"))})
	}
	return errors.Join(errs...)
}

// writeHistory writes every operation of every run.
func writeHistory(path string, results []*drill.Result) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	w := bufio.NewWriter(file)
	enc := json.NewEncoder(w)
	for _, r := range results {
		for _, op := range r.Ops() {
			if err := enc.Encode(op); err != nil {
				return err
			}
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return file.Close()
}

// printDrills prints each scenario once, over all its runs.
func (a *app) printDrills(results []*drill.Result) {
	for _, group := range drill.Report(results).Drills {
		a.printDrill(group)
	}
}

func (a *app) printDrill(d drill.Summary) {
	pal, w := a.colours(a.stdout), a.stdout
	fmt.Fprintf(w, "\n%s %s: %s\n", d.ID, d.Name, a.heldWord(pal, d.Held))
	last := d.Runs[len(d.Runs)-1]
	fmt.Fprintf(w, "%s (%s)\n", last.Breaks, strings.Join(last.Victims, ", "))
	t := table.NewWriter()
	t.SetStyle(a.tableStyle())
	t.AppendHeader(table.Row{"SERVICE", "GAP P50", "WORST", "BOUND", "ON RETURN", "ACKNOWLEDGED", "UNKNOWN", "FAILED", "VERDICT"})
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 2, Align: text.AlignRight}, {Number: 3, Align: text.AlignRight},
		{Number: 4, Align: text.AlignRight}, {Number: 5, Align: text.AlignRight}})
	for _, s := range d.Services {
		bound := "-"
		if s.Bound > 0 {
			bound = inSeconds(s.Bound)
		}
		t.AppendRow(table.Row{s.Service, inSeconds(s.P50), inSeconds(s.Worst), bound, inSeconds(s.WorstReturn),
			s.Acknowledged, s.Unknown, s.Failed, a.heldWord(pal, s.Held)})
	}
	fmt.Fprintln(w, t.Render())
	fmt.Fprintf(w, a.tr("Well again by itself: p50 %s, worst %s after the fault was undone. Runs: %d.\n"), inSeconds(d.ToGreenP50), inSeconds(d.ToGreenWorst), len(d.Runs))
	if last.VolumeOn != "" {
		fmt.Fprintf(w, a.tr("The volume was written to on %s; compute nodes do not mount it.\n"), last.VolumeOn)
	}
	for i, r := range d.Runs {
		for _, v := range r.Verdicts {
			// What holds is shown once, what does not of every run.
			if !v.OK || i == len(d.Runs)-1 {
				run := ""
				if len(d.Runs) > 1 {
					run = fmt.Sprintf(" (run %d)", i+1)
				}
				fmt.Fprintf(w, "  %s %s%s: %s\n", a.heldWord(pal, v.OK), v.Name, run, v.Text)
			}
		}
	}
}

func inSeconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// heldWord is the verdict in one word.
func (a *app) heldWord(pal palette, ok bool) string {
	word, colour := a.tr("held"), text.FgGreen
	if !ok {
		word, colour = a.tr("BROKE"), text.FgRed
	}
	if !pal.on {
		return word
	}
	return text.Colors{colour}.Sprint(word)
}
