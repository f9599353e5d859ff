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

// The script is run as bash runs it in the place of the daemon's own: with the
// file read first, then what the joiner's script does before it deletes.
func TestWhatAJoinerHadOfAnotherHistoryIsKept(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal("the script cannot be tried:", err)
	}
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
			dir := t.TempDir()
			data := filepath.Join(dir, "data")
			write := func(name, text string) {
				t.Helper()
				p := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write("data/ibdata1", "rows")
			write("data/slurm_acct_db/job.ibd", "rows")
			write("data/.hidden", "rows")
			write("data/.sst/new", "the copy that is on its way")
			write("data/.kept/before-1/ibdata1", "older rows")
			write("data/grastate.dat", "# GALERA saved state\nversion: 2.1\nuuid:    "+tt.state+"\nseqno:   -1\n")
			write("magic", tt.theirs+"\n")
			write("state-transfer.bash", helperText)
			// What stands for mariadbd has its argument and lives as long.
			role := tt.role
			if role == "" {
				role = "joiner"
			}
			write("wsrep_sst_mariabackup", `set -ue
wsrep_log_info() { echo "$*" >&2; }
wsrep_log_error() { echo "$*" >&2; }
WSREP_SST_OPT_ROLE=`+role+`
DATA=`+data+`
MAGIC_FILE=`+filepath.Join(dir, "magic")+`
ib_home_dir= ib_undo_dir= ib_log_dir=`+tt.logs+` ar_log_dir=
cpat='.*galera\.cache$\|.*\.sst$\|.*grastate\.dat$'
`+bash+` -c 'sleep 60; :' mariadbd --wsrep_start_position=`+tt.started+` >/dev/null 2>&1 &
WSREP_SST_OPT_PARENT=$!
trap 'kill $WSREP_SST_OPT_PARENT' EXIT
until tr '\0' ' ' <"/proc/$WSREP_SST_OPT_PARENT/cmdline" | grep -q 'mariadbd --wsrep'; do sleep 0.01; done
find -L "$DATA" -mindepth 1 -prune -regex "$cpat" -o -exec rm -rf {} >&2 \+
`)
			cmd := exec.CommandContext(t.Context(), bash, filepath.Join(dir, "wsrep_sst_mariabackup"))
			cmd.Env = append(os.Environ(), "BASH_ENV="+filepath.Join(dir, "state-transfer.bash"))
			out, err := cmd.CombinedOutput()
			if tt.fails {
				if b, rerr := os.ReadFile(filepath.Join(data, "ibdata1")); err == nil || rerr != nil || string(b) != "rows" {
					t.Fatalf("%v, %v\n%s", err, rerr, out)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var left []string
			entries, err := os.ReadDir(data)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				left = append(left, e.Name())
			}
			want := ".kept .sst grastate.dat"
			if role == "donor" {
				want = ".sst grastate.dat" // it is not what this is for
			}
			if got := strings.Join(left, " "); got != want {
				t.Fatalf("left is %q, want %q", got, want)
			}
			if tt.kept == "" {
				if more, err := os.ReadDir(filepath.Join(data, ".kept")); err == nil && len(more) != 1 {
					t.Errorf("%v", more)
				}
				return
			}
			for _, name := range []string{"ibdata1", "slurm_acct_db/job.ibd", ".hidden"} {
				if b, err := os.ReadFile(filepath.Join(data, ".kept", tt.kept, name)); err != nil || string(b) != "rows" {
					t.Errorf("%s: %q, %v", name, b, err)
				}
			}
		})
	}
}
