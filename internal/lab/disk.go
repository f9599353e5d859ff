package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Each host has two disks: system (the overlay's upper half) and data. They
// are real file systems of their own, for three reasons: gluster's bricks
// need trusted xattrs, a disk must be able to fill up, and a power cut must
// lose what was not synced, which the kernel can be told to do to a whole
// file system only.
//
// They are mounted in a mount namespace that only the host's own processes
// are in. So nobody else can hold them, and when the host is gone, however
// that came about, the kernel unmounts them: nothing can stay mounted.

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

// ownMounts gives the calling thread a mount namespace of its own, without
// what other labs and hosts have mounted.
func (l *Lab) ownMounts() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mount namespace: %w", err)
	}
	if err := detachBelow(labsDir(l.base)); err != nil {
		return err
	}
	// systemd-nspawn keeps its locks and sockets here and does not clean up
	// when it is killed.
	if err := os.MkdirAll(nspawnState, 0o755); err != nil {
		return err
	}
	return unix.Mount("multihead-lab", nspawnState, "tmpfs", 0, "mode=0755,size=1m")
}

const nspawnState = "/run/systemd/nspawn"

// detachBelow unmounts everything below dir, the last mounted first, also
// what is in use: those who use it keep it, nobody else finds it.
func detachBelow(dir string) error {
	ms, err := mountinfo.GetMounts(nil)
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(ms) {
		if !strings.HasPrefix(m.Mountpoint, dir+"/") {
			continue
		}
		err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: went with another
			return fmt.Errorf("unmounting %s: %w", m.Mountpoint, err)
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
	// fill the sparse files for nothing. No discard: with it, a file system
	// that is cut off still gives back blocks whose freeing never reached its
	// journal, and comes up damaged (seen in most cuts under load).
	const options = "loop,noinit_itable,errors=remount-ro"
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

// diskPath is where the machine reaches a mounted disk ("disk" or "data") of
// a running host: through its supervisor, as nobody else sees the mount. It
// is "" when there is none.
func (h *Host) diskPath(disk string) (string, error) {
	pids, err := h.pids("supervisor", "")
	if err != nil {
		return "", err
	}
	for _, pid := range pids {
		path := fmt.Sprintf("/proc/%d/root%s", pid, h.path(disk))
		if st, up := device(path), device(filepath.Dir(path)); st != 0 && st != up {
			return path, nil
		}
	}
	return "", nil
}

// device is the number of the file system that path is on, 0 if unknown.
func device(path string) uint64 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	return st.Dev
}

// The ioctls of file systems as a whole.
const (
	ext4Shutdown   = 0x8004587d // EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32)
	noLogFlush     = 2          // its flag for: do not write the journal out either
	fileSystemHold = 0xc0045877 // FIFREEZE
	fileSystemThaw = 0xc0045878 // FITHAW
)

// cutDisks makes the host's file systems stop dead: from now on nothing
// reaches the disks, and what was not synced is lost when they go.
func (h *Host) cutDisks() error {
	for _, disk := range []string{"data", "disk"} {
		path, err := h.diskPath(disk)
		if err != nil {
			return err
		}
		if path == "" {
			continue
		}
		flag := uint32(noLogFlush)
		if err := ioctlPath(path, ext4Shutdown, &flag); err != nil && !errors.Is(err, unix.EIO) {
			return fmt.Errorf("cutting off %s of %s: %w", disk, h.Name, err)
		}
		_ = ioctlPath(path, fileSystemThaw, nil) // a held file system could not be unmounted; EINVAL: it was not held
	}
	return nil
}

// released waits until the kernel has let go of the host's disks, which it
// does shortly after the last process that saw them.
func released(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return until(ctx, 5*time.Millisecond, "waiting for the kernel to release the disks in "+dir, func() bool {
		loops, err := loopsOf(dir)
		return err == nil && len(loops) == 0
	})
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
