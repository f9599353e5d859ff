package config

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"multihead/internal/golden"
)

//go:generate go test -run TestReference -update .

// The key reference of docs/ is made of the same tags and defaults that Load
// reads by. go generate writes it; the test fails when it is out of date.

const (
	referenceStart = "<!-- The rest is made by: go generate ./internal/config -->\n"
	catalogueFile  = "keys.ko.tsv"
)

// reference writes the tables; tr translates every text in them.
type reference struct {
	fields fieldTable
	tr     func(string) string
	b      *strings.Builder
	seen   map[reflect.Type]string
}

func makeReference(tr func(string) string) string {
	r := reference{fields: make(fieldTable), tr: tr, b: &strings.Builder{}, seen: make(map[reflect.Type]string)}
	root := reflect.ValueOf(*defaults())
	info := r.fields.of(root.Type())
	fmt.Fprintf(r.b, "\n## %s\n\n", tr("Keys"))
	r.header()
	for i := range info.fields {
		f := &info.fields[i]
		if _, isStruct := structOf(f.typ); !isStruct {
			r.row(f, "", root.FieldByIndex(f.index))
		}
	}
	for i := range info.fields {
		f := &info.fields[i]
		if _, isStruct := structOf(f.typ); !isStruct {
			continue
		}
		fmt.Fprintf(r.b, "\n### %s\n\n%s.", f.key, upper(tr(f.doc)))
		if f.later != "" {
			fmt.Fprintf(r.b, " %s", tr("It loads; this release does not act on it yet."))
		}
		r.b.WriteString("\n\n")
		r.header()
		prefix := f.key + "."
		if f.typ.Kind() == reflect.Slice {
			prefix = f.key + "[]."
		}
		r.rows(f, prefix, root.FieldByIndex(f.index))
	}
	return r.b.String()
}

func upper(s string) string {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func (r *reference) header() {
	fmt.Fprintf(r.b, "| %s | %s | %s | %s |\n|---|---|---|---|\n", r.tr("key"), r.tr("value"), r.tr("default"), r.tr("meaning"))
}

// structOf returns the struct whose keys stand below a field.
func structOf(t reflect.Type) (reflect.Type, bool) {
	if t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return t, false
	}
	for _, own := range []any{Secret{}, Section{}, defaults().Network.VIP.Address, defaults().Network.ManagementNetwork} {
		if reflect.TypeOf(own) == t {
			return t, false
		}
	}
	return t, true
}

// rows writes the keys below f, one a row, those of its parts after it.
func (r *reference) rows(f *field, prefix string, def reflect.Value) {
	t, _ := structOf(f.typ)
	if first, ok := r.seen[t]; ok && t.NumField() > 2 {
		fmt.Fprintf(r.b, "| %s | | | %s |\n", code(prefix+"*"), fmt.Sprintf(r.tr("the same keys as %s"), code(first)))
		return
	}
	if def.Kind() == reflect.Slice {
		elem := reflect.New(t).Elem()
		setElementDefaults(elem, f.key)
		def = elem
	}
	r.seen[t] = strings.TrimSuffix(prefix, ".")
	info := r.fields.of(t)
	for i := range info.fields {
		sub := &info.fields[i]
		r.row(sub, prefix, def.FieldByIndex(sub.index))
		if _, isStruct := structOf(sub.typ); isStruct {
			dot := "."
			if sub.typ.Kind() == reflect.Slice {
				dot = "[]."
			}
			r.rows(sub, prefix+sub.key+dot, def.FieldByIndex(sub.index))
		}
	}
	if info.rest != nil {
		fmt.Fprintf(r.b, "| %s | | | %s |\n", code(prefix+"*"), r.tr("further keys load with a warning; this release does not act on them"))
	}
}

func code(s string) string { return "`" + s + "`" }

