package redis

import (
	"fmt"
	"slices"

	"multihead/internal/plan"
	"multihead/internal/service"
)

// cluster is the plan of a Redis Cluster. All its steps hold for forming one,
// for adding heads and for going on after an interruption: each does what is
// still missing.
func (b *builder) cluster() error {
	if err := b.checkCopies(); err != nil {
		return err
	}
	b.servers()
	if err := b.convert(); err != nil {
		return err
	}
	all := b.nodes()
	if len(all) == 0 {
		return nil
	}
	members := b.members()
	a := arrange(members, len(b.s.heads), b.s.wanted.replicas)
	b.introduce(all)
	dealt := b.slots(all, a, members)
	b.copies(a, members)
	b.balance(a, members, dealt)
	b.spread(members)
	b.settle(all)
	if len(a.short) > 0 && len(b.left) == 0 && b.s.wanted.replicas > 0 {
		b.note("Fewer than %d copies on other heads: %v.", b.s.wanted.replicas, a.short)
	}
	return nil
}

// nodes are the servers that take part, all of them nodes of the cluster by
// the time they are introduced to each other.
func (b *builder) nodes() []instance {
	var out []instance
	for _, p := range b.parts {
		out = append(out, p.at)
	}
	return out
}

// checkCopies refuses where stopped servers have keys and no cluster lives
// that they could be copies of.
func (b *builder) checkCopies() error {
	if b.decision.Verdict != service.Resume {
		return nil
	}
	var stopped []string
	for _, p := range b.parts {
		if p.become && p.down() {
			stopped = append(stopped, p.at.String())
		}
	}
	if len(stopped) > 1 {
		return refusal("Start it as it was: run up with the heads it had, then add the others.",
			"%v are stopped and were a master and its replica, not a cluster: which of them has the newer keys shows when they run", stopped)
	}
	return nil
}

// convert makes a server that stood alone, or a master with its replica, nodes
// of the cluster, keys included.
func (b *builder) convert() error {
	keeper := b.keeper()
	var sentinels, first, rest []plan.Step
	for _, v := range b.voters() {
		if v.answer == running && b.intent.Includes(v.name) {
			port := sentinelPort(b.s.wanted.port)
			sentinels = append(sentinels,
				plan.Step{ID: "redis.sentinel.stop", Host: v.name, Action: plan.Stopped(sentinelUnit(port))},
				plan.Step{ID: "redis.sentinel.forget", Host: v.name, Action: plan.Absent{Path: sentinelFile(port)}})
		}
	}
	for _, p := range b.parts {
		switch {
		case !p.become && !p.adopt:
		case !p.mine:
			return refusal("Run up without --node.", "%s has to become a node of the cluster, and the plan may not change %s", p.at, p.at.Host)
		case keeper != nil && p.at == keeper.at:
			step := plan.Step{
				ID: "redis.become", Host: p.at.Host, Action: becomeCluster(p.at, b.password()),
				OneWay: "clients use it as a Redis Cluster from here on",
				Effect: "no key is served for 2 to 4 s while " + p.at.String() + " restarts; from then on clients have to speak the cluster protocol",
			}
			if p.adopt {
				step.Action = allSlots(p.at, b.password())
			}
			first = append(first, step)
		case keeper == nil:
			return refusal("Look at their roles by hand.", "it is not clear which server holds the keys")
		default:
			rest = append(rest, plan.Step{
				ID: "redis.become", Host: p.at.Host, Action: copyBecomesNode(p.at, keeper.at, b.password()),
				OneWay: "the cluster serves its keys without this copy from here on",
			})
		}
	}
	b.stage("sentinels", sentinels...)
	b.stage("keys", first...)
	b.stage("copies", rest...)
	return nil
}

// keeper is the server whose keys the cluster begins with: the master of those
// that become nodes, or the node that became one before an interruption.
func (b *builder) keeper() *part {
	var best *part
	for n := range b.parts {
		p := &b.parts[n]
		switch {
		case p.answer == running && p.clustr && p.me().Slots.count() > 0, p.adopt:
			return p
		case p.become && p.answer == running && p.role() == "master" && (best == nil || p.info.number("connected_slaves") > best.info.number("connected_slaves")):
			best = p
		case p.become && p.down() && p.disk.replicaOf == "" && best == nil:
			best = p
		}
	}
	return best
}

func (b *builder) voters() []voter {
	var out []voter
	for _, h := range b.s.heads {
		out = append(out, h.voter)
	}
	return append(out, b.s.witnesses...)
}

// introduce makes all nodes know each other.
func (b *builder) introduce(all []instance) {
	stays := slices.ContainsFunc(b.parts, func(p part) bool { return p.become || p.adopt })
	var steps []plan.Step
	for _, h := range b.s.heads {
		var local []instance
		for _, i := range all {
			if i.Host == h.name {
				local = append(local, i)
			}
		}
		if len(local) == 0 {
			continue
		}
		steps = append(steps, plan.Step{ID: "redis.meet", Host: h.name, Action: meet(local, all, stays, b.password())})
	}
	b.stage("introduce", steps...)
}

