package config

import (
	"os"
	"path/filepath"
	"testing"
)

func TestALinkStaysALinkAndTheFileBehindItIsReplaced(t *testing.T) {
	shared, here := t.TempDir(), t.TempDir()
	file, link := filepath.Join(shared, "cluster.yaml"), filepath.Join(here, "cluster.yaml")
	if err := os.WriteFile(file, []byte("old"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if err := Rewritable(link, []byte("new")); err != nil {
		t.Fatal(err)
	}
	kept, err := Rewrite(link, []byte("new"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "new" {
		t.Errorf("the file behind the link has %q (%v)", got, err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is none any more: %v (%v)", info, err)
	}
	if got, err := os.ReadFile(kept); err != nil || string(got) != "old" || filepath.Dir(kept) != shared {
		t.Errorf("%s has %q (%v)", kept, got, err)
	}
	if left, err := os.ReadDir(shared); err != nil || len(left) != 2 {
		t.Errorf("beside it lies %v (%v)", left, err)
	}
}

func TestAFileThatCannotBeReplacedIsSaidBefore(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "cluster.yaml")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o500); err != nil { //nolint:gosec // nobody may write there
		t.Fatal(err)
	}
	err := Rewritable(file, []byte("new"))
	if os.Geteuid() == 0 { // whom no mode stops
		if err != nil {
			t.Error(err)
		}
	} else if err == nil {
		t.Error("it is said to be possible")
	}
	if err := Rewritable(filepath.Join(dir, "none", "cluster.yaml"), []byte("new")); err == nil {
		t.Error("a file that is not there could be replaced")
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "old" {
		t.Errorf("it has %q (%v)", got, err)
	}
}
