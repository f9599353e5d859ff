package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/host/rpc"
	"multihead/internal/service/agentd"
)

// What a connection between agents is for, as the two ends agree in the
// handshake (ALPN).
const (
	beats    = "multihead-beat/1"
	commands = "multihead-rpc/1"
)

// serve lets another head's agent look at this host and change it, as the tool
// does over SSH. Only heads may: they share the cluster's secrets already. A
// witness, which may stand anywhere, may not.
func (a *Agent) serve(ctx context.Context, c *tls.Conn, from string) {
	if !slices.Contains(a.electorate.Heads, from) {
		a.Log.Warn("a host that is no head wanted to give commands", "name", from)
		return
	}
	if err := rpc.Serve(ctx, c, a.Local, a.serverOptions()); err != nil {
		a.Log.Debug("a session ended", "from", from, "error", err)
	}
}

func (a *Agent) serverOptions() rpc.ServerOptions {
	return rpc.ServerOptions{Version: a.Version}
}

// errNoAgent is why compute nodes are not reached: they have no agent.
var errNoAgent = errors.New("it has no agent")

// reach connects to all heads and witnesses, this one among them, for
// cluster.Reach. Locks that are taken over a connection end with it, so that
// this host too is reached over one.
func (a *Agent) reach(ctx context.Context, specs []config.HostSpec) (map[string]host.Host, map[string]error, error) {
	reached, failed := map[string]host.Host{}, map[string]error{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	agents := a.Cluster.HeadsAndWitnesses()
	for _, spec := range specs {
		has := slices.ContainsFunc(agents, func(s config.HostSpec) bool { return s.Hostname == spec.Hostname })
		if !has {
			mu.Lock()
			failed[spec.Hostname] = errNoAgent
			mu.Unlock()
			continue
		}
		wg.Go(func() {
			c, err := a.session(ctx, spec)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed[spec.Hostname] = err
				return
			}
			reached[spec.Hostname] = c
		})
	}
	wg.Wait()
	return reached, failed, nil
}

// session opens one connection for looking and changing.
func (a *Agent) session(ctx context.Context, spec config.HostSpec) (*rpc.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	if spec.Hostname == a.Name {
		near, far := net.Pipe()
		go func() { _ = rpc.Serve(context.WithoutCancel(ctx), far, a.Local, a.serverOptions()) }() // ends with near
		return rpc.NewClient(ctx, spec.Hostname, near)
	}
	conf := a.id.client(spec.Hostname)
	conf.NextProtos = []string{commands}
	d := tls.Dialer{NetDialer: &net.Dialer{Control: giveUp}, Config: conf}
	c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(spec.Address.String(), strconv.Itoa(agentd.Port)))
	if err != nil {
		return nil, fmt.Errorf("its agent: %w", err)
	}
	if got := c.(*tls.Conn).ConnectionState().NegotiatedProtocol; got != commands {
		_ = c.Close()
		return nil, fmt.Errorf("its agent is of another version: it speaks %q", got)
	}
	return rpc.NewClient(ctx, spec.Hostname, c)
}
