package check

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"multihead/internal/drill/clients"
)

// zone is when a register had one value, as far as those tell that wrote and read it:
// it began before the first of them had ended, and ended after the last had begun.
type zone struct {
	value   string
	written bool
	begun   int64 // the write, ns
	first   int64 // the earliest end of an access
	last    int64 // the latest begin of one
	ends    int64 // the earliest end of a read
}

// holds says whether the register had this value for a while, from first to last, and
// not only for some moment between last and first.
func (z zone) holds() bool { return z.first < z.last }

// Register checks that reads and writes of the one register can be put in an
// order that explains every value read and keeps to the times: that it behaved
// like one register although it is kept on many nodes. A write whose outcome is
// unknown may have taken effect at any time after it was begun, or never.
//
// Each value is written once, so who reads it says which write was before. Then there is
// such an order exactly if no value is read before its write was begun, no two were held
// at one time, and none had its moment only while another was held (Gibbons and Korach,
// Testing Shared Memories, SIAM J. Comput. 26, 1997). To search for an order, as one has
// to where values repeat, takes for ever where many wait through a failover at once.
func Register(ops []clients.Op, initial string) Verdict {
	const name = "register linearizable"
	zones, reads, writes, wrong := zonesOf(ops, initial)
	if wrong == "" {
		wrong = conflict(zones)
	}
	switch {
	case wrong != "":
		return Verdict{name, false, wrong}
	case reads == 0:
		return Verdict{name, false, "nothing was read, so nothing was shown"}
	}
	return Verdict{name, true, fmt.Sprintf("%d reads and %d writes have an order that explains them", reads, writes)}
}

// zonesOf takes what may have had an effect or showed one. Writes whose outcome is
// unknown and which nobody read explain nothing and are left out.
func zonesOf(ops []clients.Op, initial string) (zones []zone, reads, writes int, wrong string) {
	of := map[string]*zone{initial: {value: initial, written: true, begun: math.MinInt64, first: math.MinInt64, last: math.MinInt64, ends: math.MaxInt64}}
	at := func(value string) *zone {
		if of[value] == nil {
			of[value] = &zone{value: value, first: math.MaxInt64, last: math.MinInt64, ends: math.MaxInt64}
		}
		return of[value]
	}
	read := map[string]bool{}
	for _, op := range ops {
		if op.Kind == clients.Read && op.Result == clients.OK {
			z := at(op.Value)
			z.first, z.last = min(z.first, op.End.UnixNano()), max(z.last, op.Begin.UnixNano())
			z.ends = min(z.ends, op.End.UnixNano())
			read[op.Value] = true
			reads++
		}
	}
	for _, op := range ops {
		ends := op.End.UnixNano()
		switch {
		case op.Kind != clients.Write:
			continue
		case op.Result == clients.Unknown && read[op.Value]:
			ends = math.MaxInt64
		case op.Result != clients.OK:
			continue
		}
		z := at(op.Value)
		if z.written {
			return nil, reads, writes, fmt.Sprintf("%s was written twice, so nothing can be said of who read it", op.Value)
		}
		z.written, z.begun = true, op.Begin.UnixNano()
		z.first, z.last = min(z.first, ends), max(z.last, z.begun)
		writes++
	}
	for _, z := range of {
		zones = append(zones, *z)
	}
	slices.SortFunc(zones, func(a, b zone) int {
		return cmp.Or(cmp.Compare(min(a.first, a.last), min(b.first, b.last)), cmp.Compare(a.value, b.value))
	})
	return zones, reads, writes, ""
}

// conflict says why the values of the zones, in the order of their beginning, have no
// order, or is empty.
func conflict(zones []zone) string {
	var held []zone
	for _, z := range zones {
		switch {
		case !z.written:
			return fmt.Sprintf("%s was read, and nobody wrote it", z.value)
		case z.ends < z.begun:
			return fmt.Sprintf("%s was read before it was written", z.value)
		case !z.holds():
			continue
		}
		if n := len(held); n > 0 && held[n-1].last > z.first {
			return fmt.Sprintf("%s was there still when %s was already: a read was stale, or a write was lost", held[n-1].value, z.value)
		}
		held = append(held, z)
	}
	for _, z := range zones {
		for _, h := range held {
			if !z.holds() && h.first < z.last && z.first < h.last {
				return fmt.Sprintf("%s was written and gone while %s was there: a read was stale, or a write was lost", z.value, h.value)
			}
		}
	}
	return ""
}
