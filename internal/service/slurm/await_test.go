package slurm

import (
	"context"
	"io/fs"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"multihead/internal/host"
	"multihead/internal/host/hosttest"
)

// takesCharge is a head whose controller listens, with a heartbeat that cannot be read yet.
type takesCharge struct {
	host.Host
	volume refusing
}

func (h takesCharge) ReadFile(ctx context.Context, name string) ([]byte, error) {
	return h.volume.ReadFile(ctx, name)
}

func (h takesCharge) Dial(context.Context, string, string) (net.Conn, error) {
	a, b := net.Pipe()
	b.Close()
	return a, nil
}

func TestAHeartbeatThatStaysUnreadableIsLeftToTheVolumesRecovery(t *testing.T) {
	for name, tt := range map[string]struct {
		refused time.Duration
		with    error
		fails   bool
		within  time.Duration
	}{
		"it can be read":                        {within: time.Second},
		"it is not there yet":                   {refused: 40 * time.Second, with: fs.ErrNotExist, within: 41 * time.Second},
		"it is healed in time":                  {refused: 8 * time.Second, with: syscall.EIO, within: 10 * time.Second},
		"the bricks have it as different files": {refused: time.Hour, with: syscall.EIO, fails: true, within: 15 * time.Second},
		"it never comes":                        {refused: time.Hour, with: fs.ErrNotExist, fails: true, within: 91 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := stateOf(site(t), live("server2", 0))
				begin := time.Now()
				m := takesCharge{hosttest.New("server1"), refusing{until: begin.Add(tt.refused), with: tt.with}}
				_, err := s.awaitTakesCharge(s.heads[0], anyPlace).Do(t.Context(), m)
				if took := time.Since(begin); took > tt.within {
					t.Errorf("waited for %s", took)
				}
				if (err != nil) != tt.fails {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}
