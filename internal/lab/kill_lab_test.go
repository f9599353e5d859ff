//go:build lab

package lab_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"multihead/internal/lab"
)

// TestDownAfterKill kills an Up at points along its way. Down must leave
// nothing, and another Up must complete what is half made.
func TestDownAfterKill(t *testing.T) {
	ready(t)
	if _, err := lab.BuildImage(t.Context(), lab.DefaultImage, nil); err != nil {
		t.Fatal(err)
	}
	points := map[string]string{ // what is waited for before the kill, in the lab's directory
		"described":      "lab.json",
		"network":        "netns",
		"secrets":        "secrets.env",
		"disks made":     "hosts/server1/data.img",
		"installed":      "hosts/server2/installed",
		"console":        "hosts/server1/console.log",
		"host's process": "/sys/fs/cgroup/unified/multihead-lab/NAME/server1/payload",
	}
	if !exists("/sys/fs/cgroup/unified") {
		points["host's process"] = strings.Replace(points["host's process"], "/unified", "", 1)
	}
	n := 0
	for point, path := range points {
		for _, again := range []bool{false, true} {
			n++
			name := labName(fmt.Sprintf("k%02d", n))
			path := strings.Replace(path, "NAME", name, 1)
			if !filepath.IsAbs(path) {
				path = filepath.Join(lab.Dir(), "labs", name, path)
			}
			t.Run(fmt.Sprintf("%s, up again %v", point, again), func(t *testing.T) {
				t.Parallel()
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
		case <-time.After(time.Millisecond): // looking all the time would take a core from it
		}
	}
	must(t, cmd.Process.Kill())
	<-done
}
