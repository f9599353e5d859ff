package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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

// supervise puts itself into the control groups named before "--" and runs
// what follows, again for as long as it ends with 133: that is how
// systemd-nspawn says that the host wants to reboot.
const supervise = `for g; do shift; [ "$g" = -- ] && break; echo $$ >"$g/cgroup.procs" || exit; done
while :; do "$@"; s=$?; [ $s -eq 133 ] || exit $s; done`

// start boots the host from its mounted disks, in the calling thread's
// network and mount namespaces, and returns a channel that tells when it goes
// off again; ready awaits the boot.
func (h *Host) start(ctx context.Context) (<-chan error, error) {
	groups, err := h.lab.cgroups()
	if err != nil {
		return nil, err
	}
	args := []string{"-c", supervise, "sh"}
	for i, g := range groups {
		dir := filepath.Join(g, h.Name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		if i > 0 {
			args = append(args, dir)
		}
	}
	// Born into its group: there is no moment at which it runs and State
	// says off. The other hierarchies it enters by itself.
	group, err := os.Open(filepath.Join(groups[0], h.Name))
	if err != nil {
		return nil, err
	}
	defer group.Close()
	args = append(args, "--", "systemd-nspawn",
		"--register=no", "--keep-unit", "--boot", "--console=read-only", "--link-journal=no",
		"--timezone=off", "--resolv-conf=off",
		"--directory="+h.path("root"), "--machine="+h.machine(), "--hostname="+h.Name,
		"--network-bridge="+bridge, "--bind=/dev/fuse", "--bind="+h.path("data")+":/data",
		"--capability=all", "--drop-capability="+dropCapabilities)
	if repository := h.lab.image.Repository(); repository != "" {
		args = append(args, "--bind-ro="+repository+":"+RepositoryMount)
	}
	console, err := os.OpenFile(h.ConsolePath(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer console.Close()
	// Not bound to ctx: the host outlives the tool that started it.
	cmd := command(context.WithoutCancel(ctx), "sh", args...)
	cmd.Env = append(cmd.Env, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1")
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(group.Fd())}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	off := make(chan error, 1)
	go func() { off <- cmd.Wait() }() // if this process lives that long
	return off, nil
}

// ready waits until the host answers on SSH.
func (h *Host) ready(ctx context.Context, off <-chan error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, bootTimeout, fmt.Errorf("not up after %s", bootTimeout))
	defer cancel()
	var died error
	err := until(ctx, 20*time.Millisecond, "waiting for SSH", func() bool {
		select {
		case err := <-off:
			died = fmt.Errorf("it went off while booting (%w)", err)
			return true
		default:
			return h.banner(ctx)
		}
	})
	if err = errors.Join(err, died); err != nil {
		return fmt.Errorf("%s: %w; the end of %s:%s", h.Name, err, h.ConsolePath(), fileTail(h.ConsolePath(), 8))
	}
	return nil
}

// booted waits until systemd has started what it was to start. A host whose boot
// left failed units is up; the units are told as an event.
func (h *Host) booted(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, bootTimeout, fmt.Errorf("not up after %s", bootTimeout))
	defer cancel()
	var state string
	err := until(ctx, 50*time.Millisecond, h.Name+": waiting for systemd", func() bool {
		// An error is a degraded or a stopping system, or one that is too
		// young for the question; the word tells.
		out, _ := h.Exec(ctx, "systemctl", "is-system-running", "--wait")
		state = strings.TrimSpace(out)
		on, err := h.State()
		return state == "running" || state == "degraded" || err == nil && on != Running
	})
	switch {
	case err != nil:
		return err
	case state == "degraded":
		failed, err := h.Exec(ctx, "systemctl", "list-units", "--state=failed", "--plain", "--no-legend", "--full")
		if err != nil {
			return err
		}
		say(h.lab.progress, h.Name, "up, with failed units: "+firstWords(failed))
	case state != "running":
		return fmt.Errorf("%s: it went off while booting; the end of %s:%s", h.Name, h.ConsolePath(), fileTail(h.ConsolePath(), 8))
	}
	return nil
}

// firstWords joins the first word of every line.
func firstWords(lines string) string {
	var words []string
	for line := range strings.Lines(lines) {
		if w, _, _ := strings.Cut(strings.TrimSpace(line), " "); w != "" {
			words = append(words, w)
		}
	}
	return strings.Join(words, " ")
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
	return tail(escapes.ReplaceAllString(string(data), ""), lines)
}

// escapes are the colours of a console.
var escapes = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]|\r`)
