package gluster

import (
	"cmp"
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

// dropArbiter takes the arbiter's brick out of the volume: two copies are left, and
// two votes. Only the arbiter may know which copy lacks what, and without it each is
// taken for whole, so before that no copy that stays lacks anything.
func (s *State) dropArbiter(cli string, v *volume, stay []*head) ([]plan.Stage, error) {
	whole, err := s.whole(v, stay)
	if err != nil {
		return nil, err
	}
	at := *v.arbiterBrick()
	name := at.Host
	if w := s.ownerOf(at); w != nil {
		name = w.name
	}
	gone := takeBrick{volume: s.conf.VolumeName, brick: at, at: at.Host + ":" + s.conf.BrickPath}
	return []plan.Stage{{Name: "no copy lacks anything", Steps: whole},
		{Name: "the arbiter makes way", Steps: []plan.Step{{ID: id("drop-arbiter", name), Host: cli,
			OneWay: "it is added anew where it is needed again; no file's content is on it",
			Action: plan.Func{
				What: fmt.Sprintf("take the arbiter's brick of %s out of volume %s", name, s.conf.VolumeName),
				Kind: plan.Destroy, Satisfied: gone.Done, Timeout: 3 * changeLimit,
				Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
					if err := s.forgetDead(ctx, h); err != nil {
						return nil, err
					}
					_, err := gone.Do(ctx, h)
					return nil, err
				},
			}}}}}, nil
}

// whole waits until no copy that stays lacks anything, as the other bricks have it
// written down. What a copy lacks was acknowledged by both others, so one of them has
// to be there to be asked; whether it runs does not matter.
func (s *State) whole(v *volume, stay []*head) ([]plan.Step, error) {
	lost := ""
	for _, h := range s.copyHolders(v) {
		if !h.reached || s.hollow(h, v) != "" {
			lost = h.name
		}
	}
	heard := map[string]bool{}
	var out []plan.Step
	for _, b := range v.Bricks {
		h := s.ownerOf(b)
		if h == nil || !h.reached || h.data != service.Yes || h.dataID != v.ID {
			continue
		}
		others := slices.DeleteFunc(slices.Clone(stay), func(o *head) bool { return o.name == h.name })
		if len(others) == 0 {
			continue
		}
		for _, o := range others {
			heard[o.name] = true
		}
		out = append(out, plan.Step{ID: id("whole", h.name), Host: h.name, Action: plan.Await{
			What: fmt.Sprintf("%s lacks nothing that %s knows of", strings.Join(namesOf(others), ", "), h.name), Timeout: leaveHealLimit, Every: time.Second,
			Until: func(ctx context.Context, r host.Reader) (bool, string, error) {
				for _, other := range others {
					n, err := s.blamed(ctx, r, other)
					switch {
					case n > 0 && lost != "": // nobody can heal it
						return false, "", plan.Never(fmt.Errorf("%s: bring %s back, which has it", lacks(other, n), lost))
					case n > 0 || err != nil:
						return false, lacks(other, n), err
					}
				}
				return true, "", nil
			}}})
	}
	for _, h := range stay {
		if !heard[h.name] {
			return nil, &service.Refusal{Service: "glusterfs",
				Reason: "no other brick is there to be asked whether the copy on " + h.name + " lacks anything that was acknowledged",
				Remedy: "Bring the witness, or the other head, back and run this again."}
		}
	}
	return out, nil
}

// forgetLost takes out the brick of an arbiter of which nothing is left, before it is
// made anew. A witness that was installed anew is another one for the pool.
func (s *State) forgetLost(b blueprint) ([]plan.Stage, error) {
	w := s.voting(b.known)
	out, err := s.dropArbiter(b.cli, b.known, s.copyHolders(b.known))
	if err == nil && s.estranged(s.head(b.cli).peers, w) {
		out = append(out, plan.Stage{Name: "forget the former " + w.name, Steps: []plan.Step{s.detachHead(b.cli, w)}})
	}
	return out, err
}

