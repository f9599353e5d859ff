package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"multihead/internal/backup"
	"multihead/internal/host"
	"multihead/internal/lab"
	"multihead/internal/service"
)

// repository is restic's on a head of the real cluster, to be read.
type repository struct {
	from     host.Reader
	layout   backup.Layout
	snapshot string // restic's id of the one that is wanted
}

// walk visits what is needed to read the snapshot, in an order in which whatever is
// named was there before: a backup that runs meanwhile adds packs, then an index of
// them, then a snapshot.
func (s repository) walk(ctx context.Context, visit func(file string, info host.FileInfo) error) error {
	one := func(rel string) error {
		info, err := s.from.Stat(ctx, path.Join(s.layout.Repository(), rel))
		if err != nil {
			return err
		}
		return visit(rel, info)
	}
	var all func(dir string) error
	all = func(dir string) error {
		entries, err := s.from.ReadDir(ctx, path.Join(s.layout.Repository(), dir))
		if err != nil {
			return err
		}
		for _, e := range entries {
			rel := path.Join(dir, e.Name)
			if e.IsDir() {
				err = all(rel)
			} else {
				err = visit(rel, e)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	if s.snapshot == "" {
		return errors.New("restic does not have it any more")
	}
	if err := one("config"); err != nil {
		return err
	}
	if err := all("keys"); err != nil {
		return err
	}
	if err := one(path.Join("snapshots", s.snapshot)); err != nil {
		return err
	}
	if err := all("index"); err != nil {
		return err
	}
	return all("data")
}

// size is how many bytes are to be read.
func (s repository) size(ctx context.Context) (int64, error) {
	n := int64(0)
	err := s.walk(ctx, func(_ string, info host.FileInfo) error { n += info.Size; return nil })
	return n, err
}

// write puts the repository, still encrypted, and its password into an archive
// that is unpacked at / of a rehearsal's head.
func (s repository) write(ctx context.Context, w io.Writer) error {
	out := tar.NewWriter(w)
	put := func(name string, data []byte) error {
		if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(name, "/"), Mode: 0o600, Size: int64(len(data)), ModTime: time.Now()}); err != nil {
			return err
		}
		_, err := out.Write(data)
		return err
	}
	key, err := s.from.ReadFile(ctx, backup.KeyFile)
	if err != nil {
		return err
	}
	if err := put(backup.KeyFile, key); err != nil {
		return err
	}
	to := backup.Layout{Root: backup.RehearsalRoot}.Repository()
	err = s.walk(ctx, func(rel string, _ host.FileInfo) error {
		data, err := s.from.ReadFile(ctx, path.Join(s.layout.Repository(), rel))
		if err != nil {
			return err
		}
		return put(path.Join(to, rel), data)
	})
	return errors.Join(err, out.Close())
}

// first is the head that has the snapshot and does the work.
func (r *rehearsal) first() *lab.Host { return r.lab.Hosts()[0] }

// carry copies the repository from the real head into the first one of the lab. It
// goes through this machine's memory, a file at a time, and is not decrypted.
func (r *rehearsal) carry(ctx context.Context) error {
	in, out := io.Pipe()
	read := make(chan error, 1)
	go func() {
		err := r.store.write(ctx, out)
		read <- err
		out.CloseWithError(err)
	}()
	var said bytes.Buffer
	to := backup.Layout{Root: backup.RehearsalRoot}.Repository()
	err := r.first().Pipe(ctx, in, &said, "sh", "-c",
		`umask 077; mkdir -p /etc/multihead "$1/data" "$1/index" "$1/keys" "$1/locks" "$1/snapshots" && tar -x -C / -f -`, "sh", to)
	in.CloseWithError(io.ErrClosedPipe)
	if rerr := <-read; rerr != nil && !errors.Is(rerr, io.ErrClosedPipe) {
		return fmt.Errorf("%s: %w", r.from.Name(), rerr)
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(said.String()))
	}
	return nil
}

