package slurm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"multihead/internal/host"
	"multihead/internal/service"
)

// alive sees whether a slurmctld that takes connections does anything. The age of
// its heartbeat is told by the clock of the host that wrote it: an agent's own.
func (h *head) alive(ctx context.Context, own bool) {
	switch {
	case h.listens != service.Yes:
		return
	case host.Frozen(ctx, h.reader, ctldUnit, "slurmctld"):
		h.hangs = "slurmctld is stopped by a signal (SIGSTOP)"
	case own && h.state.beat != nil && h.state.beat.index == h.place() && time.Since(h.state.beat.at) > silentFor && dumb(ctx, h.reader):
		h.hangs = "slurmctld takes connections and does not answer"
	default:
		return
	}
	h.listens = service.Unsure
}

// silentFor is how old the heartbeat of the controller in charge has to be before
// it is asked whether it lives. It writes one every second or two.
const silentFor = 10 * time.Second

// dumb says whether slurmctld takes a connection and does nothing with it. What it
// is sent is no message of Slurm's: one that lives hangs up at once.
func dumb(ctx context.Context, r host.Reader) bool {
	conn, err := r.Dial(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", ctldPort))
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(1500 * time.Millisecond))
	if _, err := conn.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0}); err != nil {
		return false
	}
	_, err = conn.Read(make([]byte, 1))
	var late net.Error
	return errors.As(err, &late) && late.Timeout()
}
