package gluster

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"multihead/internal/service"
)

// Health implements service.State.
func (s *State) Health() service.Health {
	out := service.Health{Service: "glusterfs", State: service.Up, Nodes: map[string]service.NodeHealth{}}
	v := s.seen()
	worst := func(to service.Word, why string) {
		if rank(to) > rank(out.State) {
			out.State = to
		}
		if why != "" {
			out.Reason = strings.TrimPrefix(out.Reason+"; "+why, "; ")
		}
	}
	online, unknown, pending, splits := 0, 0, 0, 0
	serving := false
	for _, h := range s.hosts() {
		if h.witness && h != s.arbiter() && !v.has(s.own(h)) {
			continue
		}
		nh := s.nodeHealth(h, v)
		out.Nodes[h.name] = nh
		if nh.State != service.Up {
			worst(service.Degraded, h.name+": "+nh.Reason)
		}
		switch {
		case h.brick && h.running == service.Yes:
			online++
		case h.brick && h.running == service.Unsure:
			unknown++
		}
		pending += max(h.pending, 0)
		splits = max(splits, h.splits)
		serving = serving || h.answers == service.Yes
	}
	total := len(s.bricks())
	if s.arbiter() != nil {
		total++
	}
	if v != nil {
		total = len(v.Bricks) - s.leftover(v)
	}
	switch {
	case v == nil && unknown == 0 && s.allKnown():
		out.State, out.Reason = service.Down, "there is no volume "+s.conf.VolumeName
	case v == nil:
		out.State = service.Unknown
	case v.Status != volStarted:
		out.State, out.Reason = service.Down, "the volume is stopped"
	case !serving && online == 0 && unknown > 0:
		out.State = service.Unknown
	case !serving && !quorate(v, s):
		worst(service.Down, fmt.Sprintf("%d of %d bricks: no quorum, reads and writes fail", online, total))
	case len(s.mismatches) > 0 && s.healStuck(): // before that the daemons or recovery may end it
		m := s.mismatches[0]
		worst(service.Degraded, fmt.Sprintf("%q is another file on some bricks (%s), and nobody ends that; names of that kind: %d. Say of each which is the right one: gluster volume heal %s split-brain source-brick ADDRESS:%s NAME",
			m.path, m.parts, len(s.mismatches), s.conf.VolumeName, s.conf.BrickPath))
	case splits > 0:
		worst(service.Degraded, fmt.Sprintf("%d files in split-brain", splits))
	case pending > 0 && s.healStuck():
		worst(service.Degraded, fmt.Sprintf("%d entries wait to be healed, and none has been for %s though all bricks serve: gluster volume heal %s info names them",
			pending, stuckFor, s.conf.VolumeName))
	case pending > 0:
		worst(service.Degraded, fmt.Sprintf("healing, %d entries to go", pending))
	case v.Options[shdOption] == "off" && total > 1:
		worst(service.Degraded, "the self-heal daemons are switched off: a brick was being added; run up to finish")
	}
	if v != nil && v.Options[quorumOption] == "none" && options(s.conf)[quorumOption] != "none" {
		worst(service.Degraded, "the volume takes writes without a quorum, since too few heads were left; recovery takes that back when enough are here")
	}
	out.Summary = s.summary(v, online, total, pending)
	return out
}

// stuckFor is how long nothing must have been healed for the heal to be stuck: what
// could not be healed is tried again each minute (cluster.heal-timeout).
const stuckFor = 5 * time.Minute

// healStuck says whether the heal stands for so long that a person is told.
func (s *State) healStuck() bool { return s.healStands(stuckFor) }

// healStands says whether a brick has entries to heal that stay, though every brick
// is there.
func (s *State) healStands(long time.Duration) bool {
	stuck, v := false, s.seen()
	for _, h := range s.hosts() {
		if !h.brick || v != nil && !v.has(s.own(h)) {
			continue // a head that is to join has nothing to give yet
		}
		if h.running != service.Yes || slices.ContainsFunc(h.down, func(m string) bool { return s.mayHaveBrick(v, h, m) }) {
			return false
		}
		stuck = stuck || h.pending > 0 && h.stuck >= long
	}
	return stuck
}

