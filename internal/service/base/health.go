package base

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"multihead/internal/host"
	"multihead/internal/service"
)

// proven encodes a credential and decodes it on the others, all at once.
func proven(ctx context.Context, h host.Reader, others []host.Reader) (ok bool, state string, err error) {
	credential, err := h.Query(ctx, "munge", "--no-input")
	if err != nil {
		return false, "", err
	}
	errs := make([]error, len(others))
	var g errgroup.Group
	for i, o := range others {
		g.Go(func() error {
			_, errs[i] = o.Ask(ctx, host.Cmd{Argv: []string{"unmunge", "--no-output"}, Stdin: []byte(credential)})
			return nil
		})
	}
	_ = g.Wait()
	if err := errors.Join(errs...); err != nil {
		return false, "a credential is refused", err
	}
	return true, fmt.Sprintf("good on %d hosts", len(others)+1), nil
}

// Health says how names, munge and clocks are.
func (s *State) Health() service.Health {
	h := service.Health{Service: "prepare", State: service.Up, Nodes: map[string]service.NodeHealth{}}
	ready, members := 0, 0
	for _, l := range s.hosts {
		n := l.health(usesSlurm(s.cluster))
		h.Nodes[l.name] = n
		members++
		if n.State == service.Up {
			ready++
		} else if h.State == service.Up {
			h.State, h.Reason = service.Degraded, l.name+": "+n.Reason
		}
	}
	h.Summary = fmt.Sprintf("%d/%d hosts ready", ready, members)
	return h
}

func (l look) health(munge bool) service.NodeHealth {
	switch {
	case !l.reached:
		return service.NodeHealth{State: service.Unknown, Reason: l.why}
	case l.member && munge && l.units[mungeUnit] != "active":
		return service.NodeHealth{State: service.Down, Reason: "munge does not run"}
	case l.hostsErr != nil:
		return service.NodeHealth{State: service.Degraded, Reason: l.hostsErr.Error()}
	}
	return service.NodeHealth{State: service.Up, Facts: map[string]any{"system": l.system}}
}

// Survival is every head but one: no head needs another for its base.
func (s *State) Survival() service.Survival {
	n := max(len(s.cluster.Nodes.Controllers)-1, 0)
	return service.Survival{Service: "prepare", AtOnce: n, InTurn: n, Why: "every host has its own copy of names, accounts and the munge key",
		DataSafe: max(len(s.hosts)-1, 0)}
}
