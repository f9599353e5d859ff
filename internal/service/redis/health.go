package redis

import (
	"fmt"
	"slices"
	"strings"

	"multihead/internal/config"
	"multihead/internal/service"
)

// Health says how Redis is: in a cluster by its slots and who copies whom, in
// a group by its master, its replicas and the sentinels' word.
func (s *State) Health() service.Health {
	h := service.Health{Service: config.Redis, State: service.Up, Nodes: map[string]service.NodeHealth{}}
	for _, hd := range s.heads {
		h.Nodes[hd.name] = hd.health(s.wanted.port)
	}
	if s.isCluster() {
		s.clusterHealth(&h)
	} else {
		s.groupHealth(&h)
	}
	return h
}

// isCluster says whether a node of a cluster runs anywhere, or the file asks
// for a cluster.
func (s *State) isCluster() bool {
	if s.wanted.mode == modeCluster {
		return true
	}
	return slices.ContainsFunc(s.all(), func(sv server) bool { return sv.answer == running && sv.clustr })
}

// all lists the servers that the file wants, of all heads.
func (s *State) all() []server {
	var out []server
	for _, h := range s.heads {
		out = append(out, h.wants(s.wanted)...)
	}
	return out
}

// wants are the head's servers in the mode that the file asks for; more where
// more of them run.
func (h head) wants(w wanted) []server {
	n := len(w.instances(h.name, h.addr))
	for k, sv := range h.servers {
		if sv.answer == running && sv.clustr {
			n = max(n, k+1)
		}
	}
	return h.servers[:min(n, len(h.servers))]
}

// health is how the servers of one head are, by what they say themselves.
func (h head) health(port int) service.NodeHealth {
	nh := service.NodeHealth{State: service.Up, Facts: map[string]any{}}
	if !h.reached {
		nh.State, nh.Reason = service.Unknown, h.err
		return nh
	}
	var roles, bad []string
	if h.voter.hung {
		nh.Hung = append(nh.Hung, sentinelUnit(sentinelPort(port)))
	}
	for k, sv := range h.servers {
		if sv.hung {
			nh.Hung = append(nh.Hung, sv.at.unit())
		}
		switch sv.answer {
		case running:
			roles = append(roles, sv.word())
			if why := sv.trouble(); why != "" {
				bad = append(bad, fmt.Sprintf("port %d: %s", sv.at.Port, why))
			}
			if k == 0 || nh.Facts["cluster_state"] == nil {
				sv.facts(nh.Facts)
			}
		case absent:
			if k == 0 || sv.managed {
				bad = append(bad, fmt.Sprintf("port %d: not running", sv.at.Port))
			}
		default:
			bad = append(bad, fmt.Sprintf("port %d: %s", sv.at.Port, sv.why))
		}
	}
	nh.Role = roleWord(roles)
	nh.Reason = strings.Join(bad, "; ")
	// The first server is the one whose port clients know.
	switch {
	case len(bad) == 0:
	case h.servers[0].answer == running:
		nh.State = service.Degraded
	case h.servers[0].answer == unknown:
		nh.State = service.Unknown
	default:
		nh.State = service.Down
	}
	return nh
}

// word is what the server is, in one word.
func (s server) word() string {
	if s.role() == "slave" {
		return "replica"
	}
	if s.clustr && s.me().Slots.count() == 0 {
		return "empty"
	}
	return "master"
}

// roleWord folds the roles of a head's servers: "master+replica".
func roleWord(roles []string) string {
	slices.Sort(roles)
	return strings.Join(roles, "+")
}

// trouble says what is wrong with a server that runs.
func (s server) trouble() string {
	switch {
	case s.clustr && s.summary["cluster_state"] != "ok":
		return "cluster_state " + s.summary["cluster_state"]
	case s.clustr && s.role() != "slave" && s.me().Slots.count() == 0:
		return "it serves no slots and copies nobody"
	case s.role() == "slave" && !s.linkUp():
		return "no connection to its master " + s.masterAddr()
	case s.info["aof_last_write_status"] == "err":
		return "it cannot write its append-only file: is the disk full?"
	case s.info["rdb_last_bgsave_status"] == "err":
		return "its last snapshot failed"
	}
	return ""
}

