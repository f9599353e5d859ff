package check_test

import (
	"testing"

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
