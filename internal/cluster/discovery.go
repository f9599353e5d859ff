package cluster

import (
	"context"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"multihead/internal/host"
	"multihead/internal/service"
)

// Discovery is what `discover -o json` prints. Sites' scripts rely on these
// keys; more may be added, none taken away.
type Discovery struct {
	Version             int              `json:"version"`
	Time                time.Time        `json:"time"`
	ClusterName         string           `json:"cluster_name"`
	TotalControllers    int              `json:"total_controllers"`
	ActiveControllers   int              `json:"active_controllers"`
	InactiveControllers int              `json:"inactive_controllers"`
	Controllers         []DiscoveredHead `json:"controllers"`
	VIPOwner            string           `json:"vip_owner"`
	ClusterState        string           `json:"cluster_state"` // healthy, degraded or down
}

// DiscoveredHead is one head of a Discovery.
type DiscoveredHead struct {
	Hostname string                    `json:"hostname"`
	IP       string                    `json:"ip"`
	Status   string                    `json:"status"` // active or inactive
	Error    string                    `json:"error,omitempty"`
	Services map[string]map[string]any `json:"services,omitempty"`
	Uptime   string                    `json:"uptime,omitempty"`
	Load     float64                   `json:"load"`
}

// Vitals are a host's uptime and load.
type Vitals struct {
	Uptime time.Duration
	Load   float64 // one-minute load average
}

// Vitals reads every reached head's uptime and load, all at once. A head that
// does not say is left out.
func (v *View) Vitals(ctx context.Context) map[string]Vitals {
	names := make([]string, 0, len(v.Input.Heads))
	for _, n := range v.Input.Heads {
		if n.Reached() {
			names = append(names, n.Name())
		}
	}
	found := make([]*Vitals, len(names))
	var g errgroup.Group
	for i, name := range names {
		g.Go(func() error {
			found[i] = readVitals(ctx, v.Hosts[name])
			return nil
		})
	}
	_ = g.Wait()
	out := map[string]Vitals{}
	for i, name := range names {
		if found[i] != nil {
			out[name] = *found[i]
		}
	}
	return out
}

func readVitals(ctx context.Context, h host.Reader) *Vitals {
	var up, load []byte
	var g errgroup.Group
	g.Go(func() (err error) { up, err = h.ReadFile(ctx, "/proc/uptime"); return err })
	g.Go(func() (err error) { load, err = h.ReadFile(ctx, "/proc/loadavg"); return err })
	if g.Wait() != nil {
		return nil
	}
	first := func(b []byte) float64 {
		word, _, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
		f, _ := strconv.ParseFloat(word, 64)
		return f
	}
	return &Vitals{Uptime: time.Duration(first(up) * float64(time.Second)), Load: first(load)}
}

// Discovery puts what was observed into the form that scripts read.
func (v *View) Discovery(vitals map[string]Vitals) Discovery {
	healths := v.Healths()
	d := Discovery{Version: 1, Time: v.At, ClusterName: v.Cluster.Info.ClusterName,
		TotalControllers: len(v.Input.Heads), Controllers: []DiscoveredHead{}}
	for _, n := range v.Input.Heads {
		head := DiscoveredHead{Hostname: n.Name(), IP: n.Spec.Address.String(), Status: "inactive"}
		if !n.Reached() {
			if n.Err != nil {
				head.Error = n.Err.Error()
			}
			d.Controllers = append(d.Controllers, head)
			continue
		}
		d.ActiveControllers++
		head.Status, head.Services = "active", map[string]map[string]any{}
		if vt, ok := vitals[n.Name()]; ok {
			head.Uptime, head.Load = formatUptime(vt.Uptime), vt.Load
		}
		for _, h := range healths {
			nh, ok := h.Nodes[n.Name()]
			if !ok || !v.runs(n.Name(), h.Service) {
				continue
			}
			head.Services[h.Service] = serviceFacts(nh)
			if vip, _ := nh.Facts["vip"].(bool); vip {
				d.VIPOwner = n.Name()
			}
		}
		d.Controllers = append(d.Controllers, head)
	}
	d.InactiveControllers = d.TotalControllers - d.ActiveControllers
	d.ClusterState = clusterState(d, healths)
	return d
}

func serviceFacts(nh service.NodeHealth) map[string]any {
	facts := map[string]any{"status": "ok"}
	if nh.State != service.Up {
		facts["status"] = strings.ToLower(string(nh.State))
	}
	if nh.Reason != "" {
		facts["reason"] = nh.Reason
	}
	for k, val := range nh.Facts {
		facts[k] = val
	}
	return facts
}

// clusterState is "down" where nothing can serve, "healthy" where every head
// answers and every service is up, and "degraded" between the two. What has no
// switch, as the agents, serves nobody by itself.
func clusterState(d Discovery, healths []service.Health) string {
	up, down, switches := 0, 0, 0
	for _, h := range healths {
		if isSwitch(h.Service) {
			switches++
			if h.State == service.Down {
				down++
			}
		}
		if h.State == service.Up {
			up++
		}
	}
	switch {
	case d.ActiveControllers == 0 || (switches > 0 && down == switches):
		return "down"
	case d.InactiveControllers == 0 && up == len(healths):
		return "healthy"
	default:
		return "degraded"
	}
}

// Healths are the healths of all observed services but the base, which is
// nothing to its users: it runs no daemon of its own.
func (v *View) Healths() []service.Health {
	var out []service.Health
	for _, s := range v.Services {
		_, chooses := s.(service.Chooser)
		if state := v.States[s.Name()]; state != nil && (chooses || isSwitch(s.Name())) {
			h := state.Health()
			h.Service = s.Name()
			out = append(out, h)
		}
	}
	return out
}

// formatUptime is uptime as people say it: "5 days", "3 h 20 min".
func formatUptime(d time.Duration) string {
	days, hours, minutes := int(d.Hours())/24, int(d.Hours())%24, int(d.Minutes())%60
	switch {
	case days > 1:
		return strconv.Itoa(days) + " days"
	case days == 1:
		return "1 day " + strconv.Itoa(hours) + " h"
	case hours > 0:
		return strconv.Itoa(hours) + " h " + strconv.Itoa(minutes) + " min"
	default:
		return strconv.Itoa(minutes) + " min"
	}
}
