package main

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"multihead/internal/host/remote"
)

// asked is an app whose person types an answer after a while.
func asked(answer string, after time.Duration) (*app, *bytes.Buffer) {
	in, person := io.Pipe()
	go func() {
		time.Sleep(after)
		_, _ = io.WriteString(person, answer+"\n")
	}()
	var said bytes.Buffer
	return &app{stdin: in, stdout: io.Discard, stderr: &said, lang: "en"}, &said
}

// A question holds the cluster's lock no longer than its limit; one that is asked
// before the lock is taken may be thought about.
func TestAQuestionUnderTheLockHasALimit(t *testing.T) {
	for _, tt := range []struct {
		name  string
		held  bool
		after time.Duration
		ok    bool
	}{
		{"before the lock, after a night", false, 8 * time.Hour, true},
		{"under the lock, in time", true, 4 * time.Minute, true},
		{"under the lock, too late", true, 6 * time.Minute, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, said := asked("y", tt.after)
				run := &upRun{held: tt.held}
				run.question = func(ctx context.Context) error {
					_, err := a.answer(ctx, "Go on? [y/N] ")
					return err
				}
				err := a.agree(t.Context(), run)
				defer time.Sleep(tt.after) // in the bubble's time, until the person has typed
				if (err == nil) != tt.ok {
					t.Errorf("%v", err)
				}
				if limit := strings.Contains(said.String(), "without an answer within 5m0s nothing is done"); limit != tt.held {
					t.Errorf("it said %q", said)
				}
				if !tt.ok && (exitCode(err) != exitFailed || !strings.Contains(err.Error(), "not locked any more")) {
					t.Errorf("exit code %d: %v", exitCode(err), err)
				}
			})
		})
	}
}

// A host that comes back while the cluster is locked, and was never seen, is not
// trusted where nobody answers.
func TestNobodyAnsweringTrustsNoHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, person := io.Pipe()
		a := &app{stdin: in, stdout: io.Discard, stderr: io.Discard, lang: "en"}
		trusted, err := a.confirmKeys(whileLocked(t.Context()), []remote.HostKey{})
		if trusted || err != nil {
			t.Errorf("%v, %v", trusted, err)
		}
		_ = person.Close()
	})
}
