package config

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"strings"
)

// WithoutSecrets is the text of a cluster file, comments and layout kept, with Masked
// in the place of every value that config show masks: those of keys that are called
// like a secret, all of environment, and the options of fence agents that are not
// known to be harmless. A value that stands elsewhere as well, behind an anchor, is
// masked there too. name is what errors call the file; an error means that some
// secret could not be taken out, and says none.
func WithoutSecrets(name string, text []byte) ([]byte, error) {
	root, problems := readTree(name, text)
	if len(problems) > 0 {
		return nil, &InvalidError{problems}
	}
	m := &masker{splicer: newSplicer(bytes.Clone(text)), values: map[string]bool{}}
	m.walk(root, "", false, false, m.collect)
	m.walk(root, "", false, false, m.place)
	slices.SortFunc(m.spans, func(a, b span) int { return cmp.Compare(b.start, a.start) })
	for _, s := range slices.Compact(m.spans) {
		m.put(s.start, s.end, `"`+Masked+`"`)
	}
	out := commentsWithoutSecrets(m.text)
	if m.left || !withoutSecrets(name, out) {
		return nil, errors.New("a secret in it is written over several lines")
	}
	return out, nil
}

// withoutSecrets says whether everything secret in a text is masked.
func withoutSecrets(name string, text []byte) bool {
	root, problems := readTree(name, text)
	if len(problems) > 0 {
		return false
	}
	check := &masker{values: map[string]bool{}}
	check.walk(root, "", false, false, check.collect)
	delete(check.values, Masked)
	return len(check.values) == 0
}

// span is a piece of the text, in bytes.
type span struct{ start, end int }

// masker finds what is to be masked.
type masker struct {
	*splicer
	values map[string]bool // the secrets themselves
	spans  []span          // where they stand
	left   bool            // one could not be found in the text
}

// found is a value on the way through the tree.
type found struct {
	value  *node
	key    *node // nil for an entry of a list
	secret bool
	flow   bool
	merged bool
}

// walk visits every value that is no map and no list.
func (m *masker) walk(n *node, path string, secret, flow bool, visit func(found)) {
	if n == nil {
		return
	}
	flow = flow || n.flow
	child := func(c *node, key *node, path string, secret, merged bool) {
		if c.kind == mapKind || c.kind == listKind {
			m.walk(c, path, secret, flow, visit)
			return
		}
		visit(found{c, key, secret, flow, merged})
	}
	for i, it := range n.items {
		child(it, nil, indexPath(path, i), secret, false)
	}
	for _, p := range n.pairs {
		child(p.value, p.key, keyPath(path, p.key.text), secret || secretKey(path, p.key.text), p.merged)
	}
}

// secretKey says whether the value of a key is a secret, as config show decides it.
func secretKey(parent, key string) bool {
	if strings.HasPrefix(parent, "fencing.devices[") && strings.HasSuffix(parent, ".options") {
		return !fencePlain(key)
	}
	return parent == "environment" || secretName(key)
}

func (m *masker) collect(f found) {
	if f.secret && f.value.kind == scalarKind && f.value.text != "" {
		m.values[f.value.text] = true
	}
}

// place notes where a secret stands.
func (m *masker) place(f found) {
	v := f.value
	if f.merged || v.kind != scalarKind || v.text == "" || !f.secret && (v.tag != "!!str" || !m.values[v.text]) {
		return
	}
	start := m.offset(v.line, v.col)
	end, err := m.scalarEnd(start, f.flow)
	if f.key != nil && !f.flow {
		// A value that goes on below, deeper than its key.
		if last := m.blockEnd(f.key.line, f.key.col-1, false); last > v.line && end <= m.lineEnd(v.line) {
			end, err = m.lineEnd(last), nil
		}
	}
	if err != nil {
		m.left = true
		return
	}
	m.spans = append(m.spans, span{start, end})
}

// lineEnd is the offset behind the text of a line.
func (m *masker) lineEnd(n int) int { return m.starts[n-1] + len(m.line(n)) }

// commentsWithoutSecrets cuts comments off where they have a key that is called like a
// secret: one that was taken out of use may still be good.
func commentsWithoutSecrets(text []byte) []byte {
	var out bytes.Buffer
	for line := range strings.Lines(string(text)) {
		at := strings.Index(line, "#")
		if at < 0 || at > 0 && line[at-1] != ' ' && line[at-1] != '\t' || !secretName(line[at:]) {
			out.WriteString(line)
			continue
		}
		if colon := strings.IndexAny(line[at:], ":="); colon >= 0 {
			line = line[:at+colon] + ": " + Masked + "\n"
		}
		out.WriteString(line)
	}
	return out.Bytes()
}
