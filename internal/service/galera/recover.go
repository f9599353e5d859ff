package galera

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"multihead/internal/plan"
	"multihead/internal/service"
)

// Recover implements service.Recoverer. Each call answers what was found now;
// what the steps bring to light is for the next round:
//
//   - somebody serves: a daemon that left for good is restarted, and one that
//     failed or never came up since its host booted is started;
//   - nobody serves, and how far some head's data goes is not known: it is found
//     out and written down;
//   - nobody serves, and everything that counts is known: the cluster begins
//     where the data goes furthest.
func (s *State) Recover(intent service.Intent) (plan.Phase, error) {
	r := recovery{s: s, intent: intent}
	for _, n := range s.nodes {
		switch {
		case n.member():
			r.members = append(r.members, n)
		case n.atHand():
			r.hand = append(r.hand, n)
		default:
			r.missing = append(r.missing, n)
		}
	}
	if len(r.members) > 0 {
		return r.rejoin()
	}
	return r.revive()
}

// recovery is one round of it.
type recovery struct {
	s       *State
	intent  service.Intent
	members []node // part of a cluster with quorum
	hand    []node // the others that are known through and through
	missing []node // the rest
	holders []node // of hand: those with data of the cluster that is to live
	voters  []node // of hand: those that may have been part of it when it last had quorum
	out     plan.Phase
}

// atHand says whether a head is known well enough that it cannot be part of a
// cluster that is not seen, and that what it holds is seen.
func (n node) atHand() bool {
	switch {
	case !n.reached, n.stands == unasked, n.ends, n.disk.data == service.Unsure:
		return false
	case n.own():
		// Whatever it wrote since it left the cluster is in no history.
		return n.disk.goesTo().uuid == "" && !n.disk.interrupted()
	}
	return true
}

// adrift says whether it runs without quorum and would go on at once if it had it.
func (n node) adrift() bool { return n.detached() && !n.closed() }

// identity is the cluster that its data is of; empty where there is none. A part
// of a copy holds nothing that the one it is copied from has not.
func (n node) identity() string {
	if n.disk.partial {
		return ""
	}
	if n.adrift() && n.status.cluster != "" && n.status.cluster != noUUID {
		return n.status.cluster
	}
	return n.disk.goesTo().uuid
}

// position is how far its data goes; negative is unknown. A daemon that is just
// starting is about to take that away from its disk.
func (n node) position() int64 {
	switch {
	case n.adrift():
		return n.status.committed
	case n.stands == off:
		return n.disk.goesTo().seqno
	}
	return -1
}

func (r *recovery) refuse(remedy, format string, args ...any) (plan.Phase, error) {
	return plan.Phase{}, &service.Refusal{Service: "mariadb", Reason: fmt.Sprintf(format, args...), Remedy: remedy}
}

func (r *recovery) note(format string, args ...any) {
	r.out.Notes = append(r.out.Notes, fmt.Sprintf(format, args...))
}

func (r *recovery) stage(name string, steps []plan.Step) {
	if len(steps) > 0 {
		r.out.Stages = append(r.out.Stages, plan.Stage{Name: name, Steps: steps})
	}
}

