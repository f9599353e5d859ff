package galera

import (
	"context"
	"fmt"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// renew restarts the only member of a cluster. A plain restart would leave the
// database down: the daemon leaves an empty cluster behind, and when it starts
// it looks for others that are not there. So it is stopped in order, which marks
// it as the last one, and starts the cluster again from its data.
type renew struct {
	plan.Unit
	at   layout
	root config.Secret
}

func (r renew) String() string {
	return "restart " + unit + ", the only member, and the cluster with it"
}

// Do restarts it; the undo does the same, once the old files are back.
func (r renew) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	s, err := ask(ctx, h, r.at, r.root)
	if err != nil {
		return nil, fmt.Errorf("%s: mariadbd: %w", h.Name(), err)
	}
	if s.size > 1 {
		// Somebody has joined since it was looked at.
		return r.Unit.Do(ctx, h)
	}
	if err := halt(ctx, h); err != nil {
		return nil, err
	}
	d := lookDisk(ctx, h, r.at.dataDir)
	if d.data != service.Yes || d.state.uuid != s.cluster || !d.state.safe {
		return nil, fmt.Errorf("%s: mariadbd was stopped and its data directory does not say that it may start the cluster %s again (%s); run up again", h.Name(), s.cluster, d.why)
	}
	if _, err := h.Run(ctx, host.Command("galera_new_cluster")); err != nil {
		return renewed{r}, explain(ctx, h, err)
	}
	return renewed{r}, nil
}

// renewed is the way back: the same with the old files.
type renewed struct{ renew }

// Late implements plan.Late.
func (renewed) Late() {}

// Done is never sure: what counts is when the files were read.
func (renewed) Done(context.Context, host.Reader) (bool, error) { return false, nil }

func (r renewed) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	_, err := r.renew.Do(ctx, h)
	return nil, err
}
