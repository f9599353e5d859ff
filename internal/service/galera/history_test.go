package galera

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestANewIdentitySaysWhereItComesFrom(t *testing.T) {
	for _, at := range []int64{0, 1, 48, 1 << 40} {
		id := successor(uuidA, at, "s1 20260101")
		if !uuidForm.MatchString(id) {
			t.Fatalf("%q is no uuid", id)
		}
		if got, ok := descends(id, uuidA); !ok || got != at {
			t.Errorf("%s: %d, %v; want %d", id, got, ok, at)
		}
		if _, ok := descends(id, uuidB); ok {
			t.Errorf("%s comes from %s as well", id, uuidB)
		}
		if id == successor(uuidA, at, "s2 20260101") {
			t.Error("two that begin at one point are the same")
		}
		if again := successor(id, at+5, ""); again == id {
			t.Error("its successor is itself")
		} else if _, ok := descends(again, uuidA); ok {
			t.Error("a grandchild says nothing of where its grandparent ended")
		}
	}
	for _, other := range []string{uuidA, uuidB, "", noUUID} {
		if _, ok := descends(uuidB, other); ok {
			t.Errorf("an identity that Galera made comes from %q", other)
		}
	}
}

// transferred is a joiner's data directory and the script that is about to empty it, run
// as bash runs it in the place of the daemon's own: with the file read first, then what
// that script does before it deletes.
type transferred struct {
	dir     string
	started string // what mariadbd was started with
	theirs  string // what the donor said of itself
	role    string
	logs    string // where InnoDB's logs lie, if not with the rest
	more    string // lines of the script besides
}

func newTransfer(t *testing.T, state string) *transferred {
	t.Helper()
	s := &transferred{dir: t.TempDir(), role: "joiner"}
	s.write(t, "data/ibdata1", "rows")
	s.write(t, "data/slurm_acct_db/job.ibd", "rows")
	s.write(t, "data/mysql/user.frm", "rows")
	s.write(t, "data/.hidden", "rows")
	s.write(t, "data/.sst/new", "the copy that is on its way")
	s.write(t, "data/.kept/before-1/ibdata1", "older rows")
	s.write(t, "data/grastate.dat", "# GALERA saved state\nversion: 2.1\nuuid:    "+state+"\nseqno:   -1\n")
	s.write(t, "state-transfer.bash", helperText)
	return s
}

func (s *transferred) write(t *testing.T, name, text string) {
	t.Helper()
	p := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *transferred) run(t *testing.T) (string, error) {
	t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal("the script cannot be tried:", err)
	}
	s.write(t, "magic", s.theirs+"\n")
	// What stands for mariadbd has its argument and lives as long.
	s.write(t, "wsrep_sst_mariabackup", `set -ue
wsrep_log_info() { echo "$*" >&2; }
wsrep_log_error() { echo "$*" >&2; }
WSREP_SST_OPT_ROLE=`+s.role+`
DATA=`+filepath.Join(s.dir, "data")+`
MAGIC_FILE=`+filepath.Join(s.dir, "magic")+`
ib_home_dir= ib_undo_dir= ib_log_dir=`+s.logs+` ar_log_dir=
cpat='.*galera\.cache$\|.*\.sst$\|.*grastate\.dat$'
`+bash+` -c 'sleep 60; :' mariadbd --wsrep_start_position=`+s.started+` >/dev/null 2>&1 &
WSREP_SST_OPT_PARENT=$!
trap 'kill $WSREP_SST_OPT_PARENT' EXIT
until tr '\0' ' ' <"/proc/$WSREP_SST_OPT_PARENT/cmdline" | grep -q 'mariadbd --wsrep'; do sleep 0.01; done
`+s.more+`
find -L "$DATA" -mindepth 1 -prune -regex "$cpat" -o -exec rm -rf {} >&2 \+
`)
	cmd := exec.CommandContext(t.Context(), bash, filepath.Join(s.dir, "wsrep_sst_mariabackup"))
	cmd.Env = append(os.Environ(), "BASH_ENV="+filepath.Join(s.dir, "state-transfer.bash"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// has says whether a file of the data directory has what was written to it.
func (s *transferred) has(t *testing.T, name string) bool {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, "data", name))
	return err == nil && string(b) == "rows"
}

