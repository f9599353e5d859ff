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
		if p, ok := peers[name]; ok && now.Sub(p.at) <= freshFor {
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

// throttle says when the next attempt may be made: one that changed nothing for
// the better is followed by longer and longer pauses.
type throttle struct {
	next  time.Time
	tries int
}

const (
	firstPause   = 10 * time.Second
	longestPause = 10 * time.Minute
	// calmFor is how long nothing has to be tried before the count begins
	// anew.
	calmFor = 2 * time.Minute
)

func (t *throttle) ready(now time.Time) bool { return !now.Before(t.next) }

// tried counts an attempt.
func (t *throttle) tried(now time.Time) {
	if now.Sub(t.next) > calmFor {
		t.tries = 0
	}
	pause := firstPause << min(t.tries, 10)
	t.tries++
	t.next = now.Add(min(pause, longestPause))
}

// fresh begins anew: what is wrong is something else now.
func (t *throttle) fresh(now time.Time) {
	if t.tries <= 4 {
		t.next = now
	}
}
