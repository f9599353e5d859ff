package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Snapshot keeps the disks of all hosts under a name, as they are at one
// moment: all hosts stand still while they are copied. Booted from it, a host
// finds what it would after a power cut right after a sync.
func (l *Lab) Snapshot(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return l.locked(ctx, func() (err error) {
		var frozen []*Host
		defer func() {
			for _, h := range frozen {
				err = errors.Join(err, h.freeze(context.WithoutCancel(ctx), false))
			}
		}()
		for _, h := range l.hosts {
			state, err := h.State()
			if err != nil {
				return err
			}
			if state == Running {
				frozen = append(frozen, h) // before it is: half frozen is to be thawed too
				if err := h.freeze(ctx, true); err != nil {
					return err
				}
			}
		}
		return l.each(nil, func(h *Host) error { return h.keepDisks(ctx, name) })
	})
}

// keepDisks copies the host's disks. A mounted one is held meanwhile, which
// also writes out all of it.
func (h *Host) keepDisks(ctx context.Context, name string) error {
	var held []string
	defer func() {
		for _, path := range held {
			_ = ioctlPath(path, fileSystemThaw, nil) // EINVAL: it was not held after all
		}
	}()
	for _, disk := range []string{"data", "disk"} {
		path, err := h.diskPath(disk)
		if err != nil {
			return err
		}
		if path == "" {
			continue
		}
		if err := ioctlPath(path, fileSystemHold, nil); err != nil {
			return fmt.Errorf("holding %s of %s: %w", disk, h.Name, err)
		}
		held = append(held, path)
	}
	dir := h.path("snapshots", name)
	building := dir + ".new"
	if err := os.RemoveAll(building); err != nil { // of a tool that was killed
		return err
	}
	if err := os.MkdirAll(building, 0o700); err != nil {
		return err
	}
	if err := copyDisks(ctx, h.path(), building); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(building, dir)
}

// Reset brings hosts (all, if none is named) back to a snapshot, or with ""
// to freshly installed, and boots them. It takes a second or two.
func (l *Lab) Reset(ctx context.Context, snapshot string, hosts ...string) error {
	return l.locked(ctx, func() error {
		if snapshot != "" {
			picked, err := l.pick(hosts)
			if err != nil {
				return err
			}
			for _, h := range picked { // before anything is thrown away
				if !exists(h.path("snapshots", snapshot)) {
					return fmt.Errorf("%s has no snapshot %q (multihead lab snapshot %s makes one)", h.Name, snapshot, snapshot)
				}
			}
		}
		if err := l.each(hosts, func(h *Host) error { return h.putBack(ctx, snapshot) }); err != nil {
			return err
		}
		return l.each(hosts, func(h *Host) error { return h.bootUp(ctx) })
	})
}

func (h *Host) putBack(ctx context.Context, snapshot string) error {
	if err := h.powerOff(ctx); err != nil {
		return err
	}
	// From here until the disks are back, the host counts as not installed.
	if err := os.Remove(h.freshMark()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if snapshot == "" {
		return nil // the next boot installs it
	}
	if err := copyDisks(ctx, h.path("snapshots", snapshot), h.path()); err != nil {
		return err
	}
	return writeFile(h.freshMark(), "", 0o644)
}

// copyDisks copies both disks, leaving holes as holes.
func copyDisks(ctx context.Context, from, to string) error {
	for _, image := range []string{"system.img", "data.img"} {
		if _, err := run(ctx, "cp", "--sparse=always", "--reflink=auto", filepath.Join(from, image), filepath.Join(to, image)); err != nil {
			return err
		}
	}
	return nil
}
