package galera

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// An even number of heads can split into halves of which neither has quorum.
// A witness runs garbd, which votes like a node and holds no data. One witness
// is enough, and more would make the number even again.

const (
	arbiterUnit = "garb.service"
	arbiterFile = "/etc/default/garb"

	arbiterDropIn = "/etc/systemd/system/garb.service.d/multihead.conf"
	// After the power of all was lost, garbd finds nobody with a quorum for half a
	// minute, gives up, and is not started again (seen): the next head that died
	// would have taken the database with it.
	arbiterRestart = `# Managed by multihead; changes are overwritten.
[Unit]
StartLimitIntervalSec=0

[Service]
Restart=on-failure
RestartSec=2
`
)

// arbiters are the witnesses that vote: the first one, where the number of
// heads is even.
func (s *State) arbiters() []voter {
	if len(s.nodes)%2 != 0 || len(s.witnesses) == 0 {
		return nil
	}
	return s.witnesses[:1]
}

func observeVoter(ctx context.Context, w service.Node) voter {
	v := voter{name: w.Name(), reached: w.Reached(), at: debian}
	if !v.reached {
		v.why = "it was not asked"
		if w.Err != nil {
			v.why = w.Err.Error()
		}
		return v
	}
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	var err error
	if v.at, err = layoutOf(ctx, w.Reader); err != nil {
		v.why = err.Error()
		return v
	}
	out, err := w.Reader.Query(ctx, "systemctl", "show", arbiterUnit, "--property=ActiveState", "--value")
	switch {
	case err != nil:
		v.why = err.Error()
	case strings.TrimSpace(out) == "active":
		v.runs = service.Yes
	default:
		v.runs, v.why = service.No, "garbd does not run"
	}
	return v
}

// arbiters starts the voter once the cluster is there, and stops one that would
// make the number of votes even. It counts those that vote by then.
func (b *builder) arbiters() {
	var steps []plan.Step
	for i, w := range b.s.witnesses {
		if i >= len(b.s.arbiters()) && w.runs == service.Yes && b.intent.Includes(w.name) {
			steps = append(steps, plan.Step{ID: "mariadb.arbiter", Host: w.name, Action: plan.Stopped(arbiterUnit)})
		}
	}
	for _, w := range b.s.arbiters() {
		if !w.reached {
			b.out.Notes = append(b.out.Notes, fmt.Sprintf("the witness %s does not vote: %s.", w.name, strings.TrimSuffix(w.why, ".")))
			continue
		}
		if !b.intent.Includes(w.name) {
			if w.runs == service.Yes {
				b.votes++
			}
			continue
		}
		b.votes++
		addrs := make([]string, len(b.s.nodes))
		for i, n := range b.s.nodes {
			addrs[i] = bracketed(n.addr) + ":4567"
		}
		conf := fmt.Sprintf("# Managed by multihead; changes are overwritten.\nGALERA_NODES=%q\nGALERA_GROUP=%q\nGALERA_OPTIONS=%q\n",
			strings.Join(addrs, " "), b.s.conf.Galera.ClusterName, arbiterOptions(timings))
		u := plan.Running(arbiterUnit, arbiterFile, arbiterDropIn)
		readable := host.Attr{Mode: 0o644, Owner: "root", Group: "root"}
		steps = append(steps,
			plan.Step{ID: "mariadb.arbiter-packages", Host: w.name, Action: plan.Packages{Names: w.at.arbiter}},
			plan.Step{ID: "mariadb.arbiter-settings", Host: w.name,
				Action: plan.File{Path: arbiterFile, Data: []byte(conf), Attr: readable}},
			plan.Step{ID: "mariadb.arbiter-unit", Host: w.name, Action: plan.File{Path: arbiterDropIn, Data: []byte(arbiterRestart), Attr: readable}},
			plan.Step{ID: "mariadb.arbiter", Host: w.name, Action: u})
	}
	b.stage("witness", steps...)
}

