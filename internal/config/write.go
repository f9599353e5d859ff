package config

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// WriteFile replaces the file at path as a whole or not at all, with the mode
// and owner it had, or mode 0600 when it is new. keepOld leaves the old one
// beside it with .bak at its end.
func WriteFile(path string, data []byte, keepOld bool) error {
	mode := os.FileMode(0o600)
	uid, gid := -1, -1
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			uid, gid = int(st.Uid), int(st.Gid)
		}
	}
	if keepOld {
		old, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("keep the old file: %w", err)
		}
		if err := replace(path+".bak", old, mode, uid, gid); err != nil {
			return fmt.Errorf("keep the old file: %w", err)
		}
	}
	return replace(path, data, mode, uid, gid)
}

func replace(path string, data []byte, mode os.FileMode, uid, gid int) error {
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
	return os.Rename(f.Name(), path)
}
