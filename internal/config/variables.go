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

// expand resolves every ${NAME} in s. $${ stands for ${ itself.
func (v *variables) expand(s string) (out string, any bool, problem *varProblem) {
	return v.expandFor(s, nil)
}

// expandFor carries the names being resolved, so that values that refer to
// each other in a circle are found.
func (v *variables) expandFor(s string, within []string) (out string, any bool, problem *varProblem) {
	var b strings.Builder
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			b.WriteString(s)
			return b.String(), any, nil
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
			return "", true, &varProblem{msg("${ is not closed"), msg("write ${NAME}, or $${ for the characters ${ themselves")}
		}
		value, problem := v.value(name, within)
		if problem != nil {
			return "", true, problem
		}
		any = true
		b.WriteString(value)
		s = rest
	}
}

func (v *variables) value(name string, within []string) (string, *varProblem) {
	if !varName.MatchString(name) {
		return "", &varProblem{msg("${%s} is not a variable", name), msg("write ${NAME} with letters, digits and _ only; there are no default values inside it")}
	}
	if value, ok := v.lookup(name); ok {
		return value, nil
	}
	n := v.section.get(name)
	if n == nil || n.kind != scalarKind {
		return "", &varProblem{
			msg("the variable %s is not set", name),
			msg("export %s before running multihead, or add %s to the environment section of this file", name, name),
		}
	}
	for _, w := range within {
		if w == name {
			return "", &varProblem{msg("the variable %s refers to itself", name), msg("give it a value in the environment section")}
		}
	}
	value, _, problem := v.expandFor(n.text, append(within, name))
	return value, problem
}
