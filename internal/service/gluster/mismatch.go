package gluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// mismatch is a name that stands for one file on some bricks and for another one on
// others. Whoever opens it gets an input/output error, `heal … info split-brain` counts
// none, and no daemon decides between the two: a client that died in the middle of a
// change left the directory marked on all bricks, so that none of them is a source of
// what was replaced while one was away.
type mismatch struct {
	path  string // on the volume
	keep  string // the head whose brick has what was acknowledged; empty where only a person can say
	has   int    // on how many bricks that is
	parts string // which bricks have which, for a person
}

// differ says of names that stand for different files which was acknowledged: the one
// that is on as many bricks as a write needs, by the quorum's own rule, and of which
// they have written down that those with another file lack it. A number alone is not
// enough: bricks whose heads lost their power have lost the last seconds, and agree on
// what was before. Nor may anybody have written down that the copy that is kept, or a
// file like it, lacks something. Of directories and all else a person decides, and so on
// a volume that goes without a quorum.
func differ(v *volume, names []string, on []onBrick, fleeting []string) []mismatch {
	var out []mismatch
	for _, name := range names {
		m := mismatch{path: name, parts: parts(name, on)}
		for i := range v.Bricks[:len(v.Bricks)-v.Arbiters] { // the arbiter has no content
			if v.Options[quorumOption] == "auto" && (acknowledged(name, i, on) || slices.Contains(fleeting, name) && most(name, i, on)) {
				m.keep, m.has = on[i].owner, len(alike(name, i, on))
				break
			}
		}
		out = append(out, m)
	}
	return out
}

// most says whether as many bricks as a write needs have the candidate's file under a
// name, whatever anybody has written down. That does for what is of no worth a second
// later, and is all that there is where GlusterFS has wiped its notes: a name that was
// taken away and put back just as its directory was healed was forgotten by that, and
// stayed the old file on the brick that had been away (seen once, with nothing on any
// brick to tell who was right; no slurmctld took over any more).
func most(name string, candidate int, on []onBrick) bool {
	dir := path.Dir(name)
	for i := range on {
		if on[i].attrs[dir][gfidAttr] != on[candidate].attrs[dir][gfidAttr] || on[i].attrs[name][gfidAttr] != "" && !on[i].plain[name] {
			return false
		}
	}
	return on[candidate].attrs[dir][gfidAttr] != "" && on[candidate].attrs[name][gfidAttr] != "" && votes(alike(name, candidate, on)).quorate(len(on))
}

// fleetingNames are those files on the volume that are replaced every second and say
// nothing but when that was.
func fleetingNames(c *config.Cluster) []string {
	state, ok := strings.CutPrefix(path.Clean(c.Slurm.StateSaveLocation), path.Clean(c.SharedMount()))
	if !ok || !strings.HasPrefix(state, "/") {
		return nil
	}
	return []string{state + "/heartbeat", state + "/heartbeat.old", state + "/heartbeat.new"}
}

// alike are the bricks on which a name is the same file as on one of them.
func alike(name string, as int, on []onBrick) []int {
	var out []int
	for i := range on {
		if on[i].attrs[name][gfidAttr] == on[as].attrs[name][gfidAttr] {
			out = append(out, i)
		}
	}
	return out
}

// acknowledged says whether what the candidate's brick has under a name is what was
// acknowledged.
func acknowledged(name string, candidate int, on []onBrick) bool {
	dir := path.Dir(name)
	same := alike(name, candidate, on)
	if on[candidate].attrs[name][gfidAttr] == "" || !votes(same).quorate(len(on)) {
		return false
	}
	for i := range on {
		is := on[i].attrs[name][gfidAttr]
		switch {
		case on[i].attrs[dir][gfidAttr] == "" || on[i].attrs[dir][gfidAttr] != on[candidate].attrs[dir][gfidAttr],
			is != "" && !on[i].plain[name],
			blames(on[i], on[candidate], name):
			return false
		case slices.Contains(same, i):
			continue
		}
		known := is == "" // who has no such name has nothing that could be lost
		for _, h := range same {
			known = known || blames(on[h], on[i], name) || missesNames(on[h], on[i], dir)
			if blames(on[i], on[h], name, dir) { // it was deleted there, perhaps, and they lack that
				return false
			}
		}
		if !known {
			return false
		}
	}
	return true
}

