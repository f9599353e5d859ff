// Package cluster is the pipeline over all hosts and all services: reach every
// host, observe, plan, lock, apply, verify. It knows no service by name.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// Connector reaches hosts, all at once. A host that does not answer has an
// error in failed; err is for what must stop everything, such as a host key
// that changed.
type Connector func(ctx context.Context, specs []config.HostSpec) (reached map[string]host.Host, failed map[string]error, err error)

// View is a cluster as it was found: who answered, and what each service was
// found to be.
type View struct {
	Cluster  *config.Cluster
	Hosts    map[string]host.Host         // those that were reached
	Errs     map[string]error             // why the others were not
	Dead     map[string]string            // of those, the ones proven to be switched off, and by what
	Few      bool                         // a person goes on with fewer than half of the heads, and has typed the cluster's name
	Waiting  func(held *host.LockedError) // told of a lock that is waited for; may be nil, and is called by several at once
	Local    string                       // the head that the tool runs on; empty where it runs elsewhere
	Input    service.Input
	Services []service.Service // those that the file asks for on some head
	States   map[string]service.State
	At       time.Time
}

// Reach connects to the hosts and returns a view without states. A host that
// does not answer is part of the view, not an error; one that is not among
// specs is in it as neither reached nor failed.
func Reach(ctx context.Context, c *config.Cluster, specs []config.HostSpec, connect Connector) (*View, error) {
	reached, failed, err := connect(ctx, specs)
	if err != nil {
		return nil, err
	}
	v := &View{Cluster: c, Hosts: reached, Errs: failed, At: time.Now()}
	v.Input = v.input()
	return v, nil
}

// Proven tells the view which hosts are proven to be switched off, and by what.
// One that answered all the same is not.
func (v *View) Proven(dead map[string]string) {
	v.Dead = map[string]string{}
	for name, proof := range dead {
		if v.Hosts[name] == nil {
			v.Dead[name] = proof
		}
	}
	before := v.Input
	v.Input = v.input()
	v.Input.Binary, v.Input.Stamp, v.Input.Brief, v.Input.LeavingComputes = before.Binary, before.Stamp, before.Brief, before.LeavingComputes
}

func (v *View) input() service.Input {
	in := service.Input{Cluster: v.Cluster}
	node := func(spec config.HostSpec) service.Node {
		n := service.Node{Spec: spec, Err: v.Errs[spec.Hostname], Dead: v.Dead[spec.Hostname]}
		if h, ok := v.Hosts[spec.Hostname]; ok {
			n.Reader = h
		}
		return n
	}
	for i := range v.Cluster.Nodes.Controllers {
		head := &v.Cluster.Nodes.Controllers[i]
		n := node(head.HostSpec)
		n.Head = head
		in.Heads = append(in.Heads, n)
	}
	for _, c := range v.Cluster.AllComputes() {
		in.Computes = append(in.Computes, node(c.HostSpec))
	}
	for _, w := range v.Cluster.Witnesses {
		in.Witnesses = append(in.Witnesses, node(w.HostSpec))
	}
	return in
}

// Close ends every connection.
func (v *View) Close() {
	for _, h := range v.Hosts {
		if c, ok := h.(interface{ Close() error }); ok {
			_ = c.Close()
		}
	}
}

// Observe asks every wanted service, all at once, and fills in the states.
func (v *View) Observe(ctx context.Context, services []service.Service) error {
	v.Services, v.States = nil, map[string]service.State{}
	var mu sync.Mutex
	var g errgroup.Group
	var errs []error
	for _, s := range services {
		if !v.wants(s) {
			continue
		}
		v.Services = append(v.Services, s)
		g.Go(func() error {
			state, err := s.Observe(ctx, v.Input)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", s.Name(), err))
				return nil
			}
			v.States[s.Name()] = state
			return nil
		})
	}
	_ = g.Wait()
	v.At = time.Now()
	return errors.Join(errs...)
}

