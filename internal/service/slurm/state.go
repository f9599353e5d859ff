package slurm

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"
	"time"

	"multihead/internal/host"
	"multihead/internal/service"
)

// stateDir is a StateSaveLocation as one head sees it.
type stateDir struct {
	path    string
	data    service.Answer // a controller has saved its state here
	cluster string         // whose
	beat    *heartbeat
	torn    string // what a heartbeat is to be made of that is missing; empty where there is one, or nothing to make it of
	why     string
}

// lookState reads what a controller leaves in its state directory.
func lookState(ctx context.Context, r host.Reader, dir string, brief bool) stateDir {
	d := stateDir{path: dir}
	name, err := r.ReadFile(ctx, path.Join(dir, "clustername"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.data = service.No
		return d
	case err != nil:
		d.why = err.Error()
		return d
	}
	// From 24.05 on a number follows: "hpc|1163".
	cluster, _, _ := strings.Cut(string(name), "|")
	if d.cluster = strings.TrimSpace(cluster); d.cluster == "" {
		// Read while slurmctld wrote it anew, or from a copy that is healing.
		d.why = path.Join(dir, "clustername") + " is empty"
		return d
	}
	d.data = service.Yes
	d.lookBeat(ctx, r, brief)
	return d
}

// lookBeat reads who says that he is in charge; where that cannot be read, nobody is
// known to. An agent, which looks again a second later, does not wait for it.
func (d *stateDir) lookBeat(ctx context.Context, r host.Reader, brief bool) {
	read := readHeartbeat
	if brief {
		read = readHeartbeatNow
	}
	if b, err := read(ctx, r, d.path); err == nil {
		d.beat = &b
	} else if errors.Is(err, fs.ErrNotExist) {
		d.torn, _ = leftOver(ctx, r, d.path)
	}
}

// staleFor is how long a head may be refused a file of a volume that was replaced by
// another head: its client goes by what it knew for a second (GlusterFS's
// performance.md-cache-timeout), and the kernel is told so however often it asks.
const staleFor = 1200 * time.Millisecond

// readHeartbeat reads what the controller in charge writes. It puts a new one in the
// place of the old every second or two, and on a volume one that has just been
// replaced cannot be read ("stale file handle") until the head knows the next one.
func readHeartbeat(ctx context.Context, r host.Reader, dir string) (heartbeat, error) {
	for begin := time.Now(); ; {
		b, err := readHeartbeatNow(ctx, r, dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) || time.Since(begin) > staleFor {
			return b, err
		}
		select { // nobody tells when it is over
		case <-ctx.Done():
			return b, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func readHeartbeatNow(ctx context.Context, r host.Reader, dir string) (heartbeat, error) {
	data, err := r.ReadFile(ctx, path.Join(dir, beatFile))
	if err != nil {
		return heartbeat{}, err
	}
	return parseHeartbeat(data)
}

// active is the index in heads of the controller in charge, -1 where it is not
// known: the one whose index is in the last heartbeat, if it runs. (The
// heartbeat of a controller that died says its name until another takes over.)
func (s *State) active() int {
	var last *heartbeat
	for _, h := range s.heads {
		if h.reached && h.state.beat != nil && (last == nil || h.state.beat.at.After(last.at)) {
			last = h.state.beat
		}
	}
	up := func(h head) bool { return h.reached && h.controller && h.listens == service.Yes }
	if last != nil {
		// The index counts the SlurmctldHost lines that the writer has
		// read, which may be fewer than the file has now.
		for i, h := range s.heads {
			if up(h) && h.place() == last.index {
				return i
			}
		}
		return -1
	}
	only := -1
	for i, h := range s.heads {
		if up(h) {
			if only >= 0 {
				return -1
			}
			only = i
		}
	}
	return only
}

// place is the head's index among the SlurmctldHost lines of the slurm.conf
// that it has now.
func (h head) place() int { return placeIn(h.conf, h.name) }

// placeIn is a host's index among the SlurmctldHost lines of a slurm.conf, -1 where it
// is in none.
func placeIn(conf []byte, name string) int {
	i := 0
	for line := range strings.Lines(string(conf)) {
		value, ok := strings.CutPrefix(strings.TrimSpace(line), "SlurmctldHost=")
		if !ok {
			continue
		}
		if host, _, _ := strings.Cut(value, "("); host == name {
			return i
		}
		i++
	}
	return -1
}
