package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"

	"multihead/internal/backup"
	"multihead/internal/host/hosttest"
)

func TestARehearsalsLabHasANameThatLabsMayHave(t *testing.T) {
	shape := regexp.MustCompile(`^[a-z][a-z0-9-]{0,23}$`)
	for name, want := range map[string]string{
		"hpc": "rehearsal-hpc", "HPC_Portal": "rehearsal-hpc-portal", strings.Repeat("x", 40): "rehearsal-" + strings.Repeat("x", 14),
	} {
		got := rehearsalName(name)
		if got != want || !shape.MatchString(got) {
			t.Errorf("%s: %s", name, got)
		}
		if err := rehearsalSpec(got, 3, "trixie", 40<<30, 9<<30).Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// stored is a head with a repository of two snapshots.
func stored() (*hosttest.Machine, repository) {
	const root = "/srv/backup/repository/"
	m := hosttest.New("h1").File(backup.KeyFile, "secret\n").File(root+"config", "c").File(root+"keys/k", "kk").
		File(root+"snapshots/one", "1").File(root+"snapshots/two", "22").File(root+"index/i", "index").
		File(root+"data/00/p", "pack").File(root+"data/ff/q", "packed").File(root+"locks/l", "lock")
	return m, repository{from: m, layout: backup.Layout{Root: "/srv/backup"}, snapshot: "two"}
}

// What a backup adds meanwhile is named by nothing that was read before it.
func TestARepositoryIsReadFromWhatNamesToWhatIsNamed(t *testing.T) {
	m, s := stored()
	n, err := s.size(t.Context())
	if err != nil || n != 1+2+2+5+4+6 {
		t.Errorf("%d bytes: %v", n, err)
	}
	var b bytes.Buffer
	if err := s.write(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	var names []string
	in := tar.NewReader(&b)
	for {
		h, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Mode != 0o600 || h.Uid != 0 {
			t.Errorf("%s has mode %o of %d", h.Name, h.Mode, h.Uid)
		}
		names = append(names, strings.TrimPrefix(h.Name, "data/system_backup/repository/"))
	}
	if want := []string{"etc/multihead/backup.key", "config", "keys/k", "snapshots/two", "index/i", "data/00/p", "data/ff/q"}; !slices.Equal(names, want) {
		t.Errorf("%q", names)
	}
	if got := m.Changes(); len(got) > 0 {
		t.Errorf("the real head was changed: %v", got)
	}
}

func TestARepositoryThatCannotBeReadToItsEndIsAnError(t *testing.T) {
	m, s := stored()
	m.Link("/pruned/meanwhile", "/srv/backup/repository/data/ff/r")
	if err := s.write(t.Context(), io.Discard); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	s.snapshot = ""
	if _, err := s.size(context.Background()); err == nil {
		t.Error("a snapshot that restic has no more")
	}
}

func TestARehearsalWhereNoLabCanBeMadeSaysWhatIsMissingBeforeAnythingElse(t *testing.T) {
	missing := errors.New("missing here: restic")
	a := newApp()
	a.stdout, a.stderr, a.configPath = io.Discard, io.Discard, "/nonexistent"
	err := a.backupRehearse(t.Context(), backupFlags{}, func() error { return missing })
	if !errors.Is(err, missing) || exitCode(err) != exitFailed || !strings.Contains(err.Error(), "nothing was done") {
		t.Errorf("exit code %d: %v", exitCode(err), err)
	}
}
