package drill

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"multihead/internal/drill/clients"
)

// record is what all workers have reported so far.
type record struct {
	mu  sync.Mutex
	ops []clients.Op
}

func (r *record) add(op clients.Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, op)
}

// all is a copy, in the order of ends.
func (r *record) all() []clients.Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ops)
}

// worker is one worker that runs somewhere.
type worker struct {
	where string
	what  []string // workloads
	first int64    // its operations are numbered from here
	conn  io.ReadWriteCloser
	done  chan struct{} // the worker has said goodbye, or its host is gone
	mu    sync.Mutex
	err   error
}

// startWorker tells a worker what to do and begins to record what it does.
func (r *run) startWorker(ctx context.Context, where string, spec clients.Spec, what ...string) error {
	conn, ahead, err := r.env.Worker(ctx, where)
	if err != nil {
		return fmt.Errorf("start the workloads on %s: %w", orHere(where), err)
	}
	w := &worker{where: where, what: what, first: r.after(what), conn: conn, done: make(chan struct{})}
	r.parts = append(r.parts, w)
	spec.Run, spec.Limit = r.id, runLimit
	line, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	if _, err := conn.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("start the workloads on %s: %w", orHere(where), err)
	}
	go r.read(w, ahead)
	return nil
}

// after is the number behind all that earlier workers used, for one that goes on
// where the head of another lost its power.
func (r *run) after(what []string) int64 {
	first := int64(0)
	for _, w := range r.parts {
		if slices.Equal(w.what, what) {
			first = max(first, w.first+1_000_000)
		}
	}
	return first
}

func orHere(name string) string {
	if name == "" {
		return "this machine"
	}
	return name
}

// read records every operation until the worker's last line, with its times by
// our clock.
func (r *run) read(w *worker, ahead time.Duration) {
	defer close(w.done)
	lines := bufio.NewScanner(w.conn)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var op clients.Op
		if json.Unmarshal(lines.Bytes(), &op) != nil {
			continue
		}
		op.N += w.first
		op.Due, op.Begin, op.End = op.Due.Add(-ahead), op.Begin.Add(-ahead), op.End.Add(-ahead)
		switch op.Workload {
		case clients.End:
			if op.Err != "" {
				w.fail(fmt.Errorf("the workloads on %s: %s", orHere(w.where), op.Err))
			}
			return
		case clients.Note:
			r.env.Say(op.Value + ": " + op.Err)
		default:
			r.record.add(op)
		}
	}
}

// gone says whether a worker works no more.
func (w *worker) gone() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

func (w *worker) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

// stop lets the worker finish and waits until it has.
func (w *worker) stop(ctx context.Context) {
	_, _ = io.WriteString(w.conn, clients.Stop+"\n") // where it is gone, done is closed
	select {
	case <-w.done:
	case <-ctx.Done():
	case <-time.After(45 * time.Second):
	}
}

// close ends the connection; a worker that still runs ends with it.
func (w *worker) close() { _ = w.conn.Close() }
