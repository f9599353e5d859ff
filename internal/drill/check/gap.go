package check

import (
	"slices"
	"time"

	"multihead/internal/drill/clients"
)

// Gap is a time in which nothing of a workload succeeded.
type Gap struct {
	Part     string        `json:"part,omitempty"` // of the workload
	From     time.Time     `json:"from"`           // the last success before
	To       time.Time     `json:"to"`             // the first success after, or the end of what was looked at
	Length   time.Duration `json:"length_ns"`
	Returned bool          `json:"returned"` // it succeeded again
}

// LongestGap is the longest time between two successes that follow each other,
// within from and to, of the part of the workload that was worst off. A success
// counts when its answer came. Kinds that only look are left out where a
// workload has others: serving means taking writes.
func LongestGap(ops []clients.Op, workload string, from, to time.Time) Gap {
	ends := map[string][]time.Time{}
	for _, op := range ops {
		if op.Workload != workload || op.Kind == clients.Read || op.Kind == clients.LongJob {
			continue
		}
		part := partOf(op)
		ends[part] = append(ends[part], time.Time{}) // known, even where it never succeeds
		if op.Result == clients.OK {
			ends[part] = append(ends[part], op.End)
		}
	}
	var worst Gap
	for part, list := range ends {
		if g := longest(list, from, to); g.Length > worst.Length || !g.Returned && worst.Returned {
			worst, worst.Part = g, part
		}
	}
	return worst
}

// partOf is what is judged by itself: in Redis a shard, elsewhere the kind.
func partOf(op clients.Op) string {
	if op.Part != "" {
		return op.Part
	}
	return op.Kind
}

func longest(ends []time.Time, from, to time.Time) Gap {
	slices.SortFunc(ends, time.Time.Compare)
	last, g := from, Gap{From: from, To: from, Returned: true}
	for _, e := range ends {
		if e.Before(from) || e.After(to) {
			continue
		}
		if d := e.Sub(last); d > g.Length {
			g = Gap{From: last, To: e, Length: d, Returned: true}
		}
		last = e
	}
	if d := to.Sub(last); d > g.Length {
		g = Gap{From: last, To: to, Length: d, Returned: d < tail}
	}
	return g
}

// tail is how long the end of what is looked at may be without a success before
// it counts as gone: operations are under way when the watch ends.
const tail = 3 * time.Second
