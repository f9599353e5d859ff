package gluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"multihead/internal/host"
	"multihead/internal/plan"
)

// firstStart starts glusterd. Its undo also takes away the books that glusterd
// began, where it had never run: a head that is not part of anything must not
// look like one that was.
type firstStart struct{ plan.Unit }

func (f firstStart) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	_, err := h.Stat(ctx, idFile)
	ran := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	before := map[string]bool{}
	if !ran {
		if err := list(ctx, h, storeDir, before); err != nil {
			return nil, err
		}
	}
	undo, err := f.Unit.Do(ctx, h)
	if !ran {
		undo = plan.Both(dropBooks{before}, undo)
	}
	return undo, err
}

// list adds every path below dir to into.
func list(ctx context.Context, r host.Reader, dir string, into map[string]bool) error {
	entries, err := readDir(ctx, r, dir)
	for _, f := range entries {
		at := path.Join(dir, f.Name)
		into[at] = true
		if f.IsDir() {
			err = errors.Join(err, list(ctx, r, at, into))
		}
	}
	return err
}

// dropBooks removes from glusterd's store what was not there before it first
// ran, as long as it is in no pool and knows no volume.
type dropBooks struct{ before map[string]bool }

func (d dropBooks) String() string { return "remove the books that glusterd began" }

func (d dropBooks) Done(ctx context.Context, h host.Reader) (bool, error) {
	_, err := h.Stat(ctx, idFile)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return false, err
}

func (d dropBooks) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	for _, dir := range []string{peersDir, volsDir} {
		entries, err := readDir(ctx, h, dir)
		if err != nil {
			return nil, err
		}
		if len(entries) > 0 {
			return nil, fmt.Errorf("%s: %s is not empty: glusterd's books stay", h.Name(), dir)
		}
	}
	now := map[string]bool{}
	if err := list(ctx, h, storeDir, now); err != nil {
		return nil, err
	}
	paths := slices.Sorted(maps.Keys(now))
	slices.Reverse(paths) // what is in a directory comes before it
	for _, p := range paths {
		if d.before[p] {
			continue
		}
		if err := h.Remove(ctx, p); err != nil {
			return nil, err
		}
	}
	return nil, nil
}
