package gluster

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
)

// Waiting for a heal, as measured on GlusterFS 11.1:
//
// heal info goes through all entries, one after another, and locks each on every
// brick: with 400 entries it took 14 s, and longer than the 20 s that it is waited
// for where the machine was busy, again and again, while it held up the daemons that
// heal. So while many entries wait they are counted in the index of one brick, which
// costs nothing, and heal info is asked about the last few.
//
// An entry that another daemon has locked when a daemon comes to it is left alone, and
// one that heals nothing in a whole round rests for cluster.heal-timeout. So where the
// queue stands still they are told to go through it now.

const (
	// askBelow is the number of entries up to which heal info is asked about them.
	askBelow = 16
	// stillLimit is how long a queue may stay as long as it is before heal info is
	// asked all the same: what cannot be healed, and why, only it knows.
	stillLimit = 10 * time.Second
)

// healed waits until no brick has anything that another one lacks. Files in
// split-brain wait for a person, and nobody else.
func (s *State) healed(cli, name string) plan.Step {
	var q queue
	return plan.Step{ID: id("healed", name), Host: cli, Action: plan.Await{
		What: "the heal queue is empty", Timeout: healLimit, Every: 500 * time.Millisecond,
		Until: func(ctx context.Context, r host.Reader) (bool, string, error) {
			n, err := s.indexed(ctx, r)
			if err == nil && q.shrinks(n, time.Now()) {
				return false, toHeal(ctx, n), nil
			}
			return s.healInfo(ctx, r)
		},
		Hasten: func(ctx context.Context, h host.Host) {
			one, cancel := context.WithTimeout(ctx, infoLimit)
			defer cancel()
			// Where it fails they come to it by themselves, a minute later at most.
			_, _ = h.Run(one, host.Command(query("volume", "heal", s.conf.VolumeName)...))
		}}}
}

// infoLimit bounds what concerns the heal queue of all bricks.
const infoLimit = 20 * time.Second

// healInfo asks whether the heal queue of every brick is empty.
func (s *State) healInfo(ctx context.Context, r host.Reader) (bool, string, error) {
	ctx, cancel := context.WithTimeout(ctx, infoLimit)
	defer cancel()
	rep, err := ask(ctx, r, "volume", "heal", s.conf.VolumeName, "info", "summary")
	if err != nil {
		return false, "", err
	}
	pending, splits, silent := healOf(rep)
	state := toHeal(ctx, pending)
	switch {
	case len(rep.Heal) == 0:
		return false, "no brick in the answer", nil
	case splits > 0:
		return false, "", plan.Never(fmt.Errorf("%d files are in split-brain; see gluster volume heal %s info split-brain", splits, s.conf.VolumeName))
	case len(silent) > 0:
		return false, "not connected: " + strings.Join(silent, ", "), nil
	}
	return pending == 0, state, nil
}

func toHeal(ctx context.Context, n int) string {
	state := fmt.Sprintf("%d entries to heal", n)
	plan.Tell(ctx, state)
	return state
}

// indexed counts what the bricks have written down that another one may lack.
func (s *State) indexed(ctx context.Context, r host.Reader) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, infoLimit)
	defer cancel()
	out, err := r.Query(ctx, query("volume", "heal", s.conf.VolumeName, "statistics", "heal-count")...)
	return entriesIn(out), err
}

// entriesIn adds up a heal count, which is no XML where XML is asked for. Of a brick that
// does not answer it has a minus.
func entriesIn(out string) (sum int) {
	for line := range strings.Lines(out) {
		if count, ok := strings.CutPrefix(strings.TrimSpace(line), "Number of entries: "); ok {
			n, _ := strconv.Atoi(count)
			sum += n
		}
	}
	return sum
}

// queue is a heal queue as it was seen last.
type queue struct {
	least int
	since time.Time // it has not been shorter
}

// shrinks says whether a queue is long and still becomes shorter.
func (q *queue) shrinks(n int, now time.Time) bool {
	if q.since.IsZero() || n < q.least {
		q.least, q.since = n, now
	}
	return n > askBelow && now.Sub(q.since) < stillLimit
}
