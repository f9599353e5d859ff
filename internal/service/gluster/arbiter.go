package gluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// Of two copies only the second may go: half counts only with the first brick. A
// witness makes that three votes: its brick, the arbiter's, has every name, and the
// marks of which copy lacks what, and the content of no file. So the volume goes on
// with either copy, and never with one that lacks what the other had. GlusterFS has
// an arbiter in one shape only, of three bricks with two copies (replica 3 arbiter
// 1); with any other number of heads there is none.

// dataBricks is how many copies a volume with an arbiter has.
const dataBricks = 2

// arbiter is the witness that is to have the arbiter's brick; nil where none is.
func (s *State) arbiter() *head {
	if s.voter == "" {
		return nil
	}
	return s.head(s.voter)
}

// hosts is all that the service looks at: the heads, then the witnesses.
func (s *State) hosts() []*head {
	var out []*head
	for i := range s.heads {
		out = append(out, &s.heads[i])
	}
	for i := range s.witnesses {
		out = append(out, &s.witnesses[i])
	}
	return out
}

// copies is how many of the volume's bricks have the files' content.
func (s *State) copies(v *volume) int { return len(v.Bricks) - s.leftover(v) - v.Arbiters }

// arbiterBrick is the brick without content; nil where the volume has none. It is
// the last of the three.
func (v *volume) arbiterBrick() *brick {
	if v == nil || v.Arbiters == 0 || len(v.Bricks) == 0 {
		return nil
	}
	return &v.Bricks[len(v.Bricks)-1]
}

// voting is the witness whose brick the volume has; nil where it has none, or that
// of a host that the file does not name.
func (s *State) voting(v *volume) *head {
	if at := v.arbiterBrick(); at != nil {
		return s.ownerOf(*at)
	}
	return nil
}

// lostBrick says whether nothing is left of what the volume takes for that host's
// brick: its disk was replaced, or the host installed anew.
func (s *State) lostBrick(h *head, v *volume) bool {
	return h.reached && h.running == service.No && h.store != service.Unsure &&
		(h.data == service.No || h.data == service.Yes && h.dataID != v.ID || h.vol == nil)
}

// arbitrate adds to the blueprint what becomes of the arbiter's brick. It is added
// once there are two copies that are whole, and goes before a third one is added.
func (s *State) arbitrate(b *blueprint, intent service.Intent) error {
	w := s.arbiter()
	takes := w != nil && w.reached && intent.Includes(w.name)
	if b.known == nil {
		if takes && len(b.create) == dataBricks {
			b.arbiter = w.name
			return s.mayVote(w, nil)
		}
		return nil
	}
	has := s.voting(b.known)
	switch at := b.known.arbiterBrick(); {
	case at == nil:
	case s.copies(b.known)+len(b.grow) != dataBricks:
		b.dropped = at
		return nil
	case takes && has == w && s.lostBrick(w, b.known) && len(b.skipped) == 0:
		b.dropped, b.lost = at, true
	case has != nil && has.reached && intent.Includes(has.name):
		b.arbiter = has.name // it is kept as it is
		return nil
	default:
		return nil
	}
	if !takes || s.copies(b.known)+len(b.grow) != dataBricks || len(b.skipped) > 0 || s.splits() > 0 {
		return nil
	}
	b.arbiter, b.vote = w.name, true
	// What was a brick of this volume before is no place for a new one.
	b.former = w.data == service.Yes && w.dataID == b.known.ID && w.running == service.No
	return s.mayVote(w, b.known)
}

// mayVote refuses to make an arbiter's brick of what may be something else.
func (s *State) mayVote(w *head, v *volume) error {
	switch {
	case w.data == service.Unsure || w.store == service.Unsure:
		return &service.Refusal{Service: "glusterfs",
			Reason: fmt.Sprintf("what %s holds for the arbiter's brick is not known (%s)", w.name, w.why),
			Remedy: "Mend that on " + w.name + ", or go on without it: --node with the heads' names."}
	case w.isMount:
		return &service.Refusal{Service: "glusterfs",
			Reason: fmt.Sprintf("%s on %s is itself a mount point: were it ever not mounted, the arbiter's brick would be an empty directory", s.conf.BrickPath, w.name),
			Remedy: "Mount that file system one directory further up."}
	}
	return s.mayJoin(w, v)
}

func (s *State) splits() int {
	n := 0
	for _, h := range s.bricks() {
		n = max(n, h.splits)
	}
	return n
}

// brickOf is where a host's brick is, as the command line writes it.
func (s *State) brickOf(h *head) string { return h.addr.String() + ":" + s.conf.BrickPath }

// dropArbiter takes the arbiter's brick out of the volume: two copies are left, and
// two votes. Only the arbiter may know which copy lacks what, and without it each is
// taken for whole, so before that no copy that stays lacks anything.
func (s *State) dropArbiter(cli string, v *volume, stay []*head) []plan.Stage {
	at := *v.arbiterBrick()
	name := at.Host
	if w := s.ownerOf(at); w != nil {
		name = w.name
	}
	gone := takeBrick{volume: s.conf.VolumeName, brick: at, at: at.Host + ":" + s.conf.BrickPath}
	return []plan.Stage{{Name: "no copy lacks anything", Steps: s.whole(v, stay)},
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
			}}}}}
}

