package base

import (
	"bytes"
	"context"
	"errors"
	"io/fs"

	"multihead/internal/host"
	"multihead/internal/plan"
)

// edit changes a file that is the site's or the distribution's own. What it
// becomes is worked out from what is there at that moment, so that nothing
// written since the plan was made is lost.
type edit struct {
	path   string
	change func(old []byte) ([]byte, error)
	// absent says that a file that is not there stays so.
	absent bool
}

func (e edit) String() string { return "edit " + e.path }

func (e edit) look(ctx context.Context, h host.Reader) (old, edited []byte, there bool, err error) {
	old, err = h.ReadFile(ctx, e.path)
	there = err == nil
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil && (there || !e.absent) {
		edited, err = e.change(old)
	}
	return old, edited, there, err
}

// Done says whether the change would change nothing.
func (e edit) Done(ctx context.Context, h host.Reader) (bool, error) {
	old, edited, there, err := e.look(ctx, h)
	if err != nil {
		return false, err
	}
	if !there {
		return e.absent, nil
	}
	return bytes.Equal(old, edited), nil
}

// Do writes the changed file; its mode and owner stay.
func (e edit) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	_, edited, there, err := e.look(ctx, h)
	if err != nil || !there && e.absent {
		return nil, err
	}
	return plan.File{Path: e.path, Data: edited}.Do(ctx, h)
}

// Touches names the file.
func (e edit) Touches() []string { return []string{e.path} }

// Preview shows the difference.
func (e edit) Preview(ctx context.Context, h host.Reader) (plan.Preview, error) {
	old, edited, there, err := e.look(ctx, h)
	p := plan.Preview{Kind: plan.Change, Before: string(old), After: string(edited)}
	if !there {
		p.Kind = plan.Add
	}
	return p, err
}
