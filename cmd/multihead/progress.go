package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/term"

	"multihead/internal/plan"
)

// progress prints what an engine does while it does it: on a terminal a line
// for every step that ended and one line below that says what runs now; into a
// file, lines with their time. It is never silent for longer than quietFor.
type progress struct {
	w       io.Writer
	tty     bool
	verbose bool
	total   int

	mu      sync.Mutex
	begin   time.Time
	last    time.Time // of the last line
	done    int
	running []runningStep
	stop    chan struct{}
	stopped sync.WaitGroup
}

type runningStep struct {
	ref   plan.Ref
	text  string
	since time.Time
}

// quietFor is the longest silence people are left in.
const quietFor = 2 * time.Second

// newProgress begins printing for a run of total steps; Close ends it.
func newProgress(w io.Writer, total int, verbose bool) *progress {
	p := &progress{w: w, total: total, verbose: verbose, begin: time.Now(), last: time.Now(), stop: make(chan struct{})}
	if f, ok := w.(*os.File); ok && os.Getenv("TERM") != "dumb" {
		p.tty = term.IsTerminal(int(f.Fd()))
	}
	p.stopped.Add(1)
	go p.tick()
	return p
}

// Close ends the line that says what runs now.
func (p *progress) Close() {
	close(p.stop)
	p.stopped.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

func (p *progress) tick() {
	defer p.stopped.Done()
	every := quietFor
	if p.tty {
		every = 200 * time.Millisecond
	}
	t := time.NewTicker(every / 2)
	defer t.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-t.C:
			p.mu.Lock()
			if p.tty {
				p.status()
			} else if time.Since(p.last) >= quietFor && len(p.running) > 0 {
				r := p.running[0]
				p.line(fmt.Sprintf("still at it for %s: %s", clock(time.Since(r.since)), describeStep(r.ref, r.text)))
			}
			p.mu.Unlock()
		}
	}
}

// Event takes one event of the engine.
func (p *progress) Event(ev plan.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ref := plan.Ref{Phase: ev.Phase, ID: ev.Step, Host: ev.Host}
	switch ev.Type {
	case plan.StepStart, plan.UndoStart:
		p.running = append(p.running, runningStep{ref, ev.Text, ev.Time})
	case plan.StepState:
		for i := range p.running {
			if p.running[i].ref == ref {
				p.running[i].text = ev.Text
			}
		}
	case plan.StepDone, plan.StepFailed, plan.StepSkipped, plan.UndoDone, plan.UndoFailed:
		p.running = slices.DeleteFunc(p.running, func(r runningStep) bool { return r.ref == ref })
	}
	if text := p.say(ev, ref); text != "" {
		p.line(text)
	}
	if p.tty {
		p.status()
	}
}

// say is the line that an event leaves behind, empty for none.
func (p *progress) say(ev plan.Event, ref plan.Ref) string {
	took := ""
	if ev.Seconds >= 1 {
		took = fmt.Sprintf("  (%.1f s)", ev.Seconds)
	}
	switch ev.Type {
	case plan.StepStart:
		if p.verbose {
			return "begin " + describeStep(ref, ev.Text)
		}
	case plan.StepDone:
		p.done++
		return fmt.Sprintf("[%*d/%d] %s%s", digits(p.total), p.done, p.total, describeStep(ref, ev.Text), took)
	case plan.StepSkipped:
		p.done++
		if p.verbose {
			return fmt.Sprintf("[%*d/%d] %s: is so already", digits(p.total), p.done, p.total, describeStep(ref, ev.Text))
		}
	case plan.StepFailed:
		return fmt.Sprintf("FAILED %s: %s", ev.Phase, ev.Error)
	case plan.UndoDone:
		return fmt.Sprintf("undone %s%s", describeStep(ref, ev.Text), took)
	case plan.UndoFailed:
		return fmt.Sprintf("NOT UNDONE %s: %s", describeStep(ref, ev.Text), ev.Error)
	case plan.UndoStopped:
		return fmt.Sprintf("NOT UNDONE %s %s on %s and what came before it: %s", ev.Phase, ev.Step, ev.Host, ev.Text)
	case plan.PhaseDone:
		return fmt.Sprintf("%s is complete%s", ev.Phase, took)
	}
	return ""
}

func describeStep(ref plan.Ref, text string) string {
	return fmt.Sprintf("%s %s: %s", ref.Phase, ref.Host, text)
}

func digits(n int) int { return len(fmt.Sprint(n)) }

// line prints one line that stays.
func (p *progress) line(text string) {
	p.clear()
	p.last = time.Now()
	if p.tty {
		fmt.Fprintln(p.w, text)
		return
	}
	fmt.Fprintf(p.w, "%s %s\n", time.Now().Format("15:04:05.000"), text)
}

// status rewrites the line that says what runs now.
func (p *progress) status() {
	if len(p.running) == 0 {
		return
	}
	r := p.running[0]
	text := fmt.Sprintf("%s  %s", clock(time.Since(p.begin)), describeStep(r.ref, r.text))
	if n := len(p.running) - 1; n > 0 {
		text += fmt.Sprintf("  (and %d more)", n)
	}
	width := 80
	if f, ok := p.w.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			width = w
		}
	}
	p.clear()
	fmt.Fprint(p.w, truncate(text, width-1))
}

// clear wipes the line that says what runs now.
func (p *progress) clear() {
	if p.tty {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// clock is a duration as mm:ss.
func clock(d time.Duration) string {
	s := int(d.Seconds())
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}

// Running lists the steps that run now.
func (p *progress) Running() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, r := range p.running {
		out = append(out, describeStep(r.ref, r.text))
	}
	return out
}