// mayHaveBrick says whether a member of the pool, as a head's glusterd calls it, has a brick
// of the volume, or whether that is not known. One that is to get a brick, or had one, is
// nobody that anything waits for.
func (s *State) mayHaveBrick(v *volume, h *head, member string) bool {
	i := slices.IndexFunc(h.peers, func(p peer) bool { return p.named(member) })
	p := peer{Names: []string{member}}
	if i >= 0 {
		p = h.peers[i]
	}
	of := slices.IndexFunc(s.hosts(), func(o *head) bool { return o.is(p) || p.named(o.name) })
	if v == nil || i < 0 && of < 0 {
		return true
	}
	return slices.ContainsFunc(v.Bricks, func(b brick) bool {
		return p.named(b.Host) || of >= 0 && s.ownerOf(b) == s.hosts()[of]
	})
}

// mayHeal says whether something waits to be healed that only time keeps from being
// looked at, or whether that is not known: one answer that came too late on a busy head
// is no reason to look away for minutes. What waits for a brick that is away does so
// until that is back, which is seen without looking of a head, and of nobody else: an
// arbiter's brick that may start by itself is looked for.
func (s *State) mayHeal(v *volume) bool {
	may := false
	for _, h := range s.hosts() {
		if !h.brick || v != nil && !v.has(s.own(h)) {
			continue
		}
		if h.witness && h.reached && h.running == service.No && s.mayStart(h, v) {
			may = true
			continue
		}
		if !h.reached || h.running == service.No {
			return false
		}
		may = may || h.pending > 0 || h.why != ""
	}
	return may
}

// mayStart says whether a brick that does not run may do so without a person.
func (s *State) mayStart(h *head, v *volume) bool {
	return !h.past[bricksUnit].byHand() && !h.past["glusterd.service"].byHand() && (v == nil || s.hollow(h, v) == "")
}

// rank orders the words by severity.
func rank(w service.Word) int {
	for i, x := range []service.Word{service.Up, service.Maint, service.Drain, service.Unknown, service.Degraded, service.Down} {
		if x == w {
			return i
		}
	}
	return 0
}

func (s *State) summary(v *volume, online, total, pending int) string {
	if v == nil {
		return "no volume seen"
	}
	queue := "heal queue empty"
	if pending > 0 {
		queue = fmt.Sprintf("%d to heal", pending)
	}
	line := fmt.Sprintf("%d/%d bricks, replica %d, %s", online, total, v.Replica, queue)
	if v.Arbiters > 0 {
		line = fmt.Sprintf("%d/%d bricks, %d copies and an arbiter, %s", online, total, s.copies(v), queue)
	}
	for _, h := range s.heads {
		if h.size > 0 {
			return line + fmt.Sprintf(", %s of %s used", bytesOf(h.used), bytesOf(h.size))
		}
	}
	return line
}

// bytesOf is a size as people read it.
func bytesOf(n int64) string {
	const k = 1024
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	f, i := float64(n), 0
	for f >= k && i < len(units)-1 {
		f, i = f/k, i+1
	}
	if f < 10 && i > 0 {
		return fmt.Sprintf("%.1f %s", f, units[i])
	}
	return fmt.Sprintf("%.0f %s", f, units[i])
}

// seen is the volume as some head's store has it, one whose daemon answers
// before others.
func (s *State) seen() *volume {
	var v *volume
	for _, h := range s.heads {
		if h.vol != nil && (v == nil || h.daemon == service.Yes) {
			v = h.vol
			if h.daemon == service.Yes {
				break
			}
		}
	}
	return v
}

func (s *State) allKnown() bool {
	for _, h := range s.bricks() {
		if !h.reached || h.store == service.Unsure {
			return false
		}
	}
	return true
}

// quorate says whether the bricks that may be running, counting the unknown
// ones as running, are enough for clients to write.
func quorate(v *volume, s *State) bool {
	up, first := 0, false
	for i, b := range v.Bricks {
		runs := true
		if h := s.ownerOf(b); h != nil {
			runs = h.running != service.No
		}
		if runs {
			up++
			first = first || i == 0
		}
	}
	return 2*up > len(v.Bricks) || 2*up == len(v.Bricks) && first
}

