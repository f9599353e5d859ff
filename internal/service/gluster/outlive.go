package gluster

import (
	"context"
	"fmt"
	"slices"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/service"
)

var _ service.Survivor = (*Service)(nil)

// client is the program of mounts and of the self-heal daemon, as the kernel names it.
const client = "glusterfs"

// Outlive implements service.Survivor. A mount waits network.ping-timeout for the
// brick of a head that died. With its connection gone it goes on at once, and notes as
// after the timeout what that brick misses; where the head lives it connects anew
// within three seconds, and the brick is healed. What bricks have of the silent head's
// own mount stays: one that only stood still for a moment would lose all bricks but its
// own, and its programs would get errors.
func (*Service) Outlive(ctx context.Context, h host.Host, _ *config.Cluster, s service.Silence, tell func(string)) error {
	all, err := host.Sockets(ctx, h, s.Head.Address)
	if err != nil {
		return err
	}
	var ports []int
	for _, c := range all {
		if slices.Contains(c.Programs, client) && !slices.Contains(ports, c.LocalPort) {
			ports = append(ports, c.LocalPort)
		}
	}
	if len(ports) == 0 {
		return nil
	}
	if err := host.EndSockets(ctx, h, s.Head.Address, ports, nil); err != nil {
		return err
	}
	tell(fmt.Sprintf("ended what waited for %s on the volume", s.Head.Hostname))
	return nil
}
