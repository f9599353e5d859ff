// Package service is the contract between the pipeline (observe, plan, apply,
// verify) and the services: one folder below this one is one service, and
// nothing outside that folder knows how the service works.
package service

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
)

// Node is one host of the cluster as a service meets it.
type Node struct {
	Spec   config.HostSpec
	Head   *config.Controller // set for a head node
	Reader host.Reader        // nil where it was not reached
	Err    error              // why it was not reached
	// Dead is the proof that the host is switched off, for a person: "fence_ipmilan
	// says off, twice". Empty where there is none: a host that is silent may live.
	Dead string
}

// Name is the hostname.
func (n Node) Name() string { return n.Spec.Hostname }

// Reached says whether the host answered.
func (n Node) Reached() bool { return n.Reader != nil }

// Input is what a service looks at: the file, and every host that it names,
// reached or not.
type Input struct {
	Cluster   *config.Cluster
	Heads     []Node // all heads of the file, in its order, whatever they run
	Computes  []Node // compute and visualisation nodes
	Witnesses []Node
	// Binary is the running multihead itself, for installing it on hosts;
	// its path on this machine.
	Binary string
	// Stamp names what this run keeps aside ("munge.key.multihead-STAMP"): the
	// same however often the run observes, another one for every run.
	Stamp string
	// Brief leaves out what is only for people to read: an agent looks at its
	// own head every second.
	Brief bool
	// LeavingComputes are compute nodes that are to leave: what they have to do is
	// asked for (Worker).
	LeavingComputes []string
}

// HeadsWith is the heads that run the named service, in the file's order.
func (in Input) HeadsWith(name string) []Node {
	var out []Node
	for _, n := range in.Heads {
		if in.Cluster.Runs(n.Name(), name) {
			out = append(out, n)
		}
	}
	return out
}

// Mode is how `up` was told to begin.
type Mode string

// The modes. Auto forms only what positively does not exist yet and joins
// what does.
const (
	Auto       Mode = "auto"
	Bootstrap  Mode = "bootstrap"
	Join       Mode = "join"
	Standalone Mode = "standalone"
)

// Intent is what a plan is asked for.
type Intent struct {
	Mode Mode
	// Nodes limits the plan to these hosts; empty means all. Steps that
	// others need (a peer probe run on a member) may still fall on others.
	Nodes []string
	// Confirmed is set where the cluster's name was typed: what could form
	// over something unknown is refused without it.
	Confirmed bool
	// Without is set for a recovery that need not wait any longer for heads that
	// do not answer: what a majority of the last quorum holds may go on. It
	// replaces no proof: without a majority it changes nothing.
	Without bool
	// Unattended is set by the agents: what a person has stopped they do not touch.
	Unattended bool
	// Leaving are heads and witnesses that are to be no part of the service any
	// more; only Leaver.Leave looks at it. The file still names them.
	Leaving []string
	// LeavingComputes are compute nodes that are to leave. A head may be one as
	// well, and stays a head.
	LeavingComputes []string
	// Lost are those of both that are gone for good: they do not answer, and
	// are proven to be off, or a person has said so and typed the cluster's name.
	Lost []string
	// JobsEnd is set where what runs on LeavingComputes is waited for, and is no
	// reason to refuse.
	JobsEnd bool
	// Drain plans no more than that LeavingComputes take no new work.
	Drain bool
}

// Gone says whether that host, which leaves, is gone for good.
func (i Intent) Gone(hostname string) bool { return slices.Contains(i.Lost, hostname) }

// Leaves says whether that head is to leave.
func (i Intent) Leaves(hostname string) bool { return slices.Contains(i.Leaving, hostname) }

// Includes says whether the plan may change that host.
func (i Intent) Includes(hostname string) bool {
	if len(i.Nodes) == 0 {
		return true
	}
	for _, n := range i.Nodes {
		if n == hostname {
			return true
		}
	}
	return false
}

// Service is one service of the cluster.
type Service interface {
	// Name is the service's key in the cluster file ("mariadb"), and its
	// phase's name.
	Name() string
	// After names the phases that must be complete before this one begins.
	After() []string
	// Observe asks every host, all at once, and returns what it found.
	// A host that does not answer is part of what was found, not an error;
	// an error means that the question itself was wrong.
	Observe(ctx context.Context, in Input) (State, error)
}

// Chooser is a Service that looks into the file by itself whether it is asked
// for; others are where a head has their switch on.
type Chooser interface {
	Wanted(c *config.Cluster) bool
}

// State is what a service was found to be. Its methods are pure: no I/O, no
// clock, no randomness, so that every decision has a table test.
type State interface {
	// Plan returns every step that the wanted state needs, done or not: the
	// engine drops what is already so. It returns a *Refusal where going on
	// could harm data, and says what to do instead.
	Plan(intent Intent) (plan.Phase, error)
	// Stop returns the steps of an orderly stop, nothing lost.
	Stop(intent Intent) (plan.Phase, error)
	// Health says how the service is.
	Health() Health
	// Survival says what the service can lose, by quorum arithmetic over
	// what the file asks for.
	Survival() Survival
}

