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
	if err := s.booksAreKnown(intent, leave, stay); err != nil {
		return ph, err
	}
	voters := s.leavingVoters(intent)
	if len(leave) == 0 && len(voters) == 0 {
		return ph, nil
	}
	if err := s.areWhereTheFileSays(intent); err != nil {
		return ph, err
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
	if vol != nil && cli != "" {
		ph.Stages = append(ph.Stages, s.helpHeal(s.head(cli), vol, intent)...)
	}
	ph.Stages = append(ph.Stages, unmount)
	way, err := s.makeWay(cli, vol, leave, stay)
	if err != nil {
		return ph, err
	}
	if err := s.stuckBricks(vol, leave); err != nil {
		return ph, err
	}
	ph.Stages = append(ph.Stages, way...)
	for _, h := range leave {
		if !h.brick {
			continue
		}
		if vol != nil {
			ph.Stages = append(ph.Stages, s.takeOut(cli, vol, h, stay))
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

// booksAreKnown refuses where no head with a brick has shown what glusterd has written down
// about the volume, and one of them could not be read: a volume that was not seen is not
// one that is not there.
func (s *State) booksAreKnown(intent service.Intent, leave, stay []*head) error {
	if len(leave) == 0 && !slices.ContainsFunc(s.witnesses, func(w head) bool { return intent.Leaves(w.name) }) {
		return nil
	}
	var unread *head
	for _, h := range slices.Concat(leave, stay) {
		switch {
		case h.vol != nil:
			return nil
		case h.brick && h.reached && h.store == service.Unsure:
			unread = h
		}
	}
	if unread == nil {
		return nil
	}
	return &service.Refusal{Service: "glusterfs", Reason: fmt.Sprintf("what glusterd has written down on %s could not be read (%s)", unread.name, unread.why),
		Remedy: "Run it again once that disk answers (multihead status)."}
}

// areWhereTheFileSays refuses where the volume has a brick of a host that leaves under
// another address, name or path than the file's: it would not be taken out, and its files
// be put aside all the same.
func (s *State) areWhereTheFileSays(intent service.Intent) error {
	for _, h := range s.hosts() {
		if !h.brick || !intent.Leaves(h.name) {
			continue
		}
		if b := s.elsewhere(s.seen(), h); b != nil {
			return &service.Refusal{Service: "glusterfs",
				Reason: fmt.Sprintf("the brick of %s is part of the volume as %s:%s, and in the file that would be %s", h.name, b.Host, b.Path, s.brickOf(h)),
				Remedy: "Write into the file where the volume has it (the address of " + h.name + ", or shared_storage.glusterfs.brick_path), and run this again."}
		}
	}
	return nil
}

// elsewhere is the brick that a host has in the volume under another address, name or path
// than the file's; nil where it has none.
func (s *State) elsewhere(v *volume, h *head) *brick {
	if v == nil || v.has(s.own(h)) {
		return nil
	}
	i := slices.IndexFunc(v.Bricks, func(b brick) bool { return s.goesBy(h, b.Host) })
	if i < 0 {
		return nil
	}
	return &v.Bricks[i]
}

// goesBy says whether a host is known by an address or name: the file's, or another one of
// the same member of the pool.
func (s *State) goesBy(h *head, at string) bool {
	if at == h.name || at == h.addr.String() {
		return true
	}
	return slices.ContainsFunc(s.hosts(), func(other *head) bool {
		return slices.ContainsFunc(other.peers, func(p peer) bool { return p.named(at) && (h.is(p) || p.named(h.name)) })
	})
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
			return refuse("Look at them with: multihead status, and gluster volume heal "+s.conf.VolumeName+" info split-brain, and say for each which copy is the right one.",
				"%d files are in split-brain: a copy that leaves could be the right one", h.splits)
		}
	}
	return running[0], vol, s.holdsAll(vol, leave)
}

// holdsAll refuses where a copy is gone for good and the bricks that are here are no quorum
// of the volume: what was acknowledged last may be on the lost one alone, and nobody here
// knows. An arbiter does, and is asked before anything is taken out; a volume that goes
// without a quorum is one of which a person has said so.
func (s *State) holdsAll(v *volume, leave []*head) error {
	if v.arbiterBrick() != nil || v.Options[quorumOption] == "none" {
		return nil
	}
	var lost []string
	for _, h := range leave {
		if h.brick && !h.reached && v.has(s.own(h)) {
			lost = append(lost, h.name)
		}
	}
	var here tally
	for i, b := range v.Bricks {
		if h := s.ownerOf(b); h != nil && h.reached && s.hollow(h, v) == "" {
			here.add(i)
		}
	}
	if len(lost) == 0 || here.quorate(len(v.Bricks)) {
		return nil
	}
	names := strings.Join(lost, ", ")
	return &service.Refusal{Service: "glusterfs",
		Reason: fmt.Sprintf("%d of %d bricks are here, too few for a quorum: whether they have all that was written when %s died is not known", here.n, len(v.Bricks), names),
		Remedy: "Bring " + names + " back. If that cannot be, run multihead recover with the cluster's name typed first (--accept-data-loss NAME): the volume goes on with what is here, and this can be run again."}
}

// stuckBricks refuses where a head is to leave in order whose brick does not serve: what
// the others lack may be on it, and while it does not serve nothing is healed from it.
func (s *State) stuckBricks(v *volume, leave []*head) error {
	for _, h := range leave {
		if !h.brick || h.dead != "" || h.running == service.Yes || !v.has(s.own(h)) {
			continue
		}
		return &service.Refusal{Service: "glusterfs",
			Reason: fmt.Sprintf("%s answers and its brick does not serve: what the others lack may be on it", h.name),
			Remedy: "Run multihead recover, or multihead up, first. If the brick is lost, switch " + h.name + " off and say so: --gone."}
	}
	return nil
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
func (s *State) takeOut(cli string, v *volume, h *head, stay []*head) plan.Stage {
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
					if _, err := s.equal(cli, stay).Do(ctx, hh); err != nil {
						return nil, err
					}
				}
				return gone.Do(ctx, hh)
			},
		}})
	return stage
}

