package config

import (
	"errors"
	"fmt"
	"slices"
)

// Document is a cluster file whose text is edited in place: only the words
// that change are touched, so comments, order and layout stay. Every edit is
// read back and compared with what was meant; one that would say anything
// else is refused and leaves the text as it was.
type Document struct {
	name string
	text []byte
	root *node
}

// Field is one key of an entry that is added to a file. Value is a string, an
// int, a bool, a []string, or []Field.
type Field struct {
	Key   string
	Value any
}

// ErrByHand is what an edit returns when the text is written in a way that
// cannot be changed without touching something else: behind an anchor, over
// several lines.
var ErrByHand = errors.New("it has to be edited by hand")

// ParseDocument reads the text of a cluster file for editing. name is what
// errors call it.
func ParseDocument(name string, text []byte) (*Document, error) {
	root, problems := readTree(name, text)
	if len(problems) > 0 {
		return nil, &InvalidError{problems}
	}
	if root == nil || root.kind != mapKind {
		return nil, fmt.Errorf("%s: it has no keys", name)
	}
	return &Document{name, text, root}, nil
}

func readTree(name string, text []byte) (*node, Problems) {
	var problems Problems
	root := parseYAML(text, func(line, col int, path string, what, fix Message) {
		problems = append(problems, Problem{Error, Position{name, line, col}, path, what, fix})
	})
	return root, problems
}

// Bytes returns the text as it is now.
func (d *Document) Bytes() []byte { return d.text }

// place is where a path leads in the text.
type place struct {
	node   *node // nil when the last step is not there
	parent *node
	pair   int // index in parent.pairs, or -1
	item   int // index in parent.items, or -1
	flow   bool
}

// find follows path. Everything but its last step must be there.
func (d *Document) find(path string) (place, error) {
	at := place{node: d.root, pair: -1, item: -1}
	steps := pathSteps(path)
	for i, step := range steps {
		if at.node == nil {
			return place{}, fmt.Errorf("%s: %s is not in the file", d.name, path)
		}
		next := place{parent: at.node, pair: -1, item: -1, flow: at.flow || at.node.flow}
		if at.node.shared {
			return place{}, fmt.Errorf("%s: %s stands behind an anchor; %w", d.name, path, ErrByHand)
		}
		if step[0] == '[' {
			if at.node.kind != listKind {
				return place{}, fmt.Errorf("%s: %s is not a list", d.name, joinSteps(steps[:i]))
			}
			next.item = slices.IndexFunc(indexes(len(at.node.items)), func(n int) bool { return fmt.Sprintf("[%d", n) == step })
			if next.item < 0 {
				return place{}, fmt.Errorf("%s: %s is not in the file", d.name, path)
			}
			next.node = at.node.items[next.item]
		} else {
			if at.node.kind != mapKind && at.node.kind != nullKind {
				return place{}, fmt.Errorf("%s: %s has no keys", d.name, joinSteps(steps[:i]))
			}
			if next.pair = at.node.index(step); next.pair >= 0 {
				if at.node.pairs[next.pair].merged {
					return place{}, fmt.Errorf("%s: %s comes in by <<; %w", d.name, path, ErrByHand)
				}
				next.node = at.node.pairs[next.pair].value
			}
		}
		at = next
	}
	return at, nil
}

