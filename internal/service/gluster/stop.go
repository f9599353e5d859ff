package gluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// Stop implements service.State: the mounts go first, on all heads, then the
// bricks and their daemons. The volume itself stays started, so that it serves
// as soon as the bricks are back.
func (s *State) Stop(intent service.Intent) (plan.Phase, error) {
	ph := plan.Phase{Name: "glusterfs"}
	unmount, stop := plan.Stage{Name: "unmount"}, plan.Stage{Name: "stop bricks"}
	for _, h := range s.heads {
		if !intent.Includes(h.name) {
			continue
		}
		if !h.reached {
			ph.Notes = append(ph.Notes, h.name+" is left as it is: "+h.why)
			continue
		}
		unmount.Steps = append(unmount.Steps, noRetry(h.name), plan.Step{ID: "glusterfs.unmount", Host: h.name,
			Action: unmounted{dir: s.conf.MountPoint, unit: mountUnit(s.conf.MountPoint)}})
		if !h.brick {
			continue
		}
		stop.Steps = append(stop.Steps, s.stopBrick(&h)...)
	}
	for i := range s.witnesses {
		if w := &s.witnesses[i]; w.reached && w.vol.has(s.own(w)) && s.stopsVoter(intent, w) {
			stop.Steps = append(stop.Steps, s.stopBrick(w)...)
		}
	}
	ph.Stages = []plan.Stage{unmount, stop}
	return ph, nil
}

// stopBrick stops what serves a host's brick.
func (s *State) stopBrick(h *head) []plan.Step {
	no := false
	return []plan.Step{
		{ID: "glusterfs.bricks", Host: h.name, Action: plan.Unit{Name: bricksUnit, Active: &no}},
		{ID: "glusterfs.daemon", Host: h.name, Action: plan.Unit{Name: "glusterd.service", Active: &no}},
		{ID: "glusterfs.stopped", Host: h.name, Action: s.brickStopped(*h)},
	}
}

// stopsVoter says whether a witness's brick stops: with those of all heads, and where
// the witness is named.
func (s *State) stopsVoter(intent service.Intent, w *head) bool {
	if slices.Contains(intent.Nodes, w.name) {
		return true
	}
	for _, h := range s.bricks() {
		if !intent.Includes(h.name) {
			return false
		}
	}
	return intent.Includes(w.name)
}

// noRetry ends the unit that would mount again what was unmounted.
func noRetry(hostname string) plan.Step {
	no := false
	return plan.Step{ID: "glusterfs.mount-retry", Host: hostname, Action: plan.Unit{Name: retryUnit, Active: &no}}
}

func (s *State) brickStopped(h head) plan.Await {
	return plan.Await{What: "the brick has ended", Timeout: 30 * time.Second,
		Until: func(ctx context.Context, r host.Reader) (bool, string, error) {
			a, err := brickRuns(ctx, r, h.addr.String(), s.conf)
			return a == service.No, "it still runs", err
		}}
}

// unmounted unmounts what nobody uses. A lazy unmount would only hide who
// still writes.
type unmounted struct{ dir, unit string }

func (u unmounted) String() string { return "unmount " + u.dir }

// Stops implements plan.Stopper.
func (u unmounted) Stops() string { return u.unit }

// Touches implements plan.Toucher: what starts the unit later is needed.
func (u unmounted) Touches() []string { return plan.Unit{Name: u.unit}.Touches() }

func (u unmounted) Done(ctx context.Context, h host.Reader) (bool, error) {
	table, err := readMounts(ctx, h)
	_, is := table.at(u.dir)
	return !is, err
}

func (u unmounted) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	yes, no := true, false
	undo := plan.Unit{Name: u.unit, Active: &yes}
	_, err := plan.Unit{Name: u.unit, Active: &no}.Do(ctx, h)
	if gone, derr := u.Done(ctx, h); derr == nil && gone {
		return undo, nil
	}
	users, uerr := holders(ctx, h, u.dir)
	if len(users) > 0 {
		return undo, fmt.Errorf("%s is in use on %s by %s; end them, then run down again", u.dir, h.Name(), strings.Join(users, ", "))
	}
	return undo, errors.Join(err, uerr, fmt.Errorf("%s is still mounted on %s", u.dir, h.Name()))
}

// holders names the processes that have a file or a working directory below
// dir.
func holders(ctx context.Context, r host.Reader, dir string) ([]string, error) {
	procs, err := r.ReadDir(ctx, "/proc")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, p := range procs {
		if _, err := strconv.Atoi(p.Name); err != nil {
			continue
		}
		at := path.Join("/proc", p.Name)
		if !holds(ctx, r, at, dir) {
			continue
		}
		comm, err := r.ReadFile(ctx, at+"/comm")
		if err != nil {
			continue // it has ended meanwhile
		}
		out = append(out, fmt.Sprintf("%s (process %s, of %s)", strings.TrimSpace(string(comm)), p.Name, p.Owner))
	}
	return out, ctx.Err()
}

func holds(ctx context.Context, r host.Reader, proc, dir string) bool {
	below := func(f host.FileInfo) bool {
		return f.Mode&fs.ModeSymlink != 0 && (f.Target == dir || strings.HasPrefix(f.Target, dir+"/"))
	}
	for _, name := range []string{"cwd", "root", "exe"} {
		if f, err := r.Stat(ctx, path.Join(proc, name)); err == nil && below(f) {
			return true
		}
	}
	fds, err := r.ReadDir(ctx, proc+"/fd")
	if err != nil {
		return false // it has ended, or is one of the kernel's
	}
	for _, f := range fds {
		if below(f) {
			return true
		}
	}
	return false
}
