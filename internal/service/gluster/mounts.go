package gluster

import (
	"bytes"
	"context"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/moby/sys/mountinfo"

	"multihead/internal/host"
)

// mountTable is the kernel's table of mounts, the last one made last.
type mountTable []*mountinfo.Info

func readMounts(ctx context.Context, r host.Reader) (mountTable, error) {
	data, err := r.ReadFile(ctx, "/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return mountinfo.GetMountsFromReader(bytes.NewReader(data), nil)
}

// at is what is mounted on dir itself; of several, the one on top.
func (t mountTable) at(dir string) (m *mountinfo.Info, ok bool) {
	dir = path.Clean(dir)
	for _, m := range slices.Backward(t) {
		if m.Mountpoint == dir {
			return m, true
		}
	}
	return nil, false
}

// holding is the directory of the mount that a path lies on, whether the path is there
// or not.
func (t mountTable) holding(p string) string {
	for d := path.Clean(p); ; d = path.Dir(d) {
		if _, ok := t.at(d); ok || d == "/" {
			return d
		}
	}
}

// whys collects what could not be found out, from looks that run at once.
type whys struct {
	mu   sync.Mutex
	said []string
}

func (w *whys) add(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = append(w.said, err.Error())
}

func (w *whys) String() string { return strings.Join(w.said, "; ") }
