package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Remote is another repository: a directory, or what restic calls sftp: or rest:.
type Remote struct {
	Repository string `json:"repository"`
	User       string `json:"user,omitempty"`     // of a rest: server
	Password   string `json:"password,omitempty"` // of a rest: server; a secret
	Key        string `json:"key,omitempty"`      // the repository's password where it is not this cluster's; a secret
}

// Offsite is what is known of a snapshot's copy at the off-site target.
type Offsite struct {
	At    time.Time `json:"at"`
	Error string    `json:"error,omitempty"` // why there is none; empty where there is
}

// location is the repository as restic takes it, with what a rest: server asks for.
func (r Remote) location() (string, error) {
	rest, ok := strings.CutPrefix(r.Repository, "rest:")
	if !ok || r.User == "" {
		return r.Repository, nil
	}
	u, err := url.Parse(rest)
	if err != nil {
		return "", errors.New("the address after rest: is none") // the error would repeat it
	}
	u.User = url.UserPassword(r.User, r.Password)
	return "rest:" + u.String(), nil
}

// secretFile writes a secret where only root reads it, for restic to read.
func secretFile(root, content string) (file string, remove func(), err error) {
	f, err := os.CreateTemp(root, ".secret-*") // of mode 0600
	if err != nil {
		return "", nil, err
	}
	_, err = f.WriteString(content + "\n")
	remove = func() { _ = os.Remove(f.Name()) }
	if err = errors.Join(err, f.Close()); err != nil {
		remove()
		return "", nil, err
	}
	return f.Name(), remove, nil
}

// hide takes what a rest: server asks for out of what restic said.
func (r Remote) hide(err error) error {
	if err == nil || r.Password == "" {
		return err
	}
	text := strings.NewReplacer(r.Password, "***", url.QueryEscape(r.Password), "***", url.PathEscape(r.Password), "***").Replace(err.Error())
	return errors.New(text)
}

// reachable refuses a directory that cannot be what it is to be: its disk is not
// mounted, and the copy would go onto the disk that it is a copy of.
func (r Remote) reachable(root string) error {
	if !filepath.IsAbs(r.Repository) {
		return nil
	}
	var own, target syscall.Stat_t
	if err := syscall.Stat(root, &own); err != nil {
		return fmt.Errorf("%s: %w", root, err)
	}
	dir := r.Repository
	err := syscall.Stat(dir, &target)
	if errors.Is(err, syscall.ENOENT) { // it may be made, in a directory that is there
		dir = filepath.Dir(dir)
		err = syscall.Stat(dir, &target)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if own.Dev == target.Dev {
		return fmt.Errorf("%s lies on the same disk as %s: what it should be on is not mounted", dir, root)
	}
	return nil
}

// offsite copies what this head has to the off-site target. That this fails is
// written down with the snapshot, and is no failure of the backup.
func (w Worker) offsite(ctx context.Context, j Job) (Result, error) {
	if j.Remote == nil {
		return Result{}, errors.New("the job names no target")
	}
	err := j.Remote.hide(w.copyOut(ctx, j))
	if ctx.Err() != nil {
		return Result{}, ctx.Err()
	}
	s, rerr := readStored(Layout{j.Root}, j.ID)
	if rerr != nil {
		return Result{}, errors.Join(err, rerr)
	}
	s.Offsite = &Offsite{At: w.Clock()}
	var r Result
	if err != nil {
		s.Offsite.Error = strings.ReplaceAll(err.Error(), "\n", "; ")
		r.Warnings = []string{"no copy at the off-site target: " + s.Offsite.Error}
	}
	return r, w.writeStored(Layout{j.Root}, s)
}

func (w Worker) copyOut(ctx context.Context, j Job) error {
	if err := j.Remote.reachable(j.Root); err != nil {
		return err
	}
	location, err := j.Remote.location()
	if err != nil {
		return err
	}
	file, remove, err := secretFile(j.Root, location)
	if err != nil {
		return err
	}
	defer remove()
	own := w.restic(j)
	there := restic{file: file, key: w.Key}
	from := []string{"--from-repo", own.repository, "--from-password-file", w.Key}
	if _, err := there.run(ctx, "cat", "config", "--no-lock"); err != nil {
		// init never touches a repository that is there.
		if _, ierr := there.run(ctx, append([]string{"init", "--copy-chunker-params"}, from...)...); ierr != nil {
			return errors.Join(err, ierr)
		}
	}
	if _, err := there.run(ctx, "unlock"); err != nil {
		return err
	}
	if _, err := there.run(ctx, append([]string{"copy"}, from...)...); err != nil {
		return err
	}
	if j.Deep {
		if _, err := there.run(ctx, "check", "--no-lock"); err != nil {
			return err
		}
	}
	found, err := there.list(ctx)
	if err == nil && found[j.ID] == "" {
		err = errors.New("the target does not have it, though restic copied it")
	}
	return err
}

// bringIn copies the snapshots of another repository into this head's, where the
// job names one, and describes what has no description: on a fresh head, or where
// only the repository itself was carried over.
func (w Worker) bringIn(ctx context.Context, j Job) (Result, error) {
	l, r := Layout{j.Root}, w.restic(j)
	if _, err := os.Stat(w.Key); err != nil {
		return Result{}, fmt.Errorf("the password of the repositories: %w (put the key there that the snapshots were made with, then multihead up)", err)
	}
	for _, d := range []string{l.Root, path.Join(l.Root, "snapshots")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return Result{}, err
		}
	}
	if j.Remote != nil {
		if err := j.Remote.hide(w.copyIn(ctx, j)); err != nil {
			return Result{}, err
		}
	}
	if there, err := r.exists(); err != nil || !there {
		return Result{}, errors.Join(err, fmt.Errorf("%s has no repository", l.Root))
	}
	found, err := r.list(ctx)
	if err != nil {
		return Result{}, err
	}
	var res Result
	for id := range found {
		if _, err := readStored(l, id); err == nil {
			continue
		}
		m, err := r.metadata(ctx, found[id])
		if err == nil && m.ID != id {
			err = fmt.Errorf("its %s is of %s", metadataName, m.ID)
		}
		if err != nil {
			res.Warnings = append(res.Warnings, fmt.Sprintf("%s: %v", id, err))
			continue
		}
		if err := w.writeStored(l, Stored{Metadata: m, Restic: found[id]}); err != nil {
			return res, err
		}
		res.Names = append(res.Names, id)
	}
	slices.Sort(res.Names)
	return res, nil
}

