package gluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"path"
	"slices"
	"strings"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// Adding a brick while clients write, as measured on GlusterFS 11.1:
//
// Clients take up the new layout up to a second after the bricks have. What
// they do in that second goes to the old bricks alone. Left to itself, the
// self-heal daemon copies the tree onto the new brick at once and declares it
// complete; a file that an old client then replaces by renaming (every state
// file of slurmctld) differs in identity between the bricks with none to
// blame, which is split-brain: EIO for good. With the daemon switched off, the
// new brick stays marked as behind until all clients write to it as well, and
// everything is copied after that.
//
// A mount takes the new layout up with the next thing that is asked of it, so
// each head's mount is asked.
//
// Bricks are added one at a time, each one healed before the next: a file that
// is open has to be there on a majority of the bricks to stay usable, and on
// three new ones at once it is not (EBADF).

// growLimit bounds how long clients may take to follow.
const followLimit = 90 * time.Second

// healLimit bounds the copying of everything onto a new brick.
const healLimit = 24 * time.Hour

// growSteps add the bricks of heads, one after the other, and the arbiter's last.
func (s *State) growSteps(b blueprint) []plan.Stage {
	var out []plan.Stage
	for i, name := range s.added(b) {
		before := s.copies(b.known) + i
		what := fmt.Sprintf("add the brick of %s to volume %s (copies: %d → %d)", name, s.conf.VolumeName, before, before+1)
		if s.head(name).witness {
			what = fmt.Sprintf("add the arbiter's brick of %s to volume %s (%d copies, and names and marks only on a third brick)", name, s.conf.VolumeName, before)
		}
		add := plan.Step{ID: id("add-brick", name), Host: b.cli, Action: plan.Func{
			What: what, Kind: plan.Add,
			Satisfied: s.hasBrick(name), Timeout: changeLimit * 3,
			Change: func(ctx context.Context, h host.Host) (plan.Action, error) { return s.addBrick(ctx, h, name) },
		}}
		if s.head(name).witness {
			add.Final = plan.Final{Why: "the arbiter's brick on " + name + " stays: it may know by now what a copy lacks", Hosts: []string{b.cli, name}}
		}
		full := s.healed(b.cli, name)
		// From here on the others may lack what was written since: an older
		// brick can die while the next one is being added.
		full.Final = plan.Final{Why: "the brick of " + name + " has everything and stays", Hosts: []string{b.cli, name}}
		out = append(out,
			plan.Stage{Name: "add the brick of " + name, Steps: []plan.Step{add}},
			plan.Stage{Name: "clients of " + name, Steps: s.takeUp(name, before+1)},
			plan.Stage{Name: "heal " + name, Steps: []plan.Step{s.followed(b.cli, name), s.healOn(b.cli, name), full}})
	}
	if b.lost {
		unconditional(out)
	}
	return out
}

// unconditional has steps done whatever there is by now: of a brick that is taken out
// first and added again, what there was before says nothing.
func unconditional(stages []plan.Stage) {
	for _, st := range stages {
		for i := range st.Steps {
			if f, ok := st.Steps[i].Action.(plan.Func); ok {
				f.Satisfied = nil
				st.Steps[i].Action = f
			}
		}
	}
}

func (s *State) hasBrick(name string) func(context.Context, host.Reader) (bool, error) {
	return func(ctx context.Context, r host.Reader) (bool, error) {
		v, err := readVolume(ctx, r, s.conf.VolumeName)
		return v != nil && v.has(s.own(s.head(name))), err
	}
}

