package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Rewrite replaces the file at path as a whole or not at all, with the mode and
// owner it had. The old one stays beside it with .bak at its end, or where an
// older one is kept there already, with .bak and the time: kept says under which
// name. Where path is a symbolic link, the file that it leads to is replaced.
func Rewrite(path string, data []byte) (kept string, err error) {
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	mode, uid, gid := info.Mode().Perm(), -1, -1
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		uid, gid = int(st.Uid), int(st.Gid)
	}
	old, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("keep the old file: %w", err)
	}
	kept = path + ".bak"
	err = put(kept, old, mode, uid, gid, os.Link)
	if errors.Is(err, fs.ErrExist) {
		kept += "-" + time.Now().UTC().Format("20060102T150405.000000Z")
		err = put(kept, old, mode, uid, gid, os.Link)
	}
	if err != nil {
		return "", fmt.Errorf("keep the old file: %w", err)
	}
	return kept, put(path, data, mode, uid, gid, os.Rename)
}

// Rewritable says why Rewrite could not replace the file at path by data: it does all of
// it, but for the names. What could go wrong only after hosts have left goes wrong before.
func Rewritable(path string, data []byte) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	return put(path, data, 0o600, -1, -1, func(from, _ string) error {
		if err := os.Link(from, from+".bak"); err != nil {
			return err
		}
		return os.Remove(from + ".bak")
	})
}

// put writes a file beside path and then gives it its name: os.Rename takes the
// name from a file that has it, os.Link fails.
func put(path string, data []byte, mode os.FileMode, uid, gid int, name func(from, to string) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename there is nothing to remove
	if _, err = f.Write(data); err == nil {
		err = f.Chmod(mode)
	}
	if err == nil && uid >= 0 && os.Geteuid() == 0 {
		err = f.Chown(uid, gid)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return name(f.Name(), path)
}
