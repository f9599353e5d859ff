package gluster

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"multihead/internal/host"
)

// maxClaims bounds how many entries of a brick's heal index are looked at; where it
// has more, nothing is decided about them.
const maxClaims = 20000

// changelog is how many changes of each kind a brick has noted that another lacks:
// the three words of trusted.afr.VOLUME-client-N. In that of a directory, a first
// word says that all its entries have to be compared, and not only those that the
// index of changed names lists.
type changelog struct{ data, metadata, entry uint32 }

func (c changelog) none() bool { return c == changelog{} }

func (c changelog) String() string {
	return fmt.Sprintf("0x%08x%08x%08x", c.data, c.metadata, c.entry)
}

// least is what both have of each kind.
func (c changelog) least(o changelog) changelog {
	return changelog{min(c.data, o.data), min(c.metadata, o.metadata), min(c.entry, o.entry)}
}

// less is c without what is in o.
func (c changelog) less(o changelog) changelog {
	o = c.least(o)
	return changelog{c.data - o.data, c.metadata - o.metadata, c.entry - o.entry}
}

// covers says whether it notes every kind that o notes.
func (c changelog) covers(o changelog) bool {
	return (c.data > 0 || o.data == 0) && (c.metadata > 0 || o.metadata == 0) && (c.entry > 0 || o.entry == 0)
}

// covering is c with what o notes as well.
func (c changelog) covering(o changelog) changelog {
	for _, w := range []struct {
		own   *uint32
		other uint32
	}{{&c.data, o.data}, {&c.metadata, o.metadata}, {&c.entry, o.entry}} {
		if *w.own == 0 && w.other > 0 {
			*w.own = 1
		}
	}
	return c
}

// against is what the chosen copy has to note about the brick that holds a claim, so
// that its own version replaces the other: whole directories are compared.
func (c changelog) against(dir bool) changelog {
	if dir && c.entry > 0 {
		c.data = 1
	}
	if !dir {
		c.entry = 0
	}
	return c
}

func parseChangelog(text string) (changelog, error) {
	raw, err := hex.DecodeString(strings.TrimPrefix(text, "0x"))
	if err != nil || len(raw) != 12 {
		return changelog{}, fmt.Errorf("%q is no changelog", text)
	}
	word := func(i int) uint32 {
		return uint32(raw[i])<<24 | uint32(raw[i+1])<<16 | uint32(raw[i+2])<<8 | uint32(raw[i+3])
	}
	return changelog{word(0), word(4), word(8)}, nil
}

// inode is a file or directory of a brick, with what is noted there against others.
type inode struct {
	gfid  string
	file  bool // a regular file
	dir   bool
	size  int64 // bytes
	mtime time.Time
	name  string // one of its names, without the directory; empty is unknown
	notes map[string]changelog
}

// begun is what was being changed in a directory. Of a file it is not asked: that of
// one in use stays for seconds.
func (n inode) begun() changelog {
	if !n.dir {
		return changelog{}
	}
	return n.notes[dirty]
}

// at is where an identity stands below a brick. That of a directory is a link to
// it, which the dot follows.
func (n inode) at(brick string) string {
	p := path.Join(brick, ".glusterfs", n.gfid[:2], n.gfid[2:4], n.gfid)
	if n.dir {
		p += "/."
	}
	return p
}

const (
	dirtyPath = ".glusterfs/indices/dirty" // below a brick
	// dirty is what a brick notes against itself while something is being changed
	// there. GlusterFS puts directories together that have it, whoever blames whom.
	dirty = "dirty"
)

// indexed lists what waits on a brick to be healed elsewhere.
func indexed(ctx context.Context, r host.Reader, brick string) ([]inode, error) {
	list, err := readDir(ctx, r, path.Join(brick, indexPath))
	if err != nil {
		return nil, err
	}
	// What was being changed when the brick ended is listed by itself.
	begun, err := readDir(ctx, r, path.Join(brick, dirtyPath))
	if err != nil {
		return nil, err
	}
	var gfids []string
	for _, f := range append(list, begun...) {
		if isGFID(f.Name) {
			gfids = append(gfids, f.Name)
		}
	}
	slices.Sort(gfids)
	gfids = slices.Compact(gfids)
	if len(gfids) > maxClaims {
		return nil, fmt.Errorf("%s: %d entries wait to be healed, too many to compare", r.Name(), len(gfids))
	}
	return readInodes(ctx, r, brick, gfids)
}

