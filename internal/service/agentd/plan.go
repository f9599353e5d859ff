package agentd

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

//go:embed unit.tmpl
var unitText string

var (
	secret = host.Attr{Mode: 0o600, Owner: "root", Group: "root"}
	public = host.Attr{Mode: 0o644, Owner: "root", Group: "root"}
)

// Plan puts the agent on every head and witness, all at once.
func (s *State) Plan(intent service.Intent) (plan.Phase, error) {
	ph := plan.Phase{Name: Name}
	if err := s.rotationOpen(); err != nil {
		return ph, err
	}
	var install, start plan.Stage
	install.Name, start.Name = "install", "start"
	running := plan.Running(unit, unitFile, ConfigFile, PairFile, CAFile, RemovedFile, binary)
	running.Program = true
	for _, t := range s.seats {
		if !t.reached || !intent.Includes(t.name) {
			continue
		}
		add := func(id string, a plan.Action) {
			install.Steps = append(install.Steps, plan.Step{ID: "agent." + id, Host: t.name, Action: a})
		}
		// Secret not for its content: a new one is another at every look, and a
		// plan that is shown twice has to be the same.
		add("ca", plan.File{Path: CAFile, Data: s.authority.cert, Attr: public, Secret: true})
		if t.head {
			add("authority", plan.File{Path: caPairFile, Data: s.authority.join(), Attr: secret, Secret: true})
		}
		own := t.own
		if p, ok := s.issued[t.name]; ok {
			own = p.join()
		}
		if len(s.removed) > 0 {
			add("removed", plan.File{Path: RemovedFile, Data: s.removed.text(), Attr: public})
		}
		add("certificate", plan.File{Path: PairFile, Data: own, Attr: secret, Secret: true})
		add("config", plan.File{Path: ConfigFile, Data: s.file, Attr: secret, Secret: true})
		add("unit", plan.File{Path: unitFile, Data: fmt.Appendf(nil, unitText, t.name), Attr: public})
		if len(t.fencePackages) > 0 {
			add("fence-agents", plan.Packages{Names: t.fencePackages})
		}
		start.Steps = append(start.Steps,
			plan.Step{ID: "agent.start", Host: t.name, Action: running},
			plan.Step{ID: "agent.answers", Host: t.name, Action: answers()})
	}
	ph.Stages = []plan.Stage{install, start}
	if s.isNew && len(install.Steps) > 0 {
		ph.Notes = append(ph.Notes, "agents get certificates from an authority that is made now; its key lies on the heads, readable by root alone")
	}
	return ph, nil
}

// answers waits until the agent does.
func answers() plan.Await {
	return plan.Await{What: "the agent answers", Timeout: 30 * time.Second, Every: 100 * time.Millisecond,
		Until: func(ctx context.Context, r host.Reader) (bool, string, error) {
			if _, err := askAgent(ctx, r); err != nil {
				return false, err.Error(), nil
			}
			return true, "", nil
		}}
}

// Stop stops the agents. What else is stopped, their last verdict stays with
// keepalived, which stops as well.
func (s *State) Stop(intent service.Intent) (plan.Phase, error) {
	ph := plan.Phase{Name: Name}
	no := false
	st := plan.Stage{Name: "stop"}
	for _, t := range s.seats {
		if t.reached && intent.Includes(t.name) {
			st.Steps = append(st.Steps, plan.Step{ID: "agent.stop", Host: t.name, Action: plan.Unit{Name: unit, Active: &no}})
		}
	}
	ph.Stages = []plan.Stage{st}
	return ph, nil
}
