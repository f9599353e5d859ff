package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"multihead/internal/doctor"
	"multihead/internal/host/remote"
	"multihead/internal/hostlist"
)

func newDoctorCmd(a *app) *cobra.Command {
	r := reach{lookOnly: true}
	var installKey bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look at all hosts at once before anything is changed: what would go wrong, and what to do",
		Long:  "Look at all hosts at once: reach, root, system, clock, names, disks, memory, ports, accounts,\npackages, versions. Nothing is changed. Exit code: 0 nothing failed, 1 something did.",
		Example: `  multihead doctor
  multihead doctor -v              with the native commands that were used
  multihead doctor -o wide         also what is fine
  multihead doctor -o json
  multihead doctor --install-key   log in with the password once, and with our key from then on`,
		Args: cobra.NoArgs,
	}
	r.flags(cmd)
	output := formatFlag(cmd, "table", "wide", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return a.doctor(cmd.Context(), r, *output, installKey) }
	cmd.Flags().BoolVar(&installKey, "install-key", false, "add our public key to the hosts that only take the password")
	return cmd
}

func (a *app) doctor(ctx context.Context, r reach, output string, installKey bool) error {
	c, err := a.loadCluster()
	if err != nil {
		return err
	}
	d, err := a.dialer(c, r)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	patients := doctor.Patients(c)
	results, err := d.ConnectAll(ctx, targetsOf(patients))
	if err != nil {
		return err
	}
	defer func() { closeAll(results) }()
	if installKey {
		// The keys were checked by connecting; whoever was reached with the
		// password is logged in to once more.
		if err := a.installKeys(ctx, d, results); err != nil {
			return err
		}
	}
	offers := a.bundleOffers(c)
	for i, res := range results {
		patients[i].Bundle = offers
		admit(&patients[i], res)
	}
	report := doctor.Judge(c, doctor.Examine(ctx, c, patients))
	if output == "json" {
		enc := json.NewEncoder(a.stdout)
		enc.SetIndent("", "  ")
		if err := enc.Encode(report); err != nil {
			return err
		}
	} else {
		a.printReport(report, output == "wide")
		if !installKey {
			fmt.Fprintln(a.stdout, a.tr("Nothing was changed."))
		}
	}
	if !report.OK {
		return &exitError{code: exitFailed}
	}
	return nil
}

func targetsOf(patients []doctor.Patient) []remote.Target {
	targets := make([]remote.Target, len(patients))
	for i, p := range patients {
		targets[i] = target(p.Spec)
	}
	return targets
}

func closeAll(results []remote.Result) {
	for _, r := range results {
		if r.Conn != nil {
			_ = r.Conn.Close()
		}
	}
}

// admit fills in how a host was reached.
func admit(p *doctor.Patient, r remote.Result) {
	p.Login = p.Spec.SSHUser
	if r.Err != nil {
		p.Err = r.Err
		if e, ok := errors.AsType[*remote.Error](r.Err); ok {
			p.NotRoot = e.Class == remote.SudoFailed
			p.Remedy = e.Remedy()
			short := *e
			short.Hint = " " // the remedy stands beside it
			p.Err = errors.New(strings.TrimRight(strings.TrimPrefix(short.Error(), e.Host+" "), "; "))
		}
		return
	}
	p.Reader, p.Login = r.Conn, r.Conn.User
	p.NotRoot = r.Conn.Hello().UID != 0
}

// installKeys adds our key wherever the login succeeded.
func (a *app) installKeys(ctx context.Context, d *remote.Dialer, results []remote.Result) error {
	var targets []remote.Target
	for _, r := range results {
		if r.Err == nil && !r.Conn.Local {
			targets = append(targets, r.Target)
		}
	}
	return a.putKeys(ctx, d, targets)
}

