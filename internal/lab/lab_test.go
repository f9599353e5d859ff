package lab_test

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
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
	"golang.org/x/sys/unix"

	"multihead/internal/lab"
)

// upVariable makes the test binary bring up the lab of that name instead of
// testing, to be killed in the middle.
const upVariable = "LAB_TEST_UP"

func TestMain(m *testing.M) {
	if name := os.Getenv(upVariable); name != "" {
		_, err := lab.Up(context.Background(), lab.Spec{Name: name, Heads: 2}, func(e lab.Event) { fmt.Println(e.Host, e.Text) })
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// requireRoot skips only where no lab can be: a root that lacks a tool fails.
func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a lab needs root: it makes namespaces and mounts")
	}
	if err := lab.Ready(); err != nil {
		t.Fatal(err)
	}
}

func labName(part string) string { return fmt.Sprintf("t%d-%s", os.Getpid(), part) }

func upLab(t *testing.T, spec lab.Spec) *lab.Lab {
	t.Helper()
	requireRoot(t)
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute) // the image may have to be built
	defer cancel()
	t.Cleanup(func() { downLab(t, spec.Name) })
	l, err := lab.Up(ctx, spec, func(e lab.Event) { t.Log(e.Host, e.Text) })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func downLab(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := lab.Down(ctx, name, nil); err != nil {
		t.Errorf("down: %v", err)
	}
	for _, l := range leftovers(t, name) {
		t.Errorf("left behind: %s", l)
	}
}

// leftovers looks for what carries the lab's name or lies in its directory:
// files, mounts, loop devices, control groups, processes and their
// namespaces. It knows nothing of how the lab is made.
func leftovers(t *testing.T, name string) []string {
	t.Helper()
	var found []string
	for _, dir := range []string{lab.Dir(), "/sys/fs/cgroup", "/run"} {
		_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && strings.Contains(d.Name(), name) {
				found = append(found, path)
			}
			if err == nil && d.IsDir() && path == filepath.Join(lab.Dir(), "images") {
				return filepath.SkipDir
			}
			return nil
		})
	}
	lines := func(file string) []string {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil // a process that ended meanwhile
		}
		return strings.Split(strings.ReplaceAll(string(data), "\x00", " "), "\n")
	}
	files := []string{"/proc/self/mountinfo"}
	for _, pattern := range []string{"/sys/block/loop*/loop/backing_file", "/proc/[0-9]*/cgroup", "/proc/[0-9]*/mountinfo"} {
		more, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, more...)
	}
	for _, f := range files {
		for _, line := range lines(f) {
			// A process that is dead and was not yet reaped by the machine's
			// process 1 is nothing we could end.
			if strings.Contains(line, name) && !zombie(filepath.Dir(f)) {
				found = append(found, f+": "+line)
			}
		}
	}
	return found
}

func zombie(proc string) bool {
	stat, err := os.ReadFile(filepath.Join(proc, "stat"))
	return err == nil && strings.Contains(string(stat), ") Z ")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, l *lab.Lab, host string, argv ...string) string {
	t.Helper()
	out, err := l.Exec(t.Context(), host, argv...)
	must(t, err)
	return strings.TrimSpace(out)
}

// hears tells whether one host gets an answer from another.
func hears(t *testing.T, l *lab.Lab, from, to string) bool {
	t.Helper()
	h, err := l.Host(to)
	must(t, err)
	_, err = l.Exec(t.Context(), from, "ping", "-c1", "-W1", "-q", h.Address.String())
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return err == nil
}

