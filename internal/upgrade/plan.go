package upgrade

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
	"multihead/internal/service/agentd"
)

// restLimit is how long a head stays in maintenance where the run that began it is
// killed: then its agent starts again what was stopped.
const restLimit = 2 * time.Hour

// startLimit bounds the start of one daemon: a database may have to copy everything.
const startLimit = 2 * time.Hour

// The phases beside those of the heads and witnesses, which have their names.
const (
	readyPhase   = "packages"
	computePhase = "compute nodes"
)

// plan is the order: everything made ready on all hosts, heads one by one, witnesses one
// by one, compute nodes.
func (r *Run) plan(ctx context.Context) (plan.Plan, error) {
	var p plan.Plan
	add := func(ph plan.Phase) {
		if len(p.Phases) > 0 {
			ph.After = []string{p.Phases[len(p.Phases)-1].Name}
		}
		p.Phases = append(p.Phases, ph)
	}
	if ph := r.makeReady(); len(ph.Stages[0].Steps) > 0 {
		add(ph)
	}
	var heads []string
	for _, n := range r.View.Input.Heads {
		if r.found[n.Name()].needs() {
			heads = append(heads, n.Name())
		}
	}
	primary, vip := r.roles()
	for _, name := range order(heads, r.Begun(), primary, vip) {
		ph, err := r.head(ctx, name)
		if err != nil {
			return plan.Plan{}, err
		}
		add(ph)
	}
	for _, n := range r.View.Input.Witnesses {
		if f := r.found[n.Name()]; n.Reached() && f.needs() {
			steps := slices.Concat(r.tool(n.Name()), r.witness(n.Name()), []plan.Step{r.well(n.Name(), "green")})
			add(plan.Phase{Name: n.Name(), Stages: []plan.Stage{{Name: "upgrade", Steps: steps}}})
		}
	}
	if ph := r.computes(); len(ph.Stages) > 0 {
		add(ph)
	}
	return p, nil
}

// makeReady is what is done on all hosts at once, while everything goes on.
func (r *Run) makeReady() plan.Phase {
	st := plan.Stage{Name: "make ready"}
	for _, spec := range r.View.Cluster.AllHosts() {
		f := r.found[spec.Hostname]
		if len(f.Changes) == 0 {
			continue
		}
		bring, u := r.upgrade(f)
		if bring != nil {
			st.Steps = append(st.Steps, plan.Step{ID: "packages.bring", Host: spec.Hostname, Action: bring})
		}
		st.Steps = append(st.Steps, plan.Step{ID: "packages.ready", Host: spec.Hostname, Action: u.Ready()})
	}
	ph := plan.Phase{Name: readyPhase, Stages: []plan.Stage{st}}
	for _, spec := range r.View.Cluster.AllHosts() {
		if held := r.found[spec.Hostname].Held; len(held) > 0 {
			ph.Notes = append(ph.Notes, fmt.Sprintf("on hold on %s, and left as it is: %s", spec.Hostname, strings.Join(held, ", ")))
		}
	}
	return ph
}

func (r *Run) upgrade(f Found) (bring plan.Action, u plan.Upgrade) {
	u = plan.Upgrade{Changes: f.Changes}
	if r.Site != nil {
		return r.Site.Upgrade(u)
	}
	return nil, u
}

// head is one head's part. What fails is undone from the end: the old packages are put
// back, what was stopped runs again, and the maintenance is over.
func (r *Run) head(ctx context.Context, name string) (plan.Phase, error) {
	f := r.found[name]
	ph := plan.Phase{Name: name}
	stage := func(name string, steps ...plan.Step) {
		if len(steps) > 0 {
			ph.Stages = append(ph.Stages, plan.Stage{Name: name, Steps: steps})
		}
	}
	if !f.rests() {
		stage("upgrade", slices.Concat(r.tool(name), r.restarts(name, nil))...)
		stage("check", r.well(name, "green"))
		return ph, nil
	}
	stops, start, err := r.stops(ctx, name, f)
	if err != nil {
		return ph, err
	}
	_, vip := r.roles()
	begin := plan.Step{ID: "upgrade.begin", Host: name, Action: enter(r.maintenance(f, start))}
	if name == vip {
		begin.Effect = "the virtual address goes to another head; connections to it end"
	}
	stage("begin", begin)
	stage("tool", r.tool(name)...)
	stage("hand over", plan.Step{ID: "upgrade.handed", Host: name, Action: agentd.Handed(len(r.View.Input.Heads) == 1)})
	ph.Stages = append(ph.Stages, stops...)
	stage("packages", r.packages(name, start)...)
	stage("start", starts(name, start)...)
	stage("serves", r.serves(name))
	stage("end", plan.Step{ID: "upgrade.end", Host: name, Action: leave()}, plan.Step{ID: "upgrade.ended", Host: name, Action: agentd.Left()})
	stage("check", r.well(name, "green"))
	return ph, nil
}

