package gluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"multihead/internal/host"
	"multihead/internal/service"
)

const (
	// namesMost is how many names are looked at, and mismatchesMost how many of them are
	// decided at a time.
	namesMost      = 500
	mismatchesMost = 20
	// keepLimit bounds the command that decides one name, and keptFor is how long the
	// same is not decided again, should it still be there.
	keepLimit = 5 * time.Second
	keptFor   = 10 * time.Minute
	// keptFile says on the head that gives the commands what was decided.
	keptFile = "/run/multihead-heal-keep"
	gfidAttr = "trusted.gfid"
)

// askMismatches finds them among what is not healed by itself. Where something cannot be
// asked nothing is known, and nothing is done.
func (s *State) askMismatches(ctx context.Context, nodes []service.Node) {
	v := s.seen()
	if v == nil || !s.healStands(lookUpAfter) {
		return
	}
	readers := map[string]host.Reader{}
	for _, n := range nodes {
		readers[n.Name()] = n.Reader
	}
	i := slices.IndexFunc(s.heads, func(h head) bool { return h.daemon == service.Yes && h.running == service.Yes })
	if i < 0 {
		return
	}
	cli := readers[s.heads[i].name]
	on := make([]onBrick, len(v.Bricks))
	for i, b := range v.Bricks {
		h := s.ownerOf(b)
		if h == nil || readers[h.name] == nil {
			return
		}
		on[i].reader, on[i].owner = readers[h.name], h.name
		limit, cancel := context.WithTimeout(ctx, askLimit)
		var err error
		on[i].key, err = s.pendingKey(limit, cli, b)
		cancel()
		if err != nil {
			return
		}
	}
	limit, cancel := context.WithTimeout(ctx, askLimit)
	rep, err := ask(limit, cli, "volume", "heal", s.conf.VolumeName, "info")
	cancel()
	if err != nil {
		return // it takes long while much is healed
	}
	limit, cancel = context.WithTimeout(ctx, askLimit)
	names := s.namesIn(limit, on, waitingPaths(rep))
	first := s.differing(limit, on, names, false)
	cancel()
	if len(first) == 0 {
		return
	}
	names = slices.Sorted(maps.Keys(first))
	names = names[:min(len(names), mismatchesMost)]
	// Once more: bricks are not read in the same moment, and a name that is replaced
	// meanwhile looks the same. One that nobody can open is not replaced.
	limit, cancel = context.WithTimeout(ctx, askLimit)
	second := s.differing(limit, on, names, true)
	cancel()
	names = slices.DeleteFunc(names, func(n string) bool { return second[n] == "" || second[n] != first[n] })
	if len(names) == 0 {
		return
	}
	s.mismatches = differ(v, names, on, s.fleeting)
	limit, cancel = context.WithTimeout(ctx, askLimit)
	defer cancel()
	if data, err := cli.ReadFile(limit, keptFile); err == nil && string(data) == s.record() {
		s.inVain = true
		info, err := cli.Stat(limit, keptFile)
		s.decided = err == nil && clockOf(limit, cli).Sub(info.ModTime) < keptFor
	}
	if n := s.undecided(); s.healStuck() {
		for i := range s.heads { // what is refused for split-brain is refused for these
			s.heads[i].splits = max(s.heads[i].splits, n)
		}
	}
}

// undecided is how many names wait for a person: of the others it is known which file was
// acknowledged, unless saying so has not helped, whenever that was.
func (s *State) undecided() int {
	n := 0
	for _, m := range s.mismatches {
		if m.keep == "" || s.inVain {
			n++
		}
	}
	return n
}

// record is what there is to decide.
func (s *State) record() string {
	var b strings.Builder
	for _, m := range s.mismatches {
		fmt.Fprintf(&b, "%q %q %s\n", m.path, m.keep, m.parts)
	}
	return b.String()
}

// namesIn are what waits, and what is in directories that wait: a file that was linked
// or renamed has nothing written down of its own. A name that getfattr would print as
// another is not asked about.
func (s *State) namesIn(ctx context.Context, on []onBrick, waiting []string) []string {
	seen := map[string]bool{}
	add := func(n string) {
		if !strings.ContainsAny(n, "\\\r\n") {
			seen[n] = true
		}
	}
	for _, n := range waiting {
		add(n)
	}
	for _, n := range waiting {
		for i := range on {
			info, err := on[i].reader.Stat(ctx, path.Join(s.conf.BrickPath, n))
			if err != nil || !info.Mode.IsDir() {
				break
			}
			list, err := on[i].reader.ReadDir(ctx, path.Join(s.conf.BrickPath, n))
			if err != nil || len(seen)+len(list) > namesMost {
				break
			}
			for _, f := range list {
				if !strings.HasPrefix(f.Name, ".glusterfs") {
					add(path.Join(n, f.Name))
				}
			}
		}
	}
	out := slices.Sorted(maps.Keys(seen))
	return out[:min(len(out), namesMost)]
}

