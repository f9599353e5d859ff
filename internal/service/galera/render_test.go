package galera

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"multihead/internal/config"
	"multihead/internal/golden"
)

func TestFilesAsWritten(t *testing.T) {
	plain := stateOf(blank("s1"), blank("s2"), blank("s3"))
	settings, err := plain.settings(plain.nodes[1])
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/settings.cnf", settings)
	members, err := plain.members()
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/members.cnf", members)
	drop, err := dropIn(debian)
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/unit.conf", drop)

	full := stateOf(blank("s1"))
	full.nodes[0].memory, full.nodes[0].at = 16384, rhel
	full.conf.Galera.SSTMethod = "rsync"
	full.conf.Config = map[string]string{"max_connections": "500", "innodb_buffer_pool_size": "4G"}
	if settings, err = full.settings(full.nodes[0]); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/settings-full.cnf", settings)
}

func TestSettingsDoNotHangOnWhoElseIsThere(t *testing.T) {
	one, four := stateOf(blank("s1")), stateOf(blank("s1"), blank("s2"), blank("s3"), blank("s4"))
	a, err := one.settings(one.nodes[0])
	if err != nil {
		t.Fatal(err)
	}
	b, err := four.settings(four.nodes[0])
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("growing from one head to four would restart the database on the first")
	}
}

func TestTheListOfMembersIsEmptyOnlyWhereThereIsOneHead(t *testing.T) {
	for want, s := range map[string]*State{
		`"gcomm://"`:                      stateOf(blank("s1")),
		`"gcomm://192.0.2.11,192.0.2.12"`: stateOf(blank("s1"), blank("s2")),
	} {
		b, err := s.members()
		if err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%v\n%s", err, b)
		}
	}
}

func TestASettingThatIsTwoLinesIsRefused(t *testing.T) {
	for key, value := range map[string]string{"max_connections": "5\nwsrep_on=OFF", "a b": "1", "[client]": "1", "": "1"} {
		s := stateOf(blank("s1"))
		s.conf.Config = map[string]string{key: value}
		if out, err := s.settings(s.nodes[0]); err == nil {
			t.Errorf("%q: %q was written:\n%s", key, value, out)
		}
	}
}

func TestTimingsKeepTheRules(t *testing.T) {
	if err := timings.valid(); err != nil {
		t.Errorf("the built-in ones: %v", err)
	}
	tests := []struct {
		name   string
		change func(*timing)
	}{
		{"one lost message counts as death", func(t *timing) { t.keepalive = time.Second }},
		{"silence is looked for too rarely", func(t *timing) { t.check = 1500 * time.Millisecond }},
		{"agreeing takes longer than being thrown out", func(t *timing) { t.inactive = 3 * time.Second }},
		{"suspected later than thrown out", func(t *timing) { t.suspect = 20 * time.Second }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := timings
			tt.change(&v)
			if v.valid() == nil {
				t.Errorf("%+v is taken for valid", v)
			}
		})
	}
}

func TestBufferPoolSharesTheHead(t *testing.T) {
	for memory, want := range map[int]int{0: 0, 512: 128, 16384: 2048, 1 << 20: 8192} {
		if got := bufferPool(memory); got != want {
			t.Errorf("%d MiB: %d, want %d", memory, got, want)
		}
	}
}

// The helper replaces one pause of the distribution's script. Its replacement
// of sleep must leave every other pause alone.
func TestTransferHelperLeavesOtherPausesAlone(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not here")
	}
	dir := t.TempDir()
	helper := filepath.Join(dir, "helper.bash")
	ss := "#!/bin/sh\nexit 0\n"
	for name, text := range map[string]string{"helper.bash": helperText, "ss": ss, "pgrep": "#!/bin/sh\nexit 1\n", "mariadb_upgrade_info": "",
		"wsrep_sst_mariabackup": "#!/bin/bash\nWSREP_SST_OPT_ROLE=$1 REMOTEIP=192.0.2.9 SST_PORT=4444 DATA=$DIR tcmd=$2\nsleep $3\necho \"$tcmd\"\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// The pause itself only says that it was asked for.
	if err := os.WriteFile(filepath.Join(dir, "sleep"), []byte("#!/bin/sh\necho slept $1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	plain := "socat -u stdio TCP:192.0.2.9:4444"
	tests := []struct{ name, role, tcmd, pause, want string }{
		{"the donor's ten seconds", "donor", plain, "10", plain + ",retry=300,interval=0.1"},
		{"another pause of the donor", "donor", plain, "0.2", "slept 0.2\n" + plain},
		{"the joiner", "joiner", plain, "10", "slept 10\n" + plain},
		{"an encrypted transfer", "donor", "socat -u stdio openssl-connect:192.0.2.9:4444", "10", "slept 10\nsocat -u stdio openssl-connect:192.0.2.9:4444"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command(bash, filepath.Join(dir, "wsrep_sst_mariabackup"), tt.role, tt.tcmd, tt.pause)
			cmd.Env = []string{"PATH=" + dir + ":/usr/bin:/bin", "BASH_ENV=" + helper, "DIR=" + dir}
			out, err := cmd.CombinedOutput()
			if got := strings.TrimSpace(string(out)); err != nil || got != tt.want {
				t.Errorf("%v: got %q, want %q", err, got, tt.want)
			}
		})
	}
}

func TestMySQLDumpIsRefused(t *testing.T) {
	s := stateOf(blank("s1"), blank("s2"))
	s.conf.Galera = config.Galera{ClusterName: "hpc", SSTMethod: "mysqldump"}
	if _, err := s.Plan(auto); err == nil {
		t.Error("a transfer that needs a password on the network is planned")
	}
}
