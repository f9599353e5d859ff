package redis

import (
	"fmt"
	"math/bits"
	"strings"
)

// slotCount is how many hash slots every Redis Cluster has.
const slotCount = 16384

// slotSet is a set of hash slots.
type slotSet [slotCount / 64]uint64

func (s *slotSet) add(slot int)     { s[slot/64] |= 1 << (slot % 64) }
func (s slotSet) has(slot int) bool { return s[slot/64]&(1<<(slot%64)) != 0 }

func (s *slotSet) addRange(from, to int) {
	for i := from; i <= to; i++ {
		s.add(i)
	}
}

func (s *slotSet) union(o *slotSet) {
	for i := range s {
		s[i] |= o[i]
	}
}

func (s slotSet) count() int {
	n := 0
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// list returns the slots in order.
func (s slotSet) list() []int {
	var out []int
	for i := range slotCount {
		if s.has(i) {
			out = append(out, i)
		}
	}
	return out
}

// missing returns the slots that are not in the set, in order.
func (s slotSet) missing() []int {
	var out []int
	for i := range slotCount {
		if !s.has(i) {
			out = append(out, i)
		}
	}
	return out
}

// slotRange is From to To, both included.
type slotRange struct{ From, To int }

// rangesOf folds slots, which are in order, into ranges.
func rangesOf(slots []int) []slotRange {
	var out []slotRange
	for _, s := range slots {
		if n := len(out); n > 0 && out[n-1].To == s-1 {
			out[n-1].To = s
			continue
		}
		out = append(out, slotRange{s, s})
	}
	return out
}

func showRanges(rs []slotRange) string {
	words := make([]string, len(rs))
	for i, r := range rs {
		if words[i] = fmt.Sprint(r.From); r.To > r.From {
			words[i] = fmt.Sprintf("%d-%d", r.From, r.To)
		}
	}
	return strings.Join(words, " ")
}
