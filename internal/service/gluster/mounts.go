package gluster

import (
	"context"
	"path"
	"strconv"
	"strings"
	"sync"

	"multihead/internal/host"
)

// mount is one line of the kernel's table of mounts.
type mount struct {
	dir    string
	kind   string // file system type
	source string
}

type mountTable []mount

func readMounts(ctx context.Context, r host.Reader) (mountTable, error) {
	data, err := r.ReadFile(ctx, "/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseMounts(string(data)), nil
}

// parseMounts reads /proc/self/mountinfo: the directory is the fifth word, and
// type and source follow the word that is a minus.
func parseMounts(data string) mountTable {
	var out mountTable
	for line := range strings.Lines(data) {
		left, right, ok := strings.Cut(line, " - ")
		before, after := strings.Fields(left), strings.Fields(right)
		if !ok || len(before) < 5 || len(after) < 2 {
			continue
		}
		out = append(out, mount{unescape(before[4]), after[0], unescape(after[1])})
	}
	return out
}

// unescape undoes the kernel's \040 for a blank and its like.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// at is what is mounted on dir itself; of several, the one on top.
func (t mountTable) at(dir string) (mount, bool) {
	dir = path.Clean(dir)
	for i := len(t) - 1; i >= 0; i-- {
		if t[i].dir == dir {
			return t[i], true
		}
	}
	return mount{}, false
}

// holding is the mount that a path lies on, whether the path is there or not.
func (t mountTable) holding(p string) mount {
	for d := path.Clean(p); ; d = path.Dir(d) {
		if m, ok := t.at(d); ok || d == "/" {
			m.dir = d
			return m
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
