package rpc

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/yamux"

	"multihead/internal/host"
)

// halfClosed is how long a socket whose reader has closed may still send.
const halfClosed = 30 * time.Second

// ServerOptions is what a server says of itself and what it refuses.
type ServerOptions struct {
	Version  string
	Build    string // BuildID of the running binary
	ReadOnly bool   // refuse every change
}

// Serve serves h on conn until the connection ends or ctx is done, and then
// until the changes that are running have ended: a package manager or a
// starting daemon is never cut off half-way. Questions that are still open
// when the connection ends are dropped.
func Serve(ctx context.Context, conn io.ReadWriteCloser, h host.Host, opt ServerOptions) error {
	hostname, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("rpc: %w", err)
	}
	hello, err := json.Marshal(Hello{
		Protocol: Protocol, Version: opt.Version, Build: opt.Build, PID: os.Getpid(), UID: os.Geteuid(),
		Hostname: hostname, ReadOnly: opt.ReadOnly, Time: time.Now(), Addresses: addresses(),
	})
	if err != nil {
		return fmt.Errorf("rpc: %w", err)
	}
	if _, err := conn.Write([]byte(Magic)); err != nil {
		return fmt.Errorf("rpc: %w", err)
	}
	if err := writeFrame(conn, json.RawMessage(hello), nil); err != nil {
		return fmt.Errorf("rpc: %w", err)
	}
	// The caller takes the end of the connection for the end of this half,
	// and its lock for free: it is closed last of all.
	defer func() { _ = conn.Close() }()
	session, err := yamux.Server(open{conn}, sessionConfig())
	if err != nil {
		return fmt.Errorf("rpc: %w", err)
	}
	s := &server{h: h, opt: opt}
	s.looking, s.stopLooking = context.WithCancel(context.WithoutCancel(ctx))
	// Closing waits for a reader that may be blocked in a system call.
	stop := context.AfterFunc(ctx, func() { _ = session.Close() })
	defer stop()
	for {
		stream, err := session.AcceptStream()
		if err != nil {
			break // the connection is gone, or ctx is done
		}
		s.calls.Add(1)
		go func() {
			defer s.calls.Done()
			s.call(context.WithoutCancel(ctx), stream)
			_ = stream.Close()
		}()
	}
	s.stopLooking()
	s.orphan()
	s.calls.Wait()
	return s.unlock(context.WithoutCancel(ctx))
}

// addresses are the machine's own, none where they cannot be told.
func addresses() []netip.Addr {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLoopback() {
			out = append(out, p.Addr().Unmap())
		}
	}
	return out
}

// open is a connection that its session does not close.
type open struct{ io.ReadWriter }

func (open) Close() error { return nil }

type server struct {
	h   host.Host
	opt ServerOptions

	looking     context.Context // done when the connection is: what only looks ends then
	stopLooking context.CancelFunc
	calls       sync.WaitGroup

	mu    sync.Mutex
	lease host.Lease
}

