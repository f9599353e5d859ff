// Package golden compares what a test renders with a file that a person has read.
package golden

import (
	"flag"
	"os"
	"testing"

	"github.com/aymanbagabas/go-udiff"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Check fails the test where got is not what the file has. With -update it writes the
// file: read the difference before you commit it.
func Check[T string | []byte](t *testing.T, file string, got T) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(got) {
		t.Errorf("%s differs; go test -update writes it anew:\n%s", file, udiff.Unified(file, "got", string(want), string(got)))
	}
}
