package service

import (
	"fmt"
	"sort"
	"strings"
)

// Answer is what a probe says. Unknown is not no.
type Answer int

// The three answers. The zero value is Unknown, so that a field nobody filled
// in is never taken for an answer.
const (
	Unsure Answer = iota
	No
	Yes
)

func (a Answer) String() string {
	return [...]string{"unknown", "no", "yes"}[a]
}

// Evidence is what one head showed of one service that must exist only once.
type Evidence struct {
	Node    string
	Live    Answer // serves now as part of a cluster with quorum
	Data    Answer // holds data of this service on disk
	Cluster string // identity of the cluster it is or was part of: a uuid; empty where it has none
	Clean   Answer // was stopped in order, so that starting it again needs no recovery
	// Position is how far its data goes, comparable within one Cluster;
	// negative is unknown. Of a live member it is where the cluster stands.
	Position int64
	Why      string // what was seen, for a person: "ssh: timed out after 5 s"
}

// Verdict is what may be done about a service's existence.
type Verdict string

// The verdicts.
const (
	Form   Verdict = "form"   // nothing exists anywhere: make it, beginning on First
	Joins  Verdict = "join"   // it lives: bring in those that are not part of it
	Resume Verdict = "resume" // it was stopped in order: start it again, beginning on First
)

// Decision is the outcome of Decide.
type Decision struct {
	Verdict Verdict
	First   string   // where forming or resuming begins
	Cluster string   // identity of what lives or is resumed
	Members []string // live members
	Joiners []string // reached heads that are to be brought in, in the order given
	Skipped []string // heads that nothing is known of and that are left alone
}

// Decide is the rule that every service uses for forming, joining and starting
// again. It looks at every head of the file that has the service, in the
// file's order, and at nothing else.
//
// Joining always comes before forming. Forming needs every head to have said
// that it holds nothing. Starting again what was stopped needs every head that
// holds data to be known, stopped in order, and of one cluster; it begins where
// the data goes furthest. Everything else is refused with a reason.
func Decide(service string, heads []Evidence, intent Intent) (Decision, error) {
	refuse := func(remedy, format string, args ...any) (Decision, error) {
		return Decision{}, &Refusal{Service: service, Reason: fmt.Sprintf(format, args...), Remedy: remedy}
	}
	if len(heads) == 0 {
		return refuse("Switch it on with services."+service+" on a head.", "no head runs it")
	}
	var d Decision
	clusters := map[string][]string{} // live clusters
	var unsure, holders []Evidence
	for _, e := range heads {
		switch {
		case e.Live == Yes:
			clusters[e.Cluster] = append(clusters[e.Cluster], e.Node)
			d.Members = append(d.Members, e.Node)
			d.Cluster = e.Cluster
		case e.Live == Unsure || e.Data == Unsure:
			unsure = append(unsure, e)
		case e.Data == Yes:
			holders = append(holders, e)
		}
	}
	if len(clusters) > 1 {
		return refuse("Decide which one holds the truth, stop the other by hand and keep its data aside; nothing here will choose between two.",
			"two clusters live at once: %s", describe(clusters))
	}
	if len(d.Members) > 0 {
		if intent.Mode == Bootstrap {
			return refuse("Run without --bootstrap: the other heads join it.",
				"--bootstrap would make a second cluster: one lives on %s", strings.Join(d.Members, ", "))
		}
		return joinLive(service, heads, d)
	}
	if intent.Mode == Join {
		return refuse("Start the cluster first (up without --join), or name a head that is part of it.",
			"--join, and no head is part of a live cluster%s", whyList(unsure))
	}
	if len(unsure) > 0 && !(intent.Mode == Bootstrap && intent.Confirmed) {
		return refuse("Bring that head back, or look at it by hand; take it out of the file if it is gone for good. Only --bootstrap with the cluster's name typed (--confirm NAME) goes on without knowing.",
			"nothing lives on the heads that answered, and what %s holds is not known%s: forming now could make a second cluster beside its data",
			names(unsure), whyList(unsure))
	}
	if len(holders) > 0 {
		return resume(service, heads, holders, unsure)
	}
	d = Decision{Verdict: Form, Skipped: nodesOf(unsure)}
	for _, e := range heads {
		if e.Live == No && e.Data == No {
			if d.First == "" {
				d.First = e.Node
			} else {
				d.Joiners = append(d.Joiners, e.Node)
			}
		}
	}
	if d.First == "" {
		return refuse("Bring a head back first.", "no head answered%s", whyList(unsure))
	}
	return d, nil
}

