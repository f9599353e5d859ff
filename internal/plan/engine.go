package plan

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"multihead/internal/host"
)

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

// askLimit bounds the question whether a step is needed, which only looks.
const askLimit = 2 * time.Minute

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
	asking, cancel := context.WithTimeout(ctx, askLimit)
	done, err := s.Action.Done(asking, h)
	cancel()
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
