package config

import (
	"bytes"
	"encoding/json"
	"io"
)

// JSON writes the view as JSON, keys in the order of the format, values that
// are not set as null, "" or 0.
func (v View) JSON(w io.Writer) error {
	var b bytes.Buffer
	writeJSON(&b, v.root)
	var out bytes.Buffer
	if err := json.Indent(&out, b.Bytes(), "", "  "); err != nil {
		return err
	}
	out.WriteByte('\n')
	_, err := w.Write(out.Bytes())
	return err
}

func writeJSON(b *bytes.Buffer, n *node) {
	switch n.kind {
	case nullKind:
		b.WriteString("null")
	case mapKind:
		b.WriteByte('{')
		for i, p := range n.pairs {
			if i > 0 {
				b.WriteByte(',')
			}
			writeString(b, p.key.text)
			b.WriteByte(':')
			writeJSON(b, p.value)
		}
		b.WriteByte('}')
	case listKind:
		b.WriteByte('[')
		for i, it := range n.items {
			if i > 0 {
				b.WriteByte(',')
			}
			writeJSON(b, it)
		}
		b.WriteByte(']')
	case scalarKind:
		switch {
		case n.tag == "!!bool" && (n.text == "true" || n.text == "false"),
			(n.tag == "!!int" || n.tag == unsetTag) && decimal.MatchString(n.text):
			b.WriteString(n.text)
		default:
			writeString(b, n.text)
		}
	}
}

func writeString(b *bytes.Buffer, s string) {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string and a bytes.Buffer: neither fails
	b.Truncate(b.Len() - 1)
}

// YAML writes the view as YAML. Values that are not set are left out; those
// that the file does not set say so.
func (v View) YAML(w io.Writer) error {
	text, err := dumpYAML(v.root, v.path, func(path string) bool {
		return v.cluster == nil || v.cluster.Has(path)
	})
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}
