package backup

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// lacks leaves a test out on a machine that cannot run it, but not where all of them
// have to run: make test sets that up, and says so.
func lacks(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("MULTIHEAD_SKIP_NOTHING") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// resticWorker is a head with a key and a repository, by the real restic.
func resticWorker(t *testing.T) (Worker, string) {
	t.Helper()
	if _, err := exec.LookPath("restic"); err != nil {
		lacks(t, "restic is not installed: make lab-setup does it")
	}
	dir := t.TempDir()
	w := Worker{Key: filepath.Join(dir, "key"), Clock: time.Now}
	files(t, dir, map[string]string{"key": "a password\n"})
	return w, filepath.Join(dir, "backup")
}

// make one snapshot, of one file and the configuration of one head.
func makeSnapshot(t *testing.T, w Worker, root, id string) {
	t.Helper()
	when, err := time.Parse(IDFormat, id)
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range []Job{{Op: "begin"}, {Op: "configs", Configs: map[string]map[string][]byte{"s1": {"/etc/x.conf": []byte("x\xff")}},
		Attributes: map[string]map[string]Attr{"s1": {"/etc/x.conf": {Mode: 0o640, Owner: "root", Group: "adm"}}}},
		{Op: "store", Meta: &Metadata{ID: id, Time: when, Cluster: "hpc"}}, {Op: "verify"}} {
		j.Root, j.ID = root, id
		if _, err := w.Work(t.Context(), j); err != nil {
			t.Fatalf("%s: %v", j.Op, err)
		}
	}
}

func TestSnapshotsGoOffSiteAndComeBackToAFreshHead(t *testing.T) {
	t.Parallel()
	w, root := resticWorker(t)
	makeSnapshot(t, w, root, "20260101_020000")
	makeSnapshot(t, w, root, "20260102_020000")
	// Another disk than that of the backup.
	disk, err := os.MkdirTemp("/dev/shm", "offsite")
	if err != nil {
		lacks(t, "there is no second file system: "+err.Error())
	}
	t.Cleanup(func() { _ = os.RemoveAll(disk) })
	target := &Remote{Repository: filepath.Join(disk, "hpc")}
	for range 2 { // twice changes nothing
		r, err := w.Work(t.Context(), Job{Op: "offsite", Root: root, ID: "20260102_020000", Remote: target})
		if err != nil || len(r.Warnings) > 0 {
			t.Fatal(err, r.Warnings)
		}
	}
	s, err := readStored(Layout{root}, "20260102_020000")
	if err != nil || s.Offsite == nil || s.Offsite.Error != "" {
		t.Fatalf("%+v %v", s.Offsite, err)
	}

	fresh := filepath.Join(t.TempDir(), "backup")
	for i, want := range []string{"[20260101_020000 20260102_020000]", "[]"} {
		r, err := w.Work(t.Context(), Job{Op: "import", Root: fresh, Remote: target})
		if err != nil || "["+strings.Join(r.Names, " ")+"]" != want || len(r.Warnings) > 0 {
			t.Fatalf("%d: %v %v", i, r, err)
		}
	}
	if _, err := w.Work(t.Context(), Job{Op: "verify", Root: fresh, ID: "20260101_020000"}); err != nil {
		t.Fatal(err)
	}
	// Only the repository was carried over.
	if err := os.RemoveAll(filepath.Join(fresh, "snapshots")); err != nil {
		t.Fatal(err)
	}
	if r, err := w.Work(t.Context(), Job{Op: "import", Root: fresh}); err != nil || len(r.Names) != 2 {
		t.Fatal(r, err)
	}
	r, err := w.Looks(t.Context(), Job{Op: "read-configs", Root: fresh, ID: "20260102_020000"})
	if err != nil || len(r.Configs) != 1 || string(r.Configs[0].Data) != "x\xff" || r.Configs[0].Path != "/etc/x.conf" || r.Configs[0].Attr == nil || r.Configs[0].Attr.Group != "adm" {
		t.Errorf("%+v %v", r.Configs, err)
	}
	if _, err := w.Looks(t.Context(), Job{Op: "import", Root: fresh, ID: "20260102_020000"}); err == nil {
		t.Error("a job that changes something is taken for a look")
	}
}

func TestAnOffSiteTargetThatFailsIsWrittenDownAndHarmsNothing(t *testing.T) {
	t.Parallel()
	w, root := resticWorker(t)
	const id = "20260101_020000"
	makeSnapshot(t, w, root, id)
	other := Worker{Key: filepath.Join(t.TempDir(), "key"), Clock: time.Now}
	files(t, filepath.Dir(other.Key), map[string]string{"key": "another password\n"})
	disk, err := os.MkdirTemp("/dev/shm", "offsite")
	if err != nil {
		lacks(t, "there is no second file system: "+err.Error())
	}
	t.Cleanup(func() { _ = os.RemoveAll(disk) })
	foreign := filepath.Join(disk, "foreign")
	if err := other.initRepository(t.Context(), restic{repository: foreign, key: other.Key}); err != nil {
		t.Fatal(err)
	}
	for name, repo := range map[string]string{"not mounted": filepath.Join(root, "nas"), "another key's": foreign, "nobody listens": "rest:http://127.0.0.1:1/x/"} {
		r, err := w.Work(t.Context(), Job{Op: "offsite", Root: root, ID: id, Remote: &Remote{Repository: repo, User: "u", Password: "geheim"}})
		if err != nil || len(r.Warnings) != 1 || strings.Contains(r.Warnings[0], "geheim") {
			t.Errorf("%s: %v %v", name, r.Warnings, err)
		}
		s, err := readStored(Layout{root}, id)
		if err != nil || s.Offsite == nil || s.Offsite.Error == "" || s.Verified == nil || s.Bad != "" {
			t.Errorf("%s: %+v %v", name, s.Offsite, err)
		}
		t.Log(r.Warnings)
	}
	left, err := filepath.Glob(filepath.Join(root, ".secret-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("a secret was left: %v %v", left, err)
	}
}
