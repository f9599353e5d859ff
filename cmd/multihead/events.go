package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"multihead/internal/cluster"
	"multihead/internal/service/agentd"
)

func newEventsCmd(a *app) *cobra.Command {
	f := reach{lookOnly: true}
	cmd := &cobra.Command{
		Use:   "events",
		Short: "What the agents did by themselves and what they found to need a person, oldest first",
		Long: `Asks the agent of every head and witness what it did, with its cause: what was
brought back, which daemon was killed because it hung, what was refused. An agent
remembers what happened since it was started; the journal of its host has all of
it (journalctl -u multihead-agent).

Exit code: 0, 1 an agent did not answer, 64 usage, 78 the cluster file.`,
		Example: `  multihead events
  multihead events -o json`,
		Args: cobra.NoArgs,
	}
	f.flags(cmd)
	output := formatFlag(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return a.events(cmd.Context(), f, *output) }
	return cmd
}

// eventsLimit bounds what one agent is asked.
const eventsLimit = 5 * time.Second

func (a *app) events(ctx context.Context, f reach, output string) error {
	sess, err := a.openHeads(ctx, f)
	if err != nil {
		return err
	}
	defer sess.close()
	all, err := gatherEvents(ctx, sess.view)
	if output == "json" {
		if perr := a.printJSON(all); perr != nil {
			return perr
		}
	} else {
		t := table.NewWriter()
		t.SetStyle(a.tableStyle())
		t.AppendHeader(table.Row{"TIME", "HOST", "SERVICE", "WHAT", "CAUSE"})
		for _, e := range all {
			what := e.What
			if e.Kind != "recovery" {
				what = e.Kind + ": " + what
			}
			t.AppendRow(table.Row{e.Time.Local().Format(time.DateTime), e.Host, e.Service, what, e.Cause})
		}
		switch {
		case len(all) > 0:
			fmt.Fprintln(a.stdout, t.Render())
		case err == nil:
			fmt.Fprintln(a.stdout, a.tr("Nothing has happened since the agents were started."))
		}
	}
	if err != nil {
		return &exitError{exitFailed, err}
	}
	return nil
}

// gatherEvents asks all agents at once. What did not answer is in the error, and
// the others' events are there.
func gatherEvents(ctx context.Context, v *cluster.View) ([]agentd.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, eventsLimit)
	defer cancel()
	all := []agentd.Event{}
	var errs []error
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, spec := range v.Cluster.HeadsAndWitnesses() {
		h, ok := v.Hosts[spec.Hostname]
		if !ok {
			errs = append(errs, v.Errs[spec.Hostname])
			continue
		}
		wg.Go(func() {
			events, err := agentd.Events(ctx, h)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: the agent does not answer: %w", spec.Hostname, err))
			}
			all = append(all, events...)
		})
	}
	wg.Wait()
	slices.SortStableFunc(all, func(x, y agentd.Event) int { return x.Time.Compare(y.Time) })
	return all, errors.Join(errs...)
}
