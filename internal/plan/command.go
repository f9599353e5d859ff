package plan

import (
	"context"
	"errors"
	"fmt"
	"time"

	"multihead/internal/host"
)

// Command runs one command, where Satisfied does not say it has been done.
type Command struct {
	What      string // one line for a person; empty shows the command
	Cmd       host.Cmd
	Satisfied func(ctx context.Context, h host.Reader) (bool, error)
	Undo      Action
	Timeout   time.Duration // zero is one minute
}

func (c Command) String() string {
	if c.What != "" {
		return c.What
	}
	return "run " + c.Cmd.String()
}

// Done asks Satisfied. A command without it always runs.
func (c Command) Done(ctx context.Context, h host.Reader) (bool, error) {
	if c.Satisfied == nil {
		return false, nil
	}
	return c.Satisfied(ctx, h)
}

// Do runs it.
func (c Command) Do(ctx context.Context, h host.Host) (Action, error) {
	timeout := c.Timeout
	if timeout == 0 {
		timeout = time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if _, err := h.Run(ctx, c.Cmd); err != nil {
		return nil, err
	}
	return c.Undo, nil
}

// Func is a change that talks to a daemon by its own protocol instead of
// running a command. Services use it for what no stock action does.
type Func struct {
	What      string
	Kind      Kind // zero counts as Run
	Satisfied func(ctx context.Context, h host.Reader) (bool, error)
	Change    func(ctx context.Context, h host.Host) (undo Action, err error)
	Timeout   time.Duration // zero is two minutes
}

func (f Func) String() string { return f.What }

// Done asks Satisfied; without it, the change is always made.
func (f Func) Done(ctx context.Context, h host.Reader) (bool, error) {
	if f.Satisfied == nil {
		return false, nil
	}
	return f.Satisfied(ctx, h)
}

// Do makes the change.
func (f Func) Do(ctx context.Context, h host.Host) (Action, error) {
	timeout := f.Timeout
	if timeout == 0 {
		timeout = 2 * time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return f.Change(ctx, h)
}

// Preview counts it as its kind.
func (f Func) Preview(context.Context, host.Reader) (Preview, error) {
	k := f.Kind
	if k == "" {
		k = Run
	}
	return Preview{Kind: k}, nil
}

// Never marks an error of an Await's condition as one that no waiting mends: the
// wait ends with it at once.
func Never(err error) error { return never{err} }

type never struct{ error }

func (n never) Unwrap() error { return n.error }

// Await waits until a condition holds. It changes nothing, so that verifying
// is part of the plan: a phase whose condition does not come is rolled back.
type Await struct {
	What    string // "all nodes synced"
	Until   func(ctx context.Context, h host.Reader) (ok bool, state string, err error)
	Timeout time.Duration // zero is one minute
	Every   time.Duration // between two looks; zero is 200 ms
}

func (a Await) String() string { return "wait until " + a.What }

// Done asks once. A daemon that cannot be asked yet is not there yet, so an
// error here means "wait", not "unknown": nothing is decided on it.
func (a Await) Done(ctx context.Context, h host.Reader) (bool, error) {
	ok, _, err := a.Until(ctx, h)
	return ok && err == nil, nil
}

// Do asks until it is so, time is up or it is never to be so; then it says what
// was seen last.
func (a Await) Do(ctx context.Context, h host.Host) (Action, error) {
	timeout, every := a.Timeout, a.Every
	if timeout == 0 {
		timeout = time.Minute
	}
	if every == 0 {
		every = instant
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(every)
	defer tick.Stop()
	var state string
	var last error
	for {
		ok, s, err := a.Until(ctx, h)
		if ok && err == nil {
			return nil, nil
		}
		if errors.As(err, new(never)) {
			return nil, fmt.Errorf("%s: not so, and no waiting makes it so: %s: %w", h.Name(), a.What, err)
		}
		if err != nil {
			s = err.Error()
		}
		if s != "" && s != state {
			Tell(ctx, s)
		}
		// The look that the time limit cut off says nothing of the host.
		if (s != "" || err != nil) && (ctx.Err() == nil || state == "") {
			state, last = s, err
		}
		select {
		case <-ctx.Done():
			if last != nil {
				return nil, fmt.Errorf("%s: not so after %s: %s: %w", h.Name(), timeout, a.What, last)
			}
			return nil, fmt.Errorf("%s: not so after %s: %s (last seen: %s)", h.Name(), timeout, a.What, state)
		case <-tick.C:
		}
	}
}

// Preview counts it as waiting.
func (a Await) Preview(context.Context, host.Reader) (Preview, error) {
	return Preview{Kind: Wait}, nil
}
