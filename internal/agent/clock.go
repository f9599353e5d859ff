package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// clockOff is how far a clock has to be from the others' to be an alarm: nothing
	// breaks yet, and something that keeps time has.
	clockOff = 5 * time.Second
	// clockFine is below which the alarm ends.
	clockFine = 4 * time.Second
	// clockOffFor is how long it has to be so: a clock that is set is on its way.
	clockOffFor = 5 * time.Second
	// mungeTTL is how long a munge credential lives, and how far ahead of the reader's
	// clock its time may lie: MUNGE_DEFAULT_TTL, and dec_validate_time in munged's dec.c.
	mungeTTL = 300 * time.Second

	clockKey = "clock"
)

// reading is how far a peer's clock is ahead of this one's, within so much.
//
// Each agent puts its clock's time into its beats, and how late by that the other's
// newest beat came. Both ways together take the way's length out, as in NTP
// (RFC 5905, section 8): half of the difference is how far the clocks are apart, and
// it is wrong by half of the sum at most. So a beat that lay in a buffer, as those of
// a frozen host do, makes a reading vague and never wrong.
type reading struct {
	ahead, within time.Duration
	at            time.Time
}

// clocks is what an agent knows of the others' clocks.
type clocks struct {
	wall  func() time.Time // this host's
	late  map[string]lateness
	peers map[string]reading
}

// lateness is how much later than its sender says a peer's newest beat came.
type lateness struct {
	by time.Duration
	at time.Time
}

func newClocks() clocks {
	return clocks{wall: time.Now, late: map[string]lateness{}, peers: map[string]reading{}}
}

// lates is what the peers are told of how late their beats came. What came long ago says
// nothing of clocks that may have been set since. The caller holds the mutex.
func (c *clocks) lates(now time.Time) map[string]time.Duration {
	out := map[string]time.Duration{}
	for name, l := range c.late {
		if now.Sub(l.at) <= freshFor {
			out[name] = l.by
		}
	}
	return out
}

// take notes what a beat says of the sender's clock. One of an older release says
// nothing. The caller holds the mutex.
func (c *clocks) take(self string, b Beat) {
	if b.Sent == 0 {
		return
	}
	here := time.Duration(c.wall().UnixNano() - b.Sent)
	c.late[b.Name] = lateness{here, time.Now()}
	there, ok := b.Late[self]
	// Two ways that together take less than no time: one of the clocks was set
	// between the two.
	if sum := here + there; ok && sum >= 0 {
		c.peers[b.Name] = reading{(there - here) / 2, sum / 2, time.Now()}
	}
}

// far lists the peers whose clock is at least that far from this one's, and how many
// clocks are compared with this one. What is not certain counts for the clock.
func far(peers map[string]reading, limit time.Duration, now time.Time) (off []string, of int) {
	for name, r := range peers {
		if now.Sub(r.at) > freshFor {
			continue
		}
		of++
		if r.ahead.Abs()-r.within >= limit {
			off = append(off, name)
		}
	}
	slices.Sort(off)
	return off, of
}

// judgeClock says what is wrong with this host's clock: "" where it agrees with those of
// most hosts. Whose clock is right nobody knows; of two that differ both say so.
func judgeClock(peers map[string]reading, limit time.Duration, now time.Time) string {
	off, of := far(peers, limit, now)
	if len(off) == 0 || 2*len(off) < of+1 {
		return ""
	}
	var apart []string
	most := time.Duration(0)
	for _, name := range off {
		r := peers[name]
		word := "behind"
		if r.ahead < 0 {
			word = "ahead of"
		}
		apart = append(apart, fmt.Sprintf("%s %s %s's", roughly(r.ahead.Abs()), word, name))
		most = max(most, r.ahead.Abs())
	}
	what := "its clock is " + strings.Join(apart, ", ")
	if 2*len(off) == of+1 {
		what += "; which of them is right cannot be told from here"
	}
	limits := fmt.Sprintf("from %d s on munge refuses what it signs for others and they for it, and Slurm with it", int(mungeTTL.Seconds()))
	if most >= mungeTTL {
		limits = fmt.Sprintf("munge refuses credentials that are %d s off, and Slurm does with it", int(mungeTTL.Seconds()))
	}
	return what + " (" + limits + "): set it once (chronyc makestep) and see that chrony runs with the same servers everywhere"
}

// roughly rounds so that a clock that drifts is not told of at every tick.
func roughly(d time.Duration) time.Duration {
	switch {
	case d >= 10*time.Minute:
		return d.Round(time.Minute)
	case d >= time.Minute:
		return d.Round(10 * time.Second)
	}
	return d.Round(5 * time.Second)
}

// watchClocks says it where this host's clock is not that of the others.
func (a *Agent) watchClocks(ctx context.Context) {
	var since time.Time
	limit := clockOff
	for {
		select {
		case <-ctx.Done():
			return
		case <-pulse(time.Second):
		}
		now := time.Now()
		a.mu.Lock()
		what := judgeClock(a.clocks.peers, limit, now)
		a.mu.Unlock()
		switch {
		case what == "":
			since, limit = time.Time{}, clockOff
			a.alarm(clockKey, "")
		case since.IsZero():
			since = now
		case now.Sub(since) >= clockOffFor:
			limit = clockFine
			a.alarm(clockKey, what)
		}
	}
}
