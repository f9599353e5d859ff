package agent

import (
	"bytes"
	"sync"

	"golang.org/x/sys/unix"
)

// mountsFile is the kernel's table of mounts, as this process sees it.
const mountsFile = "/proc/self/mountinfo"

// mountTable is the table of mounts, which is read again when the kernel says that a
// mount came or went (proc_pid_mountinfo(5)): to make it up costs the kernel more
// than all other files that a look reads.
type mountTable struct {
	mu   sync.Mutex
	fd   int // what is asked for changes; 0 before the first look
	data []byte
}

// read is the table as it is now. Where the kernel cannot be asked for changes it is
// read each time.
func (w *mountTable) read(read func() ([]byte, error)) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd == 0 {
		fd, err := unix.Open(mountsFile, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return read()
		}
		w.fd = fd // for as long as the agent lives
	}
	// Asked before it is read: what changes in between is told the next time.
	if changed := w.changed(); w.data != nil && !changed {
		return bytes.Clone(w.data), nil
	}
	data, err := read()
	if err != nil {
		w.data = nil
		return nil, err
	}
	w.data = bytes.Clone(data)
	return data, nil
}

// changed asks the kernel. It says so once for each who has the file open.
func (w *mountTable) changed() bool {
	p := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLPRI}}
	n, err := unix.Poll(p, 0)
	return err != nil || n > 0 && p[0].Revents&(unix.POLLPRI|unix.POLLERR) != 0
}
