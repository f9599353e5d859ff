package hosttest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"multihead/internal/host"
)

// maxLinks is how many symbolic links one path may lead through.
const maxLinks = 40

func (m *Machine) fail(op, p string, err error) error {
	return fmt.Errorf("%s: %w", m.name, &fs.PathError{Op: op, Path: p, Err: err})
}

// at resolves the directory part of p through symbolic links and returns the
// path that p means, without following the last element.
func (m *Machine) at(p string) (string, error) {
	if !path.IsAbs(p) {
		return "", errors.New("not an absolute path")
	}
	p = path.Clean(p)
	if p == "/" {
		return p, nil
	}
	dir, err := m.follow(path.Dir(p), maxLinks)
	if err != nil {
		return "", err
	}
	n, ok := m.nodes[dir]
	if !ok {
		return "", fs.ErrNotExist
	}
	if !n.mode.IsDir() {
		return "", errors.New("not a directory")
	}
	return path.Join(dir, path.Base(p)), nil
}

// follow resolves every symbolic link in p.
func (m *Machine) follow(p string, left int) (string, error) {
	if left == 0 {
		return "", errors.New("too many levels of symbolic links")
	}
	at := "/"
	for part := range strings.SplitSeq(strings.Trim(p, "/"), "/") {
		if part == "" {
			continue
		}
		next := path.Join(at, part)
		if n, ok := m.nodes[next]; ok && n.mode&fs.ModeSymlink != 0 {
			target := n.target
			if !path.IsAbs(target) {
				target = path.Join(at, target)
			}
			var err error
			if next, err = m.follow(target, left-1); err != nil {
				return "", err
			}
		}
		at = next
	}
	return at, nil
}

func (m *Machine) info(name string, n *node) host.FileInfo {
	return host.FileInfo{
		Name: path.Base(name), Mode: n.mode, Size: int64(len(n.data)), ModTime: n.mtime,
		Owner: n.owner, Group: n.group, Target: n.target, Device: n.device, Inode: n.inode,
	}
}

// ReadFile implements host.Reader.
func (m *Machine) ReadFile(ctx context.Context, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.up(ctx); err != nil {
		return nil, err
	}
	p, err := m.follow(name, maxLinks)
	if err != nil {
		return nil, m.fail("read", name, err)
	}
	n, ok := m.nodes[p]
	switch {
	case !ok:
		return nil, m.fail("open", name, fs.ErrNotExist)
	case !n.mode.IsRegular():
		return nil, m.fail("read", name, errors.New("not a regular file"))
	}
	return slices.Clone(n.data), nil
}

// Stat implements host.Reader.
func (m *Machine) Stat(ctx context.Context, name string) (host.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.up(ctx); err != nil {
		return host.FileInfo{}, err
	}
	p, err := m.at(name)
	if err != nil {
		return host.FileInfo{}, m.fail("lstat", name, err)
	}
	n, ok := m.nodes[p]
	if !ok {
		return host.FileInfo{}, m.fail("lstat", name, fs.ErrNotExist)
	}
	return m.info(p, n), nil
}

// ReadDir implements host.Reader.
func (m *Machine) ReadDir(ctx context.Context, name string) ([]host.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.up(ctx); err != nil {
		return nil, err
	}
	dir, err := m.follow(name, maxLinks)
	if err != nil {
		return nil, m.fail("open", name, err)
	}
	n, ok := m.nodes[dir]
	switch {
	case !ok:
		return nil, m.fail("open", name, fs.ErrNotExist)
	case !n.mode.IsDir():
		return nil, m.fail("readdir", name, errors.New("not a directory"))
	}
	infos := []host.FileInfo{}
	for _, p := range m.children(dir) {
		infos = append(infos, m.info(p, m.nodes[p]))
	}
	return infos, nil
}

func (m *Machine) children(dir string) []string {
	var out []string
	for _, p := range slices.Sorted(maps.Keys(m.nodes)) {
		if p != "/" && path.Dir(p) == dir {
			out = append(out, p)
		}
	}
	return out
}

// change begins a change of one path: it resolves it and asks Before.
func (m *Machine) change(ctx context.Context, op, name string) (string, error) {
	if err := m.up(ctx); err != nil {
		return "", err
	}
	p, err := m.at(name)
	if err != nil {
		return "", m.fail(op, name, err)
	}
	if m.before != nil {
		if err := m.before(op, p); err != nil {
			return "", m.fail(op, name, err)
		}
	}
	return p, nil
}

