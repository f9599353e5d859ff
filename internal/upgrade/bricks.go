package upgrade

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"multihead/internal/host"
	"multihead/internal/plan"
)

// A witness beside two heads has the arbiter's brick. It is in no maintenance: what runs
// there is restarted in its place once the packages have changed. glusterd leaves bricks
// alone when it restarts, on purpose, so they are ended for themselves.

const (
	glusterdUnit = "glusterd.service"
	brickPIDs    = "/run/gluster/vols" // one directory for each volume
)

//go:embed bricks.sh
var bricksScript string

// bricksAnew restarts glusterd and the bricks of a host. It is one command: where the run
// that gave it is killed the far side goes on with it to its end. changed says that a step
// before it replaces the programs, which cannot be seen yet.
func bricksAnew(changed bool) plan.Action {
	const what = "restart " + glusterdUnit + " and its brick"
	again := func(ctx context.Context, h host.Host) error {
		_, err := h.Run(ctx, host.Command("bash", "-uc", bricksScript, "bricks"))
		return err
	}
	return plan.Func{What: what, Kind: plan.Restart,
		Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
			old, err := oldBricks(ctx, r)
			return !changed && !old, err
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			undo := plan.Func{What: what, Kind: plan.Restart, Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
				return nil, again(ctx, h)
			}}
			return last{undo}, again(ctx, h)
		}}
}

// oldBricks says whether a brick runs from a program that does not lie there any more.
func oldBricks(ctx context.Context, r host.Reader) (bool, error) {
	volumes, err := r.ReadDir(ctx, brickPIDs)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, v := range volumes {
		files, err := r.ReadDir(ctx, path.Join(brickPIDs, v.Name))
		if err != nil {
			return false, err
		}
		for _, f := range files {
			if !strings.HasSuffix(f.Name, ".pid") {
				continue
			}
			pid, err := r.ReadFile(ctx, path.Join(brickPIDs, v.Name, f.Name))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return false, err
			}
			p := strings.TrimSpace(string(pid))
			if p == "" || p == "0" {
				continue // emptied when it was stopped
			}
			exe, err := r.Stat(ctx, path.Join("/proc", p, "exe"))
			if errors.Is(err, fs.ErrNotExist) {
				continue // it has ended
			}
			if err != nil {
				return false, fmt.Errorf("%s: the brick's program: %w", r.Name(), err)
			}
			if strings.HasSuffix(exe.Target, " (deleted)") && strings.Contains(exe.Target, "gluster") {
				return true, nil
			}
		}
	}
	return false, nil
}
