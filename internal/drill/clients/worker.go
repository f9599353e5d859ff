package clients

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Longest is how long a worker may be told to run.
const Longest = time.Hour

// Stop is the line that asks a worker to begin nothing more, finish what is
// under way and say goodbye.
const Stop = "stop"

// grace is how long operations under way may take to end after the stop.
const grace = 30 * time.Second

// Serve does what the first line of conn says, until it is told to stop, the
// other end goes away, or its time is over. It closes conn.
func Serve(ctx context.Context, conn io.ReadWriteCloser) error {
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 64<<10)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read what to do: %w", err)
	}
	var spec Spec
	if err := json.Unmarshal(line, &spec); err != nil {
		return errors.New("read what to do: not a specification") // the line holds passwords
	}
	if spec.Limit <= 0 || spec.Limit > Longest {
		return fmt.Errorf("a limit of %s: between 0 and %s", spec.Limit, Longest)
	}
	all, endAll := context.WithTimeout(ctx, spec.Limit)
	defer endAll()
	begin, endBegin := context.WithCancel(all)
	defer endBegin()
	go func() {
		for {
			word, err := in.ReadString('\n')
			if strings.TrimSpace(word) == Stop {
				endBegin()
				time.AfterFunc(grace, endAll)
				continue
			}
			if err != nil { // the tool is gone
				endAll()
				return
			}
		}
	}()
	w := &writer{out: conn, fail: endAll}
	schedules, closers, err := spec.schedules(all, begin, w.write)
	defer func() {
		for _, c := range closers {
			_ = c.Close()
		}
	}()
	if err != nil {
		w.write(Op{Workload: End, End: time.Now(), Result: Failed, Err: err.Error()})
		return err
	}
	var wg sync.WaitGroup
	for _, s := range schedules {
		wg.Go(func() { s.run(begin, all, w.write) })
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-all.Done(): // something hangs in the kernel; it is left behind
	}
	w.write(Op{Workload: End, End: time.Now(), Result: OK})
	return nil
}

// writer writes operations, one line each. When nobody reads them any more the
// work ends.
type writer struct {
	mu   sync.Mutex
	out  io.Writer
	fail func()
}

func (w *writer) write(op Op) {
	line, err := json.Marshal(op)
	if err != nil { // times, numbers and text always marshal
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.out.Write(append(line, '\n')); err != nil {
		w.fail()
	}
}

// schedules are all streams of operations that the specification asks for.
func (s Spec) schedules(all, begin context.Context, out func(Op)) ([]schedule, []io.Closer, error) {
	var list []schedule
	var closers []io.Closer
	if s.SQL != nil {
		list = append(list, s.SQL.schedules()...)
	}
	if s.Redis != nil {
		r, err := newRedisWork(all, s.Run, *s.Redis)
		if err != nil {
			return nil, closers, fmt.Errorf("redis: %w", err)
		}
		closers = append(closers, r)
		list = append(list, r.schedule())
	}
	if s.Volume != nil {
		list = append(list, s.Volume.schedule())
	}
	if s.Sbatch != nil {
		list = append(list, s.Sbatch.schedules()...)
	}
	if s.VIP != nil {
		list = append(list, s.VIP.schedule())
		if err := s.VIP.watchARP(begin, out); err != nil {
			out(Op{Workload: Note, End: time.Now(), Result: Failed, Value: ARP, Err: err.Error()})
		}
	}
	return list, closers, nil
}
