//go:build lab

package remote_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"multihead/internal/host"
	"multihead/internal/host/remote"
	"multihead/internal/lab"
)

// These tests meet a real sshd and a real sudo on the hosts of a lab, which they
// make, and run inside its network, which they enter by starting themselves
// again there. MULTIHEAD_TEST_LAB is that lab's directory.

func init() {
	victimHook = victim
	run = inLab
}

// inLab makes a lab, runs the tests in its network and removes it.
func inLab(m *testing.M) int {
	if os.Getenv("MULTIHEAD_TEST_LAB") != "" {
		return m.Run()
	}
	fail := func(err error) int {
		fmt.Println(err)
		return 1
	}
	const name = "test-ssh"
	// What a run left that was ended on its way is no lab to begin with.
	if err := lab.Down(context.Background(), name, nil); err != nil {
		return fail(err)
	}
	l, err := lab.Up(context.Background(), lab.Spec{Name: name, Heads: 1}, nil)
	if err != nil {
		return fail(err)
	}
	defer func() {
		if err := lab.Down(context.Background(), name, nil); err != nil {
			fmt.Println("lab down:", err)
		}
	}()
	self, err := os.Executable()
	if err != nil {
		return fail(err)
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), "MULTIHEAD_TEST_LAB="+filepath.Dir(l.ClusterFile()))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	// A process is born into the network of the thread that starts it.
	if err := errors.Join(l.InNetwork(cmd.Start), cmd.Wait()); err != nil {
		return fail(err)
	}
	return 0
}

func labDir(t testing.TB) string {
	dir := os.Getenv("MULTIHEAD_TEST_LAB")
	if dir == "" {
		t.Fatal("MULTIHEAD_TEST_LAB names no lab")
	}
	return dir
}

// labSecret is one of the lab's passwords.
func labSecret(t testing.TB, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "secrets.env"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+"="); ok {
			return strings.Trim(v, `"'`)
		}
	}
	t.Fatalf("the lab has no %s", name)
	return ""
}

func labDialer(t testing.TB, dir, password string) *remote.Dialer {
	t.Helper()
	d, err := remote.New(remote.Options{Home: dir, KnownHosts: []string{filepath.Join(dir, "known_hosts")}, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func labTarget(dir, user string) remote.Target {
	return remote.Target{Name: "server1", Address: "192.0.2.11", User: user, KeyFile: filepath.Join(dir, "id_ed25519")}
}

// labLogins are the ways in: root, sudo that asks nothing, sudo that asks.
func labLogins(t testing.TB, dir string) map[string]string {
	return map[string]string{"root": "", "ops": "", "admin": labSecret(t, dir, "SSH_PASSWORD")}
}

func TestLabEveryLoginIsRootInTheEnd(t *testing.T) {
	dir := labDir(t)
	for user, password := range labLogins(t, dir) {
		c := connect(t, labDialer(t, dir, password), labTarget(dir, user))
		if out, err := c.Query(t.Context(), "id", "-u"); err != nil || out != "0\n" {
			t.Errorf("%s: %q, %v", user, out, err)
		}
		out, err := c.Run(t.Context(), host.Command("sh", "-c", `ps -eo args; cat /proc/[0-9]*/environ 2>/dev/null | tr "\0" "\n"; journalctl -q -b --no-pager`))
		if err != nil {
			t.Fatal(err)
		}
		if password != "" && strings.Contains(out, password) {
			t.Errorf("%s: the password is in a command line, an environment or the journal", user)
		}
		t.Logf("%s: %+v", user, c.Timing)
	}
}

func TestLabNothingStaysOnTheHost(t *testing.T) {
	dir := labDir(t)
	look := connect(t, labDialer(t, dir, ""), labTarget(dir, "root"))
	find := func() string {
		out, err := look.Run(t.Context(), host.Command("find", "/dev/shm", "/run", "/tmp", "/var/tmp", "/root", "/home", "-name", "*multihead*"))
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	before := find()
	for user, password := range labLogins(t, dir) {
		c := connect(t, labDialer(t, dir, password), labTarget(dir, user))
		if got := find(); got != before {
			t.Errorf("%s, connected: %q", user, got)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := find(); got != before {
		t.Errorf("afterwards: %q", got)
	}
}

// victim connects, locks, begins a change and says so. It is killed then.
func victim(args []string) int {
	ctx := context.Background()
	dir, user, password, mark := args[0], args[1], os.Getenv("VICTIM_PASSWORD"), args[2]
	d, err := remote.New(remote.Options{Home: dir, KnownHosts: []string{filepath.Join(dir, "known_hosts")}, Password: password})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	c, err := d.Connect(ctx, labTarget(dir, user))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if _, err := c.Lock(ctx, host.Owner{User: user, From: "victim", PID: os.Getpid(), Tool: "test", Purpose: "up"}); err != nil {
		fmt.Println(err)
		return 1
	}
	go func() {
		_, err := c.Run(ctx, host.Command("sh", "-c", `touch "$0.began"; while [ ! -e "$0.go" ]; do sleep 0.05; done; touch "$0.done"`, mark))
		fmt.Println("ended:", err)
	}()
	for {
		if _, err := c.Stat(ctx, mark+".began"); err == nil {
			fmt.Println("began")
			select {}
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestLabAKilledToolLetsItsChangeFinishAndLeavesNoLock(t *testing.T) {
	dir := labDir(t)
	look := connect(t, labDialer(t, dir, ""), labTarget(dir, "root"))
	ctx := t.Context()
	for user, password := range labLogins(t, dir) {
		t.Run(user, func(t *testing.T) {
			mark := "/run/victim-" + user
			for _, s := range []string{".began", ".go", ".done"} {
				if err := look.Remove(ctx, mark+s); err != nil {
					t.Fatal(err)
				}
				defer func() { _ = look.Remove(context.Background(), mark+s) }()
			}
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(exe, "victim", dir, user, mark)
			cmd.Env = append(os.Environ(), "VICTIM_PASSWORD="+password)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, _ := bufio.NewReader(out).ReadString('\n')
			if line != "began\n" {
				t.Fatalf("the victim said %q", line)
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			waitFor(t, "the lock to be orphaned", func() bool {
				h, err := look.Holder(ctx, nil)
				if err != nil {
					t.Fatal(err)
				}
				if h == nil {
					t.Fatal("the lock was given back with the change still running")
				}
				return h.Owner.Orphaned && h.Owner.User == user
			})
			if err := look.WriteFile(ctx, mark+".go", nil, host.Attr{}); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the change to be finished", func() bool { _, err := look.Stat(ctx, mark+".done"); return err == nil })
			waitFor(t, "the lock to be free", func() bool { h, err := look.Holder(ctx, nil); return err == nil && h == nil })
		})
	}
}
