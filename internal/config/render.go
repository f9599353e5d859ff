package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// How values that are put into a file are written.

var (
	bareWord   = regexp.MustCompile(`^[A-Za-z0-9_/.~][A-Za-z0-9_/.~@+-]*$`)
	likeNumber = regexp.MustCompile(`^[-+.]?[0-9][0-9A-Fa-f_.xXoOeE+-]*$`)
	ipv4Text   = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+$`)
)

// renderScalar writes one value, in quotes where a reader could take it for
// something else.
func renderScalar(value any) string {
	switch v := value.(type) {
	case int:
		return strconv.Itoa(v)
	case bool:
		return strconv.FormatBool(v)
	case []string:
		words := make([]string, len(v))
		for i, w := range v {
			words[i] = renderScalar(w)
		}
		return "[" + strings.Join(words, ", ") + "]"
	case []Field:
		return "{" + renderFlowFields(v) + "}"
	}
	s := fmt.Sprint(value)
	switch {
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return strconv.Quote(s)
	case bareWord.MatchString(s) && !readAsOther(s):
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

// readAsOther reports whether a YAML reader takes the word for something
// other than a text.
func readAsOther(s string) bool {
	if ipv4Text.MatchString(s) {
		return false
	}
	switch strings.ToLower(s) {
	case "true", "false", "null", "~", ".inf", ".nan":
		return true
	}
	return yaml11Bool(s) || likeNumber.MatchString(s)
}

func renderFlowFields(fields []Field) string {
	parts := make([]string, len(fields))
	for i, f := range fields {
		parts[i] = f.Key + ": " + renderScalar(f.Value)
	}
	return strings.Join(parts, ", ")
}

// renderFields writes keys one a line. Maps within are written in { }.
func renderFields(fields []Field, indent int) []string {
	lines := make([]string, len(fields))
	for i, f := range fields {
		lines[i] = strings.Repeat(" ", indent) + f.Key + ": " + renderScalar(f.Value)
	}
	return lines
}

// renderItem writes a list entry: a dash at indent, the keys gap further. It
// follows the entry before it, like: all on one line if that is, and maps
// within it in the form they have there.
func renderItem(fields []Field, indent, gap int, like *node) []string {
	margin := strings.Repeat(" ", indent)
	dash := margin + "-" + strings.Repeat(" ", max(gap-1, 1))
	if like != nil && like.flow {
		return []string{dash + "{" + renderFlowFields(fields) + "}"}
	}
	var lines []string
	inner := indent + max(gap, 2)
	for _, f := range fields {
		sub, nested := f.Value.([]Field)
		if model := like.get(f.Key); nested && model != nil && model.kind == mapKind && !model.flow {
			step := 2
			if len(model.pairs) > 0 && like.index(f.Key) >= 0 {
				step = max(model.pairs[0].key.col-like.pairs[like.index(f.Key)].key.col, 1)
			}
			lines = append(lines, strings.Repeat(" ", inner)+f.Key+":")
			lines = append(lines, renderFields(sub, inner+step)...)
			continue
		}
		lines = append(lines, renderFields([]Field{f}, inner)...)
	}
	if len(lines) > 0 {
		lines[0] = dash + lines[0][inner:]
	}
	return lines
}

// valueNode is what a rendered value says when it is read back.
func valueNode(value any) *node {
	switch v := value.(type) {
	case int:
		return scalarNode(strconv.Itoa(v), "!!int")
	case bool:
		return scalarNode(strconv.FormatBool(v), "!!bool")
	case []string:
		out := &node{kind: listKind}
		for _, s := range v {
			out.items = append(out.items, scalarNode(s, "!!str"))
		}
		return out
	case []Field:
		out := &node{kind: mapKind}
		for _, f := range v {
			out.pairs = append(out.pairs, pair{key: scalarNode(f.Key, "!!str"), value: valueNode(f.Value)})
		}
		return out
	}
	return scalarNode(fmt.Sprint(value), "!!str")
}
