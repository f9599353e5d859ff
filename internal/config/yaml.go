package config

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// This file is the only one that knows the YAML library. It turns text into
// nodes with positions, resolves anchors and merges, and finds what YAML lets
// pass and nobody means: a key given twice, a second document.

type kind int

const (
	nullKind kind = iota
	scalarKind
	mapKind
	listKind
)

// node is one value of the file.
type node struct {
	kind   kind
	line   int
	col    int
	text   string // of a scalar, as it is meant: without quotes
	quoted bool   // a scalar in quotes or a block scalar: certainly a text
	tag    string // the type YAML gives a scalar: !!int, !!bool, …
	flow   bool   // a map or list in {} or []
	shared bool   // it stands elsewhere in the file, behind an anchor
	pairs  []pair
	items  []*node
}

type pair struct {
	key    *node
	value  *node
	merged bool // it came in by <<
}

// get returns the value of key, or nil.
func (n *node) get(key string) *node {
	if n == nil || n.kind != mapKind {
		return nil
	}
	for _, p := range n.pairs {
		if p.key.text == key {
			return p.value
		}
	}
	return nil
}

// maxNodes bounds a file after its anchors are unfolded. 10 heads and 20 000
// compute nodes stay below it; a chain of anchors that multiply does not.
const maxNodes = 2_000_000

// maxDepth bounds nesting; the format needs 8.
const maxDepth = 64

type parser struct {
	report func(line, col int, path string, what, fix Message)
	nodes  int
	full   bool
}

// parseYAML returns the root, nil for an empty file. What it cannot read it
// reports.
func parseYAML(data []byte, report func(line, col int, path string, what, fix Message)) *node {
	p := &parser{report: report}
	if !p.checkBytes(data) {
		return nil
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithUniqueKeys(false))
	if err != nil {
		p.report(0, 0, "", msg("%v", err), Message{})
		return nil
	}
	var doc yaml.Node
	if err := loader.Load(&doc); err != nil {
		if !errors.Is(err, io.EOF) {
			p.syntaxError(data, err)
		}
		return nil
	}
	var next yaml.Node
	switch err := loader.Load(&next); {
	case err == nil:
		p.report(next.Line, next.Column, "", msg("a second document starts here"), msg("keep one document in the file and remove the line ---"))
	case !errors.Is(err, io.EOF):
		p.syntaxError(data, err)
		return nil
	}
	root := &doc
	if doc.Kind == yaml.DocumentNode && len(doc.Content) > 0 {
		root = doc.Content[0]
	}
	tree := p.convert(root, "", 0)
	if p.full {
		return nil
	}
	return tree
}

// checkBytes finds what no YAML reader explains well: other encodings,
// invisible characters, tabs.
func (p *parser) checkBytes(data []byte) bool {
	if bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}) {
		p.report(1, 1, "", msg("the file is in UTF-16"), msg("save it as UTF-8"))
		return false
	}
	ok := true
	line := 0
	for text := range bytes.Lines(data) {
		line++
		if i := invalidUTF8(text); i >= 0 {
			p.report(line, utf8.RuneCount(text[:i])+1, "", msg("this is not UTF-8 text"), msg("save the file as UTF-8"))
			return false
		}
		if i := bytes.IndexFunc(text, func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f }); i >= 0 {
			p.report(line, utf8.RuneCount(text[:i])+1, "", msg("there is an invisible control character here"), msg("remove it"))
			return false
		}
		indent := text[:len(text)-len(bytes.TrimLeft(text, " \t"))]
		rest := bytes.TrimSpace(text)
		if i := bytes.IndexByte(indent, '\t'); i >= 0 && len(rest) > 0 && rest[0] != '#' {
			p.report(line, i+1, "", msg("a tab is used to indent"), msg("YAML allows spaces only: replace the tab by spaces"))
			ok = false
		}
	}
	return ok
}

