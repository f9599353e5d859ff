package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/host/rpc"
)

// pair serves h at one end of a pipe and returns the client at the other,
// the raw connection, and what Serve returns.
func pair(t *testing.T, h host.Host, opt rpc.ServerOptions) (*rpc.Client, net.Conn, <-chan error) {
	t.Helper()
	near, far := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- rpc.Serve(context.Background(), far, h, opt) }()
	c, err := rpc.NewClient(t.Context(), h.Name(), near)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, near, served
}

func TestSuiteOverRPC(t *testing.T) {
	t.Setenv("MULTIHEAD_LEAK", "must not reach a command")
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId(me.Gid)
	if err != nil {
		t.Fatal(err)
	}
	hosttest.Suite(t, func(t *testing.T) hosttest.Subject {
		c, _, _ := pair(t, host.NewLocal("far"), rpc.ServerOptions{})
		return hosttest.Subject{Host: c, Dir: t.TempDir(), Commands: true, Owner: me.Username, Group: group.Name}
	})
}

func TestSuiteOverRPCInMemory(t *testing.T) {
	hosttest.Suite(t, func(t *testing.T) hosttest.Subject {
		c, _, _ := pair(t, hosttest.New("far"), rpc.ServerOptions{})
		return hosttest.Subject{Host: c, Dir: "/srv", Owner: "slurm", Group: "slurm"}
	})
}

func TestHelloComesAfterWhatTheShellPrints(t *testing.T) {
	near, far := net.Pipe()
	go func() {
		_, _ = far.Write([]byte("Welcome to server1\nLast login: never\n\x00"))
		_ = rpc.Serve(context.Background(), far, hosttest.New("far"), rpc.ServerOptions{Version: "v9", Build: "abc", ReadOnly: true})
	}()
	c, err := rpc.NewClient(t.Context(), "far", near)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	h := c.Hello()
	if h.Version != "v9" || h.Build != "abc" || !h.ReadOnly || h.PID != os.Getpid() {
		t.Errorf("%+v", h)
	}
}

