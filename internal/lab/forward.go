package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Forward accepts connections on ln, which is the machine's own, and carries
// each to address (IP and port) in the lab. It returns when ctx ends or the
// lab is gone, which is no error.
func (l *Lab) Forward(ctx context.Context, ln net.Listener, address string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		// The end of the lab cannot be awaited, only looked for.
		_ = until(ctx, time.Second, "", func() bool { return !isNamespace(l.netnsPath()) })
		ln.Close()
	}()
	var open sync.WaitGroup
	defer open.Wait()
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			cancel()
			return nil
		}
		if err != nil {
			return err
		}
		open.Go(func() { l.carry(ctx, conn, address) })
	}
}

// carry joins a connection to a new one in the lab until both directions
// have ended.
func (l *Lab) carry(ctx context.Context, near net.Conn, address string) {
	defer near.Close()
	far, err := l.Dial(ctx, "tcp", address)
	if err != nil {
		say(l.progress, "", "forward: "+err.Error())
		return
	}
	defer far.Close()
	stop := context.AfterFunc(ctx, func() { near.Close(); far.Close() })
	defer stop()
	var both sync.WaitGroup
	for _, way := range []struct{ to, from net.Conn }{{far, near}, {near, far}} {
		both.Go(func() {
			_, _ = io.Copy(way.to, way.from) // either end may hang up at any time
			if c, ok := way.to.(interface{ CloseWrite() error }); ok {
				_ = c.CloseWrite()
			}
		})
	}
	both.Wait()
}

// Resolve turns "server1:443", "vip:443" or "192.0.2.11:443" into an address
// in the lab.
func (l *Lab) Resolve(target string) (string, error) {
	name, port, err := net.SplitHostPort(target)
	if err != nil || port == "" {
		return "", fmt.Errorf("%q: write it like server1:443 or vip:443", target)
	}
	if name == "vip" {
		return net.JoinHostPort(VIP, port), nil
	}
	if a, err := netip.ParseAddr(name); err == nil {
		if !netip.MustParsePrefix(Subnet).Contains(a) {
			return "", fmt.Errorf("%s is not in the lab's %s", a, Subnet)
		}
		return net.JoinHostPort(a.String(), port), nil
	}
	h, err := l.Host(name)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(h.Address.String(), port), nil
}
