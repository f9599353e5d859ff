package cluster

import (
	"errors"

	"multihead/internal/config"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// AcceptPlan has every service that is proven to by passwords take those of next
// beside its own.
func (v *View) AcceptPlan(next *config.Cluster) (plan.Plan, error) {
	return v.rotators(func(r service.Rotator) (plan.Phase, error) { return r.Accept(next) })
}

// RetirePlan has every such service take the file's passwords alone.
func (v *View) RetirePlan() (plan.Plan, error) {
	return v.rotators(service.Rotator.Retire)
}

// rotators are independent of each other: no service proves itself to another while
// it changes what it accepts.
func (v *View) rotators(of func(service.Rotator) (plan.Phase, error)) (plan.Plan, error) {
	var p plan.Plan
	var errs []error
	for _, s := range v.Services {
		r, ok := v.States[s.Name()].(service.Rotator)
		if !ok {
			continue
		}
		ph, err := of(r)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ph.Name = s.Name()
		p.Phases = append(p.Phases, ph)
	}
	return p, errors.Join(errs...)
}
