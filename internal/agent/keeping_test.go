package agent

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"multihead/internal/host"
)

// disk1 reads real files and counts.
type disk1 struct {
	host.Host
	read int
}

func (d *disk1) ReadFile(_ context.Context, path string) ([]byte, error) {
	d.read++
	return os.ReadFile(path)
}

func TestSettingsAreReadAgainWhenTheyWereWritten(t *testing.T) {
	d := &disk1{}
	k := newKeeping(d)
	k.prefixes = []string{t.TempDir()}
	file := filepath.Join(k.prefixes[0], "slurm.conf")
	look := func(want string, reads int) {
		t.Helper()
		got, err := k.ReadFile(t.Context(), file)
		if err != nil || string(got) != want || d.read != reads {
			t.Errorf("%q, %v after %d reads, want %q after %d", got, err, d.read, want, reads)
		}
	}
	write := func(what string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(what), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a")
	look("a", 1)
	write("b") // within the same tick, perhaps
	look("b", 2)
	k.settled = 0 // as if some seconds had gone by
	look("b", 3)
	look("b", 3)
	write("of another length")
	look("of another length", 4)
	other := file + ".new"
	if err := os.WriteFile(other, []byte("of ANOTHER length"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, file); err != nil {
		t.Fatal(err)
	}
	look("of ANOTHER length", 5)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := k.ReadFile(t.Context(), file); err == nil {
		t.Error("a file that is gone was read")
	}
}

// ReadDir lists real directories and counts.
func (d *disk1) ReadDir(_ context.Context, path string) ([]host.FileInfo, error) {
	d.read++
	entries, err := os.ReadDir(path)
	var out []host.FileInfo
	for _, e := range entries {
		out = append(out, host.FileInfo{Name: e.Name()})
	}
	return out, err
}

func TestADirectoryOfSettingsIsListedAgainWhenANameCameOrWent(t *testing.T) {
	d := &disk1{}
	k := newKeeping(d)
	dir := t.TempDir()
	k.prefixes, k.settled = []string{filepath.Dir(dir)}, 0 // as if some seconds had gone by
	look := func(want, reads int) {
		t.Helper()
		got, err := k.ReadDir(t.Context(), dir)
		if err != nil || len(got) != want || d.read != reads {
			t.Errorf("%v, %v after %d listings, want %d names after %d", got, err, d.read, want, reads)
		}
	}
	look(0, 1)
	look(0, 1)
	if err := os.Mkdir(filepath.Join(dir, "volume"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(dir, time.Time{}, time.Now().Add(-time.Hour)); err != nil { // not within one tick of the clock
		t.Fatal(err)
	}
	look(1, 2)
	look(1, 2)
	if err := os.Remove(filepath.Join(dir, "volume")); err != nil {
		t.Fatal(err)
	}
	look(0, 3)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := k.ReadDir(t.Context(), dir); err == nil {
		t.Error("a directory that is gone was listed")
	}
}

func TestWhatIsKeptIsGivenToOneAlone(t *testing.T) {
	k := newKeeping(nil)
	near, far := io.Pipe()
	k.Keep("db", near)
	if got := k.Kept("db"); got != io.Closer(near) {
		t.Fatalf("%v", got)
	}
	if got := k.Kept("db"); got != nil {
		t.Errorf("a second one got %v", got)
	}
	k.Keep("db", near)
	k.Keep("db", far) // the one before is closed
	done := make(chan error, 1)
	go func() { _, err := far.Write([]byte("x")); done <- err }()
	select {
	case err := <-done:
		if err == nil {
			t.Error("it was left open")
		}
	case <-time.After(10 * time.Second):
		t.Error("it was left open")
	}
}
