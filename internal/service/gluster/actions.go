package gluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
)

// reload tells systemd of a changed unit file whose unit is not to be
// restarted for it.
type reload struct {
	unit  string
	files []string
}

func (r reload) String() string { return "have systemd read " + r.unit + " again" }

// Watches makes it needed where one of the files is about to change.
func (r reload) Watches() []string { return r.files }

func (r reload) Done(ctx context.Context, h host.Reader) (bool, error) {
	out, err := h.Query(ctx, "systemctl", "show", r.unit, "--property=NeedDaemonReload")
	return strings.TrimSpace(out) != "NeedDaemonReload=yes", err
}

func (r reload) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	_, err := h.Run(ctx, host.Command("systemctl", "daemon-reload"))
	return reloadAgain{}, err
}

// Preview counts it as run.
func (r reload) Preview(context.Context, host.Reader) (plan.Preview, error) {
	return plan.Preview{Kind: plan.Run}, nil
}

// reloadAgain is done after the old unit files were put back.
type reloadAgain struct{}

func (reloadAgain) String() string                                  { return "have systemd read its units again" }
func (reloadAgain) Done(context.Context, host.Reader) (bool, error) { return false, nil }
func (reloadAgain) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	_, err := h.Run(ctx, host.Command("systemctl", "daemon-reload"))
	return nil, err
}

// brickDir makes the directory of a brick. What takes it back also takes back
// what glusterd made of it.
type brickDir struct {
	plan.Dir
	volume string
	brick  brick
	own    []string
}

// Done says yes only of a directory that is in use: an empty one has to be
// passed through Do, so that its undo knows it was empty.
func (d brickDir) Done(ctx context.Context, h host.Reader) (bool, error) {
	ok, err := d.Dir.Done(ctx, h)
	if !ok || err != nil {
		return false, err
	}
	list, err := readDir(ctx, h, d.Path)
	return len(list) > 0, err
}

func (d brickDir) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	clear := clearBrick{path: d.Path, volume: d.volume, brick: d.brick, own: d.own}
	if info, err := h.Stat(ctx, d.Path); err == nil {
		list, err := h.ReadDir(ctx, d.Path)
		if err != nil {
			return nil, err
		}
		if len(list) > 0 {
			return d.Dir.Do(ctx, h) // it holds something: only owner and mode are ours to change
		}
		clear.keep = &host.Attr{Mode: info.Mode.Perm(), Owner: info.Owner, Group: info.Group, ModTime: info.ModTime}
	}
	undo, err := d.Dir.Do(ctx, h)
	return plan.Both(undo, clear), err
}

// clearBrick empties the directory of a brick that is no brick any more, where
// it holds nothing but glusterd's own and ours. Otherwise it is kept aside.
type clearBrick struct {
	path   string
	volume string
	brick  brick
	own    []string
	keep   *host.Attr // what the directory was before; nil where there was none
}

func (c clearBrick) String() string { return "clear the unused brick " + c.path }

func (c clearBrick) Done(ctx context.Context, h host.Reader) (bool, error) {
	list, err := readDir(ctx, h, c.path)
	return len(list) == 0, err
}

func (c clearBrick) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	v, err := readVolume(ctx, h, c.volume)
	if err != nil {
		return nil, err
	}
	if v != nil && v.has(c.brick) {
		return nil, fmt.Errorf("%s: %s is part of volume %s and stays", h.Name(), c.path, c.volume)
	}
	found, err := foreign(ctx, h, c.path, c.own)
	if err != nil {
		return nil, err
	}
	if found != "" {
		return c.aside(ctx, h)
	}
	if err := removeTree(ctx, h, c.path); err != nil {
		return nil, err
	}
	// Made anew without the marks in its extended attributes; the undo of the
	// directory itself takes it away where it was not there before.
	attr := host.Attr{}
	if c.keep != nil {
		attr = *c.keep
	}
	return nil, h.Mkdir(ctx, c.path, attr)
}

