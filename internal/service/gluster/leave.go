package gluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// Leave implements service.Leaver: once no copy lacks anything, the leaving brick
// is taken out of the volume, which goes on with one copy less, and its head out
// of the pool. The brick's files stay, under another name.
func (s *State) Leave(intent service.Intent) (plan.Phase, error) {
	ph := plan.Phase{After: []string{"agent", "keepalived", "slurm"}}
	var leave, stay []*head
	for i := range s.heads {
		if h := &s.heads[i]; intent.Leaves(h.name) {
			leave = append(leave, h)
		} else if h.brick {
			stay = append(stay, h)
		}
	}
	voters := s.leavingVoters(intent)
	if len(leave) == 0 && len(voters) == 0 {
		return ph, nil
	}
	cli, vol, err := s.canLeave(leave, stay)
	if err != nil {
		return ph, err
	}
	if len(leave) == 0 {
		return s.leaveVoters(ph, voters, stay)
	}
	unmount, detach, stop := plan.Stage{Name: "unmount"}, plan.Stage{Name: "leave the pool"}, plan.Stage{Name: "stop"}
	for _, h := range leave {
		if h.reached {
			unmount.Steps = append(unmount.Steps,
				plan.Step{ID: "glusterfs.mount-retry", Host: h.name, Action: plan.Stopped(retryUnit)},
				plan.Step{ID: "glusterfs.unmount", Host: h.name, Action: unmounted{dir: s.conf.MountPoint, unit: mountUnit(s.conf.MountPoint)}})
		}
	}
	ph.Stages = append(ph.Stages, unmount)
	way, err := s.makeWay(cli, vol, leave, stay)
	if err != nil {
		return ph, err
	}
	ph.Stages = append(ph.Stages, way...)
	for _, h := range leave {
		if !h.brick {
			continue
		}
		if vol != nil {
			ph.Stages = append(ph.Stages, s.takeOut(cli, vol, h))
			detach.Steps = append(detach.Steps, s.detachHead(cli, h))
		}
		if h.reached {
			stop.Steps = append(stop.Steps, s.retire(h)...)
		}
	}
	ph.Stages = append(ph.Stages, detach, stop)
	for _, w := range voters {
		ph.Stages = append(ph.Stages, s.retireVoter(cli, w)...)
	}
	if vol != nil && len(stay) > 1 {
		ph.Stages = append(ph.Stages, plan.Stage{Name: "healed", Steps: []plan.Step{s.healed(cli, "after-leaving")}})
	}
	if vol != nil && len(stay) == 1 {
		ph.Notes = append(ph.Notes, "The volume will have one copy: what is on it is lost with the disk of "+stay[0].name+".")
	}
	if vol != nil && len(stay) == 2 && len(s.witnesses) > len(voters) {
		ph.Notes = append(ph.Notes, "The volume will have two copies, and an arbiter's brick on "+s.stayingVoter(intent)+" as the third vote.")
	} else if vol != nil && len(stay) == 2 {
		ph.Notes = append(ph.Notes, "The volume will have two copies: while the first of them is away nothing can be written (1 of 2 is no majority).")
	}
	return ph, nil
}

// canLeave finds the head that is given the commands, and refuses where the copies
// that stay are not known to be whole.
func (s *State) canLeave(leave, stay []*head) (cli string, vol *volume, err error) {
	refuse := func(remedy, format string, args ...any) (string, *volume, error) {
		return "", nil, &service.Refusal{Service: "glusterfs", Reason: fmt.Sprintf(format, args...), Remedy: remedy}
	}
	var names, running []string
	var bricks int
	for _, h := range leave {
		if h.brick {
			names = append(names, h.name)
		}
		if vol == nil {
			vol = h.vol
		}
	}
	for _, h := range stay {
		if h.vol == nil {
			continue
		}
		vol = h.vol
		if h.vol.has(s.own(h)) {
			bricks++
			if h.running == service.Yes && h.daemon == service.Yes {
				running = append(running, h.name)
			}
		}
	}
	if vol == nil || len(names) == 0 {
		return "", nil, nil
	}
	want := s.conf.ReplicaCount
	switch {
	case len(stay) == 0:
		return refuse("Add another head with glusterfs first (multihead node add), so that the data is somewhere else.",
			"%s %s the last %d of %d copies of the volume", strings.Join(names, ", "), has(len(names)), len(names), len(names))
	case !want.Auto() && int(want) > len(stay):
		return refuse("Set shared_storage.glusterfs.replica_count to auto.",
			"replica_count is %s, and %d heads with a copy would be left", want, len(stay))
	case bricks < len(stay):
		return refuse("Run multihead up first, which adds their copies and heals them.",
			"%d of the %d heads that stay have a copy that is part of the volume", bricks, len(stay))
	case len(running) < len(stay):
		return refuse("Run multihead up, or multihead recover, first; this goes on once all copies that stay serve.",
			"of the %d copies that stay %d serve (%s): the others may lack what only %s has", len(stay), len(running), strings.Join(running, ", "), strings.Join(names, ", "))
	}
	for _, h := range stay {
		if h.splits > 0 {
			return refuse("Look at them with: gluster volume heal "+s.conf.VolumeName+" info split-brain, and say for each which copy is the right one.",
				"%d files are in split-brain: a copy that leaves could be the right one", h.splits)
		}
	}
	return running[0], vol, nil
}

