package backup

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

const oneDump = "/*!40101 SET NAMES utf8mb4 */;\n" +
	"CREATE TABLE `users` (\n  `id` int(11) NOT NULL AUTO_INCREMENT,\n  `n` text COMMENT 'a (b) AUTO_INCREMENT=1',\n  PRIMARY KEY (`id`)\n) ENGINE=InnoDB AUTO_INCREMENT=7 DEFAULT CHARSET=utf8mb4;\n" +
	"INSERT INTO `users` VALUES\n(1,'a);(\\'b'),\n(2,'\\\\'),\n(3,NULL);\n" +
	"INSERT INTO `users` VALUES (4,'INSERT INTO `x` VALUES (1)'),(5,0x28282829);\n" +
	"CREATE TABLE `empty ``one` (\n  `id` int(11)\n) ENGINE=InnoDB;\n"

func TestTheRowsOfADumpAreCounted(t *testing.T) {
	got, err := readTables(strings.NewReader(oneDump))
	if err != nil || len(got.rows) != 2 || got.rows["users"] != 5 || got.rows["empty ``one"] != 0 {
		t.Errorf("%v %v", got.rows, err)
	}
	if got.String() != "2 tables, 5 rows" {
		t.Error(got)
	}
	plain := strings.NewReplacer("VALUES\n(", "VALUES (", "),\n(", "),(", "/*!40101 SET NAMES utf8mb4 */;", "/*M!100616 SET x */;", "`id` int(11)", "`id` int").Replace(oneDump)
	other, err := readTables(strings.NewReader(plain))
	if err != nil || other.equal(got, true) || !other.equal(got, false) {
		t.Errorf("as another release writes it: %v", err)
	}
	next, err := readTables(strings.NewReader(strings.Replace(oneDump, "InnoDB AUTO_INCREMENT=7", "InnoDB AUTO_INCREMENT=9", 1)))
	if err != nil || next.sum != got.sum {
		t.Errorf("the next number counts as content: %v", err)
	}
	for _, change := range [][2]string{{"(3,NULL)", "(3,'')"}, {"COMMENT 'a (b) AUTO_INCREMENT=1'", "COMMENT 'a (b) AUTO_INCREMENT=2'"}} {
		other, err := readTables(strings.NewReader(strings.Replace(oneDump, change[0], change[1], 1)))
		if err != nil || other.equal(got, true) || other.data == got.data && strings.HasPrefix(change[0], "(") {
			t.Errorf("%s is taken for %s: %v", change[1], change[0], err)
		}
	}
}

// FuzzRowsOfADump: whatever stands in a text, a row is a row.
func FuzzRowsOfADump(f *testing.F) {
	for _, s := range []string{"", "'", "\\", "\\'", "),(", ";\n", "한글", "(\n('"} {
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, text string, n int) {
		if n < 1 || n > 100 {
			return
		}
		quoted := "'" + strings.NewReplacer("\\", "\\\\", "'", "\\'", "\n", "\\n", "\x00", "\\0").Replace(text) + "'"
		row := "(1," + quoted + ",NULL)"
		for _, between := range []string{",", ",\n"} {
			dump := "INSERT INTO `t` VALUES " + row + strings.Repeat(between+row, n-1) + ";\nINSERT INTO `u` VALUES (1);\n"
			got, err := readTables(strings.NewReader(dump))
			if err != nil || got.rows["t"] != int64(n) || got.rows["u"] != 1 {
				t.Errorf("%q: %v %v", dump, got.rows, err)
			}
		}
	})
}

func TestAccountsOfADump(t *testing.T) {
	dump := "CREATE USER IF NOT EXISTS `client`@`%` IDENTIFIED BY PASSWORD '*X';\nGRANT USAGE ON *.* TO `client`@`%`;\n" +
		"CREATE USER 'a b'@'10.%' IDENTIFIED VIA unix_socket;\nCREATE ROLE x;\n"
	if got := accountsOf(dump); !slices.Equal(got, []string{"client@%", "a b@10.%"}) {
		t.Errorf("%q", got)
	}
}

func TestJobsOfASnapshotAreThoseThatAreSurelyInIt(t *testing.T) {
	written, err := stateWritten(jobState(9))
	if err != nil || written.Unix() != 1_760_000_000 {
		t.Fatalf("%v %v", written, err)
	}
	found := scripts{}
	for name, age := range map[string]time.Duration{"hash.1/job.1/script": time.Hour, "hash.2/job.2/script": time.Second, "hash.3/job.3/script": 3 * time.Second, "hash.3/job.3/environment": 0, "hash.4/job.4/script": time.Hour, "job.5/script": time.Hour} {
		fs := fstest.MapFS{name: {ModTime: written.Add(-age)}}
		info, err := fs.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		found.found(name, info)
	}
	if got := surely(found, written, []uint32{1, 2, 3, 5}); !slices.Equal(got, []uint32{1, 3}) {
		t.Errorf("%v", got) // 2 is too new, 4 has ended, 5 has no script
	}
	if _, err := stateWritten([]byte("nothing")); err == nil {
		t.Error("nothing was written once")
	}
}

func TestFilesOfTheVolumeThatAreTheSites(t *testing.T) {
	mount := t.TempDir()
	for _, f := range []string{"a", "d/b", "slurm/state/job_state", "slurm/state.multihead-1/x", "slurm/other", ".trashcan/x", ".multihead-kept-1/a", "d/.trashcan"} {
		p := filepath.Join(mount, f)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := filesOn(mount, filepath.Join(mount, "slurm/state")); err != nil || n != 4 {
		t.Errorf("%d %v", n, err)
	}
}

// A part that cannot be asked is not equal, and what the snapshot does not have is
// no part.
func TestComparingASnapshotThatIsNotHereIsAnError(t *testing.T) {
	w := Worker{Key: filepath.Join(t.TempDir(), "none"), Clock: time.Now}
	if r, err := w.Work(context.Background(), Job{Op: "compare", Root: t.TempDir(), ID: "20261122_030000"}); err == nil || len(r.Compared) > 0 {
		t.Errorf("%+v %v", r, err)
	}
}