// putKeys makes our key a login of these hosts, and says so.
func (a *app) putKeys(ctx context.Context, d *remote.Dialer, targets []remote.Target) error {
	var errs []error
	for _, k := range d.InstallKeys(ctx, targets) {
		switch {
		case k.Err != nil:
			errs = append(errs, k.Err)
		case k.Installed:
			fmt.Fprintf(a.stderr, "%s: our key %s is installed\n", k.Target.Name, k.Fingerprint)
		case !a.quiet:
			fmt.Fprintf(a.stderr, "%s: takes our key already\n", k.Target.Name)
		}
	}
	return errors.Join(errs...)
}

// printReport prints hosts by checks, and below what is not fine.
func (a *app) printReport(r doctor.Report, wide bool) {
	colour := a.colours(a.stdout)
	t := table.NewWriter()
	t.SetStyle(table.StyleDefault)
	t.Style().Options = table.Options{SeparateColumns: false}
	t.Style().Box.PaddingLeft, t.Style().Box.PaddingRight = "", "  "
	head := table.Row{"HOST"}
	for _, name := range doctor.Checks() {
		head = append(head, strings.ToUpper(name))
	}
	t.AppendHeader(head)
	for _, h := range r.Hosts {
		row := table.Row{h.Hostname}
		for _, f := range h.Findings {
			row = append(row, levelWord(colour, f.Level))
		}
		t.AppendRow(row)
	}
	for line := range strings.SplitSeq(t.Render(), "\n") {
		fmt.Fprintln(a.stdout, strings.TrimRight(line, " "))
	}
	a.printFindings(colour, r, wide || a.verbose)
	for _, n := range r.Notes {
		fmt.Fprintln(a.stdout, a.tr("note:"), n)
	}
	fmt.Fprintf(a.stdout, a.tr("\nHosts: %d. Failed: %d, to look at: %d, unknown: %d.\n"),
		len(r.Hosts), r.Count(doctor.Fail), r.Count(doctor.Warn), r.Count(doctor.Unknown))
}

func levelWord(p palette, l doctor.Level) string {
	word := map[doctor.Level]string{doctor.OK: "ok", doctor.Warn: "WARN", doctor.Fail: "FAIL", doctor.Unknown: "?", doctor.Skipped: "-"}[l]
	if !p.on {
		return word
	}
	switch l {
	case doctor.OK:
		return text.FgGreen.Sprint(word)
	case doctor.Warn:
		return text.FgYellow.Sprint(word)
	case doctor.Fail:
		return text.FgRed.Sprint(word)
	}
	return word
}

// printFindings prints every finding that is not fine (and those that are,
// where that is asked for), worst first, once for all hosts that have the same.
func (a *app) printFindings(p palette, r doctor.Report, fine bool) {
	w := a.stdout
	levels := []doctor.Level{doctor.Fail, doctor.Warn, doctor.Unknown}
	if fine {
		levels = append(levels, doctor.OK)
	}
	for _, level := range levels {
		for i, name := range doctor.Checks() {
			var order []string
			hosts := map[string][]string{}
			sample := map[string]doctor.Finding{}
			for _, h := range r.Hosts {
				f := h.Findings[i]
				if f.Level != level || f.Reason == "" {
					continue
				}
				if hosts[f.Reason] == nil {
					order = append(order, f.Reason)
					sample[f.Reason] = f
				}
				hosts[f.Reason] = append(hosts[f.Reason], h.Hostname)
			}
			for _, reason := range order {
				f := sample[reason]
				fmt.Fprintf(w, "\n%s %s %s: %s\n", levelWord(p, level), hostlist.Compress(hosts[reason]), name, f.Reason)
				if f.Remedy != "" && f.Level != doctor.OK {
					fmt.Fprintf(w, "     %s %s\n", a.tr("do:"), f.Remedy)
				}
				if a.verbose {
					for _, q := range f.Asked {
						fmt.Fprintf(w, "     $ %s\n", q)
					}
				}
			}
		}
	}
}