// revive is for a cluster that serves nowhere.
func (r *recovery) revive() (plan.Phase, error) {
	ids := map[string]bool{}
	idle := true
	var parts []node
	for _, n := range r.hand {
		if n.disk.partial && !n.parked() {
			parts = append(parts, n)
		}
		if n.identity() != "" {
			ids[n.identity()] = true
		}
		if n.identity() != "" || n.unread() {
			idle = idle && n.parked()
		}
	}
	switch {
	case idle && len(ids) == 0 && len(parts) > 0 && len(r.missing) > 0:
		return r.refuse("Bring back the head that the copy came from.",
			"nobody serves, %s have no more than a part of a copy, and %s are missing", r.names(parts), r.names(r.missing))
	case idle:
		// Nothing ever was, or a person stopped it. Whoever is to start it again has to know
		// how far it goes, where nothing says so.
		if r.holders = r.hand; !r.intent.Unattended {
			r.measure(node.unread)
		}
		return r.out, nil
	}
	current, ok := latest(ids)
	if !ok && len(ids) > 0 {
		return r.refuse("Decide which one holds the truth and move the other's data aside by hand.",
			"the heads hold data of different clusters: %s", strings.Join(sorted(ids), ", "))
	}
	for _, n := range r.hand {
		holds := n.identity() != "" && n.identity() == current || n.unread()
		if holds {
			r.holders = append(r.holders, n)
		}
		if holds || n.disk.partial {
			r.voters = append(r.voters, n)
		}
	}
	if refused := r.mayBegin(); refused != nil {
		return plan.Phase{}, refused
	}
	if r.measure(func(n node) bool { return n.position() < 0 }) {
		return r.out, nil
	}
	for _, n := range r.holders {
		if n.position() < 0 {
			return r.refuse("Run without --node.", "how far the data of %s goes is not known", n.name)
		}
	}
	first, refused := r.first()
	if refused != nil {
		return plan.Phase{}, refused
	}
	if !r.intent.Includes(first.name) {
		return r.refuse("Run without --node, or name "+first.name+" as well.", "the cluster has to begin on %s, whose data goes furthest", first.name)
	}
	anew := r.anew()
	switch {
	case anew && r.s.conf.Galera.SSTMethod != "mariabackup" && !r.intent.Confirmed:
		return r.refuse("Bring it back, or write sst_method: mariabackup under database.mariadb.galera and run up. multihead recover --accept-data-loss with the cluster's name goes on all the same.",
			"%s may hold commits that nobody else has, and with sst_method %s they would be overwritten when it comes back", r.names(r.missing), r.s.conf.Galera.SSTMethod)
	case first.adrift() && !anew && r.together(first):
		r.resurrect(first)
		return r.out, nil
	case r.measure(node.adrift):
		// They stop, so that all begin again from one.
		return r.out, nil
	}
	r.begin(first, anew)
	return r.out, nil
}

// latest is the identity that all others are earlier ones of.
func latest(ids map[string]bool) (string, bool) {
	for _, id := range sorted(ids) {
		all := true
		for other := range ids {
			_, earlier := descends(id, other)
			all = all && (other == id || earlier)
		}
		if all {
			return id, true
		}
	}
	return "", false
}

