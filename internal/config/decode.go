package config

import (
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// decoder reads nodes into typed values. It never stops at the first problem:
// what cannot be read keeps its default and is reported.
type decoder struct {
	file     string
	fields   fieldTable
	pos      map[string]Position
	vars     *variables
	problems Problems
	bad      map[string]bool // paths that could not be read: rules about them would only confuse
	secrets  []placedSecret
	later    []laterKeys
}

// laterKeys are the keys of one part of the product that comes in a later
// release.
type laterKeys struct {
	part  string
	first *node
	paths []string
}

func (d *decoder) report(s Severity, n *node, path string, what, fix Message) {
	pos := Position{File: d.file}
	if n != nil {
		pos.Line, pos.Col = n.line, n.col
	}
	d.problems = append(d.problems, Problem{s, pos, path, what, fix})
	if s == Error {
		d.bad[path] = true
	}
}

func (d *decoder) fail(n *node, path string, what, fix Message) { d.report(Error, n, path, what, fix) }

func (d *decoder) warn(n *node, path string, what, fix Message) {
	d.report(Warning, n, path, what, fix)
}

func (d *decoder) mark(n *node, path string) {
	d.pos[path] = Position{d.file, n.line, n.col}
}

// decode reads n into v. f describes the key that n is the value of; it is
// nil for the root and for elements of free-form maps.
func (d *decoder) decode(n *node, v reflect.Value, path string, f *field) {
	if n.kind == nullKind {
		return // "key:" with nothing after it is a key left out
	}
	if _, ok := d.pos[path]; !ok {
		d.mark(n, path)
	}
	if d.decodeValue(n, v, path, f) {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.decodeStruct(n, v, path)
	case reflect.Slice:
		d.decodeList(n, v, path, f)
	case reflect.Map:
		d.decodeMap(n, v, path, f)
	case reflect.String:
		if s, ok := d.text(n, path); ok && d.oneOf(n, path, s, f) {
			v.SetString(s)
		}
	case reflect.Bool:
		if b, ok := d.boolean(n, path); ok {
			v.SetBool(b)
		}
	case reflect.Int:
		if i, ok := d.integer(n, path, f); ok {
			v.SetInt(i)
		}
	default:
		panic("config: no decoder for " + v.Type().String()) // a new field type; the schema test meets it first
	}
}

// decodeValue reads the types that have a notation of their own.
func (d *decoder) decodeValue(n *node, v reflect.Value, path string, f *field) bool {
	switch p := v.Addr().Interface().(type) {
	case *Secret:
		if s, ok := d.secret(n, path); ok {
			*p = s
		}
	case *Count:
		d.count(n, p, path, f)
	case *HostList:
		d.hostList(n, p, path)
	case *Items:
		d.items(n, p, path)
	case *PortList:
		d.portList(n, p, path)
	case *Seconds:
		d.seconds(n, p, path)
	case *Millis:
		d.millis(n, p, path)
	case *Section:
		*p = Section{Set: true, Enabled: true, value: func() *node { return n }}
		d.sectionSecrets(n, path, false)
		if on := n.get("enabled"); on != nil {
			p.Enabled, _ = d.boolean(on, keyPath(path, "enabled"))
		} else if n.kind == scalarKind && n.tag == "!!bool" {
			p.Enabled, _ = d.boolean(n, path)
		}
	case *netip.Addr:
		d.address(n, p, path)
	case *netip.Prefix:
		d.prefix(n, p, path)
	case *VIP:
		if n.kind != scalarKind {
			return false
		}
		d.plainVIP(n, p, path)
	default:
		return false
	}
	return true
}

func (d *decoder) decodeStruct(n *node, v reflect.Value, path string) {
	if n.kind != mapKind {
		d.fail(n, path, msg("%s is not a set of keys", d.quote(n)), msg("write keys below it, each as name: value"))
		return
	}
	info := d.fields.of(v.Type())
	given := make(map[string]string)
	for _, p := range n.pairs {
		f := info.byKey[p.key.text]
		if f == nil {
			d.unknownKey(p, v, info, path)
			continue
		}
		sub := keyPath(path, f.key)
		if earlier, ok := given[f.key]; ok {
			d.fail(p.key, sub, msg("%s and %s are the same key", earlier, p.key.text), msg("keep %s", f.key))
			continue
		}
		given[f.key] = p.key.text
		if p.value.kind == mapKind || p.value.kind == listKind {
			d.mark(p.key, sub)
		}
		if f.later != "" {
			d.notYet(p, v.FieldByIndex(f.index), sub, f.later)
		}
		d.decode(p.value, v.FieldByIndex(f.index), sub, f)
	}
}

func (d *decoder) unknownKey(p pair, v reflect.Value, info *structInfo, path string) {
	key := p.key.text
	sub := keyPath(path, key)
	known := make([]string, 0, len(info.fields))
	for _, f := range info.fields {
		known = append(known, f.key)
	}
	near := nearest(key, known)
	if info.rest != nil && near == "" {
		rest := v.FieldByIndex(info.rest)
		if rest.IsNil() {
			rest.Set(reflect.MakeMap(rest.Type()))
		}
		if s, ok := d.scalarText(p.value, sub); ok {
			rest.SetMapIndex(reflect.ValueOf(key), reflect.ValueOf(s))
		}
		d.mark(p.value, sub)
		d.warn(p.key, sub, msg("loads, but this release does not act on it"), msg("remove it if nothing else reads this file"))
		return
	}
	fix := msg("remove it; known here: %s", strings.Join(known, ", "))
	if near != "" {
		fix = msg("did you mean %s?", near)
		d.bad[keyPath(path, near)] = true // it is not missing, it is misspelt
	}
	d.fail(p.key, sub, msg("unknown key"), fix)
}

func (d *decoder) decodeList(n *node, v reflect.Value, path string, f *field) {
	if n.kind != listKind {
		d.fail(n, path, msg("%s is not a list", d.quote(n)), msg("write a list: each entry on its own line after a dash, or [a, b]"))
		return
	}
	out := reflect.MakeSlice(v.Type(), 0, len(n.items))
	for i, item := range n.items {
		elem := reflect.New(v.Type().Elem()).Elem()
		sub := indexPath(path, i)
		setElementDefaults(elem, path)
		if item.kind == nullKind {
			d.fail(item, sub, msg("the entry is empty"), msg("fill it in or remove the dash"))
		} else {
			d.decode(item, elem, sub, f)
		}
		out = reflect.Append(out, elem)
	}
	v.Set(out)
}

// setElementDefaults gives a new list entry its defaults.
func setElementDefaults(elem reflect.Value, list string) {
	switch p := elem.Addr().Interface().(type) {
	case *Controller:
		*p = controllerDefaults()
	case *ComputeNode:
		nodeType := "compute"
		if strings.HasSuffix(list, "viz_nodes") {
			nodeType = "viz"
		}
		*p = computeDefaults(nodeType)
	case *Witness:
		*p = Witness{hostDefaults()}
	case *Partition:
		*p = partitionDefaults()
	}
}

func (d *decoder) decodeMap(n *node, v reflect.Value, path string, f *field) {
	if n.kind != mapKind {
		d.fail(n, path, msg("%s is not a set of keys", d.quote(n)), msg("write keys below it, each as name: value"))
		return
	}
	out := reflect.MakeMapWithSize(v.Type(), len(n.pairs))
	for _, p := range n.pairs {
		elem := reflect.New(v.Type().Elem()).Elem()
		sub := keyPath(path, p.key.text)
		if elem.Kind() == reflect.String {
			s, ok := d.scalarText(p.value, sub)
			if !ok {
				continue
			}
			d.mark(p.value, sub)
			elem.SetString(s)
		} else if secret, isSecret := elem.Addr().Interface().(*Secret); isSecret {
			s, ok := d.scalarText(p.value, sub)
			if !ok {
				continue
			}
			d.mark(p.value, sub)
			*secret = Secret{s}
			if path != "environment" && secretName(p.key.text) {
				d.secrets = append(d.secrets, placedSecret{sub, *secret, !strings.Contains(p.value.text, "${")})
			}
		} else {
			d.decode(p.value, elem, sub, f)
		}
		out.SetMapIndex(reflect.ValueOf(p.key.text), elem)
	}
	v.Set(out)
}

// oneOf checks s against the values the key allows. Letter case is forgiven
// nowhere: the same file is read by other tools.
func (d *decoder) oneOf(n *node, path, s string, f *field) bool {
	if f == nil || len(f.enum) == 0 || slices.Contains(f.enum, s) || s == "" {
		return true
	}
	fix := msg("write one of %s", strings.Join(f.enum, ", "))
	if near := nearest(s, f.enum); near != "" {
		fix = msg("did you mean %s? Allowed: %s", near, strings.Join(f.enum, ", "))
	}
	d.fail(n, path, msg("%s is not allowed here", d.quote(n)), fix)
	return false
}

var anyIndex = regexp.MustCompile(`\[[0-9]+\]`)

// notYet remembers a key that this release does not act on. A section that is
// switched off asks for nothing, and a switch that says what happens anyway
// does not either. def is the default.
func (d *decoder) notYet(p pair, def reflect.Value, path, part string) {
	if p.value.kind == nullKind {
		return
	}
	if on := p.value.get("enabled"); on != nil && strings.EqualFold(on.text, "false") {
		return
	}
	if def.Kind() == reflect.Bool && strings.EqualFold(p.value.text, strconv.FormatBool(def.Bool())) {
		return
	}
	if _, open := def.Interface().(Section); open && strings.EqualFold(p.value.text, "false") {
		return
	}
	path = anyIndex.ReplaceAllString(path, "[]")
	for i := range d.later {
		if d.later[i].part == part {
			if !slices.Contains(d.later[i].paths, path) {
				d.later[i].paths = append(d.later[i].paths, path)
			}
			return
		}
	}
	d.later = append(d.later, laterKeys{part, p.key, []string{path}})
}

// warnLater says once for each part of the product that it comes later.
func (d *decoder) warnLater() {
	for _, l := range d.later {
		what := msg("this release does not act on it yet")
		if len(l.paths) > 1 {
			what = msg("this release does not act on it yet, nor on %s", names(l.paths[1:]))
		}
		d.warn(l.first, l.paths[0], what, msg("leave it for the release that does"))
	}
}

// secretName reports whether a key's name says that its value is a secret.
func secretName(key string) bool {
	key = strings.ToLower(key)
	for _, word := range []string{"pass", "secret", "token", "credential", "webhook", "apikey", "api_key", "private_key", "auth_key"} {
		if strings.Contains(key, word) {
			return true
		}
	}
	return false
}

// sectionSecrets finds the secrets of an untyped section by the names of
// their keys.
func (d *decoder) sectionSecrets(n *node, path string, secret bool) {
	switch n.kind {
	case scalarKind:
		if secret && n.text != "" {
			d.mark(n, path)
			d.secrets = append(d.secrets, placedSecret{path, Secret{n.text}, !strings.Contains(n.text, "${")})
		}
	case listKind:
		for i, it := range n.items {
			d.sectionSecrets(it, indexPath(path, i), secret)
		}
	case mapKind:
		for _, p := range n.pairs {
			d.sectionSecrets(p.value, keyPath(path, p.key.text), secret || secretName(p.key.text) && p.value.tag != "!!bool" && p.value.tag != "!!int")
		}
	}
}
