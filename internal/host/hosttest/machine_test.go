package hosttest_test

import (
	"errors"
	"testing"

	"multihead/internal/host"
	"multihead/internal/host/hosttest"
)

func TestSuite(t *testing.T) {
	hosttest.Suite(t, func(*testing.T) hosttest.Subject {
		return hosttest.Subject{Host: hosttest.New("mem1"), Dir: "/srv", Owner: "slurm", Group: "slurm"}
	})
}

func TestTheLongestMatchAnswers(t *testing.T) {
	m := hosttest.New("mem1").
		Answer("systemctl is-active", "inactive\n").
		Answer("systemctl is-active redis", "active\n").
		OnQuery("systemctl is-active broken", func(host.Cmd) (string, error) { return "failed\n", hosttest.Exit(3, "") })
	for unit, want := range map[string]string{"redis": "active\n", "other": "inactive\n"} {
		if got, err := m.Query(t.Context(), "systemctl", "is-active", unit); err != nil || got != want {
			t.Errorf("%s: %q, %v", unit, got, err)
		}
	}
	_, err := m.Query(t.Context(), "systemctl", "is-active", "broken")
	var exit *host.ExitError
	if !errors.As(err, &exit) || exit.Code != 3 || exit.Host != "mem1" || exit.Cmd != "systemctl is-active broken" {
		t.Errorf("%#v", err)
	}
	if got := m.Asked(); len(got) != 3 {
		t.Errorf("asked %q", got)
	}
}

func TestBeforeStopsAChange(t *testing.T) {
	full := errors.New("no space left on device")
	m := hosttest.New("mem1").OnRun("mount", func(host.Cmd) (string, error) { return "", nil })
	m.Before(func(op, path string) error {
		if path == "/srv/f" || op == "run" {
			return full
		}
		return nil
	})
	if err := m.WriteFile(t.Context(), "/srv/f", nil, host.Attr{}); !errors.Is(err, full) {
		t.Errorf("write: %v", err)
	}
	if _, err := m.Run(t.Context(), host.Command("mount", "/srv")); !errors.Is(err, full) {
		t.Errorf("run: %v", err)
	}
	if c := m.Changes(); len(c) != 0 {
		t.Errorf("recorded %v", c)
	}
}
