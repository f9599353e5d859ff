package gluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/service"
)

// lookAtBricksPlace looks at the brick's directory and process, and reads of one that does
// not run which volume it is of: at once, for a glusterd that hangs uses up the time that
// the look as a whole has.
func (h *head) lookAtBricksPlace(ctx context.Context, r host.Reader, conf config.GlusterFSConfig, why *whys) {
	var g sync.WaitGroup
	look := func(f func() error) {
		g.Go(func() {
			if err := f(); err != nil {
				why.add(err)
			}
		})
	}
	look(func() error { return h.lookAtBrick(ctx, r, conf.BrickPath) })
	look(func() error { return h.askRunning(ctx, r, conf) })
	g.Wait()
	if h.data == service.Yes && h.running != service.Yes {
		h.dataID = volumeIDOf(ctx, r, conf.BrickPath)
	}
}

func (h *head) lookAtBrick(ctx context.Context, r host.Reader, brickPath string) error {
	list, err := readDir(ctx, r, brickPath)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		h.data = service.No
		return nil
	}
	h.data = service.Yes
	waiting, err := r.ReadDir(ctx, path.Join(brickPath, indexPath))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		h.pending = 0
	case err != nil:
		return err
	default:
		h.pending = pendingIn(waiting)
		h.waiting = gfidsIn(waiting)
	}
	if h.pending > 0 {
		// What is healed leaves the index, what is written joins it.
		if index, err := r.Stat(ctx, path.Join(brickPath, indexPath)); err == nil {
			h.stuck = max(0, clockOf(ctx, r).Sub(index.ModTime)) // that clock may be a second behind
			done, err := r.Stat(ctx, lookedUpFile)
			h.lookedUp = err == nil && !done.ModTime.Before(index.ModTime)
		}
	}
	return nil
}

// clockOf is what time a host has: times of its files are not to be compared with
// another's clock. Where that is not known it is this one's.
func clockOf(ctx context.Context, r host.Reader) time.Time {
	stat, err := r.ReadFile(ctx, "/proc/stat")
	up, uerr := r.ReadFile(ctx, "/proc/uptime")
	_, after, found := strings.Cut(string(stat), "\nbtime ")
	boot, _, _ := strings.Cut(after, "\n")
	began, berr := strconv.ParseInt(boot, 10, 64)
	seconds, _, _ := strings.Cut(string(up), " ")
	since, serr := strconv.ParseFloat(seconds, 64)
	if err != nil || uerr != nil || !found || berr != nil || serr != nil {
		return time.Now()
	}
	return time.Unix(began, 0).Add(time.Duration(since * float64(time.Second)))
}

// volumeIDOf reads which volume a directory is a brick of; empty where it is
// none or that cannot be read.
func volumeIDOf(ctx context.Context, r host.Reader, brickPath string) string {
	out, err := r.Query(ctx, "getfattr", "--absolute-names", "-e", "hex", "-n", "trusted.glusterfs.volume-id", brickPath)
	if err != nil {
		return ""
	}
	return parseVolumeID(out)
}

// isBrickOf is an error where a directory is not marked as a brick of that volume, or
// where that cannot be read.
func isBrickOf(ctx context.Context, r host.Reader, brickPath, volume string) error {
	switch id := volumeIDOf(ctx, r, brickPath); id {
	case volume:
		return nil
	case "":
		return fmt.Errorf("%s: %s has no mark of a volume, or that cannot be read: is its disk mounted, and is getfattr there (package attr)?", r.Name(), brickPath)
	default:
		return fmt.Errorf("%s: %s is a brick of another volume (%s): is the right disk mounted there?", r.Name(), brickPath, id)
	}
}

// parseVolumeID makes a uuid of what getfattr prints:
// trusted.glusterfs.volume-id=0x and 32 hexadecimal digits.
func parseVolumeID(out string) string {
	_, hex, _ := strings.Cut(out, "=0x")
	hex = strings.TrimSpace(hex)
	if len(hex) != 32 {
		return ""
	}
	return strings.Join([]string{hex[:8], hex[8:12], hex[12:16], hex[16:20], hex[20:]}, "-")
}

// pendingIn counts the entries of a heal index: each is a file that some other
// brick has yet to get. The index's own base file is not one of them.
func pendingIn(index []host.FileInfo) int {
	n := 0
	for _, f := range index {
		if !strings.HasPrefix(f.Name, "xattrop-") {
			n++
		}
	}
	return n
}

// gfidsIn are the identities of the files and directories that a heal index lists,
// the first ones.
func gfidsIn(index []host.FileInfo) []string {
	const enough = 256
	var out []string
	for _, f := range index {
		if len(f.Name) == len("00000000-0000-0000-0000-000000000000") && len(out) < enough {
			out = append(out, f.Name)
		}
	}
	return out
}

// askRunning looks for the process that serves the brick.
func (h *head) askRunning(ctx context.Context, r host.Reader, conf config.GlusterFSConfig) (err error) {
	h.running, err = brickRuns(ctx, r, h.addr.String(), conf)
	var frozen *frozenBrick
	if errors.As(err, &frozen) {
		h.frozenBrick = frozen.pid
	}
	return err
}

// frozenBrick is a brick whose process is stopped.
type frozenBrick struct {
	host, state string
	pid         int
}

func (f *frozenBrick) Error() string {
	return fmt.Sprintf("%s: the brick's process %d is stopped (%s)", f.host, f.pid, f.state)
}

func brickRuns(ctx context.Context, r host.Reader, addr string, conf config.GlusterFSConfig) (service.Answer, error) {
	pid, state, err := brickProcess(ctx, r, addr, conf)
	switch {
	case err != nil:
		return service.Unsure, err
	case pid == 0:
		return service.No, nil
	case strings.ContainsAny(state[:1], "Tt"):
		return service.Unsure, &frozenBrick{r.Name(), state, pid}
	case strings.ContainsAny(state[:1], "ZX"):
		// It stays so for as long as a disk that hangs holds one of its threads.
		return service.Unsure, fmt.Errorf("%s: the brick's process %d is ending (%s)", r.Name(), pid, state)
	}
	return service.Yes, nil
}

// brickProcess is the process that serves the brick, and the state in which the
// kernel has it: a letter and its word. 0 is none.
func brickProcess(ctx context.Context, r host.Reader, addr string, conf config.GlusterFSConfig) (pid int, state string, err error) {
	pidFile := path.Join(pidDir, conf.VolumeName, addr+strings.ReplaceAll(conf.BrickPath, "/", "-")+".pid")
	data, err := r.ReadFile(ctx, pidFile)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, "", nil
	}
	if err != nil {
		return 0, "", err
	}
	pid, err = strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid <= 1 {
		return 0, "", nil // emptied when the brick was stopped
	}
	status, err := r.ReadFile(ctx, path.Join("/proc", strconv.Itoa(pid), "status"))
	if ended(err) {
		return 0, "", nil
	}
	if err != nil {
		return 0, "", err
	}
	name, state := "", "? unknown"
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		switch key {
		case "Name":
			name = strings.TrimSpace(value)
		case "State":
			state = strings.TrimSpace(value)
		}
	}
	if !strings.HasPrefix(name, "gluster") {
		return 0, "", nil // its number is another's by now
	}
	return pid, state, nil
}

// ended says whether a process is there no more: its directory went, before or
// while it was read.
func ended(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) }
