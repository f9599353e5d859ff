package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// State is what a host is doing, as the kernel sees it.
type State string

// The states of a host.
const (
	Off     State = "off"
	Running State = "running"
	Frozen  State = "frozen"
)

// State asks the kernel what the host is doing.
func (h *Host) State() (State, error) {
	group, err := h.cgroup()
	if err != nil {
		return "", err
	}
	alive, err := populated(group)
	if err != nil || !alive {
		return Off, err
	}
	frozen, err := cgroupEvent(group, "frozen")
	if frozen {
		return Frozen, err
	}
	return Running, err
}

// PowerOff cuts the power of the hosts, all at the same time. First the link
// goes, so that nothing the dying host says is heard: no FIN, no RST. Then
// its disks stop dead, so that what was not synced is lost. Then everything
// on it is killed at once. A host that is off stays off.
func (l *Lab) PowerOff(ctx context.Context, hosts ...string) error {
	return l.locked(ctx, func() error { return l.each(hosts, func(h *Host) error { return h.powerOff(ctx) }) })
}

// PowerOn boots the hosts from their disks, as they are, and waits until
// each answers on SSH. A host that runs is left alone.
func (l *Lab) PowerOn(ctx context.Context, hosts ...string) error {
	return l.locked(ctx, func() error { return l.each(hosts, func(h *Host) error { return h.powerOn(ctx) }) })
}

// Freeze stops every process of the hosts where it stands. The hosts keep
// their addresses and their connections stay open: they hang, not die.
func (l *Lab) Freeze(ctx context.Context, hosts ...string) error {
	return l.locked(ctx, func() error { return l.each(hosts, func(h *Host) error { return h.freeze(ctx, true) }) })
}

// Thaw lets frozen hosts go on as if nothing had been.
func (l *Lab) Thaw(ctx context.Context, hosts ...string) error {
	return l.locked(ctx, func() error { return l.each(hosts, func(h *Host) error { return h.freeze(ctx, false) }) })
}

