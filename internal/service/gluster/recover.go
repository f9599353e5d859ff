package gluster

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"multihead/internal/plan"
	"multihead/internal/service"
)

var _ service.Recoverer = (*State)(nil)

const (
	quorumOption       = "cluster.quorum-type"
	serverQuorumOption = "cluster.server-quorum-type"
)

// Recover starts what does not serve of a volume that exists: glusterd, bricks
// that have their data, the mounts. Where too few heads are left for a quorum, the
// volume goes on without one where a person says so; once enough bricks serve
// again, it wants one again.
func (s *State) Recover(intent service.Intent) (plan.Phase, error) {
	var ph plan.Phase
	add := func(name string, steps ...plan.Step) {
		if len(steps) > 0 {
			ph.Stages = append(ph.Stages, plan.Stage{Name: name, Steps: steps})
		}
	}
	var thaw, daemons []plan.Step
	for _, h := range s.hosts() {
		if !h.reached || !intent.Includes(h.name) || h.witness && !s.seen().has(s.own(h)) {
			continue
		}
		thaw = append(thaw, endFrozen(h)...)
		if h.brick && h.daemon == service.No && h.past["glusterd.service"].startable() {
			daemons = append(daemons, plan.Step{ID: "glusterfs.daemon", Host: h.name, Action: launch("glusterd.service")})
		}
	}
	add("end what is frozen", thaw...)
	add("daemons", daemons...)
	v, cli := s.seen(), s.commander(intent)
	ph.Again = s.mayHeal(v)
	if v == nil || v.Status != volStarted || cli == nil {
		return ph, nil
	}
	q, err := s.quorumFor(v, intent)
	if err != nil {
		return ph, err
	}
	ph.Notes = append(ph.Notes, q.notes...)
	quorum := s.quorumSteps(cli, v, q)
	torn, bricks, notes, err := s.startBricks(cli, v, intent)
	if err != nil {
		return ph, err
	}
	ph.Notes = append(ph.Notes, notes...)
	add("quorum", quorum...)
	add("what was torn", torn...)
	add("bricks", bricks...)
	if q.serves {
		loose := q.loosen || v.Options[quorumOption] == "none"
		add("mount", s.remount(intent, loose, q.restore)...)
		ph.Stages = append(ph.Stages, s.helpHeal(cli, v, intent)...)
	}
	return ph, nil
}

// commander is the head whose glusterd is given the commands.
func (s *State) commander(intent service.Intent) *head {
	for i := range s.heads {
		if h := &s.heads[i]; h.reached && h.daemon == service.Yes && h.vol != nil && intent.Includes(h.name) {
			return h
		}
	}
	return nil
}

// quorumCall is what becomes of the volume's quorum.
type quorumCall struct {
	loosen  bool // go on without
	restore bool // want one again
	serves  bool // then clients can be served
	notes   []string
}

// quorumFor decides it. A brick on a host that is no head of the file may run: it
// counts as living where that keeps the quorum, and never as proven dead.
func (s *State) quorumFor(v *volume, intent service.Intent) (quorumCall, error) {
	var q quorumCall
	var possible, running tally
	var silent, dead []string
	for i, b := range v.Bricks {
		h := s.ownerOf(b)
		switch {
		case h == nil:
			possible.add(i)
			silent = append(silent, b.Host)
		case h.reached && h.data == service.Yes && (h.dataID == v.ID || h.running == service.Yes):
			possible.add(i)
			if h.running == service.Yes {
				running.add(i)
			}
		case h.reached:
			silent = append(silent, h.name+" ("+s.conf.BrickPath+" is not its brick now)")
		case h.dead != "":
			dead = append(dead, h.name+": "+h.dead)
		default:
			silent = append(silent, h.name)
		}
	}
	n := len(v.Bricks)
	loose := v.Options[quorumOption] == "none" && options(s.conf)[quorumOption] != "none"
	q.serves = true
	switch {
	case possible.quorate(n):
		q.restore = loose && running.quorate(n)
	case loose || v.Options[quorumOption] == "none":
	case len(silent) == 0 && !intent.Confirmed:
		// A copy cannot know by itself that it lacks something: what is to be
		// healed on it is written down on the others.
		return q, &service.Refusal{Service: "glusterfs",
			Reason: fmt.Sprintf("%d of %d bricks are here, too few for a quorum. The others are proven to be switched off (%s), but whether the bricks here had all that was written when those died is not known",
				possible.n, n, strings.Join(dead, ", ")),
			Remedy: "Bring one of them back. If nothing was healing when they died (gluster volume heal, multihead status and events say so), run multihead recover with the cluster's name typed (--accept-data-loss NAME): the volume goes on with what is here."}
	case len(silent) == 0:
		q.loosen = true
		q.notes = append(q.notes, "The volume goes on without a quorum: "+strings.Join(dead, ", ")+".")
	case intent.Confirmed:
		q.loosen = true
		q.notes = append(q.notes, "The volume goes on without a quorum, and "+strings.Join(silent, ", ")+
			" may be alive: what is written on both sides to the same file cannot be put together again.")
	case intent.Without:
		return q, &service.Refusal{Service: "glusterfs",
			Reason: fmt.Sprintf("%d of %d bricks are here, too few for a quorum, and nothing proves that %s does not serve", possible.n, n, strings.Join(silent, ", ")),
			Remedy: "Bring one of them back. If they are switched off for certain, run multihead recover with the cluster's name typed (--accept-data-loss NAME)."}
	default:
		q.serves = false
	}
	return q, nil
}

