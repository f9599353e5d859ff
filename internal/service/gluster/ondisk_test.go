package gluster

import (
	"context"
	"net/netip"
	"testing"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/host/hosttest"
)

func TestOnlyTheBricksOwnProcessIsEnded(t *testing.T) {
	c := &config.Cluster{}
	var head config.Controller
	head.Hostname, head.Address, head.Services.GlusterFS = "server1", netip.MustParseAddr("192.0.2.11"), true
	c.Nodes.Controllers = []config.Controller{head}
	c.SharedStorage.Type = config.StorageGlusterFS
	c.SharedStorage.GlusterFS.VolumeName, c.SharedStorage.GlusterFS.BrickPath = "v", "/data/brick"
	const pidFile = pidDir + "/v/192.0.2.11-data-brick.pid"
	for _, tt := range []struct {
		name, pid, status string
		want              bool
	}{
		{"it runs", "442\n", "Name:\tglusterfsd\nState:\tS (sleeping)\n", true},
		{"it is ending, held by the disk", "442\n", "Name:\tglusterfsd\nState:\tZ (zombie)\n", false},
		{"its number is another's by now", "442\n", "Name:\tmariadbd\nState:\tS (sleeping)\n", false},
		{"it was stopped", "\n", "", false},
		{"it never ran", "", "", false},
	} {
		m, killed := hosttest.New("server1"), false
		if tt.pid != "" {
			m.File(pidFile, tt.pid)
		}
		if tt.status != "" {
			m.File("/proc/442/status", tt.status)
		}
		m.OnRun("kill -KILL 442", func(host.Cmd) (string, error) { killed = true; return "", nil })
		if did, err := (&Service{}).LetGo(context.Background(), m, c); err != nil || did != tt.want || killed != tt.want {
			t.Errorf("%s: %v, killed %v, %v", tt.name, did, killed, err)
		}
	}
}