// each does f on the named hosts in parallel (on all when none is named) and
// reports every failure.
func (l *Lab) each(names []string, f func(*Host) error) error {
	hosts, err := l.pick(names)
	if err != nil {
		return err
	}
	errs := make([]error, len(hosts))
	var wg sync.WaitGroup
	for i, h := range hosts {
		wg.Go(func() { errs[i] = f(h) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (h *Host) powerOff(ctx context.Context) error {
	if err := h.cutPower(ctx); err != nil {
		return fmt.Errorf("power off %s: %w", h.Name, err)
	}
	say(h.lab.progress, h.Name, "off")
	return nil
}

func (h *Host) cutPower(ctx context.Context) error {
	group, err := h.cgroup()
	if err != nil {
		return err
	}
	if alive, err := populated(group); err != nil {
		return err
	} else if alive {
		if err := h.linkDown(ctx); err != nil {
			return err
		}
		if err := h.cutDisks(); err != nil {
			return err
		}
	}
	if err := killGroup(ctx, group); err != nil {
		return err
	}
	if err := h.linkGone(ctx); err != nil {
		return err
	}
	if err := h.removeGroups(); err != nil {
		return err
	}
	return released(ctx, h.path())
}

// linkDown takes the host's cable out at the bridge.
func (h *Host) linkDown(ctx context.Context) error { return h.ipLink(ctx, "set", h.link(), "down") }

// linkGone removes the host's port. It mostly went with the host, but the
// kernel goes on sending the FINs of a dead host's connections for minutes,
// and keeps its network namespace, with the other end of the port, until then.
func (h *Host) linkGone(ctx context.Context) error { return h.ipLink(ctx, "del", h.link()) }

// ipLink changes the host's port on the bridge. One that is not there (the
// host is just starting, or gone) needs no change.
func (h *Host) ipLink(ctx context.Context, verb string, args ...string) error {
	return h.lab.InNetwork(func() error {
		if _, err := net.InterfaceByName(h.link()); err != nil {
			return nil
		}
		_, err := run(ctx, "ip", append([]string{"link", verb}, args...)...)
		if err != nil {
			if _, gone := net.InterfaceByName(h.link()); gone != nil {
				return nil // went by itself meanwhile
			}
		}
		return err
	})
}

// bootUp boots the host and waits until all that it is to start has started. It
// may have been booted only just now, by a tool that was killed.
func (h *Host) bootUp(ctx context.Context) error {
	if err := h.powerOn(ctx); err != nil {
		return err
	}
	if state, err := h.State(); err != nil || state != Running {
		return err
	}
	return h.booted(ctx)
}

// powerOn boots the host and waits until it answers on SSH. Daemons that wait for
// other hosts may take longer.
func (h *Host) powerOn(ctx context.Context) error {
	state, err := h.State()
	if err != nil {
		return err
	}
	switch state {
	case Frozen:
		return nil
	case Running:
		return nil
	}
	began := time.Now()
	say(h.lab.progress, h.Name, "booting")
	off, err := h.boot(ctx)
	if err != nil {
		return fmt.Errorf("power on %s: %w", h.Name, err)
	}
	if err := h.ready(ctx, off); err != nil {
		return err
	}
	say(h.lab.progress, h.Name, fmt.Sprintf("up after %.1f s", time.Since(began).Seconds()))
	return nil
}

// boot starts the host from its disks, making and filling them first if it
// has none. The channel tells when it goes off.
func (h *Host) boot(ctx context.Context) (off <-chan error, err error) {
	if err := os.MkdirAll(h.path(), 0o755); err != nil {
		return nil, err
	}
	if err := released(ctx, h.path()); err != nil { // of a host that just went off by itself
		return nil, err
	}
	if err := h.linkGone(ctx); err != nil {
		return nil, err
	}
	if err := h.removeGroups(); err != nil {
		return nil, err
	}
	_, err = os.Stat(h.freshMark())
	fresh := errors.Is(err, os.ErrNotExist)
	if err != nil && !fresh {
		return nil, err
	}
	if fresh {
		if err := h.makeDisks(ctx); err != nil {
			return nil, err
		}
	}
	err = onThread(func() error {
		if err := h.enterOwn(ctx, fresh); err != nil {
			return err
		}
		off, err = h.start(ctx)
		return err
	})
	return off, err
}

// enterOwn moves the calling thread to where the host is to live: into the
// lab's network and a mount namespace with the host's disks.
func (h *Host) enterOwn(ctx context.Context, fresh bool) error {
	if err := h.lab.enter(); err != nil {
		return err
	}
	if err := h.lab.ownMounts(); err != nil {
		return err
	}
	if err := h.mountDisks(ctx); err != nil {
		return err
	}
	if !fresh {
		return nil
	}
	if err := h.install(ctx); err != nil {
		return fmt.Errorf("installing: %w", err)
	}
	if err := h.syncDisk(); err != nil { // an installed system is on its disk
		return err
	}
	return writeFile(h.freshMark(), "", 0o644)
}

// removeGroups removes the control groups of the last boot. They must not be
// used again: a frozen one would start the host frozen, and the kernel counts
// the kills of a group, so that what systemd starts straight into an old
// group that was killed once is killed too (seen with Linux 6.18).
func (h *Host) removeGroups() error {
	groups, err := h.lab.cgroups()
	if err != nil {
		return err
	}
	for _, g := range groups {
		if err := removeGroup(filepath.Join(g, h.Name)); err != nil {
			return err
		}
	}
	return nil
}

func (h *Host) syncDisk() error {
	f, err := os.Open(h.path("disk"))
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

func (h *Host) freeze(ctx context.Context, on bool) error {
	group, err := h.cgroup()
	if err != nil {
		return err
	}
	if state, err := h.State(); err != nil {
		return err
	} else if state == Off {
		return fmt.Errorf("%s is off: nothing to freeze or thaw", h.Name)
	}
	value, word := "0", "thawed"
	if on {
		value, word = "1", "frozen"
	}
	if err := os.WriteFile(filepath.Join(group, "cgroup.freeze"), []byte(value), 0); err != nil {
		return err
	}
	err = until(ctx, 5*time.Millisecond, h.Name+": waiting to be "+word, func() bool {
		is, err := cgroupEvent(group, "frozen")
		return err == nil && is == on
	})
	if err == nil {
		say(h.lab.progress, h.Name, word)
	}
	return err
}
