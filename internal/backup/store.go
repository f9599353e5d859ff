package backup

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// metadataName is a snapshot's description, in the snapshot and beside the
// repository.
const metadataName = "metadata.json"

// store puts what was collected into this head's repository.
func (w Worker) store(ctx context.Context, j Job) (Result, error) {
	l := Layout{j.Root}
	if j.Meta == nil {
		return Result{}, errors.New("the job does not say what the snapshot is")
	}
	m := *j.Meta
	m.Version, m.Staging = version, l.Staging()
	m.Software = w.software(ctx, m.Software)
	var err error
	if m.Files, m.Bytes, err = checksums(l.Staging(), m.Databases); err != nil {
		return Result{}, err
	}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return Result{}, err
	}
	if err := os.WriteFile(filepath.Join(l.Staging(), metadataName), append(data, '\n'), 0o600); err != nil {
		return Result{}, err
	}
	if j.Mount != "" {
		// An empty mount point looks like a volume without files.
		if ok, err := isMount(j.Mount); err != nil || !ok {
			return Result{}, errors.Join(fmt.Errorf("%s is not mounted here: the snapshot would lack the volume's files", j.Mount), err)
		}
	}
	r := w.restic(j)
	if err := r.unlock(ctx); err != nil {
		return Result{}, err
	}
	args := []string{"backup", "--json", "--tag", tagPrefix + j.ID, "--time", m.Time.Local().Format(time.DateTime), "--host", m.Cluster,
		"--exclude", ownerFile(l)}
	if m.Full {
		args = append(args, "--force") // files are read again even where their times say that nothing changed
	}
	for _, e := range j.Exclude {
		args = append(args, "--exclude", e)
	}
	args = append(args, l.Staging())
	if j.Mount != "" {
		args = append(args, "--one-file-system", j.Mount)
	}
	out, err := r.run(ctx, args...)
	if err != nil {
		return Result{}, err
	}
	if id := savedAs(out); id != "" {
		err = w.writeStored(l, Stored{Metadata: m, Restic: id})
	} else {
		err = w.describe(ctx, j, m)
	}
	if err != nil {
		return Result{}, err
	}
	return Result{Meta: &m}, os.RemoveAll(l.Staging())
}

// software asks what runs here for its version.
func (w Worker) software(ctx context.Context, known map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range known {
		out[k] = v
	}
	for name, argv := range map[string][]string{
		"mariadb": {"mariadbd", "--version"}, "redis": {"redis-server", "--version"}, "slurm": {"slurmctld", "-V"},
		"glusterfs": {"gluster", "--version"}, "restic": {"restic", "version"}, "keepalived": {"keepalived", "--version"},
	} {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Env = environment()
		all, err := cmd.CombinedOutput()
		if err != nil {
			continue // it is not installed here
		}
		if v := versionPattern(string(all)); v != "" {
			out[name] = v
		}
	}
	return out
}

// versionPattern finds the first word that looks like a version: "11.8.2-MariaDB",
// "v=8.0.2", "24.11.5".
func versionPattern(s string) string {
	for _, word := range strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '\n' || r == '\t' || r == ',' || r == '(' }) {
		word = strings.TrimPrefix(strings.TrimPrefix(word, "v="), "v")
		if len(word) > 2 && word[0] >= '0' && word[0] <= '9' && strings.Contains(word, ".") && !strings.Contains(word, "/") {
			end := strings.IndexFunc(word, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
			if end > 0 {
				word = word[:end]
			}
			return word
		}
	}
	return ""
}

// checksums lists what was collected. The dumps' own were taken while they were
// written, and are not read again.
func checksums(dir string, dumps []Database) (files []File, bytes int64, err error) {
	known := map[string]string{}
	for _, d := range dumps {
		known[d.Rows] = d.SHA256
	}
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || p == filepath.Join(dir, ".owner") {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		if known[rel] != "" {
			info, err := d.Info()
			if err != nil {
				return err
			}
			files = append(files, File{rel, info.Size(), known[rel]})
			bytes += info.Size()
			return nil
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		sum := sha256.New()
		n, err := io.Copy(sum, f)
		files = append(files, File{rel, n, hex.EncodeToString(sum.Sum(nil))})
		bytes += n
		return err
	})
	return files, bytes, err
}

