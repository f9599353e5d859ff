package slurm

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"multihead/internal/host/hosttest"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// as writes the files of a state directory; an empty content is an empty file.
func stateFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func startGuard(t *testing.T, dir string) (said string, ok bool) {
	t.Helper()
	cmd := exec.Command("sh", "-s", dir, "nobody")
	cmd.Stdin = strings.NewReader(string(guardScript))
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

func TestSlurmctldStartsOnlyWithTheStateThatItSaved(t *testing.T) {
	all := func(change func(m map[string]string)) map[string]string {
		m := map[string]string{"clustername": "hpc", guardMark: "", "job_state": "jobs", "node_state": "nodes", "resv_state": "resv"}
		change(m)
		return m
	}
	for _, tt := range []struct {
		name  string
		files map[string]string
		ok    bool
		jobs  string // what job_state is afterwards
	}{
		{"a first start", map[string]string{}, true, ""},
		{"it has started once and saved nothing yet", map[string]string{"clustername": "hpc"}, true, ""},
		{"all is there", all(func(map[string]string) {}), true, "jobs"},
		{"the jobs are gone", all(func(m map[string]string) { delete(m, "job_state") }), false, ""},
		{"the jobs are empty, as after a power cut", all(func(m map[string]string) { m["job_state"] = "" }), false, ""},
		{"the nodes are gone", all(func(m map[string]string) { delete(m, "node_state") }), false, "jobs"},
		{"the power went between taking away the old file and putting the new one in place",
			all(func(m map[string]string) { delete(m, "job_state"); m["job_state.new"] = "newer" }), true, "newer"},
		{"the same, and a new file without content", all(func(m map[string]string) { delete(m, "job_state"); m["job_state.new"] = "" }), false, ""},
		{"a state that never was under guard is left to slurmctld", map[string]string{"job_state.old": "older", "node_state": "nodes"}, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := stateFiles(t, tt.files)
			said, ok := startGuard(t, dir)
			if ok != tt.ok || !ok && !strings.Contains(said, "does not begin without it") {
				t.Errorf("starts %v: %s", ok, said)
			}
			if data, _ := os.ReadFile(filepath.Join(dir, "job_state")); string(data) != tt.jobs {
				t.Errorf("job_state is %q", data)
			}
		})
	}
	t.Run("a directory that cannot be read", func(t *testing.T) {
		if said, ok := startGuard(t, filepath.Join(t.TempDir(), "gone")); ok {
			t.Error("starts: " + said)
		}
	})
}

// What slurmctld does as it saves: it may not get rid of the guard, and its own files
// are its own.
func TestTheGuardStaysWhereSlurmctldSaves(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("gives a directory to root")
	}
	dir, err := os.MkdirTemp("", "guard") // for another user to reach: not below t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, name := range append([]string{"clustername", "heartbeat"}, vital...) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("first"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("chgrp", "nogroup", dir).CombinedOutput(); err != nil {
		t.Skipf("%v: %s", err, out)
	}
	for range 2 { // twice changes nothing
		if said, ok := startGuard(t, dir); !ok {
			t.Fatal(said)
		}
	}
	const save = `cd "$0" && for f in job_state heartbeat; do
echo second >$f.new && { rm -f $f.old; ln $f $f.old; rm -f $f; ln $f.new $f; rm -f $f.new; }; done`
	out, _ := exec.Command("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "sh", "-c", save, dir).CombinedOutput()
	for name, want := range map[string]string{"job_state": "second\n", "heartbeat": "second\n"} {
		if data, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(data) != want {
			t.Errorf("%s is %q, %v: %s", name, data, err, out)
		}
	}
	guard, err := os.ReadFile(filepath.Join(dir, "job_state.old"))
	if err != nil || len(guard) < 20 || int(guard[3]) != len(guard)-4 || !strings.HasPrefix(string(guard[4:]), "multihead:") {
		t.Errorf("job_state.old is %q, %v", guard, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "heartbeat.old")); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode()&fs.ModeSticky == 0 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestLookLost(t *testing.T) {
	const dir = "/mnt/gluster/slurm/state/"
	whole := func() *hosttest.Machine {
		return hosttest.New("server1").File(dir+guardMark, "").File(dir+"job_state", "x").File(dir+"node_state", "x").File(dir+"resv_state", "x")
	}
	for _, tt := range []struct {
		name string
		m    *hosttest.Machine
		want string
	}{
		{"all is there", whole(), ""},
		{"nothing was saved yet", hosttest.New("server1").File(dir+"clustername", "hpc"), ""},
		{"the jobs are gone", hosttest.New("server1").File(dir+guardMark, "").File(dir+"node_state", "x").File(dir+"resv_state", "x"), "job_state"},
		{"two are empty", whole().File(dir+"job_state", "").File(dir+"resv_state", ""), "job_state resv_state"},
	} {
		got, err := lookLost(context.Background(), tt.m, strings.TrimSuffix(dir, "/"), vital...)
		if err != nil || strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v, %v", tt.name, got, err)
		}
	}
}

