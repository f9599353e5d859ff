package clients

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// sbatchLimit is how long one submission may take. The client itself goes from
// controller to controller meanwhile.
const sbatchLimit = 40 * time.Second

func (s *SbatchSpec) schedules() []schedule {
	return []schedule{
		{Sbatch, "", sbatchEvery, 20, func(ctx context.Context, n int64) outcome {
			return s.submit(ctx, fmt.Sprintf("%s-%d", s.Name, n), "exit 0")
		}},
		// One at the beginning that is still there in the end.
		{Sbatch, LongJob, Longest, 1, func(ctx context.Context, _ int64) outcome {
			return s.submit(ctx, s.Name+"-"+LongJob, "exec sleep "+s.Long)
		}},
	}
}

// submit submits one job and returns its number.
func (s *SbatchSpec) submit(ctx context.Context, name, script string) outcome {
	ctx, cancel := context.WithTimeout(ctx, sbatchLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sbatch", "--parsable", "--job-name="+name, "--output=/dev/null", "--chdir=/",
		"--mem=16", "--ntasks=1", "--time=60", "--no-requeue")
	cmd.Stdin = strings.NewReader("#!/bin/sh\n" + script + "\n")
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/", "LC_ALL=C.UTF-8"}
	cmd.WaitDelay = time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil {
		id, _, _ := strings.Cut(strings.TrimSpace(string(out)), ";")
		return outcome{result: OK, value: id}
	}
	said := strings.TrimSpace(stderr.String())
	if said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	if errors.Is(err, exec.ErrNotFound) || notSubmitted(said) {
		return outcome{result: Failed, err: err}
	}
	return outcome{result: Unknown, err: err}
}

// notSubmitted says whether sbatch's complaint means that no controller took the
// job. After a time-out one may have.
func notSubmitted(said string) bool {
	return strings.Contains(said, "Unable to contact slurm controller") ||
		strings.Contains(said, "Unable to contact primary") ||
		strings.Contains(said, "Slurm backup controller in standby mode") ||
		strings.Contains(said, "Could not establish a configuration source")
}
