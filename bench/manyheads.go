// Manyheads measures `multihead discover` on a cluster of many simulated
// heads: how long it takes and how much memory it uses at most. It prints one
// JSON object and judges nothing.
//
// It makes a network namespace of its own (so it needs root), in which one
// process plays all heads: each has its address, its SSH host key and the
// remote half of multihead serving a machine in memory. The program measured
// is the real binary, in a process of its own, reaching them over SSH like any
// other hosts. Both share the processors.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// The ways this program is started: by a person, again inside the namespace,
// and once more as the heads.
const (
	stageOutside = ""
	stageInside  = "inside"
	stageHeads   = "heads"
)

func main() {
	bin := flag.String("bin", "bin/multihead", "the multihead to measure")
	heads := flag.Int("heads", 200, "how many heads (at most 200)")
	runs := flag.Int("runs", 5, "how often")
	stage := flag.String("stage", stageOutside, "used by the program itself")
	dir := flag.String("dir", "", "used by the program itself")
	flag.Parse()
	ctx := context.Background()
	var err error
	switch *stage {
	case stageOutside:
		err = outside(ctx)
	case stageInside:
		err = measure(ctx, *bin, *heads, *runs)
	case stageHeads:
		err = playHeads(ctx, *dir, *heads)
	default:
		err = fmt.Errorf("there is no stage %q", *stage)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "manyheads:", err)
		os.Exit(1)
	}
}

// outside starts this program again in a network namespace, which goes with
// its last process.
func outside(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", append([]string{"-stage", stageInside}, os.Args[1:]...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("in a network namespace (which needs root): %w", err)
	}
	return nil
}

// network makes every address of the heads a local one without giving it to
// an interface: multihead would take a host with an address of this machine
// for this machine, and not use SSH.
func network(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "ip", "-batch", "-")
	cmd.Stdin = strings.NewReader("link set lo up\nroute add local " + subnet + " dev lo\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip: %w: %s", err, out)
	}
	return nil
}

// result is what is printed. Seconds are of wall clock and of processor time;
// memory is the largest resident set of the process, in MB of 2^20 bytes.
type result struct {
	Heads      int       `json:"heads"`
	Runs       int       `json:"runs"`
	MedianS    float64   `json:"median_s"`
	Seconds    []float64 `json:"seconds"`
	CPUSeconds []float64 `json:"cpu_seconds"`
	MaxRSSMB   float64   `json:"max_rss_mb"`
	Load       string    `json:"load"` // of the machine, before the first run
}

// measure stays small itself: a child begins with the memory of the process
// that forks it, and the kernel counts that in.
func measure(ctx context.Context, bin string, heads, runs int) error {
	if err := network(ctx); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "manyheads")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	stop, err := startHeads(ctx, dir, heads)
	if err != nil {
		return err
	}
	defer stop()
	load, _ := os.ReadFile("/proc/loadavg")
	r := result{Heads: heads, Runs: runs, Load: string(bytes.TrimSpace(load))}
	for range runs {
		if err := r.once(ctx, bin, dir, heads); err != nil {
			return err
		}
	}
	sorted := slices.Sorted(slices.Values(r.Seconds))
	r.MedianS = math.Round((sorted[(runs-1)/2]+sorted[runs/2])*500) / 1000
	out, err := json.Marshal(r)
	if err != nil {
		return err
	}
	fmt.Println(string(out))
	return nil
}

// startHeads starts the process that plays the heads and waits until they
// listen.
func startHeads(ctx context.Context, dir string, heads int) (stop func(), err error) {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-stage", stageHeads, "-dir", dir, "-heads", fmt.Sprint(heads))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	ready, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		stop()
		return nil, errors.New("the heads did not start")
	}
	return stop, nil
}

// once runs discover and holds its answer against what the heads say.
func (r *result) once(ctx context.Context, bin, dir string, heads int) error {
	cmd := exec.CommandContext(ctx, bin, "-f", filepath.Join(dir, clusterFile), "discover", "-o", "json")
	// A home of its own: no ssh_config or known_hosts of the person's.
	cmd.Env = append(os.Environ(), "HOME="+dir)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	took := time.Since(began)
	if err != nil {
		return fmt.Errorf("discover: %w: %s", err, stderr.Bytes())
	}
	var d struct {
		Active      int    `json:"active_controllers"`
		VIPOwner    string `json:"vip_owner"`
		Controllers []struct {
			Hostname string `json:"hostname"`
			Services map[string]struct {
				Status string `json:"status"`
				Reason string `json:"reason"`
			} `json:"services"`
		} `json:"controllers"`
	}
	if err := json.Unmarshal(stdout.Bytes(), &d); err != nil {
		return fmt.Errorf("discover: %w", err)
	}
	served, why := 0, ""
	for _, c := range d.Controllers {
		if redis := c.Services["redis"]; redis.Status == "ok" {
			served++
		} else {
			why = fmt.Sprintf("%s: redis %s %s", c.Hostname, redis.Status, redis.Reason)
		}
	}
	if d.Active != heads || served != heads || d.VIPOwner != headName(1) {
		return fmt.Errorf("discover found %d heads active, %d with Redis, and the VIP on %q, instead of %d, %d and %s (%s)",
			d.Active, served, d.VIPOwner, heads, heads, headName(1), why)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return errors.New("this system does not say what a process used")
	}
	r.Seconds = append(r.Seconds, seconds(took))
	r.CPUSeconds = append(r.CPUSeconds, seconds(cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()))
	r.MaxRSSMB = max(r.MaxRSSMB, float64(usage.Maxrss*10/1024)/10) // the kernel counts in KiB
	return nil
}

func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }
