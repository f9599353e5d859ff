package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// tagPrefix is the tag by which a snapshot is found in every head's repository:
// a copy has another id there.
const tagPrefix = "multihead-"

// restic is the engine on one repository of this machine.
type restic struct {
	repository string
	file       string // with the repository's address in it, instead: it may have a password
	key        string // file with the password
}

// command is restic with what every call needs. Nothing secret is in it.
func (r restic) command(ctx context.Context, args ...string) *exec.Cmd {
	at := []string{"--repo", r.repository}
	if r.file != "" {
		at = []string{"--repository-file", r.file}
	}
	argv := append(append(at, "--password-file", r.key, "--no-cache", "--quiet"), args...)
	cmd := exec.CommandContext(ctx, "restic", argv...)
	cmd.Env = append(environment(), "RESTIC_PROGRESS_FPS=0")
	return cmd
}

// environment is what programs of this package get.
func environment() []string {
	return []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"}
}

// output runs a command and returns its standard output; what it said on the
// other one is the error.
func output(cmd *exec.Cmd) ([]byte, error) {
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return out.Bytes(), fmt.Errorf("%s: %w", filepath.Base(cmd.Path), told(err, said.String()))
	}
	return out.Bytes(), nil
}

// told is an error with the last lines that its program said.
func told(err error, said string) error {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	if n := len(lines); n > 3 {
		lines = lines[n-3:]
	}
	text := strings.TrimSpace(strings.Join(lines, "; "))
	if text == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, text)
}

func (r restic) run(ctx context.Context, args ...string) ([]byte, error) {
	return output(r.command(ctx, args...))
}

// unlock takes away the locks of processes that are gone: one from a run that was
// cut off is of this host. Where there is none, nothing is started: each call of
// restic derives the key from the password anew, which takes about a second of CPU.
func (r restic) unlock(ctx context.Context) error {
	locks, err := os.ReadDir(filepath.Join(r.repository, "locks"))
	if err == nil && len(locks) == 0 {
		return nil
	}
	_, err = r.run(ctx, "unlock")
	return err
}

// savedAs reads what `restic backup --json` says in the end: the snapshot's id; empty
// where it does not say it in full (0.14 shortens it).
func savedAs(out []byte) string {
	id := ""
	for line := range bytes.Lines(out) {
		var s struct {
			Type string `json:"message_type"`
			ID   string `json:"snapshot_id"`
		}
		if json.Unmarshal(line, &s) == nil && s.Type == "summary" && repositoryName.MatchString(s.ID) {
			id = s.ID
		}
	}
	return id
}

// exists says whether there is a repository. A directory with something in it
// that is none is an error: it is never made anew.
func (r restic) exists() (bool, error) {
	_, err := os.Stat(filepath.Join(r.repository, "config"))
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	entries, err := os.ReadDir(r.repository)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if e.Name() == "data" || e.Name() == "snapshots" || e.Name() == "keys" {
			sub, err := os.ReadDir(filepath.Join(r.repository, e.Name()))
			if err != nil {
				return false, err
			}
			if e.Name() == "data" { // made with its 256 empty directories
				sub = nil
				werr := filepath.WalkDir(filepath.Join(r.repository, "data"), func(_ string, d fs.DirEntry, err error) error {
					if err == nil && !d.IsDir() {
						sub = append(sub, d)
					}
					return err
				})
				if werr != nil {
					return false, werr
				}
			}
			if e.Name() != "keys" && len(sub) > 0 {
				return false, fmt.Errorf("%s has data in it and no config: a repository that was damaged; move it aside by hand", r.repository)
			}
		}
	}
	return false, nil
}

// snapshot is one entry of restic's own list.
type snapshot struct {
	ID   string   `json:"id"`
	Tags []string `json:"tags"`
}

// list maps our ids to restic's.
func (r restic) list(ctx context.Context) (map[string]string, error) {
	out, err := r.run(ctx, "snapshots", "--json", "--no-lock")
	if err != nil {
		return nil, err
	}
	var all []snapshot
	if err := json.Unmarshal(out, &all); err != nil {
		return nil, fmt.Errorf("restic snapshots: %w", err)
	}
	found := map[string]string{}
	for _, s := range all {
		for _, t := range s.Tags {
			if id, ok := strings.CutPrefix(t, tagPrefix); ok && ValidID(id) {
				found[id] = s.ID
			}
		}
	}
	return found, nil
}

// tar streams a directory of a snapshot as tar.
func (r restic) tar(ctx context.Context, snapshot, dir string, read func(io.Reader) error) error {
	cmd := r.command(ctx, "dump", "--no-lock", "--archive", "tar", snapshot, dir)
	said, rerr, err := stream(cmd, func(archive io.Reader) error {
		if err := read(archive); err != nil {
			return err
		}
		_, err := io.Copy(io.Discard, archive)
		return err
	})
	if rerr != nil && said == "" {
		return rerr
	}
	if err != nil {
		return fmt.Errorf("restic dump: %w", told(err, said))
	}
	return rerr
}
