package hosttest

import (
	"bytes"
	"io/fs"
	"path"
	"strings"
	"testing"
	"time"

	"multihead/internal/host"
)

func testWriteRead(t *testing.T, s Subject) {
	ctx, p := t.Context(), path.Join(s.Dir, "a b'c\"$\n한글")
	for _, data := range [][]byte{[]byte("one\n"), {}, {0, 0xff, '\n', 0}} {
		must(t, s.Host.WriteFile(ctx, p, data, host.Attr{Mode: 0o640, Owner: s.Owner, Group: s.Group}))
		got, err := s.Host.ReadFile(ctx, p)
		must(t, err)
		if !bytes.Equal(got, data) {
			t.Fatalf("read %q, wrote %q", got, data)
		}
	}
	fi, err := s.Host.Stat(ctx, p)
	must(t, err)
	if fi.Mode != 0o640 || fi.Owner != s.Owner || fi.Group != s.Group || fi.Size != 4 || fi.Name != path.Base(p) {
		t.Fatalf("stat: %+v", fi)
	}
}

func testWriteKeeps(t *testing.T, s Subject) {
	ctx, p := t.Context(), path.Join(s.Dir, "f")
	must(t, s.Host.WriteFile(ctx, p, []byte("1"), host.Attr{}))
	fi, err := s.Host.Stat(ctx, p)
	must(t, err)
	if fi.Mode != 0o644 {
		t.Fatalf("a new file has mode %v, want 0644", fi.Mode)
	}
	then := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	must(t, s.Host.SetAttr(ctx, p, host.Attr{Mode: 0o4711, ModTime: then}))
	fi, err = s.Host.Stat(ctx, p)
	must(t, err)
	if fi.Mode != fs.ModeSetuid|0o711 || !fi.ModTime.Equal(then) {
		t.Fatalf("after SetAttr: %+v", fi)
	}
	must(t, s.Host.WriteFile(ctx, p, []byte("2"), host.Attr{}))
	fi, err = s.Host.Stat(ctx, p)
	must(t, err)
	if fi.Mode != fs.ModeSetuid|0o711 {
		t.Fatalf("rewriting changed the mode to %v", fi.Mode)
	}
	if fi.ModTime.Equal(then) {
		t.Fatal("new content kept the old time")
	}
	must(t, s.Host.WriteFile(ctx, p, []byte("3"), host.Attr{ModTime: then}))
	fi, err = s.Host.Stat(ctx, p)
	must(t, err)
	if !fi.ModTime.Equal(then) {
		t.Fatalf("time %v, want %v", fi.ModTime, then)
	}
}

func testWriteInode(t *testing.T, s Subject) {
	ctx, p := t.Context(), path.Join(s.Dir, "f")
	must(t, s.Host.WriteFile(ctx, p, []byte("1"), host.Attr{}))
	before, err := s.Host.Stat(ctx, p)
	must(t, err)
	must(t, s.Host.WriteFile(ctx, p, []byte("1"), host.Attr{}))
	after, err := s.Host.Stat(ctx, p)
	must(t, err)
	if before.Inode == after.Inode {
		t.Fatal("the file was overwritten in place")
	}
	if before.Device == 0 || before.Device != after.Device {
		t.Fatalf("device %d, then %d", before.Device, after.Device)
	}
}

func testWriteRefuses(t *testing.T, s Subject) {
	ctx := t.Context()
	dir, link, file := path.Join(s.Dir, "dir"), path.Join(s.Dir, "link"), path.Join(s.Dir, "file")
	must(t, s.Host.Mkdir(ctx, dir, host.Attr{}))
	must(t, s.Host.WriteFile(ctx, file, []byte("keep"), host.Attr{}))
	must(t, s.Host.Symlink(ctx, file, link))
	for _, p := range []string{dir, link} {
		if err := s.Host.WriteFile(ctx, p, []byte("x"), host.Attr{}); err == nil {
			t.Errorf("%s was replaced by a file", p)
		}
	}
	if data, err := s.Host.ReadFile(ctx, link); err != nil || string(data) != "keep" {
		t.Fatalf("%q, %v", data, err)
	}
}

