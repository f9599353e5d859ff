package check_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/anishathalye/porcupine"

	"multihead/internal/drill/check"
	"multihead/internal/drill/clients"
)

func write(v string, begin, end float64, r clients.Result) clients.Op {
	return clients.Op{Workload: clients.SQL, Kind: clients.Write, Value: v, Begin: at(begin), End: at(end), Result: r}
}

func read(v string, begin, end float64) clients.Op {
	return clients.Op{Workload: clients.SQL, Kind: clients.Read, Value: v, Begin: at(begin), End: at(end), Result: clients.OK}
}

func TestRegister(t *testing.T) {
	for _, c := range []struct {
		name string
		ops  []clients.Op
		ok   bool
	}{
		{"read after write", []clients.Op{write("1", 0, 1, clients.OK), read("1", 2, 3)}, true},
		{"the initial value before any write", []clients.Op{read("0", 0, 1), write("1", 2, 3, clients.OK), read("1", 4, 5)}, true},
		{"either, while it is written", []clients.Op{write("1", 0, 4, clients.OK), read("0", 1, 2), read("1", 2.5, 3)}, true},
		{"an acknowledged write was lost", []clients.Op{write("1", 0, 1, clients.OK), read("0", 2, 3)}, false},
		{"a read was stale", []clients.Op{write("1", 0, 1, clients.OK), write("2", 2, 3, clients.OK), read("1", 4, 5)}, false},
		{"it went back while it was written", []clients.Op{write("1", 0, 9, clients.OK), read("1", 1, 2), read("0", 3, 4)}, false},
		{"an unknown write took effect later", []clients.Op{write("1", 0, 1, clients.Unknown), read("0", 2, 3), read("1", 4, 5)}, true},
		{"an unknown write never did", []clients.Op{write("1", 0, 1, clients.Unknown), read("0", 2, 3), read("0", 4, 5)}, true},
		{"an unknown write came and went", []clients.Op{write("1", 0, 1, clients.Unknown), read("1", 2, 3), read("0", 4, 5)}, false},
		{"a failed write was read", []clients.Op{write("1", 0, 1, clients.Failed), read("1", 2, 3)}, false},
		{"nobody wrote what was read", []clients.Op{read("7", 2, 3)}, false},
		{"nothing was read", []clients.Op{write("1", 0, 1, clients.OK)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if v := check.Register(c.ops, "0"); v.OK != c.ok {
				t.Errorf("%+v", v)
			}
		})
	}
}

// What the rule says is what a search for an order finds (porcupine), in many small
// histories: of a register that is one, and of one that forgets and serves what is old.
func TestRegisterAgreesWithASearchForAnOrder(t *testing.T) {
	model := porcupine.Model{
		Init: func() any { return "0" },
		Step: func(state, input, output any) (bool, any) {
			if op := input.(clients.Op); op.Kind == clients.Write {
				return true, op.Value
			}
			return state == output, state
		},
	}
	found := map[bool]int{}
	for seed := range uint64(4000) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		values := []string{"0"}
		var ops []clients.Op
		for n := range 3 + rnd.IntN(7) {
			begin := rnd.Float64() * 10
			end := begin + rnd.Float64()*float64(1+rnd.IntN(6))
			if rnd.IntN(3) == 0 {
				values = append(values, fmt.Sprint(n+1))
				ops = append(ops, write(fmt.Sprint(n+1), begin, end, []clients.Result{clients.OK, clients.OK, clients.Unknown}[rnd.IntN(3)]))
			} else {
				ops = append(ops, read(values[rnd.IntN(len(values))], begin, end))
			}
		}
		var history []porcupine.Operation
		reads := 0
		for i, op := range ops {
			h := porcupine.Operation{ClientId: i, Input: op, Output: op.Value, Call: op.Begin.UnixNano(), Return: op.End.UnixNano()}
			if op.Result == clients.Unknown {
				if !slices.ContainsFunc(ops, func(o clients.Op) bool { return o.Kind == clients.Read && o.Value == op.Value }) {
					continue
				}
				h.Return = math.MaxInt64
			}
			if op.Kind == clients.Read {
				reads++
			}
			history = append(history, h)
		}
		if reads == 0 {
			continue
		}
		want := porcupine.CheckOperations(model, history)
		if v := check.Register(ops, "0"); v.OK != want {
			t.Fatalf("seed %d: there is an order: %v, and the rule says %+v:\n%+v", seed, want, v, ops)
		}
		found[want]++
	}
	if found[true] < 200 || found[false] < 200 {
		t.Errorf("too few of one kind: %v", found)
	}
}

func TestRegisterOfManyThatWaitedAtOnce(t *testing.T) {
	var ops []clients.Op
	for i := range 400 { // all through one failover, then one after the other
		ops = append(ops, write(fmt.Sprint("w", i), 0, 5+float64(i)/100, clients.OK), read(fmt.Sprint("w", i), 0.5, 5+float64(i)/100))
	}
	if v := check.Register(ops, "0"); !v.OK {
		t.Errorf("%+v", v)
	}
}

func TestRegisterTellsAValueThatWasWrittenTwice(t *testing.T) {
	if v := check.Register([]clients.Op{write("1", 0, 1, clients.OK), write("1", 2, 3, clients.OK), read("1", 4, 5)}, "0"); v.OK {
		t.Errorf("%+v", v)
	}
}
