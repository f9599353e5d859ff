package slurm

import (
	"fmt"
	"strings"

	"multihead/internal/config"
	"multihead/internal/service"
)

// Health says who is in charge, who stands by, and how the nodes are.
func (s *State) Health() service.Health {
	h := service.Health{Service: "slurm", State: service.Up, Nodes: map[string]service.NodeHealth{}}
	active := s.active()
	var backups, reasons []string
	up, dbd := 0, ""
	for i, x := range s.heads {
		n := s.headHealth(x, i == active)
		h.Nodes[x.name] = n
		if x.dbd == service.Yes {
			dbd = x.name
		}
		if x.listens == service.Yes {
			up++
			if i != active {
				backups = append(backups, x.name)
			}
		}
		if n.Reason != "" {
			reasons = append(reasons, x.name+": "+n.Reason)
		}
	}
	var parts []string
	if active >= 0 {
		parts = append(parts, "primary "+s.heads[active].name)
	}
	if len(backups) > 0 {
		parts = append(parts, "backup "+strings.Join(backups, ", "))
	}
	if runsDBD(s.cluster) {
		if dbd == "" {
			reasons = append(reasons, "no slurmdbd answers; what it would store is kept and stored later")
		} else {
			parts = append(parts, "slurmdbd "+dbd)
		}
	}
	if c := s.cluWide.nodes; c != nil {
		parts = append(parts, fmt.Sprintf("nodes %d: %d idle, %d busy, %d drained, %d down", c.total, c.idle, c.busy, c.drained, c.down))
		if c.total > 0 && 2*c.down > c.total {
			reasons = append(reasons, "more than half of the nodes are down: "+strings.Join(c.bad, ", "))
		}
	} else if up > 0 {
		reasons = append(reasons, "the nodes are not known: "+s.cluWide.why)
	}
	switch {
	case up == 0 && len(reasons) > 0:
		h.State = service.Down
		for _, n := range h.Nodes {
			if n.State == service.Unknown {
				h.State = service.Unknown
			}
		}
	case len(reasons) > 0:
		h.State = service.Degraded
	}
	h.Reason = strings.Join(reasons, "; ")
	h.Summary = strings.Join(parts, "; ")
	return h
}

func (s *State) headHealth(h head, active bool) service.NodeHealth {
	n := service.NodeHealth{State: service.Up}
	if h.controller {
		n.Role = "backup"
		if active || s.active() < 0 && h.index == 0 {
			n.Role = "primary"
		}
		n.Facts = map[string]any{"controller": n.Role}
	}
	switch {
	case !h.reached:
		n.State, n.Reason = service.Unknown, h.why
	case !h.controller:
	case h.hangs != "":
		n.State, n.Reason, n.Hung = service.Down, h.hangs, []string{ctldUnit}
		n.Role, n.Facts = "", nil
	case h.listens == service.No:
		n.State, n.Reason = service.Down, s.whyDown(h)
		n.Role, n.Facts = "", nil
	case h.listens == service.Unsure:
		n.State, n.Reason = service.Unknown, "slurmctld runs and does not answer"
	case s.dbdPlace(h) >= 0 && !running(h.units[dbdUnit]):
		n.State, n.Reason = service.Degraded, "slurmdbd does not run ("+h.units[dbdUnit]+")"
	}
	return n
}

// whyDown says why slurmctld does not run, and what brings it back.
func (s *State) whyDown(h head) string {
	why := "slurmctld does not run (" + h.units[ctldUnit] + ")"
	switch {
	case running(h.units[ctldUnit]), h.units[ctldUnit] == "activating":
		return "slurmctld starts, or waits until it can read its state"
	case !h.ctldPast.startable(h.units[ctldUnit]):
		return why
	}
	if h.ctldPast.ran == service.No {
		why = "slurmctld has not run since the head booted"
	}
	if lacks := s.unready(h); lacks != "" {
		return why + ": " + lacks
	}
	return why + "; the agents start it, and so does multihead recover"
}

// Survival is what is left of the controllers, and no more than the storage of
// their state can lose. Accounting limits nothing: what cannot be stored is
// kept by the controller until it can.
func (s *State) Survival() service.Survival {
	n := len(s.cluster.SlurmControllers())
	sv := service.Survival{Service: "slurm", AtOnce: max(n-1, 0), InTurn: max(n-1, 0)}
	sv.Why = fmt.Sprintf("%d controllers, one is enough", n)
	if n < 2 {
		sv.RaisedBy = "services.slurm on another head"
		return sv
	}
	sv.RaisedBy = "another head with slurm"
	bricks := len(s.cluster.HeadsWith(config.GlusterFS))
	if bricks == 0 {
		sv.Why += "; their state is on storage outside of the heads"
		return sv
	}
	votes := bricks
	if _, ok := s.cluster.GlusterArbiter(); ok {
		votes++
	}
	canLose := votes - (votes/2 + 1)
	sv.DataSafe = bricks - 1
	if canLose < sv.AtOnce {
		sv.AtOnce, sv.InTurn = canLose, canLose
		sv.Why += fmt.Sprintf(", and their state needs a majority of the volume: %d of %d", votes/2+1, votes)
		sv.RaisedBy = "what raises the volume's: another head with glusterfs"
		if bricks == 2 {
			sv.RaisedBy += ", or a witness"
		}
	}
	return sv
}
