package check

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"multihead/internal/drill/clients"
)

// searchLimit bounds how long an order is looked for.
const searchLimit = 30 * time.Second

// access is one operation on the register, as the model takes it.
type access struct {
	write bool
	value string
}

// Register checks that reads and writes of the one register can be put in an
// order that explains every value read and keeps to the times: that it behaved
// like one register although it is kept on many nodes. A write whose outcome is
// unknown may have taken effect at any time after it was begun, or never.
func Register(ops []clients.Op, initial string) Verdict {
	const name = "register linearizable"
	model := porcupine.Model{
		Init: func() any { return initial },
		Step: func(state, input, output any) (bool, any) {
			a := input.(access)
			if a.write {
				return true, a.value
			}
			return state == output, state
		},
		Equal: func(a, b any) bool { return a == b },
	}
	history, reads := registerHistory(ops)
	if reads == 0 {
		return Verdict{name, false, "nothing was read, so nothing was shown"}
	}
	switch porcupine.CheckOperationsTimeout(model, history, searchLimit) {
	case porcupine.Ok:
		return Verdict{name, true, fmt.Sprintf("%d reads and %d writes have an order that explains them", reads, len(history)-reads)}
	case porcupine.Illegal:
		return Verdict{name, false, fmt.Sprintf("no order of the %d writes explains the %d reads: one was stale or lost", len(history)-reads, reads)}
	default:
		return Verdict{name, false, fmt.Sprintf("no order was found within %s: not shown", searchLimit)}
	}
}

// registerHistory takes what may have had an effect or showed one. Writes whose
// outcome is unknown and which nobody read are left out: they explain nothing,
// and each would double the search.
func registerHistory(ops []clients.Op) (history []porcupine.Operation, reads int) {
	seen := map[string]bool{}
	for _, op := range ops {
		if op.Kind == clients.Read && op.Result == clients.OK {
			seen[op.Value] = true
		}
	}
	for _, op := range ops {
		h := porcupine.Operation{Call: op.Begin.UnixNano(), Return: op.End.UnixNano(), Output: op.Value}
		switch {
		case op.Kind == clients.Read && op.Result == clients.OK:
			h.Input = access{}
			reads++
		case op.Kind == clients.Write && op.Result == clients.OK:
			h.Input = access{true, op.Value}
		case op.Kind == clients.Write && op.Result == clients.Unknown && seen[op.Value]:
			h.Input, h.Return = access{true, op.Value}, math.MaxInt64
		default:
			continue
		}
		history = append(history, h)
	}
	// The library shows clients as lanes; no two operations of one may overlap.
	slices.SortFunc(history, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	for i := range history {
		history[i].ClientId = i
	}
	return history, reads
}
