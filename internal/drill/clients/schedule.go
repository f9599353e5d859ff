package clients

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// schedule is one stream of operations that are due at fixed times.
type schedule struct {
	workload, kind string
	every          time.Duration
	waiting        int // how many may be under way at the same time
	// do does operation n and returns what became of it. Its context ends with
	// the worker.
	do func(ctx context.Context, n int64) outcome
}

// outcome is what became of an operation.
type outcome struct {
	result Result
	part   string
	value  string
	err    error
}

// run starts operations as they come due until begin ends, and waits for those
// under way. One that comes due while too many are under way is not begun, and
// recorded as failed: it would have waited.
func (s schedule) run(begin, all context.Context, out func(Op)) {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, s.waiting)
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := int64(0); ; n++ {
		due := start.Add(time.Duration(n) * s.every)
		timer.Reset(time.Until(due))
		select {
		case <-begin.Done():
			return
		case <-timer.C:
		}
		op := Op{Workload: s.workload, Kind: s.kind, N: n, Due: due, Begin: time.Now()}
		select {
		case slots <- struct{}{}:
		default:
			op.End, op.Result, op.Err = op.Begin, Failed, fmt.Sprintf("not begun: %d are waiting", s.waiting)
			out(op)
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			o := s.do(all, n)
			op.End, op.Result, op.Part, op.Value = time.Now(), o.result, o.part, o.value
			if o.err != nil {
				op.Err = o.err.Error()
			}
			out(op)
		})
	}
}
