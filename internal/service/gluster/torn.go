package gluster

import (
	"context"
	"errors"
	"path"
	"strings"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// removeTorn removes from a brick that does not run the files of which only the
// name was made when it ended. GlusterFS answers who made a file once it has its
// identity, so nobody was told that these are there; and it cannot heal a
// directory that has one (seen with 11.1: the entry is expunged by its identity,
// which it has not). waiting are the directories that wait to be healed.
//
// Each is looked at once more right before it goes: a brick that has been started since may
// have made a whole one of it.
func (s *State) removeTorn(of *head, waiting []string) plan.Action {
	brick := s.conf.BrickPath
	return plan.Func{
		What: "remove files that the brick had only begun to make",
		Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
			return len(torn(ctx, r, brick, waiting)) == 0, nil
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			var errs []error
			for _, name := range torn(ctx, h, brick, waiting) {
				if runs, err := brickRuns(ctx, h, of.addr.String(), s.conf); runs != service.No {
					return nil, errors.Join(append(errs, err)...)
				}
				if info, err := h.Stat(ctx, name); err == nil && begun(ctx, h, name, info) {
					errs = append(errs, h.Remove(ctx, name))
				}
			}
			return nil, errors.Join(errs...)
		},
	}
}

// torn lists the empty files without an identity in these directories of a brick. A
// directory's entry below .glusterfs is a link to it; what cannot be read is left.
func torn(ctx context.Context, r host.Reader, brick string, directories []string) []string {
	var out []string
	for _, gfid := range directories {
		dir := path.Join(brick, ".glusterfs", gfid[:2], gfid[2:4], gfid)
		list, err := r.ReadDir(ctx, dir)
		if err != nil {
			continue
		}
		for _, f := range list {
			if name := path.Join(dir, f.Name); begun(ctx, r, name, f) {
				out = append(out, name)
			}
		}
	}
	return out
}

// begun says whether a file is empty and has no identity. Where that cannot be read it is
// not said.
func begun(ctx context.Context, r host.Reader, name string, info host.FileInfo) bool {
	if !info.Mode.IsRegular() || info.Size != 0 {
		return false
	}
	var failed *host.ExitError
	_, err := r.Query(ctx, "getfattr", "--absolute-names", "-e", "hex", "-n", "trusted.gfid", name)
	return errors.As(err, &failed) && strings.Contains(failed.Stderr, "No such attribute")
}
