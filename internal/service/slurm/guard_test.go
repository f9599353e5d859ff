package slurm

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"multihead/internal/host"
	"multihead/internal/host/hosttest"
)

// seen is one thing that a head sees, so many milliseconds after its agent began.
type seen struct {
	at int
	do func(w *watch, now time.Time)
}

func runs(pid string) func(*watch, time.Time) {
	return func(w *watch, _ time.Time) { w.process(pid) }
}

func beats(index, n int) func(*watch, time.Time) {
	return func(w *watch, now time.Time) { w.saw(heartbeat{time.Unix(int64(n), 0), index}, 1, now) }
}

// looked is a look at the state that took that long and has just ended.
func looked(took time.Duration, why string) func(*watch, time.Time) {
	return func(w *watch, now time.Time) { w.checked(now.Add(-took), now, true, unread{why: why}) }
}

// missed is one that found scripts of jobs alone refused.
func missed(w *watch, now time.Time) {
	w.checked(now, now, true, unread{why: "a script is refused", scripts: true})
}

func TestASlurmctldThatCouldNotReadItsStateIsKilled(t *testing.T) {
	const refused = "job_state: Transport endpoint is not connected"
	const late = time.Second / 5 // a look takes so long
	standsBy := []seen{{0, runs("7")}, {100, beats(0, 1)}, {1100, beats(0, 2)}, {2100, beats(0, 3)}, {3100, beats(0, 4)}}
	leads := []seen{{0, runs("7")}, {100, beats(1, 1)}, {1100, beats(1, 2)}, {2100, beats(1, 3)}, {3100, beats(1, 4)}}
	for name, tt := range map[string]struct {
		seen []seen
		more []seen
		at   int
		harm bool
		why  string
	}{
		"another is in charge":                                {seen: standsBy, at: 5000},
		"the heartbeat stopped, and the state can be read":    {seen: standsBy, more: []seen{{4400, looked(late, "")}}, at: 7200},
		"the heartbeat stopped, and nobody knows":             {seen: standsBy, at: 9000},
		"its predecessor on this head was in charge":          {seen: leads, more: []seen{{3200, runs("9")}, {3400, beats(1, 5)}, {4500, looked(late, refused)}}, at: 7500, harm: true, why: refused},
		"it was started just now, and its unit looked":        {seen: standsBy, more: []seen{{4400, looked(late, refused)}, {5600, runs("9")}}, at: 8500},
		"it was in charge and another took over from it":      {seen: leads, more: []seen{{4100, beats(0, 9)}, {5500, looked(late, refused)}}, at: 8200, harm: true, why: refused},
		"two heartbeats may be what was seen late: not three": {seen: leads, more: []seen{{3200, runs("9")}, {3400, beats(1, 5)}, {3500, beats(1, 6)}, {5000, looked(late, refused)}}, at: 6200, harm: true, why: refused},
		"the agent has just begun beside one in charge":       {seen: leads[:3], more: []seen{{3000, looked(late, refused)}}, at: 5400},
		"it took over: its first heartbeat says so":           {seen: standsBy, more: []seen{{5500, beats(1, 5)}, {7000, looked(late, refused)}}, at: 8200},
		"it took over while it was looked":                    {seen: standsBy, more: []seen{{5500, beats(1, 5)}, {5600, looked(2*time.Second, refused)}}, at: 8200},
		"the heartbeat went on, and stopped again":            {seen: standsBy, more: []seen{{4400, looked(late, refused)}, {4600, beats(0, 5)}}, at: 7600},
		"no heartbeat was read since it began":                {seen: standsBy, more: []seen{{3200, runs("9")}, {5000, looked(late, refused)}}, at: 7600},
		"it cannot be read":                                   {seen: standsBy, more: []seen{{4400, looked(late, refused)}}, at: 5700, harm: true, why: refused},
		"it cannot be read, and the heartbeat is only late":   {seen: standsBy, more: []seen{{4400, looked(late, refused)}}, at: 5500},
		"it cannot be read any more":                          {seen: standsBy, more: []seen{{4400, looked(late, "")}, {5000, looked(late, refused)}}, at: 5700, harm: true, why: refused},
		"it can be read again":                                {seen: standsBy, more: []seen{{4400, looked(late, refused)}, {5000, looked(late, "")}}, at: 5700},
		"a script cannot be read":                             {seen: standsBy, more: []seen{{4400, missed}}, at: 5700, harm: true, why: "a script is refused"},
		"a script cannot be read for long, the state can":     {seen: standsBy, more: []seen{{4400, missed}, {64000, missed}}, at: 65000},
		"the state cannot be read for long":                   {seen: standsBy, more: []seen{{4400, looked(0, refused)}, {64000, looked(0, refused)}}, at: 65000, harm: true, why: refused},
		"another took charge meanwhile":                       {seen: standsBy, more: []seen{{4400, looked(late, refused)}, {5600, beats(2, 5)}}, at: 5700},
		"it is in charge itself: it has the state in memory":  {seen: leads, more: []seen{{4400, looked(late, refused)}}, at: 9000},
		"it does not run":                                     {seen: standsBy, more: []seen{{4000, runs("")}}, at: 8000},
		"it may be in charge: the agent has just begun":       {seen: leads[:2], more: []seen{{4400, looked(late, refused)}}, at: 9000},
		"it may be in charge: no heartbeat was ever read":     {seen: leads[:1], more: []seen{{4400, looked(late, refused)}}, at: 9000},
		"it began while this agent looked on":                 {seen: []seen{{0, runs("")}, {500, runs("7")}, {600, beats(0, 1)}}, more: []seen{{4400, looked(late, refused)}}, at: 9000, harm: true, why: refused},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Unix(1000, 0)
			at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
			w := watch{advanced: begin}
			for _, s := range append(append([]seen{}, tt.seen...), tt.more...) {
				s.do(&w, at(s.at))
			}
			harm, refusal := w.harmful(at(tt.at))
			why := refusal.why
			if harm != tt.harm || !strings.Contains(why, tt.why) || harm == (why == "") {
				t.Errorf("harmful %v: %q", harm, why)
			}
		})
	}
}

