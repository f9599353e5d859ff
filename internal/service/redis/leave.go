package redis

import (
	"fmt"
	"slices"
	"strings"

	"multihead/internal/plan"
	"multihead/internal/service"
)

// Leave implements service.Leaver: the slots of the leaving heads' masters move to
// the masters that stay, with their keys and under the clients; then every master
// that stays has its copy on a head that stays; only then the leaving servers
// stop, and all others forget them.
func (s *State) Leave(intent service.Intent) (plan.Phase, error) {
	b := &builder{s: s, intent: intent, mode: modeCluster, phase: plan.Phase{After: []string{"agent", "keepalived"}}}
	gone := b.leavers()
	if len(gone) == 0 {
		err := b.leaveWitnesses()
		return b.phase, err
	}
	if err := b.stayers(); err != nil {
		return plan.Phase{}, err
	}
	if len(b.parts) == 0 { // no server runs on the heads that stay, and none on the others
		b.retire(gone)
		return b.phase, nil
	}
	drained, kept := surplus(b.with(gone), b.leavingHead)
	if err := b.covered(gone); err != nil {
		return plan.Phase{}, err
	}
	a := arrange(kept, len(s.heads), s.wanted.replicas)
	if err := b.drain(drained, a, gone); err != nil {
		return plan.Phase{}, err
	}
	b.copies(a, kept)
	b.settle(b.nodes())
	b.retire(gone)
	b.forget(gone)
	if n := len(b.staying()); n < 3 {
		b.note("%d heads with Redis will be left: a cluster of that size cannot agree on a failover when one of them dies (%d of %d masters are no majority).", n, n-1, n)
	}
	return b.phase, nil
}

// leavers are the servers of the heads that leave.
func (b *builder) leavers() []part {
	var out []part
	for n, h := range b.s.heads {
		if !b.intent.Leaves(h.name) {
			continue
		}
		for k := range h.servers {
			out = append(out, part{server: h.servers[k], head: n, mine: h.reached})
		}
		if len(h.servers) == 0 { // a head that does not answer was not looked at
			w := b.s.wanted
			w.mode = modeCluster
			for _, i := range w.instances(h.name, h.addr) {
				out = append(out, part{server: server{at: i}, head: n})
			}
		}
	}
	return out
}

func (b *builder) leavingHead(n int) bool { return n >= 0 && b.intent.Leaves(b.s.heads[n].name) }

func (b *builder) staying() []string {
	var out []string
	for _, h := range b.s.heads {
		if !b.intent.Leaves(h.name) {
			out = append(out, h.name)
		}
	}
	return out
}

// stayers takes the servers that stay into the plan, and refuses what cannot be
// left by moving slots.
func (b *builder) stayers() error {
	anything := false
	for n, h := range b.s.heads {
		for _, sv := range h.servers {
			anything = anything || sv.answer == running && sv.serves()
			if sv.answer == running && !sv.clustr && sv.serves() {
				return refusal("Add a third head with Redis first, which makes a cluster of them; or take services.redis off every head with multihead down and by hand.",
					"%s is no node of a Redis Cluster: a head leaves one by handing its slots over, and a master with its copy has none", sv.at)
			}
			if b.intent.Leaves(h.name) {
				continue
			}
			switch {
			case sv.answer == running && sv.clustr:
				b.parts = append(b.parts, part{server: sv, head: n, mine: true})
			case sv.answer == unknown || sv.answer == loading:
				return refusal("Wait until it answers, or look at it there; then run this again.", "%s: %s", sv.at, sv.why)
			}
		}
	}
	if anything && len(b.parts) == 0 {
		return refusal("Switch services.redis on on another head first (multihead node add), so that it can take the keys.",
			"no node of the cluster runs on the heads that stay (%s): all keys would be left behind", strings.Join(b.staying(), ", "))
	}
	return nil
}

// with is all servers that run, as arrange sees them.
func (b *builder) with(gone []part) []member {
	all := builder{s: b.s, intent: b.intent, mode: b.mode, parts: slices.Clone(b.parts)}
	for _, p := range gone {
		if p.answer == running && p.clustr {
			all.parts = append(all.parts, p)
		}
	}
	return all.members()
}

// surplus decides which masters give all their slots away: those of the heads that
// leave, and of a head that stays those that a failover has put beside its own,
// as far as there are more masters than heads. It returns them, and the servers
// that stay as they are once that is done.
func surplus(all []member, leaves func(head int) bool) (drained []string, kept []member) {
	heads := map[int]bool{}
	own := map[int]bool{}
	for _, m := range all {
		if m.head >= 0 && !leaves(m.head) && m.up {
			heads[m.head] = true
		}
	}
	masters := 0
	var extra []string
	for _, m := range all {
		switch {
		case m.of != "" || m.slots == 0:
		case m.head < 0 || !m.up && leaves(m.head):
			// Nobody of ours can ask it: what it serves is said elsewhere.
		case leaves(m.head):
			drained = append(drained, m.addr)
		case own[m.head]:
			extra = append(extra, m.addr)
		default:
			own[m.head] = true
			masters++
		}
	}
	for _, addr := range extra {
		if masters < len(heads) {
			masters++
			continue
		}
		drained = append(drained, addr)
	}
	for _, m := range all {
		if m.head < 0 || leaves(m.head) {
			continue
		}
		if slices.Contains(drained, m.addr) {
			m.slots = 0
		}
		if i := slices.IndexFunc(all, func(o member) bool { return o.addr == m.of }); i >= 0 && (leaves(all[i].head) || slices.Contains(drained, m.of)) {
			m.of = "" // whom it copies serves nothing any more
		}
		kept = append(kept, m)
	}
	return drained, kept
}

