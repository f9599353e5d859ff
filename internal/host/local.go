package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Path is where programs are looked for, on every host and whatever the
// environment of the caller says.
const Path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

const (
	// termGrace is how long a command that changes things has to end by
	// itself once its time is up, before it is killed.
	termGrace = 3 * time.Second
	// pipeGrace is how long the output of a command that has ended is still
	// read: a daemon that it left behind may hold the pipe for ever.
	pipeGrace = 500 * time.Millisecond
	// tailSize is how much of a failed command's output an ExitError keeps,
	// in bytes.
	tailSize = 8 << 10
)

// Local is the machine this process runs on. What it may do is what this
// process may: for a head that means root.
type Local struct {
	name string
	lock string // where its lock lies, empty for LockPath

	names names // of owners and groups

	mu     sync.Mutex
	leases map[*FileLease]bool // held: a forgotten lease's file must not be closed by the collector
}

// NewLocal returns the local machine under its name in the cluster file.
func NewLocal(name string) *Local { return &Local{name: name} }

var _ Host = (*Local)(nil)

// Name implements Reader.
func (l *Local) Name() string { return l.name }

// Query implements Reader.
func (l *Local) Query(ctx context.Context, argv ...string) (string, error) {
	return l.Ask(ctx, Cmd{Argv: argv})
}

// Ask implements Reader. A command that outlives its deadline is killed at
// once: it only looks.
func (l *Local) Ask(ctx context.Context, cmd Cmd) (string, error) {
	if !ReadOnly(cmd.Argv) {
		return "", refuse(l.name, cmd.Argv)
	}
	return l.run(ctx, cmd, 0)
}

// Run implements Host. A command that outlives its deadline is asked to end
// and killed only after that, with all that it started.
func (l *Local) Run(ctx context.Context, cmd Cmd) (string, error) {
	return l.run(ctx, cmd, termGrace)
}

// Dial implements Reader.
func (l *Local) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	switch network {
	case "unix", "tcp", "tcp4", "tcp6":
	default:
		return nil, fmt.Errorf("%s: dial %s: %w: only unix and tcp", l.name, network, ErrRefused)
	}
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.name, err)
	}
	return c, nil
}

// run runs cmd in a process group of its own and returns its standard output.
func (l *Local) run(ctx context.Context, c Cmd, grace time.Duration) (string, error) {
	path, err := lookPath(c.Argv)
	if err != nil {
		return "", fmt.Errorf("%s: %w", l.name, err)
	}
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("%s: %s: %w", l.name, c, err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), path) // ended below, with all that it starts
	cmd.Args = c.Argv
	cmd.Env = append(minimalEnv(), c.Env...)
	cmd.Dir = "/"
	if c.Dir != "" {
		cmd.Dir = c.Dir
	}
	if c.Stdin != nil {
		cmd.Stdin = bytes.NewReader(c.Stdin)
	}
	stdout, stderr := &limited{max: MaxFile}, &tail{}
	said, err := listen(cmd, stdout, stderr)
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w", l.name, c, err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a group of its own, and no terminal to ask for a password on or to hang up
	cmd.WaitDelay = pipeGrace
	err = cmd.Start()
	said.begin()
	if err != nil {
		said.wait()
		return "", fmt.Errorf("%s: %s: %w", l.name, c, err)
	}
	ended := make(chan struct{})
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		select {
		case <-ended:
		case <-ctx.Done():
			endGroup(cmd.Process.Pid, grace)
		}
	}()
	err = cmd.Wait()
	close(ended)
	<-killed
	said.wait()
	return stdout.String(), l.explain(ctx, c, cmd, err, stdout, stderr)
}

// endGroup asks a process group to end and kills what of it is left when its
// grace is over. The number cannot come to mean another group while this one
// has members.
func endGroup(pgid int, grace time.Duration) {
	if grace > 0 && syscall.Kill(-pgid, syscall.SIGTERM) == nil {
		for end := time.Now().Add(grace); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if errors.Is(syscall.Kill(-pgid, 0), syscall.ESRCH) {
				return
			}
		}
	}
	_ = syscall.Kill(-pgid, syscall.SIGKILL)
}

// explain makes the caller's error of what os/exec says.
func (l *Local) explain(ctx context.Context, c Cmd, cmd *exec.Cmd, err error, stdout *limited, stderr *tail) error {
	if stdout.over {
		return fmt.Errorf("%s: %s: printed more than %d bytes", l.name, c, MaxFile)
	}
	if err == nil {
		return nil
	}
	if cause := ctx.Err(); cause != nil && (cmd.ProcessState == nil || !cmd.ProcessState.Success()) {
		if cmd.ProcessState == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
			return fmt.Errorf("%s: %s: %w", l.name, c, cause)
		}
	}
	if cmd.ProcessState == nil {
		return fmt.Errorf("%s: %s: %w", l.name, c, err)
	}
	if cmd.ProcessState.Success() {
		// Only the pipe outlived it (exec.ErrWaitDelay), or the deadline
		// came in the moment that it ended well.
		return nil
	}
	code := cmd.ProcessState.ExitCode()
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		code = 128 + int(ws.Signal())
	}
	return &ExitError{Host: l.name, Cmd: c.String(), Code: code, Stdout: lastBytes(stdout.String()), Stderr: stderr.String()}
}

// lookPath finds a program in Path alone.
func lookPath(argv []string) (string, error) {
	if len(argv) == 0 || argv[0] == "" {
		return "", errors.New("empty command")
	}
	prog := argv[0]
	if strings.ContainsRune(prog, '/') {
		if executable(prog) {
			return prog, nil
		}
		return "", &exec.Error{Name: prog, Err: exec.ErrNotFound}
	}
	for dir := range strings.SplitSeq(Path, ":") {
		if p := filepath.Join(dir, prog); executable(p) {
			return p, nil
		}
	}
	return "", &exec.Error{Name: prog, Err: exec.ErrNotFound}
}

func executable(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0
}

// minimalEnv is the environment of every command: nothing of the caller's
// leaks in, and messages come in the language that our parsers know.
func minimalEnv() []string {
	home := "/root"
	if os.Geteuid() != 0 {
		home = os.Getenv("HOME")
	}
	// `gluster volume heal … info` starts a Python program of its own, which
	// would leave its byte code on a host that was only looked at.
	return []string{"PATH=" + Path, "HOME=" + home, "LC_ALL=C.UTF-8", "TERM=dumb", "PYTHONDONTWRITEBYTECODE=1"}
}

func withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, DefaultTimeout)
}

// limited collects output up to max bytes and remembers that there was more.
type limited struct {
	bytes.Buffer
	max  int
	over bool
}

func (w *limited) Write(p []byte) (int, error) {
	if w.Len()+len(p) > w.max {
		w.over = true
		return 0, io.ErrShortWrite
	}
	return w.Buffer.Write(p)
}

// tail keeps the last tailSize bytes.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if over := len(t.b) - tailSize; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.b) }

func lastBytes(s string) string {
	if len(s) > tailSize {
		return s[len(s)-tailSize:]
	}
	return s
}
