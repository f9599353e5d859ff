package redis

import (
	"fmt"
	"slices"
	"strings"

	"multihead/internal/config"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// Plan returns what Redis needs to be as the file says. The pieces of a
// running cluster are taken as they are; keys are carried along wherever a
// server changes what it is.
func (s *State) Plan(intent service.Intent) (plan.Phase, error) {
	b := &builder{s: s, intent: intent, phase: plan.Phase{Name: config.Redis, After: []string{"prepare"}}}
	if len(s.heads) == 0 {
		return b.phase, nil
	}
	if err := b.choose(); err != nil {
		return plan.Phase{}, err
	}
	d, err := service.Decide(config.Redis, s.Evidence(), intent)
	if err != nil {
		return plan.Phase{}, err
	}
	b.decision = d
	if err := b.sort(); err != nil {
		return plan.Phase{}, err
	}
	b.remarks()
	if b.mode == modeCluster {
		err = b.cluster()
	} else {
		err = b.group()
	}
	return b.phase, err
}

// builder puts a phase together.
type builder struct {
	s        *State
	intent   service.Intent
	mode     Mode
	decision service.Decision
	parts    []part // the servers that take part, in the file's order
	left     []string
	phase    plan.Phase
}

// part is one server that takes part in the plan.
type part struct {
	server
	head   int
	mine   bool // its host may be changed
	adopt  bool // a server set up by hand, with keys: ours goes on with them
	guest  bool // a node of a cluster set up by hand: its own unit is left alone
	become bool // a server of ours that is to become a node of a cluster
}

func (b *builder) password() config.Secret { return b.s.wanted.conf.Password }

func refusal(remedy, format string, args ...any) error {
	return &service.Refusal{Service: config.Redis, Reason: fmt.Sprintf(format, args...), Remedy: remedy}
}

func (b *builder) note(format string, args ...any) {
	b.phase.Notes = append(b.phase.Notes, fmt.Sprintf(format, args...))
}

// choose settles the mode: that of the file, unless a cluster is there already.
func (b *builder) choose() error {
	w := b.s.wanted
	b.mode = w.mode
	if b.intent.Mode == service.Standalone && len(b.s.heads) == 1 {
		b.mode = modeStandalone
	}
	there := slices.ContainsFunc(b.s.heads, func(h head) bool {
		return slices.ContainsFunc(h.servers, func(s server) bool {
			return s.answer == running && s.clustr && s.peers() || s.down() && s.peers()
		})
	})
	switch {
	case !there || b.mode == modeCluster:
	case w.kind == config.RedisSentinel:
		return refusal("Write type: cluster, or set up a new Redis beside it and move the keys by hand.",
			"a Redis Cluster exists, and redis.type is sentinel: going back would take keys apart")
	default:
		b.mode = modeCluster
		b.note("A Redis Cluster exists and stays one, though the file has only %d heads with Redis: it cannot survive a lost head until there are 3.", len(b.s.heads))
	}
	for _, h := range b.s.heads {
		if len(h.other) > 0 && !slices.ContainsFunc(h.servers, func(s server) bool { return s.managed }) {
			return refusal(fmt.Sprintf("Write port: %d.", h.other[0]),
				"%s runs a Redis of this cluster on port %d, and the file says %d: a second one would begin empty beside it", h.name, h.other[0], w.port)
		}
	}
	if last := w.port + w.replicas; b.mode == modeCluster && last > 55535 {
		return refusal("Write a smaller port.", "the servers of one head use ports %d to %d, and the cluster bus %d more", w.port, last, 10000)
	}
	return nil
}

// sort finds which servers take part, and what each of them is now.
func (b *builder) sort() error {
	known := b.s.groups()
	for n, h := range b.s.heads {
		if slices.Contains(b.decision.Skipped, h.name) || !h.reached {
			b.left = append(b.left, h.name)
			continue
		}
		w := b.s.wanted
		w.mode = b.mode
		mine := b.intent.Includes(h.name)
		if !mine && !h.set() && !slices.ContainsFunc(h.servers, server.serves) {
			b.left = append(b.left, h.name)
			continue
		}
		for k := range w.instances(h.name, h.addr) {
			p := part{server: h.servers[k], head: n, mine: mine}
			if p.answer == unknown {
				return refusal(fmt.Sprintf("Look at it on %s (systemctl status %s); up goes on once it answers.", h.name, p.at.unit()),
					"%s: %s", p.at, p.why)
			}
			if err := b.stranger(p.server, known); err != nil {
				return err
			}
			if err := b.class(&p); err != nil {
				return err
			}
			b.parts = append(b.parts, p)
		}
	}
	if len(b.left) > 0 && len(b.parts) > 0 {
		b.note("Left as they are: %s.", strings.Join(b.left, ", "))
	}
	return nil
}

// stranger refuses a node of another Redis Cluster than the one that the plan is for:
// introduced to it, the two would become one, and of a slot that both have one's keys
// would be found by nobody. A head is judged by one of its servers; the others may
// belong elsewhere.
func (b *builder) stranger(sv server, known group) error {
	node := sv.answer == running && sv.clustr || sv.down() && len(sv.disk.nodes) > 0
	if !node || !sv.serves() && sv.holds() != service.Yes {
		return nil
	}
	if b.decision.Cluster == known.root("server "+sv.at.String()) {
		return nil
	}
	return refusal(fmt.Sprintf("Choose another redis.cluster.port, or stop that server on %s for good and keep %s aside.", sv.at.Host, orDefault(sv.dir, sv.at.dir())),
		"%s is a node of another Redis Cluster (%s)", sv.at, sv.describe())
}

// class tells what a server is now, and refuses what could lose keys.
func (b *builder) class(p *part) error {
	byHand := p.answer == running && !p.ours || p.down() && !p.managed
	switch {
	case byHand && p.clustr:
		p.guest = true
		b.note("%s is a node of a cluster and was set up by hand: its unit and its settings are left as they are.", p.at)
	case byHand && p.holds() == service.Yes:
		if p.at.Number > 0 || p.at.Port != defaultPort {
			return refusal("Move those keys to another server, or choose another redis.cluster.port.",
				"%s was set up by hand and has keys, on a port that the cluster needs for itself", p.at)
		}
		if p.answer == running && p.role() == "slave" {
			return refusal("Stop it and keep its data aside, or make it a master by hand (REPLICAOF NO ONE) if it is the one to keep.",
				"%s was set up by hand as a replica of %s", p.at, p.masterAddr())
		}
		if p.answer == running && p.dir != p.at.dir() {
			return refusal("Move its data to "+p.at.dir()+" first.", "%s was set up by hand and keeps its keys in %s", p.at, p.dir)
		}
		p.adopt = true
		b.note("%s was set up by hand and has keys: they stay, its settings in /etc/redis/redis.conf are no longer used.", p.at)
	}
	p.become = b.mode == modeCluster && !p.guest && !p.adopt && p.at.Number == 0 &&
		(p.answer == running && p.ours && !p.clustr || p.down() && p.managed && len(p.disk.nodes) == 0 && p.disk.data == service.Yes)
	if b.mode == modeCluster && (p.become || p.adopt) {
		for db := range p.keys() {
			if db != 0 {
				return refusal("Move those keys to database 0 or delete them.",
					"%s has keys in database %d, and a Redis Cluster has database 0 only", p.at, db)
			}
		}
	}
	return b.checkLog(*p)
}

// remarks says what a person should know before saying yes.
func (b *builder) remarks() {
	w := b.s.wanted
	switch b.mode {
	case modeCluster:
		if w.replicas == 0 {
			b.note("redis.cluster.replicas is 0: every lost head takes its keys offline until it is back.")
		}
	case modeSentinel:
		if len(b.s.heads) == 2 && len(b.s.witnesses) == 0 {
			b.note("Two heads and no witness: when the head with the master dies, no sentinel may make the other one master (1 of 2 votes). Add a witness.")
		}
	}
	if w.conf.Password.IsZero() {
		b.note("Redis has no password: whoever reaches the heads' network reads and changes everything in it.")
	}
	size, _ := bytesOf(w.conf.MaxMemory)
	n := int64(len(w.instances("", w.anyAddr(b.s))))
	for _, h := range b.s.heads {
		if mb := int64(w.memoryMB[h.name]); mb > 0 && size*n > mb<<20/2 {
			b.note("%d servers with maxmemory %s on %s may take more than half of its %d MB; MariaDB shares them.", n, w.conf.MaxMemory, h.name, mb)
		}
	}
}

// members is the parts and what the cluster knows beside them, as arrange
// wants it. What a server says of itself goes before what others say of it;
// of one that does not run, the others know more than its own files do.
func (b *builder) members() []member {
	seen := b.best()
	byID := map[string]string{}
	for _, p := range b.parts {
		for _, n := range p.view() {
			if n.known() && n.Addr != "" {
				byID[n.ID] = n.Addr
			}
		}
	}
	var out []member
	have := map[string]bool{}
	for _, p := range b.parts {
		me := p.me()
		if n, ok := byAddress(seen, p.at.addr()); ok && p.down() {
			me = n
		}
		m := member{addr: p.at.addr(), head: p.head, number: p.at.Number, up: true, of: byID[me.MasterID], slots: me.Slots.count()}
		out, have[m.addr] = append(out, m), true
	}
	for _, n := range seen {
		if !n.known() || n.Addr == "" || have[n.Addr] {
			continue
		}
		m := member{addr: n.Addr, head: -1, of: byID[n.MasterID], slots: n.Slots.count()}
		for k, h := range b.s.heads {
			for _, sv := range h.servers {
				if sv.at.addr() == n.Addr {
					m.head, m.number = k, sv.at.Number
				}
			}
		}
		out = append(out, m)
	}
	return out
}

// best is the view of the cluster of the running server that knows most.
func (b *builder) best() []clusterNode {
	var out []clusterNode
	for _, p := range b.parts {
		if p.answer == running && len(p.nodes) > len(out) {
			out = p.nodes
		}
	}
	return out
}

func (b *builder) stage(name string, steps ...plan.Step) {
	if len(steps) > 0 {
		b.phase.Stages = append(b.phase.Stages, plan.Stage{Name: name, Steps: steps})
	}
}
