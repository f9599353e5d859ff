package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

var _ service.Recoverer = (*State)(nil)

// Recover starts servers that have not run since the boot or have failed, lets
// copies take over from masters that are proven to be gone and that no vote can
// replace, and, once everything is in order, spreads masters that failovers have
// crowded on one head.
func (s *State) Recover(intent service.Intent) (plan.Phase, error) {
	b := &builder{s: s, intent: intent, mode: modeCluster, phase: plan.Phase{Name: config.Redis}}
	var starts []plan.Step
	for _, h := range s.heads {
		for _, sv := range h.servers {
			if h.reached && intent.Includes(h.name) && sv.answer == absent && sv.managed && sv.startable {
				starts = append(starts, plan.Step{ID: fmt.Sprintf("redis.%d.start", sv.at.Port), Host: h.name, Action: launch(sv.at.unit())})
			}
		}
	}
	b.stage("servers", starts...)
	if len(s.heads) == 0 || len(starts) > 0 {
		return b.phase, nil
	}
	if !s.isCluster() {
		return b.phase, b.promote()
	}
	if over, err := s.takeovers(intent); err != nil || len(over) > 0 {
		b.takeOvers(over)
		return b.phase, err
	}
	if s.inOrder() && !slices.ContainsFunc(s.heads, func(h head) bool { return !intent.Includes(h.name) }) {
		for n, h := range s.heads {
			for _, sv := range h.wants(s.wanted) {
				b.parts = append(b.parts, part{server: sv, head: n, mine: true})
			}
		}
		b.spread(b.members())
	}
	return b.phase, nil
}

// inOrder says whether every head is here, every server runs, sees every slot
// served, and has what its master has: only then are roles moved about.
func (s *State) inOrder() bool {
	for _, h := range s.heads {
		if !h.reached {
			return false
		}
		for _, sv := range h.wants(s.wanted) {
			fine := sv.answer == running && sv.clustr && sv.summary["cluster_state"] == "ok" &&
				sv.summary.number("cluster_slots_ok") == slotCount && len(sv.me().Open) == 0 &&
				(sv.role() != "slave" || sv.linkUp())
			if !fine || slices.ContainsFunc(sv.nodes, func(n clusterNode) bool { return !n.known() || n.failed() || n.is("fail?") }) {
				return false
			}
		}
	}
	return true
}

// silent are the heads that do not answer and of which nothing proves that they
// are switched off: any of them may serve.
func (s *State) silent() []string {
	var out []string
	for _, h := range s.heads {
		if !h.reached && h.dead == "" {
			out = append(out, h.name)
		}
	}
	return out
}

// successor is a copy that is to take over without a vote.
type successor struct {
	at     instance
	master string // address
	proof  string // that it is switched off
}

// takeovers decides which copies become masters by themselves. Redis does that by
// a vote of the masters, and where that majority is lost nobody can win one. A
// copy takes over only from a master on a head that is proven to be switched off,
// and only where no other head may be alive unseen: a second master of the same
// slots would take writes that are thrown away later. Of several copies the one
// that has most takes over.
func (s *State) takeovers(intent service.Intent) ([]successor, error) {
	var list []server
	for _, h := range s.heads {
		for _, sv := range h.servers {
			if h.reached && sv.answer == running && sv.clustr {
				list = append(list, sv)
			}
		}
	}
	best := map[string]server{} // master's address → its best copy here
	for _, sv := range list {
		master := sv.masterAddr()
		if master == "" || s.alive(list, master) || sv.linkUp() && !sv.misses(master) {
			continue
		}
		if sv.behind() && !intent.Confirmed {
			continue // what it has would replace what its master has when that returns
		}
		if had, ok := best[master]; !ok || sv.info.number("slave_repl_offset") > had.info.number("slave_repl_offset") {
			best[master] = sv
		}
	}
	var out []successor
	var unproven []string
	for _, h := range s.heads {
		for _, m := range h.servers {
			sv, ok := best[m.at.addr()]
			if !ok || h.reached || !intent.Includes(sv.at.Host) || !owns(list, m.at.addr()) {
				continue
			}
			proof := h.dead
			if proof == "" {
				unproven = append(unproven, m.at.addr())
				proof = "a person has accepted the loss of what only " + h.name + " has"
			}
			out = append(out, successor{at: sv.at, master: m.at.addr(), proof: proof})
		}
	}
	silent := s.silent()
	switch {
	case len(out) == 0 || len(silent) == 0 || intent.Confirmed:
		return out, nil
	case !s.majority(list) && intent.Without:
		return nil, refusal("Bring one of them back. If they are switched off for certain, run multihead recover with the cluster's name typed (--accept-data-loss NAME).",
			"a majority of the masters is lost, so that no vote can replace %s, and nothing proves that %s does not serve",
			strings.Join(unproven, ", "), strings.Join(silent, ", "))
	}
	return nil, nil
}