func TestOtherThingsThatAnswerAreNotMultihead(t *testing.T) {
	for name, said := range map[string]string{
		"nothing":         "",
		"a shell's error": "bash: multihead: command not found\n",
		"endless noise":   strings.Repeat("y\n", 64<<10),
		"a huge header":   "\x00\x01multihead-rpc\x02\xff\xff\xff\xff{}",
		"another version": "\x00\x01multihead-rpc\x02\x00\x00\x00\x10{\"protocol\":999}",
	} {
		t.Run(name, func(t *testing.T) {
			near, far := net.Pipe()
			go func() {
				_, _ = far.Write([]byte(said))
				_ = far.Close()
			}()
			if _, err := rpc.NewClient(t.Context(), "far", near); !errors.Is(err, rpc.ErrNoHello) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestAServerThatSaysNothingIsLeftAtTheDeadline(t *testing.T) {
	near, far := net.Pipe()
	defer func() { _ = far.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := rpc.NewClient(ctx, "far", near); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestReadOnlyServerRefusesEveryChange(t *testing.T) {
	m := hosttest.New("far").Answer("uname", "Linux\n").File("/etc/f", "x").
		OnRun("true", func(host.Cmd) (string, error) { return "", nil })
	c, _, _ := pair(t, m, rpc.ServerOptions{ReadOnly: true})
	ctx := t.Context()
	_, runErr := c.Run(ctx, host.Command("true"))
	_, lockErr := c.Lock(ctx, host.Owner{User: "me"})
	for op, err := range map[string]error{
		"run": runErr, "lock": lockErr,
		"write":   c.WriteFile(ctx, "/etc/f", []byte("y"), host.Attr{}),
		"mkdir":   c.Mkdir(ctx, "/etc/d", host.Attr{}),
		"attr":    c.SetAttr(ctx, "/etc/f", host.Attr{Mode: 0o600}),
		"remove":  c.Remove(ctx, "/etc/f"),
		"rename":  c.Rename(ctx, "/etc/f", "/etc/g"),
		"symlink": c.Symlink(ctx, "f", "/etc/g"),
	} {
		if !errors.Is(err, host.ErrRefused) {
			t.Errorf("%s: %v", op, err)
		}
	}
	if got := m.Changes(); len(got) != 0 {
		t.Errorf("changed: %v", got)
	}
	if out, err := c.Query(ctx, "uname"); err != nil || out != "Linux\n" {
		t.Errorf("looking: %q, %v", out, err)
	}
}

func TestErrorsKeepTheirMeaning(t *testing.T) {
	m := hosttest.New("far")
	m.Before(func(op, path string) error { return syscall.ENOSPC })
	c, _, _ := pair(t, m, rpc.ServerOptions{})
	if err := c.WriteFile(t.Context(), "/etc/f", nil, host.Attr{}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
}

func TestNamesThatAreNotUTF8Survive(t *testing.T) {
	dir := t.TempDir()
	name := "\xb0\xed\xb7\xc1" // EUC-KR
	c, _, _ := pair(t, host.NewLocal("far"), rpc.ServerOptions{})
	if err := c.WriteFile(t.Context(), filepath.Join(dir, name), []byte("1"), host.Attr{}); err != nil {
		t.Fatal(err)
	}
	list, err := c.ReadDir(t.Context(), dir)
	if err != nil || len(list) != 1 || list[0].Name != name {
		t.Fatalf("%+v, %v", list, err)
	}
}

// TestALostConnectionDropsQuestionsAndFinishesChanges cuts the connection in
// the middle of both.
func TestALostConnectionDropsQuestionsAndFinishesChanges(t *testing.T) {
	dir := t.TempDir()
	local := host.NewLocal("far").LockAt(filepath.Join(dir, "lock"))
	c, raw, served := pair(t, local, rpc.ServerOptions{})
	ctx := t.Context()
	if _, err := c.Lock(ctx, host.Owner{User: "kim", From: "admin1", PID: 7, Tool: "v1", Purpose: "up"}); err != nil {
		t.Fatal(err)
	}
	fifo, began, done := filepath.Join(dir, "go"), filepath.Join(dir, "began"), filepath.Join(dir, "done")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	lost := make(chan error, 1)
	go func() {
		_, err := c.Run(ctx, host.Command("sh", "-c", `touch "$1"; read x < "$0"; touch "$2"`, fifo, began, done))
		lost <- err
	}()
	waitFor(t, "the command to run", func() bool { return exists(began) })
	_ = raw.Close()
	if err := <-lost; !errors.Is(err, host.ErrLost) {
		t.Fatalf("the caller of a cut-off change was told %v", err)
	}
	// Whoever comes now is told that the host is only finishing.
	other, _, _ := pair(t, host.NewLocal("far").LockAt(filepath.Join(dir, "lock")), rpc.ServerOptions{})
	var locked *host.LockedError
	waitFor(t, "the lock to be orphaned", func() bool {
		_, err := other.Lock(ctx, host.Owner{User: "lee"})
		return errors.As(err, &locked) && locked.Owner.Orphaned
	})
	if locked.Owner.User != "kim" || locked.Owner.Purpose != "up" || locked.Host != "far" {
		t.Errorf("%+v", locked)
	}
	select {
	case err := <-served:
		t.Fatalf("the server ended with a change running: %v", err)
	default:
	}
	if err := os.WriteFile(fifo, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	if !exists(done) {
		t.Fatal("the change was not finished")
	}
	if l, err := other.Lock(ctx, host.Owner{User: "lee"}); err != nil {
		t.Fatalf("the lock outlived its server: %v", err)
	} else if err := l.Release(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestTheSecondToLockIsToldWhoHoldsIt(t *testing.T) {
	lock := filepath.Join(t.TempDir(), "multihead", "lock")
	one, _, _ := pair(t, host.NewLocal("far").LockAt(lock), rpc.ServerOptions{})
	two, _, _ := pair(t, host.NewLocal("far").LockAt(lock), rpc.ServerOptions{})
	ctx := t.Context()
	if h, err := two.Holder(ctx, nil); h != nil || err != nil {
		t.Fatalf("free: %v, %v", h, err)
	}
	lease, err := one.Lock(ctx, host.Owner{User: "kim", From: "admin1", PID: 7, Tool: "v1", Purpose: "up --join"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = two.Lock(ctx, host.Owner{User: "lee"})
	var locked *host.LockedError
	if !errors.As(err, &locked) || locked.Owner.User != "kim" || locked.Owner.Orphaned || locked.Age < 0 {
		t.Fatalf("%v", err)
	}
	for _, word := range []string{"far", "kim@admin1", "up --join", "pid 7"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
	if h, err := two.Holder(ctx, nil); h == nil || h.Owner.User != "kim" || err != nil {
		t.Fatalf("held: %v, %v", h, err)
	}
	for range 2 {
		if err := lease.Release(ctx); err != nil {
			t.Fatal(err)
		}
	}
	l2, err := two.Lock(ctx, host.Owner{User: "lee"})
	if err != nil {
		t.Fatal(err)
	}
	if err := l2.Release(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestCancelEndsTheCommand(t *testing.T) {
	c, _, _ := pair(t, host.NewLocal("far"), rpc.ServerOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	began := filepath.Join(t.TempDir(), "began")
	ended := make(chan error, 1)
	go func() {
		_, err := c.Run(ctx, host.Command("sh", "-c", `touch "$0"; exec sleep 600.25`, began))
		ended <- err
	}()
	waitFor(t, "the command to run", func() bool { return exists(began) })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	out, _ := c.Query(t.Context(), "pgrep", "-f", "sleep 600.25")
	if out != "" {
		t.Errorf("the command is still running: %s", out)
	}
}

func TestAHungHostIsLeftAtTheCallersDeadline(t *testing.T) {
	m := hosttest.New("far")
	release := make(chan struct{})
	defer close(release)
	m.OnQuery("uname", func(host.Cmd) (string, error) { <-release; return "", nil })
	c, _, _ := pair(t, m, rpc.ServerOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Query(ctx, "uname"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if out, err := c.Run(t.Context(), host.Command("no")); err == nil {
		t.Fatalf("the connection is of no use any more: %q", out) // it must still answer
	}
}

func TestManyCallsAtOnce(t *testing.T) {
	m := hosttest.New("far").Answer("uname", strings.Repeat("x", 100_000))
	c, _, _ := pair(t, m, rpc.ServerOptions{})
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			out, err := c.Query(t.Context(), "uname")
			if err != nil || len(out) != 100_000 {
				t.Errorf("%d bytes, %v", len(out), err)
			}
		})
	}
	wg.Wait()
}

func TestClock(t *testing.T) {
	c, _, _ := pair(t, hosttest.New("far"), rpc.ServerOptions{})
	ahead, rtt, err := c.Clock(t.Context())
	if err != nil || ahead.Abs() > rtt || rtt <= 0 {
		t.Fatalf("the same clock is %v ahead within %v: %v", ahead, rtt, err)
	}
}

func TestTheTraceShowsWhatWasAskedAndNoSecrets(t *testing.T) {
	m := hosttest.New("far").Answer("uname", "Linux\n").OnRun("tee", func(host.Cmd) (string, error) { return "", hosttest.Exit(1, "no") })
	c, _, _ := pair(t, m, rpc.ServerOptions{})
	var lines []string
	c.SetTrace(func(op, what string, took time.Duration, err error) {
		lines = append(lines, fmt.Sprint(op, " ", what, " ", took > 0, " ", err != nil))
	})
	ctx := t.Context()
	_, _ = c.Query(ctx, "uname", "-a b")
	_, _ = c.Run(ctx, host.Cmd{Argv: []string{"tee", "/f"}, Stdin: []byte("s3cret"), Env: []string{"P=s3cret"}})
	_ = c.WriteFile(ctx, "/etc/f", []byte("s3cret"), host.Attr{})
	_, _ = c.Dial(ctx, "unix", "/run/none")
	want := []string{"ask uname '-a b' true false", "run tee /f true true", "write /etc/f true false", "dial unix /run/none true true"}
	if !slices.Equal(lines, want) {
		t.Errorf("%q", lines)
	}
}

func TestAPipeEndsWhenTheDaemonDoes(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = c.Write([]byte("bye"))
			_ = c.Close()
		}
	}()
	c, _, _ := pair(t, host.NewLocal("far"), rpc.ServerOptions{ReadOnly: true})
	p, err := c.Dial(t.Context(), "unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	if said, err := io.ReadAll(p); err != nil || string(said) != "bye" {
		t.Fatalf("%q, %v", said, err)
	}
}

func TestClosingAPipeEndsAReadThatWaits(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // it accepts by itself and never says anything
	c, _, _ := pair(t, host.NewLocal("far"), rpc.ServerOptions{ReadOnly: true})
	p, err := c.Dial(t.Context(), "unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := p.Read(make([]byte, 1))
		ended <- err
	}()
	_ = p.Close()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("a read of nothing succeeded")
		}
	case <-t.Context().Done():
		t.Error("the read waits on")
	}
}

func TestBuildID(t *testing.T) {
	self, err := rpc.BuildID(rpc.Self)
	if err != nil || len(self) != 32 {
		t.Fatalf("%q, %v", self, err)
	}
	again, err := rpc.BuildID(rpc.Self)
	if err != nil || again != self {
		t.Fatalf("%q, then %q, %v", self, again, err)
	}
	f := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(f, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	other, err := rpc.BuildID(f)
	if err != nil || other == self || len(other) != 32 {
		t.Fatalf("%q, %v", other, err)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if cond() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
