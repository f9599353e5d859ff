package main

import (
	"context"
	"io"
	"net/netip"
	"strings"
	"testing"

	"multihead/internal/cluster"
	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/plan"
	"multihead/internal/service"
	"multihead/internal/service/agentd"
)

// agents are what the agents of a cluster say of its heads.
type agents struct {
	service.State
	health service.Health
}

func (a agents) Health() service.Health { return a.health }

func resters(resting string) agents {
	h := service.Health{Service: agentd.Name, State: service.Up, Nodes: map[string]service.NodeHealth{}}
	for _, name := range []string{"server1", "server2", "server3"} {
		h.Nodes[name] = service.NodeHealth{State: service.Up}
	}
	if resting != "" {
		h.State, h.Reason = service.Degraded, resting+" is in maintenance"
		h.Nodes[resting] = service.NodeHealth{State: service.Maint, Reason: "in maintenance by alice"}
	}
	return agents{health: h}
}

// Two people ask at once, and each is shown a cluster that is well: the one who
// answers later is refused under the lock.
func TestAHeadRestsOnlyWhereItStillMayUnderTheLock(t *testing.T) {
	for _, tt := range []struct {
		name      string
		meanwhile string // who began to rest while the question stood
		confirmed bool
		did       string
	}{
		{"nobody else", "", false, "work"},
		{"another head meanwhile", "server2", false, ""},
		{"another head meanwhile, and the person insists", "server2", true, "work"},
		{"this head, by another person: a new end", "server1", false, "work"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := &config.Cluster{}
			file.Info.ClusterName = "hpc"
			hosts := map[string]host.Host{}
			for i, name := range []string{"server1", "server2", "server3"} {
				addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})
				file.Nodes.Controllers = append(file.Nodes.Controllers, config.Controller{HostSpec: config.HostSpec{Hostname: name, Address: addr}})
				hosts[name] = &lockable{Machine: hosttest.New(name), lock: func() error { return nil }}
			}
			view, err := cluster.Reach(t.Context(), file, file.HeadsAndWitnesses(), func(context.Context, []config.HostSpec) (map[string]host.Host, map[string]error, error) {
				return hosts, nil, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			view.Services = []service.Service{agentd.New()}
			a := &app{stdout: io.Discard, stderr: io.Discard, lang: "en"}
			run := &upRun{report: &upReport{}, sess: &session{file: file, view: view}, aim: aimRest, rest: &resting{head: "server1"}, flags: upFlags{yes: true}}
			run.intent.Confirmed = tt.confirmed
			resting := ""
			run.planner = func(context.Context) (plan.Plan, error) {
				view.States = map[string]service.State{agentd.Name: resters(resting)}
				return plan.Plan{}, nil
			}
			if err := a.propose(t.Context(), run); err != nil {
				t.Fatal(err)
			}
			if err := a.mayRestStill(run); err != nil {
				t.Fatalf("before the question: %v", err)
			}
			resting = tt.meanwhile
			did := ""
			err = a.onceAgreed(t.Context(), run, nil, func() error { did = "work"; return nil })
			if did != tt.did {
				t.Errorf("did %q, want %q: %v", did, tt.did, err)
			}
			if tt.did == "" && (exitCode(err) != exitFailed || !strings.Contains(err.Error(), "in maintenance by alice") || !strings.Contains(err.Error(), "--confirm hpc")) {
				t.Errorf("exit code %d: %v", exitCode(err), err)
			}
		})
	}
}
