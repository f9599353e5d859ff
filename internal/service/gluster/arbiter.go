package gluster

import (
	"fmt"
	"slices"

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

// anew says whether a host with a brick of the volume was installed anew: its glusterd
// knows of no such volume.
func (s *State) anew(h *head) bool {
	return h.reached && h.store != service.Unsure && h.vol == nil && h.running == service.No
}

// hollow says what is wrong with the place of a host's brick that does not run; empty
// where it is there. A disk that is not mounted looks like one that was replaced.
func (s *State) hollow(h *head, v *volume) string {
	switch {
	case !h.reached || h.running == service.Yes:
		return ""
	case h.data == service.No:
		return s.conf.BrickPath + " is not there or empty"
	case h.data == service.Unsure:
		return s.conf.BrickPath + " cannot be read (" + h.why + ")"
	case h.dataID == "":
		return s.conf.BrickPath + " has no mark of the volume, or it could not be read"
	case h.dataID != v.ID:
		return s.conf.BrickPath + " belongs to another volume"
	}
	return ""
}

// arbitrate adds to the blueprint what becomes of the arbiter's brick. It is added
// beside two copies that both serve, and goes before a third one is added.
func (s *State) arbitrate(b *blueprint, intent service.Intent) error {
	w := s.arbiter()
	if b.known == nil {
		if w != nil && len(b.create) == dataBricks {
			return s.addVote(b, w, intent)
		}
		return nil
	}
	at, has := b.known.arbiterBrick(), s.voting(b.known)
	wanted := s.copies(b.known)+len(b.grow) == dataBricks
	switch {
	case at != nil && !wanted:
		if why := s.copyMissing(b, intent); why != "" {
			return &service.Refusal{Service: "glusterfs",
				Reason: "the arbiter's brick has to make way for a third copy, and may alone know what a copy lacks: " + why,
				Remedy: "Run multihead up for both heads first; a third one can be added once both copies serve."}
		}
		b.dropped = at
		return nil
	case at == nil || has == nil: // none, or one of a host that the file does not name
	case s.anew(has) && has == w && intent.Includes(w.name) && s.copyMissing(b, intent) == "":
		b.dropped, b.lost = at, true
	case s.anew(has) || s.hollow(has, b.known) != "":
		b.unforced = s.unforced(b.known)
		return nil
	default:
		if has.reached && intent.Includes(has.name) {
			b.arbiter = has.name // it is kept as it is
		}
		return nil
	}
	if w == nil || !wanted || at != nil && has == nil {
		return nil
	}
	return s.addVote(b, w, intent)
}

// addVote has a witness get the arbiter's brick, or notes why it does not get it now.
func (s *State) addVote(b *blueprint, w *head, intent service.Intent) error {
	former := b.known != nil && w.data == service.Yes && w.dataID == b.known.ID
	switch {
	case !intent.Includes(w.name):
		return nil
	case !w.reached:
		b.notYet = w.why
	case w.data == service.Unsure || w.store == service.Unsure:
		b.notYet = "what it holds is not known (" + w.why + ")"
	case former && w.running != service.No:
		b.notYet = "the process of its former brick has not ended"
	case b.known != nil && s.copyMissing(b, intent) != "":
		b.notYet = s.copyMissing(b, intent)
	case s.splits() > 0:
		b.notYet = "files are in split-brain"
	case w.isMount:
		return &service.Refusal{Service: "glusterfs",
			Reason: fmt.Sprintf("%s on %s is itself a mount point: were it ever not mounted, the arbiter's brick would be an empty directory", s.conf.BrickPath, w.name),
			Remedy: "Mount that file system one directory further up."}
	default:
		b.arbiter, b.vote, b.former = w.name, b.known != nil, former
		return s.mayJoin(w, b.known)
	}
	return nil
}

// copyMissing says which copy of the volume does not serve, or takes no part in the
// plan; empty where all do. What it lacks, or the others, could not be seen.
func (s *State) copyMissing(b *blueprint, intent service.Intent) string {
	for _, h := range s.copyHolders(b.known) {
		switch {
		case !h.reached:
			return h.name + " does not answer"
		case h.running != service.Yes || h.daemon != service.Yes:
			return "the brick of " + h.name + " does not serve"
		case !intent.Includes(h.name):
			return h.name + " takes no part in this plan"
		}
	}
	if n := len(s.copyHolders(b.known)); n != s.copies(b.known) {
		return "a copy is on a host that the file does not name"
	}
	return ""
}

// copyHolders is the heads that have a copy of the volume.
func (s *State) copyHolders(v *volume) []*head {
	return slices.DeleteFunc(s.hosts(), func(h *head) bool { return h.witness || !h.brick || !v.has(s.own(h)) })
}

// unforced says why no brick of the volume may be started by force; empty where it may.
// Force starts what is down on every host, and makes a brick of whatever is there: an
// empty directory would be an arbiter that knows of nothing.
func (s *State) unforced(v *volume) string {
	w := s.voting(v)
	if w == nil || !w.reached || w.running == service.Yes {
		return ""
	}
	if s.anew(w) {
		return w.name + " was installed anew, and up makes the arbiter's brick there anew once both copies serve"
	}
	if why := s.hollow(w, v); why != "" {
		return fmt.Sprintf("%s has the arbiter's brick, and %s: mount its disk; if that is lost, run gluster volume remove-brick %s replica %d %s force once gluster volume heal %s info has nothing for the two copies, and up makes it anew",
			w.name, why, s.conf.VolumeName, dataBricks, s.brickOf(w), s.conf.VolumeName)
	}
	return ""
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
