package gluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/service"
)

const (
	// askLimit bounds what one head is asked: the gluster command blocks for
	// up to 120 s while glusterd waits for a silent peer.
	askLimit = 3 * time.Second
	// mountLimit bounds a look through the mount, which blocks for the
	// network.ping-timeout when a brick's head has just died.
	mountLimit = 2500 * time.Millisecond
)

// Observe asks every head that has a brick or mounts the volume, all at once.
func (*Service) Observe(ctx context.Context, in service.Input) (service.State, error) {
	c := in.Cluster
	if c.SharedStorage.Type != config.StorageGlusterFS {
		return observePlain(ctx, in), nil
	}
	s := &State{conf: c.SharedStorage.GlusterFS, dirs: directories(c), fleeting: fleetingNames(c), stamp: in.Stamp}
	var nodes []service.Node
	for _, n := range in.HeadsWith(config.GlusterFS) {
		nodes = append(nodes, n)
		s.heads = append(s.heads, newHead(n, true))
	}
	for _, n := range in.Heads {
		if mountsOnly(c, n) {
			nodes = append(nodes, n)
			s.heads = append(s.heads, newHead(n, false))
		}
	}
	if w, ok := c.GlusterArbiter(); ok {
		s.voter = w.Hostname
	}
	for _, n := range in.Witnesses {
		s.witnesses = append(s.witnesses, newHead(n, true))
		s.witnesses[len(s.witnesses)-1].witness = true
	}
	var g errgroup.Group
	for i, n := range in.Witnesses {
		if n.Reached() {
			g.Go(func() error {
				observe(ctx, n.Reader, &s.witnesses[i], s.conf, false)
				if !in.Brief && s.witnesses[i].store == service.Yes {
					observePast(ctx, n.Reader, &s.witnesses[i], s.conf.MountPoint)
				}
				return nil
			})
		}
	}
	first := slices.IndexFunc(nodes, service.Node.Reached)
	for i, n := range nodes {
		if !n.Reached() {
			continue
		}
		g.Go(func() error {
			observe(ctx, n.Reader, &s.heads[i], s.conf, i == first && !in.Brief)
			if !in.Brief {
				observePast(ctx, n.Reader, &s.heads[i], s.conf.MountPoint)
			}
			return nil
		})
	}
	_ = g.Wait() // what a head does not answer is part of what was found
	if w := s.voting(s.seen()); w != nil && s.voter != "" {
		s.voter = w.name // the file may have them in another order by now
	}
	s.askSplits(ctx, nodes)
	if !in.Brief {
		s.askMismatches(ctx, slices.Concat(nodes, in.Witnesses))
	}
	return s, nil
}

// mountsOnly says whether a head without a brick needs the volume: Slurm's
// state and the web services' files are on it.
func mountsOnly(c *config.Cluster, n service.Node) bool {
	return !c.Runs(n.Name(), config.GlusterFS) &&
		(c.Runs(n.Name(), config.Slurm) || c.Runs(n.Name(), config.Web))
}

func newHead(n service.Node, hasBrick bool) head {
	h := head{name: n.Name(), addr: n.Spec.Address, brick: hasBrick, reached: n.Reached(), pending: -1, splits: -1, dead: n.Dead}
	if !h.reached {
		h.why = "not reached"
		if n.Err != nil {
			h.why = n.Err.Error()
		}
	}
	return h
}

// observe looks at one head. usage says whether to ask how full the volume is,
// which is the same wherever one looks.
func observe(ctx context.Context, r host.Reader, h *head, conf config.GlusterFSConfig, usage bool) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var why whys
	var g errgroup.Group
	look := func(f func() error) {
		g.Go(func() error {
			if err := f(); err != nil {
				why.add(err)
			}
			return nil
		})
	}
	if h.brick {
		look(func() error { return h.askDaemon(ctx, r) })
		look(func() error { return h.readStore(ctx, r, conf.VolumeName) })
		g.Go(func() error { h.lookAtBricksPlace(ctx, r, conf, &why); return nil })
	}
	look(func() error { return h.lookAtMounts(ctx, r, conf, usage) })
	_ = g.Wait() // no function returns an error
	switch {
	case h.data != service.Yes || h.dataID != "":
	case h.running == service.Yes && h.vol != nil:
		h.dataID = h.vol.ID // a brick does not start on a directory of another volume
	case h.running == service.Yes:
		h.dataID = volumeIDOf(ctx, r, conf.BrickPath)
	}
	h.why = why.String()
}

// observePast looks at what decides about starting what does not serve.
func observePast(ctx context.Context, r host.Reader, h *head, mountPoint string) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	if err := h.lookPastOf(ctx, r, mountPoint); err != nil {
		h.why = strings.TrimPrefix(h.why+"; "+err.Error(), "; ")
	}
}

// askDaemon asks glusterd itself who its peers are. Nothing but an answer
// counts: a hung daemon is active as far as systemd is concerned.
func (h *head) askDaemon(ctx context.Context, r host.Reader) error {
	peers, err := friends(ctx, r)
	if err != nil {
		if host.NobodyListens(err) {
			h.daemon = service.No
			return nil
		}
		return fmt.Errorf("glusterd does not answer: %w", err)
	}
	h.daemon = service.Yes
	for _, p := range peers {
		if !p.connected {
			h.down = append(h.down, p.host)
		}
		if strings.Contains(p.word, "Rejected") {
			h.rejected = append(h.rejected, p.host)
		}
	}
	return nil
}

