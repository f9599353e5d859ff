package base

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
)

// binaryPath is where every host has the tool, so that `up` can be run on any
// head and the agent can be started.
const (
	binaryPath = "/usr/local/bin/multihead"
	binaryKept = "/usr/local/bin/.multihead.previous"
)

// program is the running multihead, as it is to be on every host.
type program struct {
	path  string
	size  int64
	mtime time.Time
	sum   func() (string, error) // SHA-256, worked out at most once
}

func openProgram(p string) (*program, error) {
	info, err := os.Stat(p)
	if err != nil {
		return nil, fmt.Errorf("the running program: %w", err)
	}
	return &program{p, info.Size(), info.ModTime(), sync.OnceValues(func() (string, error) {
		data, err := os.ReadFile(p)
		if err != nil {
			return "", err
		}
		sum := sha256.Sum256(data)
		return hex.EncodeToString(sum[:]), nil
	})}, nil
}

// install copies the program to a host. Comparing is cheap: size and time,
// which the copy keeps, and only where the times differ the checksums.
type install struct{ *program }

func (i install) String() string { return "install " + binaryPath }

// Done compares the host's program with the running one.
func (i install) Done(ctx context.Context, h host.Reader) (bool, error) {
	info, err := h.Stat(ctx, binaryPath)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if info.Size != i.size || info.Mode.Perm()&0o111 != 0o111 || !info.Mode.IsRegular() {
		return false, nil
	}
	if info.ModTime.Equal(i.mtime) {
		return true, nil
	}
	out, err := h.Query(ctx, "sha256sum", binaryPath)
	if err != nil {
		return false, err
	}
	theirs, _, _ := strings.Cut(out, " ")
	ours, err := i.sum()
	return theirs == ours, err
}

// Do copies it. The one that was there is kept beside it for the undo, because
// 15 MB are too much to carry to and fro.
func (i install) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	data, err := os.ReadFile(i.path)
	if err != nil {
		return nil, err
	}
	var undo plan.Action = plan.Absent{Path: binaryPath}
	if _, err := h.Stat(ctx, path.Dir(binaryPath)); errors.Is(err, fs.ErrNotExist) {
		if err := h.Mkdir(ctx, path.Dir(binaryPath), host.Attr{Mode: 0o755}); err != nil {
			return nil, err
		}
	}
	if _, err := h.Stat(ctx, binaryPath); err == nil {
		if _, err := h.Run(ctx, host.Command("cp", "--preserve=all", "--no-dereference", binaryPath, binaryKept)); err != nil {
			return nil, err
		}
		undo = putBack{}
	}
	return undo, h.WriteFile(ctx, binaryPath, data, host.Attr{Mode: 0o755, ModTime: i.mtime})
}

// Preview tells a first installation from another version.
func (i install) Preview(ctx context.Context, h host.Reader) (plan.Preview, error) {
	if _, err := h.Stat(ctx, binaryPath); errors.Is(err, fs.ErrNotExist) {
		return plan.Preview{Kind: plan.Add}, nil
	}
	return plan.Preview{Kind: plan.Change}, nil
}

// putBack is the undo of an installation over another version.
type putBack struct{}

func (putBack) String() string { return "put the earlier " + binaryPath + " back" }

func (putBack) Done(ctx context.Context, h host.Reader) (bool, error) {
	return plan.Absent{Path: binaryKept}.Done(ctx, h)
}

func (putBack) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	return nil, h.Rename(ctx, binaryKept, binaryPath)
}
