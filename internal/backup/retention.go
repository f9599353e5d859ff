package backup

import (
	"fmt"
	"slices"
	"time"

	"multihead/internal/config"
)

// Keep says which of a list of moments the retention keeps: the last snapshot of
// each of the newest days that have one, of each of the newest ISO weeks, and of
// each of the newest months. It is the engine's own rule. What the same moment
// is kept for twice counts once; the newest of all is always kept.
func Keep(times []time.Time, r config.BackupRetention) []bool {
	order := make([]int, len(times))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return times[b].Compare(times[a]) })
	keep := make([]bool, len(times))
	for _, rule := range []struct {
		n      int
		bucket func(time.Time) string
	}{
		{r.Daily, func(t time.Time) string { return t.Format("2006-01-02") }},
		{r.Weekly, func(t time.Time) string { y, w := t.ISOWeek(); return fmt.Sprintf("%d-%02d", y, w) }},
		{r.Monthly, func(t time.Time) string { return t.Format("2006-01") }},
	} {
		last := ""
		for k, left := 0, rule.n; k < len(order) && left > 0; k++ {
			if b := rule.bucket(times[order[k]]); b != last {
				keep[order[k]], last = true, b
				left--
			} else if k == len(order)-1 {
				// The oldest of all stands in for the older ones that there are none of.
				keep[order[k]] = true
			}
		}
	}
	if len(order) > 0 {
		keep[order[0]] = true
	}
	return keep
}

// Excess lists, by head, the snapshots that the retention does not keep. Each
// head is judged by what it has that is whole: a copy that is damaged, or cannot
// be read, takes nothing's place and is left for a person.
func Excess(held map[string]Held, r config.BackupRetention, zone *time.Location) map[string][]string {
	out := map[string][]string{}
	for n, h := range held {
		var whole []Stored
		var times []time.Time
		for _, s := range h.Stored {
			if s.Bad == "" && s.Verified != nil {
				whole, times = append(whole, s), append(times, s.Time.In(zone))
			}
		}
		for i, keep := range Keep(times, r) {
			if !keep {
				out[n] = append(out[n], whole[i].ID)
			}
		}
	}
	return out
}