// votes counts bricks by the quorum's rule.
func votes(bricks []int) tally {
	var t tally
	for _, b := range bricks {
		t.add(b)
	}
	return t
}

// blames says whether a brick has written down at one of the names that another one
// lacks something.
func blames(who, whom onBrick, names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.Trim(who.attrs[n][whom.key], "0") != "" })
}

// missesNames says whether a brick has written down that another one lacks what was done
// to the names in a directory: of the three counters (data, metadata, entry) the last.
func missesNames(who, whom onBrick, dir string) bool {
	value := who.attrs[dir][whom.key]
	return len(value) == 24 && strings.Trim(value[16:], "0") != ""
}

// parts says which bricks have which file.
func parts(name string, on []onBrick) string {
	by := map[string][]string{}
	for i := range on {
		id := on[i].attrs[name][gfidAttr]
		by[id] = append(by[id], on[i].owner)
	}
	var out []string
	for _, id := range slices.Sorted(maps.Keys(by)) {
		what := "not there"
		if id != "" {
			what = id[:min(len(id), 8)]
		}
		out = append(out, strings.Join(by[id], ", ")+": "+what)
	}
	return strings.Join(out, "; ")
}

// keepAcknowledged ends mismatches where what was acknowledged is known. GlusterFS looks
// for itself, under its locks: a name that is none any more stays as it is. What comes
// of it is seen in what waits.
func (s *State) keepAcknowledged(cli *head, v *volume, intent service.Intent) []plan.Step {
	if s.decided || !s.healStands(lookUpAfter) ||
		slices.ContainsFunc(v.Bricks, func(b brick) bool { h := s.ownerOf(b); return h == nil || !intent.Includes(h.name) }) {
		return nil
	}
	var out []plan.Step
	for _, m := range s.mismatches {
		if m.keep == "" {
			continue
		}
		source := s.head(m.keep).addr.String() + ":" + s.conf.BrickPath
		out = append(out, plan.Step{ID: fmt.Sprintf("glusterfs.mismatch.%d", len(out)), Host: cli.name, Action: plan.Func{
			What: fmt.Sprintf("keep %q as it is on %s and on %d of %d bricks; it is another file on the rest (%s), and nobody can open it",
				path.Join(s.conf.MountPoint, m.path), m.keep, m.has, len(v.Bricks), m.parts),
			Kind: plan.Change,
			Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
				return nil, s.healCommand(ctx, h, "split-brain", "source-brick", source, m.path)
			},
		}})
	}
	if len(out) > 0 {
		out = append(out, plan.Step{ID: "glusterfs.heal-now", Host: cli.name, Action: plan.Func{
			What: "let the self-heal daemons copy what is left of it", Kind: plan.Change,
			Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
				// Not again for a while, should nothing have come of it.
				if err := h.WriteFile(ctx, keptFile, []byte(s.record()), host.Attr{Mode: 0o600}); err != nil {
					return nil, err
				}
				return nil, s.healCommand(ctx, h)
			}}})
	}
	return out
}

// healCommand gives a command that prints no XML. One that is refused holds nothing else
// up: the name is in no split-brain or gone by now, or the next look finds it again.
func (s *State) healCommand(ctx context.Context, h host.Host, args ...string) error {
	one, cancel := context.WithTimeout(ctx, keepLimit)
	defer cancel()
	_, err := h.Run(one, host.Command(append([]string{"gluster", "--mode=script", "volume", "heal", s.conf.VolumeName}, args...)...))
	if errors.As(err, new(*host.ExitError)) || one.Err() != nil {
		err = ctx.Err()
	}
	return err
}
