package backup

import (
	"bytes"
	"context"
	endian "encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// stateMarker is what slurmctld's unit looks for before it starts: the state
// directory is the real one, and not the empty place where the volume should be.
const stateMarker = ".multihead-state"

// freshState and keptState lie beside the state directory, on the same file
// system: a swap is two renames.
func freshState(state, stamp string) string { return state + ".multihead-new-" + stamp }
func keptState(state, stamp string) string  { return state + ".multihead-" + stamp }

// broughtMark is in a state that was brought back, and tells a head that it sees that
// one: for a second or so each goes on with what it remembers to have lain there.
func broughtMark(stamp string) string { return ".multihead-brought-" + stamp }

func (j Job) stateJob() error {
	if j.Owner == "" || !filepath.IsAbs(j.State) || filepath.Clean(j.State) == "/" || !stampPattern.MatchString(j.Stamp) || j.SlurmCluster == "" {
		return errors.New("the job does not say which state, or whose")
	}
	return nil
}

// slurmSwap puts the snapshot's state in the place of the one that is there,
// which stays beside it. No slurmctld runs meanwhile.
func (w Worker) slurmSwap(ctx context.Context, j Job) (Result, error) {
	if err := j.stateJob(); err != nil {
		return Result{}, err
	}
	from, fresh, kept := filepath.Join(Layout{j.Root}.Restoring(), "slurm", "state"), freshState(j.State, j.Stamp), keptState(j.State, j.Stamp)
	if err := sameCluster(from, j.SlurmCluster); err != nil {
		return Result{}, err
	}
	if _, err := os.Stat(filepath.Join(j.State, stateMarker)); err != nil {
		return Result{}, fmt.Errorf("%s is not where this cluster's state lies, or its volume is not mounted here: %w", j.State, err)
	}
	if _, err := os.Lstat(kept); err == nil {
		return Result{}, fmt.Errorf("%s is there already", kept)
	}
	if err := os.RemoveAll(fresh); err != nil { // of a restore that was cut off
		return Result{}, err
	}
	least, err := leastJobID(ctx, j)
	if err != nil {
		return Result{}, err
	}
	var r Result
	if r.NextJob, err = raiseJobID(filepath.Join(from, "job_state"), least); err != nil {
		return Result{}, err
	}
	if err := errors.Join(copyState(from, j.State, fresh, j.Owner), os.WriteFile(filepath.Join(fresh, broughtMark(j.Stamp)), nil, 0o600)); err != nil {
		return Result{}, errors.Join(err, os.RemoveAll(fresh))
	}
	if err := os.Rename(j.State, kept); err != nil {
		return Result{}, err
	}
	if err := os.Rename(fresh, j.State); err != nil {
		return Result{}, errors.Join(err, os.Rename(kept, j.State))
	}
	r.Names = []string{kept}
	return r, syncDir(filepath.Dir(j.State))
}

// slurmUnswap puts back what slurmSwap kept, wherever that ended.
func (w Worker) slurmUnswap(_ context.Context, j Job) (Result, error) {
	if err := j.stateJob(); err != nil {
		return Result{}, err
	}
	fresh, kept := freshState(j.State, j.Stamp), keptState(j.State, j.Stamp)
	if _, err := os.Lstat(kept); errors.Is(err, fs.ErrNotExist) {
		return Result{}, os.RemoveAll(fresh)
	} else if err != nil {
		return Result{}, err
	}
	if _, err := os.Lstat(j.State); err == nil {
		if err := os.RemoveAll(fresh); err != nil {
			return Result{}, err
		}
		if err := os.Rename(j.State, fresh); err != nil {
			return Result{}, err
		}
	}
	if err := os.Rename(kept, j.State); err != nil {
		return Result{}, err
	}
	return Result{}, os.RemoveAll(fresh)
}

// sameCluster refuses another cluster's state.
func sameCluster(dir, want string) error {
	data, err := os.ReadFile(filepath.Join(dir, "clustername"))
	if err != nil {
		return fmt.Errorf("the snapshot does not say whose state it has: %w", err)
	}
	// From 24.05 on a number follows: "hpc|1163".
	got, _, _ := strings.Cut(string(data), "|")
	if got = strings.TrimSpace(got); got != want {
		return fmt.Errorf("the snapshot has the state of the cluster %q, and this one is %q", got, want)
	}
	return nil
}

// notState is what a state directory has of the moment: who serves, and who is to
// give way.
func notState(name string) bool {
	return name == "heartbeat" || strings.HasPrefix(name, ".multihead-") || strings.HasSuffix(name, ".new") || strings.HasSuffix(name, ".old")
}

// copyState copies a state directory. It gets the owner, mode and mark of the one that
// is in use; what is in it is slurmctld's, the account owner.
func copyState(from, like, to, owner string) error {
	info, err := os.Stat(like)
	if err != nil {
		return err
	}
	of, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: its owner cannot be told", like)
	}
	account, err := user.Lookup(owner)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(account.Uid)
	gid, err2 := strconv.Atoi(account.Gid)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	err = filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case rel == ".":
			return os.Mkdir(target, 0o700)
		case d.IsDir():
			return errors.Join(os.Mkdir(target, 0o700), os.Lchown(target, uid, gid))
		case filepath.Dir(rel) == "." && notState(d.Name()):
			return nil
		}
		return errors.Join(copySynced(p, target), os.Lchown(target, uid, gid))
	})
	if err != nil {
		return err
	}
	mark := filepath.Join(to, stateMarker)
	return errors.Join(copySynced(filepath.Join(like, stateMarker), mark), os.Lchown(mark, int(of.Uid), int(of.Gid)), os.Chmod(mark, 0o644), //nolint:gosec // it says nothing
		os.Lchown(to, int(of.Uid), int(of.Gid)), os.Chmod(to, info.Mode()&(fs.ModePerm|fs.ModeSticky)), syncDir(to))
}

