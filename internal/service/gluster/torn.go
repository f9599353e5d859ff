package gluster

import (
	"context"
	"errors"
	"path"
	"strings"

	"multihead/internal/host"
	"multihead/internal/plan"
)

// removeTorn removes from a brick that does not run the files of which only the
// name was made when it ended. GlusterFS answers who made a file once it has its
// identity, so nobody was told that these are there; and it cannot heal a
// directory that has one (seen with 11.1: the entry is expunged by its identity,
// which it has not). waiting are the directories that wait to be healed.
func (s *State) removeTorn(waiting []string) plan.Action {
	brick := s.conf.BrickPath
	return plan.Func{
		What: "remove files that the brick had only begun to make",
		Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
			return len(torn(ctx, r, brick, waiting)) == 0, nil
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			var errs []error
			for _, name := range torn(ctx, h, brick, waiting) {
				errs = append(errs, h.Remove(ctx, name))
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
			if !f.Mode.IsRegular() || f.Size != 0 {
				continue
			}
			name := path.Join(dir, f.Name)
			var failed *host.ExitError
			_, err := r.Query(ctx, "getfattr", "--absolute-names", "-e", "hex", "-n", "trusted.gfid", name)
			if errors.As(err, &failed) && strings.Contains(failed.Stderr, "No such attribute") {
				out = append(out, name)
			}
		}
	}
	return out
}
