package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// View is a cluster, or a part of one, as it is shown: with the defaults
// filled in, variables resolved, and secrets masked unless revealed.
type View struct {
	root    *node
	path    string
	cluster *Cluster
}

// ErrSecret is what Get returns for a secret that is not to be revealed.
var ErrSecret = errors.New("it is a secret")

// Show returns the whole cluster. With reveal it has the secrets in it.
func (c *Cluster) Show(reveal bool) View {
	e := encoder{fields: make(fieldTable), reveal: reveal}
	return View{root: e.encode(reflect.ValueOf(c).Elem()), cluster: c}
}

// Get returns the part of the cluster at path, such as network.vip.address,
// nodes.controllers[0].priority or nodes.controllers[server1].priority. An
// unknown path is an error that names the nearest key. A secret that is set
// is ErrSecret unless reveal.
func (c *Cluster) Get(path string, reveal bool) (View, error) {
	v := c.Show(reveal)
	n, at := v.root, ""
	for _, step := range pathSteps(path) {
		next, sub, err := descend(n, at, step)
		if err != nil {
			return View{}, err
		}
		n, at = next, sub
	}
	if n.tag == secretTag && n.text != "" && !reveal {
		return View{}, fmt.Errorf("%s: %w", at, ErrSecret)
	}
	return View{root: n, path: at, cluster: c}, nil
}

// pathSteps splits a path at its dots and brackets.
func pathSteps(path string) []string {
	var steps []string
	rest := path
	for rest != "" {
		switch {
		case rest[0] == '.':
			rest = rest[1:]
		case rest[0] == '[':
			inside, after, _ := strings.Cut(rest[1:], "]")
			steps, rest = append(steps, "["+inside), after
		case rest[0] == '"':
			inside, after, _ := strings.Cut(rest[1:], `"`)
			steps, rest = append(steps, inside), after
		default:
			i := strings.IndexAny(rest, ".[")
			if i < 0 {
				i = len(rest)
			}
			steps, rest = append(steps, rest[:i]), rest[i:]
		}
	}
	return steps
}

func descend(n *node, at, step string) (next *node, path string, err error) {
	if index, ok := strings.CutPrefix(step, "["); ok {
		return item(n, at, index)
	}
	if n.kind != mapKind {
		return nil, "", fmt.Errorf("%s has no keys", orFile(at))
	}
	known := make([]string, 0, len(n.pairs))
	for _, p := range n.pairs {
		if p.key.text == step {
			return p.value, keyPath(at, step), nil
		}
		known = append(known, p.key.text)
	}
	if near := nearest(step, known); near != "" {
		return nil, "", fmt.Errorf("%s: unknown key; did you mean %s?", keyPath(at, step), keyPath(at, near))
	}
	if len(known) == 0 {
		return nil, "", fmt.Errorf("%s is empty", orFile(at))
	}
	return nil, "", fmt.Errorf("%s: unknown key; known here: %s", keyPath(at, step), strings.Join(known, ", "))
}

func orFile(path string) string {
	if path == "" {
		return "the file"
	}
	return path
}

// item returns a list entry by its number, hostname or name.
func item(n *node, at, index string) (next *node, path string, err error) {
	if n.kind != listKind {
		return nil, "", fmt.Errorf("%s is not a list", orFile(at))
	}
	for i, it := range n.items {
		name := cmp.Or(textOf(it.get("hostname")), textOf(it.get("name")), textOf(it.get("node")))
		if strconv.Itoa(i) == index || name != "" && name == index {
			return it, indexPath(at, i), nil
		}
	}
	return nil, "", fmt.Errorf("%s has %s and no [%s]", at, strings.Replace(plural(len(n.items), "entry"), "entrys", "entries", 1), index)
}

func textOf(n *node) string {
	if n == nil {
		return ""
	}
	return n.text
}

// Scalar returns the value as one word for scripts, and whether it is one: a
// list of words is joined by commas.
func (v View) Scalar() (string, bool) {
	switch v.root.kind {
	case nullKind:
		return "", true
	case scalarKind:
		return v.root.text, true
	case listKind:
		words := make([]string, 0, len(v.root.items))
		for _, it := range v.root.items {
			if it.kind != scalarKind {
				return "", false
			}
			words = append(words, it.text)
		}
		return strings.Join(words, ","), true
	}
	return "", false
}

// Row is one value of a View and where it comes from.
type Row struct {
	Path  string
	Value string
	From  Position // zero Line: a default, or derived from other values
}

// Rows returns every value that is set or has a default, one by one.
func (v View) Rows() []Row {
	var out []Row
	var walk func(n *node, path string)
	walk = func(n *node, path string) {
		switch n.kind {
		case mapKind:
			for _, p := range n.pairs {
				walk(p.value, keyPath(path, p.key.text))
			}
		case listKind:
			if s, ok := (View{root: n}).Scalar(); ok && s != "" {
				out = append(out, Row{path, s, v.from(path)})
				return
			}
			for i, it := range n.items {
				walk(it, indexPath(path, i))
			}
		case scalarKind:
			if !n.empty() {
				out = append(out, Row{path, n.text, v.from(path)})
			}
		}
	}
	walk(v.root, v.path)
	return out
}

