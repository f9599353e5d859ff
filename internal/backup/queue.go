package backup

import (
	"context"
	endian "encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Queue is what a snapshot's copy of Slurm's state surely has.
type Queue struct {
	Jobs []uint32 `json:"jobs"` // queued or running while it was copied
}

// queueTimeout bounds how long a backup waits for squeue, which asks controllers
// that are off first.
const queueTimeout = 20 * time.Second

// jobDirectory is where slurmctld keeps a job's script.
var jobDirectory = regexp.MustCompile(`^hash\.\d/job\.(\d+)/script$`)

// scripts is the jobs of a state directory, and when each was handed in.
type scripts map[uint32]time.Time

// found takes a file of the state directory.
func (s scripts) found(rel string, info fs.FileInfo) {
	if m := jobDirectory.FindStringSubmatch(filepath.ToSlash(rel)); m != nil {
		if n, err := strconv.ParseUint(m[1], 10, 32); err == nil {
			s[uint32(n)] = info.ModTime()
		}
	}
}

// queued is the jobs that a copied state has: those with a script from before
// slurmctld wrote it, that had not ended once it was copied. slurmctld writes its
// jobs within seconds, so that newer ones may be in it or not. nil where Slurm did
// not say.
func queued(ctx context.Context, stateFile string, found scripts) *Queue {
	data, err := os.ReadFile(stateFile)
	if err != nil {
		return nil
	}
	written, err := stateWritten(data)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	live, err := liveJobs(ctx)
	if err != nil {
		return nil
	}
	return &Queue{surely(found, written, live)}
}

// surely chooses the jobs that are in a state written at a time. A clock of another
// host may be off by a second, and the state has whole seconds.
func surely(found scripts, written time.Time, live []uint32) []uint32 {
	out := []uint32{}
	for n, at := range found {
		if at.Before(written.Add(-2*time.Second)) && slices.Contains(live, n) {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// stateWritten is when slurmctld wrote a job_state.
func stateWritten(data []byte) (time.Time, error) {
	_, at, err := jobSequence(data)
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(int64(endian.BigEndian.Uint64(data[at-8:at])), 0), nil //nolint:gosec // seconds of this age
}

// liveJobs asks the controller for the jobs that have not ended.
func liveJobs(ctx context.Context) ([]uint32, error) {
	cmd := exec.CommandContext(ctx, "squeue", "--noheader", "--all", "--format=%A")
	cmd.Env = environment()
	out, err := output(cmd)
	if err != nil {
		return nil, err
	}
	var jobs []uint32
	for _, word := range strings.Fields(string(out)) {
		n, err := strconv.ParseUint(word, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("squeue said %q", word)
		}
		jobs = append(jobs, uint32(n))
	}
	return jobs, nil
}

// compareQueue compares the jobs that the controller knows with those of a
// snapshot. want is nil in snapshots of older tools.
func compareQueue(ctx context.Context, stateFile string, want *Queue) (Compared, error) {
	c := Compared{Part: "Slurm"}
	data, err := os.ReadFile(stateFile)
	if errors.Is(err, fs.ErrNotExist) {
		c.Snapshot = "no job was ever there"
		return c, nil
	}
	if err != nil {
		return c, err
	}
	then, _, err := jobSequence(data)
	if err != nil {
		return c, err
	}
	c.Snapshot = fmt.Sprintf("jobs not listed, next %d", then)
	if want != nil {
		c.Snapshot = fmt.Sprintf("%s, next %d", many(int64(len(want.Jobs)), "job"), then)
	}
	live, err := liveJobs(ctx)
	if err != nil {
		return c, err
	}
	next, err := nextJob(ctx)
	if err != nil {
		return c, err
	}
	known := len(live)
	if want != nil {
		known = 0
		for _, n := range want.Jobs {
			if slices.Contains(live, n) {
				known++
			} else {
				c.differs("it does not know job %d", n)
			}
		}
	}
	c.Back = fmt.Sprintf("%s, next %d", many(int64(known), "job"), next)
	if next < then {
		c.differs("the next job is %d, a number that was given out before", next)
	}
	return c, nil
}

var nextJobLine = regexp.MustCompile(`(?m)^NEXT_JOB_ID\s*=\s*(\d+)`)

// nextJob is the number that the controller gives out next.
func nextJob(ctx context.Context) (uint32, error) {
	cmd := exec.CommandContext(ctx, "scontrol", "show", "config")
	cmd.Env = environment()
	out, err := output(cmd)
	if err != nil {
		return 0, err
	}
	m := nextJobLine.FindSubmatch(out)
	if m == nil {
		return 0, errors.New("scontrol does not say the next job's number")
	}
	n, err := strconv.ParseUint(string(m[1]), 10, 32)
	return uint32(n), err
}