// TestLab shares one lab among all that can be tried on two hosts.
func TestLab(t *testing.T) {
	l := upLab(t, lab.Spec{Name: labName("a"), Heads: 2, Logins: map[string]lab.Login{"server2": lab.LoginPassword}, Data: 256 << 20})

	t.Run("up again changes nothing", func(t *testing.T) {
		before := run(t, l, "server1", "stat", "-c", "%i %Y", "/proc/1", "/etc/hostname")
		again, err := lab.Up(t.Context(), l.Spec, func(e lab.Event) { t.Errorf("did something: %s %s", e.Host, e.Text) })
		must(t, err)
		if after := run(t, again, "server1", "stat", "-c", "%i %Y", "/proc/1", "/etc/hostname"); after != before {
			t.Errorf("%q, before %q", after, before)
		}
	})
	t.Run("nothing leads out", func(t *testing.T) {
		if out := run(t, l, "server1", "ip", "-4", "route"); strings.Contains(out, "default") || out == "" {
			t.Errorf("routes of server1: %q", out)
		}
		_, err := l.Exec(t.Context(), "server1", "ping", "-c1", "-W1", "198.51.100.1")
		if err == nil || !strings.Contains(err.Error(), "unreachable") {
			t.Errorf("a ping out of the lab: %v", err)
		}
		if _, err := l.Dial(t.Context(), "tcp", "198.51.100.1:80"); !errors.Is(err, unix.ENETUNREACH) {
			t.Errorf("a connection out of the lab: %v", err)
		}
	})
	t.Run("a host may not set the machine's clock", func(t *testing.T) {
		if out, err := l.Exec(t.Context(), "server1", "date", "-s", "@1"); err == nil {
			t.Errorf("date -s worked: %s", out)
		}
	})
	t.Run("exec passes input, output and exit code", testExec(l))
	t.Run("ssh", testSSH(l))
	t.Run("power off says nothing and loses what was not synced", testPowerOff(l))
	t.Run("a reboot keeps the host's network", testReboot(l))
	t.Run("freeze keeps connections", testFreeze(l))
	t.Run("partition", testPartition(l))
	t.Run("loss", testLoss(l))
	t.Run("disk faults", testDisk(l))
	t.Run("snapshot and reset", testReset(l))
	t.Run("forward", testForward(l))
	t.Run("beside another lab", testBeside(l))
}

func testExec(l *lab.Lab) func(*testing.T) {
	return func(t *testing.T) {
		h, err := l.Host("server1")
		must(t, err)
		var out bytes.Buffer
		err = h.Pipe(t.Context(), strings.NewReader("to be echoed"), &out, "sh", "-c", "cat; exit 7")
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 7 || out.String() != "to be echoed" {
			t.Errorf("%v, %q", err, out.String())
		}
		if got := run(t, l, "server1", "cat", "/proc/self/cgroup"); !strings.Contains("\n"+got+"\n", "\n0::/lab-exec\n") {
			t.Errorf("not in the host's control group: %q", got)
		}
		if _, err := l.Exec(t.Context(), "server9", "true"); err == nil || !strings.Contains(err.Error(), "server1 server2") {
			t.Errorf("unknown host: %v", err)
		}
	}
}

