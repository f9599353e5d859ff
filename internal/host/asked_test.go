package host

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// An agent at work gives way to a person; nobody gives way to an agent, and it
// takes no lock that a person waits for.
func TestWhoGivesWayIsAskedAndTakesNoLockAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	one, two := NewLocal("head").LockAt(path), NewLocal("head").LockAt(path)
	agent, person := Owner{User: "agent", Yields: true}, Owner{User: "kim"}
	ctx := t.Context()
	asked := func() bool {
		held, err := two.Holder(ctx, nil)
		if err != nil || held == nil {
			t.Fatalf("it is held, and nobody holds it: %v", err)
		}
		return held.Asked
	}
	lease, err := one.Lock(ctx, agent)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := two.Lock(ctx, agent); !errors.As(err, new(*LockedError)) || asked() {
		t.Errorf("another agent asks this one to give way: %v", err)
	}
	if _, err := two.Lock(ctx, person); !errors.As(err, new(*LockedError)) || !asked() {
		t.Errorf("a person waits, and the agent is not asked: %v", err)
	}
	if err := lease.Release(ctx); err != nil {
		t.Fatal(err)
	}
	var held *LockedError
	if _, err := one.Lock(ctx, agent); !errors.As(err, &held) || held.Owner.User != "kim" {
		t.Errorf("the agent takes the lock that a person waits for: %v", err)
	}
	long := time.Now().Add(-2 * askedFor)
	if err := os.Chtimes(path+".asked", long, long); err != nil {
		t.Fatal(err)
	}
	if lease, err = one.Lock(ctx, agent); err != nil {
		t.Fatalf("the person gave up long ago: %v", err)
	}
	if _, err := two.Holder(ctx, &person); err != nil || !asked() {
		t.Errorf("a person who looks and wants it does not ask: %v", err)
	}
	if err := lease.Release(ctx); err != nil {
		t.Fatal(err)
	}
	if lease, err = two.Lock(ctx, person); err != nil {
		t.Fatal(err)
	}
	if _, err := one.Lock(ctx, Owner{User: "lee"}); !errors.As(err, &held) || held.Owner.User != "kim" {
		t.Errorf("two persons: %v", err)
	}
	if err := lease.Release(ctx); err != nil {
		t.Fatal(err)
	}
}
