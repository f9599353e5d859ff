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

func (s *slotSet) addAll(rs slotRanges) {
	for _, r := range rs {
		s.addRange(r.From, r.To)
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

// slotRanges are the slots of one node, in order and without overlap, as CLUSTER
// NODES lists them. A set takes 2 KB, which every node's view of every node
// would add up to hundreds of megabytes in a large cluster.
type slotRanges []slotRange

func (rs *slotRanges) addRange(from, to int) {
	if n := len(*rs); n == 0 || (*rs)[n-1].To < from {
		*rs = append(*rs, slotRange{from, to})
		return
	}
	var all slotSet
	all.addAll(*rs)
	all.addRange(from, to)
	*rs = rangesOf(all.list())
}

func (rs slotRanges) has(slot int) bool {
	for _, r := range rs {
		if r.From <= slot && slot <= r.To {
			return true
		}
	}
	return false
}

func (rs slotRanges) count() int {
	n := 0
	for _, r := range rs {
		n += r.To - r.From + 1
	}
	return n
}

// list returns the slots in order.
func (rs slotRanges) list() []int {
	out := make([]int, 0, rs.count())
	for _, r := range rs {
		for s := r.From; s <= r.To; s++ {
			out = append(out, s)
		}
	}
	return out
}

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