// dialSSH logs in with the lab's own known_hosts, over the lab's network.
func dialSSH(ctx context.Context, l *lab.Lab, host, user string, auth ssh.AuthMethod) (*ssh.Client, error) {
	h, err := l.Host(host)
	if err != nil {
		return nil, err
	}
	known, err := knownhosts.New(l.KnownHosts())
	if err != nil {
		return nil, err
	}
	addr := h.Address.String() + ":22"
	conn, err := l.Dial(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c, chans, reqs, err := ssh.NewClientConn(conn, addr, &ssh.ClientConfig{User: user, Auth: []ssh.AuthMethod{auth}, HostKeyCallback: known})
	if err != nil {
		conn.Close()
		return nil, err
	}
	return ssh.NewClient(c, chans, reqs), nil
}

func testSSH(l *lab.Lab) func(*testing.T) {
	return func(t *testing.T) {
		key, err := os.ReadFile(l.KeyPath())
		must(t, err)
		signer, err := ssh.ParsePrivateKey(key)
		must(t, err)
		secrets, err := l.Secrets()
		must(t, err)
		byKey, byPassword := ssh.PublicKeys(signer), ssh.Password(secrets["SSH_PASSWORD"])
		tests := map[string]struct {
			host, user string
			auth       ssh.AuthMethod
			command    string
			stdin      string
			ok         bool
		}{
			"root by key":                           {"server1", "root", byKey, "id -u", "", true},
			"ops needs no password for sudo":        {"server1", "ops", byKey, "sudo -n id -u", "", true},
			"admin needs one":                       {"server1", "admin", byKey, "sudo -n id -u", "", false},
			"admin has one":                         {"server1", "admin", byKey, "sudo -S -p '' id -u", secrets["SSH_PASSWORD"] + "\n", true},
			"no key yet where login is by password": {"server2", "admin", byKey, "true", "", false},
			"but the password":                      {"server2", "admin", byPassword, "sudo -S -p '' id -u", secrets["SSH_PASSWORD"] + "\n", true},
			"root has no password":                  {"server1", "root", byPassword, "true", "", false},
		}
		for name, tt := range tests {
			t.Run(name, func(t *testing.T) {
				out, err := sshRun(t.Context(), l, tt.host, tt.user, tt.auth, tt.command, tt.stdin)
				if (err == nil) != tt.ok || tt.ok && strings.TrimSpace(out) != "0" {
					t.Errorf("%q, %v; want success: %v", out, err, tt.ok)
				}
			})
		}
	}
}

func sshRun(ctx context.Context, l *lab.Lab, host, user string, auth ssh.AuthMethod, command, stdin string) (string, error) {
	client, err := dialSSH(ctx, l, host, user, auth)
	if err != nil {
		return "", err
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return "", err
	}
	session.Stdin = strings.NewReader(stdin)
	out, err := session.Output(command)
	return string(out), err
}

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
		run(t, l, "server1", "systemctl", "reset-failed", "ssh.service")
		run(t, l, "server1", "systemctl", "start", "ssh.service")

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

func testPartition(l *lab.Lab) func(*testing.T) {
	return func(t *testing.T) {
		h1, err := l.Host("server1")
		must(t, err)
		ssh := func() error {
			_, err := l.Exec(t.Context(), "server2", "timeout", "2", "bash", "-c", "read -r x <>/dev/tcp/"+h1.Address.String()+"/22 && [[ $x == SSH-* ]]")
			return err
		}
		heal := func() {
			must(t, l.Heal(t.Context()))
			if !hears(t, l, "server2", "server1") || ssh() != nil {
				t.Fatal("not healed")
			}
		}
		heal()

		must(t, l.Partition(t.Context(), lab.Fault{Hosts: []string{"server1"}}))
		if hears(t, l, "server2", "server1") || hears(t, l, "server1", "server2") {
			t.Error("both ways cut, and still heard")
		}
		if n, err := readSome(greeted(t, l, "server1"), 100*time.Millisecond); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("cut from the machine too: %d, %v", n, err)
		}
		must(t, l.PowerOff(t.Context(), "server1"))
		must(t, l.PowerOn(t.Context(), "server1"))
		if hears(t, l, "server2", "server1") {
			t.Error("a new boot healed the partition")
		}
		heal()

		// One way: what server1 says does not arrive. What server2 says does,
		// which is seen in the counter of server1's interface.
		must(t, l.Partition(t.Context(), lab.Fault{Hosts: []string{"server1"}, From: []string{"server2"}, OneWay: true}))
		run(t, l, "server2", "ip", "neigh", "replace", h1.Address.String(), "lladdr", run(t, l, "server1", "cat", "/sys/class/net/host0/address"), "dev", "host0")
		before := run(t, l, "server1", "sh", "-c", "awk '/^Icmp:/ && $10 ~ /^[0-9]/ {print $10}' /proc/net/snmp")
		if hears(t, l, "server2", "server1") {
			t.Error("the silenced way carries")
		}
		after := run(t, l, "server1", "sh", "-c", "awk '/^Icmp:/ && $10 ~ /^[0-9]/ {print $10}' /proc/net/snmp")
		if before == after {
			t.Errorf("the open way does not carry: %s echo requests seen before and after", before)
		}
		run(t, l, "server2", "ip", "neigh", "flush", "all")
		heal()

		must(t, l.Partition(t.Context(), lab.Fault{Hosts: []string{"server1"}, From: []string{"server2"}, Only: []string{"ssh"}}))
		if !hears(t, l, "server2", "server1") || ssh() == nil {
			t.Error("only ssh was to be cut")
		}
		must(t, l.Heal(t.Context(), "server2"))
		heal()

		must(t, l.Partition(t.Context(), lab.Fault{Hosts: []string{"server1"}, From: []string{lab.OutsideName}, Only: lab.TrafficNames()}))
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if _, err := l.Dial(ctx, "tcp", h1.Address.String()+":22"); err == nil {
			t.Error("cut from outside, and still reached")
		}
		if ssh() != nil {
			t.Error("only the outside was to be cut")
		}
		heal()
	}
}