func (v View) from(path string) Position {
	if v.cluster == nil || !v.cluster.Has(path) {
		return Position{}
	}
	return v.cluster.Pos(path)
}

// empty reports whether the node says nothing: not set and without default.
func (n *node) empty() bool {
	switch n.kind {
	case scalarKind:
		return n.text == "" || n.tag == unsetTag
	case mapKind:
		return !slices.ContainsFunc(n.pairs, func(p pair) bool { return !p.value.empty() })
	case listKind:
		return len(n.items) == 0
	}
	return true
}

// Tags of nodes that are made for showing.
const (
	secretTag = "!secret"
	unsetTag  = "!unset" // a number or switch that is zero
)

// encoder turns typed values back into nodes.
type encoder struct {
	fields fieldTable
	reveal bool
}

func scalarNode(text, tag string) *node { return &node{kind: scalarKind, text: text, tag: tag} }

func (e *encoder) encode(v reflect.Value) *node {
	if n, ok := e.encodeValue(v.Interface()); ok {
		return n
	}
	switch v.Kind() {
	case reflect.Struct:
		return e.encodeStruct(v)
	case reflect.Slice:
		out := &node{kind: listKind}
		for i := range v.Len() {
			out.items = append(out.items, e.encode(v.Index(i)))
		}
		return out
	case reflect.Map:
		return e.encodeMap(v)
	case reflect.Bool:
		return scalarNode(strconv.FormatBool(v.Bool()), "!!bool")
	case reflect.Int:
		if v.Int() == 0 {
			return scalarNode("0", unsetTag)
		}
		return scalarNode(strconv.FormatInt(v.Int(), 10), "!!int")
	}
	return scalarNode(v.String(), "!!str")
}

func (e *encoder) encodeValue(v any) (*node, bool) {
	switch x := v.(type) {
	case Secret:
		return e.secret(x), true
	case Count:
		if x == 0 {
			return scalarNode("auto", "!!str"), true
		}
		return scalarNode(x.String(), "!!int"), true
	case HostList:
		return scalarNode(x.String(), "!!str"), true
	case PortList:
		return scalarNode(x.String(), "!!str"), true
	case Seconds:
		return durationNode(x.Duration(), time.Second, x.String()), true
	case Millis:
		return durationNode(x.Duration(), time.Millisecond, x.String()), true
	case netip.Addr:
		if !x.IsValid() {
			return scalarNode("", "!!str"), true
		}
		return scalarNode(x.String(), "!!str"), true
	case netip.Prefix:
		if !x.IsValid() {
			return scalarNode("", "!!str"), true
		}
		return scalarNode(x.String(), "!!str"), true
	case Section:
		if x.value == nil {
			return &node{kind: nullKind}, true
		}
		return e.mask(x.value(), false), true
	}
	return nil, false
}

func (e *encoder) secret(s Secret) *node {
	if e.reveal {
		return scalarNode(s.Reveal(), secretTag)
	}
	return scalarNode(s.String(), secretTag)
}

func durationNode(d, unit time.Duration, text string) *node {
	switch {
	case d == 0:
		return scalarNode("0", unsetTag)
	case d%unit == 0:
		return scalarNode(text, "!!int")
	}
	return scalarNode(text, "!!str")
}

func (e *encoder) encodeStruct(v reflect.Value) *node {
	out := &node{kind: mapKind}
	info := e.fields.of(v.Type())
	for _, f := range info.fields {
		out.pairs = append(out.pairs, pair{key: scalarNode(f.key, "!!str"), value: e.encode(v.FieldByIndex(f.index))})
	}
	if info.rest != nil {
		out.pairs = append(out.pairs, e.encodeMap(v.FieldByIndex(info.rest)).pairs...)
	}
	return out
}

func (e *encoder) encodeMap(v reflect.Value) *node {
	out := &node{kind: mapKind}
	keys := make([]string, 0, v.Len())
	for _, k := range v.MapKeys() {
		keys = append(keys, k.String())
	}
	slices.Sort(keys)
	for _, k := range keys {
		value := e.encode(v.MapIndex(reflect.ValueOf(k)))
		if options, ok := v.Interface().(FenceOptions); ok && fencePlain(k) {
			value = scalarNode(options[k].Reveal(), "!!str")
		}
		out.pairs = append(out.pairs, pair{key: scalarNode(k, "!!str"), value: value})
	}
	return out
}

// fencePlain reports whether an option of a fence agent may be shown.
func fencePlain(key string) bool {
	return slices.Contains([]string{"ip", "ipaddr", "ipport", "port", "plug", "username", "login", "lanplus", "method", "ssl", "delay"}, key)
}

// mask copies an untyped section without its secrets, which are known by the
// names of their keys.
func (e *encoder) mask(n *node, secret bool) *node {
	out := &node{kind: n.kind, text: n.text, tag: n.tag, quoted: n.quoted}
	switch {
	case n.kind == scalarKind && secret:
		return e.secret(Secret{n.text})
	case n.kind == scalarKind && n.quoted:
		out.tag = "!!str"
	}
	for _, it := range n.items {
		out.items = append(out.items, e.mask(it, secret))
	}
	for _, p := range n.pairs {
		out.pairs = append(out.pairs, pair{key: p.key, value: e.mask(p.value, secret || secretName(p.key.text))})
	}
	return out
}
