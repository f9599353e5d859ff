package gluster

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"multihead/internal/host"
	"multihead/internal/host/hosttest"
)

// keeper keeps one thing.
type keeper struct {
	host.Reader
	what io.Closer
}

func (k *keeper) Kept(string) io.Closer         { what := k.what; k.what = nil; return what }
func (k *keeper) Keep(_ string, what io.Closer) { k.what = what }

func TestGlusterdIsAskedThroughTheSameConnectionForAWhile(t *testing.T) {
	m := hosttest.New("s1")
	dials := 0
	var far net.Conn
	m.OnDial("unix", daemonSocket, func(context.Context) (net.Conn, error) {
		dials++
		ours, theirs := net.Pipe()
		far = theirs
		go func() {
			for {
				var mark [4]byte
				if _, err := io.ReadFull(theirs, mark[:]); err != nil {
					return
				}
				_, _ = io.CopyN(io.Discard, theirs, int64(binary.BigEndian.Uint32(mark[:])&^lastFragment))
				_, _ = io.WriteString(theirs, read(t, "peers-one-down.rpc"))
			}
		}()
		return ours, nil
	})
	k := &keeper{Reader: m}
	ask := func(want int) {
		t.Helper()
		if peers, err := friends(t.Context(), k); err != nil || len(peers) == 0 || dials != want {
			t.Errorf("%v, %v after %d connections, want %d", peers, err, dials, want)
		}
	}
	ask(1)
	ask(1)
	_ = far.Close() // the daemon was started anew
	ask(2)
	ask(2)
	s := k.what.(session)
	s.since = time.Now().Add(-2 * sessionFor)
	k.what = s
	ask(3) // it has to take a new one now and then
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _ = friends(gone, k); k.what != nil { // an answer may have come in time
		t.Error("the connection of a look whose time was over is kept")
	}
}
