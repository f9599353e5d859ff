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

	prefixes []string      // whose files are kept: settings, on the system disk
	settled  time.Duration // how long they have to be unwritten
}

// keptFile is a file as it was read, with what changes when it is written.
type keptFile struct {
	inode         uint64
	size          int64
	written, meta int64 // nanoseconds
	data          []byte
}

var _ host.Keeper = (*keeping)(nil)

func newKeeping(h host.Host) *keeping {
	return &keeping{Host: h, kept: map[string]io.Closer{}, files: map[string]keptFile{},
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

// ReadFile implements host.Reader. Settings are read again only when they were
// written; that is asked of the system disk alone, where asking does not block
// unless everything does.
func (k *keeping) ReadFile(ctx context.Context, path string) ([]byte, error) {
	if !slices.ContainsFunc(k.prefixes, func(p string) bool { return strings.HasPrefix(path, p) }) {
		return k.Host.ReadFile(ctx, path)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return k.Host.ReadFile(ctx, path)
	}
	now := keptFile{inode: st.Ino, size: st.Size, written: st.Mtim.Nano(), meta: st.Ctim.Nano()}
	k.mu.Lock()
	have, ok := k.files[path]
	k.mu.Unlock()
	if ok && have.inode == now.inode && have.size == now.size && have.written == now.written && have.meta == now.meta {
		return bytes.Clone(have.data), nil
	}
	data, err := k.Host.ReadFile(ctx, path)
	if err == nil && time.Since(time.Unix(0, now.meta)) > k.settled {
		now.data = bytes.Clone(data)
		k.mu.Lock()
		k.files[path] = now
		k.mu.Unlock()
	}
	return data, err
}
