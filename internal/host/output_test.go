package host

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWhatACommandWroteIsReadHoweverLateSomebodyComesToIt(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close() // a daemon that was left behind has it open still
	if _, err := w.WriteString("yes\n"); err != nil {
		t.Fatal(err)
	}
	if err := r.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 8)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the time is not over: %v", err)
	}
	var got strings.Builder
	if drain(r, &got); got.String() != "yes\n" {
		t.Errorf("%q", got.String())
	}
}

func TestADaemonThatIsLeftBehindIsNotWaitedFor(t *testing.T) {
	end := filepath.Join(t.TempDir(), "end")
	out, err := NewLocal("here").Run(t.Context(), Command("sh", "-c", `head -c 60000 /dev/zero; while [ ! -e "$0" ]; do sleep 0.05; done & echo done`, end))
	if err != nil || len(out) != 60005 || !strings.HasSuffix(out, "done\n") {
		t.Errorf("%d bytes, %v", len(out), err)
	}
	if err := os.WriteFile(end, nil, 0o600); err != nil { // it would have been waited for until now
		t.Error(err)
	}
}

func TestTooMuchOutputIsAnError(t *testing.T) {
	_, err := NewLocal("here").Run(t.Context(), Command("sh", "-c", "yes | head -c 100000000"))
	if err == nil || !strings.Contains(err.Error(), "printed more than") {
		t.Errorf("%v", err)
	}
}
