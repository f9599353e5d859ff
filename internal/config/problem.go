package config

import (
	"fmt"
	"sort"
	"strings"
)

// Severity separates what cannot be deployed safely from what can, with a
// consequence worth knowing.
type Severity int

const (
	// Error is a problem that keeps the file from loading.
	Error Severity = iota
	// Warning is a problem the cluster can live with; it says what will happen.
	Warning
)

func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// Message is a text with its arguments still apart, so that a catalogue of
// another language can be keyed by Format.
type Message struct {
	Format string
	Args   []any
}

func (m Message) String() string {
	if len(m.Args) == 0 {
		return m.Format
	}
	return fmt.Sprintf(m.Format, m.Args...)
}

func msg(format string, args ...any) Message { return Message{format, args} }

// Position is a place in a file. Line and Col count from 1, Col in
// characters; both are 0 when the place is not known.
type Position struct {
	File string
	Line int
	Col  int
}

func (p Position) String() string {
	file := p.File
	if file == "" {
		file = "-"
	}
	if p.Line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d:%d", file, p.Line, p.Col)
}

// Problem is one thing that is wrong with a file: where, what, and what to
// write instead.
type Problem struct {
	Severity Severity
	Pos      Position
	Path     string  // nodes.controllers[2].priority; empty for the file as a whole
	What     Message // what is wrong, or what will happen
	Fix      Message // what to write instead
}

// String is file:line:col: path: what is wrong; what to write instead.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Pos.String())
	b.WriteString(": ")
	if p.Severity == Warning {
		b.WriteString("warning: ")
	}
	if p.Path != "" {
		b.WriteString(p.Path)
		b.WriteString(": ")
	}
	b.WriteString(p.What.String())
	if fix := p.Fix.String(); fix != "" {
		b.WriteString("; ")
		b.WriteString(fix)
	}
	return b.String()
}

// Problems is everything that is wrong with a file, in the file's order.
type Problems []Problem

// String has one problem a line.
func (ps Problems) String() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Errors returns the problems that keep the file from loading.
func (ps Problems) Errors() Problems { return ps.only(Error) }

// Warnings returns the problems the cluster can live with.
func (ps Problems) Warnings() Problems { return ps.only(Warning) }

func (ps Problems) only(s Severity) Problems {
	var out Problems
	for _, p := range ps {
		if p.Severity == s {
			out = append(out, p)
		}
	}
	return out
}

func (ps Problems) sort() {
	sort.SliceStable(ps, func(i, j int) bool {
		a, b := ps[i].Pos, ps[j].Pos
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Col < b.Col
	})
}

// InvalidError is what Load returns for a file that does not load: all its
// problems at once, warnings included.
type InvalidError struct{ Problems Problems }

func (e *InvalidError) Error() string { return e.Problems.Errors().String() }
