package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// LockPath is the lock that a process holds while it changes a machine. /run
// is empty after a boot, so no lock outlives the machine.
const LockPath = "/run/multihead/lock"

// ErrLost is matched by the error of a call whose answer never came because
// the connection ended. A change may or may not have been made.
var ErrLost = errors.New("connection lost")

// Owner says who holds a lock, for the person who finds it taken.
type Owner struct {
	User    string    `json:"user"`    // the person, as the tool's machine knows them
	From    string    `json:"from"`    // hostname of the machine the tool runs on
	PID     int       `json:"pid"`     // of the tool, there
	Tool    string    `json:"tool"`    // its version
	Purpose string    `json:"purpose"` // the command: "up --join"
	Since   time.Time `json:"since"`   // set by the locked machine's clock
	// Orphaned means that the tool is gone, and the machine is only still
	// finishing the command that it was running. The lock goes when it ends.
	Orphaned bool `json:"orphaned,omitempty"`
	// Yields means that the holder lets go, at the end of the step it is at, once
	// another asks: an agent that recovers, to a person.
	Yields bool `json:"yields,omitempty"`
}

// LockedError is a lock that someone else holds.
type LockedError struct {
	Host  string
	Owner Owner
	Age   time.Duration // by the locked machine's clock
	Asked bool          // one that does not give way has asked for it, and waits
}

// Error says who holds the lock, since when, and for what.
func (e *LockedError) Error() string {
	o := e.Owner
	if o.Since.IsZero() {
		return fmt.Sprintf("%s is locked by another multihead that has not said who it is", e.Host)
	}
	s := fmt.Sprintf("%s is locked by %s (%s@%s pid %d, multihead %s) for %s",
		e.Host, o.Purpose, o.User, o.From, o.PID, o.Tool, e.Age.Round(time.Second))
	if o.Orphaned {
		s += "; that run was cut off, and the host is finishing its last command"
	}
	return s
}

// Locker is a machine that can be locked. Local machines and remote ones are.
type Locker interface {
	// Lock takes the machine's lock at once or returns a *LockedError. It is
	// held until the lease is released or the process that holds it ends, by
	// whatever cause; no stale lock can stay behind. A holder that gives way is
	// thereby asked to; one that would is refused while another has asked.
	Lock(ctx context.Context, owner Owner) (Lease, error)
	// Holder says who holds the lock now, nil for nobody. It only looks, unless
	// asking is somebody who wants the lock: then who gives way is asked to, and
	// takes no lock anew for a while.
	Holder(ctx context.Context, asking *Owner) (*LockedError, error)
}

// Lease is a lock that is held.
type Lease interface {
	// Release gives the lock back. Releasing twice is no error.
	Release(ctx context.Context) error
}

var _ Locker = (*Local)(nil)

// FileLease is a lock held by this process through an open file.
type FileLease struct {
	local *Local
	f     *os.File
	owner Owner
}

// Lock implements Locker. The lock lies at LockPath unless LockAt moved it.
func (l *Local) Lock(ctx context.Context, owner Owner) (Lease, error) {
	path := l.lockPath()
	return inTime(ctx, l.name, "lock", func() (Lease, error) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		if other := l.asked(); owner.Yields && other != nil {
			return nil, other
		}
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			defer func() { _ = f.Close() }()
			if errors.Is(err, syscall.EWOULDBLOCK) {
				held := l.lockedError(f)
				if held.Owner.Yields && !owner.Yields {
					return nil, errors.Join(held, l.ask(owner))
				}
				return nil, held
			}
			return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
		}
		owner.Since, owner.Orphaned = time.Now(), false
		lease := &FileLease{local: l, f: f, owner: owner}
		if err := lease.write(); err != nil {
			_ = f.Close()
			return nil, err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.leases == nil {
			l.leases = map[*FileLease]bool{}
		}
		l.leases[lease] = true
		return lease, nil
	})
}

// Holder implements Locker.
func (l *Local) Holder(ctx context.Context, asking *Owner) (*LockedError, error) {
	path := l.lockPath()
	return inTime(ctx, l.name, "look at the lock", func() (*LockedError, error) {
		if asking != nil && !asking.Yields {
			err := os.MkdirAll(filepath.Dir(path), 0o755)
			if err = errors.Join(err, l.ask(*asking)); err != nil {
				return nil, err
			}
		}
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
		switch {
		case err == nil:
			return nil, nil // closing gives the shared lock back
		case errors.Is(err, syscall.EWOULDBLOCK):
			return l.lockedError(f), nil
		}
		return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
	})
}

// LockAt moves the lock to another path, for tests and for hosts that share
// one file system. It returns the machine.
func (l *Local) LockAt(path string) *Local {
	l.lock = path
	return l
}

func (l *Local) lockPath() string {
	if l.lock != "" {
		return l.lock
	}
	return LockPath
}

// lockedError reads who holds a lock. A holder that is just writing itself
// down, or that died while it did, leaves the owner empty.
func (l *Local) lockedError(f *os.File) *LockedError {
	e := &LockedError{Host: l.name, Asked: l.asked() != nil}
	data := make([]byte, 64<<10)
	n, err := f.ReadAt(data, 0)
	if n > 0 && json.Unmarshal(data[:n], &e.Owner) == nil && !e.Owner.Since.IsZero() {
		e.Age = time.Since(e.Owner.Since)
	} else if err != nil {
		e.Owner = Owner{}
	}
	return e
}

func (l *FileLease) write() error {
	data, err := json.Marshal(l.owner)
	if err != nil {
		return err
	}
	if err := l.f.Truncate(0); err != nil {
		return err
	}
	_, err = l.f.WriteAt(append(data, '\n'), 0)
	return err
}

// Orphan notes in the lock that its owner is gone and only its last command
// is still running.
func (l *FileLease) Orphan() error {
	l.owner.Orphaned = true
	return l.write()
}

// Release implements Lease.
func (l *FileLease) Release(context.Context) error {
	l.local.mu.Lock()
	delete(l.local.leases, l)
	l.local.mu.Unlock()
	if err := l.f.Truncate(0); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	// A thread apart may have the file open for a moment more.
	if err := syscall.Flock(int(l.f.Fd()), syscall.LOCK_UN); err != nil && !errors.Is(err, syscall.EBADF) {
		return err
	}
	if err := l.f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