func sorted(ids map[string]bool) []string {
	var out []string
	for id := range ids {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

func (r *recovery) names(nodes []node) string {
	out := make([]string, len(nodes))
	for i, n := range nodes {
		out[i] = n.name
	}
	return strings.Join(out, ", ")
}

// measure stops the daemons of those holders that which picks, and finds out how
// far their data goes. It says whether there are any.
func (r *recovery) measure(which func(node) bool) bool {
	var steps []plan.Step
	for _, n := range r.holders {
		if which(n) && r.intent.Includes(n.name) {
			steps = append(steps, plan.Step{ID: "mariadb.position", Host: n.name,
				Action: position{at: n.at, root: r.s.conf.RootPassword}})
		}
	}
	r.stage("find out how far the data goes", steps)
	return len(steps) > 0
}

// first is the holder where the cluster begins: the one whose data goes
// furthest, of several one that is up, of the most that see each other, else the
// last to stop.
func (r *recovery) first() (node, *service.Refusal) {
	best := slices.MaxFunc(r.holders, func(a, b node) int { return cmp.Compare(a.position(), b.position()) })
	rank := func(n node) int {
		switch {
		case n.position() < best.position():
			return -1
		case n.parked():
			return 0
		case n.adrift():
			return 4 + n.status.size
		case n.disk.interrupted():
			return 1
		case n.disk.state.safe:
			return 3
		}
		return 2
	}
	for _, n := range r.holders {
		if rank(n) > rank(best) {
			best = n
		}
	}
	if best.parked() {
		return node{}, &service.Refusal{Service: "mariadb",
			Reason: fmt.Sprintf("the data of %s goes furthest (%d), and mariadbd was stopped there by hand", best.name, best.position()),
			Remedy: "Start it: multihead up begins the cluster there, and the others join it."}
	}
	return best, nil
}

// together says whether all that run without quorum see each other: where they
// do not, quorum could come back on another side at the same moment.
func (r *recovery) together(first node) bool {
	run := 0
	for _, n := range r.hand {
		if n.adrift() {
			run++
		}
	}
	return first.status.size >= run
}

// resurrect gives a node that runs its quorum back, and with it those that see
// it.
func (r *recovery) resurrect(n node) {
	r.stage("give quorum back on "+n.name, []plan.Step{
		{ID: "mariadb.quorum", Host: n.name, Action: r.s.giveQuorum(n)},
		{ID: "mariadb.begun", Host: n.name, Action: r.s.await(n, 1)},
	})
}

// begin starts the cluster on one node and then the others.
func (r *recovery) begin(n node, anew bool) {
	from := begin{at: n.at, from: returning, was: n.disk, root: r.s.conf.RootPassword, anew: n.anew(r.s.stamp)}
	if from.anew != "" {
		r.note("%s goes furthest, and was stopped in the middle of a change of tables: the others are sent whole copies.", n.name)
	}
	if anew {
		from.anew = cmp.Or(from.anew, r.identityFor(n))
		r.note("%s may hold commits that nobody else has. The cluster goes on without them under a new identity, so that nothing of them is mixed in or overwritten later: a head that comes back is sent a whole copy, and what it had is kept in %s/%s where it may be more.",
			r.names(r.missing), n.at.dataDir, keptDir)
	}
	r.stage("no quorum elsewhere", r.s.letGo())
	r.stage("begin on "+n.name, []plan.Step{
		{ID: "mariadb.begin", Host: n.name, Action: from, Final: plan.Final{Why: "the cluster serves again"}},
		{ID: "mariadb.begun", Host: n.name, Action: r.s.await(n, 1)},
	})
	var others []node
	for _, o := range r.hand {
		if o.name != n.name && o.stands == off && !o.parked() && (o.identity() != "" || o.disk.partial) {
			others = append(others, o)
		}
	}
	r.wake(others)
}

// identityFor is the one under which the cluster goes on. One that was given
// before and under which nothing was written yet is kept.
func (r *recovery) identityFor(n node) string {
	id := n.identity()
	if id[14] == '8' && strings.HasSuffix(id, fmt.Sprintf("%012x", n.position())) {
		return id
	}
	return successor(id, n.position(), n.name+" "+r.s.stamp)
}

// rejoin is for a cluster that serves on some heads.
func (r *recovery) rejoin() (plan.Phase, error) {
	lives := map[string]bool{}
	furthest := int64(-1)
	for _, m := range r.members {
		lives[m.status.cluster] = true
		if m.current() {
			furthest = max(furthest, m.status.committed)
		}
	}
	if len(lives) > 1 {
		return r.refuse("Decide which one holds the truth, stop the other by hand and keep its data aside; nothing here will choose between two.",
			"two clusters live at once: %s", strings.Join(sorted(lives), ", "))
	}
	cluster := r.members[0].status.cluster
	var back []node
	for _, n := range r.hand {
		at := n.disk.goesTo()
		_, earlier := descends(cluster, at.uuid)
		belongs := at.uuid == cluster || earlier || n.disk.partial
		switch {
		case n.stands == off && n.unread() && (!n.parked() || !r.intent.Unattended):
			r.holders = append(r.holders, n)
		case !(n.closed() || n.stands == off && !n.parked()):
			// It is on its way, or a person stopped it.
		case !belongs && n.disk.data == service.Yes:
			r.note("%s holds data of another cluster (%s) and is left as it is.", n.name, cmp.Or(at.uuid, "its own"))
		case !belongs:
			// It never was a member: that is for up.
		case at.uuid == cluster && furthest >= 0 && at.seqno > furthest:
			r.note("%s holds data of this cluster that goes further (%d) than what lives (%d), and is left as it is: the cluster was started again without it by hand. Move its data directory aside and keep it; then run up.",
				n.name, at.seqno, furthest)
		default:
			back = append(back, n)
		}
	}
	r.measure(node.unread)
	r.wake(back)
	return r.out, nil
}

// wake starts daemons that then join by themselves.
func (r *recovery) wake(nodes []node) {
	var start, wait []plan.Step
	for _, n := range nodes {
		if !r.intent.Includes(n.name) {
			continue
		}
		start = append(start, plan.Step{ID: "mariadb.start", Host: n.name, Action: r.s.wake(n)})
		wait = append(wait, plan.Step{ID: "mariadb.back", Host: n.name, Action: r.s.onItsWay(n)})
	}
	r.stage("start the others", start)
	r.stage("verify", wait)
}
