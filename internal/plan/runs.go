package plan

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// RunResult is how a run ended, or that it did not.
type RunResult string

// The results. A record without an end is of a run that was cut off, or of one
// that is at work: only where the record lies on this machine can the two be told
// apart.
const (
	RunDone     RunResult = "done"
	RunFailed   RunResult = "failed"
	RunStopped  RunResult = "stopped" // between two steps, as a person asked
	RunWorking  RunResult = "at work"
	RunCutOff   RunResult = "cut off"
	RunNotEnded RunResult = "not ended"
)

// StepResult is how one step of a run ended.
type StepResult string

// The results of steps. A step that is only planned was not begun.
const (
	StepIsDone     StepResult = "done"
	StepWasSo      StepResult = "was so" // it had become so by itself
	StepHasFailed  StepResult = "failed"
	StepNotEnded   StepResult = "not ended"
	StepNotBegun   StepResult = "not begun"
	StepUndone     StepResult = "undone"
	StepUndoFailed StepResult = "undo failed"
	StepKept       StepResult = "kept" // a rollback ended here: it cannot be taken back
)

// PlannedStep is one line of the plan that a run was begun with.
type PlannedStep struct {
	Phase string `json:"phase"`
	Stage string `json:"stage,omitempty"`
	Step  string `json:"step"`
	Host  string `json:"host"`
	Kind  Kind   `json:"kind"`
	Text  string `json:"text"`
}

// RunStep is what became of one step.
type RunStep struct {
	PlannedStep
	Result  StepResult `json:"result"`
	Begin   time.Time  `json:"begin,omitzero"`
	Seconds float64    `json:"seconds"`
	Error   string     `json:"error,omitempty"`
}

// RunPhase is what became of one phase.
type RunPhase struct {
	Phase   string    `json:"phase"`
	Begin   time.Time `json:"begin"`
	Seconds float64   `json:"seconds"`
	Error   string    `json:"error,omitempty"`
	Ended   bool      `json:"ended"`
}

// RunRecord is one run as its record tells it.
type RunRecord struct {
	RunInfo
	Result RunResult  `json:"result"`
	End    time.Time  `json:"end,omitzero"`
	Error  string     `json:"error,omitempty"`
	Last   time.Time  `json:"last"` // when it last wrote something down
	Phases []RunPhase `json:"phases"`
	Did    []RunStep  `json:"did"` // every step that was planned or taken up, with its time
}

// Seconds is how long it took, as far as its record goes.
func (r *RunRecord) Seconds() float64 {
	end := r.End
	if end.IsZero() {
		end = r.Last
	}
	return max(0, end.Sub(r.Begin).Seconds())
}

// Count is how many steps ended with one of these results.
func (r *RunRecord) Count(results ...StepResult) int {
	n := 0
	for _, s := range r.Did {
		if slices.Contains(results, s.Result) {
			n++
		}
	}
	return n
}

// PlannedSteps lists a proposal's steps for a run's record.
func (p Proposal) PlannedSteps() []PlannedStep {
	var out []PlannedStep
	for _, ph := range p.Plan.Phases {
		for _, st := range ph.Stages {
			for _, s := range st.Steps {
				out = append(out, PlannedStep{Phase: ph.Name, Stage: st.Name, Step: s.ID, Host: s.Host,
					Kind: p.Previews[Ref{ph.Name, s.ID, s.Host}].Kind, Text: s.Action.String()})
			}
		}
	}
	return out
}

// journalSuffix ends the names of records.
const journalSuffix = ".jsonl"

// errNoRun is a file that tells of no run: it was cut off in its first line,
// before anything was begun, or is something else.
var errNoRun = errors.New("no record of a run")

// ReadRun reads a record. What stands in its lines beyond the ones known is passed
// over: an older tool reads a newer one's record. The last line may be half written.
func ReadRun(r io.Reader) (*RunRecord, error) {
	run := &RunRecord{Result: RunNotEnded, Phases: []RunPhase{}, Did: []RunStep{}}
	in := bufio.NewReader(r)
	for first := true; ; first = false {
		line, err := in.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("journal: %w", err)
		}
		switch {
		case len(strings.TrimSpace(string(line))) == 0:
		case first:
			if json.Unmarshal(line, &run.RunInfo) != nil || run.ID == "" {
				return nil, errNoRun
			}
			run.begun()
		default:
			run.line(line)
		}
		if err != nil {
			break
		}
	}
	if run.ID == "" {
		return nil, errNoRun
	}
	return run, nil
}

