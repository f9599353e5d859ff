package agent

import (
	"slices"
	"testing"
	"time"

	"multihead/internal/plan"
	"multihead/internal/service"
	"multihead/internal/service/agentd"
)

func TestWhatIsWrongOnAHeadInMaintenanceIsNobodysBusiness(t *testing.T) {
	wrong := []string{"server1 redis: down", "server10 redis: down", "server2 slurm: down"}
	got := withoutMaintained(slices.Clone(wrong), map[string]*agentd.Maintenance{"server1": {}})
	if !slices.Equal(got, []string{"server10 redis: down", "server2 slurm: down"}) {
		t.Errorf("%q", got)
	}
	if got := withoutMaintained(slices.Clone(wrong), nil); !slices.Equal(got, wrong) {
		t.Errorf("%q", got)
	}
}

func TestAMaintenanceIsKnownUntilItsTimeIsOver(t *testing.T) {
	now := time.Unix(1000, 0)
	a := &Agent{Options: Options{Name: "server1"}, peers: map[string]heard{
		"server2": {Beat{Name: "server2", Maintenance: &agentd.Maintenance{Until: now.Add(time.Second)}}, now.Add(-time.Hour)}, // off since
		"server3": {Beat{Name: "server3", Maintenance: &agentd.Maintenance{Until: now}}, now},
		"server4": {Beat{Name: "server4"}, now},
	}}
	if got := a.maintained(now); len(got) != 1 || got["server2"] == nil {
		t.Errorf("%v", got)
	}
	a.maint = &agentd.Maintenance{Until: now.Add(time.Second)}
	if got := a.maintained(now); len(got) != 2 || got["server1"] == nil {
		t.Errorf("%v", got)
	}
}

func TestRecoveryLeavesAHeadInMaintenanceAlone(t *testing.T) {
	step := func(h string) plan.Step { return plan.Step{ID: "x", Host: h, Action: plan.Absent{Path: "/x"}} }
	p := plan.Plan{Phases: []plan.Phase{{Name: "redis", Stages: []plan.Stage{{Steps: []plan.Step{step("server1"), step("server2")}}}}}}
	left := p.On(service.Intent{Nodes: []string{"server2"}}.Includes).Phases[0].Stages[0].Steps
	if len(left) != 1 || left[0].Host != "server2" {
		t.Errorf("%v", left)
	}
}
