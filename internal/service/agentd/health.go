package agentd

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"multihead/internal/service"
)

// settleFor is how long agents have after they were started until what they do
// not hear of each other is a fault: all are started at once, and each takes up
// to some seconds to find the others.
const settleFor = 10 * time.Second

// Health implements service.State.
func (s *State) Health() service.Health {
	h := service.Health{Service: Name, State: service.Up, Nodes: map[string]service.NodeHealth{}}
	answer, fit, heads, leader := 0, 0, 0, ""
	for _, t := range s.seats {
		n := s.healthOf(t)
		if t.head {
			h.Nodes[t.name] = n
			heads++
		}
		if t.report != nil {
			answer++
			if t.head && t.report.Fit {
				fit++
			}
			if t.report.Leads {
				leader = t.name
			}
		}
		if n.State == service.Maint {
			continue // of the head, not of the service
		}
		if n.State != service.Up && h.State == service.Up {
			h.State, h.Reason = service.Degraded, t.name+": "+n.Reason
		}
	}
	if answer == 0 && len(s.seats) > 0 {
		h.State, h.Reason = service.Degraded, "no agent answers: the virtual address follows hosts, not the health of services"
		if !slices.ContainsFunc(s.seats, func(t seat) bool { return t.reached }) {
			h.State, h.Reason = service.Unknown, "no host answered"
		}
	}
	h.Summary = fmt.Sprintf("%d/%d agents, %d/%d heads fit for the virtual address", answer, len(s.seats), fit, heads)
	if leader != "" {
		h.Summary += "; " + leader + " acts for the cluster"
	}
	if said := s.fencing(); said != "" {
		h.Summary += "; " + said
	}
	return h
}

// healthOf is how one agent is, and what it finds of its head.
func (s *State) healthOf(t seat) service.NodeHealth {
	if m := s.maintained(t, s.at); m != nil {
		return inMaintenance(m)
	}
	switch {
	case !t.reached:
		return service.NodeHealth{State: service.Unknown, Reason: t.why}
	case t.runs == service.No:
		return service.NodeHealth{State: service.Down, Reason: "the agent does not run"}
	case t.report == nil:
		return service.NodeHealth{State: service.Unknown, Reason: "the agent does not answer: " + t.silence}
	}
	r := t.report
	heard := 0
	for _, p := range r.Peers {
		if p.Heard {
			heard++
		}
	}
	n := service.NodeHealth{State: service.Up, Role: "fit", Facts: map[string]any{"fit": r.Fit, "hears": heard, "of": len(s.seats) - 1}}
	if !t.head {
		n.Role = "votes"
	}
	deaf := s.unheardBy(t)
	switch {
	case t.head && !r.Fit && r.Settling:
		n.Role = "settling" // it is well, and in a moment that counts
	case t.head && !r.Fit:
		n.State, n.Role, n.Reason = service.Degraded, "unfit", "not fit for the virtual address: "+r.Why
	case len(r.Alarms) == 0 && len(deaf) > 0:
		n.State, n.Reason = service.Degraded, "does not hear "+strings.Join(deaf, ", ")
	}
	if ends := t.expiry(s.at); ends != "" && n.State == service.Up {
		n.State, n.Reason = service.Degraded, ends
	}
	if len(r.Alarms) > 0 {
		why := "needs a person: " + strings.Join(r.Alarms, "; ")
		if n.Reason != "" {
			why = n.Reason + "; " + why
		}
		n.State, n.Reason = service.Degraded, why
	}
	return n
}

// unheardBy are the agents that answer the tool and that t does not hear. One
// that does not answer is a fault of its own, not of those that miss it.
func (s *State) unheardBy(t seat) []string {
	settled := func(t seat) bool {
		return t.report != nil && time.Duration(t.report.UpMS)*time.Millisecond > settleFor
	}
	var out []string
	for _, o := range s.seats {
		if o.name != t.name && settled(t) && settled(o) && !t.report.Peers[o.name].Heard {
			out = append(out, o.name)
		}
	}
	return out
}

// Survival implements service.State: agents hold nothing, and one is enough for
// its own head.
func (s *State) Survival() service.Survival {
	heads := 0
	for _, t := range s.seats {
		if t.head {
			heads++
		}
	}
	return service.Survival{Service: Name, AtOnce: max(heads-1, 0), InTurn: max(heads-1, 0),
		Why: "each head's agent watches over its own head; without it the address follows keepalived alone"}
}