// equal waits until no copy lacks anything: by what GlusterFS lists on all bricks, and by
// what the brick of the head that is given the commands has written down about each other
// copy that stays.
func (s *State) equal(cli string, stay []*head) plan.Await {
	wait := s.healed(cli, "").Action.(plan.Await)
	wait.Timeout = leaveHealLimit
	listed := wait.Until
	wait.Until = func(ctx context.Context, r host.Reader) (bool, string, error) {
		if ok, state, err := listed(ctx, r); !ok || err != nil {
			return ok, state, err
		}
		one, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		for _, other := range stay {
			if other.name == cli {
				continue
			}
			if n, err := s.blamed(one, r, other); n > 0 || err != nil {
				return false, lacks(other, n), err
			}
		}
		return true, "", nil
	}
	return wait
}

// lacks says of how many entries a copy has not all that was written.
func lacks(h *head, n int) string {
	return fmt.Sprintf("the copy on %s lacks what was written to %d files or directories", h.name, n)
}

// detachLimit bounds how long glusterd takes to cross off a member that it has let go.
const detachLimit = 30 * time.Second

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
			if err != nil && !strings.Contains(err.Error(), "is not part of cluster") {
				return nil, err
			}
			// glusterd answers before it has crossed the member off.
			left := plan.Await{What: h.name + " (" + addr + ") is no member of the pool any more", Timeout: detachLimit,
				Until: func(ctx context.Context, r host.Reader) (bool, string, error) {
					is, err := member(ctx, r)
					return !is, "it still is one, under that address or another: look at gluster pool list", err
				}}
			return left.Do(ctx, hh)
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
