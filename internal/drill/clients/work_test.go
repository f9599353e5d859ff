package clients

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// An operation is due at its time, however long the ones before it take.
func TestTheLoadDoesNotWaitForAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin, stop := context.WithTimeout(t.Context(), 950*time.Millisecond)
		defer stop()
		var mu sync.Mutex
		var ops []Op
		hang := schedule{SQL, Append, 100 * time.Millisecond, 4, func(context.Context, int64) outcome {
			time.Sleep(2 * time.Second)
			return outcome{result: OK}
		}}
		start := time.Now()
		hang.run(begin, t.Context(), func(o Op) { mu.Lock(); defer mu.Unlock(); ops = append(ops, o) })
		if len(ops) != 10 {
			t.Fatalf("%d operations came due in 950 ms", len(ops))
		}
		done, refused := 0, 0
		for _, o := range ops {
			if due := start.Add(time.Duration(o.N) * 100 * time.Millisecond); !o.Due.Equal(due) {
				t.Errorf("operation %d was due at %s", o.N, o.Due.Sub(start))
			}
			switch o.Result {
			case OK:
				done++
				if o.End.Sub(o.Due) != 2*time.Second {
					t.Errorf("operation %d took %s", o.N, o.End.Sub(o.Due))
				}
			case Failed:
				refused++
			}
		}
		if done != 4 || refused != 6 {
			t.Errorf("%d done and %d refused, with room for 4", done, refused)
		}
	})
}

// worker serves one connection and returns the other end.
func worker(t *testing.T) (net.Conn, <-chan error) {
	t.Helper()
	near, far := net.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- Serve(context.Background(), far) }()
	t.Cleanup(func() { near.Close() })
	return near, ended
}

func tell(t *testing.T, conn net.Conn, s Spec) {
	t.Helper()
	line, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
}

func TestAWorkerAppendsUntilItIsToldToStop(t *testing.T) {
	conn, ended := worker(t)
	tell(t, conn, Spec{Run: "r", Limit: time.Minute, Volume: &VolumeSpec{Dir: t.TempDir(), File: "f"}})
	in := bufio.NewScanner(conn)
	seen := 0
	for in.Scan() {
		var op Op
		if err := json.Unmarshal(in.Bytes(), &op); err != nil {
			t.Fatal(err)
		}
		if op.Workload == End {
			break
		}
		if op.Workload != Volume || op.Result != OK || op.End.Before(op.Due) {
			t.Fatalf("%+v", op)
		}
		if seen++; seen == 2 {
			if _, err := io.WriteString(conn, Stop+"\n"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := <-ended; err != nil || seen < 2 {
		t.Errorf("%d operations, %v", seen, err)
	}
}

func TestAWorkerEndsWithWhoeverStartedIt(t *testing.T) {
	conn, ended := worker(t)
	tell(t, conn, Spec{Run: "r", Limit: time.Minute, Volume: &VolumeSpec{Dir: t.TempDir(), File: "f"}})
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	<-ended
}

func TestAWorkerIsToldItsLimit(t *testing.T) {
	for _, limit := range []time.Duration{0, -1, 2 * Longest} {
		conn, ended := worker(t)
		tell(t, conn, Spec{Limit: limit})
		if err := <-ended; err == nil {
			t.Errorf("a limit of %s was taken", limit)
		}
	}
}

// What the far end says of a wrong specification must not repeat its passwords.
func TestAWrongSpecificationIsNotRepeated(t *testing.T) {
	conn, ended := worker(t)
	if _, err := io.WriteString(conn, `{"sql":{"password":"hunter2"`+"\n"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || errors.Unwrap(err) != nil || len(err.Error()) > 60 {
		t.Errorf("%v", err)
	}
}

func TestSlotsAreThoseOfRedis(t *testing.T) {
	// The specification's own example, and two that are known.
	for key, slot := range map[string]int{"123456789": 0x31C3, "foo": 12182, "somekey": 11058} {
		if got := Slot(key); got != slot%Slots {
			t.Errorf("%s: %d, not %d", key, got, slot)
		}
	}
}
