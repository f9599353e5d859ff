package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
)

// askTime bounds all questions to one host together.
const askTime = 10 * time.Second

// peerTime bounds one connection from a host to another.
const peerTime = 2 * time.Second

// maxNames is how many names one head is asked to resolve: with a thousand
// compute nodes, the first of them show as well whether names work.
const maxNames = 64

// facts are what one host answered.
type facts struct {
	patient Patient

	release  answer[map[string]string] // /etc/os-release
	kernel   answer[string]
	init     answer[[]string] // failed units; an error where systemd does not run
	clock    answer[skew]
	ntp      answer[timeState]
	names    answer[map[string][]string] // what other hosts' names lead to
	peers    answer[map[string]error]    // what a connection to the others' SSH port gave
	own      answer[[]string]            // its own addresses
	disks    answer[map[string]disk]     // by the path that was asked about
	memory   answer[memory]
	ports    answer[[]listener]
	accounts answer[accounts]
	packages answer[packages]
}

type skew struct{ ahead, rtt time.Duration }

type timeState struct {
	synchronized bool
	container    string // the kind of container, empty on a machine with a clock of its own
	daemon       string // the active one, empty for none
}

type memory struct {
	totalMB, availableMB int
	cpus                 int
}

// Examine asks every patient everything, all at once.
func Examine(ctx context.Context, c *config.Cluster, patients []Patient) []Facts {
	out := make([]Facts, len(patients))
	var wg sync.WaitGroup
	for i, p := range patients {
		out[i].f = &facts{patient: p}
		if p.Reader == nil {
			continue
		}
		wg.Go(func() { out[i].f.examine(ctx, c, patients) })
	}
	wg.Wait()
	return out
}

// Facts are what one host answered, for Judge.
type Facts struct{ f *facts }

func (f *facts) examine(ctx context.Context, c *config.Cluster, all []Patient) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var wg sync.WaitGroup
	r := f.patient.Reader
	wg.Go(func() { ask(r, &f.release, func(r *recorder) (map[string]string, error) { return askRelease(ctx, r) }) })
	wg.Go(func() {
		ask(r, &f.kernel, func(r *recorder) (string, error) { return trimmed(r.Query(ctx, "uname", "-rm")) })
	})
	wg.Go(func() { ask(r, &f.init, func(r *recorder) ([]string, error) { return askFailedUnits(ctx, r) }) })
	wg.Go(func() { ask(r, &f.clock, func(r *recorder) (skew, error) { return askClock(ctx, r) }) })
	wg.Go(func() { ask(r, &f.ntp, func(r *recorder) (timeState, error) { return askTimeState(ctx, r) }) })
	wg.Go(func() {
		ask(r, &f.names, func(r *recorder) (map[string][]string, error) { return askNames(ctx, r, f.patient, all) })
	})
	wg.Go(func() {
		ask(r, &f.peers, func(r *recorder) (map[string]error, error) { return askPeers(ctx, r, f.patient, all), nil })
	})
	wg.Go(func() { ask(r, &f.own, func(r *recorder) ([]string, error) { return askAddresses(ctx, r) }) })
	wg.Go(func() {
		ask(r, &f.disks, func(r *recorder) (map[string]disk, error) { return askDisks(ctx, r, diskPaths(c, f.patient)) })
	})
	wg.Go(func() { ask(r, &f.memory, func(r *recorder) (memory, error) { return askMemory(ctx, r) }) })
	wg.Go(func() { ask(r, &f.ports, func(r *recorder) ([]listener, error) { return askPorts(ctx, r) }) })
	wg.Go(func() { ask(r, &f.accounts, func(r *recorder) (accounts, error) { return askAccounts(ctx, r) }) })
	wg.Go(func() {
		ask(r, &f.packages, func(r *recorder) (packages, error) {
			p, err := askPackages(ctx, r, wantedPackages(c, f.patient))
			if f.patient.Bundle != nil {
				p.offered = f.patient.Bundle
			}
			return p, err
		})
	})
	wg.Wait()
}

// ask puts one question and keeps what was asked for it.
func ask[T any](r host.Reader, into *answer[T], question func(*recorder) (T, error)) {
	rec := &recorder{Reader: r}
	into.value, into.err = question(rec)
	into.asked = rec.asked
}

func trimmed(s string, err error) (string, error) { return strings.TrimSpace(s), err }

func askRelease(ctx context.Context, r *recorder) (map[string]string, error) {
	data, err := r.ReadFile(ctx, "/etc/os-release")
	if err != nil {
		return nil, err
	}
	return parseRelease(string(data)), nil
}

// parseRelease reads the NAME=value lines of os-release(5).
func parseRelease(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(name, "#") {
			out[name] = strings.Trim(value, `"'`)
		}
	}
	return out
}

func askFailedUnits(ctx context.Context, r *recorder) ([]string, error) {
	out, err := r.Query(ctx, "systemctl", "list-units", "--state=failed", "--plain", "--no-legend", "--no-pager")
	if err != nil {
		return nil, err
	}
	var units []string
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 0 {
			units = append(units, f[0])
		}
	}
	return units, nil
}

