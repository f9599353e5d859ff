package backup

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/moby/sys/mountinfo"
)

// Names at the top of the volume that are ours: what is being brought back, what
// was replaced, and the marks of services.
const (
	ours          = ".multihead-"
	restoringName = ours + "restoring-"
	keptName      = ours + "kept-"
)

// move is a rename within the volume.
type move struct {
	From string `json:"from"`
	To   string `json:"to"`
}

func (j Job) volumeJob() error {
	if !filepath.IsAbs(j.Mount) || filepath.Clean(j.Mount) == "/" || !stampPattern.MatchString(j.Stamp) {
		return errors.New("the job does not say which volume")
	}
	if ok, err := isMount(j.Mount); err != nil || !ok {
		return errors.Join(err, fmt.Errorf("%s is not mounted here", j.Mount))
	}
	return nil
}

// isMount says whether something is mounted on a directory; a bind mount has the device of
// what is around it.
func isMount(dir string) (bool, error) {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false, err
	}
	at, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(real))
	return len(at) > 0, err
}

func (j Job) restoringVolume() string { return filepath.Join(j.Mount, restoringName+j.Stamp) }
func (j Job) keptVolume() string      { return filepath.Join(j.Mount, keptName+j.Stamp) }
func (j Job) volumeMoves() string     { return filepath.Join(j.Root, "kept", j.Stamp, "volume.moves") }

// volumeLoad writes the snapshot's files beside those that are there, on the
// volume itself, and reads them again.
func (w Worker) volumeLoad(ctx context.Context, j Job) (Result, error) {
	if err := j.volumeJob(); err != nil {
		return Result{}, err
	}
	s, err := readStored(Layout{j.Root}, j.ID)
	if err != nil {
		return Result{}, err
	}
	r := w.restic(j)
	found, err := r.list(ctx)
	if err != nil {
		return Result{}, err
	}
	if found[j.ID] == "" || s.Mount == "" {
		return Result{}, errors.New("the volume's files are not in it")
	}
	out, err := r.run(ctx, "stats", "--no-lock", "--json", "--mode", "restore-size", found[j.ID])
	if err != nil {
		return Result{}, err
	}
	var total struct {
		Size int64 `json:"total_size"`
	}
	if err := json.Unmarshal(out, &total); err != nil {
		return Result{}, fmt.Errorf("restic stats: %w", err)
	}
	free, err := freeBytes(j.Mount)
	if err != nil {
		return Result{}, err
	}
	need := total.Size - s.Bytes + slack
	if free < need {
		return Result{}, fmt.Errorf("%s has %s free, and the files of the snapshot take %s beside those that are there", j.Mount, size(free), size(need))
	}
	if err := os.RemoveAll(j.restoringVolume()); err != nil { // of a restore that was cut off
		return Result{}, err
	}
	if err := os.Mkdir(j.restoringVolume(), 0o700); err != nil {
		return Result{}, err
	}
	_, err = r.run(ctx, "restore", "--no-lock", "--verify", "--target", j.restoringVolume(), "--include", s.Mount, found[j.ID])
	return Result{Need: need, Free: free}, err
}

// volumeUnload removes what volumeLoad wrote.
func (w Worker) volumeUnload(_ context.Context, j Job) (Result, error) {
	if err := j.volumeJob(); err != nil {
		return Result{}, err
	}
	return Result{}, os.RemoveAll(j.restoringVolume())
}

// volumeSwap puts the files of the snapshot in the place of those that are there,
// one rename for each entry at the top; what was there goes to a directory beside.
// Every rename is written down before it is done.
func (w Worker) volumeSwap(_ context.Context, j Job) (Result, error) {
	if err := j.volumeJob(); err != nil {
		return Result{}, err
	}
	s, err := readStored(Layout{j.Root}, j.ID)
	if err != nil {
		return Result{}, err
	}
	fresh := filepath.Join(j.restoringVolume(), s.Mount)
	if _, err := os.Stat(fresh); err != nil {
		return Result{}, fmt.Errorf("what was read back: %w", err)
	}
	except := ""
	if rel, err := filepath.Rel(j.Mount, j.State); err == nil && clean(rel) {
		except = rel
	}
	if err := swapFiles(fresh, j.Mount, j.keptVolume(), except, j.volumeMoves()); err != nil {
		return Result{}, err
	}
	return Result{Names: []string{j.keptVolume()}}, os.RemoveAll(j.restoringVolume())
}

