package base

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// Leave implements service.Leaver: a compute node that leaves has no part in the
// munge key any more, by which anybody could speak for any user to the others. munged
// has it in its memory, and ends. What else makes a host fit does no harm and stays,
// and so does the key on a head: what is on its disks stays there.
func (s *State) Leave(intent service.Intent) (plan.Phase, error) {
	ph := plan.Phase{After: []string{"slurm"}}
	var leaving []look
	others := 0
	for _, l := range s.hosts {
		switch {
		case slices.Contains(intent.LeavingComputes, l.name) && !l.head:
			if l.reached {
				leaving = append(leaving, l)
			}
		case l.head && !intent.Leaves(l.name) && l.key.valid():
			others++
		}
	}
	if len(leaving) == 0 || !usesSlurm(s.cluster) {
		return ph, nil
	}
	if others == 0 {
		return ph, refusal("no head shows a munge key: that of the nodes that leave may be the only one",
			"Run multihead up first, which gives it to every head.")
	}
	stop, forget := plan.Stage{Name: "stop munge"}, plan.Stage{Name: "forget the munge key"}
	for _, l := range leaving {
		stop.Steps = append(stop.Steps, plan.Step{ID: "base.munge.leave", Host: l.name, Action: plan.Stopped(mungeUnit)})
		forget.Steps = append(forget.Steps,
			plan.Step{ID: "base.munge.forget", Host: l.name, Action: plan.Absent{Path: mungeKey}},
			plan.Step{ID: "base.munge.forget.kept", Host: l.name, Action: withoutKeptKeys()})
	}
	ph.Stages = []plan.Stage{stop, forget}
	return ph, nil
}

// withoutKeptKeys removes what an earlier run kept of other munge keys, and the next
// one where a rotation was cut off.
func withoutKeptKeys() plan.Action {
	list := func(ctx context.Context, h host.Reader) ([]string, error) {
		files, err := h.ReadDir(ctx, "/etc/munge")
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		var out []string
		for _, f := range files {
			if path := "/etc/munge/" + f.Name; strings.HasPrefix(path, keptKeys) {
				out = append(out, path)
			}
		}
		return out, err
	}
	return plan.Func{
		What: "remove munge keys that were kept aside", Kind: plan.Destroy,
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			kept, err := list(ctx, h)
			return len(kept) == 0, err
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			kept, err := list(ctx, h)
			if err != nil {
				return nil, err
			}
			var undo plan.Action
			for _, path := range kept {
				back, err := plan.Absent{Path: path}.Do(ctx, h)
				undo = plan.Both(back, undo)
				if err != nil {
					return undo, err
				}
			}
			return undo, nil
		},
	}
}

var _ service.Leaver = (*State)(nil)