// slots gives out what nobody serves. With a head out of reach nothing is
// given out: it might serve it.
// It returns how many each master gets.
func (b *builder) slots(all []instance, a arrangement, members []member) map[string]int {
	if slices.ContainsFunc(b.parts, func(p part) bool { return p.become || p.adopt }) {
		return nil // the server with the keys takes them all
	}
	var owned slotSet
	for _, p := range b.parts {
		for _, n := range p.view() {
			owned.addAll(n.Slots)
		}
	}
	free := owned.missing()
	if len(free) == 0 {
		return nil
	}
	if len(b.left) > 0 && b.decision.Verdict != service.Form {
		b.note("%d slots are served by nobody; they are given out when %v can be asked.", len(free), b.left)
		return nil
	}
	have := map[string]int{}
	for _, m := range members {
		have[m.addr] = m.slots
	}
	var steps []plan.Step
	dealt := map[string]int{}
	for master, slots := range deal(free, b.own(a.masters), have) {
		dealt[master] = len(slots)
		if i, ok := find(all, master); ok && len(slots) > 0 {
			steps = append(steps, plan.Step{ID: "redis.slots", Host: i.Host, Action: takeSlots(i, rangesOf(slots), all, b.password())})
		}
	}
	slices.SortFunc(steps, byHost(b.s.heads))
	b.stage("slots", steps...)
	return dealt
}

// own are the masters on the heads that take part.
func (b *builder) own(masters []string) []string {
	var out []string
	for _, m := range masters {
		if _, ok := find(b.nodes(), m); ok {
			out = append(out, m)
		}
	}
	return out
}

func find(all []instance, addr string) (instance, bool) {
	i := slices.IndexFunc(all, func(i instance) bool { return i.addr() == addr })
	if i < 0 {
		return instance{}, false
	}
	return all[i], true
}

func byHost(heads []head) func(a, b plan.Step) int {
	at := func(name string) int {
		return slices.IndexFunc(heads, func(h head) bool { return h.name == name })
	}
	return func(a, b plan.Step) int { return at(a.Host) - at(b.Host) }
}

// copies attaches the replicas: first those that copy nobody yet, so that the
// ones that change their master leave none without a copy.
func (b *builder) copies(a arrangement, members []member) {
	of := map[string]string{}
	for _, m := range members {
		of[m.addr] = m.of
	}
	var fresh, moved, waits []plan.Step
	for _, p := range b.parts {
		addr := p.at.addr()
		master, ok := a.copies[addr]
		if !ok {
			continue
		}
		name := master
		if i, ok := find(b.nodes(), master); ok {
			name = i.String()
		}
		s := plan.Step{ID: fmt.Sprintf("redis.%d.copy", p.at.Port), Host: p.at.Host, Action: copyOf(p.at, master, name, b.password())}
		if of[addr] == "" || of[addr] == master {
			fresh = append(fresh, s)
			if len(b.left) == 0 {
				waits = append(waits, plan.Step{ID: fmt.Sprintf("redis.%d.linked", p.at.Port), Host: p.at.Host, Action: linked(p.at, b.password())})
			}
		} else {
			moved = append(moved, s)
		}
	}
	b.stage("copies", fresh...)
	if len(moved) > 0 {
		b.stage("copied", waits...)
		b.stage("move copies", moved...)
	}
}

// balance evens out the slots, once every master has its copies.
func (b *builder) balance(a arrangement, members []member, dealt map[string]int) {
	own := b.own(a.masters)
	if len(own) < 2 || !b.uneven(own, members, dealt) {
		return
	}
	var masters []instance
	for _, m := range own {
		i, _ := find(b.nodes(), m)
		masters = append(masters, i)
	}
	slices.SortFunc(masters, func(x, y instance) int { return slices.Index(b.nodes(), x) - slices.Index(b.nodes(), y) })
	b.stage("balance", plan.Step{
		ID: "redis.balance", Host: masters[0].Host, Action: balance(masters, b.password()),
		OneWay: "keys have moved to other masters, where clients use them",
		Effect: "clients are sent on to the new master of a key while it moves; commands on several keys at once may be told to try again",
	})
}

// uneven says whether slots have to move once those that nobody serves are
// dealt out, or an interrupted move has left some open.
func (b *builder) uneven(masters []string, members []member, dealt map[string]int) bool {
	have := map[string]int{}
	for _, m := range members {
		if slices.Contains(masters, m.addr) {
			have[m.addr] = m.slots + dealt[m.addr]
		}
	}
	for _, p := range b.parts {
		if len(p.me().Open) > 0 {
			return true
		}
		if p.become || p.adopt { // they will serve everything first
			return true
		}
	}
	return len(level(masters, have)) > 0
}

// settle waits, at the end, until every head sees the cluster in order.
func (b *builder) settle(all []instance) {
	var steps []plan.Step
	for _, h := range b.s.heads {
		var local []instance
		for _, i := range all {
			if i.Host == h.name {
				local = append(local, i)
			}
		}
		if len(local) > 0 {
			steps = append(steps, plan.Step{ID: "redis.order", Host: h.name,
				Action: inOrder(local, len(all), len(b.left) == 0, b.password())})
		}
	}
	b.stage("in order", steps...)
}
