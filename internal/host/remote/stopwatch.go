package remote

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errTimeLimit is the cause of a connection's end when its time ran out.
var errTimeLimit = errors.New("time limit")

// stopwatch bounds the time that a host has to answer. It stands still while
// a person is being asked.
type stopwatch struct {
	mu     sync.Mutex
	limit  time.Duration
	cancel context.CancelCauseFunc
	timer  *time.Timer
	left   time.Duration
	since  time.Time
	paused int
	during string
}

// newStopwatch returns a context that is done with errTimeLimit after limit.
func newStopwatch(ctx context.Context, limit time.Duration) (context.Context, *stopwatch) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &stopwatch{limit: limit, cancel: cancel, left: limit, since: time.Now()}
	w.timer = time.AfterFunc(limit, w.expire)
	return ctx, w
}

func (w *stopwatch) expire() { w.cancel(errTimeLimit) }

func (w *stopwatch) pause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.paused++; w.paused == 1 {
		w.timer.Stop()
		w.left -= time.Since(w.since)
	}
}

func (w *stopwatch) resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.paused--; w.paused == 0 {
		w.since = time.Now()
		w.timer.Reset(max(w.left, time.Millisecond))
	}
}

// extend gives the host more time, from the limit that it had in the beginning.
func (w *stopwatch) extend(times int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	more := time.Duration(times) * w.limit
	w.limit += more
	w.left += more
	if w.paused == 0 && w.timer.Stop() { // what has expired stays so
		w.timer.Reset(max(w.left-time.Since(w.since), time.Millisecond))
	}
}

// stop ends the watch without ending the context.
func (w *stopwatch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.paused++ // whatever resumes later finds it still stopped
	w.timer.Stop()
}

// now says what is being done, for the error if time runs out.
func (w *stopwatch) now(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.during = what
}

// told is the limit, for the same.
func (w *stopwatch) told() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.limit
}

func (w *stopwatch) doing() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.during
}