// aside keeps what users wrote, in whole, under a name that is free.
func (c clearBrick) aside(ctx context.Context, h host.Host) (plan.Action, error) {
	to := c.path + ".undone"
	for n := 2; ; n++ {
		if _, err := h.Stat(ctx, to); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return nil, err
		}
		to = fmt.Sprintf("%s.undone-%d", c.path, n)
	}
	if _, err := (plan.Aside{Path: c.path, To: to}).Do(ctx, h); err != nil {
		return nil, err
	}
	attr := host.Attr{}
	if c.keep != nil {
		attr = *c.keep
	}
	return nil, h.Mkdir(ctx, c.path, attr)
}

const anonymousDir = ".glusterfs-anonymous-inode-"

// foreign returns the first path below dir that is neither glusterd's nor
// among own; empty where there is none.
func foreign(ctx context.Context, r host.Reader, dir string, own []string) (string, error) {
	var walk func(rel string) (string, error)
	walk = func(rel string) (string, error) {
		list, err := readDir(ctx, r, path.Join(dir, rel))
		if err != nil {
			return "", err
		}
		for _, f := range list {
			at := path.Join(rel, f.Name)
			switch {
			case at == ".glusterfs":
			case strings.HasPrefix(at, anonymousDir) && f.IsDir():
				// glusterd's own, where files wait that were deleted on one
				// brick only.
				if left, err := readDir(ctx, r, path.Join(dir, at)); err != nil || len(left) > 0 {
					return at, err
				}
			case !slices.Contains(own, at) || f.IsDir() == (at == Marker):
				return at, nil
			case f.IsDir():
				if found, err := walk(at); found != "" || err != nil {
					return found, err
				}
			}
		}
		return "", nil
	}
	return walk("")
}

// removeTree removes a tree one name at a time.
func removeTree(ctx context.Context, h host.Host, dir string) error {
	list, err := readDir(ctx, h, dir)
	if err != nil {
		return err
	}
	for _, f := range list {
		at := path.Join(dir, f.Name)
		if f.IsDir() {
			err = removeTree(ctx, h, at)
		} else {
			err = h.Remove(ctx, at)
		}
		if err != nil {
			return err
		}
	}
	return h.Remove(ctx, dir)
}

// onVolume does something on the mounted volume and nowhere else: below an
// unmounted mount point every path is another one.
type onVolume struct {
	mount string
	inner plan.Action
}

func (o onVolume) String() string { return o.inner.String() }

func (o onVolume) Done(ctx context.Context, h host.Reader) (bool, error) {
	table, err := readMounts(ctx, h)
	if err != nil {
		return false, err
	}
	if _, ok := table.at(o.mount); !ok {
		return false, nil
	}
	return o.inner.Done(ctx, h)
}

func (o onVolume) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	table, err := readMounts(ctx, h)
	if err != nil {
		return nil, err
	}
	if _, ok := table.at(o.mount); !ok {
		return nil, fmt.Errorf("%s: nothing is mounted on %s", h.Name(), o.mount)
	}
	undo, err := o.inner.Do(ctx, h)
	if undo != nil {
		undo = onVolume{o.mount, undo}
	}
	return undo, err
}

// Preview is the inner action's.
func (o onVolume) Preview(ctx context.Context, h host.Reader) (plan.Preview, error) {
	if pv, ok := o.inner.(plan.Previewer); ok {
		return pv.Preview(ctx, h)
	}
	return plan.Preview{Kind: plan.Run}, nil
}

// markerFile writes the marker with the volume's identity, which exists only
// once the volume does.
type markerFile struct{ path, volume string }

func (m markerFile) String() string { return "write " + m.path }

