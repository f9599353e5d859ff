package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"multihead/internal/cluster"
	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/plan"
)

// A file that somebody else has changed ends a removal before anything is done, not
// when all is done and the file cannot be written.
func TestAFileThatChangedMeanwhileEndsARemovalBeforeAnythingIsDone(t *testing.T) {
	for _, tt := range []struct {
		name    string
		meant   string // what the file says by then
		refused bool
	}{
		{"as it was", "cluster_info: {cluster_name: site}\n", false},
		{"changed while it waited", "cluster_info: {cluster_name: site} # edited\n", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(stateVariable, t.TempDir())
			path := filepath.Join(t.TempDir(), "c.yaml")
			if err := os.WriteFile(path, []byte(tt.meant), 0o600); err != nil {
				t.Fatal(err)
			}
			e := &edited{path: path, old: []byte("cluster_info: {cluster_name: site}\n"), new: []byte("cluster_info: {cluster_name: site}\n# gone\n")}
			file := &config.Cluster{Nodes: config.Nodes{Controllers: []config.Controller{{HostSpec: config.HostSpec{Hostname: "server1"}}}}}
			head := &lockable{Machine: hosttest.New("server1"), lock: func() error { return nil }}
			run := &upRun{report: &upReport{}, flags: upFlags{yes: true}, aim: aimLeave, sess: &session{file: file,
				view: &cluster.View{Cluster: file, Hosts: map[string]host.Host{"server1": head}}}}
			run.intent.LeavingComputes = []string{"node001"}
			begun := false
			run.planner = func(context.Context) (plan.Plan, error) {
				stop := plan.Func{What: "stop slurmd", Satisfied: func(context.Context, host.Reader) (bool, error) { return begun, nil },
					Change: func(context.Context, host.Host) (plan.Action, error) { begun = true; return nil, nil }}
				return plan.Plan{Phases: []plan.Phase{{Name: "slurm", Stages: []plan.Stage{{Name: "stop", Steps: []plan.Step{{ID: "stop", Host: "server1", Action: stop}}}}}}}, nil
			}
			a := &app{stdout: io.Discard, stderr: io.Discard, lang: "en"}
			err := a.stillTheFile(run, e)
			if (err != nil) != tt.refused {
				t.Fatalf("once the wait is over: %v", err)
			}
			if !tt.refused {
				return
			}
			for _, want := range []string{"changed by somebody else meanwhile", "the same command goes on", "nodename=node001 state=resume"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("it does not say %q: %v", want, err)
				}
			}
			run.report.Outcome = outcomeUnchanged
			if err := a.propose(t.Context(), run); err != nil {
				t.Fatal(err)
			}
			if err := a.carryOutLeave(t.Context(), run, e); exitCode(err) != exitConfig || run.report.Outcome != outcomeUnchanged || begun {
				t.Errorf("under the lock: exit code %d, %s: %v", exitCode(err), run.report.Outcome, err)
			}
		})
	}
}