func indexes(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func joinSteps(steps []string) string {
	path := ""
	for _, s := range steps {
		if s[0] == '[' {
			path += s + "]"
		} else {
			path = keyPath(path, s)
		}
	}
	return orFile(path)
}

// Set gives the key at path a value: a string, an int or a bool. A key that is
// not there is added at the end of the part it belongs to, which must be
// there.
func (d *Document) Set(path string, value any) error {
	at, err := d.find(path)
	if err != nil {
		return err
	}
	want := clone(d.root)
	steps := pathSteps(path)
	key := steps[len(steps)-1]
	target := wantAt(want, steps[:len(steps)-1])
	s := newSplicer(d.text)
	switch {
	case at.item >= 0:
		target.items[at.item] = valueNode(value)
		err = s.replaceScalar(at.node, at.flow, renderScalar(value))
	case at.node == nil:
		target.kind = mapKind
		target.pairs = append(target.pairs, pair{key: scalarNode(key, "!!str"), value: valueNode(value)})
		err = s.addKey(at.parent, d.keyOf(path), []Field{{key, value}})
	case at.node.kind == nullKind:
		target.pairs[at.pair].value = valueNode(value)
		err = s.fillNull(at.parent.pairs[at.pair].key, renderScalar(value))
	default:
		target.pairs[at.pair].value = valueNode(value)
		err = s.replaceScalar(at.node, at.flow, renderScalar(value))
	}
	return d.settle(s, want, path, err)
}

// keyOf returns the key node of the part that path's last step belongs to, or
// nil for the top of the file.
func (d *Document) keyOf(path string) *node {
	steps := pathSteps(path)
	if len(steps) < 2 {
		return nil
	}
	at, err := d.find(joinSteps(steps[:len(steps)-1]))
	if err != nil || at.pair < 0 {
		return nil
	}
	return at.parent.pairs[at.pair].key
}

// Append adds an entry to the end of the list at path, written like the
// entries that are there. A list that is not there is made.
func (d *Document) Append(path string, entry []Field) error {
	at, err := d.find(path)
	if err != nil {
		return err
	}
	want := clone(d.root)
	steps := pathSteps(path)
	key := steps[len(steps)-1]
	target := wantAt(want, steps[:len(steps)-1])
	s := newSplicer(d.text)
	switch {
	case at.node != nil && at.node.shared:
		return fmt.Errorf("%s: %s stands behind an anchor; %w", d.name, path, ErrByHand)
	case at.node == nil:
		target.kind = mapKind
		target.pairs = append(target.pairs, pair{key: scalarNode(key, "!!str"), value: &node{kind: listKind, items: []*node{valueNode(entry)}}})
		err = s.addList(at.parent, d.keyOf(path), key, entry)
	case at.node.kind == nullKind && at.pair >= 0:
		target.pairs[at.pair].value = &node{kind: listKind, items: []*node{valueNode(entry)}}
		err = s.startList(at.parent.pairs[at.pair].key, at.flow, entry)
	case at.node.kind == listKind:
		list := wantAt(want, steps)
		list.items = append(list.items, valueNode(entry))
		err = s.appendItem(at.node, entry)
	default:
		return fmt.Errorf("%s: %s is not a list", d.name, path)
	}
	return d.settle(s, want, path, err)
}

// Remove takes out a list entry (nodes.controllers[2]) or a key with all that
// belongs to it, and the comment lines directly above it.
func (d *Document) Remove(path string) error {
	at, err := d.find(path)
	if err != nil {
		return err
	}
	if at.node == nil {
		return fmt.Errorf("%s: %s is not in the file", d.name, path)
	}
	want := clone(d.root)
	steps := pathSteps(path)
	target := wantAt(want, steps[:len(steps)-1])
	s := newSplicer(d.text)
	if at.item >= 0 {
		target.items = slices.Delete(target.items, at.item, at.item+1)
		err = s.removeItem(at.parent, at.item)
	} else {
		target.pairs = slices.Delete(target.pairs, at.pair, at.pair+1)
		err = s.removeKey(at.parent, at.pair)
	}
	return d.settle(s, want, path, err)
}

// settle takes over the new text when it says exactly what was meant.
func (d *Document) settle(s *splicer, want *node, path string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %s: %w", d.name, path, err)
	}
	root, problems := readTree(d.name, s.text)
	if len(problems) > 0 || !same(root, want) {
		return fmt.Errorf("%s: %s: %w", d.name, path, ErrByHand)
	}
	d.text, d.root = s.text, root
	return nil
}