// begun takes over what was planned: none of it is begun yet.
func (r *RunRecord) begun() {
	r.Last = r.Begin
	for _, s := range r.Plan {
		r.Did = append(r.Did, RunStep{PlannedStep: s, Result: StepNotBegun})
	}
}

func (r *RunRecord) line(line []byte) {
	var end RunEnd
	if json.Unmarshal(line, &end) == nil && !end.End.IsZero() {
		r.End, r.Last, r.Error, r.Result = end.End, end.End, end.Error, RunDone
		switch {
		case end.Stopped:
			r.Result = RunStopped
		case end.Error != "":
			r.Result = RunFailed
		}
		return
	}
	var ev Event
	if json.Unmarshal(line, &ev) != nil || ev.Type == "" {
		return
	}
	if !ev.Time.IsZero() {
		r.Last = ev.Time
	}
	r.event(ev)
}

func (r *RunRecord) event(ev Event) {
	switch ev.Type {
	case PhaseStart:
		r.Phases = append(r.Phases, RunPhase{Phase: ev.Phase, Begin: ev.Time})
	case PhaseDone, PhaseFailed:
		for i := len(r.Phases) - 1; i >= 0; i-- {
			if p := &r.Phases[i]; p.Phase == ev.Phase && !p.Ended {
				p.Seconds, p.Error, p.Ended = ev.Seconds, ev.Error, true
				return
			}
		}
	case StepStart:
		s := r.step(ev, StepNotBegun)
		s.Result, s.Begin = StepNotEnded, ev.Time
	case StepDone, StepSkipped, StepFailed:
		s := r.step(ev, StepNotEnded, StepNotBegun)
		s.Result = map[EventType]StepResult{StepDone: StepIsDone, StepSkipped: StepWasSo, StepFailed: StepHasFailed}[ev.Type]
		s.Seconds, s.Error = ev.Seconds, ev.Error
		if s.Begin.IsZero() {
			s.Begin = ev.Time
		}
	case UndoDone, UndoFailed, UndoStopped:
		s := r.step(ev, StepIsDone, StepHasFailed, StepNotEnded)
		s.Result = map[EventType]StepResult{UndoDone: StepUndone, UndoFailed: StepUndoFailed, UndoStopped: StepKept}[ev.Type]
		if ev.Error != "" {
			s.Error = ev.Error
		}
	}
}

// step finds the newest step that an event is about and that has one of these
// results, or makes it: the agent's rounds plan as they go.
func (r *RunRecord) step(ev Event, results ...StepResult) *RunStep {
	for i := len(r.Did) - 1; i >= 0; i-- {
		s := &r.Did[i]
		if s.Phase == ev.Phase && s.Step == ev.Step && s.Host == ev.Host && slices.Contains(results, s.Result) {
			return s
		}
	}
	r.Did = append(r.Did, RunStep{PlannedStep: PlannedStep{Phase: ev.Phase, Stage: ev.Stage, Step: ev.Step, Host: ev.Host, Text: ev.Text}})
	return &r.Did[len(r.Did)-1]
}

// RunIDs picks the names of records out of a directory's, newest first, and says
// their runs' ids.
func RunIDs(names []string) []string {
	var ids []string
	for _, n := range names {
		if id, ok := strings.CutSuffix(n, journalSuffix); ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids) // an id begins with the time
	slices.Reverse(ids)
	return ids
}

// RunPath is where the record of a run lies in a directory of records.
func RunPath(dir, id string) string { return filepath.Join(dir, id+journalSuffix) }

// OpenRun reads a record on this machine, and tells a run that is at work from one
// that was cut off: the first holds the lock of its record.
func OpenRun(path string) (*RunRecord, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	defer f.Close()
	run, err := ReadRun(f)
	if err != nil || run.Result != RunNotEnded {
		return run, err
	}
	run.Result = RunCutOff
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		run.Result = RunWorking
	} else if err != nil {
		run.Result = RunNotEnded
	}
	return run, nil
}
