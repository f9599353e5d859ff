package upgrade

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/plan"
	"multihead/internal/service"
)

const pidFile = "/run/gluster/vols/shared/192.0.2.201-data-brick.pid"

func TestABrickOfAReplacedProgramIsOld(t *testing.T) {
	for _, tt := range []struct {
		name, pid, exe string
		old            bool
	}{
		{name: "of the program that lies there", pid: "77\n", exe: "/usr/sbin/glusterfsd"},
		{name: "of one that was replaced", pid: "77\n", exe: "/usr/sbin/glusterfsd (deleted)", old: true},
		{name: "another program has its number now", pid: "77\n", exe: "/usr/bin/sleep (deleted)"},
		{name: "it has ended", pid: "77\n"},
		{name: "it was stopped", pid: "\n", exe: "/usr/sbin/glusterfsd (deleted)"},
		{name: "there is none"},
	} {
		m := hosttest.New("witness1")
		if tt.pid != "" {
			m.File(pidFile, tt.pid)
		}
		if tt.exe != "" {
			m.Link(tt.exe, "/proc/77/exe")
		}
		old, err := oldBricks(t.Context(), m)
		if err != nil || old != tt.old {
			t.Errorf("%s: %v, %v", tt.name, old, err)
		}
	}
}

// One command does it all, so that a run which is killed leaves no witness without its brick.
func TestAWitnesssBrickIsRestartedWithItsDaemonInOneCommand(t *testing.T) {
	m := hosttest.New("witness1").OnRun("bash", func(host.Cmd) (string, error) { return "", nil })
	for _, changed := range []bool{false, true} {
		if done, err := bricksAnew(changed).Done(t.Context(), m); err != nil || done == changed {
			t.Errorf("changed %v: done %v, %v", changed, done, err)
		}
	}
	undo, err := bricksAnew(true).Do(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := undo.(plan.Late); !ok {
		t.Error("going back it is restarted before its packages are")
	}
	if n := len(m.Changes()); n != 1 {
		t.Errorf("%d commands", n)
	}
}

func TestAWitnessWithABrickRestartsIt(t *testing.T) {
	for _, arbiter := range []bool{false, true} {
		r := three(t, func(map[string]*fake, map[string]bool) {})
		r.found = map[string]Found{"witness1": {Arbiter: arbiter, Changes: []plan.Version{{Name: "glusterfs-server", From: "11.1-6", To: "11.1-7"}},
			Source: map[string]string{"glusterfs-server": "glusterfs"}, Phase: map[string]string{"glusterfs-server": config.GlusterFS},
			Units: []Unit{{"garb.service", "galera-arbitrator-4", false}, {glusterdUnit, "glusterfs-server", false}}}}
		var ids []string
		for _, s := range r.witness("witness1") {
			ids = append(ids, s.ID)
			if s.ID == "bricks.anew" {
				if done, err := s.Action.Done(t.Context(), hosttest.New("witness1")); err != nil || done {
					t.Errorf("its packages are to change: done %v, %v", done, err)
				}
			}
		}
		want := []string{"upgrade.packages", "restart.garb.service", "restart.glusterd.service"}
		if arbiter {
			want = []string{"upgrade.packages", "restart.garb.service", "bricks.anew"}
		}
		if !slices.Equal(ids, want) {
			t.Errorf("arbiter %v: %v", arbiter, ids)
		}
	}
}

func TestAWitnessWhoseBrickIsOldIsNotDone(t *testing.T) {
	if !(Found{Bricks: true}).needs() || (Found{Bricks: true}).rests() || (Found{Arbiter: true}).needs() {
		t.Error("an old brick is restarted, in no maintenance; one that is not is left alone")
	}
}

func TestARefusedSeriesOfSlurmSaysItsOrder(t *testing.T) {
	f := Found{Changes: []plan.Version{{Name: "slurmctld", From: "22.05.8-4", To: "24.11.5-4"}},
		Source: map[string]string{"slurmctld": "slurm-wlm"}, Phase: map[string]string{"slurmctld": config.Slurm}}
	var r *service.Refusal
	if err := otherSeries("server1", f); err == nil || !strings.Contains(err.Error(), "22.05 → 24.11") || !errors.As(err, &r) || !strings.Contains(r.Remedy, "slurmdbd, then slurmctld") {
		t.Errorf("%v", err)
	}
}
