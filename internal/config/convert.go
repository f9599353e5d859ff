package config

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Change is one thing Convert did to a file.
type Change struct {
	Pos  Position // in the old text
	What Message
}

func (c Change) String() string { return c.Pos.String() + ": " + c.What.String() }

// Convert rewrites an older file in the present form and keeps its comments.
// It returns the new text and what was changed; a file in the present form
// comes back as it is. The new text says the same as the old one: that is
// checked before it is returned.
func Convert(name string, text []byte) ([]byte, []Change, error) {
	doc, err := ParseDocument(name, text)
	if err != nil {
		return nil, nil, err
	}
	before, err := meaning(name, text)
	if err != nil {
		return nil, nil, err
	}
	var changes []Change
	for _, step := range []func(*Document) ([]Change, error){
		convertWords, convertVIP, convertTopControllers, convertSingleHead,
	} {
		did, err := step(doc)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		changes = append(changes, did...)
	}
	after, err := meaning(name, doc.text)
	if err != nil {
		return nil, nil, err
	}
	if !bytes.Equal(before, after) {
		return nil, nil, fmt.Errorf("%s cannot be rewritten without changing what it says; %w", name, ErrByHand)
	}
	slices.SortStableFunc(changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Col, b.Pos.Col))
	})
	return doc.text, changes, nil
}

// meaning is everything a file says, read by the older forms as well and
// without its variables: those stay as they are written.
func meaning(name string, text []byte) ([]byte, error) {
	root, problems := readTree(name, text)
	if len(problems) > 0 {
		return nil, &InvalidError{problems}
	}
	d := &decoder{file: name, fields: make(fieldTable), pos: make(map[string]Position), bad: make(map[string]bool)}
	d.vars = &variables{lookup: func(v string) (string, bool) {
		if value, ok := os.LookupEnv(v); ok {
			return value, true
		}
		return "0", root.get("environment").get(v) == nil
	}, section: root.get("environment")}
	d.modernise(root)
	c := defaults()
	d.decode(root, reflect.ValueOf(c).Elem(), "", nil)
	var b bytes.Buffer
	writeJSON(&b, c.Show(true).root)
	return b.Bytes(), nil
}

// word is a token of the file that gets another spelling.
type word struct {
	at   *node
	flow bool
	key  bool
	text string
	what Message
}

// convertWords gives keys their present names and switches their present
// spelling.
func convertWords(d *Document) ([]Change, error) {
	var words []word
	fields := make(fieldTable)
	collectWords(d.root, reflect.TypeFor[Cluster](), fields, false, &words)
	for _, list := range []*node{d.root.get("controllers"), d.root.get("nodes").get("controller")} {
		if list != nil {
			collectWords(list, reflect.TypeFor[[]Controller](), fields, false, &words)
		}
	}
	// From the end, so that what is still to do keeps its place.
	slices.SortFunc(words, func(a, b word) int {
		if a.at.line != b.at.line {
			return b.at.line - a.at.line
		}
		return b.at.col - a.at.col
	})
	s := newSplicer(d.text)
	var changes []Change
	for i, w := range words {
		if i > 0 && w.at.line == words[i-1].at.line && w.at.col == words[i-1].at.col {
			continue // behind an anchor: met more than once
		}
		start := s.offset(w.at.line, w.at.col)
		end := start + len(w.at.text)
		if !w.key || s.text[start] == '"' || s.text[start] == '\'' {
			var err error
			if end, err = s.scalarEnd(start, w.flow || w.key); err != nil {
				return nil, err
			}
		}
		s.text = slices.Concat(s.text[:start], []byte(w.text), s.text[end:])
		changes = append(changes, Change{Position{d.name, w.at.line, w.at.col}, w.what})
	}
	slices.Reverse(changes)
	return changes, d.reread(s.text)
}

func collectWords(n *node, t reflect.Type, fields fieldTable, flow bool, words *[]word) {
	flow = flow || n.flow
	switch {
	case n.shared:
	case t.Kind() == reflect.Slice && n.kind == listKind:
		for _, it := range n.items {
			collectWords(it, t.Elem(), fields, flow, words)
		}
	case t.Kind() == reflect.Slice && n.kind == mapKind:
		collectWords(n, t.Elem(), fields, flow, words) // nodes.controller, one map
	case t.Kind() == reflect.Struct && n.kind == mapKind:
		info := fields.of(t)
		for _, p := range n.pairs {
			f := info.byKey[p.key.text]
			if f == nil || p.merged {
				continue
			}
			if p.key.text != f.key {
				*words = append(*words, word{p.key, flow, true, f.key, msg("%s is now called %s", p.key.text, f.key)})
			}
			collectWords(p.value, f.typ, fields, flow, words)
		}
	case t.Kind() == reflect.Bool && n.kind == scalarKind && !n.quoted && yaml11Bool(n.text) && len(n.text) > 1:
		lower := strings.ToLower(n.text)
		now := fmt.Sprint(lower == "yes" || lower == "on")
		*words = append(*words, word{n, flow, false, now, msg("%s is now written %s", n.text, now)})
	}
}

// reread takes over a changed text.
func (d *Document) reread(text []byte) error {
	root, problems := readTree(d.name, text)
	if len(problems) > 0 {
		return ErrByHand
	}
	d.text, d.root = text, root
	return nil
}