func TestTheStateIsLookedAtBeforeTheScriptsAndTheseOnce(t *testing.T) {
	now := time.Unix(1000, 0)
	w := watch{advanced: now}
	w.process("7")
	w.saw(heartbeat{now, 0}, 1, now)
	for i, want := range []bool{false, true, false} {
		now = now.Add(scriptsAfter / 2)
		wanted, scripts := w.wantsProof(now)
		if !wanted || scripts != want {
			t.Errorf("look %d: wanted %v, scripts %v", i, wanted, scripts)
		}
		w.checked(now, now.Add(time.Second/10), scripts, unread{})
	}
}

// offline is a head(1) that is refused scripts of jobs, as a volume does.
const offline = `#!/bin/sh
case $1 in -n) exec /usr/bin/head "$@" ;; esac
for f; do case $f in */script) echo "head: cannot open '$f' for reading: Transport endpoint is not connected" >&2 ;; esac; done
`

func TestTheStateIsLookedAtBeforeItIsRead(t *testing.T) {
	stays := func(*testing.T, string) {}
	for name, tt := range map[string]struct {
		change   func(t *testing.T, dir string)
		attempts string
		offline  bool
		knows    []uint32 // the jobs that the state has
		code     int
		says     string
	}{
		"all is there":                          {change: stays},
		"it is not the state":                   {change: remove(marker), code: 1, says: marker + " is missing"},
		"it is not there at all":                {change: refuse("."), code: 1, says: "cannot be entered"},
		"the jobs are refused":                  {change: refuse("job_state"), code: 1, says: "./job_state"},
		"the state is refused, again and again": {change: refuse("job_state"), attempts: "2", code: 1, says: "./job_state"},
		"one job alone is refused":              {change: refuse("hash.2/job.112/script"), knows: []uint32{11, 112}},
		"the heartbeat is replaced":             {change: refuse("heartbeat")},
		"no job was ever submitted":             {change: remove("job_state"), offline: true},
		"its script comes back with a brick":    {change: stays, offline: true, knows: []uint32{11, 112}, code: 2, says: "./hash.2/job.112/script"},
		"it was not promised to anybody":        {change: stays, offline: true, knows: []uint32{11}, code: 2, says: "./hash.1/job.11/script"},
		"none was promised to anybody":          {change: stays, offline: true, knows: []uint32{12, 110}},
		"scripts are waited for so many times":  {change: stays, offline: true, knows: []uint32{112}, attempts: "2", says: "./hash.2/job.112/script"},
		"a controller hands over in order":      {change: func(t *testing.T, dir string) { create(t, filepath.Join(dir, yieldFile)) }, offline: true, knows: []uint32{112}},
		"scripts are not looked at":             {change: stays, offline: true, knows: []uint32{112}, attempts: "0"},
		"the state is, where scripts are not":   {change: refuse("job_state"), attempts: "0", code: 1, says: "./job_state"},
		"a file of ours is not Slurm's": {change: func(t *testing.T, dir string) {
			create(t, filepath.Join(dir, ".multihead-beat"))
			refuse(".multihead-beat")(t, dir)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			state := make([]byte, 35)
			for _, id := range tt.knows {
				state = append(binary.BigEndian.AppendUint32(append(state, 0xff), id), 0xff)
			}
			files := map[string][]byte{marker: nil, "job_state": state, "node_state": state, "heartbeat": state, "clustername": state,
				"hash.1/job.11/script": state, "hash.2/job.112/script": state, "hash.2/job.112/environment": state}
			for f, data := range files {
				if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(f)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, f), data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			tt.change(t, dir)
			script, err := os.ReadFile("readable.sh")
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "sh", "-s", dir, cmp.Or(tt.attempts, "1"))
			cmd.Stdin, cmd.Env = bytes.NewReader(script), os.Environ()
			if tt.offline {
				bin := t.TempDir()
				if err := os.WriteFile(filepath.Join(bin, "head"), []byte(offline), 0o755); err != nil {
					t.Fatal(err)
				}
				cmd.Env = append(cmd.Env, "PATH="+bin+":"+os.Getenv("PATH"))
			}
			if os.Geteuid() == 0 { // root opens what nobody may
				cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
				if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			out, err := cmd.Output()
			if cmd.ProcessState.ExitCode() != tt.code || !strings.Contains(string(out), tt.says) || tt.says == "" && len(out) > 0 {
				t.Errorf("%v: %q", err, out)
			}
		})
	}
}