// estranged says whether the pool has a member of that address which this host is not
// any more: it was installed anew, and glusterd has given it another identity, or has
// not run on it yet.
func (s *State) estranged(peers []peer, w *head) bool {
	return w.reached && w.store != service.Unsure && slices.ContainsFunc(peers, func(p peer) bool {
		return p.named(w.addr.String()) && p.UUID != w.uuid
	})
}

// former puts what was an arbiter's brick aside.
func (s *State) former(w *head) plan.Step {
	return plan.Step{ID: "glusterfs.aside", Host: w.name, Action: plan.Aside{Path: s.conf.BrickPath, To: s.conf.BrickPath + ".removed-" + s.stamp}}
}

// retireVoter takes a witness out of the pool and stops glusterd there. Its brick's
// directory is put aside: a brick of this volume is no place for a new one.
func (s *State) retireVoter(cli string, w *head) []plan.Stage {
	out := []plan.Stage{{Name: w.name + " leaves the pool", Steps: []plan.Step{s.detachHead(cli, w)}}}
	if w.reached {
		out = append(out, plan.Stage{Name: w.name + " stops glusterd", Steps: s.retire(w)})
	}
	return out
}

// formerVoters are the witnesses that vote no more: what is left of that is undone,
// once nobody is away, for nobody leaves a pool that is not all there. A glusterd that
// serves anything else is nobody's but its owner's.
func (s *State) formerVoters(b blueprint, intent service.Intent) []plan.Stage {
	if b.known == nil || len(b.skipped) > 0 {
		return nil
	}
	var out []plan.Stage
	for i := range s.witnesses {
		w := &s.witnesses[i]
		stays := w.name == b.arbiter || b.known.has(s.own(w)) && b.dropped == nil || s.elsewhere(b.known, w) != nil
		if !stays && w.reached && intent.Includes(w.name) && len(w.others) == 0 && s.wasVoter(b.known, w) {
			out = append(out, s.retireVoter(b.cli, w)...)
		}
	}
	return out
}

// wasVoter says whether something is left on a witness of having the arbiter's brick:
// it is in the pool, or has just been taken out of it.
func (s *State) wasVoter(v *volume, w *head) bool {
	pooled := slices.ContainsFunc(s.bricks(), func(h head) bool { return slices.ContainsFunc(h.peers, w.is) })
	return pooled || v.has(s.own(w)) || w.store == service.Yes && len(w.peers) == 0 && w.data == service.Yes && w.dataID == v.ID
}

// blamed counts the entries of which the brick on r has written down that another one
// lacks something.
//
// What says nothing is no sign of a whole copy: a disk that is not mounted any more has
// no list of them either, and each brick makes its list when it starts.
func (s *State) blamed(ctx context.Context, r host.Reader, other *head) (int, error) {
	if err := s.marked(ctx, r); err != nil {
		return 0, err
	}
	key, err := s.pendingKey(ctx, r, s.own(other))
	if err != nil {
		return 0, err
	}
	index, err := r.ReadDir(ctx, path.Join(s.conf.BrickPath, indexPath))
	if err != nil {
		return 0, fmt.Errorf("%s: what its brick knows that others lack cannot be read; mount its disk, or start the brick: %w", r.Name(), err)
	}
	var at []string
	for _, gfid := range index {
		if f := gfid.Name; len(f) == len("00000000-0000-0000-0000-000000000000") {
			at = append(at, path.Join(s.conf.BrickPath, ".glusterfs", f[:2], f[2:4], f))
		}
	}
	n := 0
	for some := range slices.Chunk(at, askTogether) {
		out, err := r.Query(ctx, append([]string{"getfattr", "--absolute-names", "-e", "hex", "-n", key}, some...)...)
		var exit *host.ExitError
		switch {
		case errors.As(err, &exit) && saysNothing(exit.Stderr):
			out = exit.Stdout
		case err != nil:
			return 0, err
		}
		for line := range strings.Lines(out) {
			if value, ok := strings.CutPrefix(strings.TrimSpace(line), key+"=0x"); ok && strings.Trim(value, "0") != "" {
				n++
			}
		}
	}
	return n, nil
}

