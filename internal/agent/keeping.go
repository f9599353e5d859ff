package agent

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"multihead/internal/host"
)

// keeping is this machine as looks see it: they come back every second and find
// their sessions with the daemons again, and what they read of files that nobody
// has written since.
type keeping struct {
	host.Host
	mu    sync.Mutex
	kept  map[string]io.Closer
	files map[string]keptFile
	dirs  map[string]keptDir

	mounts   mountTable
	prefixes []string      // whose files are kept: settings, on the system disk
	settled  time.Duration // how long they have to be unwritten
}

// keptFile is a file as it was read.
type keptFile struct {
	stamp
	data []byte
}

// keptDir is a directory as it was listed.
type keptDir struct {
	stamp
	list []host.FileInfo
}

var _ host.Keeper = (*keeping)(nil)

func newKeeping(h host.Host) *keeping {
	return &keeping{Host: h, kept: map[string]io.Closer{}, files: map[string]keptFile{}, dirs: map[string]keptDir{},
		prefixes: []string{"/etc/", "/var/lib/glusterd/"}, settled: settledFor}
}

// Kept implements host.Keeper.
func (k *keeping) Kept(key string) io.Closer {
	k.mu.Lock()
	defer k.mu.Unlock()
	what := k.kept[key]
	delete(k.kept, key)
	return what
}

// Keep implements host.Keeper.
func (k *keeping) Keep(key string, what io.Closer) {
	k.mu.Lock()
	old := k.kept[key]
	k.kept[key] = what
	k.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
}

// settledFor is how long a file has to be unwritten before it is kept: two writes
// within one tick of the kernel's clock leave the same times.
const settledFor = 2 * time.Second

// stamp is what changes when a file is written, or something comes into a directory,
// leaves it or is renamed there.
type stamp struct {
	inode         uint64
	size          int64
	written, meta int64 // nanoseconds
}

// stampOf is asked of the system disk alone, where asking does not block unless
// everything does. ok is false for what is not kept, or is not there.
func (k *keeping) stampOf(path string) (s stamp, ok bool) {
	if !slices.ContainsFunc(k.prefixes, func(p string) bool { return strings.HasPrefix(path, p) }) {
		return stamp{}, false
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return stamp{}, false
	}
	return stamp{inode: st.Ino, size: st.Size, written: st.Mtim.Nano(), meta: st.Ctim.Nano()}, true
}

func (k *keeping) settledAt(s stamp) bool { return time.Since(time.Unix(0, s.meta)) > k.settled }

// ReadFile implements host.Reader. Settings are read again only when they were
// written, and the table of mounts when the kernel says that it is another.
func (k *keeping) ReadFile(ctx context.Context, path string) ([]byte, error) {
	if path == mountsFile {
		return k.mounts.read(func() ([]byte, error) { return k.Host.ReadFile(ctx, path) })
	}
	now, ok := k.stampOf(path)
	if !ok {
		return k.Host.ReadFile(ctx, path)
	}
	k.mu.Lock()
	have, known := k.files[path]
	k.mu.Unlock()
	if known && have.stamp == now {
		return bytes.Clone(have.data), nil
	}
	data, err := k.Host.ReadFile(ctx, path)
	if err == nil && k.settledAt(now) {
		k.mu.Lock()
		k.files[path] = keptFile{now, bytes.Clone(data)}
		k.mu.Unlock()
	}
	return data, err
}

// ReadDir implements host.Reader. Which names a directory of settings has is asked
// again when one came or went; their sizes and times are those of the first look.
func (k *keeping) ReadDir(ctx context.Context, path string) ([]host.FileInfo, error) {
	now, ok := k.stampOf(path)
	if !ok {
		return k.Host.ReadDir(ctx, path)
	}
	k.mu.Lock()
	have, known := k.dirs[path]
	k.mu.Unlock()
	if known && have.stamp == now {
		return slices.Clone(have.list), nil
	}
	list, err := k.Host.ReadDir(ctx, path)
	if err == nil && k.settledAt(now) {
		k.mu.Lock()
		k.dirs[path] = keptDir{now, slices.Clone(list)}
		k.mu.Unlock()
	}
	return list, err
}
