// Package remotetest is an SSH server in the process of a test: it lets
// logins in as told, hangs where told, and serves a machine through the remote
// half without one being installed anywhere.
package remotetest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"multihead/internal/host"
	"multihead/internal/host/rpc"
)

// Options is how a server behaves. The zero value lets nobody in.
type Options struct {
	User     string // the one login; empty means "root"
	Key      ssh.PublicKey
	Password string
	// AuthorizedKeys is a file of further keys, read at each login.
	AuthorizedKeys string
	// Interactive asks for the password as a dialogue instead.
	Interactive bool
	// HostKey is the server's; nil means a new one.
	HostKey ssh.Signer

	// HangAtAccept never answers a connection, HangAtLogin never finishes a
	// login, HangAtStart lets in and never starts anything.
	HangAtAccept, HangAtLogin, HangAtStart bool

	// Host is served as if the tool were installed on it. Where it is nil,
	// what is asked for is run by a real shell in Dir with Env.
	Host host.Host
	Dir  string
	Env  []string
	// Jump allows connections onwards.
	Jump bool
}

// Server is a running server.
type Server struct {
	Addr    string // host:port on loopback
	Host    string
	Port    int
	HostKey ssh.Signer

	Accepted atomic.Int64 // connections so far
	Open     atomic.Int64 // connections that are open
	Starts   atomic.Int64 // remote halves and commands started
	Tried    func() []string

	opt  Options
	done chan struct{}
}

// Start starts a server on loopback, which ends with the test.
func Start(t testing.TB, opt Options) *Server {
	t.Helper()
	if opt.User == "" {
		opt.User = "root"
	}
	if opt.HostKey == nil {
		opt.HostKey, _ = NewKey(t)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(l.Addr().String())
	n, _ := strconv.Atoi(port)
	s := &Server{Addr: l.Addr().String(), Host: host, Port: n, HostKey: opt.HostKey, opt: opt, done: make(chan struct{})}
	var mu sync.Mutex
	var tried []string
	s.Tried = func() []string { mu.Lock(); defer mu.Unlock(); return append([]string(nil), tried...) }
	note := func(what string) { mu.Lock(); defer mu.Unlock(); tried = append(tried, what) }
	conf := s.config(note)
	var wg sync.WaitGroup
	conns := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			s.Accepted.Add(1)
			s.Open.Add(1)
			wg.Go(func() {
				defer s.Open.Add(-1)
				s.serve(context.Background(), c, conf)
				_ = c.Close()
				mu.Lock()
				delete(conns, c)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		close(s.done)
		mu.Lock()
		for c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return s
}

// NewKey makes a key pair.
func NewKey(t testing.TB) (ssh.Signer, ed25519.PrivateKey) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s, private
}

// KnownHosts is the server's line in a known_hosts file.
func (s *Server) KnownHosts() string {
	return knownhosts.Line([]string{knownhosts.Normalize(s.Addr)}, s.HostKey.PublicKey()) + "\n"
}

func (s *Server) config(note func(string)) *ssh.ServerConfig {
	wrong := errors.New("no")
	wait := func() error {
		if s.opt.HangAtLogin {
			<-s.done
		}
		return nil
	}
	conf := &ssh.ServerConfig{MaxAuthTries: 20}
	conf.AddHostKey(s.opt.HostKey)
	if s.opt.Key != nil || s.opt.AuthorizedKeys != "" {
		conf.PublicKeyCallback = func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			note("key")
			if c.User() != s.opt.User || !s.takes(key) {
				return nil, wrong
			}
			return nil, wait()
		}
	}
	if s.opt.Password == "" {
		if s.opt.Key == nil {
			conf.PasswordCallback = func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) { return nil, wrong }
		}
		return conf
	}
	check := func(user, password string) (*ssh.Permissions, error) {
		note("password")
		if user != s.opt.User || password != s.opt.Password {
			return nil, wrong
		}
		return nil, wait()
	}
	if s.opt.Interactive {
		conf.KeyboardInteractiveCallback = func(c ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			answers, err := ask("", "", []string{"Password: "}, []bool{false})
			if err != nil || len(answers) != 1 {
				return nil, wrong
			}
			return check(c.User(), answers[0])
		}
	} else {
		conf.PasswordCallback = func(c ssh.ConnMetadata, p []byte) (*ssh.Permissions, error) { return check(c.User(), string(p)) }
	}
	return conf
}