// describe writes a snapshot's description beside the repository, once restic
// says that it is in there.
func (w Worker) describe(ctx context.Context, j Job, m Metadata) error {
	found, err := w.restic(j).list(ctx)
	if err != nil {
		return err
	}
	if found[j.ID] == "" {
		return fmt.Errorf("restic has no snapshot %s", j.ID)
	}
	return w.writeStored(Layout{j.Root}, Stored{Metadata: m, Restic: found[j.ID]})
}

func (w Worker) writeStored(l Layout, s Stored) error {
	dir := l.Snapshot(s.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, "."+metadataName)
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, metadataName))
}

func readStored(l Layout, id string) (Stored, error) {
	data, err := os.ReadFile(filepath.Join(l.Snapshot(id), metadataName))
	if err != nil {
		return Stored{}, err
	}
	return parseStored(data, id)
}

// verify reads a snapshot back from this head's repository, every byte that was
// collected, and compares it with the checksums of when it was made.
func (w Worker) verify(ctx context.Context, j Job) (Result, error) {
	l := Layout{j.Root}
	s, err := readStored(l, j.ID)
	if err != nil {
		return Result{}, err
	}
	err = w.readBack(ctx, j, s)
	if ctx.Err() != nil {
		return Result{}, ctx.Err() // not its fault
	}
	now := w.Clock()
	s.Bad = ""
	if err != nil {
		s.Bad = err.Error()
	} else {
		s.Verified = &now
	}
	return Result{}, errors.Join(err, w.writeStored(l, s))
}

func (w Worker) readBack(ctx context.Context, j Job, s Stored) error {
	r := w.restic(j)
	found, err := r.list(ctx)
	if err != nil {
		return err
	}
	if found[j.ID] == "" {
		return errors.New("restic does not have it any more")
	}
	args := []string{"check", "--no-lock"}
	if j.Deep {
		args = append(args, "--read-data")
	}
	if _, err := r.run(ctx, args...); err != nil {
		return err
	}
	left := map[string]File{}
	for _, f := range s.Files {
		left[f.Path] = f
	}
	err = r.tar(ctx, found[j.ID], s.Staging, func(in io.Reader) error {
		return eachFile(in, s.Staging, func(rel string, data io.Reader) error {
			f, ok := left[rel]
			if !ok {
				return nil // the description itself
			}
			delete(left, rel)
			sum := sha256.New()
			if _, err := io.Copy(sum, data); err != nil {
				return err
			}
			if got := hex.EncodeToString(sum.Sum(nil)); got != f.SHA256 {
				return fmt.Errorf("%s is not what was stored: its checksum is another", rel)
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	for p := range left {
		return fmt.Errorf("%s is missing, and %d more", p, len(left)-1)
	}
	return nil
}

// eachFile walks over a tar stream of a directory; paths are relative to it.
func eachFile(in io.Reader, dir string, f func(rel string, data io.Reader) error) error {
	tr := tar.NewReader(in)
	prefix := strings.TrimPrefix(dir, "/") + "/"
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		rel, ok := strings.CutPrefix(strings.TrimPrefix(h.Name, "/"), prefix)
		if !ok {
			rel = path.Clean(h.Name)
		}
		if !clean(rel) {
			return fmt.Errorf("%q leads elsewhere", h.Name)
		}
		if err := f(rel, tr); err != nil {
			return err
		}
	}
}

// forget takes snapshots away, and what only they needed.
func (w Worker) forget(ctx context.Context, j Job) (Result, error) {
	l, r := Layout{j.Root}, w.restic(j)
	found := map[string]string{}
	there, err := r.exists()
	if err != nil {
		return Result{}, err
	}
	if there {
		if found, err = r.list(ctx); err != nil {
			return Result{}, err
		}
	}
	var args []string
	for _, id := range j.IDs {
		if !ValidID(id) {
			return Result{}, fmt.Errorf("%q is no snapshot id", id)
		}
		if found[id] != "" {
			args = append(args, found[id])
		}
	}
	if len(args) > 0 {
		if err := r.unlock(ctx); err != nil {
			return Result{}, err
		}
		if _, err := r.run(ctx, append([]string{"forget", "--prune"}, args...)...); err != nil {
			return Result{}, err
		}
	}
	for _, id := range slices.Sorted(slices.Values(j.IDs)) {
		if err := os.RemoveAll(l.Snapshot(id)); err != nil {
			return Result{}, err
		}
	}
	return Result{Names: j.IDs}, nil
}
