package agent

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// The times of fencing, from the last beat of whoever is silent.
const (
	// silentFor is how long a head has to be silent before it is switched off.
	silentFor = 10 * time.Second
	// silentAndOff is enough where its device said by itself that it is off.
	silentAndOff = 5 * time.Second
	// lookWindow is how soon after the majority was lost a device has to say
	// off for its head to have died then, and not later, after it served
	// without this one.
	lookWindow = 15 * time.Second
	// sideStep is how much longer a side waits for each place in the file that
	// its first head comes later: of two halves one goes first, and the other
	// is off before its own turn comes.
	sideStep = 10 * time.Second
	// rankStep is how much longer each further head of a side waits for those
	// before it: one that cannot reach the devices holds up nobody for ever.
	rankStep = 20 * time.Second
	// noServiceFor is how long a service is broken on all heads of a majority
	// before that is taken for more than a failover.
	noServiceFor = 12 * time.Second
	// restartFor is how long a head that was shut down in order may take to be back.
	restartFor = 10 * time.Minute
	// bootFor is how long a head that was switched on again takes to be heard.
	bootFor = 5 * time.Minute
)

// silentPeer is a head or witness that is not heard, and not proven off.
type silentPeer struct {
	For     time.Duration // since its last beat, or since this agent began
	Off     bool          // its device said off within lookWindow of the loss
	Looked  bool          // its device has answered, or that time is over
	Says    string        // what its device said, for a person
	NoAgent bool          // the file has no device for it
	Never   bool          // not heard since this agent began: it may be booting
	Back    bool          // it was proven off, and has power again: it may be booting

	Maintained bool   // a person works on it, as it said last
	Left       bool   // its agent was stopped in order: the last thing it said
	Lives      string // how it shows that it is not it that is dead, but its agent; empty where it does not
}

// fenceScene is all that the decision is made of.
type fenceScene struct {
	Self      string
	Heads     []string // in the file's order; without those proven off
	Witnesses []string
	Silent    map[string]silentPeer
	Hears     map[string][]string // whom each peer that is heard hears
	Lapsed    []string            // heard again, and silent for a time since the majority was lost
	// Returning are heads that were proven off, and for how long they have had power
	// again without being heard.
	Returning map[string]time.Duration
	// LostFor is the time since a majority was last heard; negative where there
	// never was one since this agent began.
	LostFor time.Duration
	// NoService is a service that no head of this side has been able to offer
	// for NoServiceFor. Empty where there is none.
	NoService    string
	NoServiceFor time.Duration
	Outside      bool // some host that is no head answers
}

// fenceOrder is what to do. All empty: nothing needs to be done.
type fenceOrder struct {
	Look  []string // ask their devices
	Kill  []string // take their power, all of them, and prove it
	Wait  string   // why nothing is done yet
	Alarm string   // why nothing will be done without a person
}

// decideFence says who is to be switched off, and by whom.
//
// A side with a majority serves by itself and fences nobody, unless a service has
// lost its quorum. A side without one may go on only where the others together
// cannot have a majority either: else they may have served meanwhile, what they
// acknowledged is not here, and a person has to decide. That is known where their
// devices say off as soon as they fall silent, and of two halves.
func decideFence(s fenceScene) fenceOrder {
	var suspects, maybe []string // silent heads; and of all that are silent those that may be alive
	side := 0
	for _, n := range slices.Concat(s.Heads, s.Witnesses) {
		p, silent := s.Silent[n]
		if !silent {
			side++
			if slices.Contains(s.Lapsed, n) {
				maybe = append(maybe, n) // it may have served with the others
			}
			continue
		}
		if slices.Contains(s.Heads, n) {
			suspects = append(suspects, n)
		}
		if !p.Off {
			maybe = append(maybe, n)
		}
	}
	quorum := (len(s.Heads)+len(s.Witnesses))/2 + 1
	if !slices.Contains(s.Heads, s.Self) {
		return fenceOrder{}
	}
	if len(suspects) == 0 {
		return fenceOrder{Alarm: s.overdue()}
	}
	if side >= quorum {
		if s.NoService == "" {
			return fenceOrder{Alarm: s.overdue()}
		}
		for _, n := range suspects {
			if s.Silent[n].Never {
				return fenceOrder{Alarm: fmt.Sprintf("%s is broken on every head that is heard, and %s has not been heard since this agent began: it may be booting, and nobody is fenced", s.NoService, n)}
			}
		}
		if s.NoServiceFor < noServiceFor {
			return fenceOrder{Wait: s.NoService + " is broken on every head that is heard"}
		}
		return s.kill(suspects, 0)
	}
	if s.LostFor < 0 && s.Silent[suspects[0]].For < silentFor {
		return fenceOrder{Wait: "this agent has just started"}
	}
	if s.LostFor < 0 {
		return fenceOrder{Alarm: "this head has not been in touch with a majority since its agent began: others may have served without it, and hold newer data"}
	}
	if look := s.unlooked(suspects); len(look) > 0 {
		return fenceOrder{Look: look, Wait: "asking the devices of " + strings.Join(look, ", ")}
	}
	if len(maybe) >= quorum {
		return fenceOrder{Alarm: s.others(maybe)}
	}
	if o, lives := s.alive(suspects); lives {
		return o
	}
	return s.kill(suspects, s.place())
}

