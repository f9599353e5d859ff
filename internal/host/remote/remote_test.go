package remote_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/host/remote"
	"multihead/internal/host/remote/remotetest"
)

// person is somebody's home directory with a key.
type person struct {
	home    string
	key     ssh.Signer
	private ed25519.PrivateKey
}

func newPerson(t testing.TB) *person {
	t.Helper()
	t.Setenv("SSH_AUTH_SOCK", "")
	p := &person{home: t.TempDir()}
	p.key, p.private = remotetest.NewKey(t)
	block, err := ssh.MarshalPrivateKey(p.private, "")
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, ".ssh/id_ed25519", string(pem.EncodeToMemory(block)), 0o600)
	return p
}

func (p *person) write(t testing.TB, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(p.home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// knows puts servers into the person's known_hosts.
func (p *person) knows(t testing.TB, servers ...*remotetest.Server) {
	t.Helper()
	var b strings.Builder
	for _, s := range servers {
		b.WriteString(s.KnownHosts())
	}
	p.write(t, ".ssh/known_hosts", b.String(), 0o600)
}

func (p *person) dialer(t testing.TB, change func(*remote.Options)) *remote.Dialer {
	t.Helper()
	opt := remote.Options{Home: p.home, SSHConfig: []string{filepath.Join(p.home, ".ssh", "config")}, AlwaysSSH: true, Timeout: 20 * time.Second}
	if change != nil {
		change(&opt)
	}
	d, err := remote.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func to(name string, s *remotetest.Server) remote.Target {
	return remote.Target{Name: name, Address: s.Host, Port: s.Port, User: "root"}
}

func connect(t testing.TB, d *remote.Dialer, target remote.Target) *remote.Conn {
	t.Helper()
	c, err := d.Connect(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func wantClass(t *testing.T, err error, class remote.Class, words ...string) {
	t.Helper()
	if remote.ClassOf(err) != class {
		t.Fatalf("class %q, want %q: %v", remote.ClassOf(err), class, err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

func machine(name string) *hosttest.Machine { return hosttest.New(name).Answer("uname", "Linux\n") }

func TestAKeyReachesAKnownHost(t *testing.T) {
	me := newPerson(t)
	s := remotetest.Start(t, remotetest.Options{Key: me.key.PublicKey(), Host: machine("server1")})
	me.knows(t, s)
	c := connect(t, me.dialer(t, nil), to("server1", s))
	if out, err := c.Query(t.Context(), "uname"); err != nil || out != "Linux\n" {
		t.Fatalf("%q, %v", out, err)
	}
	if err := c.WriteFile(t.Context(), "/etc/f", []byte("x"), host.Attr{}); err != nil {
		t.Fatal(err)
	}
	if c.Name() != "server1" || c.Local || c.User != "root" {
		t.Errorf("%+v", c)
	}
}

func TestAConnectionThatEndedIsNotAlive(t *testing.T) {
	me := newPerson(t)
	s := remotetest.Start(t, remotetest.Options{Key: me.key.PublicKey(), Host: machine("server1")})
	me.knows(t, s)
	c := connect(t, me.dialer(t, nil), to("server1", s))
	if !c.Alive() {
		t.Error("it was reached and is not alive")
	}
	_ = c.Close()
	if c.Alive() {
		t.Error("it is closed and alive")
	}
}

func TestLookingOnlyIsAskedOfTheRemoteHalf(t *testing.T) {
	me := newPerson(t)
	s := remotetest.Start(t, remotetest.Options{Key: me.key.PublicKey(), Host: machine("server1")})
	me.knows(t, s)
	c := connect(t, me.dialer(t, func(o *remote.Options) { o.ReadOnly = true }), to("server1", s))
	if err := c.WriteFile(t.Context(), "/etc/f", nil, host.Attr{}); !errors.Is(err, host.ErrRefused) {
		t.Fatal(err)
	}
}

func TestKeysThatWereNeverSeenAreAskedAboutAtOnceAndRecorded(t *testing.T) {
	me := newPerson(t)
	var targets []remote.Target
	for _, n := range []string{"server1", "server2", "server3"} {
		s := remotetest.Start(t, remotetest.Options{Key: me.key.PublicKey(), Host: machine(n)})
		targets = append(targets, to(n, s))
	}
	d := me.dialer(t, nil)
	_, err := d.Connect(t.Context(), targets[0])
	wantClass(t, err, remote.HostKeyUnknown, "server1", "SHA256:", "--accept-new")

	asked := 0
	d = me.dialer(t, func(o *remote.Options) {
		o.ConfirmKeys = func(_ context.Context, keys []remote.HostKey) (bool, error) {
			asked++
			if len(keys) != 3 || keys[0].Host != "server1" || keys[0].Type() != "ssh-ed25519" {
				t.Errorf("asked about %+v", keys)
			}
			return true, nil
		}
	})
	results, err := d.ConnectAll(t.Context(), targets)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		_ = r.Conn.Close()
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	// Another run finds them recorded.
	connect(t, me.dialer(t, nil), targets[2])
}

func TestNoMeansNothingIsDoneAnywhere(t *testing.T) {
	me := newPerson(t)
	known := remotetest.Start(t, remotetest.Options{Key: me.key.PublicKey(), Host: machine("server1")})
	unknown := remotetest.Start(t, remotetest.Options{Key: me.key.PublicKey(), Host: machine("server2")})
	me.knows(t, known)
	d := me.dialer(t, func(o *remote.Options) {
		o.ConfirmKeys = func(context.Context, []remote.HostKey) (bool, error) { return false, nil }
	})
	if _, err := d.ConnectAll(t.Context(), []remote.Target{to("server1", known), to("server2", unknown)}); err == nil {
		t.Fatal("went on")
	}
	waitFor(t, "every connection to be closed", func() bool { return known.Open.Load() == 0 && unknown.Open.Load() == 0 })
}

func TestAcceptNewRecordsBesideTheClusterFileWhereThereIsAFile(t *testing.T) {
	me := newPerson(t)
	s := remotetest.Start(t, remotetest.Options{Key: me.key.PublicKey(), Host: machine("server1")})
	beside := me.write(t, "cluster/known_hosts", "# no newline at the end", 0o600)
	connect(t, me.dialer(t, func(o *remote.Options) {
		o.AcceptNew = true
		o.KnownHosts = []string{beside}
	}), to("server1", s))
	data, err := os.ReadFile(beside)
	if err != nil || !strings.HasPrefix(string(data), "# no newline at the end\n") || !strings.Contains(string(data), "ssh-ed25519 ") {
		t.Fatalf("%q, %v", data, err)
	}
	connect(t, me.dialer(t, func(o *remote.Options) { o.KnownHosts = []string{beside} }), to("server1", s))
}

func TestAChangedHostKeyStopsEverything(t *testing.T) {
	me := newPerson(t)
	good := remotetest.Start(t, remotetest.Options{Key: me.key.PublicKey(), Host: machine("server1")})
	bad := remotetest.Start(t, remotetest.Options{Key: me.key.PublicKey(), Host: machine("server2")})
	other, _ := remotetest.NewKey(t)
	line := strings.Fields(bad.KnownHosts())[0] + " " + string(ssh.MarshalAuthorizedKey(other.PublicKey()))
	me.write(t, ".ssh/known_hosts", good.KnownHosts()+line, 0o600)
	d := me.dialer(t, func(o *remote.Options) { o.AcceptNew = true })
	_, err := d.ConnectAll(t.Context(), []remote.Target{to("server1", good), to("server2", bad)})
	wantClass(t, err, remote.HostKeyChanged, "server2", "known_hosts", "nothing was done")
	if bad.Starts.Load() != 0 || len(bad.Tried()) != 0 {
		t.Errorf("went on with the changed host: %v", bad.Tried())
	}
	waitFor(t, "every connection to be closed", func() bool { return good.Open.Load() == 0 })
}

func TestAnotherKindOfKeyThanThePinnedOneIsAChange(t *testing.T) {
	me := newPerson(t)
	s := remotetest.Start(t, remotetest.Options{Key: me.key.PublicKey(), Host: machine("server1")})
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pinned, err := ssh.NewPublicKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	me.write(t, ".ssh/known_hosts", strings.Fields(s.KnownHosts())[0]+" "+string(ssh.MarshalAuthorizedKey(pinned)), 0o600)
	_, err = me.dialer(t, nil).Connect(t.Context(), to("server1", s))
	wantClass(t, err, remote.HostKeyChanged, "no longer has a key of the kind")
}

func TestTheFirstFileThatKnowsAnAddressDecides(t *testing.T) {
	me := newPerson(t)
	s := remotetest.Start(t, remotetest.Options{Key: me.key.PublicKey(), Host: machine("server1")})
	other, _ := remotetest.NewKey(t)
	stale := strings.Fields(s.KnownHosts())[0] + " " + string(ssh.MarshalAuthorizedKey(other.PublicKey()))
	me.write(t, ".ssh/known_hosts", stale, 0o600)
	beside := me.write(t, "cluster/known_hosts", s.KnownHosts(), 0o600)
	connect(t, me.dialer(t, func(o *remote.Options) { o.KnownHosts = []string{beside} }), to("server1", s))
	_, err := me.dialer(t, nil).Connect(t.Context(), to("server1", s))
	wantClass(t, err, remote.HostKeyChanged)
}

func TestLinesOfOtherTimesDoNotHideTheOthers(t *testing.T) {
	me := newPerson(t)
	s := remotetest.Start(t, remotetest.Options{Key: me.key.PublicKey(), Host: machine("server1")})
	me.write(t, ".ssh/known_hosts", "server9 1024 35 1234567890123456789\n@strange server8 ssh-x AAAA\n"+s.KnownHosts(), 0o600)
	connect(t, me.dialer(t, nil), to("server1", s))
}

func TestTheNameAloneNeitherPinsNorAlarms(t *testing.T) {
	me := newPerson(t)
	s := remotetest.Start(t, remotetest.Options{Key: me.key.PublicKey(), Host: machine("server1")})
	other, _ := remotetest.NewKey(t)
	_, port, _ := net.SplitHostPort(s.Addr)
	me.write(t, ".ssh/known_hosts", "[server1]:"+port+" "+string(ssh.MarshalAuthorizedKey(other.PublicKey())), 0o600)
	_, err := me.dialer(t, nil).Connect(t.Context(), to("server1", s))
	wantClass(t, err, remote.HostKeyUnknown, "for the name server1")
}

func TestHostsThatHangAreLeftAtTheLimit(t *testing.T) {
	me := newPerson(t)
	for name, c := range map[string]struct {
		opt    remotetest.Options
		limit  string
		during string
	}{
		"after accepting":  {remotetest.Options{HangAtAccept: true}, "300ms", "agreeing on keys"},
		"in the login":     {remotetest.Options{HangAtLogin: true}, "300ms", "logging in"},
		"after logging in": {remotetest.Options{HangAtStart: true}, "900ms", "starting the remote half"}, // it lives, and has longer
	} {
		t.Run(name, func(t *testing.T) {
			c.opt.Key = me.key.PublicKey()
			s := remotetest.Start(t, c.opt)
			me.knows(t, s)
			d := me.dialer(t, func(o *remote.Options) { o.Timeout = 300 * time.Millisecond })
			_, err := d.Connect(t.Context(), to("server1", s))
			wantClass(t, err, remote.Timeout, "server1", c.limit, c.during)
			if !c.opt.HangAtLogin { // the server notices only when its own wait ends
				waitFor(t, "the connection to be closed", func() bool { return s.Open.Load() == 0 })
			}
		})
	}
}

func TestOneHostThatHangsDoesNotHoldUpTheOthers(t *testing.T) {
	me := newPerson(t)
	good := remotetest.Start(t, remotetest.Options{Key: me.key.PublicKey(), Host: machine("server1")})
	hung := remotetest.Start(t, remotetest.Options{HangAtAccept: true})
	me.knows(t, good, hung)
	d := me.dialer(t, func(o *remote.Options) { o.Timeout = time.Second })
	results, err := d.ConnectAll(t.Context(), []remote.Target{to("server1", good), to("server2", hung)})
	if err != nil || results[0].Err != nil {
		t.Fatal(err, results[0].Err)
	}
	defer func() { _ = results[0].Conn.Close() }()
	wantClass(t, results[1].Err, remote.Timeout)
	if _, err := results[0].Conn.Query(t.Context(), "uname"); err != nil {
		t.Fatal(err)
	}
}

func TestWhatDoesNotListenIsRefused(t *testing.T) {
	me := newPerson(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	_, err = me.dialer(t, nil).Connect(t.Context(), remote.Target{Name: "server1", Address: "127.0.0.1", Port: port})
	wantClass(t, err, remote.Refused, "server1", "sshd")
}

func TestSomethingElseThatListensIsNotAnSSHServer(t *testing.T) {
	me := newPerson(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			_ = c.Close()
		}
	}()
	_, err = me.dialer(t, nil).Connect(t.Context(), remote.Target{Name: "server1", Address: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port})
	wantClass(t, err, remote.Unreachable, "something other than an SSH server")
}

func TestALoginThatIsNotTakenSaysWhatWasTried(t *testing.T) {
	me := newPerson(t)
	other, _ := remotetest.NewKey(t)
	s := remotetest.Start(t, remotetest.Options{Key: other.PublicKey(), Host: machine("server1")})
	me.knows(t, s)
	open := me.write(t, "open_key", "x", 0o644)
	target := to("server1", s)
	target.KeyFile = open
	_, err := me.dialer(t, nil).Connect(t.Context(), target)
	wantClass(t, err, remote.AuthFailed, "root", open, "chmod 600")
	_, err = me.dialer(t, nil).Connect(t.Context(), to("server1", s))
	wantClass(t, err, remote.AuthFailed, "takes no publickey of ours for root")
}

func TestPasswords(t *testing.T) {
	for _, interactive := range []bool{false, true} {
		me := newPerson(t)
		s := remotetest.Start(t, remotetest.Options{User: "admin", Password: "s3cret", Interactive: interactive, Host: machine("server1")})
		me.knows(t, s)
		target := to("server1", s)
		target.User = "admin"
		connect(t, me.dialer(t, func(o *remote.Options) { o.Password = "s3cret" }), target)

		_, err := me.dialer(t, func(o *remote.Options) { o.Password = "wr0ng" }).Connect(t.Context(), target)
		wantClass(t, err, remote.AuthFailed, "admin", "ssh_password")
		if strings.Contains(err.Error(), "wr0ng") {
			t.Errorf("the password is in the error: %v", err)
		}
		var asked atomic.Int64
		ask := func(_ context.Context, q string) (string, error) {
			asked.Add(1)
			if !strings.Contains(q, "admin") {
				t.Errorf("asked %q", q)
			}
			return "s3cret", nil
		}
		d := me.dialer(t, func(o *remote.Options) { o.AskSecret = ask })
		connect(t, d, target)
		connect(t, d, target)
		if asked.Load() != 1 {
			t.Errorf("asked %d times for one password", asked.Load())
		}
	}
}

func TestThePersonIsNotHurriedByTheTimeLimit(t *testing.T) {
	me := newPerson(t)
	s := remotetest.Start(t, remotetest.Options{Password: "s3cret", Host: machine("server1")})
	me.knows(t, s)
	d := me.dialer(t, func(o *remote.Options) {
		o.Timeout = 500 * time.Millisecond
		o.AskSecret = func(ctx context.Context, _ string) (string, error) {
			select {
			case <-time.After(time.Second): // a person types slower than the limit
				return "s3cret", nil
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}
	})
	connect(t, d, to("server1", s))
}

func TestAKeyWithAPassphrase(t *testing.T) {
	me := newPerson(t)
	block, err := ssh.MarshalPrivateKeyWithPassphrase(me.private, "", []byte("open sesame"))
	if err != nil {
		t.Fatal(err)
	}
	file := me.write(t, "locked", string(pem.EncodeToMemory(block)), 0o600)
	s := remotetest.Start(t, remotetest.Options{Key: me.key.PublicKey(), Host: machine("server1")})
	me.knows(t, s)
	target := to("server1", s)
	target.KeyFile = file
	if err := os.Remove(filepath.Join(me.home, ".ssh", "id_ed25519")); err != nil {
		t.Fatal(err)
	}
	_, err = me.dialer(t, nil).Connect(t.Context(), target)
	wantClass(t, err, remote.AuthFailed, "passphrase", "ssh-add")
	connect(t, me.dialer(t, func(o *remote.Options) {
		o.AskSecret = func(_ context.Context, q string) (string, error) {
			if !strings.Contains(q, file) {
				t.Errorf("asked %q", q)
			}
			return "open sesame", nil
		}
	}), target)

	// With the key in the agent nobody is asked.
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: me.private}); err != nil {
		t.Fatal(err)
	}
	sock := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(ring, c) }()
		}
	}()
	t.Setenv("SSH_AUTH_SOCK", sock)
	connect(t, me.dialer(t, nil), target)
	target.KeyFile = ""
	connect(t, me.dialer(t, nil), target)
}

func TestJumpHosts(t *testing.T) {
	me := newPerson(t)
	bastion := remotetest.Start(t, remotetest.Options{User: "gate", Key: me.key.PublicKey(), Jump: true})
	inner := remotetest.Start(t, remotetest.Options{User: "gate", Key: me.key.PublicKey(), Jump: true})
	s1 := remotetest.Start(t, remotetest.Options{Key: me.key.PublicKey(), Host: machine("server1")})
	s2 := remotetest.Start(t, remotetest.Options{Key: me.key.PublicKey(), Host: machine("server2")})
	me.knows(t, bastion, inner, s1, s2)
	_, innerPort, _ := net.SplitHostPort(inner.Addr)
	_, bastionPort, _ := net.SplitHostPort(bastion.Addr)
	me.write(t, ".ssh/config", `
Host server*
  ProxyJump gate@inner
Host inner
  HostName 127.0.0.1
  Port `+innerPort+`
  ProxyJump gate@bastion:`+bastionPort+`
Host bastion
  HostName 127.0.0.1
`, 0o600)
	d := me.dialer(t, func(o *remote.Options) { o.Password = "the cluster's" })
	results, err := d.ConnectAll(t.Context(), []remote.Target{to("server1", s1), to("server2", s2)})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		if _, err := r.Conn.Query(t.Context(), "uname"); err != nil {
			t.Fatal(err)
		}
		_ = r.Conn.Close()
	}
	if bastion.Accepted.Load() != 1 || inner.Accepted.Load() != 1 {
		t.Errorf("%d and %d connections to the jump hosts", bastion.Accepted.Load(), inner.Accepted.Load())
	}
}

func TestTheClustersPasswordIsNotForJumpHosts(t *testing.T) {
	me := newPerson(t)
	bastion := remotetest.Start(t, remotetest.Options{Password: "the cluster's", Jump: true})
	s := remotetest.Start(t, remotetest.Options{Key: me.key.PublicKey(), Host: machine("server1")})
	me.knows(t, bastion, s)
	me.write(t, ".ssh/config", "Host server1\n ProxyJump root@"+bastion.Addr+"\n", 0o600)
	_, err := me.dialer(t, func(o *remote.Options) { o.Password = "the cluster's" }).Connect(t.Context(), to("server1", s))
	wantClass(t, err, remote.AuthFailed)
	if len(bastion.Tried()) != 0 {
		t.Errorf("tried %v", bastion.Tried())
	}
}

func TestJumpHostsInACircle(t *testing.T) {
	me := newPerson(t)
	me.write(t, ".ssh/config", "Host server1\n ProxyJump a\nHost a\n ProxyJump b\nHost b\n ProxyJump a\n", 0o600)
	_, err := me.dialer(t, func(o *remote.Options) { o.Timeout = 5 * time.Second }).Connect(t.Context(), remote.Target{Name: "server1", Address: "192.0.2.1"})
	if err == nil || !strings.Contains(err.Error(), "each other") {
		t.Fatal(err)
	}
}

func TestSSHConfigSendsToTheWrongHost(t *testing.T) {
	me := newPerson(t)
	s := remotetest.Start(t, remotetest.Options{Key: me.key.PublicKey(), Host: machine("server1")})
	me.knows(t, s)
	me.write(t, ".ssh/config", "Host server1\n HostName 127.0.0.1\n Port "+s.Addr[strings.LastIndexByte(s.Addr, ':')+1:]+"\n User root\n", 0o600)
	d := me.dialer(t, nil)
	_, err := d.Connect(t.Context(), remote.Target{Name: "server1", Address: "192.0.2.77", Port: 22})
	wantClass(t, err, remote.WrongHost, "192.0.2.77", "ssh_config")
	// Where the cluster file gives no address, the alias is all there is.
	c := connect(t, d, remote.Target{Name: "server1"})
	if c.User != "root" {
		t.Errorf("as %s", c.User)
	}
}

func TestSSHConfigThatCannotBeHonoured(t *testing.T) {
	me := newPerson(t)
	me.write(t, ".ssh/config", "Host server1\n ProxyCommand nc %h %p\n", 0o600)
	_, err := me.dialer(t, nil).Connect(t.Context(), remote.Target{Name: "server1", Address: "192.0.2.1"})
	wantClass(t, err, remote.BadSettings, "ProxyJump")
}

func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if cond() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
