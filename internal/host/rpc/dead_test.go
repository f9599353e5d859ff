package rpc_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/host/rpc"
)

// cable is a connection that can be cut without either end being told, as a
// power cut does.
type cable struct {
	net.Conn
	cut atomic.Bool
}

func (c *cable) Write(p []byte) (int, error) {
	if c.cut.Load() {
		return len(p), nil // into the void
	}
	return c.Conn.Write(p)
}

// TestAPeerThatLostItsPowerIsNoticed: no FIN comes, and no answer. It takes as
// long as noticing does, about ten seconds, beside the other tests. (yamux
// shares its timers between sessions, so a bubble of testing/synctest will not
// do.)
func TestAPeerThatLostItsPowerIsNoticed(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the keepalive")
	}
	t.Parallel()
	near, far := net.Pipe()
	nearCable, farCable := &cable{Conn: near}, &cable{Conn: far}
	m := hosttest.New("far")
	began, release := make(chan struct{}), make(chan struct{})
	m.OnRun("apt-get", func(host.Cmd) (string, error) { close(began); <-release; return "", nil })
	served := make(chan error, 1)
	go func() { served <- rpc.Serve(context.Background(), farCable, m, rpc.ServerOptions{}) }()
	c, err := rpc.NewClient(t.Context(), "far", nearCable)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		_, err := c.Run(ctx, host.Command("apt-get", "install", "redis"))
		ended <- err
	}()
	<-began
	nearCable.cut.Store(true)
	farCable.cut.Store(true)
	// Long before the call's own deadline, and told from it.
	if err := <-ended; !errors.Is(err, host.ErrLost) {
		t.Fatalf("the caller was told %v", err)
	}
	<-c.Done()
	close(release) // the far end finishes what it was doing, and ends
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}
