package gluster

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// forming is the name of a second directory beside the brick that exists for
// the moment in which a volume for one head is made, see createVolume.
const forming = ".forming"

// leftover is how many bricks of the volume are only there because a run was
// cut off in the moment of making it.
func (s *State) leftover(v *volume) int {
	n := 0
	for _, b := range v.Bricks {
		if strings.HasSuffix(b.Path, forming) {
			n++
		}
	}
	return n
}

// volumeSteps make the volume, give it its options and start it; each one
// finds by itself whether it has been done.
func (s *State) volumeSteps(b blueprint) []plan.Step {
	name := s.conf.VolumeName
	step := func(id string, f plan.Func) plan.Step {
		return plan.Step{ID: "glusterfs." + id, Host: b.cli, Action: f}
	}
	var out []plan.Step
	if b.verdict == service.Form {
		what := fmt.Sprintf("create volume %s, one copy on each of %s", name, strings.Join(b.create, ", "))
		if b.arbiter != "" {
			what += ", and the arbiter's brick on " + b.arbiter
		}
		out = append(out, step("create", plan.Func{
			What: what, Kind: plan.Add,
			Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
				v, err := readVolume(ctx, r, name)
				return v != nil, err
			},
			Change: func(ctx context.Context, h host.Host) (plan.Action, error) { return s.createVolume(ctx, h, b) },
		}))
	}
	out = append(out,
		step("single", plan.Func{
			What: "drop the second brick that volume " + name + " was made with",
			Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
				v, err := readVolume(ctx, r, name)
				return v != nil && s.leftover(v) == 0 || v == nil && !s.formsAlone(b), err
			},
			Change: s.dropForming,
		}),
		step("options", plan.Func{
			What: "set the options of volume " + name, Kind: plan.Change,
			Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
				v, err := readVolume(ctx, r, name)
				return v != nil && len(differing(options(s.conf), v.Options)) == 0, err
			},
			Change: s.setOptions,
		}),
		step("start", plan.Func{
			What: "start volume " + name,
			Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
				v, err := readVolume(ctx, r, name)
				return v != nil && v.Status == volStarted, err
			},
			Change: s.startVolume,
		}))
	return out
}

func (s *State) formsAlone(b blueprint) bool { return len(b.create) == 1 }

// createVolume makes the volume with all its options.
//
// For one head it is made with two bricks side by side, of which the second
// goes again before anybody has seen the volume. Only so can a volume of one
// brick keep its self-heal daemon switched off, and only with that switched
// off can a second head's brick be added while files are being replaced.
func (s *State) createVolume(ctx context.Context, h host.Host, b blueprint) (plan.Action, error) {
	args := []string{"volume", "create", s.conf.VolumeName}
	var bricks []string
	for _, name := range b.create {
		bricks = append(bricks, s.head(name).addr.String()+":"+s.conf.BrickPath)
	}
	switch {
	case s.formsAlone(b):
		args = append(append(args, "replica", "2"), bricks[0], bricks[0]+forming, "force")
	case b.arbiter != "":
		args = append(append(args, "replica", fmt.Sprint(len(bricks)+1), "arbiter", "1"), bricks...)
		args = append(args, s.placed(s.head(b.arbiter))...)
	default:
		args = append(append(args, "replica", fmt.Sprint(len(bricks))), bricks...)
	}
	if _, err := change(ctx, h, args...); err != nil {
		return nil, err
	}
	undo := deleteVolume{name: s.conf.VolumeName, brick: s.conf.BrickPath, own: s.ownNames()}
	if s.formsAlone(b) {
		if _, err := s.dropForming(ctx, h); err != nil {
			return undo, err
		}
	}
	return undo, nil
}

// placed is a brick that is added, as arguments. The arbiter's may lie on the root
// file system of a small witness, which glusterd does unasked for nobody: it has
// names, and nothing that could fill the disk.
func (s *State) placed(h *head) []string {
	if h.witness && h.onRoot {
		return []string{s.brickOf(h), "force"}
	}
	return []string{s.brickOf(h)}
}

// dropForming takes away the second brick of a volume made for one head.
func (s *State) dropForming(ctx context.Context, h host.Host) (plan.Action, error) {
	v, err := readVolume(ctx, h, s.conf.VolumeName)
	if err != nil || v == nil {
		return nil, errors.Join(err, missing(v == nil, s.conf.VolumeName))
	}
	dir := s.conf.BrickPath + forming
	if s.leftover(v) > 0 {
		addr := v.Bricks[0].Host
		if _, err := change(ctx, h, "volume", "set", s.conf.VolumeName, shdOption, "off"); err != nil {
			return nil, err
		}
		if _, err := change(ctx, h, "volume", "remove-brick", s.conf.VolumeName, "replica", "1", addr+":"+dir, "force"); err != nil {
			return nil, err
		}
	}
	// Empty but for what glusterd made in it; anything more stays.
	return nil, errors.Join(h.Remove(ctx, path.Join(dir, ".glusterfs")), h.Remove(ctx, dir))
}

func missing(is bool, name string) error {
	if is {
		return fmt.Errorf("volume %s is not in glusterd's store", name)
	}
	return nil
}

// setOptions sets what differs in one command and returns what sets it back.
func (s *State) setOptions(ctx context.Context, h host.Host) (plan.Action, error) {
	v, err := readVolume(ctx, h, s.conf.VolumeName)
	if err != nil || v == nil {
		return nil, errors.Join(err, missing(v == nil, s.conf.VolumeName))
	}
	want := options(s.conf)
	names := differing(want, v.Options)
	if len(names) == 0 {
		return nil, nil
	}
	if _, err := change(ctx, h, append([]string{"volume", "set", s.conf.VolumeName}, pairs(names, want)...)...); err != nil {
		return nil, err
	}
	return restoreOptions{name: s.conf.VolumeName, options: names, was: v.Options}, nil
}