// call serves one stream. ctx outlives the connection.
func (s *server) call(ctx context.Context, stream net.Conn) { //nolint:contextcheck // what only looks ends with the connection, not with ctx
	r := bufio.NewReader(stream)
	var req request
	if err := readHeader(r, &req); err != nil {
		return
	}
	payload, err := readN(r, req.Size)
	if err != nil {
		return
	}
	if !changes(req.Op) {
		ctx = s.looking
	}
	timeout := time.Duration(req.Timeout) * time.Millisecond
	if timeout <= 0 {
		timeout = host.DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if s.opt.ReadOnly && changes(req.Op) {
		err := fmt.Errorf("%s: %s: %w: this connection was opened for looking only", s.h.Name(), req.Op, host.ErrRefused)
		_ = writeFrame(stream, response{Error: toFailure(err)}, nil)
		return
	}
	if req.Op == opDial {
		s.dial(ctx, stream, r, req)
		return
	}
	go func() {
		// The caller says one byte more only to cancel. An end without it
		// is a lost connection, which ends no change.
		if _, err := r.ReadByte(); err == nil {
			cancel()
		}
	}()
	resp, out, err := s.do(ctx, req, payload)
	resp.Error, resp.Size = toFailure(err), len(out)
	if err := writeFrame(stream, resp, out); errors.Is(err, errLongHeader) {
		_ = writeFrame(stream, response{Error: toFailure(fmt.Errorf("%s: %s: %w", s.h.Name(), req.Op, err))}, nil)
	}
}

// do carries out one request. The bytes are the payload of the response.
func (s *server) do(ctx context.Context, req request, payload []byte) (resp response, out []byte, err error) {
	var a host.Attr
	if req.Attr != nil {
		a = host.Attr(*req.Attr)
	}
	path := string(req.Path)
	switch req.Op {
	case opAsk, opRun:
		cmd := host.Cmd{Argv: plain(req.Argv), Env: plain(req.Env), Dir: string(req.Dir)}
		if req.Stdin {
			cmd.Stdin = payload
		}
		do := s.h.Ask
		if req.Op == opRun {
			do = s.h.Run
		}
		var said string
		said, err = do(ctx, cmd)
		out = []byte(said)
	case opRead:
		out, err = s.h.ReadFile(ctx, path)
	case opStat:
		var fi host.FileInfo
		if fi, err = s.h.Stat(ctx, path); err == nil {
			i := toInfo(fi)
			resp.Info = &i
		}
	case opList:
		var list []host.FileInfo
		list, err = s.h.ReadDir(ctx, path)
		for _, fi := range list {
			resp.List = append(resp.List, toInfo(fi))
		}
	case opWrite:
		err = s.h.WriteFile(ctx, path, payload, a)
	case opMkdir:
		err = s.h.Mkdir(ctx, path, a)
	case opAttr:
		err = s.h.SetAttr(ctx, path, a)
	case opRemove:
		err = s.h.Remove(ctx, path)
	case opRename:
		err = s.h.Rename(ctx, path, string(req.To))
	case opSymlink:
		err = s.h.Symlink(ctx, string(req.To), path)
	case opClock:
		resp.Time = time.Now().UnixNano()
	case opLock, opUnlock, opHolder:
		resp.Locked, err = s.lockCall(ctx, req)
	default:
		err = fmt.Errorf("%s: this multihead does not know the operation %q", s.h.Name(), req.Op)
	}
	return resp, out, err
}

func (s *server) lockCall(ctx context.Context, req request) (*host.LockedError, error) {
	if req.Op == opUnlock {
		return nil, s.unlock(ctx)
	}
	locker, ok := s.h.(host.Locker)
	if !ok {
		return nil, fmt.Errorf("%s: cannot be locked", s.h.Name())
	}
	if req.Op == opHolder {
		return locker.Holder(ctx, req.Owner)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lease != nil || req.Owner == nil {
		return nil, fmt.Errorf("%s: lock: locked by this connection already, or by nobody named", s.h.Name())
	}
	lease, err := locker.Lock(ctx, *req.Owner)
	if locked, ok := errors.AsType[*host.LockedError](err); ok {
		return locked, nil
	}
	s.lease = lease
	return nil, err
}

func (s *server) unlock(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lease == nil {
		return nil
	}
	lease := s.lease
	s.lease = nil
	return lease.Release(ctx)
}

// orphan notes in the lock that nobody is at the other end any more.
func (s *server) orphan() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.lease.(interface{ Orphan() error }); ok {
		// The note is for people; the lock holds without it.
		_ = o.Orphan()
	}
}

// dial turns the stream into a pipe to one of the machine's sockets.
func (s *server) dial(ctx context.Context, stream net.Conn, r *bufio.Reader, req request) {
	c, err := s.h.Dial(ctx, req.Network, req.Address)
	if err != nil {
		_ = writeFrame(stream, response{Error: toFailure(err)}, nil)
		return
	}
	defer func() { _ = c.Close() }()
	if err := writeFrame(stream, response{}, nil); err != nil {
		return
	}
	stop := context.AfterFunc(s.looking, func() { _ = c.Close() }) //nolint:contextcheck // ctx bounds the dialling, this the pipe
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(stream, c)
		_ = stream.Close() // the daemon has ended: so has the caller's reading
	}()
	_, _ = io.Copy(c, r)
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	} else {
		_ = c.Close()
	}
	select {
	case <-done:
	case <-time.After(halfClosed):
	}
}