// whole waits until no copy that stays lacks anything, as those that serve have it
// written down: what one brick lacks is written down on the others.
func (s *State) whole(v *volume, stay []*head) []plan.Step {
	var out []plan.Step
	for _, b := range v.Bricks {
		h := s.ownerOf(b)
		if h == nil || !h.reached || h.running != service.Yes {
			continue
		}
		others := slices.DeleteFunc(slices.Clone(stay), func(o *head) bool { return o.name == h.name })
		if len(others) == 0 {
			continue
		}
		out = append(out, plan.Step{ID: id("whole", h.name), Host: h.name, Action: plan.Await{
			What: fmt.Sprintf("%s lacks nothing that %s knows of", strings.Join(namesOf(others), ", "), h.name), Timeout: leaveHealLimit, Every: time.Second,
			Until: func(ctx context.Context, r host.Reader) (bool, string, error) {
				for _, other := range others {
					n, err := s.blamed(ctx, r, other)
					if n > 0 || err != nil {
						return false, fmt.Sprintf("the copy on %s lacks what was written to %d files or directories", other.name, n), err
					}
				}
				return true, "", nil
			}}})
	}
	return out
}

// forgetLost takes out the brick of an arbiter of which nothing is left, before it is
// made anew. A witness that was installed anew is another one for the pool.
func (s *State) forgetLost(b blueprint) []plan.Stage {
	w := s.head(b.arbiter)
	out := s.dropArbiter(b.cli, b.known, s.copyHolders())
	if s.estranged(s.head(b.cli).peers, w) {
		out = append(out, plan.Stage{Name: "forget the former " + w.name, Steps: []plan.Step{s.detachHead(b.cli, w)}})
	}
	return out
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

// pooled says whether the pool has a host as a member.
func (s *State) pooled(cli string, w *head) bool {
	return slices.ContainsFunc(s.head(cli).peers, w.is)
}

// formerVoters are the witnesses that vote no more: what is left of that is undone. A
// glusterd that serves anything else is nobody's but its owner's.
func (s *State) formerVoters(b blueprint, intent service.Intent) []plan.Stage {
	var out []plan.Stage
	for i := range s.witnesses {
		w := &s.witnesses[i]
		if w.name == b.arbiter || b.known == nil || b.cli == "" || !w.reached || !intent.Includes(w.name) || len(w.others) > 0 {
			continue
		}
		if at := b.known.arbiterBrick(); at != nil && b.dropped == nil && *at == s.own(w) {
			continue
		}
		if s.pooled(b.cli, w) {
			out = append(out, s.retireVoter(b.cli, w)...)
		}
	}
	return out
}

// blamed counts the entries of which the brick on r has written down that another one
// lacks something.
func (s *State) blamed(ctx context.Context, r host.Reader, other *head) (int, error) {
	key, err := s.pendingKey(ctx, r, s.own(other))
	if err != nil {
		return 0, err
	}
	index, err := r.ReadDir(ctx, path.Join(s.conf.BrickPath, indexPath))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
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
		case errors.As(err, &exit):
			out = exit.Stdout // an entry is gone by now, or says nothing about that brick
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
		w := &s.witnesses[i]
		pooled := slices.ContainsFunc(s.bricks(), func(h head) bool { return slices.ContainsFunc(h.peers, w.is) })
		if intent.Leaves(w.name) && (pooled || v.has(s.own(w))) {
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
			ph.Stages = append(ph.Stages, s.dropArbiter(cli, v, stay)...)
			ph.Notes = append(ph.Notes, "The volume will have two copies: while the first of them is away nothing can be written (1 of 2 is no majority).")
		}
		ph.Stages = append(ph.Stages, s.retireVoter(cli, w)...)
	}
	return ph, nil
}

// makeWay takes the arbiter's brick out before a copy beside it goes, which GlusterFS
// does not do the other way round. Where that copy is lost, the arbiter is asked
// first whether the other one is whole, and the volume goes on without a quorum until
// the lost one is out of it.
func (s *State) makeWay(cli string, v *volume, leave, stay []*head) ([]plan.Stage, error) {
	at := v.arbiterBrick()
	if at == nil {
		return nil, nil
	}
	lost := slices.ContainsFunc(leave, func(h *head) bool { return h.brick && !h.reached })
	if !lost {
		return s.dropArbiter(cli, v, stay), nil
	}
	if w := s.ownerOf(*at); w == nil || !w.reached || w.running != service.Yes {
		return nil, &service.Refusal{Service: "glusterfs",
			Reason: "the arbiter's brick on " + at.Host + " does not serve: it alone knows whether the copy that stays lacks what only the lost one had",
			Remedy: "Bring that witness back, then run this again."}
	}
	out := s.dropArbiter(cli, v, stay)
	loosen := plan.Stage{Name: "quorum", Steps: s.quorumSteps(s.head(cli), v, quorumCall{loosen: true})}
	return slices.Insert(out, 1, loosen), nil
}

// copyHolders is the heads with a copy by the file.
func (s *State) copyHolders() []*head {
	return slices.DeleteFunc(s.hosts(), func(h *head) bool { return !h.brick || h.witness })
}