func testWriteClean(t *testing.T, s Subject) {
	ctx := t.Context()
	must(t, s.Host.WriteFile(ctx, path.Join(s.Dir, "f"), []byte("1"), host.Attr{}))
	if err := s.Host.WriteFile(ctx, path.Join(s.Dir, "g"), []byte("1"), host.Attr{Owner: "no-such-user-here"}); s.Commands && err == nil {
		t.Error("an owner who is not there was accepted")
	}
	list, err := s.Host.ReadDir(ctx, s.Dir)
	must(t, err)
	for _, fi := range list {
		if fi.Name != "f" && fi.Name != "g" {
			t.Errorf("%s was left behind", fi.Name)
		}
	}
}

func testWriteParent(t *testing.T, s Subject) {
	err := s.Host.WriteFile(t.Context(), path.Join(s.Dir, "no/f"), nil, host.Attr{})
	wantErr(t, err, fs.ErrNotExist)
}

func testBigFile(t *testing.T, s Subject) {
	ctx, p := t.Context(), path.Join(s.Dir, "big")
	data := bytes.Repeat([]byte("0123456789abcde\n"), 1<<20) // 16 MiB: as big as the binary
	must(t, s.Host.WriteFile(ctx, p, data, host.Attr{}))
	got, err := s.Host.ReadFile(ctx, p)
	must(t, err)
	if !bytes.Equal(got, data) {
		t.Fatalf("%d bytes came back of %d, or other ones", len(got), len(data))
	}
}

func testMissing(t *testing.T, s Subject) {
	ctx, p := t.Context(), path.Join(s.Dir, "missing")
	_, err := s.Host.ReadFile(ctx, p)
	wantErr(t, err, fs.ErrNotExist)
	_, err = s.Host.Stat(ctx, p)
	wantErr(t, err, fs.ErrNotExist)
	_, err = s.Host.ReadDir(ctx, p)
	wantErr(t, err, fs.ErrNotExist)
	wantErr(t, s.Host.SetAttr(ctx, p, host.Attr{Mode: 0o600}), fs.ErrNotExist)
	wantErr(t, s.Host.Rename(ctx, p, p+"2"), fs.ErrNotExist)
	if !strings.Contains(err.Error(), s.Host.Name()) {
		t.Errorf("%q does not name the host", err)
	}
	if strings.Count(err.Error(), s.Host.Name()+":") != 1 {
		t.Errorf("%q names the host more than once", err)
	}
	if _, err := s.Host.ReadFile(ctx, s.Dir); err == nil {
		t.Error("a directory was read as a file")
	}
}

func testMkdir(t *testing.T, s Subject) {
	ctx, p := t.Context(), path.Join(s.Dir, "d")
	must(t, s.Host.Mkdir(ctx, p, host.Attr{}))
	fi, err := s.Host.Stat(ctx, p)
	must(t, err)
	if fi.Mode != fs.ModeDir|0o755 {
		t.Fatalf("a new directory has mode %v, want 0755", fi.Mode)
	}
	must(t, s.Host.Mkdir(ctx, p, host.Attr{Mode: 0o2770, Owner: s.Owner}))
	must(t, s.Host.Mkdir(ctx, p, host.Attr{Mode: 0o700}))
	must(t, s.Host.Mkdir(ctx, p, host.Attr{}))
	fi, err = s.Host.Stat(ctx, p)
	must(t, err)
	if fi.Mode != fs.ModeDir|0o700 {
		t.Fatalf("mode %v, want 0700", fi.Mode)
	}
	f := path.Join(s.Dir, "f")
	must(t, s.Host.WriteFile(ctx, f, nil, host.Attr{}))
	wantErr(t, s.Host.Mkdir(ctx, f, host.Attr{}), fs.ErrExist)
	wantErr(t, s.Host.Mkdir(ctx, path.Join(s.Dir, "no/d"), host.Attr{}), fs.ErrNotExist)
}

func testSetAttr(t *testing.T, s Subject) {
	ctx, p := t.Context(), path.Join(s.Dir, "f")
	must(t, s.Host.WriteFile(ctx, p, []byte("1"), host.Attr{Mode: 0o600}))
	must(t, s.Host.SetAttr(ctx, p, host.Attr{}))
	must(t, s.Host.SetAttr(ctx, p, host.Attr{Owner: s.Owner, Group: s.Group}))
	fi, err := s.Host.Stat(ctx, p)
	must(t, err)
	if fi.Mode != 0o600 || fi.Owner != s.Owner || fi.Group != s.Group {
		t.Fatalf("%+v", fi)
	}
	link := path.Join(s.Dir, "link")
	must(t, s.Host.Symlink(ctx, p, link))
	if err := s.Host.SetAttr(ctx, link, host.Attr{Mode: 0o777}); err == nil {
		t.Error("the attributes of a link were set")
	}
}

