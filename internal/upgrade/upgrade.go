// Package upgrade plans how the packages of a cluster's services become newer while it
// serves: one head at a time, each wholly well again before the next one, the head with
// the virtual address last.
package upgrade

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"multihead/internal/bundle"
	"multihead/internal/cluster"
	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
	"multihead/internal/service/agentd"
)

// Run is one upgrade of one cluster.
type Run struct {
	View      *cluster.View
	Site      *bundle.Site // where packages come from; nil is the hosts' own sources
	Only      []string     // the services; empty is all
	Confirmed bool         // the cluster's name was typed: a service may be away meanwhile
	By, From  string       // who does it, for those who look at the status meanwhile

	offers map[string]string // of Site, read once
	found  map[string]Found
	ready  bool                            // everything was made ready
	steps  map[string]map[string]plan.Step // of up: host → those that bring the tool
}

// The IDs of the steps of up that bring the tool to a host.
const (
	toolStep    = "base.binary"
	answersStep = "agent.answers"
)

// Plan looks at every host and says what is to be done. The view has to have observed.
// It is empty where every package is the newest that is offered.
func (r *Run) Plan(ctx context.Context) (plan.Plan, error) {
	if err := r.look(ctx); err != nil {
		return plan.Plan{}, err
	}
	if err := r.may(); err != nil {
		return plan.Plan{}, err
	}
	return r.plan(ctx)
}

// Next is the first part of the plan that is still to be done, as things are now: making
// ready, or one host. What one head's part changes about the others (who has which
// master, who serves Slurm) the next one is planned with.
func (r *Run) Next(ctx context.Context) (plan.Plan, error) {
	if err := r.look(ctx); err != nil {
		return plan.Plan{}, err
	}
	if err := r.may(); err != nil {
		return plan.Plan{}, err
	}
	return r.first(ctx)
}

func (r *Run) first(ctx context.Context) (plan.Plan, error) {
	p, err := r.plan(ctx)
	if err != nil || len(p.Phases) == 0 {
		return p, err
	}
	first := p.Phases[0]
	if first.Name == readyPhase {
		if r.ready && len(p.Phases) > 1 {
			first = p.Phases[1]
		}
		r.ready = true
	}
	first.After = nil
	return plan.Plan{Phases: []plan.Phase{first}}, nil
}

// Begun are the heads on which an upgrade was cut off.
func (r *Run) Begun() []string {
	var out []string
	for _, n := range r.View.Input.Heads {
		if r.found[n.Name()].Begun != nil {
			out = append(out, n.Name())
		}
	}
	return out
}

// look asks every host that was reached, all at once.
func (r *Run) look(ctx context.Context) error {
	up, err := r.View.Plan(service.Intent{Mode: service.Auto}, nil)
	if err != nil {
		return err
	}
	wanted := map[string]map[string]string{}
	r.steps = map[string]map[string]plan.Step{}
	for phase, s := range up.Steps {
		if a, ok := s.Action.(plan.Packages); ok && (len(r.Only) == 0 || slices.Contains(r.Only, phase)) {
			if wanted[s.Host] == nil {
				wanted[s.Host] = map[string]string{}
			}
			for _, name := range a.Names {
				wanted[s.Host][name] = phase
			}
		}
		if s.ID == toolStep || s.ID == answersStep {
			if r.steps[s.Host] == nil {
				r.steps[s.Host] = map[string]plan.Step{}
			}
			r.steps[s.Host][s.ID] = s
		}
	}
	readers := r.View.Readers()
	if r.Site != nil && r.offers == nil {
		if r.offers, err = r.Site.Newer(ctx, readers); err != nil {
			return err
		}
	}
	r.found = map[string]Found{}
	var mu sync.Mutex
	var g errgroup.Group
	var errs []error
	for name, reader := range readers {
		g.Go(func() error {
			f, err := r.lookAt(ctx, reader, wanted[name])
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
			}
			r.found[name] = f
			return nil
		})
	}
	_ = g.Wait() // errors are in errs
	return errors.Join(errs...)
}

func (r *Run) lookAt(ctx context.Context, reader host.Reader, wanted map[string]string) (Found, error) {
	f, err := look(ctx, reader, wanted, r.offers)
	switch {
	case errors.Is(err, plan.ErrNoDpkg):
		return f, refuse("Upgrade it with the distribution's own means, one head at a time, in maintenance.", "%s has packages that are not Debian's", reader.Name())
	case err != nil:
		return f, fmt.Errorf("%s: %w", reader.Name(), err)
	}
	if slices.ContainsFunc(r.View.Input.Witnesses, func(n service.Node) bool { return n.Name() == reader.Name() }) {
		f.Arbiter = slices.ContainsFunc(f.Units, func(u Unit) bool { return u.Name == glusterdUnit })
	}
	if f.Arbiter {
		if f.Bricks, err = oldBricks(ctx, reader); err != nil {
			return f, err
		}
	}
	if s, ok := r.steps[reader.Name()][toolStep]; ok {
		done, err := s.Action.Done(ctx, reader)
		if err != nil {
			return f, err
		}
		f.Tool = !done
	}
	if _, ok := r.steps[reader.Name()][answersStep]; ok {
		if f.Agent, err = oldAgent(ctx, reader); err != nil {
			return f, err
		}
	}
	return f, nil
}

func refuse(remedy, format string, args ...any) error {
	return &service.Refusal{Service: "upgrade", Reason: fmt.Sprintf(format, args...), Remedy: remedy}
}

// needs says whether anything is to be done on a host.
func (f Found) needs() bool {
	return f.rests() || f.Tool || f.Agent || f.Bricks || slices.ContainsFunc(f.Units, func(u Unit) bool { return u.Stale })
}

