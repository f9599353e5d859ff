package slurm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// copiesDir is where each head that runs slurmctld keeps copies of the state, on its
// own disk: they are for the case that the storage of the state loses it.
const copiesDir = "/var/lib/multihead/slurm-state"

// halfCopy is one that was begun and not finished.
const halfCopy = ".new"

// A copy is made when slurmctld has saved its jobs since the last one. One of a large
// cluster costs the disk more, and is made at most once in manyEvery.
const (
	many      = 4 << 20 // bytes of job_state
	manyEvery = time.Minute
)

// savedCopy is a copy of the state.
type savedCopy struct {
	at   time.Time // when slurmctld saved it, by its own clock, to the second
	next uint32    // the number of the next job
}

const copyTime = "20060102T150405Z"

func (c savedCopy) name() string { return fmt.Sprintf("%s-%d", c.at.UTC().Format(copyTime), c.next) }

func parseCopy(name string) (savedCopy, bool) {
	at, next, ok := strings.Cut(name, "-")
	t, err := time.Parse(copyTime, at)
	n, err2 := strconv.ParseUint(next, 10, 32)
	c := savedCopy{t, uint32(n)}
	return c, ok && err == nil && err2 == nil && c.name() == name
}

// listCopies is the copies of a host, the newest first.
func listCopies(ctx context.Context, r host.Reader) ([]savedCopy, error) {
	entries, err := r.ReadDir(ctx, copiesDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []savedCopy
	for _, e := range entries {
		if c, ok := parseCopy(e.Name); ok {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b savedCopy) int { return b.at.Compare(a.at) })
	return out, err
}

// outdated is which of the copies, the newest first, are not needed any more: the
// three newest stay, and of those before, the newest of each of the last three hours
// and days that have any.
func outdated(copies []savedCopy) []savedCopy {
	const newest, each = 3, 3
	var out []savedCopy
	hours, days := map[string]bool{}, map[string]bool{}
	for i, c := range copies {
		hour, day := c.at.UTC().Format("2006010215"), c.at.UTC().Format("20060102")
		keep := i < newest
		if !keep && !hours[hour] && len(hours) < each {
			hours[hour], keep = true, true
		}
		if !keep && !days[day] && len(days) < each {
			days[day], keep = true, true
		}
		if !keep {
			out = append(out, c)
		}
	}
	return out
}

// jobState reads the head of a job_state: when it was saved, and the number of the next
// job. It is packed in network order: a text with its length, the version (2 bytes),
// the time (8), the number (4).
func jobState(data []byte) (savedCopy, error) {
	at := jobNumberAt(data)
	if at < 0 {
		return savedCopy{}, fmt.Errorf("job_state of %d bytes is none", len(data))
	}
	return savedCopy{time.Unix(int64(binary.BigEndian.Uint64(data[at-8:])), 0), binary.BigEndian.Uint32(data[at:])}, nil
}

// jobNumberAt is where in a job_state the number lies, -1 where it is none.
func jobNumberAt(data []byte) int {
	const word = "PROTOCOL_VERSION\x00"
	at := 4 + len(word) + 2 + 8
	if len(data) < at+4 || binary.BigEndian.Uint32(data) != uint32(len(word)) || string(data[4:4+len(word)]) != word {
		return -1
	}
	if sec := binary.BigEndian.Uint64(data[at-8:]); sec == 0 || sec > 1<<40 {
		return -1
	}
	return at
}

// skipped is how many numbers of jobs are left out where an older state is put back:
// those that were given out after it are in accounting, and in people's hands.
const skipped = 10000

// maxJob is Slurm's largest number of a job unless slurm.conf says less.
const maxJob = 0x03ff0000

// skipJobs raises the number of the next job in a job_state.
func skipJobs(data []byte) []byte {
	at := jobNumberAt(data)
	if at < 0 {
		return data
	}
	if n := binary.BigEndian.Uint32(data[at:]); n < maxJob-2*skipped {
		data = slices.Clone(data)
		binary.BigEndian.PutUint32(data[at:], n+skipped)
	}
	return data
}

var _ service.Keeper = (*Service)(nil)

// Keep implements service.Keeper: it copies the state that slurmctld saved to this
// host's own disk, where it is newer than the newest copy.
func (*Service) Keep(ctx context.Context, h host.Host, c *config.Cluster) error {
	if !slices.ContainsFunc(c.SlurmControllers(), func(x config.Controller) bool { return x.Hostname == h.Name() }) {
		return nil
	}
	dir := c.Slurm.StateSaveLocation
	info, err := h.Stat(ctx, path.Join(dir, "job_state"))
	if err != nil || info.Size == 0 {
		return nil // that is for who looks at its health
	}
	have, err := listCopies(ctx, h)
	if err != nil {
		return err
	}
	if len(have) > 0 && (!info.ModTime.Truncate(time.Second).After(have[0].at) || info.Size > many && info.ModTime.Sub(have[0].at) < manyEvery) {
		return nil
	}
	files := map[string][]byte{}
	for _, name := range vital {
		data, err := h.ReadFile(ctx, path.Join(dir, name))
		switch {
		case err == nil:
			files[name] = data
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	now, err := jobState(files["job_state"])
	if err != nil || slices.Contains(have, now) {
		return nil // it was just being replaced; or the copy is of a clock's same second
	}
	if err := writeCopy(ctx, h, now, files); err != nil {
		return err
	}
	return thinOut(ctx, h, append([]savedCopy{now}, have...))
}

func writeCopy(ctx context.Context, h host.Host, c savedCopy, files map[string][]byte) error {
	if _, err := (plan.Dir{Path: copiesDir, Attr: host.Attr{Mode: 0o700}}).Do(ctx, h); err != nil {
		return err
	}
	half := path.Join(copiesDir, halfCopy)
	if err := removeCopy(ctx, h, half); err != nil {
		return err
	}
	if err := h.Mkdir(ctx, half, host.Attr{Mode: 0o700}); err != nil {
		return err
	}
	for name, data := range files {
		if err := h.WriteFile(ctx, path.Join(half, name), data, host.Attr{Mode: 0o600}); err != nil {
			return err
		}
	}
	return h.Rename(ctx, half, path.Join(copiesDir, c.name()))
}

func thinOut(ctx context.Context, h host.Host, copies []savedCopy) error {
	slices.SortFunc(copies, func(a, b savedCopy) int { return b.at.Compare(a.at) })
	for _, c := range outdated(copies) {
		if err := removeCopy(ctx, h, path.Join(copiesDir, c.name())); err != nil {
			return err
		}
	}
	return nil
}

func removeCopy(ctx context.Context, h host.Host, dir string) error {
	for _, name := range vital {
		if err := h.Remove(ctx, path.Join(dir, name)); err != nil {
			return err
		}
	}
	return h.Remove(ctx, dir)
}

// newestCopy is the newest copy and the head that has it; nil where nobody has one.
func (s *State) newestCopy(intent service.Intent) (*head, savedCopy) {
	var at *head
	var newest savedCopy
	for i, h := range s.heads {
		if h.reached && intent.Includes(h.name) && len(h.copies) > 0 && (at == nil || h.copies[0].at.After(newest.at)) {
			at, newest = &s.heads[i], h.copies[0]
		}
	}
	return at, newest
}

// putBack puts what is not there any more back from a copy of this host.
func (s *State) putBack(from savedCopy, gone []string) plan.Action {
	dir, user := s.cluster.Slurm.StateSaveLocation, s.cluster.Users.SlurmUser
	return plan.Func{
		What: fmt.Sprintf("put %s back as it was at %s; new jobs begin at %d", strings.Join(gone, ", "), from.at.UTC().Format(time.DateTime+" UTC"), from.next+skipped),
		Kind: plan.Change,
		Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
			now, err := absent(ctx, r, dir, gone...)
			return len(now) == 0, err
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			still, err := absent(ctx, h, dir, gone...)
			for _, name := range still {
				var data []byte
				if data, err = h.ReadFile(ctx, path.Join(copiesDir, from.name(), name)); err != nil {
					return nil, err
				}
				if name == "job_state" {
					data = skipJobs(data)
				}
				if err = h.WriteFile(ctx, path.Join(dir, name), data, host.Attr{Mode: 0o600, Owner: user, Group: user}); err != nil {
					return nil, err
				}
			}
			return nil, err
		},
	}
}