func askClock(ctx context.Context, r *recorder) (skew, error) {
	c, ok := r.Reader.(clock)
	if !ok {
		return skew{}, errors.New("this connection cannot measure the clock")
	}
	r.note("clock, over the connection")
	var best skew
	for i := range 3 { // the shortest of three round trips is the surest
		ahead, rtt, err := c.Clock(ctx)
		if err != nil {
			return skew{}, err
		}
		if i == 0 || rtt < best.rtt {
			best = skew{ahead, rtt}
		}
	}
	return best, nil
}

func askTimeState(ctx context.Context, r *recorder) (timeState, error) {
	var s timeState
	// Exit code 1 means that it is no container.
	if out, err := r.Query(ctx, "systemd-detect-virt", "--container"); err == nil {
		s.container = strings.TrimSpace(out)
	}
	out, err := r.Query(ctx, "timedatectl", "show", "-p", "NTPSynchronized", "--value")
	if err != nil {
		return s, err
	}
	s.synchronized = strings.TrimSpace(out) == "yes"
	for _, unit := range []string{"chrony.service", "chronyd.service", "systemd-timesyncd.service", "ntpsec.service", "ntpd.service"} {
		if out, err := r.Query(ctx, "systemctl", "is-active", unit); err == nil && strings.TrimSpace(out) == "active" {
			s.daemon = strings.TrimSuffix(unit, ".service")
			break
		}
	}
	return s, nil
}

// others are the hosts that a patient has to find by name: a head finds all, a
// compute node and a witness find the heads.
func others(p Patient, all []Patient) []Patient {
	var out []Patient
	for _, o := range all {
		if o.Spec.Hostname != p.Spec.Hostname && (o.Role == Head || p.Role == Head) && len(out) < maxNames {
			out = append(out, o)
		}
	}
	return out
}

func askNames(ctx context.Context, r *recorder, p Patient, all []Patient) (map[string][]string, error) {
	out := map[string][]string{}
	for _, o := range append(others(p, all), p) {
		said, err := r.Query(ctx, "getent", "ahosts", o.Spec.Hostname)
		var exit *host.ExitError
		switch {
		case errors.As(err, &exit) && exit.Code == 2: // not found
			out[o.Spec.Hostname] = nil
			continue
		case err != nil:
			return out, err
		}
		var list []string
		for line := range strings.Lines(said) {
			if f := strings.Fields(line); len(f) > 1 && f[1] == "STREAM" {
				list = append(list, f[0])
			}
		}
		out[o.Spec.Hostname] = list
	}
	return out, nil
}

// askPeers connects from the host to the SSH port of the hosts it works with.
// It says nothing there: that a connection is taken shows the way.
func askPeers(ctx context.Context, r *recorder, p Patient, all []Patient) map[string]error {
	out := map[string]error{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, o := range others(p, all) {
		if o.Reader == nil || !o.Spec.Address.IsValid() {
			continue // not reached by us either: its own finding says so
		}
		address := fmt.Sprintf("%s:%d", o.Spec.Address, o.Spec.SSHPort)
		if o.Spec.Address.Is6() {
			address = fmt.Sprintf("[%s]:%d", o.Spec.Address, o.Spec.SSHPort)
		}
		r.note("connect to " + address)
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, peerTime)
			defer cancel()
			c, err := r.Dial(ctx, "tcp", address)
			if err == nil {
				_ = c.Close()
			}
			mu.Lock()
			defer mu.Unlock()
			out[o.Spec.Hostname] = err
		})
	}
	wg.Wait()
	return out
}

func askMemory(ctx context.Context, r *recorder) (memory, error) {
	var m memory
	data, err := r.ReadFile(ctx, "/proc/meminfo")
	if err != nil {
		return m, err
	}
	m.totalMB, m.availableMB = parseMeminfo(string(data))
	out, err := r.Query(ctx, "nproc")
	if err != nil {
		return m, err
	}
	m.cpus, err = strconv.Atoi(strings.TrimSpace(out))
	return m, err
}

// parseMeminfo reads /proc/meminfo, in MiB.
func parseMeminfo(text string) (total, available int) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kb, err := strconv.Atoi(f[1])
		if err != nil {
			continue
		}
		switch f[0] {
		case "MemTotal:":
			total = kb >> 10
		case "MemAvailable:":
			available = kb >> 10
		}
	}
	return total, available
}

// nearest is the path itself or the closest directory above it that exists.
func nearest(ctx context.Context, r *recorder, p string) (string, error) {
	for {
		_, err := r.Stat(ctx, p)
		if err == nil || p == "/" {
			return p, err
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return p, err
		}
		p = path.Dir(p)
	}
}

// missing says whether a command is not on the host.
func missing(err error) bool { return errors.Is(err, exec.ErrNotFound) }

func askAddresses(ctx context.Context, r *recorder) ([]string, error) {
	out, err := r.Query(ctx, "ip", "-br", "addr", "show")
	if err != nil {
		return nil, err
	}
	return parseAddresses(out), nil
}

// parseAddresses reads ip -br addr: "eth0@if2 UP 192.0.2.11/24 fe80::1/64".
func parseAddresses(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 3 || f[0] == "lo" {
			continue
		}
		for _, a := range f[2:] {
			if addr, _, ok := strings.Cut(a, "/"); ok {
				out = append(out, addr)
			}
		}
	}
	return out
}