// swapFiles does the renames of swapMoves, each written into a book first.
func swapFiles(fresh, live, kept, except, file string) error {
	list, err := swapMoves(fresh, live, kept, except)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(kept, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	book, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	for _, m := range list {
		if err := carry(book, m); err != nil {
			return errors.Join(err, book.Close())
		}
	}
	return book.Close()
}

func carry(book *os.File, m move) error {
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if _, err = book.Write(append(line, '\n')); err == nil {
		err = book.Sync()
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(m.To), 0o755); err != nil { //nolint:gosec // of the volume, which everybody reads
		return err
	}
	return os.Rename(m.From, m.To)
}

// volumeUnswap undoes the renames that were done, the last first.
func (w Worker) volumeUnswap(_ context.Context, j Job) (Result, error) {
	if err := j.volumeJob(); err != nil {
		return Result{}, err
	}
	return Result{}, unswapFiles(j.keptVolume(), j.volumeMoves())
}

func unswapFiles(kept, file string) error {
	list, err := readMoves(file)
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(list) {
		if !filepath.IsAbs(m.From) || !filepath.IsAbs(m.To) {
			return fmt.Errorf("%s: %q is no path", file, m)
		}
		_, terr := os.Lstat(m.To)
		_, ferr := os.Lstat(m.From)
		if errors.Is(terr, fs.ErrNotExist) || ferr == nil {
			continue // it was not done
		}
		if err := os.MkdirAll(filepath.Dir(m.From), 0o700); err != nil {
			return err
		}
		if err := os.Rename(m.To, m.From); err != nil {
			return err
		}
	}
	err = os.Remove(file)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, removeEmpty(kept))
}

// removeEmpty removes a directory that has nothing but directories in it.
func removeEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			return nil // somebody's
		}
		if err := removeEmpty(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, syscall.ENOTEMPTY) {
		return err
	}
	return nil
}

func readMoves(file string) ([]move, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []move
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var m move
		if json.Unmarshal(lines.Bytes(), &m) != nil {
			break // cut off while it was written: its rename was not done
		}
		out = append(out, m)
	}
	return out, lines.Err()
}

// notSwapped says which entries at the top of the volume are no file of the
// site's: the file system's own, and ours.
func notSwapped(name string) bool {
	return strings.HasPrefix(name, ours) || name == ".trashcan" || name == "lost+found" || name == ".glusterfs"
}

// swapMoves is the renames that put the tree fresh in the place of live, whose
// entries go to kept. except, relative to both, and what lies beside it with its
// name and ours, stays where it is: slurmctld writes there.
func swapMoves(fresh, live, kept, except string) ([]move, error) {
	var out []move
	var visit func(rel string) error
	visit = func(rel string) error {
		now, err := entries(filepath.Join(live, rel))
		if err != nil {
			return err
		}
		then, err := entries(filepath.Join(fresh, rel))
		if err != nil {
			return err
		}
		all := slices.Concat(now, then)
		slices.Sort(all)
		for _, n := range slices.Compact(all) {
			p := path.Join(rel, n)
			switch {
			case rel == "" && notSwapped(n), except != "" && (p == except || strings.HasPrefix(p, except+ours)):
				continue
			case except != "" && strings.HasPrefix(except, p+"/"):
				if err := visit(p); err != nil {
					return err
				}
				continue
			}
			if slices.Contains(now, n) {
				out = append(out, move{filepath.Join(live, p), filepath.Join(kept, p)})
			}
			if slices.Contains(then, n) {
				out = append(out, move{filepath.Join(fresh, p), filepath.Join(live, p)})
			}
		}
		return nil
	}
	return out, visit("")
}

// entries is the names in a directory; none where there is no such directory.
func entries(dir string) ([]string, error) {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range list {
		out = append(out, e.Name())
	}
	return out, nil
}
