package rpc

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"

	"multihead/internal/host"
)

// The far end keeps a call's time itself. The client gives it this much more
// before it stops waiting: for a question little, for a change as long as the
// host takes to end a command that does not want to end.
const (
	lookSlack   = 250 * time.Millisecond
	changeSlack = 5 * time.Second
)

// maxNoise is how much a login shell may print before the server speaks, in
// bytes.
const maxNoise = 64 << 10

// Client is a machine at the other end of a connection.
type Client struct {
	name    string
	hello   Hello
	session *yamux.Session
	trace   atomic.Pointer[Trace]
}

// Trace is told of every call that has ended: what was asked, as a person
// would type it and without secrets, and how long it took.
type Trace func(op, what string, took time.Duration, err error)

// SetTrace sets who is told of calls.
func (c *Client) SetTrace(t Trace) { c.trace.Store(&t) }

// told passes a call on to the trace.
func (c *Client) told(req request, begin time.Time, err error) {
	t := c.trace.Load()
	if t == nil || *t == nil {
		return
	}
	what := string(req.Path)
	switch req.Op {
	case opAsk, opRun:
		what = host.Command(plain(req.Argv)...).String()
	case opDial:
		what = req.Network + " " + req.Address
	case opRename, opSymlink:
		what += " " + string(req.To)
	}
	(*t)(req.Op, what, time.Since(begin), err)
}

var (
	_ host.Host   = (*Client)(nil)
	_ host.Locker = (*Client)(nil)
)

// ErrNoHello is matched by the error of a connection on which something other
// than a multihead of this protocol answered, or nothing did.
var ErrNoHello = errors.New("the remote half of multihead did not answer")

// NewClient waits for the server's Hello on conn until ctx is done and returns
// the machine under its name in the cluster file. The client owns conn.
func NewClient(ctx context.Context, name string, conn io.ReadWriteCloser) (*Client, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	r := bufio.NewReader(conn)
	hello, err := readHello(r)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%s: %w", name, errors.Join(err, context.Cause(ctx)))
	}
	session, err := yamux.Client(&buffered{r, conn}, sessionConfig())
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &Client{name: name, hello: hello, session: session}, nil
}

// buffered is a connection some of which has been read already.
type buffered struct {
	io.Reader
	io.WriteCloser
}

// readHello skips what was printed before the server spoke.
func readHello(r *bufio.Reader) (Hello, error) {
	var seen []byte
	for !bytes.HasSuffix(seen, []byte(Magic)) {
		b, err := r.ReadByte()
		if err != nil {
			return Hello{}, fmt.Errorf("%w: %w", ErrNoHello, err)
		}
		if seen = append(seen, b); len(seen) > maxNoise {
			return Hello{}, fmt.Errorf("%w: it prints other things", ErrNoHello)
		}
	}
	var h Hello
	if err := readHeader(r, &h); err != nil {
		return Hello{}, fmt.Errorf("%w: %w", ErrNoHello, err)
	}
	if h.Protocol != Protocol {
		return Hello{}, fmt.Errorf("%w: it speaks protocol %d, this one %d", ErrNoHello, h.Protocol, Protocol)
	}
	return h, nil
}

// Hello is what the server said of itself.
func (c *Client) Hello() Hello { return c.hello }

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.session.CloseChan() }

// Close ends the connection. The server finishes what it is changing.
func (c *Client) Close() error { return c.session.Close() }

// call makes one call and returns the response and its payload.
func (c *Client) call(ctx context.Context, req request, payload []byte) (resp response, out []byte, err error) {
	begin := time.Now()
	defer func() { c.told(req, begin, err) }()
	stream, resp, r, stop, err := c.begin(ctx, req, payload)
	if err != nil {
		return response{}, nil, err
	}
	defer stop()
	defer func() { _ = stream.Close() }()
	if out, err = readN(r, resp.Size); err != nil {
		return response{}, nil, c.explain(ctx, req.Op, err)
	}
	return resp, out, resp.Error.err()
}

