package remote

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"multihead/internal/host/rpc"
)

// dialLocal starts the other half on this machine. It is a process of its own
// here too: when the tool is killed, it finishes what it is doing and only
// then gives back the lock, and to become root it goes through sudo.
func (d *Dialer) dialLocal(ctx context.Context, t Target) (*Conn, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ctx, watch := newStopwatch(ctx, d.opt.Timeout)
	defer watch.stop()
	begin := time.Now()
	user := "root"
	if os.Geteuid() != 0 {
		user = os.Getenv("USER")
	}
	fail := func(class Class, err error) error {
		e := &Error{Host: t.Name, Address: addressOf(t), Class: class, During: watch.doing(), Limit: watch.told(), Err: err}
		if errors.Is(context.Cause(ctx), errTimeLimit) {
			e.Class, e.Err = Timeout, errTimeLimit
		}
		return e
	}
	if strings.ContainsAny(exe, `'"$\`+"`") {
		return nil, fail(StartFailed, fmt.Errorf("the path of this program needs quoting: %s", exe))
	}
	s := &start{d: d, t: t, user: user, watch: watch, tm: &Timing{}}
	client, err := s.runLocal(ctx, exe, d.sudo(user))
	if err == nil {
		d.trace(ctx, t.Name, client)
		return &Conn{Client: client, Timing: Timing{Start: time.Since(begin)}, Local: true, User: user}, nil
	}
	if f, ok := errors.AsType[*startError](err); ok {
		return nil, fail(f.class, f.err)
	}
	return nil, fail(StartFailed, err)
}

// runLocal starts the program itself in the place of the start script.
func (s *start) runLocal(ctx context.Context, exe, sudo string) (*rpc.Client, error) {
	script := `LC_ALL=C; export LC_ALL; `
	if sudo != "" {
		script += `printf "\001multihead-sudo\n" >&2; `
	}
	script += "exec " + sudo + ` "` + exe + `" rpc ` + s.d.rpcArgs(s.t)
	return s.converse(ctx, func() (*process, error) { return localProcess(context.WithoutCancel(ctx), script) })
}

// localProcess runs a script to its own end, away from the terminal: Ctrl-C goes to the tool
// alone, which ends its other half in order.
func localProcess(ctx context.Context, script string) (*process, error) {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	stderr, err3 := cmd.StderrPipe()
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	wait := func() (int, error) {
		st, err := cmd.Process.Wait() // not cmd.Wait, which would close the pipes under their readers
		if err != nil {
			return 0, err
		}
		return st.ExitCode(), nil
	}
	closeAll := func() { _, _, _ = stdin.Close(), stdout.Close(), stderr.Close() }
	return &process{stdin: stdin, stdout: stdout, stderr: stderr, wait: wait, close: closeAll}, nil
}
