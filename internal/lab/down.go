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
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Down removes the lab of that name with everything that belongs to it:
// processes, mounts, network, control groups, disks. It asks the kernel what
// there is rather than any record, so it also removes what a killed or broken
// Up left half made. A lab that is not there is no error.
func Down(ctx context.Context, name string, progress func(Event)) error {
	if name == "" {
		name = DefaultName
	}
	if err := checkName(name); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("removing a lab needs root, as making it did")
	}
	l := &Lab{Spec: Spec{Name: name}, base: Dir(), progress: progress}
	if _, err := os.Stat(l.path()); errors.Is(err, fs.ErrNotExist) {
		if groups, err := l.cgroups(); err == nil && !slices.ContainsFunc(groups, exists) {
			return nil
		}
	}
	return l.locked(ctx, func() error {
		if err := l.down(ctx); err != nil {
			return fmt.Errorf("removing the lab %q: %w", name, err)
		}
		say(progress, "", "lab "+name+" removed")
		return nil
	})
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func (l *Lab) down(ctx context.Context) error {
	groups, err := l.cgroups()
	if err != nil {
		return err
	}
	if err := l.cutAll(groups[0]); err != nil {
		return err
	}
	if err := killGroup(ctx, groups[0]); err != nil {
		return err
	}
	if err := l.endVisitors(ctx); err != nil {
		return err
	}
	if isNamespace(l.netnsPath()) {
		// Not left to the end of the namespace: an open socket of some other
		// process could keep it.
		err := l.InNetwork(func() error {
			_, _ = run(ctx, "ip", "link", "del", bridge)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if err := detachBelow(l.path()); err != nil {
		return err
	}
	if err := released(ctx, l.path()); err != nil {
		return err
	}
	for _, g := range groups {
		if err := removeGroup(g); err != nil {
			return err
		}
		_ = os.Remove(filepath.Dir(g)) // stays while another lab is in it
	}
	if err := removeTree(l.path()); err != nil {
		return err
	}
	// The lock file goes while it is held; whoever waits for it holds the
	// same file and finds nothing left to do.
	return os.Remove(filepath.Join(labsDir(l.base), "."+l.Spec.Name+".lock"))
}

// cutAll stops the disks of whatever hosts run: what they hold is about to be
// removed, so writing it out would be in vain, and a held disk would hold up
// the kernel.
func (l *Lab) cutAll(group string) error {
	entries, err := os.ReadDir(group)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			h := &Host{HostPlan: HostPlan{Name: e.Name()}, lab: l}
			if err := h.cutDisks(); err != nil {
				return err
			}
		}
	}
	return nil
}

// endVisitors ends the processes that live in the lab's network without
// being its hosts: commands started with --lab. Being in that namespace is
// what makes a process the lab's; this process and those above it are spared.
func (l *Lab) endVisitors(ctx context.Context) error {
	if !isNamespace(l.netnsPath()) {
		return nil
	}
	pids, err := l.visitors()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := l.endVisitor(ctx, pid); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) visitors() ([]int, error) {
	var want unix.Stat_t
	if err := unix.Stat(l.netnsPath(), &want); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	spare := ancestors(os.Getpid())
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || spare[pid] {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &st) == nil && st.Ino == want.Ino && st.Dev == want.Dev {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// endVisitor holds the process by a descriptor while looking again, so that a
// number that was given to another process meanwhile is not signalled.
func (l *Lab) endVisitor(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if again, err := l.visitors(); err != nil || !slices.Contains(again, pid) {
		return err
	}
	say(l.progress, "", fmt.Sprintf("ending process %d, which is inside the lab's network", pid))
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGKILL} {
		if err := unix.PidfdSendSignal(fd, sig, nil, 0); errors.Is(err, unix.ESRCH) {
			return nil
		} else if err != nil {
			return err
		}
		if ended(fd, 2*time.Second) {
			return nil
		}
	}
	return fmt.Errorf("process %d does not end", pid)
}

// ended waits for the process behind a pidfd, which becomes readable then.
func ended(fd int, limit time.Duration) bool {
	deadline := time.Now().Add(limit)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(max(0, time.Until(deadline).Milliseconds())))
		if !errors.Is(err, unix.EINTR) {
			return err == nil && n > 0
		}
	}
}

// ancestors is the process and all above it.
func ancestors(pid int) map[int]bool {
	chain := map[int]bool{}
	for pid > 0 && !chain[pid] {
		chain[pid] = true
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			break
		}
		// The command's name, in parentheses, may hold anything.
		_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
		f := strings.Fields(rest)
		if len(f) < 2 {
			break
		}
		if pid, err = strconv.Atoi(f[1]); err != nil {
			break
		}
	}
	return chain
}