// begin makes one call up to the response's header. stop ends the watch over
// ctx.
func (c *Client) begin(ctx context.Context, req request, payload []byte) (net.Conn, response, *bufio.Reader, func(), error) {
	fail := func(err error) (net.Conn, response, *bufio.Reader, func(), error) {
		return nil, response{}, nil, nil, c.explain(ctx, req.Op, err)
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(host.DefaultTimeout)
	}
	slack := lookSlack
	if changes(req.Op) {
		slack = changeSlack
	}
	req.Timeout = max(1, time.Until(deadline).Milliseconds())
	req.Size = len(payload)
	stream, err := c.session.OpenStream()
	if err != nil {
		return fail(err)
	}
	_ = stream.SetDeadline(deadline.Add(slack))
	unwatch := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			_ = stream.SetDeadline(time.Now().Add(slack))
			_, _ = stream.Write([]byte{'c'})
		}
	})
	stop := func() { unwatch() }
	if err := writeFrame(stream, req, payload); err != nil {
		stop()
		_ = stream.Close()
		return fail(err)
	}
	r := bufio.NewReader(stream)
	var resp response
	if err := readHeader(r, &resp); err != nil {
		stop()
		_ = stream.Close()
		return fail(err)
	}
	return stream, resp, r, stop, nil
}

// explain tells a caller whose time is up from a connection that ended.
func (c *Client) explain(ctx context.Context, op string, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %s: %w", c.name, op, ctx.Err())
	case timedOut(err):
		return fmt.Errorf("%s: %s: %w", c.name, op, context.DeadlineExceeded)
	case changes(op):
		return fmt.Errorf("%s: %s: %w before it was answered, so it may or may not have been done (%w)", c.name, op, host.ErrLost, err)
	}
	return fmt.Errorf("%s: %s: %w (%w)", c.name, op, host.ErrLost, err)
}

// Name implements host.Reader.
func (c *Client) Name() string { return c.name }

// Query implements host.Reader.
func (c *Client) Query(ctx context.Context, argv ...string) (string, error) {
	return c.Ask(ctx, host.Cmd{Argv: argv})
}

// Ask implements host.Reader. It is refused at both ends, so that a mistake
// is found in the nearest test.
func (c *Client) Ask(ctx context.Context, cmd host.Cmd) (string, error) {
	if !host.ReadOnly(cmd.Argv) {
		return "", fmt.Errorf("%s: %s: %w: not on the list of commands that only look", c.name, cmd, host.ErrRefused)
	}
	return c.command(ctx, opAsk, cmd)
}

// Run implements host.Host.
func (c *Client) Run(ctx context.Context, cmd host.Cmd) (string, error) {
	return c.command(ctx, opRun, cmd)
}

func (c *Client) command(ctx context.Context, op string, cmd host.Cmd) (string, error) {
	req := request{Op: op, Argv: texts(cmd.Argv), Env: texts(cmd.Env), Dir: text(cmd.Dir), Stdin: cmd.Stdin != nil}
	_, out, err := c.call(ctx, req, cmd.Stdin)
	return string(out), err
}

// ReadFile implements host.Reader.
func (c *Client) ReadFile(ctx context.Context, path string) ([]byte, error) {
	_, out, err := c.call(ctx, request{Op: opRead, Path: text(path)}, nil)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Stat implements host.Reader.
func (c *Client) Stat(ctx context.Context, path string) (host.FileInfo, error) {
	resp, _, err := c.call(ctx, request{Op: opStat, Path: text(path)}, nil)
	if err != nil {
		return host.FileInfo{}, err
	}
	if resp.Info == nil {
		return host.FileInfo{}, fmt.Errorf("%s: stat %s: an answer without content", c.name, path)
	}
	return resp.Info.fileInfo(), nil
}

// ReadDir implements host.Reader.
func (c *Client) ReadDir(ctx context.Context, path string) ([]host.FileInfo, error) {
	resp, _, err := c.call(ctx, request{Op: opList, Path: text(path)}, nil)
	if err != nil {
		return nil, err
	}
	list := make([]host.FileInfo, len(resp.List))
	for i, fi := range resp.List {
		list[i] = fi.fileInfo()
	}
	return list, nil
}

// Dial implements host.Reader.
func (c *Client) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	req, begin := request{Op: opDial, Network: network, Address: address}, time.Now()
	defer func() { c.told(req, begin, err) }()
	stream, resp, r, stop, err := c.begin(ctx, req, nil)
	if err != nil {
		return nil, err
	}
	stop()
	if err := resp.Error.err(); err != nil {
		_ = stream.Close()
		return nil, err
	}
	_ = stream.SetDeadline(time.Time{})
	return &pipe{Conn: stream, r: r}, nil
}

