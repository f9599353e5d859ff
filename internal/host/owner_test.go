package host

import (
	"errors"
	"testing"
	"time"
)

// What an agent looks at every second has the same owners every time.
func TestANumbersNameIsReadAgainOnlyWhenTheListsChange(t *testing.T) {
	var n names
	read := 0
	local := func(string) (string, error) { read++; return "somebody", nil }
	for range 3 {
		n.fresh()
		if got := n.lookup(t.Context(), "passwd", 123456, local); got != "somebody" {
			t.Fatal(got)
		}
	}
	if read != 1 {
		t.Errorf("read %d times", read)
	}
	n.lists[0].changed-- // as if /etc/passwd had been written since
	n.fresh()
	n.lookup(t.Context(), "passwd", 123456, local)
	if read != 2 {
		t.Errorf("the lists changed, and it was read %d times", read)
	}
}

// A number that nobody has a name for is asked of the name service once in a
// while, for a name may come.
func TestANumberWithoutANameIsAskedAgainLater(t *testing.T) {
	var n names
	read := 0
	local := func(string) (string, error) { read++; return "", errors.New("unknown") }
	const key = "passwd4000123456"
	n.fresh()
	for range 2 {
		if got := n.lookup(t.Context(), "passwd", 4000123456, local); got != "4000123456" {
			t.Fatal(got)
		}
	}
	if have := n.known[key]; read != 1 || have.until.IsZero() {
		t.Fatalf("read %d times, %+v", read, have)
	}
	n.known[key] = knownName{"4000123456", time.Now().Add(-time.Second)}
	n.lookup(t.Context(), "passwd", 4000123456, local)
	if read != 2 {
		t.Errorf("its time is over, and it was read %d times", read)
	}
}
