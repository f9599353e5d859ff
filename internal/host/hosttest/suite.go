package hosttest

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os/exec"
	"path"
	"strings"
	"testing"
	"time"

	"multihead/internal/host"
)

// Subject is an implementation of host.Host under test.
type Subject struct {
	Host host.Host
	Dir  string // an empty directory on it
	// Commands says that the host really runs commands.
	Commands bool
	// Owner and Group are what the process may give files to.
	Owner, Group string
}

// Suite is what every host.Host promises. make returns a fresh one.
func Suite(t *testing.T, make func(t *testing.T) Subject) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, s Subject)
	}{
		{"WriteThenRead", testWriteRead},
		{"WriteKeepsWhatAttrLeavesOut", testWriteKeeps},
		{"WriteIsANewInode", testWriteInode},
		{"WriteRefusesWhatIsNoFile", testWriteRefuses},
		{"WriteLeavesNothingBesideIt", testWriteClean},
		{"WriteNeedsParent", testWriteParent},
		{"ABigFileTravels", testBigFile},
		{"MissingFilesMatchErrNotExist", testMissing},
		{"MkdirTwice", testMkdir},
		{"SetAttr", testSetAttr},
		{"RemoveTwiceAndNeverRecursively", testRemove},
		{"RenameNeverReplacesADirectory", testRename},
		{"SymlinkReplacesOnlyLinks", testSymlink},
		{"ReadDirIsSorted", testReadDir},
		{"QueryRefusesWhatChanges", testQueryRefuses},
		{"UnknownCommandMatchesErrNotFound", testNotFound},
		{"CommandsRun", testRun},
		{"ADeadlineEndsTheCommandAndItsChildren", testDeadline},
		{"ADaemonThatHoldsThePipeIsNotWaitedFor", testDaemon},
		{"DialReachesASocket", testDial},
		{"ADoneContextDoesNothing", testDone},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, make(t)) })
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("error %v, want one matching %v", err, target)
	}
}

func testQueryRefuses(t *testing.T, s Subject) {
	p := path.Join(s.Dir, "touched")
	for _, argv := range [][]string{{}, {"touch", p}, {"sh", "-c", "touch " + p}, {s.Dir + "/true"}} {
		_, err := s.Host.Query(t.Context(), argv...)
		wantErr(t, err, host.ErrRefused)
	}
	_, err := s.Host.Stat(t.Context(), p)
	wantErr(t, err, fs.ErrNotExist)
}

func testNotFound(t *testing.T, s Subject) {
	_, err := s.Host.Run(t.Context(), host.Command("no-such-command-here"))
	wantErr(t, err, exec.ErrNotFound)
	_, err = s.Host.Run(t.Context(), host.Command("/no/such/command"))
	wantErr(t, err, exec.ErrNotFound)
}

func testRun(t *testing.T, s Subject) {
	if !s.Commands {
		t.Skip("runs no commands")
	}
	ctx := t.Context()
	out, err := s.Host.Query(ctx, "uname", "-s")
	must(t, err)
	if out != "Linux\n" {
		t.Fatalf("uname -s: %q", out)
	}
	out, err = s.Host.Run(ctx, host.Cmd{Argv: []string{"sh", "-c", `cat; pwd; echo "$A|$LC_ALL|$PATH|$MULTIHEAD_LEAK"`}, Stdin: []byte("in\n"), Env: []string{"A=b c"}, Dir: s.Dir})
	must(t, err)
	if want := "in\n" + s.Dir + "\nb c|C.UTF-8|" + host.Path + "|\n"; out != want {
		t.Fatalf("%q, want %q", out, want)
	}
	out, err = s.Host.Run(ctx, host.Command("cat")) // nothing to read is an end at once
	must(t, err)
	if out != "" {
		t.Fatalf("standard input was inherited: %q", out)
	}
	out, err = s.Host.Run(ctx, host.Cmd{Argv: []string{"sh", "-c", "echo said; echo why >&2; exit 3"}, Stdin: []byte("secret")})
	var exit *host.ExitError
	if !errors.As(err, &exit) || exit.Code != 3 || exit.Stderr != "why\n" || exit.Stdout != "said\n" || exit.Host != s.Host.Name() || out != "said\n" {
		t.Fatalf("%q, %#v", out, err)
	}
	if strings.Contains(err.Error(), "secret") {
		t.Fatalf("standard input is in the error: %v", err)
	}
	_, err = s.Host.Run(ctx, host.Command("sh", "-c", "kill -9 $$"))
	if !errors.As(err, &exit) || exit.Code != 137 {
		t.Fatalf("killed by a signal: %v", err)
	}
}

func testDeadline(t *testing.T, s Subject) {
	if !s.Commands {
		t.Skip("runs no commands")
	}
	// The grandchild ignores SIGTERM and would write the file a while after
	// its parent's deadline.
	f := path.Join(s.Dir, "late")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := s.Host.Run(ctx, host.Command("sh", "-c", `(trap "" TERM; sleep 60; touch "$0") & wait`, f))
	wantErr(t, err, context.DeadlineExceeded)
	waitFor(t, "the group to be gone", func() bool {
		out, _ := s.Host.Query(t.Context(), "pgrep", "-f", f)
		return out == ""
	})
}

func testDaemon(t *testing.T, s Subject) {
	if !s.Commands {
		t.Skip("runs no commands")
	}
	// The child goes on holding standard output; the answer must not wait
	// for it until the deadline.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out, err := s.Host.Run(ctx, host.Command("sh", "-c", `sleep 30 & echo "$!"`))
	must(t, err)
	_, err = s.Host.Run(ctx, host.Command("kill", strings.TrimSpace(out)))
	must(t, err) // fails if the child was killed or waited for
}

func testDial(t *testing.T, s Subject) {
	if !s.Commands {
		t.Skip("has no sockets")
	}
	sock := path.Join(t.TempDir(), "s")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", sock)
	must(t, err)
	defer func() { _ = l.Close() }()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(c, c) // an echo that ends when the other half is closed
		_ = c.Close()
	}()
	c, err := s.Host.Dial(t.Context(), "unix", sock)
	must(t, err)
	defer func() { _ = c.Close() }()
	must(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = c.Write([]byte("hello"))
	must(t, err)
	got := make([]byte, 5)
	_, err = io.ReadFull(c, got)
	must(t, err)
	if string(got) != "hello" {
		t.Fatalf("%q", got)
	}
	if _, err := s.Host.Dial(t.Context(), "unix", sock+"-missing"); err == nil {
		t.Fatal("a socket that is not there was reached")
	}
}

func testDone(t *testing.T, s Subject) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := path.Join(s.Dir, "f")
	wantErr(t, s.Host.WriteFile(ctx, p, nil, host.Attr{}), context.Canceled)
	_, err := s.Host.Stat(t.Context(), p)
	wantErr(t, err, fs.ErrNotExist)
}

func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if cond() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
