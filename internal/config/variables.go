package config

import (
	"regexp"
	"strings"
)

// variables resolves ${NAME}: from the process environment first, then from
// the file's own environment section.
type variables struct {
	lookup  func(string) (string, bool)
	section *node // environment:, or nil
}

// varProblem says why a text cannot be resolved.
type varProblem struct{ what, fix Message }

var varName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expansion is a text with its variables resolved.
type expansion struct {
	text   string
	vars   bool // there were variables in it
	inFile bool // the text, or a part of it, stands in the file itself
}

// expand resolves every ${NAME} in s. $${ stands for ${ itself.
func (v *variables) expand(s string) (expansion, *varProblem) {
	return v.expandFor(s, nil)
}

// expandFor carries the names being resolved, so that values that refer to
// each other in a circle are found.
func (v *variables) expandFor(s string, within []string) (expansion, *varProblem) {
	var b strings.Builder
	out := expansion{inFile: !strings.Contains(s, "${")}
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			b.WriteString(s)
			out.text = b.String()
			return out, nil
		}
		if i > 0 && s[i-1] == '$' {
			b.WriteString(s[:i-1])
			b.WriteString("${")
			s = s[i+2:]
			continue
		}
		b.WriteString(s[:i])
		name, rest, ok := strings.Cut(s[i+2:], "}")
		if !ok {
			return expansion{vars: true}, &varProblem{msg("${ is not closed"), msg("write ${NAME}, or $${ for the characters ${ themselves")}
		}
		value, inFile, problem := v.value(name, within)
		if problem != nil {
			return expansion{vars: true}, problem
		}
		out.vars, out.inFile = true, out.inFile || inFile
		b.WriteString(value)
		s = rest
	}
}

func (v *variables) value(name string, within []string) (value string, inFile bool, problem *varProblem) {
	if !varName.MatchString(name) {
		return "", false, &varProblem{msg("${%s} is not a variable", name), msg("write ${NAME} with letters, digits and _ only; there are no default values inside it")}
	}
	if value, ok := v.lookup(name); ok {
		return value, false, nil
	}
	n := v.section.get(name)
	if n == nil || n.kind != scalarKind {
		return "", false, &varProblem{
			msg("the variable %s is not set", name),
			msg("export %s before running multihead, or add %s to the environment section of this file", name, name),
		}
	}
	for _, w := range within {
		if w == name {
			return "", false, &varProblem{msg("the variable %s refers to itself", name), msg("give it a value in the environment section")}
		}
	}
	out, problem := v.expandFor(n.text, append(within, name))
	return out.text, out.inFile, problem
}