func invalidUTF8(b []byte) int {
	for i := 0; i < len(b); {
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

// syntaxError reports what the library could not read, in words that name the
// remedy where the usual causes are known.
func (p *parser) syntaxError(data []byte, err error) {
	var le *yaml.LoadError
	if !errors.As(err, &le) {
		p.report(1, 1, "", msg("this is not YAML: %v", err), msg("correct the line"))
		return
	}
	mark := le.Mark
	if mark.Line == 0 {
		mark = le.ContextMark
	}
	line, col := max(mark.Line, 1), max(mark.Column, 1)
	text := le.Message
	fix := msg("correct this line or the one above it")
	switch {
	case atEnd(data, line) && le.ContextMark.Line > 0:
		line, col = le.ContextMark.Line, max(le.ContextMark.Column, 1)
		text, fix = "what is opened here is not closed", msg("close the bracket or the quotes")
	case unquotedVariable(data, line):
		fix = msg("put ${NAME} in quotes: inside { } YAML takes its } for the end")
	case strings.Contains(text, "expected ',' or"):
		fix = msg("put a comma here, or close the bracket that is opened on line %d", max(le.ContextMark.Line, 1))
	case strings.Contains(text, "mapping values are not allowed"):
		fix = msg("put the value in quotes if it contains a colon, or correct the indentation")
	case strings.Contains(text, "did not find expected key"), strings.Contains(text, "expected '-' indicator"):
		fix = msg("indent the line like its neighbours, or close the quotes and brackets above it")
	case strings.Contains(text, "cannot start any token"):
		fix = msg("put the value in quotes")
	case strings.Contains(text, "unknown anchor"):
		fix = msg("define the anchor with & above its first use")
	}
	p.report(line, col, "", msg("this is not YAML: %s", text), fix)
}

// atEnd reports whether a line is behind the last one with anything on it.
func atEnd(data []byte, line int) bool {
	return line > bytes.Count(bytes.TrimSpace(data), []byte("\n"))+1
}

// unquotedVariable reports whether a line has ${NAME} without quotes inside
// { } or [ ].
func unquotedVariable(data []byte, line int) bool {
	for text := range bytes.Lines(data) {
		if line--; line == 0 {
			i := bytes.Index(text, []byte("${"))
			return i > 0 && text[i-1] == ' ' && bytes.ContainsAny(text[:i-1], "{[")
		}
	}
	return false
}

func (p *parser) convert(n *yaml.Node, path string, depth int) *node {
	out := &node{line: n.Line, col: n.Column}
	p.nodes++
	switch {
	case p.full:
		return out
	case p.nodes > maxNodes:
		p.full = true
		p.report(n.Line, n.Column, path, msg("the file stands for more than %d values", maxNodes), msg("unfold fewer anchors"))
		return out
	case depth > maxDepth:
		p.report(n.Line, n.Column, path, msg("values are nested more than %d deep", maxDepth), msg("remove the nesting; the format needs 8 levels"))
		return out
	}
	switch n.Kind {
	case yaml.AliasNode:
		if n.Alias == nil {
			return out
		}
		target := p.convert(n.Alias, path, depth+1)
		target.line, target.col, target.shared = n.Line, n.Column, true
		return target
	case yaml.ScalarNode:
		p.scalar(n, out)
	case yaml.SequenceNode:
		out.kind, out.flow = listKind, n.Style&yaml.FlowStyle != 0
		for i, item := range n.Content {
			out.items = append(out.items, p.convert(item, indexPath(path, i), depth+1))
		}
	case yaml.MappingNode:
		out.kind, out.flow = mapKind, n.Style&yaml.FlowStyle != 0
		p.mapping(n, out, path, depth)
	}
	return out
}

func (p *parser) scalar(n *yaml.Node, out *node) {
	out.kind, out.text, out.tag = scalarKind, n.Value, n.ShortTag()
	out.quoted = n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	if !out.quoted && out.tag == "!!null" {
		out.kind = nullKind
	}
}

// mapping converts the pairs of a map: its own keys, each once, then those of
// the maps merged into it by <<.
func (p *parser) mapping(n *yaml.Node, out *node, path string, depth int) {
	first := make(map[string]*node)
	var merged []*node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := p.convert(n.Content[i], path, depth+1)
		if key.kind == mapKind || key.kind == listKind {
			p.report(key.line, key.col, path, msg("a key must be a name"), msg("put the value in quotes if it starts with { or ["))
			continue
		}
		if key.text == "<<" && !key.quoted {
			merged = append(merged, p.convert(n.Content[i+1], path, depth+1))
			continue
		}
		sub := keyPath(path, key.text)
		if earlier := first[key.text]; earlier != nil {
			p.report(key.line, key.col, sub, msg("the key is given twice, first on line %d", earlier.line), msg("keep one of the two"))
			continue
		}
		first[key.text] = key
		out.pairs = append(out.pairs, pair{key: key, value: p.convert(n.Content[i+1], sub, depth+1)})
	}
	for _, m := range merged {
		p.merge(out, m, first, path)
	}
}

func (p *parser) merge(out, m *node, first map[string]*node, path string) {
	switch m.kind {
	case listKind:
		for _, item := range m.items {
			p.merge(out, item, first, path)
		}
	case mapKind:
		for _, pr := range m.pairs {
			if first[pr.key.text] == nil {
				first[pr.key.text] = pr.key
				out.pairs = append(out.pairs, pair{pr.key, pr.value, true})
			}
		}
	default:
		p.report(m.line, m.col, path, msg("<< must be followed by a map"), msg("name an anchor of a map, as in <<: *name"))
	}
}

func keyPath(path, key string) string {
	if strings.ContainsAny(key, ".[]\" ") || key == "" {
		key = `"` + key + `"`
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// dumpYAML writes a tree as YAML. Scalars for which fromFile says no get the
// comment "default".
func dumpYAML(root *node, path string, fromFile func(path string) bool) ([]byte, error) {
	return yaml.Dump(yamlNode(root, path, fromFile), yaml.WithIndent(2), yaml.WithLineWidth(-1))
}

func yamlNode(n *node, path string, fromFile func(string) bool) *yaml.Node {
	out := &yaml.Node{}
	switch n.kind {
	case nullKind:
		out.Kind, out.Tag, out.Value = yaml.ScalarNode, "!!null", "null"
	case scalarKind:
		out.Kind, out.Value, out.Tag = yaml.ScalarNode, n.text, "!!str"
		if n.tag == "!!int" || n.tag == "!!bool" || n.tag == "!!float" {
			out.Tag = n.tag
		} else if n.tag == unsetTag {
			out.Tag = "!!int"
		}
		if !fromFile(path) {
			out.LineComment = "# default"
		}
	case listKind:
		out.Kind, out.Tag = yaml.SequenceNode, "!!seq"
		for i, it := range n.items {
			out.Content = append(out.Content, yamlNode(it, indexPath(path, i), fromFile))
		}
	case mapKind:
		out.Kind, out.Tag = yaml.MappingNode, "!!map"
		for _, p := range n.pairs {
			if p.value.empty() {
				continue
			}
			key := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: p.key.text}
			out.Content = append(out.Content, key, yamlNode(p.value, keyPath(path, p.key.text), fromFile))
		}
	}
	return out
}