func has(n int) string {
	if n == 1 {
		return "has"
	}
	return "have"
}

// leaveHealLimit bounds the wait for copies to be equal right before one goes.
const leaveHealLimit = 10 * time.Minute

// takeOut takes one brick out of the volume. That of a head that answers goes only
// while nothing waits to be healed: what the others lack may be on it.
func (s *State) takeOut(cli string, v *volume, h *head) plan.Stage {
	gone := takeBrick{volume: s.conf.VolumeName, brick: s.own(h), at: h.addr.String() + ":" + s.conf.BrickPath}
	n := s.copies(v)
	stage := plan.Stage{Name: "take the brick of " + h.name + " out"}
	stage.Steps = append(stage.Steps, plan.Step{ID: id("remove-brick", h.name), Host: cli,
		OneWay: "the brick misses what is written from then on; in the volume again it is filled anew",
		Action: plan.Func{
			What: fmt.Sprintf("take the brick of %s out of volume %s once nothing waits to be healed (copies: %d → %d)", h.name, s.conf.VolumeName, n, n-1),
			Kind: plan.Destroy, Satisfied: gone.Done, Timeout: leaveHealLimit + 3*changeLimit,
			Change: func(ctx context.Context, hh host.Host) (plan.Action, error) {
				if h.dead != "" {
					if err := s.forgetDead(ctx, hh); err != nil {
						return nil, err
					}
				} else if n > 1 {
					wait := s.healed(cli, "").Action.(plan.Await)
					wait.Timeout = leaveHealLimit
					if _, err := wait.Do(ctx, hh); err != nil {
						return nil, err
					}
				}
				return gone.Do(ctx, hh)
			},
		}})
	return stage
}

// detachHead takes a head out of the pool. One that is gone for good is not asked.
func (s *State) detachHead(cli string, h *head) plan.Step {
	addr := h.addr.String()
	member := func(ctx context.Context, r host.Reader) (bool, error) {
		peers, err := readPeers(ctx, r)
		return slices.ContainsFunc(peers, h.is), err
	}
	return plan.Step{ID: id("detach", h.name), Host: cli, Action: plan.Func{
		What: "take " + h.name + " out of the pool", Kind: plan.Destroy, Timeout: 3 * changeLimit,
		Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
			is, err := member(ctx, r)
			return !is && err == nil, err
		},
		Change: func(ctx context.Context, hh host.Host) (plan.Action, error) {
			args := []string{"peer", "detach", addr}
			peers, err := readPeers(ctx, hh)
			if err != nil {
				return nil, err
			}
			if h.dead != "" || s.estranged(peers, h) { // it cannot be asked, or is another one by now
				args = append(args, "force")
			}
			_, err = change(ctx, hh, args...)
			if err != nil && strings.Contains(err.Error(), "is not part of cluster") {
				err = nil
			}
			return nil, err
		},
	}}
}

// retire stops the daemons of a head that is out of the pool, and puts its brick
// where no volume looks for one.
func (s *State) retire(h *head) []plan.Step {
	step := func(what string, a plan.Action) plan.Step {
		return plan.Step{ID: "glusterfs." + what, Host: h.name, Action: a}
	}
	return []plan.Step{
		step("leave.bricks", plan.Stopped(bricksUnit)),
		step("leave.daemon", plan.Stopped("glusterd.service")),
		step("leave.stopped", s.brickStopped(*h)),
		step("leave.aside", plan.Aside{Path: s.conf.BrickPath, To: s.conf.BrickPath + ".removed-" + s.stamp}),
	}
}
