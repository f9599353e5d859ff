package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"multihead/internal/backup"
	"multihead/internal/plan"
	"multihead/internal/service/agentd"
)

func (a *app) backupCreate(ctx context.Context, f backupFlags) error {
	if f.scheduled {
		if a.configPath == "" {
			a.configPath = agentd.ConfigFile
		}
		yes, name, err := leadsHere(ctx)
		if err != nil {
			return err
		}
		if !yes {
			fmt.Fprintf(a.stdout, "%s does not act for the cluster: another head makes the snapshot\n", name)
			return nil
		}
	}
	run, err := a.backupSession(ctx, f)
	if err != nil {
		if c := new(exitError); f.scheduled && errors.As(err, &c) && c.code == exitConfig {
			fmt.Fprintln(a.stdout, c.err) // switched off since the timer was set
			return nil
		}
		return err
	}
	defer run.sess.close()
	a.saySkipped(run)
	health, err := run.healths(ctx)
	if err != nil {
		return err
	}
	heads := run.reachedHeads()
	maker, err := backup.Choose(run.sess.file, names(heads), health)
	if err != nil {
		return err
	}
	cr := backup.Create{Cluster: run.sess.file, Tool: version, Begin: time.Now(), Full: f.full, Reached: heads, Missing: run.sess.view.Unreached()}
	cr.Warn = a.warnings
	var mu sync.Mutex
	var lacking []string
	cr.Lacks = func(head string, why error) {
		mu.Lock()
		defer mu.Unlock()
		lacking = append(lacking, head)
		cr.Warn([]string{fmt.Sprintf(a.tr("%s has no copy of it: %v"), head, why)})
	}
	for _, h := range heads {
		if h.Name == maker {
			cr.Maker = h
		} else {
			cr.Others = append(cr.Others, h)
		}
	}
	if err := a.carryBackup(ctx, run, cr.Plan(), true); err != nil || f.dryRun {
		return err
	}
	on := slices.DeleteFunc(names(heads), func(n string) bool { return slices.Contains(lacking, n) })
	fmt.Fprintf(a.stdout, a.tr("Snapshot %s is on %s, read back and whole.\n"), cr.ID(), strings.Join(on, ", "))
	if !f.scheduled && !a.quiet {
		fmt.Fprintf(a.stdout, a.tr("Keep %s and the cluster file away from the cluster too: without that key nobody reads a snapshot, and it is in none.\n"), backup.KeyFile)
	}
	if f.scheduled {
		if err := a.pruneWhat(ctx, run, true); err != nil {
			return err
		}
	}
	if len(lacking) > 0 && !f.scheduled { // of the timers' status tells, and a snapshot more would be no remedy
		return &exitError{exitFailed, fmt.Errorf(a.tr("%s could not take its copy"), strings.Join(lacking, ", "))}
	}
	if left := run.sess.view.Unreached(); len(left) > 0 && f.scheduled {
		// Status says that the head is off; made again, the snapshot would lack
		// the same copy.
		fmt.Fprintf(a.stdout, a.tr("%s was not reached and has no copy")+"\n", strings.Join(left, ", "))
	} else if len(left) > 0 {
		return &exitError{exitFailed, fmt.Errorf(a.tr("%s was not reached and has no copy"), strings.Join(left, ", "))}
	}
	return nil
}

// carryBackup shows what is to be done, asks where something could be lost, and
// does it.
func (a *app) carryBackup(ctx context.Context, run *upRun, p plan.Plan, sure bool) error {
	var err error
	if run.prop, err = plan.Propose(ctx, p, run.sess.view.Readers()); err != nil {
		return fmt.Errorf("nothing was changed: what is needed cannot be told: %w", err)
	}
	if run.flags.dryRun || !sure {
		a.offer(run)
	}
	if run.flags.dryRun {
		a.sayNothingChanged()
		return nil
	}
	if !sure {
		if err := a.agree(ctx, run); err != nil {
			return err
		}
	}
	return a.apply(ctx, run)
}

// warnings tells what is no failure.
func (a *app) warnings(list []string) {
	for _, line := range list {
		fmt.Fprintln(a.stderr, a.tr("Warning: ")+line)
	}
}