func (s *State) nodeHealth(h *head, v *volume) service.NodeHealth {
	nh := service.NodeHealth{State: service.Up, Role: "client", Facts: map[string]any{}}
	if h.brick {
		nh.Role = "brick"
		nh.Facts["peers"] = len(h.peers)
		if h.pending >= 0 {
			nh.Facts["heal_pending"] = h.pending
		}
	}
	if h.witness {
		nh.Role = "arbiter"
	}
	nh.Facts["mounted"] = h.mounted == service.Yes && h.answers == service.Yes
	if h.size > 0 {
		nh.Facts["size_bytes"], nh.Facts["used_bytes"] = h.size, h.used
	}
	set := func(w service.Word, why string) {
		if nh.State == service.Up {
			nh.State, nh.Reason = w, why
		}
	}
	if !h.reached {
		set(service.Unknown, h.why)
		nh.Facts = nil
		return nh
	}
	if h.brick {
		s.brickHealth(h, v, set)
	}
	switch {
	case h.witness: // does not mount
	case h.mounted == service.Unsure:
		set(service.Unknown, h.why)
	case h.mounted == service.No:
		set(service.Down, "the volume is not mounted")
	case h.answers == service.No:
		set(service.Down, "the mounted volume does not serve: no quorum, or its client has died")
	case h.answers == service.Unsure:
		set(service.Down, "the mounted volume does not answer in time")
	case v != nil && h.marker != "" && !strings.HasPrefix(h.marker, v.ID):
		set(service.Degraded, "the mounted volume is another one: its marker says "+strings.TrimSpace(h.marker))
	}
	return nh
}

func (s *State) brickHealth(h *head, v *volume, set func(service.Word, string)) {
	switch {
	case h.daemon == service.No:
		set(service.Down, "glusterd does not run")
	case h.daemon == service.Unsure:
		set(service.Unknown, "glusterd does not answer")
	case len(h.rejected) > 0:
		set(service.Degraded, "its configuration contradicts that of "+strings.Join(h.rejected, ", ")+" (peer rejected)")
	case v != nil && !v.has(s.own(h)):
		set(service.Down, "its brick is not part of the volume")
	case h.running == service.No:
		set(service.Down, "its brick does not run")
	case h.running == service.Unsure:
		set(service.Unknown, "its brick: "+h.why)
	case len(h.down) > 0:
		set(service.Degraded, "it does not reach "+strings.Join(h.down, ", "))
	}
}

// Survival implements service.State: client quorum over the bricks that the
// file asks for.
func (s *State) Survival() service.Survival {
	n := len(s.bricks())
	sv := service.Survival{Service: "glusterfs", DataSafe: max(n-1, 0)}
	// Quorum counts against all bricks, whatever died before: losing heads
	// one after another allows no more than losing them at once.
	lose := max((n-1)/2, 0)
	sv.AtOnce, sv.InTurn = lose, lose
	majority := n/2 + 1
	switch {
	case n == 0:
		sv.Why = "no head has a brick"
	case n == 1:
		sv.Why = "one brick, one copy"
		sv.RaisedBy = "glusterfs on three heads"
	case n == dataBricks && s.arbiter() != nil:
		sv.AtOnce, sv.InTurn = 1, 1
		sv.Why = fmt.Sprintf("2 bricks and the arbiter's on %s, quorum 2", s.arbiter().name)
		sv.RaisedBy = "three heads more (5 bricks, of which 2 may go)"
	case n == 2:
		sv.Why = fmt.Sprintf("2 bricks: the second may go, the first (%s) may not, for half counts only with the first brick", s.bricks()[0].name)
		sv.RaisedBy = "a third head, or a witness, which gets an arbiter's brick"
	case n%2 == 0:
		sv.Why = fmt.Sprintf("%d bricks, quorum %d, or %d with the first (%s): %d more may go while that one stays", n, majority, n/2, s.bricks()[0].name, n/2-lose)
		sv.RaisedBy = fmt.Sprintf("a head more (%d bricks, of which %d may go)", n+1, n/2)
	default:
		sv.Why = fmt.Sprintf("%d bricks, quorum %d", n, majority)
		sv.RaisedBy = fmt.Sprintf("two heads more (%d bricks, of which %d may go)", n+2, (n+1)/2)
	}
	return sv
}
