// Package plan is the one way anything is changed: a Plan is data, made by
// pure code from what was observed, shown to a person before it is carried
// out, applied by the Engine and undone by it where a phase fails.
package plan

import (
	"context"
	"fmt"
	"slices"

	"multihead/internal/host"
)

// Action is one change to one machine that knows whether it is needed, how to
// do it and what takes it back.
//
// An Action's String is one line for a person, without secrets.
type Action interface {
	fmt.Stringer
	// Done says whether the machine already is as the action would leave it.
	// It only looks. An error means that it could not tell, which is not no.
	Done(ctx context.Context, h host.Reader) (bool, error)
	// Do makes the change and returns the action that takes it back, nil
	// where there is nothing to take back. It may be run again after it was
	// cut off in the middle. Where it fails half-way it returns the error
	// together with the undo of what it had done so far.
	Do(ctx context.Context, h host.Host) (undo Action, err error)
}

// Step is an action on a host, in its place in a plan.
type Step struct {
	ID     string // stable and unique per host within a plan: "mariadb.config"
	Host   string // hostname in the cluster file
	Action Action
	// OneWay says why the step cannot be taken back; empty means it can.
	// It is shown in the plan and stops a rollback out loud.
	OneWay string
	// Final says what stays once the step has succeeded, whatever fails later.
	Final Final
	// Effect is what users notice while it runs, empty for nothing:
	// "redis on server2 restarts; its slots are served by their replicas".
	Effect string
}

// Final is a point that a rollback does not go behind. A head that has all data
// is worth more than the state before the run; what fails on another head is no
// reason to take it out again.
type Final struct {
	Why   string   // shown where it keeps a rollback from going on; empty means the step can be undone
	Hosts []string // whose steps up to here stay; empty means the step's own host
}

// Stage is steps that may run at once on different hosts. Steps of the same
// host run in the order given. A stage begins when the one before has ended.
type Stage struct {
	Name  string
	Steps []Step
}

// Phase is one service's part of a plan: what is rolled back together.
type Phase struct {
	Name   string   // "mariadb"
	After  []string // phases that must be complete before this one begins; others run beside it
	Stages []Stage
	Notes  []string // what a person should know before saying yes
	Again  bool     // something goes on by itself that may need help later: to be looked at again soon
}

// Plan is what will be done. Phases run as soon as those they come after are
// complete; an order is given only where one is needed.
type Plan struct {
	Phases []Phase
}

// Empty says whether there is nothing to do.
func (p Plan) Empty() bool {
	for _, ph := range p.Phases {
		for _, st := range ph.Stages {
			if len(st.Steps) > 0 {
				return false
			}
		}
	}
	return true
}

// Steps calls yield for every step in the order they are written, until it
// returns false.
func (p Plan) Steps(yield func(phase string, s Step) bool) {
	for _, ph := range p.Phases {
		for _, st := range ph.Stages {
			for _, s := range st.Steps {
				if !yield(ph.Name, s) {
					return
				}
			}
		}
	}
}

// On is the plan without the steps on hosts that are to be left alone, whatever
// others would need of them.
func (p Plan) On(may func(host string) bool) Plan {
	out := Plan{Phases: slices.Clone(p.Phases)}
	for i, ph := range out.Phases {
		stages := slices.Clone(ph.Stages)
		for j, st := range stages {
			stages[j].Steps = slices.DeleteFunc(slices.Clone(st.Steps), func(s Step) bool { return !may(s.Host) })
		}
		out.Phases[i].Stages = stages
	}
	return out
}

// Kind is what a step does to a resource, as the plan's summary counts it.
type Kind string

// The kinds, with the sign that the plan prints before them.
const (
	Add     Kind = "+" // something that was not there
	Change  Kind = "~" // something that is there, and will differ
	Destroy Kind = "-" // something that will be gone
	Restart Kind = "!" // a running daemon will be restarted
	Run     Kind = ">" // something is run; what it changes is inside a daemon
	Wait    Kind = "." // nothing changes: a condition is awaited
)

// Preview is what a plan shows of a step before it is done.
type Preview struct {
	Kind          Kind
	Before, After string // a file's content, with secrets masked, where there is a difference to show
}

// Previewer is an Action that can say more about itself than its String.
// Others count as Run.
type Previewer interface {
	Preview(ctx context.Context, h host.Reader) (Preview, error)
}

// Toucher is an Action that changes files; Watcher is one whose outcome hangs
// on them. A watcher that seems done is not while an earlier step of the plan
// on the same host is still to touch what it watches: a unit has to be
// restarted after the file it reads was rewritten.
type Toucher interface{ Touches() []string }

// Watcher is described at Toucher.
type Watcher interface{ Watches() []string }