// restoreOptions gives options their former values back.
type restoreOptions struct {
	name    string
	options []string
	was     map[string]string
}

func (o restoreOptions) String() string { return "set the options of volume " + o.name + " back" }

func (o restoreOptions) Done(ctx context.Context, h host.Reader) (bool, error) {
	v, err := readVolume(ctx, h, o.name)
	if v == nil {
		return err == nil, err // it is gone, and its options with it
	}
	return !slices.ContainsFunc(o.options, func(n string) bool { return v.Options[n] != o.was[n] }), nil
}

func (o restoreOptions) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	var set []string
	for _, n := range o.options {
		if was, had := o.was[n]; had {
			set = append(set, n, was)
			continue
		}
		if _, err := change(ctx, h, "volume", "reset", o.name, n); err != nil {
			return nil, err
		}
	}
	if len(set) == 0 {
		return nil, nil
	}
	_, err := change(ctx, h, append([]string{"volume", "set", o.name}, set...)...)
	return nil, err
}

func (s *State) startVolume(ctx context.Context, h host.Host) (plan.Action, error) {
	if _, err := change(ctx, h, "volume", "start", s.conf.VolumeName); err != nil {
		return nil, err
	}
	return stopVolume{s.conf.VolumeName}, nil
}

// stopVolume is the undo of a start: nothing of the data is touched.
type stopVolume struct{ name string }

func (v stopVolume) String() string { return "stop volume " + v.name }

func (v stopVolume) Done(ctx context.Context, h host.Reader) (bool, error) {
	have, err := readVolume(ctx, h, v.name)
	return have == nil || have.Status != volStarted, err
}

func (v stopVolume) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	if done, err := v.Done(ctx, h); done || err != nil {
		return nil, err
	}
	_, err := change(ctx, h, "volume", "stop", v.name)
	return nil, err
}

// deleteVolume is the undo of a creation. It deletes only while the brick
// holds nothing that users could have written.
type deleteVolume struct {
	name  string
	brick string
	own   []string // what multihead itself makes on a volume
}

func (d deleteVolume) String() string { return "delete volume " + d.name + ", which holds nothing yet" }

func (d deleteVolume) Done(ctx context.Context, h host.Reader) (bool, error) {
	v, err := readVolume(ctx, h, d.name)
	return v == nil, err
}

func (d deleteVolume) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	v, err := readVolume(ctx, h, d.name)
	if v == nil || err != nil {
		return nil, err
	}
	if found, err := foreign(ctx, h, d.brick, d.own); err != nil || found != "" {
		return nil, errors.Join(err, fmt.Errorf("volume %s stays: %s was written to it", d.name, found))
	}
	if _, err := (stopVolume{d.name}).Do(ctx, h); err != nil {
		return nil, err
	}
	_, err = change(ctx, h, "volume", "delete", d.name)
	return nil, err
}

// stillThere is an error where the brick's directory is empty by now, or not marked as one
// of the volume: force makes a brick of whatever directory is there, and marks it.
func (s *State) stillThere(ctx context.Context, r host.Reader) error {
	v, err := readVolume(ctx, r, s.conf.VolumeName)
	if err != nil || v == nil {
		return errors.Join(err, missing(v == nil, s.conf.VolumeName))
	}
	if list, err := r.ReadDir(ctx, s.conf.BrickPath); err != nil || len(list) == 0 {
		return errors.Join(err, fmt.Errorf("%s: %s holds nothing of volume %s: is its disk mounted?", r.Name(), s.conf.BrickPath, s.conf.VolumeName))
	}
	return isBrickOf(ctx, r, s.conf.BrickPath, v.ID)
}

// serving waits on each head until its brick runs. glusterd starts the bricks
// of a started volume by itself; one that it gave up on is started by force,
// which starts what does not run and touches nothing else.
// unforced says why it is not.
func (s *State) serving(names []string, unforced string) []plan.Step {
	var out []plan.Step
	for _, name := range names {
		h := s.head(name)
		runs := func(ctx context.Context, r host.Reader) (bool, error) {
			a, err := brickRuns(ctx, r, h.addr.String(), s.conf)
			return a == service.Yes, err
		}
		out = append(out, plan.Step{ID: "glusterfs.brick-serves", Host: name, Action: plan.Func{
			What: "have the brick serve", Satisfied: runs, Kind: plan.Wait,
			Change: func(ctx context.Context, hh host.Host) (plan.Action, error) {
				wait := plan.Await{What: "the brick runs", Timeout: 5 * time.Second,
					Until: func(ctx context.Context, r host.Reader) (bool, string, error) {
						ok, err := runs(ctx, r)
						return ok, "it does not run", err
					}}
				if _, err := wait.Do(ctx, hh); err == nil {
					return nil, nil
				}
				if unforced != "" {
					return nil, fmt.Errorf("%s: its brick does not run, and none is started by force: %s; start it there (systemctl restart glusterd), or run this again once that has changed", hh.Name(), unforced)
				}
				if err := s.stillThere(ctx, hh); err != nil {
					return nil, err
				}
				if _, err := change(ctx, hh, "volume", "start", s.conf.VolumeName, "force"); err != nil {
					return nil, err
				}
				wait.Timeout = 30 * time.Second
				return wait.Do(ctx, hh)
			}}})
	}
	return out
}
