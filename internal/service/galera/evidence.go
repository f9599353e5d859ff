package galera

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"multihead/internal/service"
)

// own says whether the daemon runs as a server on its own, part of no cluster.
func (n node) own() bool { return n.stands == answering && !n.status.galera }

// member says whether it is part of a cluster with quorum. A node that is
// still receiving data, or gives it, is one.
func (n node) member() bool { return n.stands == answering && n.status.primary() }

// current says whether it has what the cluster has written. One that is still
// receiving data does not know how far the others have come.
func (n node) current() bool {
	return n.member() && (n.status.sync == "Synced" || n.status.sync == "Donor/Desynced")
}

// detached says whether it runs as part of a cluster that lost its quorum.
func (n node) detached() bool { return n.stands == answering && n.status.galera && !n.status.primary() }

// closed says whether it runs and has closed its connection to the cluster for
// good, as it does where a state transfer was not complete. Nothing but a
// restart brings it back.
func (n node) closed() bool { return n.detached() && n.status.component == disconnected }

// evidence is what a head shows, in the words of the common rule. lives says
// whether a cluster with quorum was seen on some head.
func (n node) evidence(lives bool) service.Evidence {
	e := service.Evidence{Node: n.name, Why: n.why, Position: -1}
	switch {
	case n.member():
		e.Live, e.Data, e.Cluster = service.Yes, service.Yes, n.status.cluster
		if n.current() {
			e.Position = n.status.committed
		}
		e.Why = "serves in " + n.status.cluster
	case n.closed() && lives && n.disk.state.uuid != "":
		e.Live, e.Data, e.Cluster, e.Clean = service.No, service.Yes, n.disk.state.uuid, service.No
		e.Why = "mariadbd runs and has left the cluster; it needs a restart"
	case n.detached():
		e.Data, e.Cluster, e.Position = service.Yes, n.status.cluster, n.status.committed
		e.Why = "mariadbd runs without quorum (" + n.status.component + ")"
	case n.own():
		e.Live, e.Data, e.Clean = service.No, service.No, service.Yes
		switch {
		case n.disk.data == service.Unsure:
			e.Data, e.Why = service.Unsure, n.disk.why
		case n.disk.state.uuid != "":
			// Whatever it wrote since it left that cluster is in no history.
			e = standalone(e, "a MariaDB of its own that once was "+n.disk.why)
		case n.status.schemas+n.status.accounts > 0:
			e = standalone(e, fmt.Sprintf("a MariaDB of its own with %d databases and %d accounts of users", n.status.schemas, n.status.accounts))
		}
	case n.stands == starting && !lives:
		// It may be about to form a cluster: who is asked first decides nothing.
	case n.stands == starting, n.stands == off:
		e.Live, e.Data = service.No, n.disk.data
		e.Why = n.disk.why
		switch {
		case e.Data != service.Yes:
		case n.unread():
			e.Data = service.Unsure
			e.Why += "; multihead recover finds out how far its data goes"
		case n.disk.interrupted():
			e.Cluster, e.Position, e.Clean = n.disk.found.uuid, n.disk.found.seqno, service.Yes
		case n.disk.state.uuid == "":
			e = standalone(e, "a stopped MariaDB of its own with "+n.disk.why)
		default:
			e.Cluster, e.Position, e.Clean = n.disk.state.uuid, n.disk.state.seqno, service.Yes
			if e.Position < 0 {
				e.Clean = service.No
				e.Why = "grastate.dat says seqno -1: it crashed or lost its power"
			}
		}
	}
	return e
}

// standalone is a server that was never part of a cluster and holds data. It
// has an identity of its own, so that two of them are never taken for one. One
// of them, and nobody else with data, becomes the first node: it goes on from
// its own data directory, and the others copy it.
func standalone(e service.Evidence, why string) service.Evidence {
	e.Data, e.Clean, e.Position = service.Yes, service.Yes, 0
	e.Cluster, e.Why = "the server on "+e.Node, why
	return e
}