func testRemove(t *testing.T, s Subject) {
	ctx, d := t.Context(), path.Join(s.Dir, "d")
	f := path.Join(d, "f")
	must(t, s.Host.Mkdir(ctx, d, host.Attr{}))
	must(t, s.Host.WriteFile(ctx, f, nil, host.Attr{}))
	if err := s.Host.Remove(ctx, d); err == nil {
		t.Fatal("a directory that is not empty was removed")
	}
	link := path.Join(s.Dir, "link")
	must(t, s.Host.Symlink(ctx, f, link))
	must(t, s.Host.Remove(ctx, link))
	if _, err := s.Host.Stat(ctx, f); err != nil {
		t.Fatalf("removing the link removed its target: %v", err)
	}
	for range 2 {
		must(t, s.Host.Remove(ctx, f))
		must(t, s.Host.Remove(ctx, d))
	}
	must(t, s.Host.Remove(ctx, path.Join(d, "below")))
}

func testRename(t *testing.T, s Subject) {
	ctx := t.Context()
	a, b, d := path.Join(s.Dir, "a"), path.Join(s.Dir, "b"), path.Join(s.Dir, "d")
	must(t, s.Host.WriteFile(ctx, a, []byte("a"), host.Attr{}))
	must(t, s.Host.WriteFile(ctx, b, []byte("b"), host.Attr{}))
	must(t, s.Host.Mkdir(ctx, d, host.Attr{}))
	must(t, s.Host.Rename(ctx, a, b))
	if data, err := s.Host.ReadFile(ctx, b); err != nil || string(data) != "a" {
		t.Fatalf("%q, %v", data, err)
	}
	if err := s.Host.Rename(ctx, b, d); err == nil {
		t.Fatal("a directory was replaced by a file")
	}
	e := path.Join(s.Dir, "e")
	must(t, s.Host.Mkdir(ctx, e, host.Attr{}))
	if err := s.Host.Rename(ctx, e, d); err == nil {
		t.Fatal("a directory was replaced by a directory")
	}
	must(t, s.Host.WriteFile(ctx, path.Join(d, "f"), []byte("f"), host.Attr{}))
	moved := path.Join(s.Dir, "moved")
	must(t, s.Host.Rename(ctx, d, moved))
	if data, err := s.Host.ReadFile(ctx, path.Join(moved, "f")); err != nil || string(data) != "f" {
		t.Fatalf("%q, %v", data, err)
	}
}

func testSymlink(t *testing.T, s Subject) {
	ctx, link := t.Context(), path.Join(s.Dir, "link")
	must(t, s.Host.Symlink(ctx, "one", link))
	before, err := s.Host.Stat(ctx, link)
	must(t, err)
	must(t, s.Host.Symlink(ctx, "one", link))
	same, err := s.Host.Stat(ctx, link)
	must(t, err)
	if same.Inode != before.Inode {
		t.Error("a link that was right was made anew")
	}
	must(t, s.Host.Symlink(ctx, "two", link))
	fi, err := s.Host.Stat(ctx, link)
	must(t, err)
	if fi.Target != "two" || fi.Mode&fs.ModeSymlink == 0 {
		t.Fatalf("%+v", fi)
	}
	f := path.Join(s.Dir, "f")
	must(t, s.Host.WriteFile(ctx, f, nil, host.Attr{}))
	wantErr(t, s.Host.Symlink(ctx, "one", f), fs.ErrExist)
}

func testReadDir(t *testing.T, s Subject) {
	ctx := t.Context()
	list, err := s.Host.ReadDir(ctx, s.Dir)
	must(t, err)
	if len(list) != 0 {
		t.Fatalf("an empty directory holds %v", list)
	}
	for _, n := range []string{"b", "a", "c"} {
		must(t, s.Host.WriteFile(ctx, path.Join(s.Dir, n), []byte(n), host.Attr{}))
	}
	must(t, s.Host.Symlink(ctx, "a", path.Join(s.Dir, "d")))
	list, err = s.Host.ReadDir(ctx, s.Dir)
	must(t, err)
	got := ""
	for _, fi := range list {
		got += fi.Name
	}
	if got != "abcd" || list[3].Target != "a" || list[0].Size != 1 {
		t.Fatalf("%+v", list)
	}
}
