package gluster

import (
	"context"
	"path"
	"strconv"
	"strings"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/service"
)

var _ service.OnDisk = (*Service)(nil)

// DataDir implements service.OnDisk. What is beside the files of the volume, the
// volume does not show.
func (*Service) DataDir(c *config.Cluster) string {
	if c.SharedStorage.Type != config.StorageGlusterFS {
		return ""
	}
	return path.Join(c.SharedStorage.GlusterFS.BrickPath, ".glusterfs")
}

// LetGo implements service.OnDisk: it kills the brick of this head. A brick on a
// disk that hangs still answers that it lives, so every client everywhere waits for
// it; its own health check hangs with it, for it opens a file first (seen with
// GlusterFS 11.1). Killed, one of its threads stays in the kernel, but nothing
// answers any more, and clients go on without it after the network.ping-timeout.
func (*Service) LetGo(ctx context.Context, h host.Host, c *config.Cluster) (bool, error) {
	for _, head := range c.HeadsWith(config.GlusterFS) {
		if head.Hostname != h.Name() {
			continue
		}
		pid, state, err := brickProcess(ctx, h, head.Address.String(), c.SharedStorage.GlusterFS)
		if err != nil || pid == 0 || strings.ContainsAny(state[:1], "ZX") {
			return false, err
		}
		_, err = h.Run(ctx, host.Command("kill", "-KILL", strconv.Itoa(pid)))
		return err == nil, err
	}
	return false, nil
}