func (w Worker) copyIn(ctx context.Context, j Job) error {
	location, err := j.Remote.location()
	if err != nil {
		return err
	}
	file, remove, err := secretFile(j.Root, location)
	if err != nil {
		return err
	}
	defer remove()
	key := w.Key
	if j.Remote.Key != "" {
		other, remove, err := secretFile(j.Root, strings.TrimSpace(j.Remote.Key))
		if err != nil {
			return err
		}
		defer remove()
		key = other
	}
	from := []string{"--from-repository-file", file, "--from-password-file", key}
	r := w.restic(j)
	if err := w.initRepository(ctx, r, append([]string{"--copy-chunker-params"}, from...)...); err != nil {
		return err
	}
	if _, err := r.run(ctx, "unlock"); err != nil {
		return err
	}
	_, err = r.run(ctx, append([]string{"copy", "--no-lock"}, from...)...)
	return err
}

// metadata reads a snapshot's own description.
func (r restic) metadata(ctx context.Context, snapshot string) (Metadata, error) {
	var m Metadata
	out, err := r.run(ctx, "snapshots", "--json", "--no-lock", snapshot)
	if err != nil {
		return m, err
	}
	var list []struct {
		Paths []string `json:"paths"`
	}
	if err := json.Unmarshal(out, &list); err != nil || len(list) != 1 {
		return m, errors.Join(err, errors.New("restic snapshots: not one"))
	}
	for _, p := range list[0].Paths {
		if path.Base(p) != path.Base(Layout{}.Staging()) {
			continue
		}
		data, err := r.run(ctx, "dump", "--no-lock", snapshot, path.Join(p, metadataName))
		if err != nil {
			return m, err
		}
		if err := json.NewDecoder(bytes.NewReader(data)).Decode(&m); err != nil {
			return m, fmt.Errorf("%s: %w", metadataName, err)
		}
		return m, m.Check()
	}
	return m, errors.New("it has no description: not made by multihead")
}