func (r *reference) row(f *field, prefix string, def reflect.Value) {
	key := prefix + f.key
	if f.typ.Kind() == reflect.Slice {
		if _, isStruct := structOf(f.typ); isStruct {
			key += "[]"
		}
	}
	doc := r.tr(f.doc)
	for _, a := range f.aliases {
		doc += "; " + fmt.Sprintf(r.tr("older name: %s"), code(a))
	}
	if f.later != "" {
		doc += ". " + r.tr("It loads; this release does not act on it yet.")
	}
	fmt.Fprintf(r.b, "| %s | %s | %s | %s |\n", code(key), r.typeName(f), r.defaultText(f, def), strings.ReplaceAll(doc, "|", `\|`))
}

func (r *reference) typeName(f *field) string {
	if len(f.enum) > 0 {
		words := make([]string, len(f.enum))
		for i, w := range f.enum {
			words[i] = code(w)
		}
		return strings.Join(words, ", ")
	}
	name := map[reflect.Type]string{
		reflect.TypeFor[Secret]():                            "secret",
		reflect.TypeFor[HostList]():                          "hostlist, list or `auto`",
		reflect.TypeFor[Items]():                             "list, or text with commas",
		reflect.TypeFor[Seconds]():                           "seconds, or `5s`, `2m`",
		reflect.TypeFor[Millis]():                            "milliseconds, or `5s`",
		reflect.TypeFor[Section]():                           "any",
		reflect.TypeFor[VIP]():                               "keys, or an address",
		reflect.TypeOf(defaults().Network.VIP.Address):       "address",
		reflect.TypeOf(defaults().Network.ManagementNetwork): "network",
	}[f.typ]
	switch {
	case name != "":
		return r.tr(name)
	case f.typ == reflect.TypeFor[Count]():
		return fmt.Sprintf(r.tr("`auto`, or 1 to %d"), *f.max)
	}
	switch f.typ.Kind() {
	case reflect.Bool:
		return r.tr("true or false")
	case reflect.Int:
		if f.min != nil && f.max != nil {
			return fmt.Sprintf(r.tr("%d to %d"), *f.min, *f.max)
		}
		return r.tr("number")
	case reflect.Slice:
		return r.tr("list")
	case reflect.Map, reflect.Struct:
		return r.tr("keys")
	}
	return r.tr("text")
}

func (r *reference) defaultText(f *field, def reflect.Value) string {
	if _, isStruct := structOf(f.typ); isStruct {
		return ""
	}
	e := encoder{fields: r.fields}
	n := e.encode(def)
	if s, ok := (View{root: n}).Scalar(); ok && !n.empty() {
		return code(s)
	}
	if n.kind == scalarKind && n.tag == unsetTag && (f.min == nil || *f.min <= 0) {
		return code("0")
	}
	return ""
}

// catalogue reads English to Korean, one pair a line, a tab between.
func catalogue(t *testing.T) map[string]string {
	t.Helper()
	out := make(map[string]string)
	for line := range strings.Lines(read(t, catalogueFile)) {
		english, korean, ok := strings.Cut(strings.TrimRight(line, "\n"), "\t")
		if !ok || korean == "" {
			t.Errorf("%s: %q has no translation", catalogueFile, english)
		}
		if _, twice := out[english]; twice {
			t.Errorf("%s: %q is there twice", catalogueFile, english)
		}
		out[english] = korean
	}
	return out
}

func TestReferenceIsUpToDate(t *testing.T) {
	korean := catalogue(t)
	used := make(map[string]bool)
	var missing []string
	for file, tr := range map[string]func(string) string{
		"../../docs/config.md": func(s string) string { return s },
		"../../docs/ko/config.md": func(s string) string {
			used[s] = true
			if _, ok := korean[s]; !ok && !slices.Contains(missing, s) {
				missing = append(missing, s)
			}
			return cmp.Or(korean[s], s)
		},
	} {
		text := read(t, file)
		intro, _, ok := strings.Cut(text, referenceStart)
		if !ok {
			t.Fatalf("%s: no line %s", file, referenceStart)
		}
		got := intro + referenceStart + makeReference(tr)
		golden.Check(t, file, got) // go generate ./internal/config writes it anew
	}
	for _, s := range missing {
		t.Errorf("%s: not translated:\n%s", catalogueFile, s)
	}
	for s := range korean {
		if !used[s] {
			t.Errorf("%s: no longer used: %q", catalogueFile, s)
		}
	}
}
