package plan

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"multihead/internal/host"
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

// ErrStopped is returned where Stop was called: the steps that ran were
// finished, no other was begun and nothing was undone. Running again carries on.
var ErrStopped = errors.New("stopped between steps, as asked; run again to carry on")

// Engine applies proposals.
type Engine struct {
	hosts  map[string]host.Host
	events func(Event)
	stop   chan struct{}
	once   sync.Once
	mu     sync.Mutex // one event at a time

	taken     sync.Mutex // guards exclusive
	exclusive map[string]*sync.Mutex
}

// Exclusive is an Action that needs something of its host for itself, by that
// thing's name: a package manager does one thing at a time, whichever phase
// asks for it.
type Exclusive interface{ Exclusive() string }

// do runs an action, alone where it has to be.
func (e *Engine) do(ctx context.Context, a Action, h host.Host) (Action, error) {
	if x, ok := a.(Exclusive); ok {
		m := e.mutex(h.Name() + " " + x.Exclusive())
		m.Lock()
		defer m.Unlock()
	}
	return a.Do(ctx, h)
}

func (e *Engine) mutex(name string) *sync.Mutex {
	e.taken.Lock()
	defer e.taken.Unlock()
	if e.exclusive[name] == nil {
		e.exclusive[name] = &sync.Mutex{}
	}
	return e.exclusive[name]
}

// NewEngine makes an engine that changes these hosts and tells events what it
// does; events is called from one goroutine at a time.
func NewEngine(hosts map[string]host.Host, events func(Event)) *Engine {
	return &Engine{hosts: hosts, events: events, stop: make(chan struct{}), exclusive: map[string]*sync.Mutex{}}
}

// Stop lets the steps that run finish and begins no other.
func (e *Engine) Stop() { e.once.Do(func() { close(e.stop) }) }

func (e *Engine) stopped() bool {
	select {
	case <-e.stop:
		return true
	default:
		return false
	}
}

func (e *Engine) tell(ev Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	ev.Time = time.Now()
	e.events(ev)
}

// PhaseResult is how one phase ended.
type PhaseResult struct {
	Phase  string
	Err    error    // nil where it is complete
	NotRun bool     // a phase it comes after had failed, or the run was stopped
	Undone []string // what was taken back
	Kept   []string // what could not be: one-way steps, with the reason, and failed undos
}

// Apply carries the proposal out. Phases run beside each other as their order
// allows; a phase that fails is rolled back and those after it do not begin,
// while independent ones go on. The error joins those of all phases.
func (e *Engine) Apply(ctx context.Context, p Proposal) ([]PhaseResult, error) {
	results := make([]PhaseResult, len(p.Plan.Phases))
	done := map[string]chan struct{}{}
	index := map[string]int{}
	for i, ph := range p.Plan.Phases {
		done[ph.Name] = make(chan struct{})
		index[ph.Name] = i
	}
	var wg sync.WaitGroup
	for i, ph := range p.Plan.Phases {
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer close(done[ph.Name])
			results[i] = PhaseResult{Phase: ph.Name}
			for _, name := range ph.After {
				ch, ok := done[name]
				if !ok {
					continue // not part of this plan: it is complete already
				}
				<-ch
				if before := results[index[name]]; before.Err != nil || before.NotRun {
					results[i].NotRun = true
					return
				}
			}
			if e.stopped() && steps(ph) > 0 {
				results[i].NotRun, results[i].Err = true, ErrStopped
				return
			}
			results[i] = e.phase(ctx, ph)
		}()
	}
	wg.Wait()
	var errs []error
	for _, r := range results {
		if r.Err != nil && !(r.NotRun && errors.Is(r.Err, ErrStopped)) {
			errs = append(errs, fmt.Errorf("%s: %w", r.Phase, r.Err))
		} else if r.Err != nil {
			errs = append(errs, r.Err)
		}
	}
	return results, errors.Join(dedupe(errs)...)
}

func steps(ph Phase) int {
	n := 0
	for _, st := range ph.Stages {
		n += len(st.Steps)
	}
	return n
}

// dedupe leaves ErrStopped in once, however many phases it kept from running.
func dedupe(errs []error) []error {
	var out []error
	stopped := false
	for _, err := range errs {
		if errors.Is(err, ErrStopped) {
			if stopped {
				continue
			}
			stopped = true
		}
		out = append(out, err)
	}
	return out
}

// finished is a step that was done, with what takes it back.
type finished struct {
	stage  int
	step   Step
	undo   Action
	failed bool // it may have done a part
}

