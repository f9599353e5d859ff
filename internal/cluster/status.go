package cluster

import (
	"slices"
	"strings"
	"time"

	"multihead/internal/service"
)

// Status is the one screen that says how the cluster is, in the order people
// read it: does it serve, what is broken, what can it still lose.
type Status struct {
	Version  int             `json:"version"`
	Time     time.Time       `json:"time"`
	Name     string          `json:"name"`
	State    service.Word    `json:"state"`
	Serving  bool            `json:"serving"` // every service serves, whatever else is wrong
	Size     int             `json:"size"`    // heads in the file
	VIP      string          `json:"vip,omitempty"`
	VIPOwner string          `json:"vip_owner,omitempty"`
	UpSince  time.Time       `json:"up_since,omitzero"` // of the head that has been up longest
	Survives Survival        `json:"survives"`          // while the state is UP; with something broken it is not that
	Problems []Problem       `json:"problems"`
	Heads    []HeadStatus    `json:"heads"`
	Services []ServiceStatus `json:"services"`
}

// Problem is one thing that is not as it should be, with its reason.
type Problem struct {
	State   service.Word `json:"state"`
	Host    string       `json:"host,omitempty"`
	Service string       `json:"service,omitempty"`
	Reason  string       `json:"reason"`
}

// HeadStatus is one head's row.
type HeadStatus struct {
	Hostname string                `json:"hostname"`
	IP       string                `json:"ip"`
	State    service.Word          `json:"state"`
	Load     float64               `json:"load"`
	Uptime   time.Duration         `json:"uptime_ns"`
	Services map[string]CellStatus `json:"services"` // those the head runs
}

// Vitals says whether the head told its load and uptime.
func (h HeadStatus) Vitals() bool { return h.Uptime > 0 }

// NotUp lists the heads, or where all of them are up the services, that are not
// as they should be.
func (s Status) NotUp() []string {
	var out []string
	for _, h := range s.Heads {
		if h.State != service.Up {
			out = append(out, h.Hostname+" "+string(h.State))
		}
	}
	if len(out) > 0 {
		return out
	}
	for _, sv := range s.Services {
		if sv.State != service.Up {
			out = append(out, sv.Service+" "+string(sv.State))
		}
	}
	return out
}

// Unsure says whether there is a head that nothing is known of: what is not
// seen elsewhere may be there.
func (s Status) Unsure() bool {
	return slices.ContainsFunc(s.Heads, func(h HeadStatus) bool { return h.State == service.Unknown })
}

// CellStatus is one service on one head.
type CellStatus struct {
	State service.Word `json:"state"`
	Role  string       `json:"role,omitempty"`
}

// ServiceStatus is one service's line.
type ServiceStatus struct {
	Service string       `json:"service"`
	State   service.Word `json:"state"`
	Summary string       `json:"summary,omitempty"`
	Reason  string       `json:"reason,omitempty"`
}

// Status puts what was observed on one screen.
func (v *View) Status(vitals map[string]Vitals) Status {
	s := Status{Version: 1, Time: v.At, Name: v.Cluster.Info.ClusterName, Size: len(v.Input.Heads),
		Survives: v.Survival(), Problems: []Problem{}, Heads: []HeadStatus{}, Services: []ServiceStatus{}}
	if v.Cluster.Network.VIP.Address.IsValid() {
		s.VIP = v.Cluster.Network.VIP.Address.String()
	}
	healths := v.Healths()
	away := v.maintained(healths)
	serving := len(healths) > 0
	for _, h := range healths {
		h.Reason = v.withoutErrors(h)
		if h.State == service.Degraded && onlyOf(h, away) {
			h.State = service.Maint
		}
		s.Services = append(s.Services, ServiceStatus{h.Service, h.State, h.Summary, h.Reason})
		if h.State != service.Up {
			s.Problems = append(s.Problems, Problem{State: h.State, Service: h.Service, Reason: orUnsaid(h.Reason)})
		}
		serving = serving && (h.State == service.Up || h.State == service.Degraded || h.State == service.Maint)
	}
	s.Serving = serving
	for _, n := range v.Input.Heads {
		s.Heads = append(s.Heads, v.headStatus(n, healths, vitals, away, &s))
	}
	s.State = overall(s)
	// The worst first; within that, in the order of services and heads.
	slices.SortStableFunc(s.Problems, func(a, b Problem) int { return severity(b.State) - severity(a.State) })
	return s
}