// joinLive brings into a live cluster what is reached and belongs to it or to
// nothing.
//
// What left a cluster in order is behind it from then on, for the cluster went
// on. What is ahead of every member wrote something that none of them has. A
// member that is itself still receiving data does not know where the cluster
// stands, so that unknown positions are left out of it.
func joinLive(service string, heads []Evidence, d Decision) (Decision, error) {
	d.Verdict = Joins
	furthest := int64(-1)
	for _, e := range heads {
		if e.Live == Yes {
			furthest = max(furthest, e.Position)
		}
	}
	for _, e := range heads {
		switch {
		case e.Live == Yes:
		case e.Live == Unsure || e.Data == Unsure:
			d.Skipped = append(d.Skipped, e.Node)
		case e.Data == Yes && e.Cluster != d.Cluster:
			return Decision{}, &Refusal{Service: service,
				Reason: fmt.Sprintf("%s holds data of another cluster (%s, and %s live in %s): joining would overwrite it",
					e.Node, shown(e.Cluster), strings.Join(d.Members, ", "), shown(d.Cluster)),
				Remedy: "Save that data or move it aside by hand on " + e.Node + ", then run up again."}
		case e.Data == Yes && furthest >= 0 && e.Position > furthest:
			return Decision{}, &Refusal{Service: service,
				Reason: fmt.Sprintf("%s holds data of this cluster that goes further (%d) than what lives on %s (%d): the cluster was started again without it, and joining would lose what only %s has",
					e.Node, e.Position, strings.Join(d.Members, ", "), furthest, e.Node),
				Remedy: "If " + e.Node + " was stopped only just now, run up again. Else move its data directory aside on " + e.Node + " and keep it, for nothing else has what it wrote last; then run up again: it joins anew."}
		default:
			d.Joiners = append(d.Joiners, e.Node)
		}
	}
	return d, nil
}

// resume starts again what was stopped everywhere.
func resume(service string, heads, holders, unsure []Evidence) (Decision, error) {
	ids := map[string][]string{}
	best := holders[0]
	for _, e := range holders {
		ids[e.Cluster] = append(ids[e.Cluster], e.Node)
		if e.Clean != Yes || e.Position < 0 {
			return Decision{}, &Refusal{Service: service,
				Reason: fmt.Sprintf("%s holds data and was not stopped in order (%s): how far it goes is not known", e.Node, e.Why),
				Remedy: "Find out by hand how far the data of each head goes, start the service on the one that goes furthest, and run up: the others join it."}
		}
		if e.Position > best.Position {
			best = e
		}
	}
	if len(ids) > 1 {
		return Decision{}, &Refusal{Service: service,
			Reason: "stopped heads hold data of different clusters: " + describe(ids),
			Remedy: "Decide which one holds the truth and move the other's data aside by hand."}
	}
	d := Decision{Verdict: Resume, First: best.Node, Cluster: best.Cluster, Skipped: nodesOf(unsure)}
	for _, e := range heads {
		if e.Node != best.Node && e.Live == No && e.Data != Unsure {
			d.Joiners = append(d.Joiners, e.Node)
		}
	}
	return d, nil
}

func nodesOf(es []Evidence) []string {
	var out []string
	for _, e := range es {
		out = append(out, e.Node)
	}
	return out
}

func names(es []Evidence) string { return strings.Join(nodesOf(es), ", ") }

func whyList(es []Evidence) string {
	var out []string
	for _, e := range es {
		if e.Why != "" {
			out = append(out, e.Node+": "+e.Why)
		}
	}
	if len(out) == 0 {
		return ""
	}
	return " (" + strings.Join(out, "; ") + ")"
}

func shown(id string) string {
	if id == "" {
		return "no identity"
	}
	return id
}

func describe(ids map[string][]string) string {
	var out []string
	for id, nodes := range ids {
		out = append(out, fmt.Sprintf("%s on %s", shown(id), strings.Join(nodes, ", ")))
	}
	sort.Strings(out)
	return strings.Join(out, "; ")
}
