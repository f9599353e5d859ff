package agent

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"multihead/internal/service/agentd"
)

const (
	// knockLimit is how long a silent head may take to show that it lives.
	knockLimit = 2 * time.Second
	// livesFor is how long it counts that it did: one knock in between may fail.
	livesFor = 2*lookAgain + knockLimit
)

// knock is a silent head that was asked for a sign of life, past its agent.
type knock struct {
	asking
	at  time.Time // when it gave the last one
	how string
}

// lives is how the head showed that it lives, where it did just now.
func (k *knock) lives(now time.Time) string {
	if k == nil || k.at.IsZero() || now.Sub(k.at) > livesFor {
		return ""
	}
	return k.how
}

// toKnock picks the silent heads that are to be asked now: none where a majority is
// heard, for that needs to know it of nobody. The caller holds the mutex.
func (a *Agent) toKnock(s fenceScene, now time.Time) []string {
	var out []string
	for _, name := range s.Heads {
		if _, silent := s.Silent[name]; !silent || s.majority() {
			continue
		}
		k := a.fencing.knocks[name]
		if k == nil {
			k = &knock{}
			a.fencing.knocks[name] = k
		}
		if k.due(now) {
			out = append(out, name)
		}
	}
	return out
}

// knockAt asks one silent head for a sign of life.
func (a *Agent) knockAt(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(ctx, knockLimit)
	defer cancel()
	spec := a.spec(name)
	how := signOfLife(ctx, address(spec.Address, agentd.Port), address(spec.Address, spec.SSHPort))
	a.mu.Lock()
	defer a.mu.Unlock()
	k := a.fencing.knocks[name]
	if k.pending = false; how != "" {
		k.at, k.how = time.Now(), how
	}
}

func address(addr netip.Addr, port int) string {
	return net.JoinHostPort(addr.String(), strconv.Itoa(port))
}

// signOfLife finds out whether it is the head that is dead, or its agent alone. What
// answers for a head whose processes all stand still is its kernel: it takes connections
// for whatever has been listening, and says nothing on them. So it is one that lives
// where the agent's port is refused, for then the agent has ended, and where sshd, which
// speaks first, says something.
func signOfLife(ctx context.Context, agent, ssh string) string {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", agent)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "its kernel answers, and no agent runs there"
	}
	if err != nil {
		return ""
	}
	_ = c.Close()
	if c, err = d.DialContext(ctx, "tcp", ssh); err != nil {
		return ""
	}
	defer func() { _ = c.Close() }()
	if end, ok := ctx.Deadline(); ok {
		_ = c.SetReadDeadline(end)
	}
	if n, _ := c.Read(make([]byte, 64)); n == 0 {
		return ""
	}
	return "its sshd answers, and its agent hangs"
}