func (m markerFile) file(ctx context.Context, h host.Reader) (plan.File, error) {
	v, err := readVolume(ctx, h, m.volume)
	if err != nil || v == nil {
		return plan.File{}, errors.Join(err, missing(v == nil, m.volume))
	}
	return plan.File{Path: m.path, Data: markerText(m.volume, v.ID), Attr: host.Attr{Mode: 0o444, Owner: "root", Group: "root"}}, nil
}

func markerText(name, id string) []byte { return []byte(id + " " + name + "\n") }

func (m markerFile) Done(ctx context.Context, h host.Reader) (bool, error) {
	f, err := m.file(ctx, h)
	if err != nil {
		return false, err
	}
	return f.Done(ctx, h)
}

func (m markerFile) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	f, err := m.file(ctx, h)
	if err != nil {
		return nil, err
	}
	return f.Do(ctx, h)
}

// Preview counts it as an addition.
func (m markerFile) Preview(context.Context, host.Reader) (plan.Preview, error) {
	return plan.Preview{Kind: plan.Add}, nil
}

// on is the action that makes the directory on the volume.
func (d directory) on(mount string) plan.Action {
	return plan.Dir{Path: path.Join(mount, d.path), Attr: host.Attr{Mode: fs.FileMode(d.mode), Owner: d.owner, Group: d.group}}
}

// mountPoint is the directory that something is mounted on. Once it is, mode
// and owner are those of what is mounted and none of our business.
type mountPoint struct{ plan.Dir }

func (m mountPoint) Done(ctx context.Context, h host.Reader) (bool, error) {
	table, err := readMounts(ctx, h)
	if err != nil {
		return false, err
	}
	if _, ok := table.at(m.Path); ok {
		return true, nil
	}
	return m.Dir.Done(ctx, h)
}

// mountSteps mount what the unit of dir says, and wait until it serves.
func mountSteps(hostname, dir string) []plan.Step {
	unit := mountUnit(dir)
	return []plan.Step{
		{ID: "glusterfs.remount", Host: hostname, Effect: "what still has files open on the dead mount fails", Action: plan.Func{
			What: "mount " + dir + " anew, whose client has died", Kind: plan.Restart,
			Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
				table, err := readMounts(ctx, r)
				if err != nil {
					return false, err
				}
				if _, ok := table.at(dir); !ok {
					return true, nil
				}
				return !dead(ctx, r, dir), nil
			},
			Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
				_, err := h.Run(ctx, host.Command("systemctl", "restart", unit))
				return nil, err
			}}},
		{ID: "glusterfs.mount", Host: hostname, Action: plan.Running(unit)},
		{ID: "glusterfs.mounted", Host: hostname, Action: plan.Await{What: dir + " is mounted and serves", Timeout: 30 * time.Second,
			Until: func(ctx context.Context, r host.Reader) (bool, string, error) {
				one, cancel := context.WithTimeout(ctx, 10*time.Second)
				defer cancel()
				table, err := readMounts(one, r)
				if err != nil {
					return false, "", err
				}
				if _, ok := table.at(dir); !ok {
					return false, "nothing is mounted there", nil
				}
				_, err = r.Stat(one, path.Join(dir, Marker))
				if err == nil || errors.Is(err, fs.ErrNotExist) {
					return true, "", nil
				}
				return false, "it does not answer", err
			}}},
	}
}

// dead says whether the process behind a mount is gone: every look fails at
// once, and nobody serves it. A volume without quorum fails the same way, but
// its client lives and comes back by itself.
func dead(ctx context.Context, r host.Reader, dir string) bool {
	ctx, cancel := context.WithTimeout(ctx, mountLimit)
	defer cancel()
	_, err := r.Stat(ctx, dir)
	if err == nil || !strings.Contains(err.Error(), "not connected") {
		return false
	}
	_, err = r.Query(ctx, "pgrep", "-f", "glusterfs .* "+regexp.QuoteMeta(dir)+"$")
	var exit *host.ExitError
	return errors.As(err, &exit) && exit.Code == 1
}
