package plan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"multihead/internal/host"
)

// File makes a file have a content and attributes. A file that has them is
// not touched: its time and inode stay as they are.
type File struct {
	Path   string
	Data   []byte
	Attr   host.Attr
	Secret bool // its content is never shown, in no plan and no log
}

func (f File) String() string { return "write " + f.Path }

// Done compares content, mode and owner.
func (f File) Done(ctx context.Context, h host.Reader) (bool, error) {
	info, err := h.Stat(ctx, f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !attrEqual(info, f.Attr) || !info.Mode.IsRegular() {
		return false, nil
	}
	data, err := h.ReadFile(ctx, f.Path)
	if err != nil {
		return false, err
	}
	return bytes.Equal(data, f.Data), nil
}

// Do writes the file, making the directories above it.
func (f File) Do(ctx context.Context, h host.Host) (Action, error) {
	undo, err := keepFile(ctx, h, f.Path, f.Secret)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(f.Path, "/etc/systemd/system/") {
		undo = reread{undo}
	}
	made, err := mkdirs(ctx, h, path.Dir(f.Path))
	if err != nil {
		return made, err
	}
	return Both(made, undo), h.WriteFile(ctx, f.Path, f.Data, f.Attr)
}

// reread puts a unit's file back and has systemd read it: with its old time it is none
// that systemd takes for new, and the one that was taken back would go on counting (seen:
// a unit ran a script that was gone again, and never started).
type reread struct{ Action }

func (r reread) Do(ctx context.Context, h host.Host) (Action, error) {
	redo, err := r.Action.Do(ctx, h)
	if err != nil {
		return redo, err
	}
	_, err = h.Run(ctx, host.Command("systemctl", "daemon-reload"))
	return redo, err
}

// Touches names the file.
func (f File) Touches() []string { return []string{f.Path} }

// Preview tells a new file from a changed one and shows the difference,
// unless the file is secret.
func (f File) Preview(ctx context.Context, h host.Reader) (Preview, error) {
	before, err := h.ReadFile(ctx, f.Path)
	p := Preview{Kind: Change, Before: string(before), After: string(f.Data)}
	if errors.Is(err, fs.ErrNotExist) {
		p.Kind, err = Add, nil
	}
	if f.Secret {
		p.Before, p.After = "", ""
	}
	return p, err
}

// keepFile returns the action that brings path back to what it is now: its
// content, attributes and time, or its absence.
func keepFile(ctx context.Context, h host.Reader, p string, secret bool) (Action, error) {
	info, err := h.Stat(ctx, p)
	if errors.Is(err, fs.ErrNotExist) {
		return Absent{Path: p}, nil
	}
	if err != nil {
		return nil, err
	}
	if info.Mode&fs.ModeSymlink != 0 {
		return Link{Path: p, Target: info.Target}, nil
	}
	if !info.Mode.IsRegular() {
		return nil, fmt.Errorf("%s: %s is there and is not a file; move it away first", h.Name(), p)
	}
	data, err := h.ReadFile(ctx, p)
	if err != nil {
		return nil, err
	}
	return File{Path: p, Data: data, Attr: attrOf(info), Secret: secret}, nil
}

func attrOf(i host.FileInfo) host.Attr {
	return host.Attr{Mode: i.Mode & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky),
		Owner: i.Owner, Group: i.Group, ModTime: i.ModTime}
}

// attrEqual compares what want asks for; its zero fields ask for nothing.
// Times are restored by an undo and never a reason to write.
func attrEqual(have host.FileInfo, want host.Attr) bool {
	a := attrOf(have)
	return (want.Mode == 0 || a.Mode == want.Mode) &&
		(want.Owner == "" || a.Owner == want.Owner) &&
		(want.Group == "" || a.Group == want.Group)
}

// Absent makes a file, link or empty directory not be there.
type Absent struct{ Path string }

func (a Absent) String() string { return "remove " + a.Path }

