package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// extract takes what a restore needs out of the repository, checked against the
// checksums of when it was made.
func (w Worker) extract(ctx context.Context, j Job) (Result, error) {
	l := Layout{j.Root}
	s, err := readStored(l, j.ID)
	if err != nil {
		return Result{}, err
	}
	free, err := freeBytes(l.Root)
	if err != nil {
		return Result{}, err
	}
	if need := s.bytesOf(j.Parts) + slack; free < need {
		return Result{}, fmt.Errorf("%s has %s free, and what is brought back takes %s", l.Root, size(free), size(need))
	}
	if err := os.RemoveAll(l.Restoring()); err != nil {
		return Result{}, err
	}
	if err := os.Mkdir(l.Restoring(), 0o700); err != nil {
		return Result{}, err
	}
	found, err := w.restic(j).list(ctx)
	if err != nil {
		return Result{}, err
	}
	if found[j.ID] == "" {
		return Result{}, errors.New("restic does not have it any more")
	}
	dirs := []string{s.Staging}
	if len(j.Parts) > 0 {
		dirs = nil
		for _, p := range j.Parts {
			if !clean(p) {
				return Result{}, fmt.Errorf("%q is no part of a snapshot", p)
			}
			dirs = append(dirs, filepath.Join(s.Staging, p))
		}
	}
	for _, dir := range dirs {
		err = w.restic(j).tar(ctx, found[j.ID], dir, func(in io.Reader) error {
			return eachFile(in, s.Staging, func(rel string, data io.Reader) error { return putBack(filepath.Join(l.Restoring(), rel), data) })
		})
		if err != nil {
			return Result{}, err
		}
	}
	have, _, err := checksums(l.Restoring(), nil)
	if err != nil {
		return Result{}, err
	}
	got := map[string]string{}
	for _, f := range have {
		got[f.Path] = f.SHA256
	}
	for _, f := range s.Files {
		if within(f.Path, j.Parts) && got[f.Path] != f.SHA256 {
			return Result{}, fmt.Errorf("%s is not what was stored", f.Path)
		}
	}
	return Result{}, nil
}

// putBack writes one file of a snapshot.
func putBack(to string, data io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, data)
	return errors.Join(err, out.Close())
}

// within says whether a collected file is in one of these folders; all are where
// none is named.
func within(p string, parts []string) bool {
	return len(parts) == 0 || slices.ContainsFunc(parts, func(d string) bool { return strings.HasPrefix(p, d+"/") })
}

// bytesOf is how much was collected in these folders.
func (m Metadata) bytesOf(parts []string) int64 {
	n := int64(0)
	for _, f := range m.Files {
		if within(f.Path, parts) {
			n += f.Size
		}
	}
	return n
}

// Has says whether something was collected in a folder.
func (m Metadata) Has(part string) bool {
	return slices.ContainsFunc(m.Files, func(f File) bool { return within(f.Path, []string{part}) })
}

// tidy removes what extract made.
func (w Worker) tidy(_ context.Context, j Job) (Result, error) {
	return Result{}, os.RemoveAll(Layout{j.Root}.Restoring())
}