func (e *Engine) phase(ctx context.Context, ph Phase) PhaseResult {
	res := PhaseResult{Phase: ph.Name}
	if steps(ph) == 0 {
		return res
	}
	begin := time.Now()
	e.tell(Event{Type: PhaseStart, Phase: ph.Name})
	var history []finished
	for i, st := range ph.Stages {
		did, err := e.stage(ctx, ph.Name, i, st)
		history = append(history, did...)
		if err == nil && e.stopped() && i < len(ph.Stages)-1 {
			err = ErrStopped
		}
		if err == nil {
			continue
		}
		res.Err = err
		if !errors.Is(err, ErrStopped) {
			e.rollback(ctx, ph.Name, history, &res)
		}
		e.tell(Event{Type: PhaseFailed, Phase: ph.Name, Error: err.Error(), Seconds: time.Since(begin).Seconds()})
		return res
	}
	e.tell(Event{Type: PhaseDone, Phase: ph.Name, Seconds: time.Since(begin).Seconds()})
	return res
}

// stage runs the steps of every host beside the others', and those of one host
// in order. When one fails, the other hosts finish the step they are at and
// begin no other.
func (e *Engine) stage(ctx context.Context, phase string, i int, st Stage) ([]finished, error) {
	byHost := map[string][]Step{}
	var order []string
	for _, s := range st.Steps {
		if byHost[s.Host] == nil {
			order = append(order, s.Host)
		}
		byHost[s.Host] = append(byHost[s.Host], s)
	}
	var mu sync.Mutex
	var history []finished
	var errs []error
	failed := make(chan struct{})
	var once sync.Once
	var wg sync.WaitGroup
	for _, name := range order {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for _, s := range byHost[name] {
				select {
				case <-failed:
					return
				case <-e.stop:
					mu.Lock()
					errs = append(errs, ErrStopped)
					mu.Unlock()
					return
				default:
				}
				undo, ran, err := e.step(ctx, phase, st.Name, s)
				mu.Lock()
				if ran || err == nil && s.Final.Why != "" {
					history = append(history, finished{i, s, undo, err != nil})
				}
				if err != nil {
					errs = append(errs, err)
					once.Do(func() { close(failed) })
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		}()
	}
	wg.Wait()
	return history, firstRealError(errs)
}

// firstRealError joins what failed; a failure outranks a stop, for it has to
// be rolled back.
func firstRealError(errs []error) error {
	var real []error
	for _, err := range errs {
		if !errors.Is(err, ErrStopped) {
			real = append(real, err)
		}
	}
	if len(real) > 0 {
		return errors.Join(real...)
	}
	return errors.Join(dedupe(errs)...)
}

// step does one step, unless it has become so meanwhile.
func (e *Engine) step(ctx context.Context, phase, stage string, s Step) (undo Action, ran bool, err error) {
	ev := Event{Phase: phase, Stage: stage, Step: s.ID, Host: s.Host, Text: s.Action.String()}
	h := e.hosts[s.Host]
	if h == nil {
		return nil, false, fmt.Errorf("%s: no connection to %s", s.Action, s.Host)
	}
	begin := time.Now()
	tell := func(t EventType, err error) {
		ev := ev
		ev.Type, ev.Seconds = t, time.Since(begin).Seconds()
		if err != nil {
			ev.Error = err.Error()
		}
		e.tell(ev)
	}
	done, err := s.Action.Done(ctx, h)
	if err != nil {
		err = fmt.Errorf("%s on %s: cannot tell whether it is needed: %w", s.Action, s.Host, err)
		tell(StepFailed, err)
		return nil, false, err
	}
	if done {
		tell(StepSkipped, nil)
		return nil, false, nil
	}
	tell(StepStart, nil)
	undo, err = e.do(withTell(ctx, func(state string) {
		ev := ev
		ev.Type, ev.Text = StepState, ev.Text+": "+state
		e.tell(ev)
	}), s.Action, h)
	if err != nil {
		err = fmt.Errorf("%s on %s: %w", s.Action, s.Host, err)
		tell(StepFailed, err)
		return undo, true, err // it may have done a part
	}
	tell(StepDone, nil)
	return undo, true, nil
}

// rollback undoes what a phase did, the last first, stage by stage, until it
// meets a step that cannot be taken back: what lies before that one stays,
// because it was done for its sake. Daemons that were restarted come last, once
// the files they read are what they were.
func (e *Engine) rollback(ctx context.Context, phase string, history []finished, res *PhaseResult) {
	ctx = context.WithoutCancel(ctx)
	history = e.keepFinal(phase, history, res)
	var late []finished
	for i, f := range history {
		if r, ok := f.undo.(Late); ok {
			late = append(late, finished{stage: f.stage, step: f.step, undo: r})
			history[i].undo = nil
		}
	}
	e.undoAll(ctx, phase, history, res)
	// One stage after the other here as well: a cluster whose members were
	// restarted in turn would not survive their restarting together. One that
	// does not come back is reason enough to leave the others running.
	kept := len(res.Kept)
	for end := len(late); end > 0 && len(res.Kept) == kept; {
		begin := stageBegin(late, end)
		e.undoStage(ctx, phase, late[begin:end], res)
		if end = begin; end > 0 && len(res.Kept) > kept {
			for _, f := range late[:end] {
				res.Kept = append(res.Kept, fmt.Sprintf("%s on %s was not done, for the restart before it failed", f.undo, f.step.Host))
			}
		}
	}
}

// keepFinal takes out of the history what stays because of a step that is final
// and succeeded, and says so.
func (e *Engine) keepFinal(phase string, history []finished, res *PhaseResult) []finished {
	pins := map[string]int{} // host → last stage that stays
	for _, f := range history {
		if f.step.Final.Why == "" || f.failed {
			continue
		}
		hosts := f.step.Final.Hosts
		if len(hosts) == 0 {
			hosts = []string{f.step.Host}
		}
		for _, h := range hosts {
			if last, ok := pins[h]; !ok || f.stage > last {
				pins[h] = f.stage
			}
		}
		e.tell(Event{Type: UndoStopped, Phase: phase, Step: f.step.ID, Host: f.step.Host, Text: f.step.Final.Why})
		res.Kept = append(res.Kept, fmt.Sprintf("%s on %s: %s", f.step.Action, f.step.Host, f.step.Final.Why))
	}
	if len(pins) == 0 {
		return history
	}
	var out []finished
	for _, f := range history {
		if last, ok := pins[f.step.Host]; !ok || f.stage > last {
			out = append(out, f)
		}
	}
	return out
}

func (e *Engine) undoAll(ctx context.Context, phase string, history []finished, res *PhaseResult) {
	for end := len(history); end > 0; {
		begin := stageBegin(history, end)
		if !e.undoStage(ctx, phase, history[begin:end], res) {
			return
		}
		end = begin
	}
}

// stageBegin is where the stage begins whose last step is before end.
func stageBegin(history []finished, end int) int {
	begin := end - 1
	for begin > 0 && history[begin-1].stage == history[end-1].stage {
		begin--
	}
	return begin
}

// undoStage undoes one stage's steps, hosts beside each other. It returns
// false where a one-way step ends the rollback.
func (e *Engine) undoStage(ctx context.Context, phase string, did []finished, res *PhaseResult) bool {
	byHost := map[string][]finished{}
	for _, f := range did {
		byHost[f.step.Host] = append(byHost[f.step.Host], f)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	goOn := true
	for name, list := range byHost {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := len(list) - 1; i >= 0; i-- {
				f := list[i]
				ev := Event{Phase: phase, Step: f.step.ID, Host: name}
				if f.step.OneWay != "" {
					ev.Type, ev.Text = UndoStopped, f.step.OneWay
					e.tell(ev)
					mu.Lock()
					res.Kept = append(res.Kept, fmt.Sprintf("%s on %s: %s", f.step.Action, name, f.step.OneWay))
					goOn = false
					mu.Unlock()
					return
				}
				if f.undo == nil {
					continue
				}
				e.undo(ctx, ev, f, res, &mu)
			}
		}()
	}
	wg.Wait()
	return goOn
}

func (e *Engine) undo(ctx context.Context, ev Event, f finished, res *PhaseResult, mu *sync.Mutex) {
	begin := time.Now()
	ev.Type, ev.Text = UndoStart, f.undo.String()
	e.tell(ev)
	_, err := e.do(ctx, f.undo, e.hosts[f.step.Host])
	ev.Type, ev.Seconds = UndoDone, time.Since(begin).Seconds()
	mu.Lock()
	if err != nil {
		ev.Type, ev.Error = UndoFailed, err.Error()
		res.Kept = append(res.Kept, fmt.Sprintf("%s on %s could not be undone: %v", f.step.Action, f.step.Host, err))
	} else {
		res.Undone = append(res.Undone, fmt.Sprintf("%s on %s", f.undo, f.step.Host))
	}
	mu.Unlock()
	e.tell(ev)
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