func (v *View) headStatus(n service.Node, healths []service.Health, vitals map[string]Vitals, away map[string]string, s *Status) HeadStatus {
	head := HeadStatus{Hostname: n.Name(), IP: n.Spec.Address.String(), State: service.Up, Services: map[string]CellStatus{}}
	if vt, ok := vitals[n.Name()]; ok {
		head.Load, head.Uptime = vt.Load, vt.Uptime
		if since := v.At.Add(-vt.Uptime); s.UpSince.IsZero() || since.Before(s.UpSince) {
			s.UpSince = since
		}
	}
	why, resting := away[n.Name()]
	if resting {
		// What is wrong on it is meant to be, or the business of who works on it.
		head.State = service.Maint
		s.Problems = append(s.Problems, Problem{State: service.Maint, Host: n.Name(), Reason: why})
	} else if !n.Reached() {
		head.State = service.Unknown
		s.Problems = append(s.Problems, Problem{State: service.Unknown, Host: n.Name(), Reason: reasonOf(n)})
	}
	for _, h := range healths {
		if !v.runs(n.Name(), h.Service) {
			continue
		}
		nh, ok := h.Nodes[n.Name()]
		if !ok || !n.Reached() {
			nh = service.NodeHealth{State: service.Unknown}
		}
		head.Services[h.Service] = CellStatus{nh.State, nh.Role}
		if vip, _ := nh.Facts["vip"].(bool); vip {
			s.VIPOwner = n.Name()
		}
		if n.Reached() && nh.State != service.Up && !resting {
			s.Problems = append(s.Problems, Problem{State: nh.State, Host: n.Name(), Service: h.Service, Reason: orUnsaid(nh.Reason)})
			if head.State == service.Up {
				head.State = service.Degraded
			}
		}
	}
	return head
}

// maintained are the heads that a person works on, with the reason.
func (v *View) maintained(healths []service.Health) map[string]string {
	out := map[string]string{}
	for _, h := range healths {
		for name, n := range h.Nodes {
			if n.State == service.Maint {
				out[name] = n.Reason
			}
		}
	}
	return out
}

// onlyOf says whether a service is not whole on heads in maintenance, and whole on
// all others.
func onlyOf(h service.Health, away map[string]string) bool {
	here := false
	for name, n := range h.Nodes {
		_, resting := away[name]
		if n.State != service.Up && !resting {
			return false
		}
		here = here || n.State != service.Up
	}
	return here
}

// withoutErrors is a service's reason without the errors of the heads that were
// not reached: each of them is said once, of the head. Of the service is said
// which heads it is not known of.
func (v *View) withoutErrors(h service.Health) string {
	var silent, rest []string
	reason, repeated := h.Reason, false
	for _, n := range v.Input.Heads {
		if n.Reached() || !v.runs(n.Name(), h.Service) {
			continue
		}
		silent = append(silent, n.Name())
		if said := n.Name() + ": " + reasonOf(n); strings.Contains(reason, said) {
			reason, repeated = strings.ReplaceAll(reason, said, ""), true
		}
	}
	if !repeated {
		return h.Reason
	}
	for part := range strings.SplitSeq(reason, "; ") {
		if part != "" {
			rest = append(rest, part)
		}
	}
	return strings.Join(append(rest, "not known of "+strings.Join(silent, ", ")), "; ")
}

// reasonOf says why a head was not reached.
func reasonOf(n service.Node) string {
	if n.Err == nil {
		return "not reached"
	}
	return n.Err.Error()
}

func orUnsaid(reason string) string {
	if reason == "" {
		return "no reason was given"
	}
	return reason
}

// overall is Up where nothing is wrong, Maint where nothing is but on heads that a
// person works on, Down where a service serves nobody,
// Unknown where no head answered, and Degraded else.
func overall(s Status) service.Word {
	reached, down := 0, false
	for _, h := range s.Heads {
		if h.State != service.Unknown {
			reached++
		}
	}
	for _, sv := range s.Services {
		down = down || sv.State == service.Down
	}
	switch {
	case reached == 0:
		return service.Unknown
	case down:
		return service.Down
	case slices.ContainsFunc(s.Problems, func(p Problem) bool { return p.State != service.Maint }):
		return service.Degraded
	case len(s.Problems) > 0:
		return service.Maint
	default:
		return service.Up
	}
}

func severity(w service.Word) int {
	return slices.Index([]service.Word{service.Up, service.Maint, service.Drain, service.Unknown, service.Degraded, service.Down}, w)
}
