package agent

import (
	"fmt"
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
)

// silentPeer is a head or witness that is not heard, and not proven off.
type silentPeer struct {
	For     time.Duration // since its last beat, or since this agent began
	Off     bool          // its device said off within lookWindow of the loss
	Looked  bool          // its device has answered, or that time is over
	Says    string        // what its device said, for a person
	NoAgent bool          // the file has no device for it
	Never   bool          // not heard since this agent began: it may be booting
}

// fenceScene is all that the decision is made of.
type fenceScene struct {
	Self      string
	Heads     []string // in the file's order; without those proven off
	Witnesses []string
	Silent    map[string]silentPeer
	Hears     map[string][]string // whom each peer that is heard hears
	Lapsed    []string            // heard again, and silent for a time since the majority was lost
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
	if len(suspects) == 0 || !slices.Contains(s.Heads, s.Self) {
		return fenceOrder{}
	}
	if side >= quorum {
		if s.NoService == "" {
			return fenceOrder{}
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
	return s.kill(suspects, s.place())
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