// readInodes reads what a brick notes about these identities; those that it has not
// are left out.
func readInodes(ctx context.Context, r host.Reader, brick string, gfids []string) ([]inode, error) {
	var out []inode
	for _, g := range gfids {
		n := inode{gfid: g}
		f, err := r.Stat(ctx, n.at(brick))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		n.file, n.size, n.mtime = f.Mode.IsRegular(), f.Size, f.ModTime
		n.dir = f.Mode&fs.ModeSymlink != 0 && leadsToDir(g, f.Target)
		out = append(out, n)
	}
	const batch = 200
	for i := 0; i < len(out); i += batch {
		if err := readNotes(ctx, r, brick, out[i:min(i+batch, len(out))]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// rootGFID is the identity of a volume's root.
const rootGFID = "00000000-0000-0000-0000-000000000001"

// leadsToDir says whether a link at an identity is that of a directory: it names the
// directory above by its identity. The links that users made are kept as they are.
func leadsToDir(gfid, target string) bool {
	if gfid == rootGFID {
		return true
	}
	words := strings.Split(target, "/")
	return len(words) == 6 && words[0] == ".." && words[1] == ".." && isGFID(words[4]) &&
		words[2] == words[4][:2] && words[3] == words[4][2:4]
}

func readNotes(ctx context.Context, r host.Reader, brick string, inodes []inode) error {
	args := []string{"getfattr", "--absolute-names", "-h", "-d", "-e", "hex", "-m", `^trusted\.(afr|gfid2path)\.`}
	for _, n := range inodes {
		args = append(args, n.at(brick))
	}
	out, err := r.Query(ctx, args...)
	var failed *host.ExitError
	if errors.As(err, &failed) {
		out = failed.Stdout // one went meanwhile; the others are there
	} else if err != nil {
		return err
	}
	said := parseAttrs(out)
	for i := range inodes {
		n := &inodes[i]
		n.notes = map[string]changelog{}
		for key, value := range said[path.Clean(n.at(brick))] {
			if client, ok := strings.CutPrefix(key, "trusted.afr."); ok {
				if n.notes[client], err = parseChangelog(value); err != nil {
					return fmt.Errorf("%s: %s: %w", r.Name(), n.at(brick), err)
				}
			}
			if strings.HasPrefix(key, "trusted.gfid2path.") {
				n.name = lastName(value)
			}
		}
	}
	return nil
}

// parseAttrs reads what getfattr prints of several paths: a line "# file: PATH", then
// lines of NAME=VALUE.
func parseAttrs(out string) map[string]map[string]string {
	all := map[string]map[string]string{}
	at := ""
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\n")
		if p, ok := strings.CutPrefix(line, "# file: "); ok {
			at = path.Clean(p)
			all[at] = map[string]string{}
			continue
		}
		if key, value, ok := strings.Cut(line, "="); ok && at != "" {
			all[at][key] = value
		}
	}
	return all
}

// lastName is the name in a value of trusted.gfid2path: the directory's identity, a
// slash, and the name.
func lastName(value string) string {
	raw, err := hex.DecodeString(strings.TrimPrefix(value, "0x"))
	if err != nil {
		return ""
	}
	_, name, ok := strings.Cut(string(raw), "/")
	if !ok || strings.ContainsAny(name, "/\x00") {
		return ""
	}
	return name
}

// isGFID says whether a name of the heal index is an identity.
func isGFID(name string) bool {
	if len(name) != len("00000000-0000-0000-0000-000000000000") {
		return false
	}
	for i, c := range []byte(name) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') || !dash && !strings.ContainsRune("0123456789abcdef", rune(c)) {
			return false
		}
	}
	return true
}

// readClients reads by which name the changelogs of a volume mean each of its bricks.
func readClients(ctx context.Context, r host.Reader, volume string) (map[brick]string, error) {
	dir := path.Join(volsDir, volume, "bricks")
	list, err := r.ReadDir(ctx, dir)
	if err != nil {
		return nil, err
	}
	out := map[brick]string{}
	for _, f := range list {
		data, err := r.ReadFile(ctx, path.Join(dir, f.Name))
		if err != nil {
			return nil, err
		}
		var b brick
		var id string
		for line := range strings.Lines(string(data)) {
			switch key, value, _ := strings.Cut(strings.TrimSpace(line), "="); key {
			case "hostname":
				b.Host = value
			case "path":
				b.Path = strings.ReplaceAll(value, "/", "-")
			case "brick-id":
				id = value
			}
		}
		if b.Host != "" && b.Path != "" && id != "" {
			out[b] = id
		}
	}
	return out, nil
}