// stops are the stages that stop on a head what has to be stopped, and the units that
// run again afterwards, in the order of their start.
func (r *Run) stops(ctx context.Context, name string, f Found) (stages []plan.Stage, start []string, err error) {
	services := f.stopped()
	if r.View.Cluster.Runs(name, config.Slurm) {
		services = append(services, config.Slurm)
	}
	if f.Begun != nil {
		start = slices.Clone(f.Begun.Start)
	}
	if len(services) == 0 {
		return nil, start, nil
	}
	stop, err := r.View.StopPlan(service.Intent{Mode: service.Auto, Nodes: []string{name}}, services)
	if err != nil {
		return nil, nil, err
	}
	var again []string
	for _, ph := range stop.Phases {
		for _, st := range ph.Stages {
			var steps []plan.Step
			for _, s := range st.Steps {
				if u, ok := s.Action.(plan.Unit); ok {
					u.Enabled = nil // at boot it starts as ever
					s.Action = u
				}
				if st, ok := s.Action.(plan.Stopper); ok && st.Stops() != "" && s.Host == name && !slices.Contains(start, st.Stops()) {
					stopped, err := s.Action.Done(ctx, r.View.Hosts[name])
					if err != nil {
						return nil, nil, err
					}
					if !stopped {
						again = append(again, st.Stops())
					}
				}
				s.ID, s.OneWay, s.Final = "stop."+s.ID, "", plan.Final{}
				steps = append(steps, s)
			}
			if len(steps) > 0 {
				stages = append(stages, plan.Stage{Name: "stop " + ph.Name + ": " + st.Name, Steps: steps})
			}
		}
	}
	slices.Reverse(again)
	return stages, append(start, again...), nil
}

// starts start what was stopped, in order. Slurm's daemons are the agent's to start when
// the maintenance ends: it hands over in order.
func starts(name string, units []string) []plan.Step {
	var out []plan.Step
	yes := true
	for _, u := range units {
		if !slurms(u) {
			out = append(out, plan.Step{ID: "start." + u, Host: name, Action: plan.Unit{Name: u, Active: &yes, Timeout: startLimit}})
		}
	}
	return out
}

func slurms(unit string) bool { return strings.HasPrefix(unit, "slurm") }

// packages upgrade a host's packages and restart the daemons that came with them and
// were not stopped.
func (r *Run) packages(name string, stopped []string) []plan.Step {
	f := r.found[name]
	var out []plan.Step
	if len(f.Changes) > 0 {
		_, u := r.upgrade(f)
		out = append(out, plan.Step{ID: "upgrade.packages", Host: name, Action: u})
	}
	return append(out, r.restarts(name, stopped)...)
}

// witness is packages for a witness, whose brick is restarted with glusterd.
func (r *Run) witness(name string) []plan.Step {
	f := r.found[name]
	if !f.Arbiter {
		return r.packages(name, nil)
	}
	changed := slices.Contains(f.stopped(), config.GlusterFS) || slices.ContainsFunc(f.Units, func(u Unit) bool { return u.Name == glusterdUnit && u.Stale })
	return append(r.packages(name, []string{glusterdUnit}), plan.Step{ID: "bricks.anew", Host: name, Action: bricksAnew(changed)})
}

func (r *Run) restarts(name string, stopped []string) []plan.Step {
	var out []plan.Step
	for _, u := range r.found[name].Units {
		if !slices.Contains(stopped, u.Name) {
			out = append(out, plan.Step{ID: "restart." + u.Name, Host: name, Action: u.restart()})
		}
	}
	return out
}

// tool brings the multihead that runs this to a host, and has its agent be it.
func (r *Run) tool(name string) []plan.Step {
	f, steps := r.found[name], r.steps[name]
	var out []plan.Step
	if s, ok := steps[toolStep]; ok && f.Tool {
		out = append(out, s)
	}
	if s, ok := steps[answersStep]; ok && (f.Tool || f.Agent) {
		out = append(out, plan.Step{ID: "agent.anew", Host: name, Action: agentAnew(f.Tool)}, s)
	}
	return out
}

// computes are the compute nodes: one alone first, then all others at once. Running
// jobs go on.
func (r *Run) computes() plan.Phase {
	ph := plan.Phase{Name: computePhase}
	var stages [2]plan.Stage
	stages[0].Name, stages[1].Name = "the first", "the others"
	first := ""
	for _, n := range r.View.Input.Computes {
		name := n.Name()
		if !n.Reached() || !r.found[name].needs() {
			continue
		}
		if first == "" {
			first = name
		}
		i := 1
		if name == first {
			i = 0
		}
		stages[i].Steps = append(stages[i].Steps, slices.Concat(r.tool(name), r.packages(name, nil))...)
	}
	if first == "" {
		return ph
	}
	for i, st := range stages {
		if len(st.Steps) > 0 {
			check := r.well(r.View.Input.Heads[0].Name(), fmt.Sprintf("green.%d", i))
			ph.Stages = append(ph.Stages, st, plan.Stage{Name: "check " + st.Name, Steps: []plan.Step{check}})
		}
	}
	return ph
}

// enter begins a head's maintenance, from now on.
func enter(m agentd.Maintenance) plan.Action {
	return plan.Func{What: "begin maintenance", Kind: plan.Change,
		Satisfied: func(context.Context, host.Reader) (bool, error) { return false, nil },
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			now := time.Now().Truncate(time.Second)
			if m.Since.IsZero() {
				m.Since = now
			}
			m.Until = now.Add(restLimit)
			a, err := agentd.Enter(m)
			if err != nil {
				return nil, err
			}
			return a.Do(ctx, h)
		}}
}

// leave ends it: the head's agent starts what still is stopped.
func leave() plan.Action {
	return plan.Func{What: "end maintenance", Kind: plan.Change,
		Satisfied: func(context.Context, host.Reader) (bool, error) { return false, nil },
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			m, err := agentd.ReadMaintenance(ctx, h)
			if m == nil || err != nil {
				return nil, err // its time is over already
			}
			a, err := agentd.Leave(*m, m.Since)
			if err != nil {
				return nil, err
			}
			return a.Do(ctx, h)
		}}
}