// rests says whether a head has to be in maintenance for it.
func (f Found) rests() bool { return len(f.Changes) > 0 || f.Begun != nil }

// stopped are the services that stop on a head while their packages change, in no order.
func (f Found) stopped() []string {
	var out []string
	for _, c := range f.Changes {
		p := f.Phase[c.Name]
		if slices.Contains([]string{config.GlusterFS, config.MariaDB, config.Redis, config.Keepalived}, p) && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

// may refuses what one head at a time would not make safe, all reasons at once.
func (r *Run) may() error {
	var errs []error
	any := false
	for _, spec := range r.View.Cluster.AllHosts() {
		f := r.found[spec.Hostname]
		any = any || f.needs()
		errs = append(errs, otherSeries(spec.Hostname, f))
	}
	if !any {
		return nil
	}
	return errors.Join(append(errs, r.others(), r.quorum())...)
}

// otherSeries refuses a step from one series of a service to the next: data on disk and
// what daemons say to each other change with it, and there is no way back.
func otherSeries(name string, f Found) error {
	var errs []error
	for _, c := range f.Changes {
		was, is := series(f.Source[c.Name], c.From), series(f.Source[c.Name], c.To)
		if was != is {
			remedy := fmt.Sprintf("Make a snapshot with multihead backup create, read the release notes of %s, and do this step by hand; or leave it out with --phase.", f.Phase[c.Name])
			if f.Phase[c.Name] == config.Slurm {
				remedy += slurmSeries
			}
			errs = append(errs, refuse(remedy, "%s: %s is a new series (%s → %s), whose data cannot go back", name, c, was, is))
			break
		}
	}
	return errors.Join(errs...)
}

// slurmSeries is what a person has to know who takes Slurm to a new series.
const slurmSeries = " By hand the order is slurmdbd, then slurmctld on all heads, then slurmd: each may be newer than the next, by as many series as Slurm's own guide to upgrades says, and never older. The first newer slurmctld in charge saves its state as no older one can read it."

// others refuses where anything is not as it should be already.
func (r *Run) others() error {
	begun := r.Begun()
	var wrong []string
	for _, n := range r.View.Input.Heads {
		if !n.Reached() {
			wrong = append(wrong, fmt.Sprintf("%s was not reached: %v", n.Name(), n.Err))
		}
	}
	for _, p := range r.View.Status(nil).Problems {
		switch {
		case slices.Contains(begun, p.Host), p.State == service.Maint && p.Host == "", p.State == service.Unknown && p.Service == "":
			continue // expected, or said above
		case len(begun) > 0 && p.State != service.Maint:
			continue // what was begun is ended first; all has to be well before the next head
		}
		line := strings.TrimSpace(fmt.Sprintf("%s %s", p.State, p.Host))
		if p.Service != "" {
			line += " " + p.Service
		}
		wrong = append(wrong, line+": "+p.Reason)
	}
	if len(begun) > 1 {
		wrong = append(wrong, fmt.Sprintf("%s are all in the middle of an upgrade", strings.Join(begun, ", ")))
	}
	if len(wrong) == 0 {
		return nil
	}
	return refuse("Mend that first: multihead status, multihead up.", "something else is wrong already, and one more head is to be away: %s", strings.Join(wrong, "; "))
}

// quorum refuses where a service would be away while it is upgraded on one head.
func (r *Run) quorum() error {
	if r.Confirmed {
		return nil
	}
	stops := map[string]bool{}
	for _, n := range r.View.Input.Heads {
		f := r.found[n.Name()]
		for _, s := range f.stopped() {
			stops[s] = true
		}
		if f.rests() && r.View.Cluster.Runs(n.Name(), config.Slurm) {
			stops[config.Slurm] = true
		}
	}
	var errs []error
	for _, sv := range r.View.Survival().Services {
		if stops[sv.Service] && sv.AtOnce < 1 {
			remedy := fmt.Sprintf("Say --confirm %s to have it away meanwhile, in an hour when nobody needs it", r.View.Cluster.Info.ClusterName)
			if sv.RaisedBy != "" {
				remedy += "; what would make it hold: " + sv.RaisedBy
			}
			errs = append(errs, refuse(remedy+".", "%s cannot lose one head (%s), and each head is away while it is upgraded", sv.Service, sv.Why))
		}
	}
	return errors.Join(errs...)
}

// order is the heads in the order in which they are upgraded: one that was begun is
// ended first, Slurm's primary is the last but one, and the virtual address moves last.
func order(heads []string, begun []string, primary, vip string) []string {
	place := func(name string) int {
		switch {
		case slices.Contains(begun, name):
			return 0
		case name == vip:
			return 3
		case name == primary:
			return 2
		}
		return 1
	}
	out := slices.Clone(heads)
	slices.SortStableFunc(out, func(a, b string) int { return place(a) - place(b) })
	return out
}

// roles are the head that serves Slurm, and the one with the virtual address.
func (r *Run) roles() (primary, vip string) {
	if s := r.View.States[config.Slurm]; s != nil {
		for name, n := range s.Health().Nodes {
			if n.Role == "primary" {
				primary = name
			}
		}
	}
	return primary, r.View.Status(nil).VIPOwner
}

// maintenance is what a head's file says while it is upgraded.
func (r *Run) maintenance(f Found, start []string) agentd.Maintenance {
	m := agentd.Maintenance{By: r.By, From: r.From, Reason: Reason, Start: start}
	if f.Begun != nil {
		m.Since = f.Begun.Since
	}
	return m
}
