package clients

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

func (s *VolumeSpec) schedule() schedule {
	return schedule{Volume, Append, volumeEvery, 40, s.line}
}

// line appends a line and waits until it is on the disks of the bricks. What
// hangs in the kernel cannot be called back; its thread is left to end when the
// volume answers.
func (s *VolumeSpec) line(_ context.Context, n int64) outcome {
	f, err := os.OpenFile(filepath.Join(s.Dir, s.File), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return outcome{result: Failed, err: err}
	}
	_, err = fmt.Fprintf(f, "%d\n", n)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return outcome{result: Unknown, err: err}
	}
	return outcome{result: OK}
}
