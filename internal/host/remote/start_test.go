package remote_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/host/remote"
	"multihead/internal/host/remote/remotetest"
	"multihead/internal/host/rpc"
)

// TestSuiteThroughARealShell runs the suite of every host over SSH, with the
// test's own binary streamed to the "host" and started by the start script.
func TestSuiteThroughARealShell(t *testing.T) {
	me := newPerson(t)
	s := remotetest.Start(t, remotetest.Options{Key: me.key.PublicKey(), Dir: t.TempDir()})
	me.knows(t, s)
	d := me.dialer(t, nil)
	hosttest.Suite(t, func(t *testing.T) hosttest.Subject {
		return hosttest.Subject{Host: connect(t, d, to("server1", s)), Dir: t.TempDir(), Commands: true, Owner: "root", Group: "root"}
	})
}

// shims is a directory of programs that come first in the PATH of a host.
func shims(t *testing.T, programs map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, script := range programs {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return "PATH=" + dir + ":" + os.Getenv("PATH")
}

// mktempIn makes the start script put the binary below dir, where the test
// can see that nothing stays.
func mktempIn(dir string) string {
	return `p=$1; exec /usr/bin/mktemp "` + dir + `/$(basename "$p")"`
}

func TestTheStreamedBinaryLeavesNothingBehind(t *testing.T) {
	me := newPerson(t)
	dir := t.TempDir()
	s := remotetest.Start(t, remotetest.Options{Key: me.key.PublicKey(), Env: []string{shims(t, map[string]string{"mktemp": mktempIn(dir)})}})
	me.knows(t, s)
	var sent atomic.Int64
	c := connect(t, me.dialer(t, func(o *remote.Options) {
		o.Progress = func(_ string, n, _ int64) { sent.Store(n) }
	}), to("server1", s))
	if c.Timing.Sent == 0 || c.Timing.Sent != sent.Load() {
		t.Fatalf("sent %d, said %d", c.Timing.Sent, sent.Load())
	}
	if mine, err := rpc.BuildID(rpc.Self); err != nil || c.Hello().Build != mine {
		t.Errorf("build %q there, %q here, %v", c.Hello().Build, mine, err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("while it runs: %v, %v", left, err)
	}
	if out, err := c.Query(t.Context(), "uname"); err != nil || out != "Linux\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestAStreamThatIsCutOffLeavesNothingBehind(t *testing.T) {
	me := newPerson(t)
	dir := t.TempDir()
	s := remotetest.Start(t, remotetest.Options{Key: me.key.PublicKey(), Env: []string{shims(t, map[string]string{"mktemp": mktempIn(dir)})}})
	me.knows(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	d := me.dialer(t, func(o *remote.Options) {
		o.Progress = func(_ string, n, _ int64) {
			if n > 1<<20 {
				cancel()
			}
		}
	})
	if c, err := d.Connect(ctx, to("server1", s)); err == nil {
		_ = c.Close()
		t.Fatal("went on")
	}
	waitFor(t, "the file to be gone", func() bool {
		left, err := os.ReadDir(dir)
		return err == nil && len(left) == 0
	})
}

func TestNoDirectoryLetsProgramsRun(t *testing.T) {
	me := newPerson(t)
	s := remotetest.Start(t, remotetest.Options{Key: me.key.PublicKey(), Env: []string{shims(t, map[string]string{"mktemp": "exit 1"})}})
	me.knows(t, s)
	_, err := me.dialer(t, nil).Connect(t.Context(), to("server1", s))
	wantClass(t, err, remote.NoExecDir, "server1", remote.InstallPath)
}

func TestABinaryThatDoesNotRunThere(t *testing.T) {
	me := newPerson(t)
	s := remotetest.Start(t, remotetest.Options{Key: me.key.PublicKey()})
	me.knows(t, s)
	other := me.write(t, "other-processor", "\x7fELF\x02\x01\x01 not for this machine", 0o700)
	_, err := me.dialer(t, func(o *remote.Options) { o.Binary = other }).Connect(t.Context(), to("server1", s))
	wantClass(t, err, remote.StartFailed, "does not run there", "processor")
}

// fakeSudo stands for sudo's side of the conversation: what it asks for, and
// what it says when it refuses. The lab's tests have the real one.
func fakeSudo(password string) string {
	return `
prompt= ask=
while :; do case $1 in -n) shift;; -S) ask=1; shift;; -p) prompt=$2; shift 2;; --) shift; break;; esac; done
if [ -n "` + password + `" ]; then
  [ -n "$ask" ] || { echo "sudo: a password is required" >&2; exit 1; }
  for i in 1 2 3; do
    printf %s "$prompt" >&2
    read -r given || { echo "sudo: no password was provided" >&2; exit 1; }
    [ "$given" = "` + password + `" ] && exec "$@"
    echo "Sorry, try again." >&2
  done
  exit 1
fi
exec "$@"`
}

func TestSudo(t *testing.T) {
	for name, c := range map[string]struct {
		sudo, password string
		class          remote.Class
		words          []string
	}{
		"without a password":            {fakeSudo(""), "", "", nil},
		"with one":                      {fakeSudo("pa55 word"), "pa55 word", "", nil},
		"with a wrong one":              {fakeSudo("pa55 word"), "n0pe", remote.SudoFailed, []string{"password is wrong"}},
		"with none to give":             {fakeSudo("pa55 word"), "", remote.SudoFailed, []string{"password is required", "ssh_password"}},
		"not allowed":                   {`echo "ops is not in the sudoers file." >&2; exit 1`, "", remote.SudoFailed, []string{"not in the sudoers"}},
		"not allowed without a tty":     {`echo "sudo: sorry, you must have a tty to run sudo" >&2; exit 1`, "", remote.SudoFailed, []string{"requiretty"}},
		"no sudo on the host":           {`echo "sh: 1: sudo: not found" >&2; exit 127`, "", remote.SudoFailed, []string{"not found"}},
		"with a lecture before it asks": {`echo "We trust you have received the usual lecture" >&2` + fakeSudo("x"), "x", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			me := newPerson(t)
			s := remotetest.Start(t, remotetest.Options{User: "ops", Key: me.key.PublicKey(), Env: []string{shims(t, map[string]string{"sudo": c.sudo})}})
			me.knows(t, s)
			target := to("server1", s)
			target.User = "ops"
			conn, err := me.dialer(t, func(o *remote.Options) { o.Password = c.password }).Connect(t.Context(), target)
			if c.class != "" {
				wantClass(t, err, c.class, c.words...)
				if c.password != "" && strings.Contains(err.Error(), c.password) {
					t.Errorf("the password is in the error: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if out, err := conn.Query(t.Context(), "uname"); err != nil || out != "Linux\n" {
				t.Errorf("%q, %v", out, err)
			}
		})
	}
}

func TestTheLocalMachineIsReachedWithoutSSH(t *testing.T) {
	me := newPerson(t)
	d := me.dialer(t, func(o *remote.Options) { o.AlwaysSSH = false; o.ReadOnly = true })
	target := remote.Target{Name: "server1", Address: "127.0.0.1", Port: 1}
	if !d.IsLocal(target) || d.IsLocal(remote.Target{Name: "server2", Address: "203.0.113.7"}) {
		t.Fatal("does not know its own address")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, or sudo that asks nothing")
	}
	c := connect(t, d, target)
	if !c.Local || c.Hello().PID == os.Getpid() {
		t.Errorf("%+v", c.Hello())
	}
	if out, err := c.Query(t.Context(), "uname"); err != nil || out != "Linux\n" {
		t.Errorf("%q, %v", out, err)
	}
	if err := c.WriteFile(t.Context(), filepath.Join(t.TempDir(), "f"), nil, host.Attr{}); err == nil {
		t.Error("a half for looking only wrote")
	}
}

// TestTheLockIsFreeOnceTheConnectionIsClosed: whoever comes next must not
// find a lock that is only about to go.
func TestTheLockIsFreeOnceTheConnectionIsClosed(t *testing.T) {
	me := newPerson(t)
	lock := filepath.Join(t.TempDir(), "lock")
	s := remotetest.Start(t, remotetest.Options{Key: me.key.PublicKey(), Host: host.NewLocal("server1").LockAt(lock)})
	me.knows(t, s)
	d := me.dialer(t, nil)
	for range 5 {
		c := connect(t, d, to("server1", s))
		if _, err := c.Lock(t.Context(), host.Owner{User: "kim"}); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestInstallKeys(t *testing.T) {
	me := newPerson(t)
	home := t.TempDir()
	s := remotetest.Start(t, remotetest.Options{User: "admin", Password: "s3cret", AuthorizedKeys: filepath.Join(home, ".ssh", "authorized_keys"), Env: []string{"HOME=" + home}})
	me.knows(t, s)
	target := to("server1", s)
	target.User = "admin"
	if err := os.MkdirAll(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(home, ".ssh", "authorized_keys")
	if err := os.WriteFile(file, []byte("# somebody else's, without a newline"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := me.dialer(t, func(o *remote.Options) { o.Password = "s3cret" })
	for i, want := range []bool{true, false} {
		r := d.InstallKeys(t.Context(), []remote.Target{target})[0]
		if r.Err != nil || r.Installed != want {
			t.Fatalf("time %d: %+v", i+1, r)
		}
	}
	data, err := os.ReadFile(file)
	want := "# somebody else's, without a newline\n" + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(me.key.PublicKey()))) + " multihead\n"
	if err != nil || string(data) != want {
		t.Fatalf("%q, %v", data, err)
	}
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	if err := os.Remove(filepath.Join(me.home, ".ssh", "id_ed25519")); err != nil {
		t.Fatal(err)
	}
	r := me.dialer(t, func(o *remote.Options) { o.Password = "s3cret" }).InstallKeys(t.Context(), []remote.Target{target})[0]
	if r.Err == nil || !strings.Contains(r.Err.Error(), "ssh-keygen") {
		t.Errorf("without a key: %+v", r)
	}
}

// TestTwoHundredHeads connects to 200 servers in this process and asks each
// one question. It reports what that took, servers included, and asserts only
// that all answered.
func TestTwoHundredHeads(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	me := newPerson(t)
	const heads = 200
	var targets []remote.Target
	var servers []*remotetest.Server
	key, _ := remotetest.NewKey(t)
	for range heads {
		s := remotetest.Start(t, remotetest.Options{Key: me.key.PublicKey(), HostKey: key, Host: machine("head")})
		servers = append(servers, s)
		targets = append(targets, to("head", s))
	}
	me.knows(t, servers...)
	d := me.dialer(t, func(o *remote.Options) { o.Timeout = time.Minute })
	begin := time.Now()
	results, err := d.ConnectAll(t.Context(), targets)
	if err != nil {
		t.Fatal(err)
	}
	connected := time.Since(begin)
	answers := make(chan error, heads)
	for _, r := range results {
		go func() {
			if r.Err != nil {
				answers <- r.Err
				return
			}
			_, err := r.Conn.Query(t.Context(), "uname")
			answers <- err
		}()
	}
	for range heads {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	t.Logf("%d heads: connected in %v, all answered after %v; heap %d MB, from the system %d MB (both ends)",
		heads, connected, time.Since(begin), mem.HeapAlloc>>20, mem.Sys>>20)
	for _, r := range results {
		if r.Conn != nil {
			_ = r.Conn.Close()
		}
	}
}