// addBrick holds the self-heal daemons still and adds one brick.
func (s *State) addBrick(ctx context.Context, h host.Host, name string) (plan.Action, error) {
	v, err := readVolume(ctx, h, s.conf.VolumeName)
	if err != nil || v == nil {
		return nil, errors.Join(err, missing(v == nil, s.conf.VolumeName))
	}
	if v.Options[shdOption] != "off" {
		if _, err := change(ctx, h, "volume", "set", s.conf.VolumeName, shdOption, "off"); err != nil {
			return nil, err
		}
	}
	to := s.head(name)
	var undo plan.Action = takeBrick{volume: s.conf.VolumeName, brick: s.own(to), at: s.brickOf(to)}
	if to.witness {
		undo = nil // a copy may have died since, and only the arbiter know what the other lacks
	}
	args := []string{"volume", "add-brick", s.conf.VolumeName, "replica", fmt.Sprint(len(v.Bricks) + 1)}
	if to.witness {
		args = append(args, "arbiter", "1")
	}
	_, err = change(ctx, h, append(args, s.placed(to)...)...)
	if err == nil {
		return undo, nil
	}
	if has, herr := s.hasBrick(name)(ctx, h); herr == nil && has {
		return undo, nil // an earlier run's command, still under way when this one began, has added it
	}
	var said *cliError
	if errors.As(err, &said) && strings.Contains(said.Said, "already part of a volume") {
		err = fmt.Errorf("%s on %s was a brick of this volume before and is none now; move it aside by hand and run up again: %w", s.conf.BrickPath, name, err)
	}
	return undo, err
}

// takeBrick is the undo of adding a brick: the others hold everything.
type takeBrick struct {
	volume string
	brick  brick
	at     string
}

func (t takeBrick) String() string { return "take brick " + t.at + " out of volume " + t.volume }

func (t takeBrick) Done(ctx context.Context, h host.Reader) (bool, error) {
	v, err := readVolume(ctx, h, t.volume)
	return v == nil || !v.has(t.brick), err
}

func (t takeBrick) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	v, err := readVolume(ctx, h, t.volume)
	if err != nil || v == nil {
		return nil, err
	}
	if v.has(t.brick) {
		// The daemons must hold still for a single brick that may grow again,
		// and can be told so only while there are two.
		if len(v.Bricks) == 2 && v.Options[shdOption] != "off" {
			if _, err := change(ctx, h, "volume", "set", t.volume, shdOption, "off"); err != nil {
				return nil, err
			}
		}
		if _, err := change(ctx, h, "volume", "remove-brick", t.volume, "replica", fmt.Sprint(len(v.Bricks)-1), t.at, "force"); err != nil {
			return nil, err
		}
		v.Bricks = v.Bricks[:len(v.Bricks)-1]
	}
	if len(v.Bricks) < 2 {
		return nil, nil
	}
	_, err = change(ctx, h, "volume", "set", t.volume, shdOption, "on")
	return nil, err
}

// healing says whether the brick of a head is in the volume and the self-heal
// daemons may work, which is also the mark that all clients had followed. With
// no name it asks for no brick in particular.
func (s *State) healing(name string) func(context.Context, host.Reader) (bool, error) {
	return func(ctx context.Context, r host.Reader) (bool, error) {
		v, err := readVolume(ctx, r, s.conf.VolumeName)
		if v == nil || err != nil {
			return false, err
		}
		// Of one brick there is nothing to heal, and it must stay ready to grow.
		alone := len(v.Bricks) == 1 && name == ""
		return (alone || v.Options[shdOption] != "off") && (name == "" || v.has(s.own(s.head(name)))), nil
	}
}

// id is the identifier of a step, of its own for each brick that is added.
func id(step, name string) string {
	if name == "" {
		return "glusterfs." + step
	}
	return "glusterfs." + step + "." + name
}

// takeUp waits on every head that has the volume mounted until its mount
// writes to n bricks. Each look is also what makes it do so.
func (s *State) takeUp(name string, n int) []plan.Step {
	var out []plan.Step
	for _, h := range s.heads {
		if !h.reached || h.mounted != service.Yes {
			continue
		}
		out = append(out, plan.Step{ID: id("take-up", name), Host: h.name, Action: plan.Await{
			What: fmt.Sprintf("its mount writes to %d bricks", n), Timeout: followLimit,
			Until: func(ctx context.Context, r host.Reader) (bool, string, error) {
				one, cancel := context.WithTimeout(ctx, 10*time.Second)
				defer cancel()
				have, err := graphBricks(one, r, s.conf)
				if err != nil || have < n {
					return false, fmt.Sprintf("%d of %d", have, n), err
				}
				// A mount shows the new layout as soon as it knows it, and gives
				// the old one up at the request after that. Where it learned it
				// in the middle of the look above, nobody would ask it again.
				_, err = r.ReadDir(one, path.Join(s.conf.MountPoint, ".meta"))
				return err == nil, "", err
			}}})
	}
	return out
}

