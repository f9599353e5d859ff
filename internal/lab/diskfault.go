package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Disk is one of a host's two disks.
type Disk string

// The disks of a host.
const (
	Data   Disk = "data"   // /data
	System Disk = "system" // everything else
)

// mounted is where the machine reaches the disk of a running host.
func (h *Host) mounted(d Disk) (string, error) {
	dir := "data"
	switch d {
	case Data:
	case System:
		dir = "disk"
	default:
		return "", fmt.Errorf("disk %q: use data or system", d)
	}
	path, err := h.diskPath(dir)
	if err == nil && path == "" {
		err = fmt.Errorf("%s is off: its disks are not in use", h.Name)
	}
	return path, err
}

const fillName = ".lab-fill"

// FillDisk takes all space of the disk but leave bytes. The space is only
// set aside, so it costs the machine nothing. Filling again sets it anew.
func (h *Host) FillDisk(d Disk, leave int64) error {
	path, err := h.mounted(d)
	if err != nil {
		return err
	}
	if err := h.FreeDisk(d); err != nil {
		return err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(path, fillName), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	want := int64(st.Bavail)*st.Bsize - leave
	size := int64(0)
	// The file's own bookkeeping needs blocks as well: when the whole does not
	// fit, smaller and smaller pieces fill what is left.
	for piece := want; size < want && piece >= st.Bsize; {
		err := unix.Fallocate(int(f.Fd()), 0, size, min(piece, want-size))
		switch {
		case err == nil:
			size += min(piece, want-size)
		case errors.Is(err, unix.ENOSPC):
			piece /= 2
		case !errors.Is(err, unix.EINTR):
			return fmt.Errorf("filling the %s disk of %s: %w", d, h.Name, err)
		}
	}
	say(h.lab.progress, h.Name, fmt.Sprintf("%s disk filled, %d MB taken", d, size>>20))
	return nil
}

// FreeDisk gives back what FillDisk took.
func (h *Host) FreeDisk(d Disk) error {
	path, err := h.mounted(d)
	if err != nil {
		return err
	}
	err = os.Remove(filepath.Join(path, fillName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// HoldDisk makes every write to the disk wait, as a disk does that hangs.
// Holding a held disk changes nothing.
func (h *Host) HoldDisk(d Disk) error { return h.hold(d, fileSystemHold, unix.EBUSY) }

// ReleaseDisk lets the waiting writes go on.
func (h *Host) ReleaseDisk(d Disk) error { return h.hold(d, fileSystemThaw, unix.EINVAL) }

func (h *Host) hold(d Disk, request uintptr, already error) error {
	path, err := h.mounted(d)
	if err != nil {
		return err
	}
	if err := ioctlPath(path, request, nil); err != nil && !errors.Is(err, already) {
		return err
	}
	return nil
}

// BreakDisk makes the file system find itself damaged, so that it turns
// read-only under the running host. Only PowerOff and PowerOn mend it.
func (h *Host) BreakDisk(_ context.Context, d Disk) error {
	path, err := h.mounted(d)
	if err != nil {
		return err
	}
	dev := device(path)
	link, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(dev), unix.Minor(dev)))
	if err != nil {
		return err
	}
	return os.WriteFile("/sys/fs/ext4/"+filepath.Base(link)+"/trigger_fs_error", []byte("lab"), 0)
}
