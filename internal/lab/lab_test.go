//go:build lab

package lab_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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

// ready fails where no lab can be. The build tag lab asks for these tests by
// name, so skipping them would be a lie.
func ready(t *testing.T) {
	t.Helper()
	if err := lab.Ready(); err != nil {
		t.Fatal(err)
	}
}

func labName(part string) string { return fmt.Sprintf("t%d-%s", os.Getpid(), part) }

func upLab(t *testing.T, spec lab.Spec) *lab.Lab {
	t.Helper()
	ready(t)
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

// TestDownOfNothing must be no error, and leave nothing either.
func TestDownOfNothing(t *testing.T) {
	ready(t)
	downLab(t, labName("n"))
	if names, err := lab.Names(); err != nil || slices.Contains(names, labName("n")) {
		t.Errorf("%v, %v", names, err)
	}
}
