package galera

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The end of a joiner's script: the file that says that the copy is a part of one goes
// once all of it is on the disk.
func TestACopyIsOnTheDiskBeforeItCountsAsWhole(t *testing.T) {
	for name, tt := range map[string]struct {
		script, role, file string
		sync               string // what stands for sync does
		more               string // that the script has set
		synced, stays      bool
		logs               bool // synced too
	}{
		"a joiner":                     {script: "wsrep_sst_mariabackup", role: "joiner", file: "sst_in_progress", sync: "true", synced: true},
		"a joiner by rsync":            {script: "wsrep_sst_rsync", role: "joiner", file: "sst_in_progress", sync: "true", synced: true},
		"a joiner by rsync that fails": {script: "wsrep_sst_rsync", role: "joiner", more: "estatus=32", file: "sst_in_progress", sync: "true", stays: true},
		"a joiner that fails":          {script: "wsrep_sst_mariabackup", role: "joiner", more: "estatus=32", file: "sst_in_progress", sync: "true", synced: true},
		"the disk refuses":             {script: "wsrep_sst_mariabackup", role: "joiner", file: "sst_in_progress", sync: "false", synced: true, stays: true},
		"it had only missed something": {script: "wsrep_sst_mariabackup", role: "joiner", more: "WSREP_SST_OPT_BYPASS=1", file: "sst_in_progress", sync: "true"},
		"its logs lie elsewhere":       {script: "wsrep_sst_mariabackup", role: "joiner", more: "ib_log_dir=$PWD", file: "sst_in_progress", sync: "true", synced: true, logs: true},
		"another file":                 {script: "wsrep_sst_mariabackup", role: "joiner", file: "xtrabackup_ist", sync: "true"},
		"a donor":                      {script: "wsrep_sst_mariabackup", role: "donor", file: "sst_in_progress", sync: "true"},
		"another script's":             {script: "wsrep_notify", role: "joiner", file: "sst_in_progress", sync: "true"},
		"it does not exist, too":       {script: "wsrep_sst_mariabackup", role: "joiner", file: "", sync: "true"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			data := filepath.Join(dir, "data")
			for file, text := range map[string]string{
				"data/sst_in_progress":   "",
				"data/xtrabackup_ist":    "",
				"bin/sync":               "#!/bin/sh\n[ -e " + data + "/sst_in_progress ] && echo \"$@\" >>" + dir + "/synced\n" + tt.sync + "\n",
				"bin/logger":             "#!/bin/sh\n",
				"bin/state-transfer":     helperText,
				"bin/" + tt.script:       "set -ue\nWSREP_SST_OPT_ROLE=" + tt.role + "\n" + tt.more + "\nrm -f " + filepath.Join(data, tt.file) + " 2>/dev/null || :\n",
				"data/mysql/db.frm":      "the copy",
				"data/mysql/servers.frm": "the copy",
			} {
				p := filepath.Join(dir, file)
				if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(p, []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), "bash", filepath.Join(dir, "bin", tt.script))
			cmd.Env = append(os.Environ(), "PATH="+dir+"/bin:"+os.Getenv("PATH"), "BASH_ENV="+dir+"/bin/state-transfer")
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
				t.Fatalf("%v: %s", err, out)
			}
			said, _ := os.ReadFile(filepath.Join(dir, "synced"))
			want := "-f " + data
			if tt.logs {
				want += "\n-f " + dir
			}
			if synced := strings.TrimSpace(string(said)) == want; synced != tt.synced || !synced && len(said) > 0 {
				t.Errorf("synced: %q", said)
			}
			if tt.file == "" {
				return
			}
			if _, err := os.Stat(filepath.Join(data, tt.file)); (err == nil) != tt.stays {
				t.Errorf("%s: %v", tt.file, err)
			}
		})
	}
}
