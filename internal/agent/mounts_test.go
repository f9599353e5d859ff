package agent

import (
	"errors"
	"testing"
)

// The kernel's own file is asked for changes here; none comes while a test runs, or
// the table is merely read once more.
func TestTheTableOfMountsIsReadWhenItIsNotKnown(t *testing.T) {
	var w mountTable
	reads := 0
	read := func() ([]byte, error) { reads++; return []byte("table"), nil }
	for range 2 {
		got, err := w.read(read)
		if err != nil || string(got) != "table" {
			t.Fatalf("%q, %v", got, err)
		}
		got[0] = 'X' // whoever has it may write into it
	}
	if reads == 0 {
		t.Error("it was never read")
	}
	w.data = nil // as after a read that failed
	if _, err := w.read(func() ([]byte, error) { return nil, errors.New("no") }); err == nil {
		t.Error("an error was kept back")
	}
	before := reads
	if _, err := w.read(read); err != nil || reads != before+1 {
		t.Errorf("after an error it was not read again: %v", err)
	}
}
