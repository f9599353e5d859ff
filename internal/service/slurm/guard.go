package slurm

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// guardPath is the script that keeps slurmctld from beginning anew where it had
// saved a state that is not there any more. It says how.
const guardPath = "/usr/local/lib/multihead/slurmctld-state"

//go:embed guard.sh
var guardScript []byte

// guardMark in the state directory says that all of vital were there once.
const guardMark = ".multihead-guard"

// vital are the files of the state directory without which slurmctld would begin
// anew: with no jobs and with job 1; with no node drained; with no reservation.
var vital = []string{"job_state", "node_state", "resv_state"}

// lookLost tells which of these files slurmctld had saved in dir and are not there, or are
// empty. It replaces them by removing the old one first, so that a moment's absence
// is none.
func lookLost(ctx context.Context, r host.Reader, dir string, names ...string) ([]string, error) {
	var gone []string
	for try := range 3 {
		if try > 0 {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(300 * time.Millisecond):
			}
		}
		var err error
		if gone, err = absent(ctx, r, dir, names...); err != nil || len(gone) == 0 {
			return nil, err
		}
	}
	switch _, err := r.Stat(ctx, path.Join(dir, guardMark)); {
	case err == nil:
		return gone, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	return nil, nil // nothing has been saved here yet, or not under guard
}

func absent(ctx context.Context, r host.Reader, dir string, names ...string) ([]string, error) {
	var out []string
	for _, name := range names {
		info, err := r.Stat(ctx, path.Join(dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist), err == nil && info.Size == 0:
			out = append(out, name)
		case err != nil:
			return nil, err
		}
	}
	return out, nil
}

// lookLost looks whether the state that was saved is there, and where it is not,
// which copies this head has. A head looks at itself every second, and then at the
// jobs alone.
func (h *head) lookLost(ctx context.Context, brief bool) {
	if h.state.data != service.Yes {
		return
	}
	names := vital
	if brief {
		names = vital[:1]
	}
	var err error
	if h.state.lost, err = lookLost(ctx, h.reader, h.state.path, names...); err == nil && len(h.state.lost) > 0 && !brief {
		h.copies, err = listCopies(ctx, h.reader)
	}
	if err != nil {
		h.state.lostWhy = err.Error()
	}
}

// guarded puts the state under guard, once it is there. slurmctld saves it first when
// something changes, up to five minutes after it began; being told to read its
// configuration it does so at once.
func (s *State) guarded() plan.Action {
	dir, user := s.cluster.Slurm.StateSaveLocation, s.cluster.Users.SlurmUser
	return plan.Func{
		What: "guard the state of slurmctld: without it none begins", Kind: plan.Change,
		Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
			_, err := r.Stat(ctx, path.Join(dir, guardMark))
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				return err == nil || user == "root", nil
			}
			return false, err
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			gone, err := absent(ctx, h, dir, vital...)
			if err != nil {
				return nil, err
			}
			if len(gone) > 0 {
				if err := reconfigure(ctx, h, dir); err != nil {
					return nil, err
				}
				saved := plan.Await{What: "slurmctld has saved its state", Timeout: 60 * time.Second,
					Until: func(ctx context.Context, r host.Reader) (bool, string, error) {
						gone, err := absent(ctx, r, dir, vital...)
						return len(gone) == 0, "no " + strings.Join(gone, ", ") + " yet", err
					}}
				if _, err := saved.Do(ctx, h); err != nil {
					return nil, err
				}
			}
			_, err = h.Run(ctx, host.Command(guardPath, dir, user))
			return nil, err
		},
	}
}

// safeToReload refuses to have slurmctld read its configuration again where its state
// is in its memory alone: it would look for the file, and end.
func safeToReload(ctx context.Context, r host.Reader, dir string) error {
	gone, err := lookLost(ctx, r, dir, vital...)
	if err == nil && len(gone) > 0 {
		err = fmt.Errorf("%s is not in %s: slurmctld has it in its memory alone and saves it within 5 minutes; before that it must not read its configuration again", strings.Join(gone, ", "), dir)
	}
	return err
}

// whatIsLost names what was saved and is not there, empty where nothing is missing;
// and the directory.
func (s *State) whatIsLost() (gone, dir string) {
	for _, h := range s.heads {
		if h.reached && h.controller && len(h.state.lost) > 0 {
			return strings.Join(h.state.lost, ", "), h.state.path
		}
	}
	return "", ""
}

// tellLost says for a person that the state is not on disk, empty where it is. active
// is the head in charge, or empty.
func (s *State) tellLost(active string) string {
	switch gone, dir := s.whatIsLost(); {
	case gone == "":
		return ""
	case active == "":
		return fmt.Sprintf("%s is gone from %s: no slurmctld begins without it, and running jobs go on; multihead recover says what can be done", gone, dir)
	default:
		return fmt.Sprintf("%s is gone from %s: only the memory of slurmctld on %s has it, which saves it again within 5 minutes; stop neither until then", gone, dir, active)
	}
}

// lostState is what to do where the state is gone and no slurmctld has it in memory:
// the steps that put the newest copy back, which a person has to want, or a refusal.
func (s *State) lostState(intent service.Intent) (plan.Stage, error) {
	var st plan.Stage
	gone, dir := s.whatIsLost()
	at, copied := s.newestCopy(intent)
	name := s.cluster.Info.ClusterName
	first := "If the directory can be brought back as it was (the volume mounted and healed), do that first. "
	switch {
	case at == nil:
		return st, refusal(first+fmt.Sprintf("No head that was reached has a copy. Restore one from a backup; or, to begin with no jobs and end those that run, remove %s and %s on one head.",
			path.Join(dir, guardMark), path.Join(dir, "*_state.old")),
			"slurmctld had saved its state in %s, and %s is not there any more; it does not begin without it. Running jobs go on", dir, gone)
	case !intent.Confirmed:
		return st, refusal(first+fmt.Sprintf("Else multihead recover --service slurm --accept-data-loss %s puts back the copy of %s that %s has: jobs that came after it are forgotten, and those that started after it are ended.",
			name, copied.at.UTC().Format(time.DateTime+" UTC"), at.name),
			"slurmctld had saved its state in %s, and %s is not there any more; it does not begin without it. Running jobs go on", dir, gone)
	}
	st.Name = "state"
	st.Steps = []plan.Step{{ID: "slurm.state.put-back", Host: at.name, Action: s.putBack(copied, at.state.lost),
		OneWay: "what slurmctld saved after that nobody knows", Effect: "jobs that came later are forgotten, and those that started later are ended"}}
	return st, nil
}