// list is what a directory of the data directory has.
func (s *transferred) list(t *testing.T, name string) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.dir, "data", name))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return strings.Join(out, " ")
}

func TestWhatAJoinerHadOfAnotherHistoryIsKept(t *testing.T) {
	next := successor(uuidA, 48, "")
	tests := []struct {
		name    string
		started string // what mariadbd was started with
		state   string // grastate.dat's identity
		theirs  string
		role    string
		logs    string // where InnoDB's logs lie, if not with the rest
		fails   bool   // it ends with an error, nothing deleted
		kept    string // its name; empty is deleted as ever
	}{
		{name: "the same history", started: uuidA + ":40", state: uuidA, theirs: uuidA + ":99 0"},
		{name: "an earlier history, all of which is there", started: uuidA + ":48", state: uuidA, theirs: next + ":50 0"},
		{name: "an earlier history, and more", started: uuidA + ":49", state: uuidA, theirs: next + ":50 0", kept: uuidA + "-49"},
		{name: "an earlier history, and nobody knows how far", started: noUUID + ":-1", state: uuidA, theirs: next + ":50 0", kept: uuidA + "-unknown"},
		{name: "a history before the last", started: uuidA + ":3", state: uuidA, theirs: successor(next, 60, "") + ":61 0", kept: uuidA + "-3"},
		{name: "the same history, and more", started: uuidA + ":40", state: uuidA, theirs: uuidA + ":39 0", kept: uuidA + "-40"},
		{name: "the same history, and nobody knows how far", started: noUUID + ":-1", state: uuidA, theirs: uuidA + ":39 0"},
		{name: "another history", started: uuidB + ":3", state: uuidB, theirs: uuidA + ":99 0", kept: uuidB + "-3"},
		{name: "what the donor said is not understood", started: uuidA + ":3", state: uuidA, theirs: "?", kept: uuidA + "-3"},
		{name: "the file and the data disagree: the data counts", started: uuidA + ":3", state: uuidB, theirs: uuidA + ":9 0"},
		{name: "never part of anything", started: noUUID + ":-1", state: noUUID, theirs: uuidA + ":99 0"},
		{name: "part of it lies elsewhere", started: uuidB + ":3", state: uuidB, theirs: uuidA + ":99 0", logs: "/srv/logs", fails: true},
		{name: "part of it lies elsewhere, of the same history", started: uuidA + ":3", state: uuidA, theirs: uuidA + ":99 0", logs: "/nonexistent"},
		{name: "a donor", role: "donor", started: uuidB + ":3", state: uuidB, theirs: uuidA + ":99 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newTransfer(t, tt.state)
			s.started, s.theirs, s.logs = tt.started, tt.theirs, tt.logs
			if tt.role != "" {
				s.role = tt.role
			}
			out, err := s.run(t)
			if tt.fails {
				if err == nil || !s.has(t, "ibdata1") {
					t.Fatalf("%v\n%s", err, out)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			want := ".kept .sst grastate.dat"
			if s.role == "donor" {
				want = ".sst grastate.dat" // it is not what this is for
			}
			if got := s.list(t, ""); got != want {
				t.Fatalf("left is %q, want %q", got, want)
			}
			switch {
			case s.role == "donor":
			case tt.kept == "":
				if got := s.list(t, ".kept"); got != "before-1" {
					t.Errorf("kept is %q", got)
				}
			default:
				for _, name := range []string{"ibdata1", "slurm_acct_db/job.ibd", "mysql/user.frm", ".hidden"} {
					if !s.has(t, filepath.Join(".kept", tt.kept, name)) {
						t.Errorf("%s is not kept: %q", name, s.list(t, ".kept"))
					}
				}
			}
		})
	}
}

// rsync deletes at the joiner what the donor has not.
func TestWhatWasKeptIsNoPartOfACopyByRsync(t *testing.T) {
	for role, want := range map[string]string{
		"donor":  "-f - /.kept --dirs --delete data/ rsync://s2\n./.sst\n./mysql\n./slurm_acct_db\n",
		"joiner": "--dirs --delete data/ rsync://s2\n./.kept\n./.sst\n./mysql\n./slurm_acct_db\n",
	} {
		t.Run(role, func(t *testing.T) {
			s := newTransfer(t, uuidA)
			s.write(t, "bin/rsync", "#!/bin/sh\necho \"$@\"\n")
			if err := os.Chmod(filepath.Join(s.dir, "bin/rsync"), 0o755); err != nil {
				t.Fatal(err)
			}
			s.write(t, "wsrep_sst_rsync", `set -ue
eval rsync --dirs --delete data/ "'rsync://s2'"
cd `+filepath.Join(s.dir, "data")+`
find -L . -maxdepth 1 -mindepth 1 -type d -not -name lost+found -print0 | tr '\0' '\n' | sort
`)
			cmd := exec.CommandContext(t.Context(), "bash", filepath.Join(s.dir, "wsrep_sst_rsync"), "--role", role, "--address", "s2")
			cmd.Env = append(os.Environ(), "BASH_ENV="+filepath.Join(s.dir, "state-transfer.bash"), "PATH="+filepath.Join(s.dir, "bin")+":"+os.Getenv("PATH"))
			out, err := cmd.CombinedOutput()
			if err != nil || string(out) != want {
				t.Errorf("%v\n%s\nwant\n%s", err, out, want)
			}
		})
	}
}

// Nothing is deleted before mysql is out of the way, which is what a later look goes by.
func TestTheFirstThingThatGoesIsWhatALookGoesBy(t *testing.T) {
	s := newTransfer(t, uuidA)
	s.started, s.theirs = uuidA+":3", uuidA+":99 0"
	s.write(t, "bin/find", "#!/bin/sh\nexit 9\n")
	if err := os.Chmod(filepath.Join(s.dir, "bin/find"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.more = "PATH=" + filepath.Join(s.dir, "bin") + ":$PATH"
	if out, err := s.run(t); err == nil {
		t.Fatalf("it was not cut off\n%s", out)
	}
	if got := s.list(t, ""); got != ".gone .hidden .kept .sst grastate.dat ibdata1 slurm_acct_db" {
		t.Errorf("left is %q", got)
	}
	s.more = ""
	if out, err := s.run(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := s.list(t, ""); got != ".kept .sst grastate.dat" {
		t.Errorf("left is %q", got)
	}
}

// A keeping that ends in the middle is followed by another start within seconds. What is
// left says of itself by then that it never was part of anything.
func TestWhatIsKeptInPartIsNeverDeleted(t *testing.T) {
	for name, mv := range map[string]string{
		"one of the databases cannot be moved": `mv() { case "$*" in */slurm_acct_db" "*) return 1 ;; esac; command mv "$@"; }`,
		"killed before a database":             `mv() { case "$*" in */slurm_acct_db" "*) kill -KILL $$ ;; esac; command mv "$@"; }`,
		"killed before InnoDB's own files":     `mv() { case "$*" in */ibdata1" "*) kill -KILL $$ ;; esac; command mv "$@"; }`,
		"killed before it has its name":        `mv() { case "$*" in *.part" "*) kill -KILL $$ ;; esac; command mv "$@"; }`,
	} {
		t.Run(name, func(t *testing.T) {
			s := newTransfer(t, uuidB)
			s.started, s.theirs, s.more = uuidB+":3", uuidA+":99 0", mv
			if out, err := s.run(t); err == nil {
				t.Fatalf("it was not cut off\n%s", out)
			}
			if strings.HasPrefix(name, "one of") && !s.has(t, "ibdata1") {
				t.Error("the next start makes new files of InnoDB, and again at each")
			}
			// The daemon has made its files anew meanwhile, and its state says nothing.
			if !s.has(t, "ibdata1") {
				s.write(t, "data/ibdata1", "nothing")
			}
			s.write(t, "data/grastate.dat", state(noUUID, "-1", "0"))
			s.started, s.more = noUUID+":-1", ""
			if out, err := s.run(t); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if got := s.list(t, ""); got != ".kept .sst grastate.dat" {
				t.Errorf("left is %q", got)
			}
			if got := s.list(t, ".kept"); got != uuidB+"-3 before-1" {
				t.Errorf("kept is %q", got)
			}
			kept := filepath.Join(".kept", uuidB+"-3")
			if !s.has(t, kept+"/ibdata1") && !s.has(t, kept+"/ibdata1.~1~") || !s.has(t, kept+"/slurm_acct_db/job.ibd") || !s.has(t, kept+"/.hidden") {
				t.Errorf("of what was here %q is kept", s.list(t, kept))
			}
		})
	}
}
