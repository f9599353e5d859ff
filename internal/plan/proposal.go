package plan

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"multihead/internal/host"
)

// Ref names one step of a plan.
type Ref struct{ Phase, ID, Host string }

// Proposal is the part of a plan that is still to be done: what a person is
// shown, and what is applied when they say yes.
type Proposal struct {
	Plan     Plan
	Previews map[Ref]Preview
}

// Empty says whether nothing is to be done.
func (p Proposal) Empty() bool { return p.Plan.Empty() }

// Counts is the sum of a proposal, by what happens to resources.
type Counts struct {
	Add     int `json:"add"`
	Change  int `json:"change"`
	Destroy int `json:"destroy"`
	Restart int `json:"restart"`
	Run     int `json:"run"`
	Wait    int `json:"wait"`
}

// Counts adds up the proposal.
func (p Proposal) Counts() Counts {
	var c Counts
	for _, v := range p.Previews {
		switch v.Kind {
		case Add:
			c.Add++
		case Change:
			c.Change++
		case Destroy:
			c.Destroy++
		case Restart:
			c.Restart++
		case Wait:
			c.Wait++
		default:
			c.Run++
		}
	}
	return c
}

// looksAtOnce bounds the questions asked of one host at the same time: sshd
// and the daemons behind it serve people as well.
const looksAtOnce = 8

// verdict is what was found out about one step.
type verdict struct {
	done    bool
	preview Preview
	err     error
}

// Propose asks every host which steps of the plan are needed, all hosts at
// once, and returns those. It only looks.
//
// A step that cannot say whether it is done counts as needed where an earlier
// step is to change things first (its daemon may not be installed yet), and is
// an error where nothing is: unknown is not no.
func Propose(ctx context.Context, p Plan, readers map[string]host.Reader) (Proposal, error) {
	verdicts, err := judge(ctx, p, readers)
	if err != nil {
		return Proposal{}, err
	}
	out := Proposal{Previews: map[Ref]Preview{}}
	touched := map[string]map[string]bool{} // host → paths that a needed step writes
	changing := map[string]bool{}           // phases in which something changes
	var errs []error
	for _, ph := range p.Phases {
		kept := Phase{Name: ph.Name, After: ph.After, Notes: ph.Notes}
		anything := afterAny(ph, changing)
		for _, st := range ph.Stages {
			keptStage := Stage{Name: st.Name}
			for _, s := range st.Steps {
				ref := Ref{ph.Name, s.ID, s.Host}
				v := verdicts[ref]
				if v.err != nil {
					if !anything {
						errs = append(errs, fmt.Errorf("%s on %s: %w", s.Action, s.Host, v.err))
						continue
					}
					v.done = false
				}
				if v.done && !rereads(s, v.preview.Kind, touched[s.Host]) {
					continue
				}
				touch(touched, s)
				anything = anything || v.preview.Kind != Wait
				keptStage.Steps = append(keptStage.Steps, s)
				out.Previews[ref] = v.preview
			}
			kept.Stages = append(kept.Stages, keptStage)
		}
		changing[ph.Name] = anything
		out.Plan.Phases = append(out.Plan.Phases, kept)
	}
	out.addAwaits(p)
	return out, errors.Join(errs...)
}

// judge asks every step of every host, the hosts independently of each other.
func judge(ctx context.Context, p Plan, readers map[string]host.Reader) (map[Ref]verdict, error) {
	type asked struct {
		ref  Ref
		step Step
	}
	byHost := map[string][]asked{}
	verdicts := map[Ref]verdict{}
	for phase, s := range p.Steps {
		ref := Ref{phase, s.ID, s.Host}
		if _, twice := verdicts[ref]; twice {
			return nil, fmt.Errorf("plan has step %s twice on %s", s.ID, s.Host)
		}
		if readers[s.Host] == nil {
			return nil, fmt.Errorf("plan has a step for %s, which was not reached", s.Host)
		}
		verdicts[ref] = verdict{}
		byHost[s.Host] = append(byHost[s.Host], asked{ref, s})
	}
	var mu sync.Mutex
	var hosts errgroup.Group
	for name, list := range byHost {
		hosts.Go(func() error {
			var looks errgroup.Group
			looks.SetLimit(looksAtOnce)
			for _, a := range list {
				looks.Go(func() error {
					v := look(ctx, a.step, readers[name])
					mu.Lock()
					defer mu.Unlock()
					verdicts[a.ref] = v
					return nil
				})
			}
			return looks.Wait()
		})
	}
	_ = hosts.Wait() // looks return their errors in their verdicts
	return verdicts, ctx.Err()
}

func look(ctx context.Context, s Step, r host.Reader) verdict {
	done, err := s.Action.Done(ctx, r)
	v := verdict{done: done, err: err, preview: Preview{Kind: Run}}
	if done && err == nil {
		if w, ok := s.Action.(Watcher); !ok || len(w.Watches()) == 0 {
			return v
		}
	}
	if pv, ok := s.Action.(Previewer); ok {
		if preview, err := pv.Preview(ctx, r); err == nil {
			v.preview = preview
		}
	}
	return v
}

func afterAny(ph Phase, changing map[string]bool) bool {
	for _, name := range ph.After {
		if changing[name] {
			return true
		}
	}
	return false
}

// rereads says whether a step that seems done is not, because of what earlier
// steps touch. A unit that runs already is not the package's to start.
func rereads(s Step, kind Kind, touched map[string]bool) bool {
	w, ok := s.Action.(Watcher)
	if !ok {
		return false
	}
	for _, p := range w.Watches() {
		if touched[p] && !(p == dpkgStatus && kind == Restart) {
			return true
		}
	}
	return false
}

func touch(touched map[string]map[string]bool, s Step) {
	t, ok := s.Action.(Toucher)
	if !ok {
		return
	}
	if touched[s.Host] == nil {
		touched[s.Host] = map[string]bool{}
	}
	for _, p := range t.Touches() {
		touched[s.Host][p] = true
	}
}

// addAwaits brings back, in every phase that changes something, the waiting
// steps that hold now: a change may break what held, and the phase is complete
// only when it holds again.
func (p *Proposal) addAwaits(full Plan) {
	for i, ph := range full.Phases {
		kept := &p.Plan.Phases[i]
		changes := false
		for _, st := range kept.Stages {
			for _, s := range st.Steps {
				changes = changes || p.Previews[Ref{ph.Name, s.ID, s.Host}].Kind != Wait
			}
		}
		if !changes {
			continue
		}
		for j, st := range ph.Stages {
			var steps []Step
			for _, s := range st.Steps {
				ref := Ref{ph.Name, s.ID, s.Host}
				_, needed := p.Previews[ref]
				if _, waits := s.Action.(Await); waits && !needed {
					p.Previews[ref] = Preview{Kind: Wait}
					needed = true
				}
				if needed {
					steps = append(steps, s)
				}
			}
			kept.Stages[j].Steps = steps
		}
	}
}