// staleAfter is how long ago a copy may have lost its master, in seconds: the time
// in which a head that died is proven off.
const staleAfter = 120

// behind says whether a copy lacks what its master had: it was receiving all of it,
// never had, or has been cut off for long. One that is connected has all of it, were it
// nothing. One that is not keeps how far it got, and since when it is cut off; where it
// has had no connection since it started it says -1 for the time, and where it threw its
// place away to receive everything anew, 1 for how far (replication in INFO of Redis 7
// and 8): what it has then is as old as its files, or a part.
func (s server) behind() bool {
	if s.info.number("master_sync_in_progress") > 0 {
		return true
	}
	if s.linkUp() {
		return false
	}
	since, err := strconv.Atoi(s.info["master_link_down_since_seconds"])
	return err != nil || since < 0 || since > staleAfter || s.info.number("slave_repl_offset") <= 1
}

// misses says whether a server has heard nothing of a node for the cluster's
// timeout. The connection to a master that lost its power looks well for a minute.
func (s server) misses(addr string) bool {
	n, ok := byAddress(s.nodes, addr)
	return ok && (n.failed() || n.is("fail?"))
}

// alive says whether a server of that address is among those that run here.
func (s *State) alive(list []server, addr string) bool {
	return slices.ContainsFunc(list, func(sv server) bool { return sv.at.addr() == addr })
}

// owns says whether slots are that master's still, as the servers here see it.
func owns(list []server, addr string) bool {
	return slices.ContainsFunc(list, func(sv server) bool {
		n, ok := byAddress(sv.nodes, addr)
		return ok && n.is("master") && n.Slots.count() > 0
	})
}

// majority says whether more than half of the masters with slots run here.
func (s *State) majority(list []server) bool {
	masters, here := map[string]bool{}, 0
	for _, sv := range list {
		for _, n := range sv.nodes {
			if n.is("master") && n.Slots.count() > 0 && n.Addr != "" {
				masters[n.Addr] = true
			}
		}
	}
	for addr := range masters {
		if s.alive(list, addr) {
			here++
		}
	}
	return 2*here > len(masters)
}

func (b *builder) takeOvers(list []successor) {
	var steps []plan.Step
	for _, o := range list {
		b.note("%s takes over from %s: %s.", o.at, o.master, o.proof)
		steps = append(steps, plan.Step{ID: fmt.Sprintf("redis.%d.takeover", o.at.Port), Host: o.at.Host, Action: seize(o.at, o.master, b.password())})
	}
	b.stage("take over", steps...)
}

// seize makes a copy the master without a vote. It is not taken back: what is
// written to it from then on is nowhere else.
func seize(i instance, master string, password config.Secret) plan.Action {
	what := fmt.Sprintf("port %d takes over from %s, which is switched off", i.Port, master)
	return failover(i, password, plan.Func{What: what, Kind: plan.Change}, "TAKEOVER")
}

