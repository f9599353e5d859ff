package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"multihead/internal/cluster"
	"multihead/internal/config"
	"multihead/internal/plan"
	"multihead/internal/service"
	"multihead/internal/service/agentd"
	"multihead/internal/service/all"
)

// maintenanceFlags is what the verb is told, beside what up is.
type maintenanceFlags struct {
	upFlags
	length time.Duration
	reason string
}

func newMaintenanceCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "maintenance",
		Short: "Work on a head: the address and Slurm's primary go elsewhere, and no agent interferes",
		Example: `  multihead maintenance on server2 --for 2h --reason "new memory"
  multihead maintenance list
  multihead maintenance off server2`,
	}
	cmd.AddCommand(newMaintenanceOnCmd(a), newMaintenanceOffCmd(a), newMaintenanceListCmd(a))
	return cmd
}

// shortestMaintenance and longestMaintenance bound how long a head may be left alone.
// It has to be longer than handing over takes on a busy head.
const (
	shortestMaintenance = time.Minute
	longestMaintenance  = 7 * 24 * time.Hour
)

func newMaintenanceOnCmd(a *app) *cobra.Command {
	var f maintenanceFlags
	cmd := &cobra.Command{
		Use:   "on HEAD --for TIME",
		Short: "Begin: hand over what the head serves alone, and leave it alone until the time is over",
		Long: `The virtual address goes to another head and stays away, Slurm's controller and
accounting on the head stop after another one has taken over, and no agent brings
anything back on it; data services go on. A reboot does not end it. When the time is
over, or with "maintenance off", what was stopped starts again. Said again, it sets a
new end.

Exit code: 0 done, 1 failed or refused, 64 usage, 75 another run is at work.`,
		Example: `  multihead maintenance on server2 --for 2h
  multihead maintenance on server2 --for 30m --reason "new memory" --yes`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, heads []string) error { return a.maintenanceOn(cmd.Context(), f, heads[0]) },
	}
	f.changing(cmd)
	cmd.Flags().DurationVar(&f.length, "for", 0, "how `long`, such as 90m or 2h; at most 168h")
	cmd.Flags().StringVar(&f.reason, "reason", "", "why, for whoever looks at the status")
	cmd.Flags().StringVar(&f.confirm, "confirm", "", "the cluster's `name`, typed: needed where something else is wrong already")
	return cmd
}

func newMaintenanceOffCmd(a *app) *cobra.Command {
	var f maintenanceFlags
	cmd := &cobra.Command{
		Use:   "off HEAD",
		Short: "End: start what was stopped, and let the head serve again",
		Args:  cobra.ExactArgs(1),
		RunE:  func(cmd *cobra.Command, heads []string) error { return a.maintenanceOff(cmd.Context(), f, heads[0]) },
	}
	f.changing(cmd)
	return cmd
}

// resting is a head's maintenance as a run begins or ends it.
type resting struct {
	head string
	file agentd.Maintenance
}