// decide says what may be done about the cluster's existence.
func (s *State) decide(intent service.Intent) (service.Decision, error) {
	lives := false
	var detached []string
	for _, n := range s.nodes {
		lives = lives || n.member()
		if n.detached() {
			detached = append(detached, n.name)
		}
	}
	if !lives && len(detached) > 0 {
		return service.Decision{}, &service.Refusal{Service: "mariadb",
			Reason: fmt.Sprintf("mariadbd runs on %s without quorum (non-Primary), and no head answers that has it", strings.Join(detached, ", ")),
			Remedy: "Run multihead recover: it gives quorum back where no head can be serving that does not answer, and says what is missing for that."}
	}
	for _, n := range s.nodes {
		if n.member() && n.status.clusterName != s.conf.Galera.ClusterName {
			return service.Decision{}, &service.Refusal{Service: "mariadb",
				Reason: fmt.Sprintf("the cluster that lives on %s is called %q, and the file says %q: a node under another name could not join it", n.name, n.status.clusterName, s.conf.Galera.ClusterName),
				Remedy: fmt.Sprintf("Write cluster_name: %s under database.mariadb.galera.", n.status.clusterName)}
		}
	}
	d, err := service.Decide("mariadb", s.Evidence(), intent)
	var refused *service.Refusal
	if errors.As(err, &refused) && !lives && s.cutOff() {
		refused.Remedy = byRecover
	}
	if err != nil || d.Verdict != service.Resume {
		return d, err
	}
	return s.preferSafe(d), nil
}

// byRecover is what a person does after all heads have lost their power.
const byRecover = "Run multihead recover: it finds out how far the data of each head goes and starts the cluster where it goes furthest; the others join it. It refuses where a head that does not answer may hold more, and says what to do then."

// cutOff says whether some head was stopped without having written down how far
// its data goes.
func (s *State) cutOff() bool {
	return slices.ContainsFunc(s.nodes, func(n node) bool { return n.disk.data == service.Yes && n.disk.state.seqno < 0 })
}

// Evidence implements service.Holder.
func (s *State) Evidence() []service.Evidence {
	first := slices.IndexFunc(s.nodes, node.member)
	lives := first >= 0
	out := make([]service.Evidence, len(s.nodes))
	for i, n := range s.nodes {
		out[i] = n.evidence(lives)
		if lives && n.stands == starting && n.unread() {
			// Nothing that is decided here would keep it from what it is at: it asks
			// those that live for a whole copy. It is waited for.
			out[i].Data, out[i].Cluster, out[i].Why = service.Yes, s.nodes[first].status.cluster, n.why
		}
	}
	for i := range out {
		later(&out[i], out, lives)
	}
	return out
}

// later turns data of an identity that the cluster had before into data of the
// one that it has. Galera sends such a head a whole copy; what goes further than
// where the new identity began, or may, is kept aside then.
func later(e *service.Evidence, all []service.Evidence, lives bool) {
	for _, o := range all {
		at, earlier := descends(o.Cluster, e.Cluster)
		if !earlier || e.Live == service.Yes || lives && o.Live != service.Yes {
			continue
		}
		e.Why = fmt.Sprintf("part of cluster %s, which goes on as %s from %d on", e.Cluster, o.Cluster, at)
		e.Cluster, e.Position, e.Clean = o.Cluster, 0, service.Yes
		return
	}
}

// preferSafe lets the cluster start from the node that stopped last, where
// several hold equally much, and not from one that was interrupted, where others hold as
// much.
func (s *State) preferSafe(d service.Decision) service.Decision {
	rank := func(n node) int {
		switch {
		case n.disk.interrupted():
			return 0
		case n.disk.state.safe:
			return 2
		}
		return 1
	}
	first := s.node(d.First)
	for i, name := range d.Joiners {
		n := s.node(name)
		if at := n.disk.goesTo(); at.uuid != "" && at == first.disk.goesTo() && rank(n) > rank(first) {
			d.First, d.Joiners[i], first = name, first.name, n
		}
	}
	return d
}

// node is the head of that name; the zero node where there is none.
func (s *State) node(name string) node {
	for _, n := range s.nodes {
		if n.name == name {
			return n
		}
	}
	return node{}
}