// promote has a sentinel make the best replica master where the master's head is
// proven to be switched off and too few sentinels are left to agree on it. It is
// the sentinel that does it, so that the old master finds itself a replica when
// it is back.
func (b *builder) promote() error {
	s := b.s
	if s.wanted.mode != modeSentinel || 2*s.voting() > len(s.heads)+len(s.witnesses) {
		return nil
	}
	var replicas []server
	voter := ""
	for _, h := range s.heads {
		for _, sv := range h.wants(s.wanted) {
			switch {
			case sv.answer != running:
			case sv.role() == "master":
				return nil
			default:
				replicas = append(replicas, sv)
			}
		}
		if voter == "" && h.voter.answer == running && b.intent.Includes(h.name) {
			voter = h.name
		}
	}
	if len(replicas) == 0 || voter == "" {
		return nil
	}
	if silent := s.silent(); len(silent) > 0 && !b.intent.Confirmed {
		if !b.intent.Without {
			return nil
		}
		return refusal("Bring one of them back. If they are switched off for certain, run multihead recover with the cluster's name typed (--accept-data-loss NAME).",
			"the master is lost, %d of %d sentinels are too few to choose another, and nothing proves that %s does not serve",
			s.voting(), len(s.heads)+len(s.witnesses), strings.Join(silent, ", "))
	}
	if whole := func(sv server) bool { return !sv.behind() }; !slices.ContainsFunc(replicas, whole) && !b.intent.Confirmed {
		return refusal("Bring the master's head back. If what it had last may be lost, run multihead recover with the cluster's name typed (--accept-data-loss NAME).",
			"the master is lost, and no copy of it is known to have all that it had (%s): it never received everything since it started, or was cut off long before", replicas[0].at)
	}
	b.stage("take over", plan.Step{ID: "redis.failover", Host: voter, Action: forceFailover(s.wanted)})
	return nil
}

func forceFailover(w wanted) plan.Action {
	at := fmt.Sprintf("127.0.0.1:%d", sentinelPort(w.port))
	return plan.Func{
		What: "have the sentinel choose another master without a vote", Kind: plan.Change,
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			c, err := connect(ctx, h, at, w.conf.Password.Reveal())
			if err != nil {
				return nil, err
			}
			defer c.close()
			was, err := sentinelsMaster(c)
			if err != nil {
				return nil, err
			}
			if _, err := c.do("SENTINEL", "FAILOVER", sentinelGroup); err != nil {
				return nil, err
			}
			return nil, until(ctx, meshLimit, "another server is master", func() (bool, string, error) {
				now, err := sentinelsMaster(c)
				return now != was, "it is " + now + " still", err
			})
		},
	}
}

func sentinelsMaster(c *conn) (string, error) {
	v, err := c.do("SENTINEL", "MASTER", sentinelGroup)
	if err != nil {
		return "", err
	}
	m, err := pairs(v)
	return joinAddr(m["ip"], m["port"]), err
}

// launch starts a unit. What fails later does not stop it again: a stop in order
// would count as a person's.
func launch(unit string) plan.Action {
	return plan.Func{
		What: "start " + unit, Kind: plan.Change, Timeout: settle,
		Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
			states, err := host.UnitStates(ctx, r, unit)
			return states[unit] == "active", err
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			if _, err := h.Run(ctx, host.Command("systemctl", "reset-failed", unit)); err != nil && !errors.As(err, new(*host.ExitError)) {
				return nil, err // one that is not loaded has nothing to reset, and says so
			}
			_, err := h.Run(ctx, host.Command("systemctl", "start", unit))
			return nil, err
		},
	}
}

// lookStartable says whether a unit that does not run may be started without a
// person: it has not run since the boot, or it failed.
func lookStartable(ctx context.Context, r host.Reader, unit string) bool {
	out, err := r.Query(ctx, "systemctl", "show", "--property=ActiveState,ActiveEnterTimestampMonotonic,Job", unit)
	return err == nil && startable(out)
}

func startable(out string) bool {
	lines := strings.Fields(out)
	if slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "Job=") && l != "Job=0" && l != "Job=" }) {
		return false // systemd is to start it, and waits for something else
	}
	return slices.Contains(lines, "ActiveState=failed") ||
		slices.Contains(lines, "ActiveState=inactive") && slices.Contains(lines, "ActiveEnterTimestampMonotonic=0")
}

// frozen says whether the server of a unit is stopped by a signal. It is asked
// where a question has just timed out, and so has time of its own.
func frozen(ctx context.Context, r host.Reader, unit string) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return host.Frozen(ctx, r, unit, "redis-")
}
