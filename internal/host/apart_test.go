package host

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// links are what the files of a thread (or "self", all others) are.
func links(t *testing.T, thread string) string {
	t.Helper()
	entries, err := os.ReadDir("/proc/" + thread + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		if to, err := os.Readlink("/proc/" + thread + "/fd/" + e.Name()); err == nil {
			out = append(out, to)
		}
	}
	return strings.Join(out, "\n")
}

func TestWhatIsOpenApartIsOpenForNoCommand(t *testing.T) {
	file := filepath.Join(t.TempDir(), "on-the-volume")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	opened, read, done := make(chan string), make(chan bool), make(chan bool)
	apart(func() {
		defer close(done)
		fd, err := unix.Open(file, unix.O_RDONLY, 0) // not closed where a command begins: it would be seen there
		if err != nil {
			opened <- err.Error()
			return
		}
		opened <- strconv.Itoa(unix.Gettid())
		<-read // as long as a server does not answer
		_ = unix.Close(fd)
	})
	own := links(t, "self/task/"+<-opened)
	if !strings.Contains(own, file) {
		t.Errorf("the thread that opened it has open:\n%s", own)
	}
	if all := links(t, "self"); strings.Contains(all, file) {
		t.Errorf("all others have it open as well:\n%s", all)
	}
	out, err := exec.Command("ls", "-l", "/proc/self/fd").CombinedOutput()
	if err != nil || strings.Contains(string(out), file) {
		t.Errorf("a command begins with %v:\n%s", err, out)
	}
	close(read)
	<-done
}

func TestConnectionsAreNotHeldByThreadsApart(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	done := make(chan bool)
	newThread() <- func() { close(done) } // which takes along what is open
	<-done
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	_ = r.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the pipe has not ended: %v", err)
	}
}

func TestManyThingsApartAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := NewLocal("here")
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			if data, err := l.ReadFile(t.Context(), file); err != nil || string(data) != "x" {
				t.Errorf("%q %v", data, err)
			}
			if out, err := l.Query(t.Context(), "hostname"); err != nil || out == "" {
				t.Errorf("%q %v", out, err)
			}
		})
	}
	all.Wait()
}

func BenchmarkReadFile(b *testing.B) {
	file := filepath.Join(b.TempDir(), "f")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		b.Fatal(err)
	}
	l := NewLocal("here")
	for _, path := range []string{file, "/proc/self/stat"} {
		b.Run(filepath.Base(path), func(b *testing.B) {
			for b.Loop() {
				if _, err := l.ReadFile(b.Context(), path); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
