package keepalived

import (
	"fmt"
	"strings"

	"multihead/internal/service"
)

// Health implements service.State: exactly one head holds the address.
func (s *State) Health() service.Health {
	yes, unsure := s.holders()
	h := service.Health{Service: "keepalived", State: service.Up, Nodes: map[string]service.NodeHealth{}}
	stopped := []string{}
	for _, n := range s.heads {
		nh := s.nodeHealth(n)
		if n.reached && n.running == service.No || n.idles() {
			stopped = append(stopped, n.name)
		}
		h.Nodes[n.name] = nh
	}
	switch {
	case len(yes) > 1:
		h.State = service.Degraded
		h.Reason = fmt.Sprintf("%s hold %s at once: they do not hear each other's adverts", strings.Join(yes, " and "), s.vip.Address)
	case len(yes) == 0 && len(unsure) > 0:
		h.State = service.Unknown
		h.Reason = fmt.Sprintf("no head that answered holds %s; not known of %s", s.vip.Address, strings.Join(unsure, ", "))
		if s.foreign == service.Yes {
			h.Reason += ", and it answers"
		}
	case len(yes) == 0 && s.foreign == service.Yes:
		h.State = service.Down
		h.Reason = fmt.Sprintf("no head holds %s, and a machine that is none of them answers there (%s)", s.vip.Address, s.saw)
	case len(yes) == 0:
		h.State = service.Down
		h.Reason = fmt.Sprintf("no head holds %s", s.vip.Address)
	case len(stopped) > 0:
		h.State = service.Degraded
		h.Reason = "keepalived does not serve on " + strings.Join(stopped, ", ")
	case len(unsure) > 0:
		h.State = service.Degraded
		h.Reason = "not known of " + strings.Join(unsure, ", ")
	}
	switch {
	case len(yes) > 0:
		h.Summary = fmt.Sprintf("%s on %s", s.vip.Address, strings.Join(yes, ", "))
	case len(unsure) > 0:
		h.Summary = fmt.Sprintf("%s not known where", s.vip.Address)
	default:
		h.Summary = fmt.Sprintf("%s on no head", s.vip.Address)
	}
	return h
}

func (s *State) nodeHealth(n head) service.NodeHealth {
	nh := service.NodeHealth{State: service.Up, Role: "backup", Facts: map[string]any{"vip": n.holds == service.Yes}}
	if n.holds == service.Yes {
		nh.Role = "vip"
	}
	switch {
	case !n.reached || n.holds == service.Unsure:
		nh.State, nh.Reason, nh.Role = service.Unknown, n.why, ""
	case n.running == service.No && n.holds == service.Yes:
		nh.State, nh.Reason = service.Down, fmt.Sprintf("keepalived does not run, but left %s behind", s.vip.Address)
	case n.running == service.No:
		nh.State, nh.Reason, nh.Role = service.Down, "keepalived does not run", ""
	case n.idles():
		nh.State, nh.Reason, nh.Role = service.Down, fmt.Sprintf("keepalived runs with a %s that says nothing of %s; multihead up writes it anew", confPath, s.vip.Address), ""
	case n.running == service.Unsure:
		nh.State, nh.Reason = service.Unknown, "systemd does not say whether keepalived runs"
	}
	return nh
}

// idles says whether keepalived runs and does nothing for the virtual address.
func (n head) idles() bool {
	return n.reached && n.running != service.No && n.aimless && n.holds == service.No
}

// Survival implements service.State. VRRP needs no majority: whoever is left
// takes the address.
func (s *State) Survival() service.Survival {
	n := len(s.heads)
	sv := service.Survival{Service: "keepalived", AtOnce: max(n-1, 0), InTurn: max(n-1, 0)}
	switch n {
	case 0:
		sv.Why = "no head runs keepalived"
	case 1:
		sv.Why = "one head only: the address goes with it"
	default:
		sv.Why = fmt.Sprintf("%d heads by priority, no majority needed; a network cut in two has a holder on each side", n)
	}
	if n < 2 {
		sv.RaisedBy = "keepalived on a second head"
	}
	return sv
}