// stepAside takes the witness's vote out while the only head with the data starts the
// cluster again. Left with the quorum for that moment it would keep it, and the head
// would be no member of what it has. It starts at boot all the same, and with the next
// up, if this one does not come to voteAgain.
func (b *builder) stepAside() {
	no := false
	b.onVoters("the witness steps aside", "mariadb.arbiter-aside", aside{plan.Unit{Name: arbiterUnit, Active: &no}})
}

func (b *builder) voteAgain() {
	yes := true
	b.onVoters("the witness votes again", "mariadb.arbiter-back", aside{plan.Unit{Name: arbiterUnit, Active: &yes}})
}

// aside is a witness's step around the restart of the only member. It is taken back
// where that is, last of all and in the same order: the witness has to be away while the
// old settings are read, too.
type aside struct{ plan.Unit }

// Do implements plan.Action.
func (s aside) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	undo, err := s.Unit.Do(ctx, h)
	if undo != nil {
		undo = lately{undo}
	}
	return undo, err
}

// lately is an undo that comes when the daemons are restarted.
type lately struct{ plan.Action }

// Late implements plan.Late.
func (lately) Late() {}

func (b *builder) onVoters(stage, id string, a plan.Action) {
	var steps []plan.Step
	for _, w := range b.s.arbiters() {
		if w.runs == service.Yes {
			steps = append(steps, plan.Step{ID: id, Host: w.name, Action: a})
		}
	}
	b.stage(stage, steps...)
}

// letGoLimit bounds the restart of garbd, which nothing depends on but its own vote.
const letGoLimit = 20 * time.Second

// letGo restarts garbd before a cluster is begun. Where all heads have left in order, as
// they do when they are shut down, it keeps the quorum alone and looks for nobody any
// more: it would not vote in what is begun, or the one would abort where they met. One
// that has just started has no quorum and looks for one.
func (s *State) letGo() []plan.Step {
	var steps []plan.Step
	for _, w := range s.witnesses {
		if w.runs != service.Yes {
			continue
		}
		steps = append(steps, plan.Step{ID: "mariadb.arbiter-anew", Host: w.name, Action: plan.Func{
			What: "restart garbd, which may have the quorum alone",
			Kind: plan.Restart,
			Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
				ctx, cancel := context.WithTimeout(ctx, letGoLimit)
				defer cancel()
				if _, err := h.Run(ctx, host.Command("systemctl", "try-restart", arbiterUnit)); err != nil {
					plan.Tell(ctx, "not restarted: "+err.Error())
				}
				return nil, nil // the database begins without its vote rather than not at all
			},
		}})
	}
	return steps
}

// arbiterOptions are the nodes' own, less what concerns data.
func arbiterOptions(t timing) string {
	var out []string
	for _, o := range strings.Split(providerOptions(t), ";") {
		if strings.HasPrefix(o, "evs.") {
			out = append(out, o)
		}
	}
	return strings.Join(out, ";")
}

func (s *State) arbitersRun() (runs, of int) {
	for _, w := range s.arbiters() {
		of++
		if w.runs == service.Yes {
			runs++
		}
	}
	return runs, of
}

func (s *State) arbitersWell() bool {
	runs, of := s.arbitersRun()
	return runs == of
}

// stopArbiters stops the voters after the nodes, and those that are named where the
// nodes go on.
func (s *State) stopArbiters(intent service.Intent) []plan.Stage {
	var steps []plan.Step
	all := s.lastToStop(intent) != ""
	for _, w := range s.arbiters() {
		if w.reached && (all && intent.Includes(w.name) || slices.Contains(intent.Nodes, w.name)) {
			steps = append(steps, plan.Step{ID: "mariadb.stop-arbiter", Host: w.name, Action: plan.Stopped(arbiterUnit)})
		}
	}
	if len(steps) == 0 {
		return nil
	}
	return []plan.Stage{{Name: "stop the witness", Steps: steps}}
}
