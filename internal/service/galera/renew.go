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
		return nil, fmt.Errorf("%s: %d others are in its cluster by now, and mariadbd there was not restarted; run up again", h.Name(), s.size-1)
	}
	return renewed{r, s.cluster}, r.anew(ctx, h, s.cluster)
}

// anew stops the daemon and starts the cluster again from its data.
func (r renew) anew(ctx context.Context, h host.Host, cluster string) error {
	if err := halt(ctx, h); err != nil {
		return err
	}
	d := lookDisk(ctx, h, r.at.dataDir)
	if d.data != service.Yes || d.state.uuid != cluster || !d.state.safe {
		return fmt.Errorf("%s: mariadbd was stopped and its data directory does not say that it may start the cluster %s again (%s); run up again", h.Name(), cluster, d.why)
	}
	if _, err := h.Run(ctx, host.Command("galera_new_cluster")); err != nil {
		return explain(ctx, h, err)
	}
	return nil
}

// renewed is the way back: the same with the old files.
type renewed struct {
	renew
	cluster string
}

// Late implements plan.Late.
func (renewed) Late() {}

// Done is never sure: what counts is when the files were read.
func (renewed) Done(context.Context, host.Reader) (bool, error) { return false, nil }

// Do restarts it. Where it does not run, it did not come up with the new files: nobody
// else has been a member since, so the cluster starts from it all the same. It would
// look for others, if it were left to itself, and serve nobody.
func (r renewed) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	if _, err := ask(ctx, h, r.at, r.root); err != nil && noDaemon(err) {
		return nil, r.anew(ctx, h, r.cluster)
	}
	_, err := r.renew.Do(ctx, h)
	return nil, err
}