// pipe is a dialled socket; the first bytes may have come with the response.
type pipe struct {
	net.Conn
	r *bufio.Reader
}

func (p *pipe) Read(b []byte) (int, error) { return p.r.Read(b) }

// Close also ends a Read that waits: closing a stream only half closes it, and
// a daemon that hangs would keep the reader for as long as the far end waits.
func (p *pipe) Close() error {
	_ = p.SetDeadline(time.Unix(1, 0)) // what has no deadlines is closed all the same
	return p.Conn.Close()
}

func (c *Client) change(ctx context.Context, req request, payload []byte) error {
	_, _, err := c.call(ctx, req, payload)
	return err
}

func toAttr(a host.Attr) *attr {
	w := attr(a)
	return &w
}

// WriteFile implements host.Host.
func (c *Client) WriteFile(ctx context.Context, path string, data []byte, a host.Attr) error {
	if len(data) > host.MaxFile {
		return fmt.Errorf("%s: write %s: larger than %d bytes", c.name, path, host.MaxFile)
	}
	return c.change(ctx, request{Op: opWrite, Path: text(path), Attr: toAttr(a)}, data)
}

// Mkdir implements host.Host.
func (c *Client) Mkdir(ctx context.Context, path string, a host.Attr) error {
	return c.change(ctx, request{Op: opMkdir, Path: text(path), Attr: toAttr(a)}, nil)
}

// SetAttr implements host.Host.
func (c *Client) SetAttr(ctx context.Context, path string, a host.Attr) error {
	return c.change(ctx, request{Op: opAttr, Path: text(path), Attr: toAttr(a)}, nil)
}

// Remove implements host.Host.
func (c *Client) Remove(ctx context.Context, path string) error {
	return c.change(ctx, request{Op: opRemove, Path: text(path)}, nil)
}

// Rename implements host.Host.
func (c *Client) Rename(ctx context.Context, oldPath, newPath string) error {
	return c.change(ctx, request{Op: opRename, Path: text(oldPath), To: text(newPath)}, nil)
}

// Symlink implements host.Host.
func (c *Client) Symlink(ctx context.Context, target, path string) error {
	return c.change(ctx, request{Op: opSymlink, Path: text(path), To: text(target)}, nil)
}

// Lock implements host.Locker. The lock is held by the server's process and
// ends with it.
func (c *Client) Lock(ctx context.Context, owner host.Owner) (host.Lease, error) {
	resp, _, err := c.call(ctx, request{Op: opLock, Owner: &owner}, nil)
	if err != nil {
		return nil, err
	}
	if resp.Locked != nil {
		resp.Locked.Host = c.name
		return nil, resp.Locked
	}
	return lease{c}, nil
}

type lease struct{ c *Client }

// Release implements host.Lease.
func (l lease) Release(ctx context.Context) error { return l.c.change(ctx, request{Op: opUnlock}, nil) }

// Holder implements host.Locker.
func (c *Client) Holder(ctx context.Context, asking *host.Owner) (*host.LockedError, error) {
	resp, _, err := c.call(ctx, request{Op: opHolder, Owner: asking}, nil)
	if resp.Locked != nil {
		resp.Locked.Host = c.name
	}
	return resp.Locked, err
}

// Clock measures how far the machine's clock is ahead of ours, and the round
// trip within which that is certain: the true value lies within rtt/2.
func (c *Client) Clock(ctx context.Context) (ahead, rtt time.Duration, err error) {
	begin := time.Now()
	resp, _, err := c.call(ctx, request{Op: opClock}, nil)
	if err != nil {
		return 0, 0, err
	}
	rtt = time.Since(begin)
	return time.Unix(0, resp.Time).Sub(begin.Add(rtt / 2).Round(0)), rtt, nil
}