// facts are what discover prints beside the status.
func (s server) facts(f map[string]any) {
	f["version"] = s.version
	if s.clustr {
		f["cluster_state"] = s.summary["cluster_state"]
		f["nodes"] = s.summary.number("cluster_known_nodes")
		f["slots_ok"] = s.summary.number("cluster_slots_ok")
		return
	}
	f["cluster_state"] = "ok"
	if s.role() == "slave" && !s.linkUp() {
		f["cluster_state"] = "fail"
	}
	f["nodes"] = 1 + s.info.number("connected_slaves")
	if s.role() == "slave" {
		f["nodes"] = 2
	}
}

// clusterHealth judges the cluster as the node sees it that sees most of it.
func (s *State) clusterHealth(h *service.Health) {
	var best *server
	list := s.all()
	for k := range list {
		if sv := &list[k]; sv.answer == running && sv.clustr && (best == nil || sv.better(*best)) {
			best = sv
		}
	}
	if best == nil {
		s.nobody(h)
		return
	}
	served := best.summary.number("cluster_slots_ok")
	masters, replicas := 0, 0
	for _, n := range best.nodes {
		switch {
		case !n.known() || n.failed():
		case n.is("master") && n.Slots.count() > 0:
			masters++
		case n.MasterID != "":
			replicas++
		}
	}
	h.Summary = fmt.Sprintf("cluster %s, %d of %d slots served, %d masters, %d replicas", best.summary["cluster_state"], served, slotCount, masters, replicas)
	var why []string
	if best.summary["cluster_state"] != "ok" {
		h.State = service.Down
		why = append(why, "cluster_state "+best.summary["cluster_state"]+": a majority of the masters cannot be reached")
	}
	if served < slotCount {
		why = append(why, fmt.Sprintf("%d slots are not served", slotCount-served))
	}
	why = append(why, s.spread(best.nodes)...)
	s.conclude(h, why)
}

// better says whether a node's view is to be preferred.
func (s server) better(o server) bool {
	a, b := s.summary["cluster_state"] == "ok", o.summary["cluster_state"] == "ok"
	if a != b {
		return a
	}
	return s.summary.number("cluster_slots_ok") > o.summary.number("cluster_slots_ok")
}

// spread finds heads that serve more than their share and masters whose copy
// would die with them.
func (s *State) spread(nodes []clusterNode) []string {
	headOf := map[string]string{}
	for _, h := range s.heads {
		for _, sv := range h.servers {
			headOf[sv.at.addr()] = h.name
		}
	}
	masters := map[string][]string{}
	var why []string
	for _, n := range nodes {
		if n.Slots.count() == 0 || n.failed() || !n.known() {
			continue
		}
		at := headOf[n.Addr]
		masters[at] = append(masters[at], n.Addr)
		covered := slices.ContainsFunc(nodes, func(r clusterNode) bool {
			return r.MasterID == n.ID && r.known() && !r.failed() && headOf[r.Addr] != at
		})
		if !covered && s.wanted.replicas > 0 && len(s.heads) > 1 {
			why = append(why, fmt.Sprintf("the %d slots of %s have no copy on another head", n.Slots.count(), n.Addr))
		}
	}
	for _, h := range s.heads {
		if n := len(masters[h.name]); n > 1 {
			why = append(why, fmt.Sprintf("%d masters are on %s since a failover: losing it now would take %d votes", n, h.name, n))
		}
	}
	return why
}

// nobody is the health where no server can be asked.
func (s *State) nobody(h *service.Health) {
	h.State, h.Summary = service.Down, "no server runs"
	for _, nh := range h.Nodes {
		if nh.State == service.Unknown {
			h.State = service.Unknown
		}
	}
	s.conclude(h, []string{"no server answers"})
}