// graphBricks is how many bricks a head's mount writes to, as the mount itself
// says in its hidden directory.
func graphBricks(ctx context.Context, r host.Reader, conf config.GlusterFSConfig) (int, error) {
	list, err := r.ReadDir(ctx, path.Join(conf.MountPoint, ".meta/graphs/active"))
	n := 0
	for _, f := range list {
		if strings.HasPrefix(f.Name, conf.VolumeName+"-client-") {
			n++
		}
	}
	return n, err
}

// followed waits until every client of the volume writes to every brick: until
// all bricks are talked to from the same addresses, each as often.
func (s *State) followed(cli, name string) plan.Step {
	return plan.Step{ID: id("clients-follow", name), Host: cli, Action: plan.Func{
		What: "wait until all clients write to all bricks", Kind: plan.Wait, Timeout: followLimit + changeLimit,
		Satisfied: s.healing(name),
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			return plan.Await{What: "all clients write to all bricks", Timeout: followLimit, Every: 300 * time.Millisecond,
				Until: func(ctx context.Context, r host.Reader) (bool, string, error) {
					one, cancel := context.WithTimeout(ctx, 10*time.Second)
					defer cancel()
					rep, err := ask(one, r, "volume", "status", s.conf.VolumeName, "clients")
					if err != nil {
						return false, "", err
					}
					ok, lag := follow(rep)
					return ok, lag, nil
				}}.Do(ctx, h)
		}}}
}

// follow compares who talks to each brick.
func follow(rep reply) (ok bool, lag string) {
	if len(rep.Bricks) == 0 {
		return false, "no brick in the answer"
	}
	var all []map[string]int
	union := map[string]int{}
	for _, b := range rep.Bricks {
		if b.Status != 1 {
			return false, "the brick on " + b.Host + " does not run"
		}
		from := map[string]int{}
		for _, c := range b.Clients {
			addr, _, err := net.SplitHostPort(c)
			if err != nil {
				addr = c[:max(strings.LastIndex(c, ":"), 0)] // an IPv6 address stands without brackets
			}
			from[addr]++
			union[addr] = max(union[addr], from[addr])
		}
		all = append(all, from)
	}
	for i, from := range all {
		for _, addr := range slices.Sorted(maps.Keys(union)) {
			if from[addr] != union[addr] {
				return false, fmt.Sprintf("a client at %s does not write to the brick on %s yet", addr, rep.Bricks[i].Host)
			}
		}
	}
	return true, ""
}

// healOn lets the self-heal daemons work.
func (s *State) healOn(cli, name string) plan.Step {
	return plan.Step{ID: id("heal", name), Host: cli, Action: plan.Func{
		What: "let the self-heal daemons copy to all bricks", Kind: plan.Change, Satisfied: s.healing(name),
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			_, err := change(ctx, h, "volume", "set", s.conf.VolumeName, shdOption, "on")
			return nil, err
		}}}
}

// healed waits until no brick has anything that another one lacks. Files in
// split-brain wait for a person, and nobody else.
func (s *State) healed(cli, name string) plan.Step {
	return plan.Step{ID: id("healed", name), Host: cli, Action: plan.Await{
		What: "the heal queue is empty", Timeout: healLimit, Every: 500 * time.Millisecond,
		Until: func(ctx context.Context, r host.Reader) (bool, string, error) {
			one, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			rep, err := ask(one, r, "volume", "heal", s.conf.VolumeName, "info", "summary")
			if err != nil {
				return false, "", err
			}
			left, splits, silent := healOf(rep)
			state := fmt.Sprintf("%d entries to heal", left)
			plan.Tell(ctx, state)
			switch {
			case len(rep.Heal) == 0:
				return false, "no brick in the answer", nil
			case splits > 0:
				return false, "", plan.Never(fmt.Errorf("%d files are in split-brain; see gluster volume heal %s info split-brain", splits, s.conf.VolumeName))
			case len(silent) > 0:
				return false, "not connected: " + strings.Join(silent, ", "), nil
			}
			return left == 0, state, nil
		}}}
}