// tally counts bricks.
type tally struct {
	n     int
	first bool
}

func (t *tally) add(brick int) { t.n, t.first = t.n+1, t.first || brick == 0 }

// quorate is GlusterFS's own rule: more than half, or half with the first.
func (t tally) quorate(of int) bool { return 2*t.n > of || 2*t.n == of && t.first }

func (s *State) ownerOf(b brick) *head {
	for _, h := range s.hosts() {
		if h.brick && s.own(h) == b {
			return h
		}
	}
	return nil
}

// startBricks has glusterd start the bricks that do not run. It does so by force,
// for every head that it reaches, and force makes a brick of whatever directory is
// there: so nothing is started where a head could have an empty one.
func (s *State) startBricks(cli *head, v *volume, intent service.Intent) (torn, steps []plan.Step, notes []string, err error) {
	var waits []plan.Step
	for _, h := range s.hosts() {
		if !h.brick || !v.has(s.own(h)) || h.running == service.Yes {
			continue
		}
		switch {
		case !h.reached, h.daemon != service.Yes, h.past[bricksUnit].byHand():
		case h.running == service.Unsure && h.frozenBrick == 0, !intent.Includes(h.name):
		default:
			waits = append(waits, plan.Step{ID: "glusterfs.brick-serves", Host: h.name, Action: s.awaitBrick(h)})
			if waiting := s.waitingFor(h); len(waiting) > 0 && h.running == service.No {
				torn = append(torn, plan.Step{ID: "glusterfs.torn", Host: h.name, Action: s.removeTorn(h, waiting)})
			}
		}
	}
	held := cmp.Or(s.unforced(v), s.held(cli, v, intent, func(*head) bool { return true }))
	switch {
	case len(waits) == 0:
		return nil, nil, nil, nil
	case held != "":
		return nil, nil, []string{"No brick is started by force: " + held + "."}, nil
	}
	if err := s.emptied(v); err != nil {
		return nil, nil, nil, err
	}
	start := plan.Step{ID: "glusterfs.start-bricks", Host: cli.name, Action: s.forceStart()}
	return torn, append([]plan.Step{start}, waits...), nil, nil
}

// held says which host keeps the bricks of the volume from being started by force; empty
// where none does. Force starts what is down on every host that glusterd reaches: also on
// one that nobody can look at, and where a person stopped the brick. asStopped says of
// which hosts that is to stay so.
func (s *State) held(cli *head, v *volume, intent service.Intent, asStopped func(*head) bool) string {
	why := ""
	for _, h := range s.hosts() {
		if !h.brick || !v.has(s.own(h)) || h.running == service.Yes {
			continue
		}
		away := slices.Contains(cli.down, h.addr.String()) || slices.Contains(cli.down, h.name)
		switch {
		case !h.reached && h.dead == "" && !intent.Confirmed && !away:
			why = h.name + " cannot be looked at, and glusterd reaches it"
		case h.reached && h.daemon == service.Yes && h.past[bricksUnit].byHand() && asStopped(h):
			why = "a person stopped that of " + h.name + " (" + bricksUnit + ")"
		}
	}
	return why
}

// waitingFor is what the other bricks have written down to be healed.
func (s *State) waitingFor(h *head) []string {
	seen := map[string]bool{}
	for _, other := range s.hosts() {
		if other.name != h.name {
			for _, gfid := range other.waiting {
				seen[gfid] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// remount mounts the volume where it is to be mounted and is not, where the client
// behind the mount has died, and, of a volume that goes on without a quorum, where
// the client does not hear of it. After a change of the quorum clients fail for a
// moment, which is waited for.
func (s *State) remount(intent service.Intent, loose, restored bool) []plan.Step {
	var out []plan.Step
	unit := mountUnit(s.conf.MountPoint)
	for i := range s.heads {
		h := &s.heads[i]
		if !h.reached || !intent.Includes(h.name) || h.mounted == service.Unsure {
			continue
		}
		steps := mountSteps(h.name, s.conf.MountPoint)
		again, wait := steps[0], steps[2]
		switch {
		case h.mounted == service.Yes && restored:
			out = append(out, wait)
		case h.mounted == service.Yes && h.answers != service.No:
		case h.mounted == service.Yes && loose:
			out = append(out, plan.Step{ID: "glusterfs.remount", Host: h.name, Action: s.mountAnew()}, wait)
		case h.mounted == service.Yes:
			// Done where the client lives: it waits for a quorum, and goes on by itself.
			out = append(out, again, wait)
		case h.past[unit].startable() && h.past[retryUnit].state != "activating":
			out = append(out, plan.Step{ID: "glusterfs.mount", Host: h.name, Action: launch(unit)}, wait)
		}
	}
	return out
}