// Done says whether it is gone.
func (a Absent) Done(ctx context.Context, h host.Reader) (bool, error) {
	_, err := h.Stat(ctx, a.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return false, err
}

// Do removes it. A directory with something in it is an error: nothing here
// removes recursively.
func (a Absent) Do(ctx context.Context, h host.Host) (Action, error) {
	info, err := h.Stat(ctx, a.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var undo Action
	if info.IsDir() {
		undo = Dir{Path: a.Path, Attr: attrOf(info)}
	} else if undo, err = keepFile(ctx, h, a.Path, true); err != nil {
		return nil, err
	}
	return undo, h.Remove(ctx, a.Path)
}

// Touches names the file.
func (a Absent) Touches() []string { return []string{a.Path} }

// Preview counts it as destroyed.
func (a Absent) Preview(context.Context, host.Reader) (Preview, error) {
	return Preview{Kind: Destroy}, nil
}

// Dir makes a directory, with the ones above it where they are missing.
type Dir struct {
	Path string
	Attr host.Attr // zero Mode means 0755 on a new one
}

func (d Dir) String() string { return "make directory " + d.Path }

// Done compares mode and owner.
func (d Dir) Done(ctx context.Context, h host.Reader) (bool, error) {
	info, err := h.Stat(ctx, d.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !info.IsDir() {
		return false, fmt.Errorf("%s: %s is there and is not a directory; move it away first", h.Name(), d.Path)
	}
	return attrEqual(info, d.Attr), nil
}

// Do makes it, or gives it its attributes.
func (d Dir) Do(ctx context.Context, h host.Host) (Action, error) {
	info, err := h.Stat(ctx, d.Path)
	if err == nil {
		return SetAttr{Path: d.Path, Attr: attrOf(info)}, h.SetAttr(ctx, d.Path, d.Attr)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	undo, err := mkdirs(ctx, h, path.Dir(d.Path))
	if err != nil {
		return undo, err
	}
	attr := d.Attr
	if attr.Mode == 0 {
		attr.Mode = 0o755
	}
	if err := h.Mkdir(ctx, d.Path, attr); err != nil {
		return undo, err
	}
	return Both(undo, Absent{Path: d.Path}), nil
}

// Preview tells new from changed.
func (d Dir) Preview(ctx context.Context, h host.Reader) (Preview, error) {
	if _, err := h.Stat(ctx, d.Path); errors.Is(err, fs.ErrNotExist) {
		return Preview{Kind: Add}, nil
	}
	return Preview{Kind: Change}, nil
}

// mkdirs makes dir and what is missing above it, and returns what takes them
// away again.
func mkdirs(ctx context.Context, h host.Host, dir string) (undo Action, err error) {
	var missing []string
	for d := dir; d != "/" && d != "."; d = path.Dir(d) {
		_, err := h.Stat(ctx, d)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		missing = append(missing, d)
	}
	for i := len(missing) - 1; i >= 0; i-- {
		if err := h.Mkdir(ctx, missing[i], host.Attr{Mode: 0o755}); err != nil {
			return undo, err
		}
		undo = Both(undo, vacate{missing[i]})
	}
	return undo, nil
}

// vacate removes a directory that was made on the way to something else, unless
// others have put something in it since.
type vacate struct{ path string }

func (v vacate) String() string { return "remove " + v.path + " if it is empty" }

func (v vacate) Done(ctx context.Context, h host.Reader) (bool, error) {
	entries, err := h.ReadDir(ctx, v.path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return len(entries) > 0, err
}

func (v vacate) Do(ctx context.Context, h host.Host) (Action, error) {
	if done, err := v.Done(ctx, h); done || err != nil {
		return nil, err
	}
	return nil, h.Remove(ctx, v.path)
}

// SetAttr gives what is there its attributes.
type SetAttr struct {
	Path string
	Attr host.Attr
}

func (s SetAttr) String() string { return fmt.Sprintf("set owner and mode of %s", s.Path) }

// Done compares mode and owner.
func (s SetAttr) Done(ctx context.Context, h host.Reader) (bool, error) {
	info, err := h.Stat(ctx, s.Path)
	if err != nil {
		return false, err
	}
	return attrEqual(info, s.Attr), nil
}

// Do sets them.
func (s SetAttr) Do(ctx context.Context, h host.Host) (Action, error) {
	info, err := h.Stat(ctx, s.Path)
	if err != nil {
		return nil, err
	}
	return SetAttr{Path: s.Path, Attr: attrOf(info)}, h.SetAttr(ctx, s.Path, s.Attr)
}

// Preview counts it as a change.
func (s SetAttr) Preview(context.Context, host.Reader) (Preview, error) {
	return Preview{Kind: Change}, nil
}

// Link makes Path a symbolic link to Target.
type Link struct{ Path, Target string }

func (l Link) String() string { return fmt.Sprintf("link %s to %s", l.Path, l.Target) }

// Done compares the target.
func (l Link) Done(ctx context.Context, h host.Reader) (bool, error) {
	info, err := h.Stat(ctx, l.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && info.Mode&fs.ModeSymlink != 0 && info.Target == l.Target, err
}

// Do makes the link; a file in its place is kept for the undo.
func (l Link) Do(ctx context.Context, h host.Host) (Action, error) {
	undo, err := keepFile(ctx, h, l.Path, true)
	if err != nil {
		return nil, err
	}
	return undo, h.Symlink(ctx, l.Target, l.Path)
}

// Touches names the link.
func (l Link) Touches() []string { return []string{l.Path} }

// Preview counts it as an addition.
func (l Link) Preview(context.Context, host.Reader) (Preview, error) {
	return Preview{Kind: Add}, nil
}

// Aside moves something that is in the way to a name of its own, and never
// deletes it. To must be free.
type Aside struct{ Path, To string }

func (a Aside) String() string { return fmt.Sprintf("keep %s aside as %s", a.Path, a.To) }

// Done says whether nothing is in the way any more.
func (a Aside) Done(ctx context.Context, h host.Reader) (bool, error) {
	return Absent{Path: a.Path}.Done(ctx, h)
}

// Do renames it.
func (a Aside) Do(ctx context.Context, h host.Host) (Action, error) {
	if _, err := h.Stat(ctx, a.To); err == nil {
		return nil, fmt.Errorf("%s: %s is there already; it is not overwritten", h.Name(), a.To)
	}
	return Aside{Path: a.To, To: a.Path}, h.Rename(ctx, a.Path, a.To)
}

// Touches names both paths.
func (a Aside) Touches() []string { return []string{a.Path, a.To} }

// both undoes two actions, the later one first.
type both struct{ first, second Action }

// Both joins two undo actions of one step; the second is done first. Either
// may be nil.
func Both(first, second Action) Action {
	switch {
	case first == nil:
		return second
	case second == nil:
		return first
	}
	return both{first, second}
}

func (b both) String() string { return b.second.String() + "; " + b.first.String() }

func (b both) Done(ctx context.Context, h host.Reader) (bool, error) {
	ok, err := b.second.Done(ctx, h)
	if !ok || err != nil {
		return ok, err
	}
	return b.first.Done(ctx, h)
}

func (b both) Do(ctx context.Context, h host.Host) (Action, error) {
	_, err2 := b.second.Do(ctx, h)
	_, err1 := b.first.Do(ctx, h)
	return nil, errors.Join(err2, err1)
}

// instant is a time to wait between two looks at a condition that offers no
// event.
const instant = 200 * time.Millisecond