// wants says whether a service is to be looked at: one that the file knows as
// a switch and has on nowhere is not, unless it has another use for the file;
// and what is no switch (the base) always is.
func (v *View) wants(s service.Service) bool {
	if c, ok := s.(service.Chooser); ok {
		return c.Wanted(v.Cluster)
	}
	return !isSwitch(s.Name()) || len(v.Cluster.HeadsWith(s.Name())) > 0
}

// isSwitch says whether heads have a switch for it: services.NAME.
func isSwitch(name string) bool { return slices.Contains(config.ServiceNames(), name) }

// runs says whether a head is to have a service: what has no switch is on all.
func (v *View) runs(head, name string) bool {
	return !isSwitch(name) || v.Cluster.Runs(head, name)
}

// Readers are the reached hosts, to look at only.
func (v *View) Readers() map[string]host.Reader {
	out := map[string]host.Reader{}
	for name, h := range v.Hosts {
		out[name] = h
	}
	return out
}

// Unreached lists the hosts that did not answer, in the file's order.
func (v *View) Unreached() []string {
	var out []string
	for _, spec := range v.Cluster.AllHosts() {
		if v.Errs[spec.Hostname] != nil {
			out = append(out, spec.Hostname)
		}
	}
	return out
}

// Plan asks every service for its phase. only limits it to the phases named;
// empty means all. The error joins the refusals of all services, so that a
// person sees every reason at once.
func (v *View) Plan(intent service.Intent, only []string) (plan.Plan, error) {
	return v.phases(only, func(s service.State) (plan.Phase, error) { return s.Plan(intent) })
}

// StopPlan is the orderly stop of the services named, or of all: the reverse of
// the order in which they start.
func (v *View) StopPlan(intent service.Intent, only []string) (plan.Plan, error) {
	p, err := v.phases(only, func(s service.State) (plan.Phase, error) { return s.Stop(intent) })
	return reverse(p), err
}

// RecoverPlan is what makes serve again what exists and does not, of the services
// named, or of all. A service that has no way to do that is left out.
func (v *View) RecoverPlan(intent service.Intent, only []string) (plan.Plan, error) {
	return v.phases(only, func(s service.State) (plan.Phase, error) {
		r, ok := s.(service.Recoverer)
		if !ok {
			return plan.Phase{}, nil
		}
		return r.Recover(intent)
	})
}

func (v *View) phases(only []string, of func(service.State) (plan.Phase, error)) (plan.Plan, error) {
	var p plan.Plan
	var errs []error
	for _, s := range v.Services {
		if !named(only, s.Name()) {
			continue
		}
		state, ok := v.States[s.Name()]
		if !ok {
			continue // Observe has said why
		}
		ph, err := of(state)
		if err != nil {
			errs = append(errs, err)
			if ph.Again {
				p.Phases = append(p.Phases, plan.Phase{Name: s.Name(), Again: true})
			}
			continue
		}
		ph.Name, ph.After = s.Name(), v.after(s, only)
		p.Phases = append(p.Phases, ph)
	}
	return p, errors.Join(errs...)
}

// after names the phases that come before a service's, and in the place of one that
// is left out those before that one.
func (v *View) after(s service.Service, only []string) []string {
	var out []string
	for _, name := range s.After() {
		i := slices.IndexFunc(v.Services, func(o service.Service) bool { return o.Name() == name })
		out = append(out, name)
		if i >= 0 && !named(only, name) {
			out = append(out, v.after(v.Services[i], only)...)
		}
	}
	return out
}

// reverse turns the order round: what comes last when starting stops first.
func reverse(p plan.Plan) plan.Plan {
	before := map[string][]string{}
	for _, ph := range p.Phases {
		for _, a := range ph.After {
			before[a] = append(before[a], ph.Name)
		}
	}
	var out plan.Plan
	for i := len(p.Phases) - 1; i >= 0; i-- {
		ph := p.Phases[i]
		ph.After = before[ph.Name]
		out.Phases = append(out.Phases, ph)
	}
	return out
}

func named(only []string, name string) bool {
	if len(only) == 0 {
		return true
	}
	for _, o := range only {
		if o == name {
			return true
		}
	}
	return false
}