// gone is a cluster whose power was off, and whose jobs are not on the volume.
func gone(copies ...string) func(*State) {
	return func(s *State) {
		for i := range s.heads {
			h := &s.heads[i]
			booted(h)
			h.state.lost = []string{"job_state"}
			if h.name == "server3" {
				for _, name := range copies {
					if c, ok := parseCopy(name); ok {
						h.copies = append(h.copies, c)
					}
				}
			}
		}
	}
}

func TestAStateThatIsGoneIsForAPersonToReplace(t *testing.T) {
	all := func(s *State) *State { return s }
	for _, tt := range []struct {
		name    string
		state   *State
		intent  service.Intent
		steps   string
		refused string
	}{
		{"nobody has a copy", all(stateOf(site(t), gone())), service.Intent{Confirmed: true}, "", "No head that was reached has a copy"},
		{"no person said so", all(stateOf(site(t), gone("20261122T120000Z-7"))), service.Intent{}, "", "puts back the copy of 2026-11-22 12:00:00 UTC that server3 has"},
		{"a person typed the name", all(stateOf(site(t), gone("20261122T120000Z-7"))), service.Intent{Confirmed: true},
			"server3:slurm.state.put-back server2:slurm.ctld.recover server2:slurm.ctld.in-charge server1:slurm.ctld.recover", ""},
		{"systemd tries to start them all the while", all(stateOf(site(t), gone("20261122T120000Z-7"), func(s *State) {
			for i := range s.heads {
				s.heads[i].units[ctldUnit] = "activating"
			}
		})), service.Intent{Confirmed: true}, "server3:slurm.state.put-back server2:slurm.ctld.recover server2:slurm.ctld.in-charge server1:slurm.ctld.recover", ""},
		{"a controller has it in its memory", all(stateOf(site(t), gone(), live("server2", 0))), service.Intent{Confirmed: true}, "", ""},
	} {
		ph, err := tt.state.Recover(tt.intent)
		if (err != nil) != (tt.refused != "") || err != nil && !strings.Contains(err.Error(), tt.refused) {
			t.Errorf("%s: %v", tt.name, err)
		}
		var got []string
		for _, st := range ph.Stages {
			for _, x := range st.Steps {
				got = append(got, x.Host+":"+x.ID)
			}
		}
		if !strings.HasPrefix(strings.Join(got, " "), tt.steps) || tt.steps == "" && strings.Contains(strings.Join(got, " "), "put-back") {
			t.Errorf("%s: %s", tt.name, strings.Join(got, " "))
		}
	}
	if _, err := stateOf(site(t), gone("20261122T120000Z-7")).Plan(service.Intent{Mode: service.Auto, Confirmed: true}); err == nil || !strings.Contains(err.Error(), "multihead recover") {
		t.Errorf("up begins without the state: %v", err)
	}
}

func TestWhereTheStateIsIsSaid(t *testing.T) {
	if h := stateOf(site(t), gone()).Health(); h.State != service.Down || !strings.Contains(h.Reason, "no slurmctld begins without it") {
		t.Errorf("%+v", h)
	}
	h := stateOf(site(t), gone(), live("server2", 0)).Health()
	if !strings.Contains(h.Reason, "only the memory of slurmctld on server2") {
		t.Errorf("%+v", h)
	}
}

// A running slurmctld that is told to read its files looks for the state, and ends.
func TestAControllerThatHasTheStateInMemoryAloneIsNotToldToReadItsFiles(t *testing.T) {
	const dir = "/mnt/gluster/slurm/state"
	m := hosttest.New("server1").File(dir+"/"+guardMark, "").OnRun("scontrol reconfigure", nil)
	if err := reconfigure(context.Background(), m, dir); err == nil || !strings.Contains(err.Error(), "in its memory alone") {
		t.Errorf("%v", err)
	}
	if got := m.Changes(); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestPutBackReplacesOnlyWhatIsGone(t *testing.T) {
	ctx := context.Background()
	s := stateOf(site(t))
	dir := s.cluster.Slurm.StateSaveLocation
	c, _ := parseCopy("20261122T120000Z-7")
	m := hosttest.New("server1").File(dir+"/node_state", "now").
		File(copiesDir+"/"+c.name()+"/job_state", jobStateOf(c)).File(copiesDir+"/"+c.name()+"/node_state", "then")
	a := s.putBack(c, []string{"job_state", "node_state"}).(plan.Func)
	for range 2 {
		if _, err := a.Do(ctx, m); err != nil {
			t.Fatal(err)
		}
		if done, err := a.Done(ctx, m); !done || err != nil {
			t.Errorf("%v %v", done, err)
		}
		data, err := m.ReadFile(ctx, dir+"/job_state")
		got, err2 := jobState(data)
		if err != nil || err2 != nil || got.next != 7+skipped || !got.at.Equal(c.at) {
			t.Errorf("%+v, %v, %v", got, err, err2)
		}
		if data, _ := m.ReadFile(ctx, dir+"/node_state"); string(data) != "now" {
			t.Errorf("node_state is %q", data)
		}
	}
	if info, err := m.Stat(ctx, dir+"/job_state"); err != nil || info.Owner != s.cluster.Users.SlurmUser || info.Mode.Perm() != 0o600 {
		t.Errorf("%+v %v", info, err)
	}
}
