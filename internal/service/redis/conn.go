package redis

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"multihead/internal/host"
)

// askLimit bounds one question to a server. A server that runs answers in
// less than a millisecond; one that saves or loads within a second or so.
const askLimit = 3 * time.Second

// conn is one connection to a Redis or a sentinel.
type conn struct {
	addr string
	c    net.Conn
	r    *bufio.Reader
	stop func() bool
}

// errWrongPassword is a server that wants another password than the file's.
var errWrongPassword = errors.New("it asks for another password than redis.cluster.password in the cluster file; multihead rotate passwords changes it")

// connect reaches a server from the machine r and authenticates.
func connect(ctx context.Context, r host.Reader, addr, password string) (*conn, error) {
	nc, err := r.Dial(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &conn{addr: addr, c: nc, r: bufio.NewReader(nc)}
	c.bind(ctx)
	if password == "" {
		return c, nil
	}
	if _, err := c.do("AUTH", password); err != nil {
		switch msg := err.Error(); {
		case strings.Contains(msg, "without any password"): // it has none; the settings step gives it one
		case strings.Contains(msg, "WRONGPASS"), strings.Contains(msg, "invalid password"):
			c.close()
			return nil, fmt.Errorf("redis at %s: %w", addr, errWrongPassword)
		default:
			c.close()
			return nil, err
		}
	}
	return c, nil
}

func (c *conn) close() {
	c.stop()
	_ = c.c.Close()
}

// pipe sends commands in one go and returns their answers. An error of the
// server is among the answers; the error returned is of the connection.
func (c *conn) pipe(limit time.Duration, commands ...[]string) ([]any, error) {
	var b []byte
	for _, cmd := range commands {
		b = appendCommand(b, cmd)
	}
	if err := c.c.SetDeadline(time.Now().Add(limit)); err != nil {
		return nil, fmt.Errorf("redis at %s: %w", c.addr, err)
	}
	if _, err := c.c.Write(b); err != nil {
		return nil, fmt.Errorf("redis at %s: %w", c.addr, err)
	}
	out := make([]any, 0, len(commands))
	for range commands {
		v, err := readReply(c.r, 0)
		if err != nil {
			return nil, fmt.Errorf("redis at %s: %w", c.addr, err)
		}
		out = append(out, v)
	}
	return out, nil
}

// do sends one command; what the server answers as an error is an error. The
// error names the command and its subcommand only: arguments may be secret.
func (c *conn) do(args ...string) (any, error) {
	return c.doWithin(askLimit, args...)
}

func (c *conn) doWithin(limit time.Duration, args ...string) (any, error) {
	out, err := c.pipe(limit, args)
	if err != nil {
		return nil, err
	}
	if e, ok := out[0].(serverError); ok {
		return nil, fmt.Errorf("redis at %s: %s: %w", c.addr, commandName(args), e)
	}
	return out[0], nil
}

// all sends commands in one go and fails with the first error answered.
func (c *conn) all(limit time.Duration, commands ...[]string) ([]any, error) {
	out, err := c.pipe(limit, commands...)
	if err != nil {
		return nil, err
	}
	for i, v := range out {
		if e, ok := v.(serverError); ok {
			return nil, fmt.Errorf("redis at %s: %s: %w", c.addr, commandName(commands[i]), e)
		}
	}
	return out, nil
}

func commandName(args []string) string {
	switch args[0] {
	case "CLUSTER", "CONFIG", "SENTINEL", "ACL":
		return args[0] + " " + args[1]
	}
	return args[0]
}

// info asks for INFO.
func (c *conn) info() (info, error) {
	v, err := c.do("INFO")
	if err != nil {
		return nil, err
	}
	s, err := text(v)
	return parseInfo(s), err
}

// nodes asks for CLUSTER NODES.
func (c *conn) nodes() ([]clusterNode, error) {
	v, err := c.do("CLUSTER", "NODES")
	if err != nil {
		return nil, err
	}
	s, err := text(v)
	if err != nil {
		return nil, err
	}
	return parseNodes(s)
}

// config asks for settings.
func (c *conn) config(names ...string) (map[string]string, error) {
	v, err := c.do(append([]string{"CONFIG", "GET"}, names...)...)
	if err != nil {
		return nil, err
	}
	return pairs(v)
}

// refused says whether an error means that nothing listens there: the machine
// answered, and has no server on that port.
func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// starting says whether an error is one that a server gives while it starts
// or loads, so that waiting helps.
func starting(err error) bool {
	return refused(err) || strings.Contains(err.Error(), "LOADING")
}
