package config

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
)

// Schema returns the JSON Schema (draft 2020-12) of the file, for editors. It
// is made of the same tags and defaults that Load reads by.
func Schema() ([]byte, error) {
	s := schemaMaker{fields: make(fieldTable), defs: make(map[string]any)}
	root := s.object(reflect.ValueOf(*defaults()))
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "my_multihead_cluster.yaml"
	root["description"] = "The cluster file of multihead."
	s.oldForms(root)
	root["$defs"] = s.defs
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(root); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

type schemaMaker struct {
	fields fieldTable
	defs   map[string]any
}

// variable is ${NAME} where something other than a text is expected.
func variable() map[string]any { return map[string]any{"type": "string", "pattern": `\$\{[A-Za-z_]`} }

func anyOf(options ...map[string]any) map[string]any { return map[string]any{"anyOf": options} }

// object describes a struct; v holds its defaults.
func (s *schemaMaker) object(v reflect.Value) map[string]any {
	info := s.fields.of(v.Type())
	properties := make(map[string]any)
	for i := range info.fields {
		f := &info.fields[i]
		p := s.value(f, v.FieldByIndex(f.index))
		if f.doc != "" {
			p["description"] = f.doc
			if f.later != "" {
				p["description"] = f.doc + " (loads; not acted on by this release)"
			}
		}
		properties[f.key] = p
		for _, a := range f.aliases {
			properties[a] = map[string]any{"$ref": s.ref(v.Type(), f.key, p), "deprecated": true, "description": "older name of " + f.key}
		}
	}
	out := map[string]any{"type": []string{"object", "null"}, "properties": properties}
	if info.rest == nil {
		out["additionalProperties"] = false
	}
	return out
}

// ref stores a property among the definitions, so that its older name can
// point to it.
func (s *schemaMaker) ref(t reflect.Type, key string, p map[string]any) string {
	name := t.Name() + "." + key
	s.defs[name] = p
	return "#/$defs/" + name
}

// value describes the value of one key; def is its default.
func (s *schemaMaker) value(f *field, def reflect.Value) map[string]any {
	out := s.typed(f, f.typ, def)
	switch def.Kind() {
	case reflect.Struct, reflect.Slice, reflect.Map:
		if _, isHosts := def.Interface().(HostList); !isHosts {
			return out
		}
	}
	e := encoder{fields: s.fields}
	if n := e.encode(def); !n.empty() {
		var b bytes.Buffer
		writeJSON(&b, n)
		out["default"] = json.RawMessage(b.String())
	}
	return out
}

func (s *schemaMaker) typed(f *field, t reflect.Type, def reflect.Value) map[string]any {
	if p := s.notation(f, t); p != nil {
		return p
	}
	switch t.Kind() {
	case reflect.Struct:
		return s.named(t, def)
	case reflect.Slice:
		elem := reflect.New(t.Elem()).Elem()
		setElementDefaults(elem, f.key)
		return map[string]any{"type": []string{"array", "null"}, "items": s.typed(f, t.Elem(), elem)}
	case reflect.Map:
		return map[string]any{"type": []string{"object", "null"}, "additionalProperties": s.typed(&field{}, t.Elem(), reflect.New(t.Elem()).Elem())}
	case reflect.Bool:
		return map[string]any{"type": []string{"boolean", "null"}}
	case reflect.Int:
		return anyOf(s.number(f), variable())
	}
	if len(f.enum) > 0 {
		return map[string]any{"enum": append(append([]string{}, f.enum...), "")}
	}
	return map[string]any{"type": []string{"string", "number", "null"}}
}

func (s *schemaMaker) number(f *field) map[string]any {
	p := map[string]any{"type": []string{"integer", "null"}}
	if f.min != nil {
		p["minimum"] = *f.min
	}
	if f.max != nil {
		p["maximum"] = *f.max
	}
	return p
}

// named describes a struct once, among the definitions.
func (s *schemaMaker) named(t reflect.Type, def reflect.Value) map[string]any {
	if _, ok := s.defs[t.Name()]; !ok {
		s.defs[t.Name()] = nil // a place, for a struct that contains itself
		s.defs[t.Name()] = s.object(def)
	}
	return map[string]any{"$ref": "#/$defs/" + t.Name()}
}

// notation describes the types that decodeValue reads.
func (s *schemaMaker) notation(f *field, t reflect.Type) map[string]any {
	text := map[string]any{"type": []string{"string", "null"}}
	list := map[string]any{"type": "array", "items": map[string]any{"type": []string{"string", "number"}}}
	switch reflect.Zero(t).Interface().(type) {
	case Secret:
		return map[string]any{"type": []string{"string", "integer", "null"}}
	case Count:
		n := s.number(f)
		n["minimum"] = 1
		return anyOf(map[string]any{"const": "auto"}, n, variable())
	case HostList, Items:
		return anyOf(text, list)
	case PortList:
		port := map[string]any{"type": []string{"integer", "string"}}
		return anyOf(port, map[string]any{"type": "array", "items": port})
	case Seconds, Millis:
		return anyOf(map[string]any{"type": []string{"number", "null"}, "minimum": 0}, map[string]any{"type": "string", "pattern": strings.TrimSuffix(durationText.String(), "$") + `$|\$\{`})
	case Section:
		return map[string]any{}
	case netip.Addr, netip.Prefix:
		return text
	case VIP:
		return anyOf(map[string]any{"type": "string", "description": "a plain address"}, s.named(t, reflect.ValueOf(defaults().Network.VIP)))
	case Rest:
		return map[string]any{"type": "object"}
	}
	return nil
}

// oldForms adds what older files have in other places.
func (s *schemaMaker) oldForms(root map[string]any) {
	controller := map[string]any{"$ref": "#/$defs/Controller"}
	old := func(p map[string]any, text string) map[string]any {
		p["deprecated"], p["description"] = true, text
		return p
	}
	root["properties"].(map[string]any)["controllers"] = old(map[string]any{"type": "array", "items": controller}, "older place of nodes.controllers")
	nodes := s.defs["Nodes"].(map[string]any)["properties"].(map[string]any)
	nodes["controller"] = old(map[string]any{"$ref": "#/$defs/Controller"}, "older form of controllers with one head")
}
