package plan

import (
	"context"
	"time"
)

// EventType says what happened while a plan was applied.
type EventType string

// The events, in the order a phase goes through them.
const (
	PhaseStart  EventType = "phase-start"
	StepStart   EventType = "step-start"
	StepState   EventType = "step-state" // what a step that waits sees; not journalled
	StepDone    EventType = "step-done"
	StepSkipped EventType = "step-skipped" // it had become so by itself
	StepFailed  EventType = "step-failed"
	UndoStart   EventType = "undo-start"
	UndoDone    EventType = "undo-done"
	UndoFailed  EventType = "undo-failed"
	UndoStopped EventType = "undo-stopped" // a one-way step: nothing before it is undone
	PhaseDone   EventType = "phase-done"
	PhaseFailed EventType = "phase-failed"
)

// Event is one line of a run's journal, and what progress is printed from.
// It holds no secret: Text is an Action's String.
type Event struct {
	Time    time.Time `json:"time"`
	Type    EventType `json:"type"`
	Phase   string    `json:"phase"`
	Stage   string    `json:"stage,omitempty"`
	Step    string    `json:"step,omitempty"`
	Host    string    `json:"host,omitempty"`
	Text    string    `json:"text,omitempty"`
	Error   string    `json:"error,omitempty"`
	Seconds float64   `json:"seconds,omitempty"` // how long it took
}

// tellKey is the context key of what Tell calls.
type tellKey struct{}

func withTell(ctx context.Context, f func(string)) context.Context {
	return context.WithValue(ctx, tellKey{}, f)
}

// Tell says how far a step that takes long has come: "SST 41 %". An Action
// calls it with the context it was given; outside of an Engine it does nothing.
func Tell(ctx context.Context, state string) {
	if f, ok := ctx.Value(tellKey{}).(func(string)); ok {
		f(state)
	}
}
