package redis

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"multihead/internal/host"
	"multihead/internal/host/hosttest"
)

// keeper keeps one thing, as an agent does.
type keeper struct {
	host.Host
	mu   sync.Mutex
	what io.Closer
}

func (k *keeper) Kept(string) io.Closer {
	k.mu.Lock()
	defer k.mu.Unlock()
	what := k.what
	k.what = nil
	return what
}

func (k *keeper) Keep(_ string, what io.Closer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.what = what
}

// played is a machine with a server that answers everything with OK, and says how
// often it was called and closes when it is told.
func played() (m *hosttest.Machine, calls *int, hangUp func()) {
	var mu sync.Mutex
	var last net.Conn
	n := 0
	m = hosttest.New("server1").OnDial("tcp", "127.0.0.1:6379", func(context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		mu.Lock()
		n++
		last = far
		mu.Unlock()
		go func() {
			r := bufio.NewReader(far)
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if strings.HasPrefix(line, "*") { // one answer for each command
					go func() { _, _ = io.WriteString(far, "+OK\r\n") }()
				}
			}
		}()
		return near, nil
	})
	return m, &n, func() { mu.Lock(); defer mu.Unlock(); _ = last.Close() }
}

func TestAConnectionIsKeptForTheNextLookOnlyWhereSomebodyKeeps(t *testing.T) {
	at := instance{Host: "server1", Addr: netip.MustParseAddr("192.0.2.11"), Port: 6379}
	m, calls, hangUp := played()
	look := func(r host.Reader) error {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel() // a look's time ends with it; what is kept outlives it
		out, err := askServer(ctx, r, at, "")
		if err == nil && len(out) != 4 {
			t.Errorf("%v", out)
		}
		return err
	}
	k := &keeper{Host: m}
	for range 3 {
		if err := look(k); err != nil {
			t.Fatal(err)
		}
	}
	if *calls != 1 {
		t.Errorf("three looks made %d connections", *calls)
	}
	hangUp()
	if err := look(k); err != nil || *calls != 2 {
		t.Errorf("the server has been started anew: %v, %d connections", err, *calls)
	}
	old := k.what.(keptConn)
	old.since = old.since.Add(-2 * keptFor)
	k.what = old
	if err := look(k); err != nil || *calls != 3 {
		t.Errorf("a connection that is old: %v, %d connections", err, *calls)
	}
	for range 2 {
		if err := look(m); err != nil {
			t.Fatal(err)
		}
	}
	if *calls != 5 {
		t.Errorf("nobody keeps: %d connections", *calls)
	}
}