// takes says whether a key may log in.
func (s *Server) takes(key ssh.PublicKey) bool {
	if s.opt.Key != nil && string(key.Marshal()) == string(s.opt.Key.Marshal()) {
		return true
	}
	data, err := os.ReadFile(s.opt.AuthorizedKeys)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		k, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err == nil && string(k.Marshal()) == string(key.Marshal()) {
			return true
		}
	}
	return false
}

func (s *Server) serve(ctx context.Context, c net.Conn, conf *ssh.ServerConfig) {
	if s.opt.HangAtAccept {
		_, _ = io.Copy(io.Discard, c)
		return
	}
	conn, chans, reqs, err := ssh.NewServerConn(c, conf)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	go ssh.DiscardRequests(reqs)
	var wg sync.WaitGroup
	defer wg.Wait()
	for ch := range chans {
		switch {
		case ch.ChannelType() == "session":
			wg.Go(func() { s.session(ctx, ch) })
		case ch.ChannelType() == "direct-tcpip" && s.opt.Jump:
			wg.Go(func() { forward(ctx, ch) })
		default:
			_ = ch.Reject(ssh.UnknownChannelType, "no")
		}
	}
}

// forward serves a jump.
func forward(ctx context.Context, ch ssh.NewChannel) {
	var to struct {
		Host   string
		Port   uint32
		Origin string
		From   uint32
	}
	if err := ssh.Unmarshal(ch.ExtraData(), &to); err != nil {
		_ = ch.Reject(ssh.ConnectionFailed, "no")
		return
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port))))
	if err != nil {
		_ = ch.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	defer func() { _ = c.Close() }()
	stream, reqs, err := ch.Accept()
	if err != nil {
		return
	}
	go ssh.DiscardRequests(reqs)
	go func() {
		_, _ = io.Copy(stream, c)
		_ = stream.Close()
	}()
	_, _ = io.Copy(c, stream)
}

func (s *Server) session(ctx context.Context, ch ssh.NewChannel) {
	stream, reqs, err := ch.Accept()
	if err != nil {
		return
	}
	defer func() { _ = stream.Close() }()
	for req := range reqs {
		if req.Type != "exec" {
			_ = req.Reply(false, nil)
			continue
		}
		var exec struct{ Command string }
		if ssh.Unmarshal(req.Payload, &exec) != nil {
			_ = req.Reply(false, nil)
			return
		}
		_ = req.Reply(true, nil)
		s.Starts.Add(1)
		go ssh.DiscardRequests(reqs)
		code := s.exec(ctx, stream, exec.Command)
		_, _ = stream.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{uint32(code)}))
		return
	}
}

func (s *Server) exec(ctx context.Context, stream ssh.Channel, command string) int {
	switch {
	case s.opt.HangAtStart:
		_, _ = io.Copy(io.Discard, stream)
		return 1
	case s.opt.Host != nil && strings.Contains(command, " rpc --name "):
		readOnly := strings.Contains(command, "--read-only")
		if err := rpc.Serve(ctx, stream, s.opt.Host, rpc.ServerOptions{Version: "test", ReadOnly: readOnly}); err != nil {
			return 1
		}
		return 0
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Dir = s.opt.Dir
	cmd.Env = append(os.Environ(), s.opt.Env...)
	cmd.Stdout, cmd.Stderr = stream, stream.Stderr()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 1
	}
	if err := cmd.Start(); err != nil {
		return 127
	}
	go func() {
		_, _ = io.Copy(stdin, stream)
		_ = stdin.Close()
	}()
	if err := cmd.Wait(); err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return exit.ExitCode()
		}
		return 1
	}
	return 0
}
