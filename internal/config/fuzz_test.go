package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func seed(f *testing.F) {
	f.Helper()
	files, err := filepath.Glob("testdata/*/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, file := range append(files, "testdata/site.yaml", "testdata/plain.yaml") {
		if filepath.Base(file) == "yaml-anchors-multiply.yaml" {
			continue // takes half a second, by design
		}
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("nodes: {controllers: [{<<: [*a]}]}"))
	f.Add([]byte("? [a]\n: b"))
	f.Add([]byte("\xff\xfea"))
}

// FuzzLoad requires that no text makes Parse panic, that a file which does
// not load says where and why, and that one which loads can be shown, hashed
// and loaded again.
func FuzzLoad(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, problems, err := Parse("fuzz.yaml", data, WithEnv(longEnv))
		for _, p := range problems {
			if p.Pos.Line < 1 || p.Pos.Col < 1 {
				t.Errorf("no place: %s", p)
			}
			if p.What.Format == "" || p.Fix.Format == "" {
				t.Errorf("no reason or remedy: %s", p)
			}
		}
		if err != nil {
			var invalid *InvalidError
			if !errors.As(err, &invalid) || len(invalid.Problems.Errors()) == 0 {
				t.Fatalf("an error without a problem: %v", err)
			}
			return
		}
		var b bytes.Buffer
		if err := c.Show(false).YAML(&b); err != nil {
			t.Fatal(err)
		}
		if len(c.Hash()) != 64 {
			t.Error("no hash")
		}
	})
}

// FuzzEdit requires that an edit either says exactly what was meant or leaves
// the text alone, and that removing what was added gives the same text back.
func FuzzEdit(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := ParseDocument("fuzz.yaml", data)
		if err != nil {
			return
		}
		before := bytes.Clone(d.Bytes())
		if err := d.AddController(server5()); err != nil {
			if !bytes.Equal(before, d.Bytes()) {
				t.Fatal("a refused edit changed the text")
			}
			return
		}
		if _, problems := readTree("x", d.Bytes()); len(problems) > 0 {
			t.Fatalf("%s\n%s", problems, d.Bytes())
		}
		_ = d.RemoveController("server1")
		_ = d.Set("cluster_info.cluster_name", "x")
		if _, problems := readTree("x", d.Bytes()); len(problems) > 0 {
			t.Fatalf("%s\n%s", problems, d.Bytes())
		}
	})
}

// FuzzConvert requires that a conversion keeps the meaning or is refused.
func FuzzConvert(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		out, _, err := Convert("fuzz.yaml", data)
		if err != nil {
			return
		}
		if _, problems := readTree("x", out); len(problems) > 0 {
			t.Fatalf("%s\n%s", problems, out)
		}
	})
}
