package gluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
)

// What is kept of a copy that gives way, in bytes: what is larger, or more, is not.
const (
	keepFile = 64 << 20
	keepAll  = 1 << 30
)

// kept is which files of a brick are kept aside, and how many are not for their size.
func (y returned) kept() (files []inode, large int) {
	total := int64(0)
	for _, n := range y.claims {
		switch {
		case !n.file:
		case n.size > keepFile || total+n.size > keepAll:
			large++
		default:
			total += n.size
			files = append(files, n)
		}
	}
	return files, large
}

// keepAside copies the files that give way to a directory beside the brick, which
// only root may read. Where the file system can, a copy takes no space.
func (s *State) keepAside(y returned, c *choice) []plan.Step {
	files, large := y.kept()
	if len(files) == 0 {
		return nil
	}
	dir := path.Join(path.Dir(s.conf.BrickPath), s.conf.VolumeName+".gave-way-"+s.stamp)
	what := fmt.Sprintf("keep aside the %d files of %s that give way to %s (%s), in %s", len(files), y.head.name, copyOf(c.Chosen), c, dir)
	if large > 0 {
		what += fmt.Sprintf("; %d larger ones are not kept", large)
	}
	to := func(n inode) string { return path.Join(dir, strings.TrimSuffix(n.gfid+"."+n.name, ".")) }
	return []plan.Step{{ID: "glusterfs.keep-aside", Host: y.head.name, Action: plan.Func{
		What: what, Kind: plan.Add,
		Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
			for _, n := range files {
				if _, err := r.Stat(ctx, to(n)); errors.Is(err, fs.ErrNotExist) {
					return false, nil
				} else if err != nil {
					return false, err
				}
			}
			return true, nil
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			if err := h.Mkdir(ctx, dir, host.Attr{Mode: 0o700, Owner: "root", Group: "root"}); err != nil {
				return nil, err
			}
			for _, n := range files {
				from := n.at(s.conf.BrickPath)
				if _, err := h.Stat(ctx, from); errors.Is(err, fs.ErrNotExist) {
					continue // removed since, by who may
				}
				if _, err := h.Run(ctx, host.Command("cp", "--reflink=auto", "--preserve=mode,ownership,timestamps", from, to(n))); err != nil {
					return nil, err
				}
			}
			return nil, nil
		}}}}
}

// due is what the chosen copy has to note about a brick for its version to replace
// the one there.
func (s *State) due(n inode, chosen *head) changelog {
	sum := n.notes[s.clients[s.own(chosen)]].covering(n.begun())
	return sum.against(n.dir)
}

// markOn has a chosen copy note that the other brick lacks what differs. What the
// chosen copy has not got at all goes with the directory that it is in there.
func (s *State) markOn(chosen *head, y returned, c *choice) plan.Step {
	client := s.clients[s.own(y.head)]
	brick := s.conf.BrickPath
	want := map[string]changelog{}
	var gfids []string
	for _, n := range y.claims {
		if w := s.due(n, chosen); !w.none() {
			want[n.gfid] = w
			gfids = append(gfids, n.gfid)
		}
	}
	lacking := func(ctx context.Context, r host.Reader) ([]inode, error) {
		here, err := readInodes(ctx, r, brick, gfids)
		var out []inode
		for _, n := range here {
			if !n.notes[client].covers(want[n.gfid]) {
				out = append(out, n)
			}
		}
		return out, err
	}
	return plan.Step{ID: "glusterfs.counts-over." + y.head.name, Host: chosen.name, Action: plan.Func{
		What: fmt.Sprintf("have the copy of %s count over that of %s in %d entries (%s)", chosen.name, y.head.name, len(gfids), c), Kind: plan.Change,
		Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
			left, err := lacking(ctx, r)
			return len(left) == 0 && err == nil, err
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			left, err := lacking(ctx, h)
			// A client that writes at this moment may put back what it read before.
			for try := 0; err == nil && len(left) > 0; try++ {
				if try == 5 {
					return nil, fmt.Errorf("%s: %d entries are written all the time; everything is looked at anew", h.Name(), len(left))
				}
				for _, n := range left {
					if err := s.note(ctx, h, n, client, n.notes[client].covering(want[n.gfid])); err != nil {
						return nil, err
					}
				}
				left, err = lacking(ctx, h)
			}
			return nil, err
		}}}
}

