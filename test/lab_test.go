//go:build lab

// Package test proves the product on real hosts with the real daemons, through
// the binary that users get. It needs root and what `multihead lab setup`
// installs; where either is missing it fails instead of skipping.
package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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

// binary is the multihead under test.
var binary = os.Getenv("MULTIHEAD_BIN")

func TestMain(m *testing.M) {
	if err := ready(); err != nil {
		fmt.Fprintln(os.Stderr, "the lab's tests cannot run:", err)
		os.Exit(1)
	}
	alone, err := onlyRun()
	if err != nil {
		fmt.Fprintln(os.Stderr, "the lab's tests cannot run:", err)
		os.Exit(1)
	}
	code := m.Run()
	_ = alone.Close()
	os.Exit(code)
}

// onlyRun holds what a second run of these tests on this machine needs too, until it is
// closed: each begins with removing the labs that it finds of the other.
func onlyRun() (*os.File, error) {
	if err := os.MkdirAll(lab.Dir(), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(lab.Dir(), "test.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, fmt.Errorf("another run of them has %s (%w): wait for its end, or set %s to another directory", f.Name(), err, lab.DirVariable)
	}
	return f, nil
}

func ready() error {
	if os.Geteuid() != 0 {
		return errors.New("they need root: run sudo make test")
	}
	if _, err := os.Stat(binary); err != nil {
		return fmt.Errorf("MULTIHEAD_BIN: %w (run make test-lab)", err)
	}
	return lab.Ready()
}

// hosts is a lab with the tool pointed at it.
type hosts struct {
	*lab.Lab
	t    *testing.T
	file string // the cluster file; the lab's own unless a test writes another
}

// newLab makes a lab that goes with the test. Its name says that it is a test's: what a
// run left that was ended on its way is removed, for a test begins with hosts that nothing
// was done to, and a lab of a person's own is never touched.
func newLab(t *testing.T, spec lab.Spec) *hosts {
	t.Helper()
	begin := time.Now()
	spec.Name = "test-" + spec.Name
	if err := lab.Down(t.Context(), spec.Name, nil); err != nil {
		t.Fatal(err)
	}
	l, err := lab.Up(t.Context(), spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("lab %s is up after %.1f s", spec.Name, time.Since(begin).Seconds())
	h := &hosts{Lab: l, t: t, file: l.ClusterFile()}
	// What is set up first goes last: a cluster file that the test writes is still
	// there for the last words.
	t.TempDir()
	t.Cleanup(func() {
		h.lastWords()
		if err := lab.Down(context.Background(), spec.Name, nil); err != nil {
			t.Errorf("lab down: %v", err)
		}
	})
	return h
}

// lastWords keeps of a lab in which a test failed what a person would ask it for:
// soon it is gone.
func (h *hosts) lastWords() {
	dir := os.Getenv("MULTIHEAD_LABLOG")
	if !h.t.Failed() || dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var said bytes.Buffer
	load, _ := os.ReadFile("/proc/loadavg")
	status, _ := h.command(ctx, "status").CombinedOutput() // whatever it says
	fmt.Fprintf(&said, "%s, load %s%s", time.Now().Format(time.TimeOnly), load, status)
	for _, name := range h.names(lab.Head) {
		out, err := h.Exec(ctx, name, "journalctl", "-q", "--no-pager", "-o", "short-iso-precise", "-n", "30000",
			"-u", "multihead*", "-u", "slurm*", "-u", "glusterd", "-u", "mnt-*", "-u", "mariadb", "-u", "redis*", "-u", "keepalived")
		fmt.Fprintf(&said, "\n--- the journal of %s (%v)\n%s", name, err, lastLines(withoutTraces(out), 6000))
	}
	if err := os.WriteFile(dir+"/"+h.Spec.Name, said.Bytes(), 0o600); err != nil {
		h.t.Log(err)
	}
}

// in is the lab as a subtest sees it.
func (h *hosts) in(t *testing.T) *hosts { return &hosts{Lab: h.Lab, t: t, file: h.file} }

// result is what the tool said.
type result struct {
	stdout, stderr string
	code           int
	took           time.Duration
}

func (r result) String() string {
	return fmt.Sprintf("exit %d after %.1f s\n--- stdout\n%s--- stderr\n%s", r.code, r.took.Seconds(), r.stdout, r.stderr)
}

// command is the tool with these arguments, inside the lab.
func (h *hosts) command(ctx context.Context, args ...string) *exec.Cmd {
	args = append([]string{"--lab=" + h.Spec.Name, "-f", h.file}, args...)
	return exec.CommandContext(ctx, binary, args...)
}

// run runs the tool to its end.
func (h *hosts) run(args ...string) result {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 8*time.Minute)
	defer cancel()
	cmd := h.command(ctx, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	begin := time.Now()
	err := cmd.Run()
	r := result{stdout: out.String(), stderr: errOut.String(), took: time.Since(begin)}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		r.code = exit.ExitCode()
	} else if err != nil {
		h.t.Fatalf("multihead %v: %v", args, err)
	}
	if strings.Contains(r.stderr, "goroutine ") {
		h.t.Fatalf("multihead %v: a stack trace\n%s", args, r)
	}
	return r
}

// must runs the tool and fails the test unless it exits 0.
func (h *hosts) must(args ...string) result {
	h.t.Helper()
	r := h.run(args...)
	if r.code != 0 {
		h.t.Fatalf("multihead %s: %s", strings.Join(args, " "), r)
	}
	return r
}

// sh runs a shell script as root on a host, without SSH.
func (h *hosts) sh(host, script string) string {
	h.t.Helper()
	out, err := h.trySh(host, script)
	if err != nil {
		h.t.Fatalf("%s: %s: %v\n%s", host, script, err, out)
	}
	return out
}

func (h *hosts) trySh(host, script string) (string, error) {
	ctx, cancel := context.WithTimeout(h.t.Context(), 2*time.Minute)
	defer cancel()
	out, err := h.Exec(ctx, host, "sh", "-c", script)
	return strings.TrimSpace(out), err
}

// eventually waits for a condition, and says what was seen last if it never
// comes.
func (h *hosts) eventually(what string, within time.Duration, f func() (bool, string)) {
	h.t.Helper()
	deadline := time.Now().Add(within)
	for {
		ok, seen := f()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("not so within %s: %s; last seen: %s", within, what, seen)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// discovery is what `discover -o json` prints, as far as the tests read it.
type discovery struct {
	Total       int    `json:"total_controllers"`
	Active      int    `json:"active_controllers"`
	Inactive    int    `json:"inactive_controllers"`
	VIPOwner    string `json:"vip_owner"`
	State       string `json:"cluster_state"`
	Controllers []struct {
		Hostname string                    `json:"hostname"`
		IP       string                    `json:"ip"`
		Status   string                    `json:"status"`
		Error    string                    `json:"error"`
		Uptime   string                    `json:"uptime"`
		Services map[string]map[string]any `json:"services"`
	} `json:"controllers"`
}

func (h *hosts) discover() discovery {
	h.t.Helper()
	r := h.must("discover", "-o", "json")
	var d discovery
	if err := json.Unmarshal([]byte(r.stdout), &d); err != nil {
		h.t.Fatalf("%v\n%s", err, r)
	}
	return d
}

// names are the hosts of a kind.
func (h *hosts) names(kind lab.Kind) []string {
	var out []string
	for _, host := range h.Hosts() {
		if host.Kind == kind {
			out = append(out, host.Name)
		}
	}
	return out
}

// all are the names of every host.
func (h *hosts) all() []string {
	var out []string
	for _, host := range h.Hosts() {
		out = append(out, host.Name)
	}
	return out
}

// clusterFile writes a cluster file for some of the hosts and points the tool
// at it.
func (h *hosts) clusterFile(names ...string) {
	h.t.Helper()
	path := h.t.TempDir() + "/cluster.yaml"
	if err := h.WriteClusterFile(path, lab.ClusterOptions{Hosts: names}); err != nil {
		h.t.Fatal(err)
	}
	h.file = path
}
