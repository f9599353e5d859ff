package slurm

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
)

const (
	beatFile = "heartbeat"
	beatSize = 16 // a time and the writer's place, 8 bytes each (heartbeat.c)

	// A controller that lives has its next heartbeat in place within milliseconds:
	// one that is not there at so many looks in a row is not being replaced. A mount
	// may remember one for a second that has gone.
	goneLooks  = 4
	thereLooks = 4
	goneEvery  = 500 * time.Millisecond
)

// putBack gives the state directory its heartbeat again, where the controller in charge
// died while it replaced it: it takes the old one away before it links the new one in its
// place. Without one no other ever takes over ("Something is wrong with your
// StateSaveLocation"; seen in 2 of 56 power cuts). The new one is complete by then. A copy
// of it is linked, which fails where another has come meanwhile; a link of it itself would
// be emptied by the next writer. It says what it was made of, and is empty where there was
// nothing to do, or nothing to make it of.
func putBack(ctx context.Context, h host.Host, dir string) (string, error) {
	tick := time.NewTicker(goneEvery)
	defer tick.Stop()
	for gone, there := 0, 0; gone < goneLooks; {
		switch _, err := h.Stat(ctx, path.Join(dir, beatFile)); {
		case errors.Is(err, fs.ErrNotExist):
			gone, there = gone+1, 0
		case err == nil:
			gone, there = 0, there+1
		}
		if there == thereLooks {
			return "", nil
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-tick.C:
		}
	}
	from, err := leftOver(ctx, h, dir)
	if from == "" || err != nil {
		return "", err
	}
	info, err := h.Stat(ctx, path.Join(dir, from))
	if err != nil {
		return "", err
	}
	data, err := h.ReadFile(ctx, path.Join(dir, from))
	if err != nil {
		return "", err
	}
	own := path.Join(dir, ".multihead-beat-"+h.Name())
	if err := h.WriteFile(ctx, own, data, host.Attr{Mode: info.Mode, Owner: info.Owner, Group: info.Group}); err != nil {
		return "", err
	}
	_, err = h.Run(ctx, host.Command("ln", "--no-target-directory", own, path.Join(dir, beatFile)))
	if _, serr := h.Stat(ctx, path.Join(dir, beatFile)); err != nil && serr == nil {
		from, err = "", nil // another head was faster
	}
	return from, errors.Join(err, h.Remove(ctx, own))
}

// leftOver is what a heartbeat may be made of in a state directory that is the real one;
// empty where there is nothing.
func leftOver(ctx context.Context, r host.Reader, dir string) (string, error) {
	if _, err := r.Stat(ctx, path.Join(dir, marker)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil // not the state, but where it is to be mounted
		}
		return "", err
	}
	for _, from := range []string{beatFile + ".new", beatFile + ".old"} {
		info, err := r.Stat(ctx, path.Join(dir, from))
		if err == nil && info.Mode.IsRegular() && info.Size == beatSize {
			return from, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", nil
}

// putsBack is that as a step of a recovery.
func (s *State) putsBack(first head) plan.Step {
	dir := first.state.path
	return step(first.name, "heartbeat", plan.Func{
		What: "put back the heartbeat that slurmctld was replacing when it died", Kind: plan.Change,
		Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
			_, err := r.Stat(ctx, path.Join(dir, beatFile))
			return err == nil, nil // what cannot be told is told by the change
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			_, err := putBack(ctx, h, dir)
			return nil, err
		},
	})
}
