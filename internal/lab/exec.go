package lab

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// hostEnv is the environment of commands run in a host: none of the
// machine's own leaks in.
func hostEnv() []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/bash", "LANG=C.UTF-8",
	}
	if term := os.Getenv("TERM"); term != "" {
		env = append(env, "TERM="+term)
	}
	return env
}

// execArgs is the command line, to be run on the machine, that runs argv as
// root within the host: in all its namespaces and in its control group, so
// that it freezes and dies with the host.
func (h *Host) execArgs(argv []string) ([]string, error) {
	if len(argv) == 0 {
		return nil, fmt.Errorf("%s: no command given", h.Name)
	}
	switch state, err := h.State(); {
	case err != nil:
		return nil, err
	case state == Off:
		return nil, fmt.Errorf("%s is off (multihead lab power-on %s)", h.Name, h.Name)
	case state == Frozen:
		return nil, fmt.Errorf("%s is frozen: a command in it would freeze too (multihead lab thaw %s)", h.Name, h.Name)
	}
	pid, err := h.initPid()
	if err != nil {
		return nil, err
	}
	if pid == 0 {
		return nil, fmt.Errorf("%s has no process 1 yet: it is just starting or going off", h.Name)
	}
	group, err := h.cgroup()
	if err != nil {
		return nil, err
	}
	group = filepath.Join(group, "payload", "lab-exec")
	if err := os.MkdirAll(group, 0o755); err != nil {
		return nil, err
	}
	args := []string{"sh", "-c", `echo $$ >"$0/cgroup.procs" && exec "$@"`, group,
		"nsenter", "--target", fmt.Sprint(pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--"}
	return append(args, argv...), nil
}

// Command prepares argv to run as root within the host, as exec.CommandContext
// does on the machine. Its exit code is that of argv.
func (h *Host) Command(ctx context.Context, argv ...string) (*exec.Cmd, error) {
	args, err := h.execArgs(argv)
	if err != nil {
		return nil, err
	}
	cmd := command(ctx, args[0], args[1:]...)
	cmd.Env = hostEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second // a daemon that argv left behind may hold the pipes
	return cmd, nil
}

// Exec runs argv as root within the host, without SSH, and returns what it
// printed on stdout. The error of a failing command ends in what it printed on
// stderr and wraps *exec.ExitError.
func (h *Host) Exec(ctx context.Context, argv ...string) (string, error) {
	cmd, err := h.Command(ctx, argv...)
	if err != nil {
		return "", err
	}
	out, err := output(cmd)
	if err != nil {
		return out, fmt.Errorf("%s: %w", h.Name, err)
	}
	return out, nil
}

// Pipe is Exec with the command's stdin and stdout connected.
func (h *Host) Pipe(ctx context.Context, stdin io.Reader, stdout io.Writer, argv ...string) error {
	cmd, err := h.Command(ctx, argv...)
	if err != nil {
		return err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stdout
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	return nil
}

// Become replaces this process by argv running within the host, with this
// process's terminal. It returns only on failure.
func (h *Host) Become(argv ...string) error {
	args, err := h.execArgs(argv)
	if err != nil {
		return err
	}
	program, err := lookPath(args[0])
	if err != nil {
		return err
	}
	return syscall.Exec(program, args, hostEnv())
}

// Exec runs argv as root within the named host; see Host.Exec.
func (l *Lab) Exec(ctx context.Context, host string, argv ...string) (string, error) {
	h, err := l.Host(host)
	if err != nil {
		return "", err
	}
	return h.Exec(ctx, argv...)
}
