package slurm

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWhatThereIsOfAJobWithoutAScriptIsKeptAside(t *testing.T) {
	const said = "slurmctld: fatal: _build_launch_job_msg: Unable to load job batch script for JobId=112. Check file system serving StateSaveLocation"
	const volume = "server1:/shared_data fuse.glusterfs"
	gone, empty, there := map[string]string{"environment": "x"}, map[string]string{"script": "", "environment": "x"}, map[string]string{"script": "own", "environment": "x"}
	for name, tt := range map[string]struct {
		said   string            // what slurmctld ended with; empty is the script of job 112
		ended  []time.Duration   // how long ago it did
		on     string            // what the state is on, source and type; empty is a local disk
		bricks int               // of three that answer
		blind  bool              // nothing tells which bricks answer
		job    map[string]string // its files; nil is no directory
		serves bool              // another controller does
		kept   []string          // the jobs that are kept aside
		says   string
	}{
		"it is gone":                     {job: gone, kept: []string{"112"}, says: "the script of job 112 is on no disk"},
		"it did not end because of one":  {said: "slurmctld: fatal: no TRES", job: gone},
		"somebody else says so":          {said: "slurmctld: error: invalid partition: fatal: x: Unable to load job batch script for JobId=112", job: gone},
		"every brick says so":            {on: volume, bricks: 3, job: gone, kept: []string{"112"}, says: "job 112"},
		"a brick is away":                {on: volume, bricks: 2, job: gone},
		"a brick does not come back":     {on: volume, bricks: 2, job: gone, ended: []time.Duration{200, 150, 100, 50, 1}, kept: []string{"112"}, says: "job 112"},
		"a brick is late":                {on: volume, bricks: 2, job: gone, ended: []time.Duration{100, 60, 40, 20, 1}},
		"nobody knows of the bricks":     {on: volume, bricks: 3, blind: true, job: gone},
		"it is empty here":               {on: volume, bricks: 3, job: empty},
		"it stays empty":                 {on: volume, bricks: 3, job: empty, ended: []time.Duration{20, 10, 1}, kept: []string{"112"}, says: "the script of job 112"},
		"it is there":                    {on: volume, bricks: 3, job: there, ended: []time.Duration{20, 10, 1}},
		"its environment is gone":        {said: strings.Replace(said, "batch script", "environment", 1), job: map[string]string{"script": "own"}, kept: []string{"112"}, says: "the environment of job 112"},
		"a task of an array":             {said: strings.Replace(said, "112", "112_3(115)", 1), job: gone, kept: []string{"112"}, says: "job 112"},
		"there is nothing of it":         {},
		"there is nothing of it, always": {ended: []time.Duration{20, 10, 1}, says: "slurmctld ends itself at job 112, which has no files"},
		"another one is in charge":       {job: gone, serves: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir, bin := t.TempDir(), t.TempDir()
			write := func(name, data string) {
				t.Helper()
				p := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(p, []byte(data), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write(marker, "")
			// Job 9 is whole; 33 lacks its script like the first; the state knows nothing of 44.
			state := make([]byte, 35)
			for _, id := range []uint32{9, 33, 112} {
				state = append(binary.BigEndian.AppendUint32(append(state, 0xff), id), 0xff)
			}
			write("job_state", string(state))
			write("hash.9/job.9/script", "own")
			write("hash.9/job.9/environment", "x")
			write("hash.3/job.33/environment", "x")
			write("hash.4/job.44/environment", "x")
			for f, data := range tt.job {
				write("hash.2/job.112/"+f, data)
			}
			write(beatFile, "")
			ago := func(d time.Duration) time.Time { return time.Now().Add(-d * time.Second) }
			beat := filepath.Join(dir, beatFile)
			if err := os.Chtimes(beat, ago(60), ago(60)); err != nil {
				t.Fatal(err)
			}
			source, kind, _ := strings.Cut(cmp.Or(tt.on, "/dev/vda ext4"), " ")
			if len(tt.ended) == 0 {
				tt.ended = []time.Duration{1}
			}
			var journal strings.Builder
			for _, d := range tt.ended {
				fmt.Fprintf(&journal, "%d.123456 slurmctld[854]: %s\n", ago(d).Unix(), cmp.Or(tt.said, said))
			}
			asks := map[string]string{
				"journalctl": "cat <<'END'\n" + journal.String() + "END",
				"findmnt":    fmt.Sprintf("case $* in *FSTYPE*) echo %s ;; *) echo %s ;; esac", kind, source),
				"gluster":    "[ \"$*\" = '--mode=script volume info shared_data' ] && printf 'Bricks:\\nBrick1: a\\nBrick2: b\\nBrick3: c\\n'",
				"getfattr":   "printf '" + strings.Repeat("<POSIX(/b):h:/b/> ", tt.bricks) + "'",
			}
			if tt.blind {
				asks["getfattr"] = "exit 127"
			}
			if tt.serves {
				asks["sleep"] = "touch " + beat + " -d '1 second'"
				if err := os.Chtimes(beat, ago(1), ago(1)); err != nil {
					t.Fatal(err)
				}
			}
			for cmd, body := range asks {
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
			wrote, _ := os.ReadFile(note)
			if !strings.Contains(string(wrote), tt.says) || tt.says == "" && len(wrote) > 0 {
				t.Errorf("it says %q", wrote)
			}
			if len(tt.kept) > 0 {
				tt.kept = append(tt.kept, "33") // is as it is
			}
			var kept []string
			found, _ := filepath.Glob(filepath.Join(dir, ".multihead-kept/job.*"))
			for _, f := range found {
				kept = append(kept, strings.Split(filepath.Base(f), ".")[1])
			}
			if !slices.Equal(kept, tt.kept) {
				t.Fatalf("kept: %v", kept)
			}
			for _, job := range []string{"hash.9/job.9/script", "hash.4/job.44/environment"} {
				if _, err := os.Stat(filepath.Join(dir, job)); err != nil {
					t.Error(err)
				}
			}
			at := filepath.Join(dir, "hash.2/job.112")
			if len(tt.kept) > 0 {
				at = found[slices.Index(kept, "112")]
			}
			for f, data := range tt.job {
				if got, err := os.ReadFile(filepath.Join(at, f)); err != nil || string(got) != data {
					t.Errorf("%s: %q, %v", f, got, err)
				}
			}
		})
	}
}
