package plan

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// finished is a step that was done, with what takes it back.
type finished struct {
	stage  int
	step   Step
	undo   Action
	failed bool // it may have done a part
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
