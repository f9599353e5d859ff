package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
)

// runsFlags say where records are looked for.
type runsFlags struct {
	reach
	nodes  []string
	all    bool
	limit  int
	output *string
}

func (f *runsFlags) add(cmd *cobra.Command) {
	f.reach = reach{lookOnly: true}
	f.reach.flags(cmd)
	cmd.Flags().StringSliceVar(&f.nodes, "node", nil, "also the records on these `hosts`: what their agents did, and what was run there")
	cmd.Flags().BoolVar(&f.all, "all", false, "also the records on every head and witness")
	cmd.MarkFlagsMutuallyExclusive("node", "all")
	f.output = formatFlag(cmd, "table", "json")
}

func newRunsCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "runs",
		Short: "What was changed: by whom, when, by what plan, how it ended and how long each step took",
		Example: `  multihead runs list
  multihead runs list --all
  multihead runs show last`,
	}
	cmd.AddCommand(newRunsListCmd(a), newRunsShowCmd(a))
	return cmd
}

func newRunsListCmd(a *app) *cobra.Command {
	var f runsFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the runs, newest first",
		Long: `Every run that changes something writes down each step before the next one begins,
on the machine that it was started on; an agent's on the head that acted. This
machine's records are read without asking a host; --all asks the heads as well.

Exit code: 0, 1 a host or a record could not be read, 64 usage, 78 the cluster file.`,
		Example: `  multihead runs list                 what was run from this machine
  multihead runs list --all           and what the agents did by themselves
  multihead runs list --node server2 -n 100 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runsList(cmd.Context(), f) },
	}
	f.add(cmd)
	cmd.Flags().IntVarP(&f.limit, "limit", "n", 20, "how many, the newest; 0 for all")
	return cmd
}

func newRunsShowCmd(a *app) *cobra.Command {
	var f runsFlags
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one run: the plan, what became of each step, and how long it took",
		Long: `ID is what list shows, its beginning where only one run has it, or "last".

Exit code: 0, 1 there is no such run or it could not be read, 64 usage, 78 the cluster file.`,
		Example: `  multihead runs show last
  multihead runs show 20261122_0812
  multihead runs show 20261122_081455.120 --all -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, ids []string) error { return a.runsShow(cmd.Context(), f, ids[0]) },
	}
	f.add(cmd)
	return cmd
}

// foundRun is a run and the machine that has its record.
type foundRun struct {
	On string `json:"on"`
	*plan.RunRecord
}

// listedRun is a run without its steps, as list -o json has it.
type listedRun struct {
	ID      string         `json:"id"`
	On      string         `json:"on"`
	Cluster string         `json:"cluster"`
	Command string         `json:"command"`
	User    string         `json:"user"`
	From    string         `json:"from"`
	Begin   time.Time      `json:"begin"`
	End     time.Time      `json:"end,omitzero"`
	Result  plan.RunResult `json:"result"`
	Error   string         `json:"error,omitempty"`
	Cause   string         `json:"cause,omitempty"`
	Steps   int            `json:"steps"`
	Done    int            `json:"done"`
	Seconds float64        `json:"seconds"`
}

func list(r foundRun) listedRun {
	return listedRun{ID: r.ID, On: r.On, Cluster: r.Cluster, Command: r.Command, User: r.User, From: r.From, Begin: r.Begin, End: r.End,
		Result: r.Result, Error: r.Error, Cause: r.Cause, Steps: len(r.Did), Done: r.Count(plan.StepIsDone, plan.StepWasSo), Seconds: r.Seconds()}
}

// runsPlace is a machine with records.
type runsPlace struct {
	name string
	ids  []string // newest first
	read func(ctx context.Context, id string) (*plan.RunRecord, error)
}