// conclude adds what the heads say and settles the word.
func (s *State) conclude(h *service.Health, why []string) {
	for _, hd := range s.heads {
		if nh := h.Nodes[hd.name]; nh.State != service.Up {
			why = append(why, hd.name+": "+nh.Reason)
		}
	}
	if len(why) > 0 && h.State == service.Up {
		h.State = service.Degraded
	}
	h.Reason = strings.Join(why, "; ")
}

// groupHealth judges a master with replicas, or a server alone.
func (s *State) groupHealth(h *service.Health) {
	var masters, replicas []string
	for _, sv := range s.all() {
		switch {
		case sv.answer != running:
		case sv.role() == "master":
			masters = append(masters, sv.at.String())
		case sv.linkUp():
			replicas = append(replicas, sv.at.String())
		}
	}
	if len(masters)+len(replicas) == 0 {
		s.nobody(h)
		return
	}
	h.Summary = fmt.Sprintf("master %s, %d replicas", strings.Join(masters, ", "), len(replicas))
	var why []string
	switch {
	case len(masters) == 0:
		h.State = service.Down
		why = append(why, "no master: nothing can be written")
	case len(masters) > 1:
		why = append(why, fmt.Sprintf("%d masters: %s", len(masters), strings.Join(masters, ", ")))
	}
	if s.wanted.mode == modeSentinel {
		voting := s.voting()
		total := len(s.heads) + len(s.witnesses)
		h.Summary += fmt.Sprintf(", %d of %d sentinels", voting, total)
		if voting < total {
			why = append(why, fmt.Sprintf("%d of %d sentinels vote", voting, total))
		}
	}
	s.conclude(h, why)
}

func (s *State) voting() int {
	n := 0
	for _, h := range s.heads {
		if h.voter.answer == running {
			n++
		}
	}
	for _, v := range s.witnesses {
		if v.answer == running {
			n++
		}
	}
	return n
}

// copiesOf is "1 copy", "2 copies".
func copiesOf(n int) string {
	if n == 1 {
		return "1 copy"
	}
	return fmt.Sprintf("%d copies", n)
}

// Survival is arithmetic over what the file asks for: votes and copies.
func (s *State) Survival() service.Survival {
	n := len(s.heads)
	out := service.Survival{Service: config.Redis}
	mode := s.wanted.mode
	if s.isCluster() {
		mode = modeCluster
	}
	switch mode {
	case modeCluster:
		votes := (n - 1) / 2
		copies := min(s.wanted.replicas, max(n-1, 0))
		out.AtOnce, out.DataSafe = min(votes, copies), copies
		// In turn it is no more: when a head is lost its slots move to the
		// head with the copy, which then has two masters and, with as few
		// heads, no further copy of its own.
		out.InTurn = out.AtOnce
		out.Why = fmt.Sprintf("%d masters, majority %d; %s of each slot on other heads", n, n/2+1, copiesOf(copies))
		switch {
		case copies == 0:
			out.RaisedBy = "redis.cluster.replicas: 1"
		case votes > copies:
			out.RaisedBy = fmt.Sprintf("redis.cluster.replicas: %d", copies+1)
		case copies > votes:
			out.RaisedBy = "more heads"
		case n%2 == 1:
			out.RaisedBy = fmt.Sprintf("%d heads with redis.cluster.replicas: %d", n+2, copies+1)
		default:
			out.RaisedBy = fmt.Sprintf("%d heads with redis.cluster.replicas: %d", n+1, copies+1)
		}
	case modeSentinel:
		votes := n + len(s.witnesses)
		out.AtOnce = min(n-1, (votes-1)/2)
		out.InTurn, out.DataSafe = out.AtOnce, n-1
		out.Why = fmt.Sprintf("%d sentinels, majority %d; the master and %s", votes, votes/2+1, copiesOf(n-1))
		if (votes-1)/2 < n-1 {
			out.RaisedBy = "a witness"
		} else {
			out.RaisedBy = "another head"
		}
	default:
		out.Why = "one server, no copy"
		out.RaisedBy = "a second head and a witness"
	}
	return out
}
