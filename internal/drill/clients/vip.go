package clients

import (
	"context"
	"net"
	"syscall"
	"time"
)

const errRefused = syscall.ECONNREFUSED

// connectLimit is how long one connection is waited for. SYNs are sent again
// after a second: until then the next operations are under way for long.
const connectLimit = 900 * time.Millisecond

func (s *VIPSpec) schedule() schedule {
	return schedule{VIP, "", connectEvery, 40, s.connect}
}

// connect asks the address for a connection. One that is refused is an answer:
// a host has the address and its kernel speaks for it.
func (s *VIPSpec) connect(ctx context.Context, _ int64) outcome {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.Address)
	switch {
	case err == nil:
		_ = c.Close()
		return outcome{result: OK}
	case refusedConnection(err):
		return outcome{result: OK}
	default:
		return outcome{result: Failed, err: err}
	}
}