func testLoss(l *lab.Lab) func(*testing.T) {
	return func(t *testing.T) {
		h1, err := l.Host("server1")
		must(t, err)
		must(t, l.Loss(t.Context(), 50, "server1"))
		// Of 100 pings a quarter comes back; that none or all do has a chance
		// of one in a million millions.
		out, _ := l.Exec(t.Context(), "server2", "ping", "-c100", "-i0.002", "-W1", "-q", h1.Address.String())
		if strings.Contains(out, " 0 received") || strings.Contains(out, "100 received") || !strings.Contains(out, "received") {
			t.Errorf("with half of the frames lost: %s", out)
		}
		must(t, l.Heal(t.Context(), "server1"))
		if faults, err := l.Faults(); len(faults) != 0 || err != nil {
			t.Errorf("still wrong: %v, %v", faults, err)
		}
	}
}

func testDisk(l *lab.Lab) func(*testing.T) {
	return func(t *testing.T) {
		h, err := l.Host("server1")
		must(t, err)
		for disk, dir := range map[lab.Disk]string{lab.Data: "/data", lab.System: "/var/lib"} {
			write := func() error {
				_, err := l.Exec(t.Context(), "server1", "sh", "-c", "dd if=/dev/zero of="+dir+"/x bs=64k count=16 conv=fsync 2>&1 || { rm "+dir+"/x; echo 1 >&2; exit 1; }")
				return err
			}
			must(t, h.FillDisk(disk, 0))
			must(t, h.FillDisk(disk, 0))
			if write() == nil {
				t.Errorf("%s: a full disk took a megabyte", disk)
			}
			must(t, h.FillDisk(disk, 8<<20))
			must(t, write())
			must(t, h.FreeDisk(disk))
			must(t, h.FreeDisk(disk))
			must(t, write())
		}

		must(t, h.HoldDisk(lab.Data))
		must(t, h.HoldDisk(lab.Data))
		written := make(chan error, 1)
		go func() {
			_, err := h.Exec(context.WithoutCancel(t.Context()), "touch", "/data/held")
			written <- err
		}()
		select {
		case err := <-written:
			t.Errorf("a held disk took a write: %v", err)
		case <-time.After(300 * time.Millisecond): // that it never comes cannot be awaited
		}
		must(t, h.ReleaseDisk(lab.Data))
		must(t, h.ReleaseDisk(lab.Data))
		must(t, <-written)

		must(t, h.HoldDisk(lab.Data)) // and a power cut must not hang on it
		must(t, l.PowerOff(t.Context(), "server1"))
		must(t, l.PowerOn(t.Context(), "server1"))

		must(t, h.BreakDisk(t.Context(), lab.Data))
		if _, err := l.Exec(t.Context(), "server1", "touch", "/data/x"); err == nil || !strings.Contains(err.Error(), "Read-only") {
			t.Errorf("a broken disk: %v", err)
		}
		must(t, l.PowerOff(t.Context(), "server1"))
		must(t, l.PowerOn(t.Context(), "server1"))
		run(t, l, "server1", "touch", "/data/x")
	}
}

func testReset(l *lab.Lab) func(*testing.T) {
	return func(t *testing.T) {
		marks := func() string {
			return run(t, l, "server1", "sh", "-c", "cat /data/mark /root/mark 2>/dev/null; true")
		}
		mark := func(s string) {
			run(t, l, "server1", "sh", "-c", "echo "+s+" >/data/mark; echo "+s+" >/root/mark")
		}
		key := run(t, l, "server1", "cat", "/etc/ssh/ssh_host_ed25519_key.pub")
		mark("one")
		must(t, l.Snapshot(t.Context(), "first"))
		mark("two")
		must(t, l.Reset(t.Context(), "first", "server1"))
		if got := marks(); got != "one\none" {
			t.Errorf("after going back: %q", got)
		}
		must(t, l.Reset(t.Context(), "", "server1"))
		if got := marks(); got != "" {
			t.Errorf("freshly installed, there is %q", got)
		}
		if got := run(t, l, "server1", "cat", "/etc/ssh/ssh_host_ed25519_key.pub"); got != key {
			t.Error("the host key changed")
		}
		if err := l.Reset(t.Context(), "never-made", "server1"); err == nil {
			t.Error("went back to a snapshot that is not there")
		}
		run(t, l, "server1", "true") // and still runs
	}
}

