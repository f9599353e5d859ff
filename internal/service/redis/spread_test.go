package redis

import (
	"slices"
	"testing"
)

func TestCrowdedMastersAreSpreadAgain(t *testing.T) {
	master := func(addr string, head int) member { return member{addr: addr, head: head, up: true, slots: 4096} }
	copyOf := func(addr string, head int, of string) member {
		return member{addr: addr, head: head, up: true, of: of}
	}
	down := func(m member) member { m.up = false; return m }
	for _, tt := range []struct {
		name    string
		members []member
		want    []string
	}{
		{"one master on each head", []member{master("a1", 0), copyOf("a2", 0, "b1"), master("b1", 1), copyOf("b2", 1, "a1")}, nil},
		{"a head came back after its failover", []member{master("a1", 0), master("a2", 0), copyOf("b1", 1, "a2"), copyOf("b2", 1, "a1")}, []string{"b1"}},
		{"the head without a master is still down", []member{master("a1", 0), master("a2", 0), down(copyOf("b1", 1, "a2"))}, nil},
		{"no copy stands on a head without a master", []member{master("a1", 0), master("a2", 0), master("b1", 1), copyOf("b2", 1, "a2"), copyOf("c1", 2, "b1")}, nil},
		{"two heads came back", []member{master("a1", 0), master("a2", 0), master("a3", 0), copyOf("b1", 1, "a2"), copyOf("c1", 2, "a3")}, []string{"b1", "c1"}},
		{"a head takes one, not two", []member{master("a1", 0), master("a2", 0), master("a3", 0), copyOf("b1", 1, "a2"), copyOf("b2", 1, "a3")}, []string{"b1"}},
		{"a master on a host that the file does not name is left alone", []member{master("x1", -1), master("x2", -1), copyOf("a1", 0, "x1")}, nil},
	} {
		if got := spread(tt.members); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
