package plan

import (
	"fmt"
	"io"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"multihead/internal/hostlist"
)

// Paint colours one piece of a plan's text by its kind; a Paint that returns
// its text unchanged makes plain text.
type Paint func(kind Kind, text string) string

// Plain paints nothing.
func Plain(_ Kind, text string) string { return text }

// WriteText prints the proposal for a person: what happens to what, identical
// steps of several hosts on one line.
func (p Proposal) WriteText(w io.Writer, paint Paint) {
	for _, ph := range p.Plan.Phases {
		if steps(ph) == 0 {
			continue
		}
		fmt.Fprintf(w, "%s\n", ph.Name)
		for _, note := range ph.Notes {
			fmt.Fprintf(w, "    note: %s\n", note)
		}
		for _, st := range ph.Stages {
			for _, l := range p.fold(ph.Name, st) {
				fmt.Fprintf(w, "  %s %s  %s\n", paint(l.kind, string(l.kind)), l.text, paint("", "on "+hostlist.Compress(l.hosts)))
				if l.oneWay != "" {
					fmt.Fprintf(w, "      cannot be taken back: %s\n", l.oneWay)
				}
				if l.effect != "" {
					fmt.Fprintf(w, "      effect: %s\n", l.effect)
				}
			}
		}
	}
	fmt.Fprintf(w, "\n%s\n", p.Summary())
}

// Summary is the last line of a plan.
func (p Proposal) Summary() string {
	c := p.Counts()
	s := fmt.Sprintf("Plan: %d to add, %d to change, %d to destroy; %d restarts", c.Add, c.Change, c.Destroy, c.Restart)
	if c.Run > 0 {
		s += fmt.Sprintf("; %d to run", c.Run)
	}
	return s + "."
}

// line is one or more identical steps.
type line struct {
	kind                 Kind
	text, oneWay, effect string
	hosts                []string
}

// fold puts steps that differ only in their host on one line, in the order in
// which they first appear.
func (p Proposal) fold(phase string, st Stage) []line {
	var out []line
	at := map[line2]int{}
	for _, s := range st.Steps {
		pv := p.Previews[Ref{phase, s.ID, s.Host}]
		key := line2{pv.Kind, s.Action.String(), s.OneWay, s.Effect}
		i, ok := at[key]
		if !ok {
			i = len(out)
			at[key] = i
			out = append(out, line{kind: key.kind, text: key.text, oneWay: key.oneWay, effect: key.effect})
		}
		out[i].hosts = append(out[i].hosts, s.Host)
	}
	return out
}

// line2 is what makes two steps identical.
type line2 struct {
	kind                 Kind
	text, oneWay, effect string
}

// WriteDiff prints the changes of files, unified, without the secret ones.
func (p Proposal) WriteDiff(w io.Writer) {
	for phase, s := range p.Plan.Steps {
		pv := p.Previews[Ref{phase, s.ID, s.Host}]
		if pv.Before == pv.After {
			continue
		}
		name := strings.TrimPrefix(s.Action.String(), "write ")
		fmt.Fprint(w, udiff.Unified(s.Host+":"+name, s.Host+":"+name, pv.Before, pv.After))
	}
}

// JSON is a proposal for machines: version 1.
type JSON struct {
	Version int         `json:"version"`
	Changes bool        `json:"changes"`
	Counts  Counts      `json:"counts"`
	Phases  []JSONPhase `json:"phases"`
}

// JSONPhase is one phase of a JSON plan.
type JSONPhase struct {
	Name  string     `json:"name"`
	After []string   `json:"after,omitempty"`
	Notes []string   `json:"notes,omitempty"`
	Steps []JSONStep `json:"steps"`
}

// JSONStep is one step of a JSON plan.
type JSONStep struct {
	ID     string `json:"id"`
	Host   string `json:"host"`
	Stage  string `json:"stage"`
	Kind   string `json:"kind"`
	Text   string `json:"text"`
	OneWay string `json:"one_way,omitempty"`
	Effect string `json:"effect,omitempty"`
}

// kindNames are the kinds' names for machines.
var kindNames = map[Kind]string{Add: "add", Change: "change", Destroy: "destroy", Restart: "restart", Run: "run", Wait: "wait"}

// JSON returns the proposal for machines. It is the same for the same plan.
func (p Proposal) JSON() JSON {
	out := JSON{Version: 1, Changes: !p.Empty(), Counts: p.Counts(), Phases: []JSONPhase{}}
	for _, ph := range p.Plan.Phases {
		if steps(ph) == 0 {
			continue
		}
		jp := JSONPhase{Name: ph.Name, After: ph.After, Notes: ph.Notes, Steps: []JSONStep{}}
		for _, st := range ph.Stages {
			for _, s := range st.Steps {
				kind := p.Previews[Ref{ph.Name, s.ID, s.Host}].Kind
				jp.Steps = append(jp.Steps, JSONStep{s.ID, s.Host, st.Name, kindNames[kind], s.Action.String(), s.OneWay, s.Effect})
			}
		}
		out.Phases = append(out.Phases, jp)
	}
	return out
}