// overdue says which heads should have been heard by now: they were switched off, and
// on again by somebody. Only a person can say whether they boot, or hang.
func (s fenceScene) overdue() string {
	var late []string
	for _, n := range slices.Sorted(maps.Keys(s.Returning)) {
		if s.Returning[n] >= bootFor {
			late = append(late, n)
		}
	}
	if len(late) == 0 {
		return ""
	}
	return fmt.Sprintf("%s: proven off, on again for %s, and not heard since; nobody switches off what may be booting", strings.Join(late, ", "), bootFor)
}

// spared says why a suspect is left alone, whatever depends on it. A device says off for
// moments also while a head that a person works on, or that was shut down in order, is
// switched off and on: where it is the only one that fell silent that proves nothing, and
// the last of several goes on by it as ever.
func (s fenceScene) spared(name string, several bool) string {
	p := s.Silent[name]
	switch {
	case p.Back:
		return "it was proven off, has power again, and may be booting"
	case several && p.Off:
		return ""
	case p.Maintained:
		return "it is in maintenance, and a person works on it"
	case p.Left && (p.For < restartFor || s.NoServiceFor < noServiceFor):
		return "its agent was stopped in order, as by a restart of the head"
	}
	return ""
}

// alive is the order where a suspect shows that it lives, and only its agent does not.
// Without a majority nobody can know whether such a head serves: it may be the one that
// does. One that is frozen has a kernel that answers, and nothing else, and is no such.
func (s fenceScene) alive(suspects []string) (fenceOrder, bool) {
	for _, n := range suspects {
		if why := s.Silent[n].Lives; why != "" {
			return s.leave(n, why), true
		}
	}
	return fenceOrder{}, false
}

// leave is the order for a suspect that is left alone. What is over before anybody
// would have been switched off needs no person.
func (s fenceScene) leave(name, why string) fenceOrder {
	if s.Silent[name].For < silentFor {
		return fenceOrder{Wait: name + " is silent: " + why}
	}
	return fenceOrder{Alarm: name + " is silent, and nobody is fenced: " + why}
}

// majority says whether more than half of all are heard, this head with them.
func (s fenceScene) majority() bool {
	voters := len(s.Heads) + len(s.Witnesses)
	return 2*(voters-len(s.Silent)) > voters
}

// unlooked are the suspects whose devices have not said anything yet.
func (s fenceScene) unlooked(suspects []string) []string {
	var out []string
	for _, n := range suspects {
		if p := s.Silent[n]; !p.Looked && !p.NoAgent {
			out = append(out, n)
		}
	}
	return out
}

// others says why those who may be alive keep this head from going on.
func (s fenceScene) others(maybe []string) string {
	var said []string
	for _, n := range maybe {
		switch p := s.Silent[n]; {
		case p.NoAgent:
			said = append(said, n+": no fence device")
		case p.Says != "":
			said = append(said, n+": "+p.Says)
		default:
			said = append(said, n+": was silent for a time")
		}
	}
	return fmt.Sprintf("%d others may be alive, or have served without this head (%s): nobody is fenced", len(maybe), strings.Join(said, "; "))
}

// place is where in the file the first head of this side stands.
func (s fenceScene) place() int {
	for i, n := range s.Heads {
		if _, silent := s.Silent[n]; !silent {
			return i
		}
	}
	return len(s.Heads)
}

// rank is how many heads of this side come before this one.
func (s fenceScene) rank() int {
	n := 0
	for _, h := range s.Heads {
		if h == s.Self {
			break
		}
		if _, silent := s.Silent[h]; !silent {
			n++
		}
	}
	return n
}

// kill is the order to prove all suspects off, once it is time and nothing speaks
// against it.
func (s fenceScene) kill(suspects []string, place int) fenceOrder {
	wait, shortest, violent := silentFor, s.Silent[suspects[0]].For, false
	for _, n := range suspects {
		p := s.Silent[n]
		if why := s.spared(n, len(suspects) > 1); why != "" {
			return s.leave(n, why)
		}
		if p.NoAgent {
			return fenceOrder{Alarm: n + " has no fence device: it cannot be proven off, and nobody takes over"}
		}
		for _, peer := range slices.Concat(s.Heads, s.Witnesses) {
			if _, silent := s.Silent[peer]; !silent && slices.Contains(s.Hears[peer], n) {
				return fenceOrder{Alarm: fmt.Sprintf("%s still hears %s: it is alive, and only out of touch with this head", peer, n)}
			}
		}
		shortest = min(shortest, p.For)
		violent = violent || !p.Off
	}
	switch {
	case !violent:
		wait = silentAndOff
	case len(s.Silent) == len(s.Heads)+len(s.Witnesses)-1 && !s.Outside:
		return fenceOrder{Alarm: "nothing outside this head answers: it is taken to be the one that is cut off, and fences nobody"}
	default:
		wait += time.Duration(place) * sideStep
	}
	if wait += time.Duration(s.rank()) * rankStep; shortest < wait {
		return fenceOrder{Wait: fmt.Sprintf("%s will be switched off if silent for %s", strings.Join(suspects, ", "), wait)}
	}
	return fenceOrder{Kill: suspects}
}

// lostFor is how long ago the last moment was at which enough of the others had
// been heard to make a majority; negative where they never were.
func lostFor(ages []time.Duration, quorum int) time.Duration {
	if quorum <= 1 {
		return 0
	}
	if len(ages) < quorum-1 {
		return -1
	}
	sorted := slices.Sorted(slices.Values(ages))
	return sorted[quorum-2]
}

// afterFailure is the pause before a round of fencing is tried again.
func afterFailure(failed int) time.Duration {
	return min(15*time.Second<<min(failed-1, 5), 5*time.Minute)
}