func TestNumbersOfJobsThatWereNotSavedAreNotGivenAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		next, jobs []uint32 // the number in the state before and after; jobs with files
		text       string
		lives      bool // a controller writes heartbeats
	}{
		"all were saved":                     {next: []uint32{113, 113}, jobs: []uint32{11, 112}},
		"the last ones were not":             {next: []uint32{110, 113}, jobs: []uint32{11, 109, 112}},
		"the one that was just being taken":  {next: []uint32{112, 113}, jobs: []uint32{112}},
		"another controller serves":          {next: []uint32{110, 110}, jobs: []uint32{112}, lives: true},
		"there are none":                     {next: []uint32{112, 112}},
		"the numbers have begun anew":        {next: []uint32{5, 5}, jobs: []uint32{4, 67043327}},
		"it is not what this version writes": {next: []uint32{110, 110}, jobs: []uint32{112}, text: "SOMETHING_NEW\x00\x00\x00"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			create(t, filepath.Join(dir, marker))
			state := append([]byte("\x00\x00\x00\x11"+cmp.Or(tt.text, "PROTOCOL_VERSION")+"\x00\x2a\x00"), make([]byte, 8)...)
			state = append(binary.BigEndian.AppendUint32(state, tt.next[0]), "the jobs"...)
			if err := os.WriteFile(filepath.Join(dir, "job_state"), state, 0o600); err != nil {
				t.Fatal(err)
			}
			beat := filepath.Join(dir, beatFile)
			create(t, beat)
			if was := time.Now().Add(-5 * time.Second); !tt.lives {
				if err := os.Chtimes(beat, was, was); err != nil {
					t.Fatal(err)
				}
			}
			for _, id := range tt.jobs {
				if err := os.MkdirAll(filepath.Join(dir, fmt.Sprintf("hash.%d/job.%d", id%10, id)), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if out, err := exec.CommandContext(t.Context(), "sh", "readable.sh", dir, "1").CombinedOutput(); err != nil || len(out) > 0 {
				t.Fatalf("%v: %s", err, out)
			}
			got, err := os.ReadFile(filepath.Join(dir, "job_state"))
			if err != nil || len(got) != len(state) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			if n := binary.BigEndian.Uint32(got[31:]); n != tt.next[1] {
				t.Errorf("the next is %d, not %d", n, tt.next[1])
			}
			binary.BigEndian.PutUint32(got[31:], tt.next[0])
			if !bytes.Equal(got, state) {
				t.Error("something else was written")
			}
		})
	}
}

func create(t *testing.T, p string) {
	t.Helper()
	if err := os.WriteFile(p, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

func remove(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// refuse has a name be something that cannot be opened, nor listed.
func refuse(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		p := filepath.Join(dir, name)
		if err := os.Chmod(p, 0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Chmod(p, 0o700) })
	}
}

func TestItIsKilledOnce(t *testing.T) {
	m := hosttest.New("server2")
	process := func(pid string) {
		m.File("/sys/fs/cgroup/system.slice/slurmctld.service/cgroup.procs", "9\n"+pid+"\n")
		m.File("/proc/9/stat", "9 (slurmscriptd) S "+pid+" 7 7 0 -1 4")
		m.File("/proc/"+pid+"/stat", pid+" (slurmctld) D 1 7 7 0 -1 4")
	}
	process("7")
	kills, fails := 0, true
	m.OnRun("systemctl kill --signal=KILL --kill-whom=main", func(host.Cmd) (string, error) {
		if fails {
			return "", hosttest.Exit(1, "busy")
		}
		kills++
		return "", nil
	})
	var told []string
	g := guard{h: m, tell: func(_, _, why string) { told = append(told, why) }}
	g.watch.advanced = time.Now().Add(-time.Minute)
	refuse := func() {
		g.watch.known, g.watch.read = true, true
		g.watch.checked(time.Now(), time.Now(), false, unread{why: "job_state: refused"})
	}
	g.act(t.Context())
	refuse()
	g.act(t.Context())
	if fails = false; len(told) > 0 {
		t.Errorf("told of what failed: %q", told)
	}
	g.act(t.Context())
	g.act(t.Context()) // it waits in the kernel
	if kills != 1 || !slices.Equal(told, []string{"job_state: refused"}) {
		t.Errorf("killed %d times: %q", kills, told)
	}
	process("11")
	g.act(t.Context()) // its unit has just looked
	refuse()
	g.act(t.Context())
	if kills != 2 {
		t.Errorf("the next was killed %d times", kills-1)
	}
}
