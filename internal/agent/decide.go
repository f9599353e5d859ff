package agent

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"multihead/internal/service/agentd"
)

// Verdict is what an agent finds of its own head: the services that cannot
// serve there, each with the reason.
type Verdict struct {
	Bad map[string]string `json:"bad,omitempty"`
	// Maintained is set while a person works on the head: worse than anything
	// that is bad, and still better than no head at all.
	Maintained bool `json:"maintained,omitempty"`
}

// weight is how much speaks against the head.
func (v Verdict) weight() int {
	if v.Maintained {
		return len(v.Bad) + maintenanceWeight
	}
	return len(v.Bad)
}

// maintenanceWeight is more than there are services.
const maintenanceWeight = 1000

// Beat is what agents tell each other, twice a second.
type Beat struct {
	Name    string  `json:"name"`
	Seq     uint64  `json:"seq"`
	Verdict Verdict `json:"verdict"`
	Holds   bool    `json:"holds"` // it has the virtual address
	Fit     bool    `json:"fit"`   // it may have it

	Unable bool `json:"unable,omitempty"` // it is to run keepalived, which does not live there

	Maintenance *agentd.Maintenance `json:"maintenance,omitempty"` // a person works on it

	Hears  []string          `json:"hears,omitempty"`  // whom it hears
	With   []string          `json:"with,omitempty"`   // itself and, of these, whom it stands with; nil where it does not say
	Proven map[string]string `json:"proven,omitempty"` // heads that it proved off, and how
	Back   []string          `json:"back,omitempty"`   // of those, the ones that have power again
	Mute   []string          `json:"mute,omitempty"`   // peers whose kernels acknowledge nothing

	Leaving bool `json:"leaving,omitempty"` // the last one: its agent was stopped in order

	Sent int64                    `json:"sent,omitempty"` // when it was sent, by the sender's clock, in ns since 1970
	Late map[string]time.Duration `json:"late,omitempty"` // how late, by the clocks of both, the newest beat of each peer came to it
}

// heard is a peer's last beat and when it came, by this host's own clock.
type heard struct {
	Beat
	at time.Time
}

// Electorate is who is asked before a head may hold the virtual address.
type Electorate struct {
	Self  string
	Peers []string // the other heads and the witnesses
	Heads []string // of all these, and this one, the heads
	Bare  []string // of the heads, those without a keepalived: they cannot hold the address
	Dead  int      // how many more the file has, which are proven off
}

// mayHold says whether a peer could have the address if the others gave it up.
func (e Electorate) mayHold(name string, b Beat) bool {
	return slices.Contains(e.Heads, name) && !slices.Contains(e.Bare, name) && !b.Unable
}

// majority is more than half of all agents.
func (e Electorate) majority() int { return (len(e.Peers)+1)/2 + 1 }

// quorum is how many agents, this one with them, must be in touch. Of two
// there is no majority that one could be part of: they are left to VRRP alone.
func (e Electorate) quorum() int {
	if voters := len(e.Peers) + 1; voters+e.Dead > 2 {
		return voters/2 + 1
	}
	return 1
}

// Judgement says whether this head may hold the virtual address.
type Judgement struct {
	Fit bool   `json:"fit"`
	Why string `json:"why,omitempty"` // why not; where it may, what is bad all the same
}

// freshFor is how long a beat counts: four of them may be lost in a row.
const freshFor = 2500 * time.Millisecond

// decide is the whole rule, without a clock or a network of its own.
//
// A head that is out of touch with a majority gives the address up: the other
// side may serve. An agent that stands with others counts for those alone. Else the
// address belongs to a head where the fewest services are bad, so what is down
// everywhere moves it nowhere, and of all heads at least one is always fit. A head
// where no keepalived could take it is no better place for it.
func decide(e Electorate, own Verdict, peers map[string]heard, now time.Time) Judgement {
	touch := 1
	best, where := own.weight(), ""
	for _, name := range e.Peers {
		p, ok := peers[name]
		if !ok || now.Sub(p.at) > freshFor || !p.standsWith(e.Self) {
			continue
		}
		touch++
		if e.mayHold(name, p.Beat) && p.Verdict.weight() < best {
			best, where = p.Verdict.weight(), name
		}
	}
	if q := e.quorum(); touch < q {
		return Judgement{Why: fmt.Sprintf("in touch with %d of %d agents, and %d make a majority", touch, len(e.Peers)+1, q)}
	}
	j := Judgement{Fit: where == "", Why: own.describe()}
	if !j.Fit {
		j.Why += "; " + where + " is better off"
	}
	return j
}

func (v Verdict) describe() string {
	var out []string
	for name, why := range v.Bad {
		out = append(out, name+": "+why)
	}
	slices.Sort(out)
	if v.Maintained {
		out = slices.Insert(out, 0, "in maintenance")
	}
	return strings.Join(out, "; ")
}

// steady keeps a judgement from flapping: unfit has to last for a moment, and
// fit for longer, before either counts.
type steady struct {
	fit   bool
	since time.Time // since when the judgement has been another one
}

// How long a judgement has to last. Going takes two looks, so that one that
// timed out on a busy head is not enough; coming back takes as long as services
// take to settle after a restart.
const (
	beforeUnfit = 1500 * time.Millisecond
	beforeFit   = 5 * time.Second
)

// settle takes the newest judgement and returns the one that counts.
func (s *steady) settle(fit bool, now time.Time) bool {
	if fit == s.fit {
		s.since = time.Time{}
		return s.fit
	}
	if s.since.IsZero() {
		s.since = now
	}
	limit := beforeFit
	if s.fit {
		limit = beforeUnfit
	}
	if now.Sub(s.since) >= limit {
		s.fit, s.since = fit, time.Time{}
	}
	return s.fit
}
