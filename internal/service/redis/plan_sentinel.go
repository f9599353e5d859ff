package redis

import (
	"context"
	"slices"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// group is the plan of one master with replicas and sentinels, and of one
// server alone, which is the same with nobody beside it.
func (b *builder) group() error {
	b.servers()
	master, err := b.master()
	if err != nil || master == nil {
		return err
	}
	var copies, waits []plan.Step
	replicas := 0 // that the sentinels will know
	for _, p := range b.parts {
		if p.at == master.at {
			continue
		}
		if p.mine || p.role() == "slave" {
			replicas++
		}
		if !p.mine {
			continue
		}
		copies = append(copies, plan.Step{ID: "redis.copy", Host: p.at.Host,
			Action: replicate(p.at, master.at.addr(), master.at.String(), p.answer == absent || !p.ours, b.password())})
		waits = append(waits, plan.Step{ID: "redis.linked", Host: p.at.Host, Action: linked(p.at, b.password())})
	}
	b.stage("copies", copies...)
	if b.mode == modeSentinel {
		b.sentinels(master.at.addr(), replicas)
	}
	b.stage("copied", waits...)
	if b.mode == modeSentinel {
		b.forgetLeft()
	}
	return nil
}

// master finds the server that the others copy: the one the sentinels hold for
// the master, else the one that serves as such, else the one with the keys,
// else the first.
func (b *builder) master() (*part, error) {
	votes := map[string]int{}
	voters := 0
	for _, v := range b.voters() {
		if v.answer == running && v.master != "" {
			votes[v.master]++
			voters++
		}
	}
	for addr, n := range votes {
		if n*2 <= voters {
			continue
		}
		for k := range b.parts {
			if b.parts[k].at.addr() == addr {
				return &b.parts[k], nil
			}
		}
		return nil, refusal("Bring it back, or have the sentinels fail over (SENTINEL FAILOVER "+sentinelGroup+").",
			"the sentinels hold %s for the master, and it takes no part in this plan", addr)
	}
	if voters > 0 && len(votes) > 1 {
		return nil, refusal("Wait until they agree, or look at SENTINEL MASTER "+sentinelGroup+" on each.", "the sentinels do not agree on who the master is: %v", votes)
	}
	rank := func(p *part) int {
		switch {
		case p.answer == running && p.role() == "master" && p.serves():
			return 4
		case p.adopt:
			return 3
		case p.down() && p.holds() == service.Yes && p.disk.replicaOf == "":
			return 2
		case p.at.Host == b.decision.First, slices.Contains(b.decision.Members, p.at.Host) && p.role() != "slave":
			return 1
		}
		return 0
	}
	var best *part
	for k := range b.parts {
		if p := &b.parts[k]; best == nil || rank(p) > rank(best) {
			best = p
		}
	}
	for k := range b.parts {
		if p := &b.parts[k]; best != nil && p != best && rank(p) == rank(best) && rank(p) >= 2 {
			return nil, refusal("Decide which one holds the truth, and keep the other's data aside by hand.",
				"%s and %s both have keys of their own and no sentinel says which is the master", best.at, p.at)
		}
	}
	if best != nil && best.answer == running && best.role() == "slave" {
		return nil, refusal("Bring the master's head back, or make this one the master by hand (REPLICAOF NO ONE).",
			"%s is a replica of %s, which takes no part in this plan, and no sentinel has chosen a new master", best.at, best.masterAddr())
	}
	return best, nil
}

// sentinels puts a sentinel on every head and witness.
func (b *builder) sentinels(master string, replicas int) {
	w := b.s.wanted
	port := sentinelPort(w.port)
	voters := b.voters()
	quorum := len(voters)/2 + 1
	var up, agree []plan.Step
	reached := 0
	for _, v := range voters {
		if v.reached && (b.intent.Includes(v.name) || v.answer == running) {
			reached++
		}
	}
	for n, v := range voters {
		if !v.reached || !b.intent.Includes(v.name) || slices.Contains(b.decision.Skipped, v.name) {
			continue
		}
		step := func(id string, a plan.Action) {
			up = append(up, plan.Step{ID: "redis.sentinel." + id, Host: v.name, Action: a})
		}
		if n >= len(b.s.heads) {
			step("packages", plan.Packages{Names: []string{"redis-sentinel", "redis-tools"}})
		}
		// It would watch a master on the loopback address.
		step("retire", retire("redis-sentinel.service", func(context.Context, host.Host) error { return nil }))
		step("unit", unitPart{plan.File{Path: sentinelDropIn(port), Data: dropInText("")}, sentinelUnit(port)})
		step("file", firstSentinel(v, port, w.sentinelText(v, master, quorum)))
		step("start", plan.Running(sentinelUnit(port)))
		step("force", sentinelInForce(w, quorum))
		step("password", sentinelPasswords(w))
		agree = append(agree, plan.Step{ID: "redis.sentinel.agreed", Host: v.name, Action: agreed(w, reached, replicas)})
	}
	b.stage("sentinels", up...)
	b.stage("agreed", agree...)
	for _, v := range b.s.witnesses {
		if !v.reached {
			b.note("The witness %s was not reached (%s): its vote is missing until up is run again.", v.name, v.why)
		}
	}
}
