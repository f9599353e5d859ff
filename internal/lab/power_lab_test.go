//go:build lab

package lab_test

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"multihead/internal/lab"
)

// greeted connects to the host's SSH server and reads its greeting, so that
// what follows on the connection is about the host and not the connecting.
func greeted(t *testing.T, l *lab.Lab, host string) *net.TCPConn {
	t.Helper()
	h, err := l.Host(host)
	must(t, err)
	conn, err := l.Dial(t.Context(), "tcp", h.Address.String()+":22")
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	_, err = conn.Read(make([]byte, 4))
	must(t, err)
	return conn.(*net.TCPConn)
}

const tcpEstablished = 1 // TCP_ESTABLISHED of the kernel

func tcpState(t *testing.T, conn *net.TCPConn) uint8 {
	t.Helper()
	raw, err := conn.SyscallConn()
	must(t, err)
	var info *unix.TCPInfo
	var infoErr error
	must(t, raw.Control(func(fd uintptr) { info, infoErr = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }))
	must(t, infoErr)
	return info.State
}

// restOf reads to the end or for a while, past the rest of the greeting.
func restOf(conn net.Conn) error {
	_ = conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	_, err := io.Copy(io.Discard, conn)
	return err
}

func testPowerOff(l *lab.Lab) func(*testing.T) {
	return func(t *testing.T) {
		// That the check can fail: a server that is killed says FIN or RST.
		killed := greeted(t, l, "server1")
		run(t, l, "server1", "systemctl", "kill", "--signal=KILL", "ssh.service")
		if err := restOf(killed); errors.Is(err, os.ErrDeadlineExceeded) || tcpState(t, killed) == tcpEstablished {
			t.Fatalf("a killed server left the connection open: %v, state %d", err, tcpState(t, killed))
		}
		// Its unit starts it anew; asked to start it meanwhile, systemd says that it was killed.
		run(t, l, "server1", "timeout", "60", "bash", "-c", "until : 2>/dev/null </dev/tcp/127.0.0.1/22; do sleep 0.1; done")

		run(t, l, "server1", "sh", "-c", "echo kept >/data/synced; echo kept >/root/synced; sync; echo lost >/data/unsynced; echo lost >/root/unsynced")
		conn := greeted(t, l, "server1")
		must(t, l.PowerOff(t.Context(), "server1"))
		if err := restOf(conn); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the host was heard dying: %v", err)
		}
		if s := tcpState(t, conn); s != tcpEstablished {
			t.Errorf("state of the connection %d", s)
		}
		h, err := l.Host("server1")
		must(t, err)
		if s, err := h.State(); s != lab.Off || err != nil {
			t.Errorf("state %s, %v", s, err)
		}
		if hears(t, l, "server2", "server1") {
			t.Error("a host without power answers")
		}
		if _, err := l.Exec(t.Context(), "server1", "true"); err == nil || !strings.Contains(err.Error(), "power-on server1") {
			t.Errorf("exec in a host without power: %v", err)
		}
		must(t, l.PowerOff(t.Context(), "server1")) // off stays off
		must(t, l.PowerOn(t.Context(), "server1"))
		if got := run(t, l, "server1", "sh", "-c", "cd /; ls data/*synced root/*synced"); got != "data/synced\nroot/synced" {
			t.Errorf("after the power cut there is %q", got)
		}
		if got := run(t, l, "server1", "systemctl", "is-system-running"); got != "running" {
			t.Errorf("systemd says %q", got)
		}
	}
}

func testReboot(l *lab.Lab) func(*testing.T) {
	return func(t *testing.T) {
		const id = "/proc/sys/kernel/random/boot_id"
		first := run(t, l, "server2", "cat", id)
		_, _ = l.Exec(t.Context(), "server2", "systemctl", "reboot") // may be killed by what it asks for
		// Watched from the other host: a command in a host that goes down
		// holds it up.
		wait := func(want bool) {
			for deadline := time.Now().Add(2 * time.Minute); hears(t, l, "server1", "server2") != want; {
				if time.Now().After(deadline) {
					t.Fatalf("server2 heard: still %v", !want)
				}
			}
		}
		wait(false)
		wait(true)
		if second := run(t, l, "server2", "cat", id); second == first {
			t.Error("not a new boot")
		}
	}
}

func testFreeze(l *lab.Lab) func(*testing.T) {
	return func(t *testing.T) {
		conn := greeted(t, l, "server1")
		must(t, l.Freeze(t.Context(), "server1"))
		h, err := l.Host("server1")
		must(t, err)
		if s, err := h.State(); s != lab.Frozen || err != nil {
			t.Errorf("state %s, %v", s, err)
		}
		if _, err := l.Exec(t.Context(), "server1", "true"); err == nil || !strings.Contains(err.Error(), "thaw server1") {
			t.Errorf("exec in a frozen host: %v", err)
		}
		_, err = conn.Write([]byte("SSH-2.0-test\r\n"))
		must(t, err)
		if n, err := readSome(conn, 500*time.Millisecond); err == nil && n > 1000 {
			t.Errorf("a frozen server answered %d bytes", n)
		}
		if s := tcpState(t, conn); s != tcpEstablished {
			t.Errorf("state of the connection %d", s)
		}
		must(t, l.Thaw(t.Context(), "server1"))
		// The server's key exchange is over a kilobyte.
		if n, err := readSome(conn, time.Minute); err != nil || n < 100 {
			t.Errorf("after the thaw: %d bytes, %v", n, err)
		}
	}
}

// readSome reads what comes until nothing has come for a moment.
func readSome(conn net.Conn, patience time.Duration) (int, error) {
	total := 0
	buf := make([]byte, 4096)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		n, err := conn.Read(buf)
		total += n
		if total >= 1000 || err != nil {
			if total > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
				err = nil
			}
			return total, err
		}
	}
}
