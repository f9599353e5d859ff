package slurm

import (
	"context"
	"time"

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
// it would save a second at most (DESIGN.md).
func (*Service) Outlive(ctx context.Context, h host.Host, c *config.Cluster, s service.Silence, _ func(string)) error {
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
