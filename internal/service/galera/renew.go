package galera

import (
	"context"
	"fmt"
	"time"

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
	cluster, err := r.only(ctx, h)
	if err != nil {
		return nil, err
	}
	// What would keep it from starting again is better seen before it stops.
	if d := lookDisk(ctx, h, r.at.dataDir); d.state.uuid != cluster {
		return nil, fmt.Errorf("%s: mariadbd serves %s, its data directory does not say so now (%s), and it was not restarted; run up again", h.Name(), cluster, d.why)
	}
	return renewed{r, cluster}, r.anew(ctx, h, cluster)
}

// leftWithin is how long a witness that has just stopped may still count as a member.
const leftWithin = 15 * time.Second

// only waits until the daemon is the only member and says of which cluster it is. A
// witness that steps aside has stopped before its node sees that it is gone.
func (r renew) only(ctx context.Context, h host.Host) (cluster string, err error) {
	_, err = plan.Await{
		What: "mariadbd on " + h.Name() + " is the only member of its cluster (where another has joined, run up again)", Timeout: leftWithin,
		Until: func(ctx context.Context, r2 host.Reader) (bool, string, error) {
			s, err := ask(ctx, r2, r.at, r.root)
			if err != nil {
				return false, "", fmt.Errorf("mariadbd: %w", err)
			}
			cluster = s.cluster
			return s.size == 1, fmt.Sprintf("%d are in it", s.size), nil
		},
	}.Do(ctx, h)
	return cluster, err
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