func testForward(l *lab.Lab) func(*testing.T) {
	return func(t *testing.T) {
		target, err := l.Resolve("server2:22")
		must(t, err)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.Forward(ctx, ln, target) }()
		conn, err := net.Dial("tcp", ln.Addr().String())
		must(t, err)
		defer conn.Close()
		greeting := make([]byte, 4)
		if _, err := io.ReadFull(conn, greeting); err != nil || string(greeting) != "SSH-" {
			t.Errorf("%q, %v", greeting, err)
		}
		cancel()
		must(t, <-ended)
		if _, err := l.Resolve("198.51.100.1:22"); err == nil {
			t.Error("an address outside the lab was taken")
		}
	}
}

func testBeside(l *lab.Lab) func(*testing.T) {
	return func(t *testing.T) {
		other := upLab(t, lab.Spec{Name: labName("b"), Heads: 1})
		run(t, l, "server1", "touch", "/data/mine")
		if _, err := other.Exec(t.Context(), "server1", "test", "-e", "/data/mine"); err == nil {
			t.Error("two labs share a disk")
		}
		must(t, other.PowerOff(t.Context(), "server1"))
		if !hears(t, l, "server2", "server1") {
			t.Error("the same address in another lab went off, and this one is not heard")
		}
		var visitor *exec.Cmd
		must(t, other.InNetwork(func() error {
			visitor = exec.Command("sleep", "600")
			return visitor.Start()
		}))
		downLab(t, other.Spec.Name)
		if err := visitor.Wait(); err == nil || !strings.Contains(err.Error(), "signal") {
			t.Errorf("what ran in the network of the removed lab: %v", err)
		}
		must(t, l.PowerOff(t.Context(), "server1")) // not held by what the other lab saw
		must(t, l.PowerOn(t.Context(), "server1"))
	}
}

// TestDownAfterKill kills an Up at points along its way. Down must leave
// nothing, and another Up must complete what is half made.
func TestDownAfterKill(t *testing.T) {
	requireRoot(t)
	if _, err := lab.BuildImage(t.Context(), lab.DefaultImage, nil); err != nil {
		t.Fatal(err)
	}
	name := labName("k")
	dir := filepath.Join(lab.Dir(), "labs", name)
	points := map[string]string{ // what is waited for before the kill
		"described":      dir + "/lab.json",
		"network":        dir + "/netns",
		"secrets":        dir + "/secrets.env",
		"disks made":     dir + "/hosts/server1/data.img",
		"installed":      dir + "/hosts/server2/installed",
		"console":        dir + "/hosts/server1/console.log",
		"host's process": "/sys/fs/cgroup/unified/multihead-lab/" + name + "/server1/payload",
	}
	for point, path := range points {
		if strings.HasPrefix(path, "/sys/fs/cgroup/unified") && !exists("/sys/fs/cgroup/unified") {
			path = strings.Replace(path, "/unified", "", 1)
		}
		for _, again := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, up again %v", point, again), func(t *testing.T) {
				t.Cleanup(func() { downLab(t, name) })
				killUp(t, name, path)
				if again {
					l, err := lab.Up(t.Context(), lab.Spec{Name: name, Heads: 2}, nil)
					must(t, err)
					if got := run(t, l, "server1", "systemctl", "is-system-running"); got != "running" {
						t.Errorf("systemd says %q", got)
					}
					if !hears(t, l, "server1", "server2") {
						t.Error("server2 is not heard")
					}
				}
			})
		}
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// killUp starts an Up in a process of its own and kills it as soon as path
// exists. An Up that was faster is no error: then the lab is whole.
func killUp(t *testing.T, name, path string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), upVariable+"="+name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	must(t, cmd.Start())
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for !exists(path) {
		select {
		case err := <-done:
			t.Fatalf("up ended before %s was there: %v\n%s", path, err, out.String())
		default:
		}
	}
	must(t, cmd.Process.Kill())
	<-done
}

// TestDownOfNothing must be no error, and leave nothing either.
func TestDownOfNothing(t *testing.T) {
	requireRoot(t)
	downLab(t, labName("n"))
	if names, err := lab.Names(); err != nil || slices.Contains(names, labName("n")) {
		t.Errorf("%v, %v", names, err)
	}
}