// covered refuses where slots are served by none of the servers that answer: their
// keys may be on a server that does not, and would be given up with it.
func (b *builder) covered(gone []part) error {
	var owned slotSet
	for _, p := range slices.Concat(b.parts, gone) {
		if p.answer == running {
			owned.addAll(p.me().Slots)
		}
	}
	if free := owned.missing(); len(free) > 0 {
		return refusal("Bring the server back that has them (multihead up, multihead recover), and run this again.",
			"%d of %d slots are served by no server that answers: what keys they have is only on one that does not", len(free), slotCount)
	}
	return nil
}

// drain moves the slots.
func (b *builder) drain(drained []string, a arrangement, gone []part) error {
	if len(drained) == 0 {
		return nil
	}
	if len(a.masters) == 0 {
		return refusal("Run multihead up first.", "there is no master on the heads that stay that could take the slots")
	}
	all := slices.Clone(b.nodes())
	var lost []string
	for _, p := range gone {
		all = append(all, p.at)
		if slices.Contains(b.intent.Lost, p.at.Host) {
			lost = append(lost, p.at.addr())
		}
	}
	var from, to []instance
	slots := 0
	for _, m := range b.with(gone) {
		if slices.Contains(drained, m.addr) {
			slots += m.slots
		}
	}
	for _, addr := range drained {
		i, _ := find(all, addr)
		from = append(from, i)
	}
	for _, addr := range b.own(a.masters) {
		i, _ := find(b.nodes(), addr)
		to = append(to, i)
	}
	b.stage("slots", plan.Step{
		ID: "redis.drain", Host: to[0].Host, Action: drainTo(from, to, lost, slots, b.password()),
		OneWay: "keys have moved to other masters, where clients use them",
		Effect: "clients are sent on to the new master of a key while it moves; commands on several keys at once may be told to try again",
	})
	return nil
}

// retire stops the servers that leave, for good: without their files nothing
// starts them, and what they held is kept aside.
func (b *builder) retire(gone []part) {
	var stop, aside []plan.Step
	for _, p := range gone {
		if !p.mine {
			continue
		}
		id := func(what string) string { return fmt.Sprintf("redis.%d.%s", p.at.Port, what) }
		u := plan.Stopped(p.at.unit())
		u.Timeout = settle
		stop = append(stop, plan.Step{ID: id("leave"), Host: p.at.Host, Action: u})
		aside = append(aside,
			plan.Step{ID: id("aside"), Host: p.at.Host, Action: keptAside(p.at)},
			plan.Step{ID: id("forget.state"), Host: p.at.Host, Action: plan.Absent{Path: p.at.StateFile()}},
			plan.Step{ID: id("forget.settings"), Host: p.at.Host, Action: plan.Absent{Path: p.at.settingsFile()}})
	}
	b.stage("stop", stop...)
	b.stage("keep aside", aside...)
}

// forget has every server that stays forget those that left. The last stage: a
// node that has been forgotten cannot come back for a minute.
func (b *builder) forget(gone []part) {
	var addrs, names []string
	for _, p := range gone {
		addrs, names = append(addrs, p.at.addr()), append(names, p.at.String())
	}
	var steps []plan.Step
	for _, h := range b.s.heads {
		var local []instance
		for _, p := range b.parts {
			if p.at.Host == h.name {
				local = append(local, p.at)
			}
		}
		if len(local) > 0 {
			steps = append(steps, plan.Step{ID: "redis.forget", Host: h.name, Action: forgotten(local, addrs, strings.Join(names, ", "), b.password()),
				OneWay: "for a minute the cluster takes none of them back"})
		}
	}
	b.stage("forget", steps...)
}

var _ service.Leaver = (*State)(nil)

// outOf plans the moves that empty some masters into others, so that those end as
// even as they can without moving anything among themselves.
func outOf(from, to []string, have map[string]int) []transfer {
	n := map[string]int{}
	total := 0
	for _, m := range to {
		n[m] = have[m]
		total += have[m]
	}
	for _, m := range from {
		total += have[m]
	}
	var out []transfer
	give := func(f, t string, slots int) {
		if slots > 0 {
			out = append(out, transfer{f, t, slots})
			n[t] += slots
		}
	}
	for _, f := range from {
		left := have[f]
		for i, t := range to {
			slots := min(left, max(share(total, len(to), i)-n[t], 0))
			give(f, t, slots)
			left -= slots
		}
		if left > 0 { // those that have more than their part leave less for the others
			least := slices.MinFunc(to, func(a, b string) int { return n[a] - n[b] })
			give(f, least, left)
		}
	}
	return out
}
