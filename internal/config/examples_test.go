package config

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestExamplesLoadWithoutAWord(t *testing.T) {
	files, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, file := range files {
		c, problems, err := Load(file, WithEnv(longEnv))
		if err != nil || len(problems) > 0 {
			t.Errorf("%s: %v\n%s", file, err, problems)
			continue
		}
		if wrong := fileSchema(t).file(c.Source()); len(wrong) > 0 {
			t.Errorf("%s does not fit its own schema: %q", file, wrong)
		}
	}
}

// TestExampleLoadsWithTheCommentsTakenAway: the parts of the example that come
// in a later release are written in a form that loads.
func TestExampleLoadsWithTheCommentsTakenAway(t *testing.T) {
	text := read(t, "../../examples/my_multihead_cluster.yaml")
	_, later, ok := strings.Cut(text, "# web_services:\n")
	if !ok {
		t.Fatal("the example has no web_services")
	}
	later, backup, ok := strings.Cut("# web_services:\n"+later, "# Below shared_storage:\n")
	if !ok {
		t.Fatal("the example has no backup")
	}
	uncomment := func(s string) string {
		return strings.ReplaceAll(strings.ReplaceAll("\n"+s, "\n# ", "\n"), "\n#\n", "\n\n")
	}
	text = strings.Replace(text, "\n\ndatabase:", uncomment(backup)+"\ndatabase:", 1) + uncomment(later)
	c, problems, err := Parse("example", []byte(text), WithEnv(longEnv))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.WebServices.Services) != 8 || !c.SharedStorage.Backup.Enabled || len(problems) != 1 {
		t.Errorf("%d services, %d problems:\n%s", len(c.WebServices.Services), len(problems), problems)
	}
}

func TestStarterLoadsWithoutAWord(t *testing.T) {
	text, err := DefaultStarter().Text()
	if err != nil {
		t.Fatal(err)
	}
	c, problems, err := Parse("starter", text, WithEnv(noEnv))
	if err != nil || len(problems) > 0 {
		t.Fatalf("%v\n%s", err, problems)
	}
	again, err := DefaultStarter().Text()
	if err != nil {
		t.Fatal(err)
	}
	c2, _, err := Parse("starter", again, WithEnv(noEnv))
	if err != nil || c2.Redis.Cluster.Password == c.Redis.Cluster.Password {
		t.Error("two files have the same password")
	}
	alone := DefaultStarter()
	alone.Heads, alone.Computes = alone.Heads[:1], nil
	if text, err = alone.Text(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Parse("starter", text, WithEnv(noEnv)); err != nil {
		t.Errorf("one head without compute nodes: %v\n%s", err, text)
	}
}
