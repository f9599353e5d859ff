package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
)

// Control groups are how a host is held as one thing: all its processes,
// also those started into it later, are below one directory, to be frozen or
// killed together without looking for them by name or number.

const cgroupName = "multihead-lab"

// unifiedRoot is where the machine has its cgroup2 hierarchy mounted, alone
// or beside the older ones.
func unifiedRoot() (string, error) {
	ms, err := mountinfo.GetMounts(nil)
	if err != nil {
		return "", err
	}
	for _, m := range ms {
		if m.FSType == "cgroup2" {
			return m.Mountpoint, nil
		}
	}
	return "", errors.New("no cgroup2 hierarchy is mounted on this machine: the lab freezes and kills hosts through it")
}

// cgroupRoots are the hierarchies systemd-nspawn divides into its own and
// the host's half: cgroup2, and the older name=systemd where there is one.
func cgroupRoots() ([]string, error) {
	unified, err := unifiedRoot()
	if err != nil {
		return nil, err
	}
	roots := []string{unified}
	ms, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, err
	}
	for _, m := range ms {
		if m.FSType == "cgroup" && slices.Contains(strings.Split(m.VFSOptions, ","), "name=systemd") {
			roots = append(roots, m.Mountpoint)
			break
		}
	}
	return roots, nil
}

// cgroups are the directories of the whole lab, one in each hierarchy, the
// cgroup2 one first.
func (l *Lab) cgroups() ([]string, error) {
	roots, err := cgroupRoots()
	if err != nil {
		return nil, err
	}
	for i := range roots {
		roots[i] = filepath.Join(roots[i], cgroupName, id(l.base, l.Spec.Name))
	}
	return roots, nil
}

// cgroup is the host's directory in the cgroup2 hierarchy.
func (h *Host) cgroup() (string, error) {
	groups, err := h.lab.cgroups()
	if err != nil {
		return "", err
	}
	return filepath.Join(groups[0], h.Name), nil
}

// populated tells whether any process is in the group or below. A group that
// does not exist holds none.
func populated(group string) (bool, error) { return cgroupEvent(group, "populated") }

func cgroupEvent(group, key string) (bool, error) {
	data, err := os.ReadFile(filepath.Join(group, "cgroup.events"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return strings.Contains(string(data), key+" 1"), nil
}

// killGroup ends every process of the group at once and waits until they are
// gone.
func killGroup(ctx context.Context, group string) error {
	err := os.WriteFile(filepath.Join(group, "cgroup.kill"), []byte("1"), 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return until(ctx, 5*time.Millisecond, "waiting for the processes in "+group+" to end", func() bool {
		p, err := populated(group)
		return err == nil && !p
	})
}

// removeGroup removes an empty group with all below it.
func removeGroup(group string) error {
	var dirs []string
	err := filepath.WalkDir(group, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && d.IsDir() {
			dirs = append(dirs, p)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, d := range slices.Backward(dirs) {
		if err := os.Remove(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("control group: %w", err)
		}
	}
	return nil
}

// initPid is the machine's number of the host's process 1, or 0 when it has
// none yet or no more.
func (h *Host) initPid() (int, error) {
	pids, err := h.pids("payload/init.scope", "payload")
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		if isInit(pid) {
			return pid, nil
		}
	}
	return 0, nil
}

// pids are the processes directly in the named parts of the host's group.
func (h *Host) pids(parts ...string) ([]int, error) {
	group, err := h.cgroup()
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, part := range parts {
		data, err := os.ReadFile(filepath.Join(group, part, "cgroup.procs"))
		if err != nil {
			continue // not there (yet): off, or still starting
		}
		for f := range strings.FieldsSeq(string(data)) {
			if pid, err := strconv.Atoi(f); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids, nil
}

// isInit tells whether the process is number 1 of a namespace of its own.
func isInit(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "NSpid:"); ok {
			f := strings.Fields(rest)
			return len(f) > 1 && f[len(f)-1] == "1"
		}
	}
	return false
}
