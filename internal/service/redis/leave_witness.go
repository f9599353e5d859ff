package redis

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// leaveWitnesses is how the sentinels of witnesses leave: they stop, and the others
// forget them one after another, each waiting until it knows the rest again. As long
// as a sentinel that has left is counted, a majority of them may be out of reach.
func (b *builder) leaveWitnesses() error {
	var gone, stay []voter
	for _, v := range b.voters() {
		if b.intent.Leaves(v.name) {
			gone = append(gone, v)
		} else {
			stay = append(stay, v)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	port := sentinelPort(b.s.wanted.port)
	var stop []plan.Step
	for _, v := range gone {
		if !v.reached {
			continue
		}
		stop = append(stop,
			plan.Step{ID: "redis.sentinel.leave", Host: v.name, Action: plan.Stopped(sentinelUnit(port))},
			// The passwords are in it.
			plan.Step{ID: "redis.sentinel.forget-state", Host: v.name, Action: plan.Absent{Path: sentinelFile(port)}})
	}
	if b.s.wanted.mode != modeSentinel || !watched(stay) && !watched(gone) {
		b.stage("stop", stop...)
		return nil
	}
	replicas, err := b.sentinelsAgree(stay)
	var why *service.Refusal
	switch {
	case errors.As(err, &why) && b.allLost(gone):
		// They have no vote any more, whatever the others count.
		b.note("The sentinels go on counting %s: %s. multihead up has them forget it once that is mended.", strings.Join(namesOf(gone), ", "), why.Reason)
		return nil
	case err != nil:
		return err
	}
	b.stage("stop", stop...)
	b.forgetOn(stay, replicas)
	if n := len(stay); n%2 == 0 {
		b.note("%d sentinels will be left: when half of them are out of reach, none of the rest may make another server the master (%d of %d votes are no majority). A witness raises that.", n, n/2, n)
	}
	return nil
}

// forgetOn has sentinels that agree forget all but each other, one after another.
func (b *builder) forgetOn(stay []voter, replicas int) {
	for _, v := range stay {
		b.stage("forget on "+v.name,
			plan.Step{ID: "redis.sentinel.forget", Host: v.name, Action: forgetSentinels(b.s.wanted, len(stay), b.serverAddrs()),
				Effect: "for some seconds this sentinel looks for the others and the copies again"},
			plan.Step{ID: "redis.sentinel.goes-on", Host: v.name, Action: agreed(b.s.wanted, len(stay), replicas)})
	}
}

// forgetLeft has the sentinels forget those that left and are counted still: one that
// left while something else was wrong, or that came back and was stopped again.
func (b *builder) forgetLeft() {
	all := b.voters()
	counted := 0
	for _, v := range all {
		if v.answer != running || !b.intent.Includes(v.name) || slices.Contains(b.decision.Skipped, v.name) {
			return
		}
		counted = max(counted, v.others+1)
	}
	if counted <= len(all) {
		return
	}
	for i := range all {
		all[i].down, all[i].lost = false, nil // what runs it will hear, before it forgets anybody
	}
	replicas, err := b.sentinelsAgree(all)
	var why *service.Refusal
	if errors.As(err, &why) {
		b.note("The sentinels count %d, and the file has %d. They are not made to forget the others yet: %s.", counted, len(all), why.Reason)
		return
	}
	b.forgetOn(all, replicas)
}

// allLost says whether all of them are said to be gone for good.
func (b *builder) allLost(list []voter) bool {
	return !slices.ContainsFunc(list, func(v voter) bool { return !b.intent.Gone(v.name) })
}

func namesOf(list []voter) []string {
	var out []string
	for _, v := range list {
		out = append(out, v.name)
	}
	return out
}

// watched says whether a sentinel runs on one of them, or may.
func watched(list []voter) bool {
	for _, v := range list {
		if v.answer != absent {
			return true
		}
	}
	return false
}

// sentinelsAgree refuses to take a vote away while not all others are there, or a
// server is silent, and says how many copies of the heads they know. A sentinel that
// is made to forget others forgets silent servers as well: a former master among them
// would come back as a second one that takes writes, for only a sentinel that knows it
// makes it a copy.
func (b *builder) sentinelsAgree(stay []voter) (replicas int, err error) {
	var silent []string
	masters := map[string]bool{}
	there := 0
	servers := b.serverAddrs()
	var dead []string
	for _, h := range b.s.heads {
		for _, sv := range h.wants(b.s.wanted) {
			if sv.answer != running {
				dead = append(dead, sv.at.addr())
			}
		}
	}
	for _, v := range stay {
		if v.answer != running {
			silent = append(silent, v.name)
			continue
		}
		there++
		masters[v.master] = true
		known := 0
		for _, at := range v.replicas {
			if slices.Contains(servers, at) {
				known++
			}
		}
		replicas = max(replicas, known)
		if v.down {
			dead = append(dead, v.master)
		}
		dead = append(dead, v.lost...)
	}
	dead = slices.DeleteFunc(dead, func(at string) bool { return !slices.Contains(servers, at) }) // of a head that has left
	if len(silent) > 0 {
		return 0, refusal("Run multihead up first, and this once all sentinels answer.",
			"%d of the %d sentinels that stay answer, and %s not: a vote less could leave no majority", there, len(stay), strings.Join(silent, ", "))
	}
	if len(masters) != 1 {
		return 0, refusal("Wait until they agree, and run this again.", "the sentinels do not agree on who the master is")
	}
	if len(dead) > 0 {
		slices.Sort(dead)
		return 0, refusal("Bring it back first (multihead recover, or multihead up), and run this once it is a copy again.",
			"%s does not answer, and would be forgotten with the sentinel: it could come back as a second master", strings.Join(slices.Compact(dead), ", "))
	}
	return replicas, nil
}

// serverAddrs are the servers that the heads are to have.
func (b *builder) serverAddrs() []string {
	var out []string
	for _, h := range b.s.heads {
		for _, sv := range h.wants(b.s.wanted) {
			out = append(out, sv.at.addr())
		}
	}
	return out
}

// heldForDead are those of the servers that a sentinel knows and holds for dead.
func heldForDead(c *conn, servers []string) ([]string, error) {
	out, err := c.pipe(askLimit, []string{"SENTINEL", "MASTER", sentinelGroup}, []string{"SENTINEL", "REPLICAS", sentinelGroup})
	if err != nil {
		return nil, err
	}
	master, err := pairs(out[0])
	if err != nil {
		return nil, err
	}
	v := voter{master: joinAddr(master["ip"], master["port"]), down: master["flags"] != "master"}
	v.copies(out[1])
	if v.down {
		v.lost = append(v.lost, v.master)
	}
	return slices.DeleteFunc(v.lost, func(at string) bool { return !slices.Contains(servers, at) }), nil
}

// forgetSentinels makes a running sentinel look for the others anew, where it knows
// more than those that stay: it never forgets one that is silent by itself.
// servers are those of the heads: while it holds one of them for dead nobody is
// forgotten.
func forgetSentinels(w wanted, stay int, servers []string) plan.Action {
	at := "127.0.0.1:" + strconv.Itoa(sentinelPort(w.port))
	return plan.Func{
		What: "let the sentinel forget those that have left", Kind: plan.Change,
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			c, err := connect(ctx, h, at, w.conf.Password.Reveal())
			if err != nil {
				return false, err
			}
			defer c.close()
			v, err := c.do("SENTINEL", "MASTER", sentinelGroup)
			if err != nil {
				return false, err
			}
			m, err := pairs(v)
			return err == nil && info(m).number("num-other-sentinels") <= stay-1, err
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			c, err := connect(ctx, h, at, w.conf.Password.Reveal())
			if err != nil {
				return nil, err
			}
			defer c.close()
			if err := until(ctx, 30*time.Second, "the sentinel hears every server that it would forget", func() (bool, string, error) {
				dead, err := heldForDead(c, servers)
				return err == nil && len(dead) == 0, strings.Join(dead, ", ") + " is dead to it", err
			}); err != nil {
				return nil, err
			}
			_, err = c.do("SENTINEL", "RESET", sentinelGroup)
			return nil, err
		},
	}
}
