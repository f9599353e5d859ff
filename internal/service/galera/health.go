package galera

import (
	"fmt"
	"slices"
	"strings"

	"multihead/internal/service"
)

// Health says how the cluster and each of its nodes are.
func (s *State) Health() service.Health {
	h := service.Health{Service: "mariadb", Nodes: map[string]service.NodeHealth{}}
	var synced, unknown, clusters []string
	serving := 0
	for _, n := range s.nodes {
		nh := n.health()
		h.Nodes[n.name] = nh
		switch {
		case nh.State == service.Unknown:
			unknown = append(unknown, n.name)
		case n.status.synced():
			synced = append(synced, n.name)
		}
		if n.status.primary() && n.status.ready {
			serving++
		}
		if n.member() && !slices.Contains(clusters, n.status.cluster) {
			clusters = append(clusters, n.status.cluster)
		}
	}
	h.Summary = fmt.Sprintf("%d/%d nodes synced", len(synced), len(s.nodes))
	if runs, of := s.arbitersRun(); of > 0 {
		h.Summary += fmt.Sprintf(", %d/%d arbiters", runs, of)
	}
	switch {
	case len(s.nodes) == 0:
		h.State, h.Reason, h.Summary = service.Down, "no head runs it", ""
	case len(clusters) > 1:
		h.State, h.Reason = service.Down, fmt.Sprintf("%d clusters live at once: %s", len(clusters), strings.Join(clusters, ", "))
	case len(synced) == len(s.nodes) && s.arbitersWell():
		h.State = service.Up
	case len(synced) == len(s.nodes):
		h.State, h.Reason = service.Degraded, "a witness does not vote"
	case serving > 0: // one that gives its data to another serves as well
		h.State, h.Reason = service.Degraded, s.firstReason(h)
	case len(unknown) > 0:
		h.State, h.Reason = service.Unknown, s.firstReason(h)
	default:
		h.State, h.Reason = service.Down, s.firstReason(h)
	}
	return h
}

func (s *State) firstReason(h service.Health) string {
	for _, n := range s.nodes {
		if nh := h.Nodes[n.name]; nh.State != service.Up {
			return n.name + ": " + nh.Reason
		}
	}
	return ""
}

func (n node) health() service.NodeHealth {
	h := service.NodeHealth{Reason: n.why, Facts: map[string]any{"cluster_size": 0, "state": "unknown"}}
	if n.hung {
		h.Hung = []string{unit}
	}
	if len(n.kept) > 0 {
		h.Facts["kept_aside"] = n.kept
	}
	switch {
	case n.stands == unasked:
		h.State = service.Unknown
	case n.stands == off:
		h.State, h.Reason = service.Down, "mariadbd does not run"
		switch {
		case n.disk.data == service.Unsure:
			h.Reason += ": " + n.disk.why
		case n.unit.known && n.parked():
			// It may have been a run that failed as well.
			h.Reason += ": it was stopped in order, or does not start at boot, and nobody but multihead up starts it again"
		}
		h.Facts["state"] = "stopped"
	case n.stands == starting:
		// One that systemd starts again and again is this most of the time, and
		// serves nobody any more than one that is off.
		h.State = service.Down
		h.Facts["state"] = "starting"
	case n.own():
		h.State, h.Role, h.Reason = service.Down, "standalone", "mariadbd runs on its own, outside the cluster"
		h.Facts["state"] = "standalone"
	default:
		h.Role = n.status.sync
		h.Facts["cluster_size"], h.Facts["state"] = n.status.size, n.status.sync
		h.Facts["cluster_status"], h.Facts["cluster_uuid"] = n.status.component, n.status.cluster
		switch {
		case n.status.synced():
			h.State, h.Reason = service.Up, ""
		case n.status.primary():
			h.State, h.Reason = service.Degraded, "not in sync: "+n.status.sync
		default:
			h.State, h.Reason = service.Down, "without quorum ("+n.status.component+")"
		}
	}
	return h
}

// Survival is the arithmetic of quorum: those that remain must be more than
// half of those that were there. After each loss that was survived the rest
// count anew, so more heads can go one after another than at once. What holds
// data are the heads alone.
func (s *State) Survival() service.Survival {
	heads := len(s.nodes)
	votes := heads + len(s.arbiters())
	v := service.Survival{Service: "mariadb",
		AtOnce:   min(max((votes-1)/2, 0), max(heads-1, 0)),
		InTurn:   min(max(votes-2, 0), max(heads-1, 0)),
		DataSafe: max(heads-1, 0),
		Why:      fmt.Sprintf("%d votes, the rest must be more than half: at least %d", votes, votes/2+1),
	}
	switch {
	case heads == 1:
		v.Why, v.RaisedBy = "one head has the only copy", "two more heads with mariadb"
	case votes%2 == 0:
		v.RaisedBy = "a witness (witnesses in the file): it votes and holds no data"
	case heads < 10:
		v.RaisedBy = "two more heads with mariadb"
	}
	return v
}
