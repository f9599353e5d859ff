package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// inTime runs f and gives up waiting for it at the deadline. A file system
// whose server is gone (Gluster without quorum, hard NFS) blocks for ever in
// the kernel, and no signal ends that: f's goroutine stays until the file
// system answers, and its late result is dropped.
func inTime[T any](ctx context.Context, name, what string, f func() (T, error)) (T, error) {
	return inTimeBy(ctx, here, name, what, f)
}

func here(f func()) { go f() }

// inTimeBy is inTime where run starts f: apart, for what opens a file that may lie on
// such a file system.
func inTimeBy[T any](ctx context.Context, run func(func()), name, what string, f func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	if err := ctx.Err(); err != nil {
		var zero T
		return zero, fmt.Errorf("%s: %s: %w", name, what, err)
	}
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	done := make(chan result, 1)
	run(func() {
		v, err := f()
		done <- result{v, err}
	})
	select {
	case r := <-done:
		if r.err != nil {
			return r.v, fmt.Errorf("%s: %w", name, r.err)
		}
		return r.v, nil
	case <-ctx.Done():
		var zero T
		return zero, fmt.Errorf("%s: %s: %w", name, what, ctx.Err())
	}
}

func (l *Local) change(ctx context.Context, what string, f func() error) error {
	_, err := inTime(ctx, l.name, what, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

// ReadFile implements Reader. It follows symbolic links and refuses what is
// not a regular file: a pipe would block.
func (l *Local) ReadFile(ctx context.Context, path string) ([]byte, error) {
	run := apart
	if strings.HasPrefix(path, "/proc/") || strings.HasPrefix(path, "/sys/") {
		run = here // the kernel's own, which is most of what an agent reads
	}
	return inTimeBy(ctx, run, l.name, "read "+path, func() ([]byte, error) { return readFile(path) })
}

// readFile reads a file with five calls to the kernel. os.File would make it
// eight, for it tries to be told when a file is ready, which no regular file
// can; an agent reads some thirty files a second.
func readFile(path string) ([]byte, error) {
	fail := func(err error) error { return &fs.PathError{Op: "read", Path: path, Err: err} }
	fd, err := uninterrupted(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fail(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fail(errors.New("not a regular file"))
	}
	// One byte more than there is: the read that finds the end needs room. What
	// the kernel makes up has no size.
	data := make([]byte, 0, max(min(int(st.Size), MaxFile)+1, 1024))
	for {
		n, err := uninterrupted(func() (int, error) { return unix.Read(fd, data[len(data):cap(data)]) })
		if err != nil {
			return nil, fail(err)
		}
		if n == 0 {
			return data, nil
		}
		if data = data[:len(data)+n]; len(data) > MaxFile {
			return nil, fail(fmt.Errorf("larger than %d bytes", MaxFile))
		}
		if len(data) == cap(data) {
			data = slices.Grow(data, len(data))
		}
	}
}

// uninterrupted repeats a call to the kernel that a signal cut short.
func uninterrupted(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// Stat implements Reader.
func (l *Local) Stat(ctx context.Context, path string) (FileInfo, error) {
	return inTime(ctx, l.name, "stat "+path, func() (FileInfo, error) {
		l.names.fresh()
		return stat(ctx, path, &l.names)
	})
}

// ReadDir implements Reader.
func (l *Local) ReadDir(ctx context.Context, path string) ([]FileInfo, error) {
	return inTime(ctx, l.name, "list "+path, func() ([]FileInfo, error) {
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		l.names.fresh()
		infos := make([]FileInfo, 0, len(entries))
		for _, e := range entries {
			fi, err := stat(ctx, filepath.Join(path, e.Name()), &l.names)
			if errors.Is(err, fs.ErrNotExist) {
				continue // gone since it was listed
			}
			if err != nil {
				return nil, err
			}
			infos = append(infos, fi)
		}
		return infos, nil
	})
}

func stat(ctx context.Context, path string, known *names) (FileInfo, error) {
	fi, err := os.Lstat(path)
	if err != nil {
		return FileInfo{}, err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return FileInfo{}, &fs.PathError{Op: "stat", Path: path, Err: errors.New("no owner known")}
	}
	info := FileInfo{
		Name: fi.Name(), Mode: fi.Mode(), Size: fi.Size(), ModTime: sane(fi.ModTime()),
		Owner: known.user(ctx, st.Uid), Group: known.group(ctx, st.Gid),
		Device: st.Dev, Inode: st.Ino,
	}
	if fi.Mode()&fs.ModeSymlink != 0 {
		if info.Target, err = os.Readlink(path); err != nil {
			return FileInfo{}, err
		}
	}
	return info, nil
}

// WriteFile implements Host: a temporary file beside the target, complete and
// on the disk, takes the target's place, and the directory is on the disk too
// before it returns.
func (l *Local) WriteFile(ctx context.Context, path string, data []byte, attr Attr) error {
	if len(data) > MaxFile {
		return fmt.Errorf("%s: write %s: larger than %d bytes", l.name, path, MaxFile)
	}
	return l.change(ctx, "write "+path, func() error {
		uid, gid, err := ids(ctx, attr)
		if err != nil {
			return err
		}
		mode := attr.Mode
		old, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if mode == 0 {
				mode = 0o644
			}
		case err != nil:
			return err
		case !old.Mode().IsRegular():
			return &fs.PathError{Op: "write", Path: path, Err: fmt.Errorf("is a %s, not a file: not replaced", kind(old.Mode()))}
		default:
			st := old.Sys().(*syscall.Stat_t)
			if mode == 0 {
				mode = old.Mode()
			}
			if uid < 0 {
				uid = int(st.Uid)
			}
			if gid < 0 {
				gid = int(st.Gid)
			}
		}
		return replace(path, data, mode, uid, gid, attr.ModTime)
	})
}

func replace(path string, data []byte, mode fs.FileMode, uid, gid int, mtime time.Time) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".multihead-*") // mode 0600 until it has its owner
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Chown(uid, gid); err != nil {
		return err
	}
	if err = f.Chmod(Bits(mode)); err != nil { // after chown, which clears setuid
		return err
	}
	keepLabel(path, f)
	if !mtime.IsZero() {
		if err = os.Chtimes(f.Name(), mtime, mtime); err != nil {
			return err
		}
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// keepLabel carries the SELinux label of the file over to the one that takes
// its place. Where there is none, or it is not permitted, the label that the
// directory gives is right.
func keepLabel(path string, f *os.File) {
	label := make([]byte, 256)
	if n, err := unix.Lgetxattr(path, "security.selinux", label); err == nil && n > 0 {
		_ = unix.Fsetxattr(int(f.Fd()), "security.selinux", label[:n], 0)
	}
}

// Mkdir implements Host.
func (l *Local) Mkdir(ctx context.Context, path string, attr Attr) error {
	return l.change(ctx, "mkdir "+path, func() error {
		if _, _, err := ids(ctx, attr); err != nil {
			return err
		}
		err := os.Mkdir(path, 0o700)
		switch {
		case err == nil:
			if attr.Mode == 0 {
				attr.Mode = 0o755
			}
		case errors.Is(err, fs.ErrExist):
			fi, serr := os.Lstat(path)
			if serr != nil {
				return serr
			}
			if !fi.IsDir() {
				return err
			}
		default:
			return err
		}
		if err := setAttr(ctx, path, attr); err != nil {
			return err
		}
		return syncDir(filepath.Dir(path))
	})
}

// SetAttr implements Host. It refuses symbolic links: what they point to is
// another path with attributes of its own.
func (l *Local) SetAttr(ctx context.Context, path string, attr Attr) error {
	return l.change(ctx, "set attributes of "+path, func() error {
		fi, err := os.Lstat(path)
		if err != nil {
			return err
		}
		if fi.Mode()&fs.ModeSymlink != 0 {
			return &fs.PathError{Op: "set attributes", Path: path, Err: errors.New("is a symbolic link")}
		}
		return setAttr(ctx, path, attr)
	})
}

func setAttr(ctx context.Context, path string, attr Attr) error {
	uid, gid, err := ids(ctx, attr)
	if err != nil {
		return err
	}
	fi, err := os.Lstat(path)
	if err != nil {
		return err
	}
	mode := fi.Mode()
	if attr.Mode != 0 {
		mode = attr.Mode
	}
	if uid >= 0 || gid >= 0 {
		if err := os.Lchown(path, uid, gid); err != nil {
			return err
		}
	}
	if err := os.Chmod(path, Bits(mode)); err != nil { // after chown, which clears setuid
		return err
	}
	if !attr.ModTime.IsZero() {
		return os.Chtimes(path, attr.ModTime, attr.ModTime)
	}
	return nil
}

// Remove implements Host.
func (l *Local) Remove(ctx context.Context, path string) error {
	return l.change(ctx, "remove "+path, func() error {
		if err := os.Remove(path); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		return syncDir(filepath.Dir(path))
	})
}

// Rename implements Host.
func (l *Local) Rename(ctx context.Context, oldPath, newPath string) error {
	return l.change(ctx, "rename "+oldPath, func() error {
		if fi, err := os.Lstat(newPath); err == nil && fi.IsDir() {
			return &fs.PathError{Op: "rename", Path: newPath, Err: fs.ErrExist}
		}
		if err := os.Rename(oldPath, newPath); err != nil {
			return err
		}
		if err := syncDir(filepath.Dir(newPath)); err != nil {
			return err
		}
		return syncDir(filepath.Dir(oldPath))
	})
}

// Symlink implements Host.
func (l *Local) Symlink(ctx context.Context, target, path string) error {
	return l.change(ctx, "link "+path, func() error {
		fi, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if err := os.Symlink(target, path); err != nil {
				return err
			}
			return syncDir(filepath.Dir(path))
		case err != nil:
			return err
		case fi.Mode()&fs.ModeSymlink == 0:
			return &fs.PathError{Op: "link", Path: path, Err: fs.ErrExist}
		}
		if now, err := os.Readlink(path); err == nil && now == target {
			return nil
		}
		beside := fmt.Sprintf("%s.multihead-%d", path, time.Now().UnixNano())
		if err := os.Symlink(target, beside); err != nil {
			return err
		}
		if err := os.Rename(beside, path); err != nil {
			return errors.Join(err, os.Remove(beside))
		}
		return syncDir(filepath.Dir(path))
	})
}

// syncDir puts a directory's entries on the disk. File systems that cannot
// (some network ones answer EINVAL) have nothing to lose by it.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed by someone else since: nothing to keep
	}
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	return nil
}

func kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "directory"
	case m&fs.ModeSymlink != 0:
		return "symbolic link"
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeNamedPipe != 0:
		return "pipe"
	}
	return "special file"
}

// sane is a file's time, or the zero time for one that is none: GlusterFS has
// been seen to give the root of a volume that has just got its second brick a
// time millions of years away, which no format for times can carry.
func sane(t time.Time) time.Time {
	if y := t.Year(); y < 1 || y > 9999 {
		return time.Time{}
	}
	return t
}
