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

// programs are GlusterFS' processes: mounts and healers, bricks, glusterd.
var programs = []string{"glusterfs", "glusterfsd", "glusterd"}

// Outlive implements service.Survivor. A mount waits network.ping-timeout for the
// brick of a head that died, and a brick keeps for longer what that head's mount
// had locked. With the connection gone both go on at once, and tell it as the
// timeout would: what is written is marked for the brick that missed it. A head
// that lives connects anew within three seconds, and is healed.
func (*Service) Outlive(ctx context.Context, h host.Host, _ *config.Cluster, s service.Silence, tell func(string)) error {
	all, err := host.Sockets(ctx, h, s.Head.Address)
	if err != nil {
		return err
	}
	var ports []int
	for _, c := range all {
		if slices.ContainsFunc(c.Programs, func(p string) bool { return slices.Contains(programs, p) }) && !slices.Contains(ports, c.LocalPort) {
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