// differing reads names on all bricks, and returns those that stand for different
// files, each with what it is where. With kind it reads what kind of file they are too.
func (s *State) differing(ctx context.Context, on []onBrick, names []string, kind bool) map[string]string {
	if s.look(ctx, on, names, kind) != nil {
		return nil
	}
	out := map[string]string{}
	for _, n := range names {
		ids, unread := map[string]bool{}, false
		for i := range on {
			ids[on[i].attrs[n][gfidAttr]] = true
			unread = unread || on[i].unread[n]
		}
		delete(ids, "")
		if len(ids) > 1 && !unread {
			out[n] = parts(n, on)
		}
	}
	return out
}

// onBrick is what one brick has of names.
type onBrick struct {
	reader host.Reader
	owner  string                       // whose brick it is
	key    string                       // under which the others write down what it lacks
	attrs  map[string]map[string]string // name on the volume → attribute → hexadecimal digits
	unread map[string]bool              // of which nothing is known
	plain  map[string]bool              // it is a regular file there
}

// look reads names and their directories on all bricks.
func (s *State) look(ctx context.Context, on []onBrick, names []string, kind bool) error {
	all := slices.Clone(names)
	for _, n := range names {
		all = append(all, path.Dir(n))
	}
	slices.Sort(all)
	all = slices.Compact(all)
	g, ctx := errgroup.WithContext(ctx)
	for i := range on {
		g.Go(func() error {
			o := &on[i]
			o.attrs, o.unread, o.plain = map[string]map[string]string{}, map[string]bool{}, map[string]bool{}
			if err := o.readAttrs(ctx, s.conf.BrickPath, all); err != nil || !kind {
				return err
			}
			for _, n := range names {
				info, err := o.reader.Stat(ctx, path.Join(s.conf.BrickPath, n))
				o.plain[n] = err == nil && info.Mode.IsRegular()
			}
			return nil
		})
	}
	return g.Wait()
}

// readAttrs reads which file each name stands for on the brick, and what the brick has
// written down about the others. A name that is not there has nothing.
func (o *onBrick) readAttrs(ctx context.Context, brickPath string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	args := []string{"getfattr", "-h", "--absolute-names", "-e", "hex", "-d", "-m", `^trusted\.(gfid$|afr\.)`, "--"}
	for _, n := range names {
		args = append(args, path.Join(brickPath, n))
	}
	out, err := o.reader.Query(ctx, args...)
	var exit *host.ExitError
	known := 0
	switch {
	case errors.As(err, &exit): // it goes on after a name that is not there, and only the end of what it said is kept
		out, known = exit.Stdout, strings.Count(exit.Stderr, "No such file or directory")
	case err != nil:
		return err
	}
	got := map[string]map[string]string{}
	parseAttrs(out, brickPath, got)
	for _, n := range names {
		if got[n] != nil {
			known++
		}
	}
	switch complete := known == len(names); {
	case complete && (exit == nil || saysNothing(exit.Stderr)):
		maps.Copy(o.attrs, got)
	case len(names) > 1:
		half := len(names) / 2
		return errors.Join(o.readAttrs(ctx, brickPath, names[:half]), o.readAttrs(ctx, brickPath, names[half:]))
	default:
		o.unread[names[0]] = true
	}
	return nil
}

// parseAttrs reads what getfattr prints of several files, "# file: NAME" and an
// attribute with its value a line. A name that it had to rewrite is left out.
func parseAttrs(out, brickPath string, into map[string]map[string]string) {
	var attrs map[string]string
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(line, "# file: "); ok {
			attrs = nil
			if rest, ok := strings.CutPrefix(name, brickPath); ok && !strings.Contains(name, `\`) {
				attrs = map[string]string{}
				into[path.Join("/", rest)] = attrs
			}
		} else if attr, value, ok := strings.Cut(line, "=0x"); ok && attrs != nil {
			attrs[attr] = value
		}
	}
}