// wantAt follows steps in a copy of the tree; find has made sure they exist.
func wantAt(n *node, steps []string) *node {
	for _, step := range steps {
		if step[0] == '[' {
			i := slices.IndexFunc(indexes(len(n.items)), func(k int) bool { return fmt.Sprintf("[%d", k) == step })
			n = n.items[i]
		} else {
			n = n.get(step)
		}
	}
	return n
}

func clone(n *node) *node {
	out := *n
	out.items, out.pairs = nil, nil
	for _, it := range n.items {
		out.items = append(out.items, clone(it))
	}
	for _, p := range n.pairs {
		out.pairs = append(out.pairs, pair{clone(p.key), clone(p.value), p.merged})
	}
	return &out
}

// same reports whether two trees say the same. A key with nothing after it
// says what an empty list says.
func same(a, b *node) bool {
	if a == nil || b == nil {
		return a == b
	}
	if a.hollow() && b.hollow() {
		return true
	}
	if a.kind != b.kind || len(a.items) != len(b.items) || len(a.pairs) != len(b.pairs) {
		return false
	}
	if a.kind == scalarKind {
		return a.text == b.text && (a.tag == "!!str") == (b.tag == "!!str")
	}
	for i := range a.items {
		if !same(a.items[i], b.items[i]) {
			return false
		}
	}
	for _, p := range a.pairs {
		i := b.index(p.key.text)
		if i < 0 || !same(p.value, b.pairs[i].value) {
			return false
		}
	}
	return true
}

func (n *node) hollow() bool { return n.kind != scalarKind && len(n.items) == 0 && len(n.pairs) == 0 }

// controllersPath is where the file lists its heads.
func (d *Document) controllersPath() (string, error) {
	nodes := d.root.get("nodes")
	switch {
	case d.root.index("controllers") >= 0:
		return "controllers", nil
	case nodes != nil && nodes.kind == mapKind && nodes.index("controller") >= 0:
		return "", fmt.Errorf("%s has the older form with one head; rewrite it first with: multihead config convert %s --write", d.name, d.name)
	}
	return "nodes.controllers", nil
}

// AddController adds a head at the end of the list of heads.
func (d *Document) AddController(c Controller) error {
	path, err := d.controllersPath()
	if err != nil {
		return err
	}
	entry := append(c.HostSpec.fields(),
		Field{"priority", c.Priority},
		Field{"vip_owner", c.VIPOwner},
	)
	var services []Field
	for _, s := range []string{GlusterFS, MariaDB, Redis, Slurm, Web, Keepalived} {
		services = append(services, Field{s, c.Services.Has(s)})
	}
	return d.Append(path, append(entry, Field{"services", services}))
}

func (h HostSpec) fields() []Field {
	out := []Field{{"hostname", h.Hostname}, {"ip_address", h.Address.String()}}
	if h.SSHUser != "" {
		out = append(out, Field{"ssh_user", h.SSHUser})
	}
	if h.SSHPort != 0 && h.SSHPort != hostDefaults().SSHPort {
		out = append(out, Field{"ssh_port", h.SSHPort})
	}
	if h.SSHKeyPath != "" {
		out = append(out, Field{"ssh_key_path", h.SSHKeyPath})
	}
	return out
}

// RemoveController takes the head of that name out of the list of heads.
func (d *Document) RemoveController(hostname string) error {
	path, err := d.controllersPath()
	if err != nil {
		return err
	}
	i, err := d.indexOf(path, hostname)
	if err != nil {
		return err
	}
	return d.Remove(indexPath(path, i))
}

// indexOf returns the entry of a list with that hostname.
func (d *Document) indexOf(path, hostname string) (int, error) {
	at, err := d.find(path)
	if err != nil {
		return 0, err
	}
	if at.node != nil && at.node.kind == listKind {
		for i, it := range at.node.items {
			if textOf(it.get("hostname")) == hostname {
				return i, nil
			}
		}
	}
	return 0, fmt.Errorf("%s: %s has no %s", d.name, path, hostname)
}
