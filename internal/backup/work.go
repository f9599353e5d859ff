package backup

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Worker does the work on one head: on this machine, as root.
type Worker struct {
	Key   string           // file with the repositories' password
	PKI   [2]string        // this head's certificate with its key, and the authority
	Clock func() time.Time // time.Now
}

// Work does one job.
func (w Worker) Work(ctx context.Context, j Job) (Result, error) {
	if !filepath.IsAbs(j.Root) || j.Root == "/" || j.ID != "" && !ValidID(j.ID) {
		return Result{}, fmt.Errorf("the job names no place to work in: %q %q", j.Root, j.ID)
	}
	ops := map[string]func(context.Context, Job) (Result, error){
		"begin": w.begin, "abort": w.abort, "configs": w.configs, "databases": w.databases, "redis": w.redis,
		"slurm": w.slurm, "glusterfs": w.glusterfs, "store": w.store, "offer": w.offer, "pull": w.pull, "drop": w.drop,
		"verify": w.verify, "forget": w.forget,
		"extract": w.extract, "tidy": w.tidy, "load": w.load, "unload": w.unload, "swap": w.swap, "unswap": w.unswap, "views": w.views,
		"redis-keep": w.redisKeep, "redis-load": w.redisLoad, "redis-unload": w.redisUnload,
		"accounts": w.accounts, "rights": w.rights, "unaccounts": w.unaccounts, "slurm-swap": w.slurmSwap, "slurm-unswap": w.slurmUnswap,
		"volume-load": w.volumeLoad, "volume-unload": w.volumeUnload, "volume-swap": w.volumeSwap, "volume-unswap": w.volumeUnswap,
		"configs-keep": w.configsKeep, "offsite": w.offsite, "import": w.bringIn,
		"compare": w.compare,
	}
	op, ok := ops[j.Op]
	if !ok {
		return Result{}, fmt.Errorf("this multihead does not know the job %q: install the same version on every head (multihead up)", j.Op)
	}
	begin := w.Clock()
	if marks(j.Op) {
		stop, err := w.beat(j)
		if err != nil {
			return Result{}, err
		}
		defer stop()
	}
	r, err := op(ctx, j)
	r.At = w.Clock()
	r.Seconds = r.At.Sub(begin).Seconds()
	return r, err
}

func (w Worker) restic(j Job) restic {
	return restic{repository: Layout{j.Root}.Repository(), key: w.Key}
}

// marks says whether a job works in the staging directory, which is one
// snapshot's at a time.
func marks(op string) bool {
	switch op {
	case "configs", "databases", "redis", "slurm", "glusterfs", "store":
		return true
	}
	return false
}

// alive is how long the staging directory belongs to a snapshot after the last
// sign of life: the head's tool or the head died.
const alive = 90 * time.Second

func ownerFile(l Layout) string { return filepath.Join(l.Staging(), ".owner") }

// beat says while a job is at work that it is.
func (w Worker) beat(j Job) (stop func(), err error) {
	file := ownerFile(Layout{j.Root})
	owner, err := os.ReadFile(file)
	if err != nil || strings.TrimSpace(string(owner)) != j.ID {
		return nil, fmt.Errorf("the snapshot %s is no longer being made here: %s has another owner now", j.ID, filepath.Dir(file))
	}
	touch := func() { now := w.Clock(); _ = os.Chtimes(file, now, now) }
	touch()
	done := make(chan struct{})
	go func() {
		tick := time.NewTicker(alive / 6)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				touch()
			}
		}
	}()
	return func() { close(done); touch() }, nil
}

// begin makes the directories and takes the staging directory for one snapshot.
func (w Worker) begin(ctx context.Context, j Job) (Result, error) {
	l := Layout{j.Root}
	for _, d := range []string{l.Root, filepath.Dir(l.Snapshot(j.ID))} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return Result{}, err
		}
		if err := os.Chmod(d, 0o700); err != nil { //nolint:gosec // a directory
			return Result{}, err
		}
	}
	if _, err := os.Stat(w.Key); err != nil {
		return Result{}, fmt.Errorf("the password of the repositories: %w (multihead up makes it)", err)
	}
	if info, err := os.Stat(ownerFile(l)); err == nil && w.Clock().Sub(info.ModTime()) < alive {
		owner, _ := os.ReadFile(ownerFile(l))
		if strings.TrimSpace(string(owner)) != j.ID {
			return Result{}, fmt.Errorf("another backup (%s) is at work here", strings.TrimSpace(string(owner)))
		}
	}
	// What a backup left that was cut off is of no use to anybody.
	if err := os.RemoveAll(l.Staging()); err != nil {
		return Result{}, err
	}
	need, err := w.estimate(ctx, j)
	if err != nil {
		return Result{}, err
	}
	free, err := freeBytes(l.Root)
	if err != nil {
		return Result{}, err
	}
	if free < need {
		return Result{}, fmt.Errorf("%s has %s free, and a snapshot may take %s: make room, or prune", l.Root, size(free), size(need))
	}
	if err := os.Mkdir(l.Staging(), 0o700); err != nil {
		return Result{}, err
	}
	if err := os.WriteFile(ownerFile(l), []byte(j.ID+"\n"), 0o600); err != nil {
		return Result{}, err
	}
	if err := w.initRepository(ctx, w.restic(j)); err != nil {
		return Result{}, err
	}
	return Result{Need: need, Free: free}, nil
}

// initRepository makes the repository where there is none.
func (w Worker) initRepository(ctx context.Context, r restic, from ...string) error {
	there, err := r.exists()
	if err != nil || there {
		return err
	}
	_, err = r.run(ctx, append([]string{"init"}, from...)...)
	return err
}

// abort gives the staging directory up.
func (w Worker) abort(_ context.Context, j Job) (Result, error) {
	l := Layout{j.Root}
	owner, err := os.ReadFile(ownerFile(l))
	if errors.Is(err, fs.ErrNotExist) || err == nil && strings.TrimSpace(string(owner)) != j.ID {
		return Result{}, nil // another's by now
	}
	return Result{}, errors.Join(err, os.RemoveAll(l.Staging()))
}

// slack is what has to be free beyond what is collected: the repository grows
// by less than that again.
const slack = 256 << 20

// estimate is how many bytes a snapshot may take at most while it is made.
func (w Worker) estimate(ctx context.Context, j Job) (int64, error) {
	need := int64(slack)
	if j.Database != nil { // the databases are wanted
		n, err := databaseBytes(ctx)
		if err != nil {
			return 0, err
		}
		need += 2 * n
	}
	return need, nil
}

// freeBytes is what root may still write below a directory.
func freeBytes(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("%s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil //nolint:gosec // no disk is that large
}

// Size is a number of bytes as people read it.
func Size(n int64) string { return size(n) }

func size(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d KiB", (n+1023)>>10)
}

// NewKey draws a password for repositories.
func NewKey() ([]byte, error) {
	raw := make([]byte, 32)
	if _, err := rand.Read(raw); err != nil {
		return nil, err
	}
	return []byte(base64.RawURLEncoding.EncodeToString(raw) + "\n"), nil
}