func (h *head) readStore(ctx context.Context, r host.Reader, volumeName string) error {
	id, err := r.ReadFile(ctx, idFile)
	switch {
	case err == nil:
		h.uuid = parseUUID(id)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	h.store = service.No
	vols, err := readDir(ctx, r, volsDir)
	if err != nil {
		h.store = service.Unsure
		return err
	}
	for _, v := range vols {
		if !v.IsDir() {
			continue
		}
		if v.Name != volumeName {
			h.others = append(h.others, v.Name)
			continue
		}
		if h.vol, err = readVolume(ctx, r, volumeName); err != nil {
			h.store = service.Unsure
			return err
		}
	}
	if h.peers, err = readPeers(ctx, r); err != nil {
		h.store = service.Unsure
		return err
	}
	if h.uuid != "" || len(vols) > 0 {
		h.store = service.Yes
	}
	return nil
}

// readVolume reads a volume from the store; nil where there is none.
func readVolume(ctx context.Context, r host.Reader, name string) (*volume, error) {
	data, err := r.ReadFile(ctx, path.Join(volsDir, name, "info"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseVolume(data), nil
}

func readPeers(ctx context.Context, r host.Reader) ([]peer, error) {
	files, err := readDir(ctx, r, peersDir)
	if err != nil {
		return nil, err
	}
	var out []peer
	for _, f := range files {
		data, err := r.ReadFile(ctx, path.Join(peersDir, f.Name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // detached since it was listed
		}
		if err != nil {
			return nil, err
		}
		out = append(out, parsePeer(data))
	}
	return out, nil
}

// readDir lists a directory; one that is not there is empty.
func readDir(ctx context.Context, r host.Reader, name string) ([]host.FileInfo, error) {
	list, err := r.ReadDir(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return list, err
}

// lookAtMounts reads the kernel's table of mounts, which never blocks, and
// only then looks through the mount.
func (h *head) lookAtMounts(ctx context.Context, r host.Reader, conf config.GlusterFSConfig, usage bool) error {
	table, err := readMounts(ctx, r)
	if err != nil {
		return err
	}
	at := table.holding(conf.BrickPath)
	h.onRoot, h.isMount = at == "/", at == path.Clean(conf.BrickPath)
	h.mounted = service.No
	if m, ok := table.at(conf.MountPoint); ok {
		h.mounted, h.source = service.Yes, m.Source
		return h.lookThrough(ctx, r, conf.MountPoint, usage)
	}
	list, err := readDir(ctx, r, conf.MountPoint)
	if err != nil {
		return err
	}
	for _, f := range list {
		h.hides = append(h.hides, f.Name)
	}
	return nil
}

func (h *head) lookThrough(ctx context.Context, r host.Reader, dir string, usage bool) error {
	ctx, cancel := context.WithTimeout(ctx, mountLimit)
	defer cancel()
	data, err := r.ReadFile(ctx, path.Join(dir, Marker))
	switch {
	case err == nil:
		h.answers, h.marker = service.Yes, string(data)
	case errors.Is(err, fs.ErrNotExist):
		h.answers = service.Yes
	case strings.Contains(err.Error(), "not connected"):
		h.answers = service.No
		return fmt.Errorf("the volume mounted on %s does not serve: %w", dir, err)
	default:
		return fmt.Errorf("the volume mounted on %s does not answer: %w", dir, err)
	}
	if !usage {
		return nil
	}
	out, err := r.Query(ctx, "df", "-B1", "--output=size,used", dir)
	if err != nil {
		return err
	}
	h.size, h.used = parseDF(out)
	return nil
}

// parseDF reads the second line of df --output=size,used.
func parseDF(out string) (size, used int64) {
	_, line, _ := strings.Cut(out, "\n")
	words := strings.Fields(line)
	if len(words) != 2 {
		return 0, 0
	}
	size, err1 := strconv.ParseInt(words[0], 10, 64)
	used, err2 := strconv.ParseInt(words[1], 10, 64)
	if err1 != nil || err2 != nil || size < 0 || used < 0 || used > size {
		return 0, 0
	}
	return size, used
}

// askSplits asks one head about split-brain, where something is waiting to be
// healed though every brick is there: otherwise there is none, or what waits
// waits for the brick that is away, whose silence the question would have to
// sit out for seconds.
func (s *State) askSplits(ctx context.Context, nodes []service.Node) {
	waiting := false
	for _, h := range s.heads {
		if h.brick && h.running != service.Yes {
			return
		}
		waiting = waiting || h.pending > 0
	}
	if !waiting {
		return
	}
	for i := range s.heads {
		h := &s.heads[i]
		if h.daemon != service.Yes || h.running != service.Yes {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, askLimit)
		defer cancel()
		rep, err := ask(ctx, nodes[i].Reader, "volume", "heal", s.conf.VolumeName, "info", "summary")
		if err == nil {
			_, h.splits, _ = healOf(rep)
		}
		return
	}
}

// healOf adds up a heal summary: entries that some brick lacks and entries in
// split-brain over all bricks, and the bricks that could not be asked. An entry counts as
// pending, in split-brain or possibly healing, as one of them: one that is being copied
// is only the last. A count that is not there is unknown, and so is that brick.
func healOf(rep reply) (left, splits int, silent []string) {
	for _, b := range rep.Heal {
		total, terr := count(b.Total)
		pending, perr := count(b.Pending)
		possibly, herr := count(b.Possibly)
		split, serr := count(b.SplitBrain)
		if b.Status != "Connected" || errors.Join(terr, perr, herr, serr) != nil {
			silent = append(silent, b.Name)
		}
		splits += split
		left += max(pending+possibly, total-split)
	}
	return left, splits, silent
}

// count reads a number of entries. What is none counts as 0, and is an error.
func count(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err == nil && n < 0 {
		err = fmt.Errorf("%d entries", n)
	}
	if err != nil {
		return 0, err
	}
	return n, nil
}