// WriteFile implements host.Host. A write is recorded even where it changes
// nothing: on a real host it makes a new inode.
func (m *Machine) WriteFile(ctx context.Context, name string, data []byte, attr host.Attr) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, err := m.change(ctx, "write", name)
	if err != nil {
		return err
	}
	n := m.newNode(0o644, host.Attr{})
	if old, ok := m.nodes[p]; ok {
		if !old.mode.IsRegular() {
			return m.fail("write", name, errors.New("is not a file: not replaced"))
		}
		n.mode, n.owner, n.group = old.mode, old.owner, old.group
	}
	n.set(attr)
	n.data = slices.Clone(data)
	n.device = m.nodes[path.Dir(p)].device
	m.nodes[p] = n
	m.record(Change{Op: "write", Path: p, Data: slices.Clone(data), Attr: attr})
	return nil
}

// Mkdir implements host.Host.
func (m *Machine) Mkdir(ctx context.Context, name string, attr host.Attr) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, err := m.change(ctx, "mkdir", name)
	if err != nil {
		return err
	}
	n, ok := m.nodes[p]
	switch {
	case !ok:
		n = m.newNode(fs.ModeDir|0o755, host.Attr{})
		n.device = m.nodes[path.Dir(p)].device
		m.nodes[p] = n
	case !n.mode.IsDir():
		return m.fail("mkdir", name, fs.ErrExist)
	}
	n.set(attr)
	m.record(Change{Op: "mkdir", Path: p, Attr: attr})
	return nil
}

// SetAttr implements host.Host.
func (m *Machine) SetAttr(ctx context.Context, name string, attr host.Attr) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, err := m.change(ctx, "attr", name)
	if err != nil {
		return err
	}
	n, ok := m.nodes[p]
	switch {
	case !ok:
		return m.fail("attr", name, fs.ErrNotExist)
	case n.mode&fs.ModeSymlink != 0:
		return m.fail("attr", name, errors.New("is a symbolic link"))
	}
	n.set(attr)
	m.record(Change{Op: "attr", Path: p, Attr: attr})
	return nil
}

// Remove implements host.Host.
func (m *Machine) Remove(ctx context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, err := m.change(ctx, "remove", name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	n, ok := m.nodes[p]
	if !ok {
		return nil
	}
	if n.mode.IsDir() && len(m.children(p)) > 0 {
		return m.fail("remove", name, errors.New("directory not empty"))
	}
	delete(m.nodes, p)
	m.record(Change{Op: "remove", Path: p})
	return nil
}

// Rename implements host.Host.
func (m *Machine) Rename(ctx context.Context, oldName, newName string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, err := m.change(ctx, "rename", oldName)
	if err != nil {
		return err
	}
	to, err := m.at(newName)
	if err != nil {
		return m.fail("rename", newName, err)
	}
	n, ok := m.nodes[from]
	if !ok {
		return m.fail("rename", oldName, fs.ErrNotExist)
	}
	if there, ok := m.nodes[to]; ok && (there.mode.IsDir() || n.mode.IsDir()) {
		return m.fail("rename", newName, fs.ErrExist)
	}
	for p, moved := range maps.Clone(m.nodes) {
		if rest, below := strings.CutPrefix(p, from+"/"); below {
			delete(m.nodes, p)
			m.nodes[to+"/"+rest] = moved
		}
	}
	delete(m.nodes, from)
	m.nodes[to] = n
	m.record(Change{Op: "rename", Path: to, From: from})
	return nil
}

// Symlink implements host.Host.
func (m *Machine) Symlink(ctx context.Context, target, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, err := m.change(ctx, "symlink", name)
	if err != nil {
		return err
	}
	if n, ok := m.nodes[p]; ok {
		if n.mode&fs.ModeSymlink == 0 {
			return m.fail("symlink", name, fs.ErrExist)
		}
		if n.target == target {
			return nil
		}
	}
	n := m.newNode(fs.ModeSymlink|0o777, host.Attr{})
	n.target = target
	m.nodes[p] = n
	m.record(Change{Op: "symlink", Path: p})
	return nil
}

func (m *Machine) record(c Change) { m.changes = append(m.changes, c) }