// onHead opens a run about one head.
func (a *app) onHead(ctx context.Context, f upFlags, head string, to aim) (*upRun, error) {
	f.nodes = []string{head}
	run, err := a.openRun(ctx, f, to, func(c *config.Cluster) error {
		if _, ok := c.Head(head); !ok {
			return usageError(fmt.Errorf("the cluster file has no head %q", head))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	run.rest = &resting{head: head}
	err = run.sess.observe(ctx, all.Services())
	if err == nil && run.sess.view.Hosts[head] == nil {
		err = fmt.Errorf("%s was not reached: %w", head, run.sess.view.Errs[head])
	}
	if err != nil {
		run.sess.close()
		return nil, err
	}
	return run, nil
}

func (a *app) maintenanceOn(ctx context.Context, f maintenanceFlags, head string) error {
	if f.length < shortestMaintenance || f.length > longestMaintenance {
		return usageError(fmt.Errorf("--for: say how long, from %s to %s, such as --for 2h", shortestMaintenance, longestMaintenance))
	}
	run, err := a.onHead(ctx, f.upFlags, head, aimRest)
	if err != nil {
		return err
	}
	defer run.sess.close()
	if err := a.mayRestStill(run); err != nil {
		return err
	}
	if err := run.begin(ctx, f); err != nil {
		return err
	}
	return a.handOver(ctx, run, fmt.Sprintf(a.tr("%s is %s"), head, run.rest.file.String()))
}

// mayRestStill is mayRest now and under the lock: while one person is asked another
// may begin to work on another head, and the two together may be too many.
func (a *app) mayRestStill(run *upRun) error {
	run.still = func() error { return a.mayRest(run) }
	return run.still()
}

// mayRest refuses where something else is wrong already: with this head away as well
// the cluster may not serve. A person may go on all the same.
func (a *app) mayRest(run *upRun) error {
	status := run.sess.view.Status(nil)
	var wrong []string
	for _, p := range status.Problems {
		if p.Host != run.rest.head && (p.State != service.Maint || p.Host != "") {
			wrong = append(wrong, strings.TrimSpace("  "+problemLine(p, palette{})))
		}
	}
	if len(wrong) == 0 || run.intent.Confirmed {
		return nil
	}
	return &exitError{exitFailed, fmt.Errorf("%s: %s\n  %s\n%s --confirm %s", a.tr("nothing was changed"),
		a.tr("something else is wrong already, and without this head as well the cluster may not serve:"), strings.Join(wrong, "\n  "),
		a.tr("mend that first, or go on all the same with"), status.Name)}
}

// begin fixes what the head's file says: the units to start again are those that run
// now, and those that an earlier word stopped.
func (run *upRun) begin(ctx context.Context, f maintenanceFlags) error {
	reader := run.sess.view.Hosts[run.rest.head]
	now := time.Now().Truncate(time.Second)
	name, from := whoami()
	file := agentd.Maintenance{Since: now, Until: now.Add(f.length), By: name, From: from, Reason: f.reason}
	before, err := agentd.ReadMaintenance(ctx, reader)
	if err != nil {
		return fmt.Errorf("nothing was changed: %w", err)
	}
	if before != nil {
		file.Since, file.Start = before.Since, before.Start
	}
	stop, err := run.sess.view.StopPlan(run.intent, []string{config.Slurm})
	if err != nil {
		return err
	}
	for _, s := range stop.Steps {
		u, ok := s.Action.(plan.Unit)
		if !ok || s.Host != run.rest.head || slices.Contains(file.Start, u.Name) {
			continue
		}
		stopped, err := u.Done(ctx, reader)
		if err != nil {
			return fmt.Errorf("nothing was changed: %w", err)
		}
		if !stopped {
			file.Start = append(file.Start, u.Name)
		}
	}
	run.rest.file = file
	return nil
}

// restPlan hands over: the file first, so that no agent starts what is stopped.
func (run *upRun) restPlan(service.Intent, []string) (plan.Plan, error) {
	enter, err := agentd.Enter(run.rest.file)
	if err != nil {
		return plan.Plan{}, err
	}
	p, err := run.sess.view.StopPlan(run.intent, []string{config.Slurm})
	return run.around(p, plan.Stage{Name: "begin", Steps: []plan.Step{{ID: "maintenance.begin", Host: run.rest.head, Action: enter,
		Effect: "the virtual address and Slurm's primary go to another head"}}},
		plan.Stage{Name: "hand over", Steps: []plan.Step{{ID: "maintenance.handed", Host: run.rest.head, Action: agentd.Handed(run.restsAlone())}}}), err
}

// restsAlone says whether no other head could have the address.
func (run *upRun) restsAlone() bool {
	v := run.sess.view
	others := maintained(v)
	delete(others, run.rest.head)
	return len(v.Hosts) == 1 || len(others) == len(v.Input.Heads)-1
}

// returnPlan ends it. The head's agent starts what was stopped, and the one that acts
// for the cluster has Slurm handed back in order once this run is over.
func (run *upRun) returnPlan(service.Intent, []string) (plan.Plan, error) {
	leave, err := agentd.Leave(run.rest.file, run.rest.file.Since)
	return run.around(plan.Plan{}, plan.Stage{Name: "end", Steps: []plan.Step{{ID: "maintenance.end", Host: run.rest.head, Action: leave}}},
		plan.Stage{Name: "ended", Steps: []plan.Step{{ID: "maintenance.ended", Host: run.rest.head, Action: agentd.Left()}}}), err
}

// around puts a phase of its own before a plan's.
func (*upRun) around(p plan.Plan, stages ...plan.Stage) plan.Plan {
	const name = "maintenance"
	for i := range p.Phases {
		p.Phases[i].After = append(slices.Clone(p.Phases[i].After), name)
	}
	return plan.Plan{Phases: append([]plan.Phase{{Name: name, Stages: stages}}, p.Phases...)}
}

func (a *app) maintenanceOff(ctx context.Context, f maintenanceFlags, head string) error {
	run, err := a.onHead(ctx, f.upFlags, head, aimReturn)
	if err != nil {
		return err
	}
	defer run.sess.close()
	file, err := agentd.ReadMaintenance(ctx, run.sess.view.Hosts[head])
	if err != nil {
		return err
	}
	if file == nil {
		fmt.Fprintf(a.stdout, a.tr("%s is not in maintenance.\n"), head)
		return nil
	}
	run.rest.file = *file
	return a.handOver(ctx, run, fmt.Sprintf(a.tr("The maintenance of %s is over."), head))
}

// handOver carries a run about a head's maintenance out.
func (a *app) handOver(ctx context.Context, run *upRun, done string) error {
	if err := a.propose(ctx, run); err != nil {
		return err
	}
	return a.onceAgreed(ctx, run, nil, func() error {
		if err := a.apply(ctx, run); err != nil {
			return err
		}
		a.say(done)
		return nil
	})
}

// maintained are the hosts in maintenance, as far as agents say.
func maintained(v *cluster.View) map[string]agentd.Maintenance {
	if s, ok := v.States[agentd.Name].(*agentd.State); ok {
		return s.Maintained()
	}
	return map[string]agentd.Maintenance{}
}

// leaveMaintained keeps a run from changing heads that a person works on, unless it
// names them, and says so.
func (a *app) leaveMaintained(run *upRun) {
	if len(run.flags.nodes) > 0 || run.aim != aimUp && run.aim != aimRecover {
		return
	}
	away := maintained(run.sess.view)
	if len(away) == 0 {
		run.intent.Nodes = nil
		return
	}
	names := []string{}
	for _, spec := range run.sess.file.AllHosts() {
		if _, in := away[spec.Hostname]; !in {
			names = append(names, spec.Hostname)
		}
	}
	run.intent.Nodes = names
	for _, name := range slices.Sorted(maps.Keys(away)) {
		if m := away[name]; !run.said[name] {
			fmt.Fprintf(a.stderr, a.tr("%s is left alone: %s\n"), name, m.String())
		}
		if run.said == nil {
			run.said = map[string]bool{}
		}
		run.said[name] = true
	}
}

func newMaintenanceListCmd(a *app) *cobra.Command {
	f := reach{lookOnly: true}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the heads in maintenance: since when, until when, by whom and why",
		Args:  cobra.NoArgs,
	}
	f.flags(cmd)
	output := formatFlag(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return a.maintenanceList(cmd.Context(), f, *output) }
	return cmd
}

// listedMaintenance is a head in maintenance as list -o json has it.
type listedMaintenance struct {
	Host string `json:"host"`
	agentd.Maintenance
}

func (a *app) maintenanceList(ctx context.Context, f reach, output string) error {
	sess, err := a.openHeads(ctx, f)
	if err != nil {
		return err
	}
	defer sess.close()
	if err := sess.observe(ctx, []service.Service{agentd.New()}); err != nil {
		return err
	}
	found := maintained(sess.view)
	list := []listedMaintenance{}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		list = append(list, listedMaintenance{name, found[name]})
	}
	if output == "json" {
		err = a.printJSON(struct {
			FormatVersion int                 `json:"format_version"`
			Maintenance   []listedMaintenance `json:"maintenance"`
		}{1, list})
	} else if len(list) == 0 {
		fmt.Fprintln(a.stdout, a.tr("No head that is known of is in maintenance."))
	} else {
		t := table.NewWriter()
		t.SetStyle(a.tableStyle())
		t.AppendHeader(table.Row{"HEAD", "SINCE", "UNTIL", "BY", "REASON"})
		for _, m := range list {
			t.AppendRow(table.Row{m.Host, m.Since.Local().Format(time.DateTime), m.Until.Local().Format(time.DateTime), m.By, m.Reason})
		}
		fmt.Fprintln(a.stdout, t.Render())
	}
	var silent []error
	for _, name := range sess.view.Unreached() {
		if _, known := found[name]; !known {
			silent = append(silent, fmt.Errorf("%s was not reached: %w", name, sess.view.Errs[name]))
		}
	}
	if len(silent) > 0 {
		return &exitError{exitFailed, errors.Join(append(silent, err)...)}
	}
	return err
}
