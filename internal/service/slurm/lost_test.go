package slurm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestWhatThereIsOfAJobWithoutAScriptIsKeptAside(t *testing.T) {
	const fatal = "slurmctld: fatal: _build_launch_job_msg: Unable to load job batch script for JobId=112. Check file system serving StateSaveLocation"
	const volume = "server1:/shared_data fuse.glusterfs"
	for name, tt := range map[string]struct {
		journal string
		on      string // what the state is on: source and type
		bricks  int    // of three that answer
		script  string // of job 112; "-" for none
		env     string // likewise; without it the job has no directory either
		lost    string
	}{
		"it did not end because of one":      {journal: "slurmctld: fatal: no TRES", on: "/dev/vda ext4", script: "-", env: "-"},
		"it is gone":                         {journal: fatal, on: "/dev/vda ext4", script: "-", env: "x", lost: "script"},
		"there is nothing of it":             {journal: fatal, on: volume, bricks: 3, script: "-", env: "-"},
		"it is empty":                        {journal: fatal, on: "/dev/vda ext4", lost: "script", env: "x"},
		"every brick says so":                {journal: fatal, on: volume, bricks: 3, script: "-", env: "x", lost: "script"},
		"a brick is away":                    {journal: fatal, on: volume, bricks: 2, script: "-", env: "-"},
		"a brick does not come back":         {journal: strings.Repeat(fatal+"\n", 5), on: volume, bricks: 2, script: "-", env: "x", lost: "script"},
		"it is there":                        {journal: fatal, on: volume, bricks: 3, script: "own", env: "x"},
		"its environment is gone":            {journal: strings.Replace(fatal, "batch script", "environment", 1), on: volume, bricks: 3, script: "own", env: "-", lost: "environment"},
		"another job's was mended before it": {journal: strings.Replace(fatal, "112", "7", 1) + "\n" + fatal, on: volume, bricks: 3, script: "-", env: "x", lost: "script"},
		"a task of an array":                 {journal: strings.Replace(fatal, "112", "112_3(115)", 1), on: volume, bricks: 3, script: "-", env: "x", lost: "script"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, bin := t.TempDir(), t.TempDir()
			create(t, filepath.Join(dir, marker))
			create(t, filepath.Join(dir, "job_state"))
			job := filepath.Join(dir, "hash.2/job.112")
			if err := os.MkdirAll(filepath.Dir(job), 0o700); err != nil {
				t.Fatal(err)
			}
			for f, data := range map[string]string{"script": tt.script, "environment": tt.env} {
				if data == "-" {
					continue
				}
				if err := os.MkdirAll(job, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(job, f), []byte(data), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			source, kind, _ := strings.Cut(tt.on, " ")
			for cmd, body := range map[string]string{
				"journalctl": "cat <<'END'\n" + tt.journal + "\nEND",
				"findmnt":    fmt.Sprintf("case $* in *FSTYPE*) echo %s ;; *) echo %s ;; esac", kind, source),
				"gluster":    "[ \"$*\" = '--mode=script volume info shared_data' ] && printf 'Bricks:\\nBrick1: a\\nBrick2: b\\nBrick3: c\\n'",
				"getfattr":   "printf '" + strings.Repeat("<POSIX(/b):h:/b/> ", tt.bricks) + "'",
			} {
				if err := os.WriteFile(filepath.Join(bin, cmd), []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			note := filepath.Join(bin, "note")
			cmd := exec.CommandContext(t.Context(), "sh", "lost.sh", dir, note)
			cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			said, _ := os.ReadFile(note)
			if want := "the " + tt.lost + " of job 112 is on no disk"; (tt.lost != "") != strings.Contains(string(said), want) || tt.lost == "" && len(said) > 0 {
				t.Errorf("it says %q", said)
			}
			kept, _ := filepath.Glob(filepath.Join(dir, ".multihead-kept/job.112.*"))
			if (len(kept) == 1) != (tt.lost != "") {
				t.Fatalf("kept: %v", kept)
			}
			at := job
			if tt.lost != "" {
				at = kept[0]
				if _, err := os.Stat(job); err == nil {
					t.Error("it is still there")
				}
			}
			for f, data := range map[string]string{"script": tt.script, "environment": tt.env} {
				if got, err := os.ReadFile(filepath.Join(at, f)); (err == nil) != (data != "-") || err == nil && string(got) != data {
					t.Errorf("%s: %q, %v", f, got, err)
				}
			}
		})
	}
}