// note writes a changelog on a brick, and lists the entry in its heal index.
func (s *State) note(ctx context.Context, h host.Host, n inode, client string, log changelog) error {
	brick := s.conf.BrickPath
	if _, err := h.Run(ctx, host.Command("setfattr", "-h", "-n", "trusted.afr."+client, "-v", log.String(), n.at(brick))); err != nil {
		return err
	}
	index := path.Join(brick, indexPath)
	entry := path.Join(index, n.gfid)
	if _, err := h.Stat(ctx, entry); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	list, err := h.ReadDir(ctx, index)
	if err != nil {
		return err
	}
	for _, f := range list {
		if strings.HasPrefix(f.Name, "xattrop-") {
			_, err := h.Run(ctx, host.Command("ln", "-f", path.Join(index, f.Name), entry))
			return err
		}
	}
	_, err = h.Run(ctx, host.Command("touch", entry)) // the brick has noted nothing yet; only the name counts
	return err
}

// clearOn takes away what a brick that was left out notes against the chosen copies
// and itself, as long as it is what was seen.
func (s *State) clearOn(y returned, c *choice) plan.Step {
	brick := s.conf.BrickPath
	clients := map[string]bool{}
	for _, name := range c.Chosen {
		if to := s.head(name); to != nil {
			clients[s.clients[s.own(to)]] = true
		}
	}
	seen := map[string]inode{}
	var gfids []string
	for _, n := range y.claims {
		seen[n.gfid] = n
		gfids = append(gfids, n.gfid)
	}
	type one struct {
		inode
		client string
	}
	standing := func(ctx context.Context, r host.Reader) (out []one, err error) {
		here, err := readInodes(ctx, r, brick, gfids)
		for _, n := range here {
			for client, log := range n.notes {
				if clients[client] && !log.none() && log == seen[n.gfid].notes[client] {
					out = append(out, one{n, client})
				}
			}
		}
		return out, err
	}
	// What is being changed now passes; what stays was begun before the brick ended.
	begun := func(ctx context.Context, r host.Reader) (map[string]changelog, []inode, error) {
		stays := map[string]changelog{}
		for g, n := range seen {
			if !n.begun().none() {
				stays[g] = n.begun()
			}
		}
		var here []inode
		for range 5 {
			var err error
			if here, err = readInodes(ctx, r, brick, slices.Sorted(maps.Keys(stays))); err != nil || len(stays) == 0 {
				return nil, nil, err
			}
			for _, n := range here {
				stays[n.gfid] = stays[n.gfid].least(n.begun())
			}
			select {
			case <-ctx.Done():
				return nil, nil, context.Cause(ctx)
			case <-time.After(100 * time.Millisecond):
			}
		}
		return stays, here, nil
	}
	set := func(ctx context.Context, h host.Host, n inode, key string, to changelog) error {
		_, err := h.Run(ctx, host.Command("setfattr", "-h", "-n", "trusted.afr."+key, "-v", to.String(), n.at(brick)))
		return err
	}
	return plan.Step{ID: "glusterfs.gives-way", Host: y.head.name, Action: plan.Func{
		What: fmt.Sprintf("have the copy of %s give way to that of %s in %d entries (%s)", y.head.name, strings.Join(c.Chosen, ", "), len(gfids), c), Kind: plan.Change,
		Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
			left, err := standing(ctx, r)
			if err != nil || len(left) > 0 {
				return false, err
			}
			stays, _, err := begun(ctx, r)
			for _, log := range stays {
				if !log.none() {
					return false, err
				}
			}
			return err == nil, err
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			left, err := standing(ctx, h)
			if err != nil {
				return nil, err
			}
			for _, n := range left {
				if err := set(ctx, h, n.inode, n.client, changelog{}); err != nil {
					return nil, err
				}
			}
			stays, here, err := begun(ctx, h)
			if err != nil {
				return nil, err
			}
			for _, n := range here {
				if log := stays[n.gfid]; !log.none() {
					if err := set(ctx, h, n, dirty, n.begun().less(log)); err != nil {
						return nil, err
					}
				}
			}
			return nil, nil
		}}}
}

// healNow has the self-heal daemons look at their work; on switches them on before.
func (s *State) healNow(on bool) plan.Action {
	name := s.conf.VolumeName
	f := plan.Func{What: "have the self-heal daemons copy what counts", Kind: plan.Change,
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			if on {
				if _, err := change(ctx, h, "volume", "set", name, shdOption, "on"); err != nil {
					return nil, err
				}
			}
			// They begin by themselves within a minute; where they are still starting this fails.
			_, _ = change(ctx, h, "volume", "heal", name)
			return nil, nil
		}}
	if on {
		f.Satisfied = func(ctx context.Context, r host.Reader) (bool, error) {
			v, err := readVolume(ctx, r, name)
			return v != nil && v.Options[shdOption] != "off", err
		}
	}
	return f
}
