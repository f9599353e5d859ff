package agent

import (
	"fmt"
	"slices"
	"time"
)

// leads says whether this agent is the one that acts for the cluster, without a
// clock or a network of its own: the first head, in the file's order, of those
// that hear each other, while they and the witnesses are a majority of all that
// are not proven to be off.
//
// Two may take themselves for it for a moment, where one is heard and does not
// hear. Each needs a majority and takes the lock of more than half of the heads
// before it acts, and every act is one that may be done twice.
func leads(e Electorate, peers map[string]heard, dead map[string]string, now time.Time) (yes bool, why string) {
	if !slices.Contains(e.Heads, e.Self) {
		return false, "a witness"
	}
	touch, voters, first := 1, 1, e.Self
	for _, name := range e.Peers {
		fresh := false
		if p, ok := peers[name]; ok && now.Sub(p.at) <= freshFor && p.standsWith(e.Self) {
			fresh = true
		}
		if dead[name] != "" && !fresh {
			continue
		}
		voters++
		if !fresh {
			continue
		}
		touch++
		if i := slices.Index(e.Heads, name); i >= 0 && i < slices.Index(e.Heads, first) {
			first = name
		}
	}
	if 2*touch <= voters {
		return false, fmt.Sprintf("in touch with %d of %d agents, and more than half are needed", touch, voters)
	}
	if first != e.Self {
		return false, first + " does"
	}
	return true, ""
}

// throttle says when the next look may be made, and the next attempt with it. A
// look that finds nothing to do yet is cheap and harms nobody: its pauses stay
// short. An attempt that did not end well is followed by longer and longer ones,
// so that recovery never flaps.
type throttle struct {
	next  time.Time
	tries int // attempts that did something
	looks int // looks since then that did not
}

const (
	firstPause   = 10 * time.Second
	longestPause = 10 * time.Minute
	// longestLook is the longest pause after a look at which nothing was done,
	// though something is wrong: one costs a head about as much as a person's
	// status.
	longestLook = time.Minute
	// fewTries is how many attempts may follow each other at the first pause's
	// pace where each meets something else.
	fewTries = 4
	// calmFor is how long nothing has to be tried before the count begins
	// anew.
	calmFor = 2 * time.Minute
)

func (t *throttle) ready(now time.Time) bool { return !now.Before(t.next) }

// looked counts a look that did nothing about what is wrong.
func (t *throttle) looked(now time.Time) {
	t.next = now.Add(min(firstPause<<min(t.looks, 10), longestLook))
	t.looks++
}

// tried counts an attempt. One that ended well is no reason to wait long for what
// fails next, and none to forget what failed before.
func (t *throttle) tried(now time.Time, well bool) {
	if now.Sub(t.next) > calmFor {
		t.tries = 0
	}
	t.looks = 0
	longest := longestPause
	if well {
		longest = longestLook // what it did may not have been all
	}
	t.next = now.Add(min(firstPause<<min(t.tries, 10), longest))
	if !well || t.tries < fewTries {
		t.tries++
	}
}

// fresh begins anew: what is wrong is something else now, or more may be done.
func (t *throttle) fresh(now time.Time) {
	t.looks = 0
	if t.tries <= fewTries {
		t.next = now
	}
}
