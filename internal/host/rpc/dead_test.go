package rpc_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
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

// TestAPeerThatLostItsPowerIsNoticed: no FIN comes, and no answer.
func TestAPeerThatLostItsPowerIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		nearCable, farCable := &cable{Conn: near}, &cable{Conn: far}
		m := hosttest.New("far")
		release := make(chan struct{})
		m.OnRun("apt-get", func(host.Cmd) (string, error) { <-release; return "", nil })
		served := make(chan error, 1)
		go func() { served <- rpc.Serve(context.Background(), farCable, m, rpc.ServerOptions{}) }()
		c, err := rpc.NewClient(t.Context(), "far", nearCable)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		begin := time.Now()
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			_, err := c.Run(ctx, host.Command("apt-get", "install", "redis"))
			ended <- err
		}()
		synctest.Wait()
		nearCable.cut.Store(true)
		farCable.cut.Store(true)
		if err := <-ended; !errors.Is(err, host.ErrLost) {
			t.Fatalf("the caller was told %v", err)
		}
		if took := time.Since(begin); took > 15*time.Second { // of the bubble's time
			t.Errorf("noticed only after %v", took)
		}
		<-c.Done()
		close(release) // the far end finishes what it was doing, and ends
		if err := <-served; err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	})
}
