package check_test

import (
	"testing"

	"multihead/internal/drill/check"
	"multihead/internal/drill/work"
)

func write(v string, begin, end float64, r work.Result) work.Op {
	return work.Op{Workload: work.SQL, Kind: work.Write, Value: v, Begin: at(begin), End: at(end), Result: r}
}

func read(v string, begin, end float64) work.Op {
	return work.Op{Workload: work.SQL, Kind: work.Read, Value: v, Begin: at(begin), End: at(end), Result: work.OK}
}

func TestRegister(t *testing.T) {
	for _, c := range []struct {
		name string
		ops  []work.Op
		ok   bool
	}{
		{"read after write", []work.Op{write("1", 0, 1, work.OK), read("1", 2, 3)}, true},
		{"the initial value before any write", []work.Op{read("0", 0, 1), write("1", 2, 3, work.OK), read("1", 4, 5)}, true},
		{"either, while it is written", []work.Op{write("1", 0, 4, work.OK), read("0", 1, 2), read("1", 2.5, 3)}, true},
		{"an acknowledged write was lost", []work.Op{write("1", 0, 1, work.OK), read("0", 2, 3)}, false},
		{"a read was stale", []work.Op{write("1", 0, 1, work.OK), write("2", 2, 3, work.OK), read("1", 4, 5)}, false},
		{"it went back while it was written", []work.Op{write("1", 0, 9, work.OK), read("1", 1, 2), read("0", 3, 4)}, false},
		{"an unknown write took effect later", []work.Op{write("1", 0, 1, work.Unknown), read("0", 2, 3), read("1", 4, 5)}, true},
		{"an unknown write never did", []work.Op{write("1", 0, 1, work.Unknown), read("0", 2, 3), read("0", 4, 5)}, true},
		{"an unknown write came and went", []work.Op{write("1", 0, 1, work.Unknown), read("1", 2, 3), read("0", 4, 5)}, false},
		{"a failed write was read", []work.Op{write("1", 0, 1, work.Failed), read("1", 2, 3)}, false},
		{"nobody wrote what was read", []work.Op{read("7", 2, 3)}, false},
		{"nothing was read", []work.Op{write("1", 0, 1, work.OK)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if v := check.Register(c.ops, "0"); v.OK != c.ok {
				t.Errorf("%+v", v)
			}
		})
	}
}