// convertVIP writes a plain vip: address as the keys it stands for.
func convertVIP(d *Document) ([]Change, error) {
	network := d.root.get("network")
	vip := network.get("vip")
	if vip == nil || vip.kind != scalarKind || vip.shared {
		return nil, nil
	}
	address, bits, hasBits := strings.Cut(vip.text, "/")
	fields := "{address: " + renderScalar(address)
	if hasBits {
		fields += ", netmask: " + bits
	}
	s := newSplicer(d.text)
	if err := s.replaceScalar(vip, network.flow || d.root.flow, fields+"}"); err != nil {
		return nil, err
	}
	return []Change{{Position{d.name, vip.line, vip.col}, msg("vip is now a set of keys")}}, d.reread(s.text)
}

// convertTopControllers moves a list of heads at the top of the file below
// nodes.
func convertTopControllers(d *Document) ([]Change, error) {
	i := d.root.index("controllers")
	if i < 0 {
		return nil, nil
	}
	old := d.root.pairs[i]
	if d.root.flow || old.value.shared || old.key.col != 1 {
		return nil, ErrByHand
	}
	s := newSplicer(d.text)
	last := s.blockEnd(old.key.line, 0, true)
	first := s.above(old.key.line, 0)
	indent := 2
	nodes := d.root.get("nodes")
	if nodes != nil && nodes.kind == mapKind && !nodes.flow && len(nodes.pairs) > 0 {
		indent = nodes.pairs[0].key.col - 1
	} else if nodes != nil && nodes.kind != nullKind {
		return nil, ErrByHand
	}
	block := s.shifted(first, last, indent)
	change := Change{Position{d.name, old.key.line, old.key.col}, msg("controllers is now below nodes")}
	if nodes == nil {
		s.removeLines(first, last)
		s.insertAt(first, append([]string{"nodes:"}, block...))
		return []Change{change}, d.reread(s.text)
	}
	below := d.root.pairs[d.root.index("nodes")].key.line + 1
	if below > last {
		s.insertLines(below, block)
		s.removeLines(first, last)
	} else {
		s.removeLines(first, last)
		s.insertAt(below, block)
	}
	return []Change{change}, d.reread(s.text)
}

// shifted returns the lines first to last, indented by more spaces.
func (s *splicer) shifted(first, last, by int) []string {
	var out []string
	for n := first; n <= last; n++ {
		line := s.line(n)
		if !blank(line) {
			line = strings.Repeat(" ", by) + line
		}
		out = append(out, line)
	}
	return out
}

// insertAt is insertLines after earlier changes have moved the lines.
func (s *splicer) insertAt(n int, lines []string) {
	fresh := newSplicer(s.text)
	fresh.newline = s.newline
	fresh.insertLines(n, lines)
	s.text = fresh.text
}

// convertSingleHead makes a list of the one head of a my_cluster.yaml, and
// writes down what that form leaves unsaid.
func convertSingleHead(d *Document) ([]Change, error) {
	nodes := d.root.get("nodes")
	if nodes == nil || nodes.kind != mapKind || nodes.index("controller") < 0 {
		return nil, nil
	}
	old := nodes.pairs[nodes.index("controller")]
	if old.merged || old.value.shared || nodes.index("controllers") >= 0 {
		return nil, ErrByHand
	}
	change := Change{Position{d.name, old.key.line, old.key.col}, msg("controller is now controllers, a list of heads")}
	unsaid := clone(old.value)
	if old.value.kind == mapKind {
		(&decoder{}).completeSingleHead(d.root, unsaid)
	}
	s := newSplicer(d.text)
	key := s.offset(old.key.line, old.key.col)
	switch {
	case old.value.kind == listKind:
	case old.value.kind == mapKind && old.value.flow:
		start := s.offset(old.value.line, old.value.col)
		end, err := s.flowEnd(start)
		if err != nil {
			return nil, err
		}
		s.put(end, end, "]")
		s.put(start, start, "[")
	case old.value.kind == mapKind:
		s.makeList(old)
	default:
		return nil, ErrByHand
	}
	s.put(key, key+len("controller"), "controllers")
	if err := d.reread(s.text); err != nil {
		return nil, err
	}
	if old.value.kind == mapKind {
		for _, p := range unsaid.pairs[len(old.value.pairs):] {
			if err := d.Set("nodes.controllers[0]."+p.key.text, fieldValue(p.value)); err != nil {
				return nil, err
			}
		}
	}
	return []Change{change}, nil
}

// makeList indents the block map below a key and puts a dash before its first
// key.
func (s *splicer) makeList(old pair) {
	last := s.blockEnd(old.key.line, old.key.col-1, false)
	first := old.key.line + 1
	lines := s.shifted(first, last, 2)
	head := old.value.pairs[0].key
	at := head.line - first
	lines[at] = strings.Repeat(" ", head.col-1) + "- " + strings.TrimLeft(lines[at], " ")
	end := len(s.text)
	if last < s.lines() {
		end = s.starts[last]
	}
	tail := ""
	if s.text[end-1] == '\n' {
		tail = s.newline
	}
	s.put(s.starts[first-1], end, strings.Join(lines, s.newline)+tail)
}

// fieldValue is a node as Set takes it.
func fieldValue(n *node) any {
	switch {
	case n.kind == mapKind:
		var out []Field
		for _, p := range n.pairs {
			out = append(out, Field{p.key.text, fieldValue(p.value)})
		}
		return out
	case n.tag == "!!bool":
		return n.text == "true"
	case n.tag == "!!int":
		if i, err := strconv.Atoi(n.text); err == nil {
			return i
		}
	}
	return n.text
}
