package galera

import (
	"testing"
	"testing/synctest"

	"multihead/internal/host"
	"multihead/internal/host/hosttest"
)

func TestADaemonThatDoesNotHearThatItIsToStopWhileItStartsIsKilled(t *testing.T) {
	for name, tt := range map[string]struct {
		hears bool
		kills int
	}{
		"it hears":         {hears: true},
		"it does not hear": {kills: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				state, kills := "activating", 0
				ok := func(host.Cmd) (string, error) { return "", nil }
				m := hosttest.New("server3").
					OnQuery("systemctl show", func(host.Cmd) (string, error) { return state + "\n", nil }).
					OnRun("systemctl stop --no-block", func(host.Cmd) (string, error) {
						if state = "deactivating"; tt.hears {
							state = "inactive"
						}
						return "", nil
					}).
					OnRun("systemctl kill --signal=KILL", func(host.Cmd) (string, error) {
						state, kills = "failed", kills+1
						return "", nil
					}).
					OnRun("systemctl stop mariadb.service", ok).OnRun("systemctl reset-failed", ok)
				if done, err := endStart().Done(t.Context(), m); err != nil || done {
					t.Fatalf("before: %v, %v", done, err)
				}
				if _, err := endStart().Do(t.Context(), m); err != nil || kills != tt.kills {
					t.Errorf("killed %d times, %v", kills, err)
				}
				if done, err := endStart().Done(t.Context(), m); err != nil || !done {
					t.Errorf("after: %v, %v", done, err)
				}
			})
		})
	}
}