// copySynced copies a file, and has it on disk.
func copySynced(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// leastJobID is the highest job number that was ever given out, as far as the
// state that is there and the accounting database know: an older state would give
// the same numbers out again.
func leastJobID(ctx context.Context, j Job) (uint32, error) {
	least := uint32(0)
	data, err := os.ReadFile(filepath.Join(j.State, "job_state"))
	switch {
	case err == nil:
		if n, _, perr := jobSequence(data); perr == nil {
			least = n
		}
	case !errors.Is(err, fs.ErrNotExist):
		return 0, err
	}
	if j.Accounting == "" {
		return least, nil
	}
	table := j.SlurmCluster + "_job_table"
	there, err := column(ctx, "SELECT table_name FROM information_schema.tables WHERE table_schema="+text(j.Accounting)+" AND table_name="+text(table))
	if err != nil || len(there) == 0 {
		return least, err
	}
	rows, err := column(ctx, "SELECT COALESCE(MAX(id_job),0) FROM "+name(j.Accounting)+"."+name(table))
	if err != nil || len(rows) != 1 {
		return 0, errors.Join(err, fmt.Errorf("the highest job number in %s: %v", j.Accounting, rows))
	}
	n, err := strconv.ParseUint(rows[0], 10, 32)
	if err != nil {
		return 0, fmt.Errorf("the highest job number in %s: %w", j.Accounting, err)
	}
	if n > 0 {
		n++ // what the state has is the next one, not the last
	}
	return max(least, uint32(n)), nil //nolint:gosec // it was read as one of 32 bits
}

// raiseJobID makes a job_state go on above a number, and returns the one that it
// goes on from.
func raiseJobID(file string, least uint32) (uint32, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && least == 0 {
		return 0, nil // no job was ever there
	}
	if err != nil {
		return 0, fmt.Errorf("the snapshot's jobs: %w", err)
	}
	have, at, err := jobSequence(data)
	if err != nil {
		return 0, fmt.Errorf("the snapshot's jobs: %w", err)
	}
	if have >= least {
		return have, nil
	}
	endian.BigEndian.PutUint32(data[at:], least)
	return least, os.WriteFile(file, data, 0o600)
}

// jobSequence finds the last job number in a job_state, and where it stands:
// after a text with its length, the protocol's version (2 bytes) and a time (8).
func jobSequence(data []byte) (last uint32, at int, err error) {
	const word = "PROTOCOL_VERSION\x00"
	head := 4 + len(word)
	if len(data) < head+2+8+4 || endian.BigEndian.Uint32(data) != uint32(len(word)) || !bytes.Equal(data[4:head], []byte(word)) {
		return 0, 0, errors.New("job_state does not begin as slurmctld writes it: its last job number cannot be told")
	}
	at = head + 2 + 8
	return endian.BigEndian.Uint32(data[at:]), at, nil
}
