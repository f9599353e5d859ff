package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Each host has two disks: system (the overlay's upper half) and data. They
// are real file systems of their own, for three reasons: gluster's bricks
// need trusted xattrs, a disk must be able to fill up, and a power cut must
// lose what was not synced, which the kernel can be told to do to a whole
// file system only.

func (h *Host) systemImage() string { return h.path("system.img") }
func (h *Host) dataImage() string   { return h.path("data.img") }

// freshMark exists once a host's disks are whole and filled.
func (h *Host) freshMark() string { return h.path("installed") }

// makeDisks makes empty disks, over any half-made ones.
func (h *Host) makeDisks(ctx context.Context) error {
	for image, size := range map[string]int64{h.systemImage(): h.lab.Spec.System, h.dataImage(): h.lab.Spec.Data} {
		f, err := os.OpenFile(image, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
			return err
		}
		if _, err := run(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1", image); err != nil {
			return err
		}
	}
	return nil
}

// mountDisks mounts the disks and the overlay that is the host's root.
func (h *Host) mountDisks(ctx context.Context) error {
	for _, dir := range []string{"disk", "data", "root"} {
		if err := os.MkdirAll(h.path(dir), 0o755); err != nil {
			return err
		}
	}
	// noinit_itable: writing out empty inode tables in the background would
	// fill the sparse files for nothing.
	const options = "loop,discard,noinit_itable,errors=remount-ro"
	if _, err := run(ctx, "mount", "-o", options, h.systemImage(), h.path("disk")); err != nil {
		return err
	}
	if _, err := run(ctx, "mount", "-o", options, h.dataImage(), h.path("data")); err != nil {
		return err
	}
	for _, dir := range []string{"disk/upper", "disk/work"} {
		if err := os.MkdirAll(h.path(dir), 0o755); err != nil {
			return err
		}
	}
	overlay := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", h.lab.image.Root(), h.path("disk/upper"), h.path("disk/work"))
	if err := unix.Mount("multihead-lab", h.path("root"), "overlay", 0, overlay); err != nil {
		return fmt.Errorf("mounting the root of %s: %w", h.Name, err)
	}
	return nil
}

// unmountBelow unmounts everything below dir, the last mounted first. A
// process that is just ending can hold a mount for a moment, so it is patient.
func unmountBelow(ctx context.Context, dir string) error {
	ms, err := mounts()
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(ms) {
		if !strings.HasPrefix(m.target, dir+"/") {
			continue
		}
		var last error
		err := until(ctx, 10*time.Millisecond, "unmounting "+m.target, func() bool {
			last = unix.Unmount(m.target, unix.UMOUNT_NOFOLLOW)
			return last == nil || errors.Is(last, unix.EINVAL) || errors.Is(last, unix.ENOENT)
		})
		if err != nil {
			return fmt.Errorf("%w (%w)", err, last)
		}
	}
	return nil
}

// ext4Shutdown is EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32), with the flag for
// "do not write the journal out either".
const (
	ext4Shutdown   = 0x8004587d
	noLogFlush     = 2
	fileSystemThaw = 0xc0045878 // FITHAW
	fileSystemHold = 0xc0045877 // FIFREEZE
)

// cutDisk makes the file system stop dead: from now on nothing reaches the
// disk, and what was not synced is lost at the unmount. No mount, no loss.
func cutDisk(mountpoint string) error {
	mounted, err := isMounted(mountpoint)
	if err != nil || !mounted {
		return err
	}
	flag := uint32(noLogFlush)
	if err := ioctlPath(mountpoint, ext4Shutdown, &flag); err != nil && !errors.Is(err, unix.EIO) {
		return fmt.Errorf("cutting off %s: %w", mountpoint, err)
	}
	return nil
}

func isMounted(dir string) (bool, error) {
	ms, err := mounts()
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(ms, func(m mountPoint) bool { return m.target == dir }), nil
}

// loopsOf lists the loop devices whose backing file lies below dir.
func loopsOf(dir string) ([]string, error) {
	entries, err := os.ReadDir("/sys/block")
	if err != nil {
		return nil, err
	}
	var loops []string
	for _, e := range entries {
		backing, err := os.ReadFile("/sys/block/" + e.Name() + "/loop/backing_file")
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENXIO) {
			continue // no loop device, or a free one
		}
		if err == nil && strings.HasPrefix(string(backing), dir+"/") {
			loops = append(loops, "/dev/"+e.Name())
		}
	}
	return loops, nil
}