// runsPlaces finds the records. What could not be looked at is in the error, and
// the others are there all the same. release ends the connections that they are
// read by.
func (a *app) runsPlaces(ctx context.Context, f runsFlags) (places []runsPlace, release func(), err error) {
	release = func() {}
	c, err := a.loadCluster()
	if err != nil {
		return nil, release, err
	}
	if err := checkHosts(c, f.nodes); err != nil {
		return nil, release, err
	}
	here, err := localRuns(c)
	places, errs := []runsPlace{here}, []error{err}
	if !f.all && len(f.nodes) == 0 {
		return places, release, err
	}
	specs := c.HeadsAndWitnesses()
	if len(f.nodes) > 0 {
		specs = slices.DeleteFunc(c.AllHosts(), func(s config.HostSpec) bool { return !slices.Contains(f.nodes, s.Hostname) })
	}
	sess, err := a.open(ctx, c, specs, f.reach)
	if err != nil {
		return nil, release, err
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, spec := range specs {
		h, ok := sess.view.Hosts[spec.Hostname]
		if !ok {
			errs = append(errs, fmt.Errorf("%s: %w", spec.Hostname, sess.view.Errs[spec.Hostname]))
			continue
		}
		if spec.Hostname == sess.view.Local && stateDir(c) == hostStateDir(c) {
			continue // these are the records that were read already
		}
		wg.Go(func() {
			p, err := hostRuns(ctx, c, h)
			mu.Lock()
			defer mu.Unlock()
			places, errs = append(places, p), append(errs, err)
		})
	}
	wg.Wait()
	return places, sess.close, errors.Join(errs...)
}

// localRuns are the records of this machine.
func localRuns(c *config.Cluster) (runsPlace, error) {
	dir := filepath.Join(stateDir(c), "runs")
	_, from := whoami()
	p := runsPlace{name: from, read: func(_ context.Context, id string) (*plan.RunRecord, error) {
		return plan.OpenRun(plan.RunPath(dir, id))
	}}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	p.ids = plan.RunIDs(names)
	return p, err
}

// hostStateDir is where a host keeps the records of its agent, and of what root
// ran on it.
func hostStateDir(c *config.Cluster) string {
	return path.Join("/var/lib/multihead", strings.ReplaceAll(c.Info.ClusterName, "/", "_"))
}

// hostRuns are the records of a host.
func hostRuns(ctx context.Context, c *config.Cluster, h host.Reader) (runsPlace, error) {
	dir := path.Join(hostStateDir(c), "runs")
	p := runsPlace{name: h.Name(), read: func(ctx context.Context, id string) (*plan.RunRecord, error) {
		data, err := h.ReadFile(ctx, plan.RunPath(dir, id))
		if err != nil {
			return nil, err
		}
		return plan.ReadRun(bytes.NewReader(data))
	}}
	entries, err := h.ReadDir(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, fmt.Errorf("%s: %w", h.Name(), err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	p.ids = plan.RunIDs(names)
	return p, nil
}

// placedRun is a run that is not read yet.
type placedRun struct {
	place runsPlace
	id    string
}

// newestRuns are the runs of all places, newest first.
func newestRuns(places []runsPlace) []placedRun {
	var all []placedRun
	for _, p := range places {
		for _, id := range p.ids {
			all = append(all, placedRun{p, id})
		}
	}
	slices.SortStableFunc(all, func(x, y placedRun) int {
		return cmp.Or(cmp.Compare(y.id, x.id), cmp.Compare(x.place.name, y.place.name))
	})
	return all
}

func (a *app) runsList(ctx context.Context, f runsFlags) error {
	places, release, err := a.runsPlaces(ctx, f)
	defer release()
	if places == nil {
		return err
	}
	errs := []error{err}
	runs := []foundRun{}
	for _, p := range newestRuns(places) {
		if f.limit > 0 && len(runs) == f.limit {
			break
		}
		r, err := p.place.read(ctx, p.id)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %s: %w", p.place.name, p.id, err))
			continue
		}
		runs = append(runs, foundRun{p.place.name, r})
	}
	if *f.output == "json" {
		listed := []listedRun{}
		for _, r := range runs {
			listed = append(listed, list(r))
		}
		err = a.printJSON(struct {
			FormatVersion int         `json:"format_version"`
			Runs          []listedRun `json:"runs"`
		}{1, listed})
	} else {
		err = nil
		a.printRuns(runs, errors.Join(errs...) == nil)
	}
	if unread := errors.Join(errs...); unread != nil {
		return &exitError{exitFailed, unread}
	}
	return err
}

func (a *app) runsShow(ctx context.Context, f runsFlags, id string) error {
	places, release, unread := a.runsPlaces(ctx, f)
	defer release()
	if places == nil {
		return unread
	}
	all := newestRuns(places)
	picked, err := pickRun(all, id)
	if err != nil {
		return errors.Join(err, unread)
	}
	r, err := picked.place.read(ctx, picked.id)
	if err != nil {
		return &exitError{exitFailed, fmt.Errorf("%s: %s: %w", picked.place.name, picked.id, err)}
	}
	if *f.output == "json" {
		r.Plan = nil // every step of it is among those that were done, or not begun
		return a.printJSON(struct {
			FormatVersion int `json:"format_version"`
			foundRun
		}{1, foundRun{picked.place.name, r}})
	}
	a.printRun(foundRun{picked.place.name, r})
	return nil
}

// pickRun finds the one run that is meant.
func pickRun(all []placedRun, id string) (placedRun, error) {
	if len(all) == 0 {
		return placedRun{}, &exitError{exitFailed, errors.New("there is no record of a run here; --all looks on the heads as well")}
	}
	if id == "last" {
		return all[0], nil
	}
	var hits []placedRun
	for _, p := range all {
		if p.id == id {
			return p, nil
		}
		if strings.HasPrefix(p.id, id) {
			hits = append(hits, p)
		}
	}
	switch len(hits) {
	case 0:
		return placedRun{}, usageError(fmt.Errorf("there is no run %q here; multihead runs list shows them, and --all looks on the heads as well", id))
	case 1:
		return hits[0], nil
	}
	return placedRun{}, usageError(fmt.Errorf("%d runs begin with %q, such as %s and %s", len(hits), id, hits[0].id, hits[1].id))
}

// took is a run's or a step's length as people read it.
func took(seconds float64) string {
	if seconds < 60 {
		return fmt.Sprintf("%.1f s", seconds)
	}
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}
