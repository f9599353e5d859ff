package host

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// output reads what a command writes. Package os/exec reads on for WaitDelay once a
// command has ended, and drops what it has not come to by then: on a host that is busy
// enough that is all of it, and a probe that says nothing looks like a "no" (seen with 200
// commands at a time on two cores). Here what a command wrote before it ended is read
// however long that takes; only a daemon that it left behind is not waited for.
type output struct {
	read, write []*os.File
	to          []io.Writer
	done        sync.WaitGroup
}

// listen gives a command pipes to write to.
func listen(cmd *exec.Cmd, stdout, stderr io.Writer) (*output, error) {
	type only struct{ io.Writer } // its other methods know no limit
	o := &output{to: []io.Writer{only{stdout}, only{stderr}}}
	for range o.to {
		r, w, err := os.Pipe()
		if err != nil {
			o.close(o.read, o.write)
			return nil, err
		}
		o.read, o.write = append(o.read, r), append(o.write, w)
	}
	cmd.Stdout, cmd.Stderr = o.write[0], o.write[1]
	return o, nil
}

// begin reads, once the command has been started, or could not be.
func (o *output) begin() {
	o.close(o.write)
	for i, r := range o.read {
		o.done.Go(func() {
			defer func() { _ = r.Close() }()
			if _, err := io.Copy(o.to[i], r); errors.Is(err, os.ErrDeadlineExceeded) {
				drain(r, o.to[i])
			}
		})
	}
}

// wait returns when everything is read that the command wrote, which has ended. It waits
// pipeGrace for the end of what others still may write.
func (o *output) wait() {
	for _, r := range o.read {
		_ = r.SetReadDeadline(time.Now().Add(pipeGrace))
	}
	o.done.Wait()
}

// drainMost bounds what is read of one that goes on writing: a pipe holds less.
const drainMost = 2 << 20

// drain reads what is in a pipe by now.
func drain(r *os.File, to io.Writer) {
	if r.SetReadDeadline(time.Time{}) != nil {
		return
	}
	raw, err := r.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 64<<10)
	_ = raw.Read(func(fd uintptr) bool {
		for all := 0; all < drainMost; {
			n, err := unix.Read(int(fd), buf)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if n <= 0 {
				break // the end, or nothing more now
			}
			all += n
			if _, err := to.Write(buf[:n]); err != nil {
				break
			}
		}
		return true // not to wait
	})
}

func (o *output) close(all ...[]*os.File) {
	for _, files := range all {
		for _, f := range files {
			_ = f.Close()
		}
	}
}
