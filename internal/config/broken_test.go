package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"multihead/internal/golden"
)

// cases returns the files of a folder below testdata, each by its name.
func cases(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in testdata/%s: %v", dir, err)
	}
	out := make(map[string][]byte)
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimSuffix(filepath.Base(f), ".yaml")] = data
	}
	return out
}

// checkComplete requires of every problem a place, a reason and a remedy.
func checkComplete(t *testing.T, problems Problems) {
	t.Helper()
	for _, p := range problems {
		if p.Pos.Line == 0 || p.Pos.Col == 0 {
			t.Errorf("no place: %s", p)
		}
		if p.What.String() == "" || p.Fix.String() == "" {
			t.Errorf("no reason or no remedy: %s", p)
		}
		if s := p.String(); strings.Contains(s, "%!") {
			t.Errorf("a message with a wrong argument: %s", s)
		}
	}
}

func TestBrokenFilesSayWhereWhyAndWhatToWrite(t *testing.T) {
	files := cases(t, "broken")
	if len(files) < 30 {
		t.Errorf("%d broken files; 30 are promised", len(files))
	}
	for name, data := range files {
		t.Run(name, func(t *testing.T) {
			c, problems, err := Parse(name+".yaml", data, WithEnv(noEnv))
			var invalid *InvalidError
			if !errors.As(err, &invalid) || c != nil {
				t.Fatalf("it loads: %v", err)
			}
			if len(problems.Errors()) != len(invalid.Problems.Errors()) {
				t.Errorf("%d errors returned, %d in the error", len(problems.Errors()), len(invalid.Problems.Errors()))
			}
			checkComplete(t, invalid.Problems)
			golden.Check(t, filepath.Join("testdata", "broken", name+".want"), invalid.Problems.String()+"\n")
		})
	}
}

func TestRiskyFilesLoadAndSayWhatWillHappen(t *testing.T) {
	for name, data := range cases(t, "warned") {
		t.Run(name, func(t *testing.T) {
			_, problems, err := Parse(name+".yaml", data, WithEnv(noEnv))
			if err != nil {
				t.Fatalf("it does not load:\n%v", err)
			}
			if len(problems) == 0 {
				t.Error("it loads without a word")
			}
			checkComplete(t, problems)
			golden.Check(t, filepath.Join("testdata", "warned", name+".want"), problems.String()+"\n")
		})
	}
}

func TestPlainFileLoadsWithoutAWord(t *testing.T) {
	data, err := os.ReadFile("testdata/plain.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, problems, err := Parse("plain.yaml", data, WithEnv(noEnv))
	if err != nil || len(problems) > 0 {
		t.Errorf("err %v, problems:\n%s", err, problems)
	}
}
