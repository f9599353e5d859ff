package config

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// schemaChecker is as much of JSON Schema as the file's schema uses. A keyword
// it does not know fails, so that it cannot pass by ignoring.
type schemaChecker struct {
	t    *testing.T
	root map[string]any
}

func (s schemaChecker) check(v any, schema map[string]any, path string) []string {
	var out []string
	fail := func(format string, args ...any) { out = append(out, path+": "+fmt.Sprintf(format, args...)) }
	for keyword, arg := range schema {
		switch keyword {
		case "$schema", "$defs", "title", "description", "default", "deprecated":
		case "$ref":
			name := strings.TrimPrefix(arg.(string), "#/$defs/")
			target, ok := s.root["$defs"].(map[string]any)[name].(map[string]any)
			if !ok {
				s.t.Fatalf("%s: no definition %s", path, name)
			}
			out = append(out, s.check(v, target, path)...)
		case "type":
			if !slices.ContainsFunc(list(arg), func(x any) bool { return isType(v, x.(string)) }) {
				fail("%v is not %v", v, arg)
			}
		case "enum":
			if v != nil && !slices.Contains(arg.([]any), v) {
				fail("%v is not one of %v", v, arg)
			}
		case "const":
			if v != arg {
				fail("%v is not %v", v, arg)
			}
		case "minimum":
			if n, ok := v.(float64); ok && n < arg.(float64) {
				fail("%v is below %v", v, arg)
			}
		case "maximum":
			if n, ok := v.(float64); ok && n > arg.(float64) {
				fail("%v is above %v", v, arg)
			}
		case "pattern":
			if text, ok := v.(string); ok && !regexp.MustCompile(arg.(string)).MatchString(text) {
				fail("%q does not match %s", text, arg)
			}
		case "anyOf":
			if !slices.ContainsFunc(arg.([]any), func(x any) bool { return len(s.check(v, x.(map[string]any), path)) == 0 }) {
				fail("%v fits none of %d forms", v, len(arg.([]any)))
			}
		case "properties", "additionalProperties":
			out = append(out, s.properties(v, schema, keyword, path)...)
		case "items":
			items, _ := v.([]any)
			for i, it := range items {
				out = append(out, s.check(it, arg.(map[string]any), indexPath(path, i))...)
			}
		default:
			s.t.Fatalf("%s: the checker does not know %s", path, keyword)
		}
	}
	return out
}

func (s schemaChecker) properties(v any, schema map[string]any, keyword, path string) []string {
	var out []string
	known, _ := schema["properties"].(map[string]any)
	object, _ := v.(map[string]any)
	for key, value := range object {
		sub, ok := known[key].(map[string]any)
		switch more := schema["additionalProperties"].(type) {
		case bool:
			if !ok && !more && keyword == "additionalProperties" {
				out = append(out, keyPath(path, key)+": unknown key")
			}
		case map[string]any:
			if !ok && keyword == "additionalProperties" {
				out = append(out, s.check(value, more, keyPath(path, key))...)
			}
		}
		if ok && keyword == "properties" {
			out = append(out, s.check(value, sub, keyPath(path, key))...)
		}
	}
	return out
}

func list(v any) []any {
	if l, ok := v.([]any); ok {
		return l
	}
	return []any{v}
}

func isType(v any, name string) bool {
	switch x := v.(type) {
	case nil:
		return name == "null"
	case bool:
		return name == "boolean"
	case string:
		return name == "string"
	case float64:
		return name == "number" || name == "integer" && x == math.Trunc(x)
	case []any:
		return name == "array"
	}
	return name == "object"
}

// plainValue is a node as encoding/json would have read it.
func plainValue(n *node) any {
	switch n.kind {
	case nullKind:
		return nil
	case listKind:
		out := []any{}
		for _, it := range n.items {
			out = append(out, plainValue(it))
		}
		return out
	case mapKind:
		out := map[string]any{}
		for _, p := range n.pairs {
			out[p.key.text] = plainValue(p.value)
		}
		return out
	}
	switch n.tag {
	case "!!bool":
		return n.text == "true"
	case "!!int", "!!float":
		if f, err := strconv.ParseFloat(n.text, 64); err == nil {
			return f
		}
	}
	return n.text
}

func fileSchema(t *testing.T) schemaChecker {
	t.Helper()
	data, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(data, &root); err != nil {
		t.Fatal(err)
	}
	return schemaChecker{t, root}
}

func (s schemaChecker) file(text []byte) []string {
	root, problems := readTree("x", text)
	if len(problems) > 0 {
		s.t.Fatal(problems)
	}
	return s.check(plainValue(root), s.root, "")
}

func TestSchemaAcceptsWhatLoads(t *testing.T) {
	s := fileSchema(t)
	files := map[string][]byte{"site": []byte(read(t, "testdata/site.yaml")), "plain": []byte(read(t, "testdata/plain.yaml"))}
	for _, dir := range []string{"warned", "old"} {
		for name, data := range cases(t, dir) {
			files[dir+"/"+name] = data
		}
	}
	starter, err := DefaultStarter().Text()
	if err != nil {
		t.Fatal(err)
	}
	files["starter"] = starter
	for name, data := range files {
		// yes and no are read as true and false with a warning; an editor may
		// mark them.
		if name == "warned/yaml-yes-as-true" || name == "old/single-head" || name == "old/controllers-at-the-top" {
			continue
		}
		if wrong := s.file(data); len(wrong) > 0 {
			t.Errorf("%s: %q", name, wrong)
		}
	}
}

func TestSchemaMarksMistakes(t *testing.T) {
	s := fileSchema(t)
	for _, name := range []string{"unknown-key-near", "unknown-key-far", "unknown-keys-several", "priority-out-of-range", "vrrp-id-out-of-range", "storage-type-unknown", "wrong-types", "yaml-not-a-bool", "netmask-as-address"} {
		if wrong := s.file(cases(t, "broken")[name]); len(wrong) == 0 {
			t.Errorf("%s: nothing is marked", name)
		}
	}
}

func TestEveryKeyIsDescribed(t *testing.T) {
	s := fileSchema(t)
	n := 0
	var walk func(schema map[string]any, path string)
	walk = func(schema map[string]any, path string) {
		properties, _ := schema["properties"].(map[string]any)
		for key, p := range properties {
			n++
			if p.(map[string]any)["description"] == nil {
				t.Errorf("%s.%s has no description", path, key)
			}
			walk(p.(map[string]any), path+"."+key)
		}
	}
	walk(s.root, "")
	for name, def := range s.root["$defs"].(map[string]any) {
		walk(def.(map[string]any), name)
	}
	if n < 200 {
		t.Errorf("only %d keys", n)
	}
}