// Holder is a State of a service that keeps data on the heads: what each of
// them holds, whatever is to be done.
type Holder interface {
	Evidence() []Evidence
}

// Recoverer is a State of a service that can be made to serve again without a
// person: after the power of all heads was lost, or its quorum.
type Recoverer interface {
	// Recover returns the steps that make serve again what exists and does not
	// serve. Nothing else: no packages, no settings, nothing made anew, and
	// nothing that a person stopped, which is a unit that ran since the host
	// booted and was stopped in order. An empty phase is nothing to do. What
	// can only be seen after these steps is for the next round. It returns a
	// *Refusal where data could be lost; Intent.Confirmed goes on all the same.
	Recover(intent Intent) (plan.Phase, error)
}

// Worker is a State of a service that runs users' work on compute nodes.
type Worker interface {
	// Work is what runs on the compute nodes of Input.LeavingComputes, for a
	// person: "job 17 of alice on node003". An error is that it is not known.
	Work() ([]string, error)
}

// Leaver is a State of a service that hosts can leave while it goes on on the
// others. A service that is no Leaver is simply not there any more on a host that
// the file does not name.
type Leaver interface {
	// Leave returns the steps by which the hosts of Intent.Leaving, and the
	// compute nodes of Intent.LeavingComputes, stop being part: what they alone
	// serve or hold is moved to the hosts that stay, which forget them, and their
	// daemons are stopped and do not start at boot. Data stays on their disks,
	// aside where it would be in the way if they came back. The files of those
	// that stay are not its business: the plan of the file that does not name the
	// hosts any more writes them. Nothing is done on a host of Intent.Lost. It
	// returns a *Refusal, with the arithmetic, where what stays could not serve
	// or would hold less than all, and an empty phase where the hosts have left.
	// After may name services whose hosts leave before.
	Leave(intent Intent) (plan.Phase, error)
}

// OnDisk is a Service whose clients, wherever they are, depend on the disk of every
// head: one that takes no writes harms all of them.
type OnDisk interface {
	// DataDir is a directory of the service's data on each head that runs it, to
	// which a small file of ours may be written; empty where there is none.
	DataDir(c *config.Cluster) string
	// LetGo ends on this host what serves from a disk that takes no writes, so
	// that the others go on without it, and says whether there was anything. Nothing
	// acknowledged may be lost by it.
	LetGo(ctx context.Context, h host.Host, c *config.Cluster) (bool, error)
}

// Word is one of the states that people see. Every one that is not Up has a
// reason.
type Word string

// The vocabulary, in order of severity.
const (
	Up       Word = "UP"
	Maint    Word = "MAINT"
	Drain    Word = "DRAIN"
	Unknown  Word = "UNKNOWN"
	Degraded Word = "DEGRADED"
	Down     Word = "DOWN"
)

// Health is how a service is, as a whole and on each head.
type Health struct {
	Service string
	State   Word
	Reason  string // why it is not Up
	Summary string // one line for status: "4/4 bricks, replica 4, heal queue empty"
	Nodes   map[string]NodeHealth
}

// NodeHealth is how a service is on one host.
type NodeHealth struct {
	State  Word
	Role   string         // "primary", "backup", "master", "vip": the service's own word
	Reason string         // why it is not Up
	Facts  map[string]any // what `discover` prints beside the status: "peers", "cluster_size"
	// Hung are units whose daemon runs here and answers nothing, and which may
	// be killed: systemd starts them anew, and nothing acknowledged is lost. One
	// that is busy (recovers, receives or sends data) is not hung.
	Hung []string
}

// Survival is what a service can lose and go on.
type Survival struct {
	Service  string `json:"service"`
	AtOnce   int    `json:"at_once"`   // heads that may die in the same moment
	InTurn   int    `json:"in_turn"`   // heads that may die one after another, each time settled in between
	Why      string `json:"why"`       // the arithmetic: "4 votes, majority 3"
	RaisedBy string `json:"raised_by"` // what would make it more, empty where nothing would
	DataSafe int    `json:"data_safe"` // copies of the data beyond the first
}

// Refusal is a plan that will not be made because data could be harmed, or
// because it cannot be known that it would not be.
type Refusal struct {
	Service string
	Reason  string // what was found
	Remedy  string // what to do next
}

// Error gives the reason and the remedy.
func (r *Refusal) Error() string {
	return fmt.Sprintf("%s: refused: %s. %s", r.Service, r.Reason, r.Remedy)
}

// Split takes the errors that were joined into one apart: the refusals, and all
// others.
func Split(err error) (refused []*Refusal, others []error) {
	if err == nil {
		return nil, nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, sub := range joined.Unwrap() {
			r, o := Split(sub)
			refused, others = append(refused, r...), append(others, o...)
		}
		return refused, others
	}
	var r *Refusal
	if errors.As(err, &r) {
		return []*Refusal{r}, nil
	}
	return nil, []error{err}
}
