package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// bootTimeout is how long a host may take from power to a finished boot. It
// takes one to four seconds; a busy machine may need many times that.
const bootTimeout = 2 * time.Minute

// dropCapabilities takes from the host what would reach the machine itself:
// its clock and its kernel's modules.
const dropCapabilities = "CAP_SYS_TIME,CAP_SYS_MODULE"

// start boots the host from its mounted disks, in the calling thread's
// network and mount namespaces. It returns when the process runs; ready
// awaits the boot.
func (h *Host) start(ctx context.Context) error {
	groups, err := h.lab.cgroups()
	if err != nil {
		return err
	}
	args := []string{"-c", `for g; do shift; [ "$g" = -- ] && break; echo $$ >"$g/cgroup.procs" || exit; done; exec "$@"`, "sh"}
	for _, g := range groups {
		dir := filepath.Join(g, h.Name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		args = append(args, dir)
	}
	args = append(args, "--", "systemd-nspawn",
		"--register=no", "--keep-unit", "--boot", "--console=pipe", "--link-journal=no",
		"--timezone=off", "--resolv-conf=off",
		"--directory="+h.path("root"), "--machine="+h.machine(), "--hostname="+h.Name,
		"--network-bridge="+bridge, "--bind=/dev/fuse", "--bind="+h.path("data")+":/data",
		"--capability=all", "--drop-capability="+dropCapabilities)
	if repository := h.lab.image.Repository(); repository != "" {
		args = append(args, "--bind-ro="+repository+":"+RepositoryMount)
	}
	console, err := os.OpenFile(h.ConsolePath(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer console.Close()
	// Not bound to ctx: the host outlives the tool that started it.
	cmd := command(context.WithoutCancel(ctx), "sh", args...)
	cmd.Env = append(cmd.Env, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1")
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	go cmd.Wait() // reaps it, if this process lives that long
	return nil
}

// ready waits until the host has finished booting and answers on SSH. A host
// whose boot left failed units is ready; the units are told as an event.
func (h *Host) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, bootTimeout, fmt.Errorf("not up after %s", bootTimeout))
	defer cancel()
	group, err := h.cgroup()
	if err != nil {
		return err
	}
	began := time.Now()
	died := false
	err = until(ctx, 20*time.Millisecond, "waiting for SSH", func() bool {
		if h.banner(ctx) {
			return true
		}
		if alive, err := populated(group); err == nil && !alive && time.Since(began) > time.Second {
			died = true
		}
		return died
	})
	if err == nil && died {
		err = errors.New("it went off while booting")
	}
	if err != nil {
		return fmt.Errorf("%s: %w; the end of %s:%s", h.Name, err, h.ConsolePath(), fileTail(h.ConsolePath(), 8))
	}
	out, err := h.Exec(ctx, "systemctl", "is-system-running", "--wait")
	switch state := strings.TrimSpace(out); {
	case state == "running":
		return nil
	case state == "degraded":
		failed, _ := h.Exec(ctx, "systemctl", "--failed", "--plain", "--no-legend")
		say(h.lab.progress, h.Name, "up, with failed units: "+strings.Join(strings.Fields(failed), " "))
		return nil
	default:
		return fmt.Errorf("%s: systemd says %q: %w", h.Name, state, err)
	}
}

// banner tells whether the host's SSH server greets.
func (h *Host) banner(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := h.lab.Dial(ctx, "tcp", h.Address.String()+":22")
	if err != nil {
		return false
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return false
		}
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && strings.HasPrefix(line, "SSH-")
}

func fileTail(name string, lines int) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return " " + err.Error()
	}
	return tail(string(data), lines)
}
