package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/moby/sys/mountinfo"
)

// writeFile writes a file and the directories above it, in one rename: a
// reader sees the old text or the new.
func writeFile(name, text string, perm os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(text)
	err = errors.Join(err, tmp.Chmod(perm), tmp.Close())
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return os.Rename(tmp.Name(), name)
}

// removeTree removes a directory, but never through a mount: what is mounted
// below may be anything, such as the machine's own /dev.
func removeTree(dir string) error {
	ms, err := mountinfo.GetMounts(nil)
	if err != nil {
		return err
	}
	for _, m := range ms {
		if m.Mountpoint == dir || strings.HasPrefix(m.Mountpoint, dir+"/") {
			return fmt.Errorf("not removing %s: %s is mounted there", dir, m.Mountpoint)
		}
	}
	return os.RemoveAll(dir)
}

func writeJSON(name string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(name, string(data)+"\n", 0o644)
}

// lockFile takes an exclusive lock that the kernel drops when the process
// ends, however it ends. waiting is called once if somebody else holds it.
func lockFile(ctx context.Context, name string, waiting func()) (unlock func(), err error) {
	told := false
	for {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		// The holder before us may have removed the file: then ours is no
		// lock against those who come after.
		if err == nil && sameFile(f, name) {
			return func() { f.Close() }, nil
		}
		f.Close()
		if err != nil && !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		if err != nil && !told {
			told = true
			waiting()
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the lock %s: %w", name, context.Cause(ctx))
		case <-time.After(50 * time.Millisecond): // flock cannot be awaited together with ctx
		}
	}
}

func sameFile(f *os.File, name string) bool {
	a, err1 := f.Stat()
	b, err2 := os.Stat(name)
	return err1 == nil && err2 == nil && os.SameFile(a, b)
}

// until polls a condition of the kernel or of a host that cannot be waited
// for otherwise.
func until(ctx context.Context, every time.Duration, what string, cond func() bool) error {
	for !cond() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		case <-time.After(every):
		}
	}
	return nil
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
