package slurm

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/service"
)

var _ service.Survivor = (*Service)(nil)

// waitsEvery is the pause between two looks for connections that wait.
const waitsEvery = 200 * time.Millisecond

// Outlive implements service.Survivor. Slurm's commands and daemons on this head wait
// two seconds and more for each connection with the silent one, a backup that takes
// over for several of them in turn: that ends. Who takes over, and when, is left to
// slurmctld: a host that only stood still would go on beside one that was told to, and
// it would save a second at most (DESIGN.md). What it was in the middle of is completed,
// so that it can be taken over from.
func (*Service) Outlive(ctx context.Context, h host.Host, c *config.Cluster, s service.Silence, tell func(string)) error {
	var both errgroup.Group
	both.Go(func() error { return endWaits(ctx, h, c, s) })
	both.Go(func() error {
		if len(c.SlurmControllers()) < 2 || !slices.ContainsFunc(c.SlurmControllers(), func(x config.Controller) bool { return x.Hostname == h.Name() }) {
			return nil
		}
		from, err := putBack(ctx, h, c.Slurm.StateSaveLocation)
		if from != "" && err == nil {
			tell("put back the heartbeat that slurmctld was replacing when " + s.Head.Hostname + " died")
		}
		return err
	})
	return both.Wait()
}

func endWaits(ctx context.Context, h host.Host, c *config.Cluster, s service.Silence) error {
	ports := []int{ctldPort}
	if runsDBD(c) {
		ports = append(ports, c.Slurm.Accounting.StoragePort)
	}
	tick := time.NewTicker(waitsEvery)
	defer tick.Stop()
	for {
		if err := host.EndSockets(ctx, h, s.Head.Address, ports, ports); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