// form forms the cluster by up itself. Compute nodes are in the file and nowhere
// else: that up did not reach them is as it should be.
func (r *rehearsal) form(ctx context.Context) error {
	begin := time.Now()
	out, err := r.tool(ctx, "up", "--yes", "--output", "json")
	var rep struct {
		Outcome    string   `json:"outcome"`
		NotReached []string `json:"not_reached"`
	}
	if jerr := json.Unmarshal(out, &rep); jerr != nil {
		return errors.Join(err, fmt.Errorf("what up answered: %w", jerr))
	}
	if rep.Outcome != outcomeDone || slices.ContainsFunc(r.heads, func(h string) bool { return slices.Contains(rep.NotReached, h) }) {
		return errors.Join(err, errors.New("the cluster was not formed"))
	}
	r.formed = time.Since(begin)
	return nil
}

func (r *rehearsal) bringIn(ctx context.Context) error {
	_, err := r.tool(ctx, "backup", "import", "--here", "--node", r.heads[0])
	return err
}

func (r *rehearsal) restore(ctx context.Context) error {
	begin := time.Now()
	_, err := r.tool(ctx, "restore", "--id", r.snap.ID, "--all", "--yes", "--confirm", r.file.Info.ClusterName)
	r.took = time.Since(begin)
	return err
}

// tool runs this very tool inside the lab, to its end: a process in another network
// cannot reach what this one reaches, and the records of its runs stay in the lab.
// It returns its standard output. Its error has the last of what it said.
func (r *rehearsal) tool(ctx context.Context, args ...string) ([]byte, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, exe, append([]string{"--lab=" + r.name, "--config=" + r.lab.ClusterFile(), "--lang=en"}, args...)...)
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if name != lab.EnterVariable && name != lab.KnownHostsVariable && name != stateVariable {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	// In a group of its own: a Ctrl-C is for this process, which then ends it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if r.verbose {
		cmd.Stderr = io.MultiWriter(&said, r.stderr)
	}
	if err := cmd.Run(); err != nil {
		return out.Bytes(), fmt.Errorf("multihead %s: %w\n%s", args[0], err, lastLines(said.String(), 15))
	}
	return out.Bytes(), nil
}

// lastLines is the end of a text, indented.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	lines = lines[max(0, len(lines)-n):]
	return "  " + strings.Join(lines, "\n  ")
}

// compare has the first head compare what the cluster has with what the snapshot
// has. Any difference is an error.
func (r *rehearsal) compare(ctx context.Context) error {
	c := r.file
	j := backup.Job{Op: "compare", ID: r.snap.ID, Root: backup.RehearsalRoot, Mount: c.SharedMount(), State: c.Slurm.StateSaveLocation,
		Redis: net.JoinHostPort(r.first().Address.String(), strconv.Itoa(c.Redis.Cluster.Port)), Password: c.Redis.Cluster.Password.Reveal()}
	if db, on := c.AccountingDatabase(); on {
		j.Accounting = db.Name
	}
	in, err := json.Marshal(j)
	if err != nil {
		return err
	}
	cmd, err := r.first().Command(ctx, "multihead", "backup-work")
	if err != nil {
		return err
	}
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("compare: %w\n%s", err, lastLines(said.String(), 5))
	}
	var res backup.Result
	if err := json.Unmarshal(out.Bytes(), &res); err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	r.parts = res.Compared
	var differ []string
	for _, p := range r.parts {
		if !p.Equal {
			differ = append(differ, p.Part)
		}
	}
	switch {
	case len(r.parts) == 0:
		return errors.New(r.tr("the snapshot has nothing that could be compared"))
	case len(differ) > 0:
		return fmt.Errorf(r.tr("not equal to the snapshot: %s"), strings.Join(differ, ", "))
	}
	return nil
}

func equalWord(equal bool, pal palette) string {
	if equal {
		return pal.word(service.Up, "yes")
	}
	return pal.word(service.Down, "NO")
}
