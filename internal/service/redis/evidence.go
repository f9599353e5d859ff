package redis

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"multihead/internal/service"
)

func joinAddr(host, port string) string { return net.JoinHostPort(host, port) }

// group joins names that belong to the same cluster: Redis gives its clusters
// no identity of their own, so it is made of what the members know of each
// other (union-find).
type group map[string]string

func (g group) root(a string) string {
	p, ok := g[a]
	if !ok || p == a {
		return a
	}
	r := g.root(p)
	g[a] = r
	return r
}

// join makes all names one; the smallest is the name of the whole.
func (g group) join(names ...string) {
	for _, n := range names[1:] {
		a, b := g.root(names[0]), g.root(n)
		if b < a {
			a, b = b, a
		}
		g[b] = a
	}
}

const noReplID = "0000000000000000000000000000000000000000"

// names are the marks by which a server recognises those it belongs to: node
// ids, replication ids, its own address and the one it copies from.
func (s server) names() []string {
	out := []string{"server " + s.at.String()}
	add := func(kind, value string) {
		if value != "" && value != noReplID {
			out = append(out, kind+" "+value)
		}
	}
	if s.down() {
		add("data", s.disk.replID)
		add("address", s.disk.replicaOf)
		if s.managed {
			add("address", s.at.addr())
		}
	}
	for _, n := range s.view() {
		if n.known() {
			add("node", n.ID)
		}
	}
	if s.answer == running {
		add("address", s.at.addr())
		if !s.clustr {
			add("data", s.info["master_replid"])
			add("data", s.info["master_replid2"])
			add("address", s.masterAddr())
		}
	}
	return out
}

// groups finds which servers belong together.
func (s *State) groups() group {
	g := group{}
	voters := slices.Clone(s.witnesses)
	for _, h := range s.heads {
		for _, sv := range h.servers {
			g.join(sv.names()...)
		}
		voters = append(voters, h.voter)
	}
	for _, v := range voters {
		if v.master == "" {
			continue
		}
		names := []string{"address " + v.master}
		for _, r := range v.replicas {
			names = append(names, "address "+r)
		}
		g.join(names...)
	}
	return g
}

// Evidence is what every head showed, in the form of service.Decide.
//
// A Redis that multihead set up and nobody used yet holds nothing. Where one
// head alone runs such a server it counts as living all the same, so that the
// others join it: a client may write its first key at any moment.
func (s *State) Evidence() []service.Evidence {
	g := s.groups()
	out := make([]service.Evidence, len(s.heads))
	blank := -1
	blanks := 0
	living := false
	for i, h := range s.heads {
		out[i] = h.evidence(g)
		living = living || out[i].Live == service.Yes
		if out[i].Live == service.No && out[i].Data == service.No && h.set() {
			blank, blanks = i, blanks+1
		}
	}
	if !living && blanks == 1 {
		out[blank].Live = service.Yes
		out[blank].Cluster = g.root("server " + s.heads[blank].servers[0].at.String())
	}
	return out
}

// set says whether a server that multihead set up runs on the head.
func (h head) set() bool {
	return slices.ContainsFunc(h.servers, func(s server) bool { return s.answer == running && s.ours })
}

func (h head) evidence(g group) service.Evidence {
	e := service.Evidence{Node: h.name, Clean: service.Yes}
	if !h.reached {
		e.Why = h.err
		return e
	}
	e.Live, e.Data = service.No, service.No
	var whys []string
	for _, sv := range h.servers {
		switch {
		case sv.serves():
			e.Live, e.Data = service.Yes, service.Yes
		case e.Live != service.Yes && (sv.answer == unknown || sv.answer == loading && !sv.ours):
			e.Live, e.Data = service.Unsure, service.Unsure
			whys = append(whys, fmt.Sprintf("port %d: %s", sv.at.Port, sv.why))
			continue
		}
		switch sv.holds() {
		case service.Yes:
			if e.Data == service.No {
				e.Data = service.Yes
			}
			whys = append(whys, fmt.Sprintf("port %d: %s", sv.at.Port, sv.describe()))
		case service.Unsure:
			if e.Data == service.No {
				e.Data = service.Unsure
			}
			whys = append(whys, fmt.Sprintf("port %d: %s", sv.at.Port, sv.disk.why))
		}
	}
	e.Cluster = h.cluster(g)
	e.Why = strings.Join(whys, "; ")
	return e
}

// cluster is the identity of what the head's servers belong to: that of one
// that serves, else of one that holds something.
func (h head) cluster(g group) string {
	for _, want := range []func(server) bool{server.serves, func(s server) bool { return s.holds() == service.Yes }} {
		for _, sv := range h.servers {
			if want(sv) {
				return g.root("server " + sv.at.String())
			}
		}
	}
	return ""
}

func (s server) describe() string {
	switch {
	case s.answer == loading:
		return s.why
	case s.down() && s.disk.why != "":
		return "stopped, " + s.disk.why
	case s.down():
		return "stopped, part of a cluster"
	case s.clustr:
		return fmt.Sprintf("%d keys, %d slots, %d nodes known, cluster_state %s", s.keyCount(), countOf(s.me()), len(s.nodes), s.summary["cluster_state"])
	default:
		return fmt.Sprintf("%s, %d keys", s.role(), s.keyCount())
	}
}

func countOf(n clusterNode) int { return n.Slots.count() }
