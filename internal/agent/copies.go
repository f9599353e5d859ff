package agent

import (
	"context"
	"time"

	"multihead/internal/service"
)

// keepEvery is the pause between two looks at what a service keeps copies of, and so
// about what is missing in the newest one.
const keepEvery = 10 * time.Second

// keepCopies has a service keep copies on this head's own disk. One that hangs with
// the storage of the data holds up nothing but the next one.
func (a *Agent) keepCopies(ctx context.Context, name string, k service.Keeper) {
	failed := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-pulse(keepEvery):
		}
		done := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(ctx, 2*keepEvery)
			defer cancel()
			done <- k.Keep(ctx, a.Local, a.Cluster)
		}()
		select {
		case <-ctx.Done():
			return
		case err := <-done:
			if err != nil && !failed {
				a.Log.Warn("no copy is kept", "service", name, "error", err)
			}
			failed = err != nil
		}
	}
}