// marked is an error where the brick's directory is not marked as one of the volume.
func (s *State) marked(ctx context.Context, r host.Reader) error {
	v := s.seen()
	if v == nil {
		return fmt.Errorf("%s: no head knows volume %s", r.Name(), s.conf.VolumeName)
	}
	return isBrickOf(ctx, r, s.conf.BrickPath, v.ID)
}

// saysNothing says whether getfattr had no other trouble than entries that are gone by
// now, or have nothing written down about that brick.
func saysNothing(stderr string) bool {
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasSuffix(line, "No such attribute") && !strings.HasSuffix(line, "No such file or directory") {
			return false
		}
	}
	return true
}

// askTogether is how many entries one command is asked about: of one that failed for
// some of them only the last part of what it said is known.
const askTogether = 32

// pendingKey is the name of the extended attribute under which bricks write down what
// that brick lacks, as glusterd's store has it: the numbers in it are not positions.
func (s *State) pendingKey(ctx context.Context, r host.Reader, b brick) (string, error) {
	data, err := r.ReadFile(ctx, path.Join(volsDir, s.conf.VolumeName, "bricks", b.Host+":"+b.Path))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "brick-id="); ok && name != "" {
			return "trusted.afr." + name, nil
		}
	}
	return "", fmt.Errorf("%s: glusterd's books do not say what the brick on %s is called", r.Name(), b.Host)
}

// leavingVoters are the witnesses that leave and are part of the pool, or have the
// arbiter's brick.
func (s *State) leavingVoters(intent service.Intent) []*head {
	var out []*head
	v := s.seen()
	for i := range s.witnesses {
		if w := &s.witnesses[i]; intent.Leaves(w.name) && v != nil && s.wasVoter(v, w) {
			out = append(out, w)
		}
	}
	return out
}

// stayingVoter is the first witness that does not leave.
func (s *State) stayingVoter(intent service.Intent) string {
	for _, w := range s.witnesses {
		if !intent.Leaves(w.name) {
			return w.name
		}
	}
	return ""
}

// leaveVoters is how witnesses alone leave: the copies stay, and go on with a vote
// less, so both have to be here and whole.
func (s *State) leaveVoters(ph plan.Phase, voters, stay []*head) (plan.Phase, error) {
	v := s.seen()
	var cli string
	var missing []string
	for _, h := range stay {
		if h.running == service.Yes && h.daemon == service.Yes && h.vol != nil {
			cli = cmp.Or(cli, h.name)
		} else {
			missing = append(missing, h.name)
		}
	}
	if v == nil {
		return ph, nil
	}
	if len(missing) > 0 {
		return ph, &service.Refusal{Service: "glusterfs",
			Reason: fmt.Sprintf("the brick of %s does not serve, and the arbiter's is what the volume goes on with", strings.Join(missing, ", ")),
			Remedy: "Run multihead up, or multihead recover, first; this goes on once both copies serve."}
	}
	for _, w := range voters {
		if v.has(s.own(w)) {
			drop, err := s.dropArbiter(cli, v, stay)
			if err != nil {
				return ph, err
			}
			ph.Stages = append(ph.Stages, drop...)
			ph.Notes = append(ph.Notes, "The volume will have two copies: while the first of them is away nothing can be written (1 of 2 is no majority).")
		}
		ph.Stages = append(ph.Stages, s.retireVoter(cli, w)...)
	}
	return ph, nil
}

// makeWay takes the arbiter's brick out before a copy beside it goes, which GlusterFS
// does not do the other way round. Where that copy is lost, the arbiter is asked
// first whether the other one is whole, and the volume goes on without a quorum until
// the lost one is out of it. One that may come back keeps its vote.
func (s *State) makeWay(cli string, v *volume, leave, stay []*head) ([]plan.Stage, error) {
	at := v.arbiterBrick()
	if at == nil {
		return nil, nil
	}
	out, err := s.dropArbiter(cli, v, stay)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(leave, func(h *head) bool { return h.brick && h.dead != "" }) {
		loosen := plan.Stage{Name: "quorum", Steps: s.quorumSteps(s.head(cli), v, quorumCall{loosen: true})}
		out = slices.Insert(out, 1, loosen)
	}
	return out, nil
}
