package slurm

import (
	"errors"
	"strings"
	"testing"

	"multihead/internal/plan"
	"multihead/internal/service"
)

func TestAControllerHandsOverBeforeItLeaves(t *testing.T) {
	all := []func(*State){live("server1", 1), live("server2", 1), live("server3", 1)}
	for name, c := range map[string]struct {
		leaves string
		more   func(*State)
		want   string
	}{
		"the one in charge": {"server1", func(*State) {}, "hand over:\n  server2 slurm.takeover\ncontroller in charge:\n  server1 slurm.ctld.stop\naccounting:\n  server1 slurm.dbd.stop\n"},
		"a backup":          {"server3", func(*State) {}, "backups:\n  server3 slurm.ctld.stop\naccounting:\n  server3 slurm.dbd.stop\n"},
		"one that is gone":  {"server3", lost("server3"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			ph, err := stateOf(site(t), append(all, c.more)...).Leave(service.Intent{Leaving: []string{c.leaves}})
			if err != nil || outline(ph) != c.want {
				t.Errorf("%v\n%s", err, outline(ph))
			}
			for _, st := range ph.Stages {
				for _, step := range st.Steps {
					if u, ok := step.Action.(plan.Unit); ok && (u.Enabled == nil || *u.Enabled) {
						t.Errorf("%s would be back at the next boot", step.ID)
					}
				}
			}
		})
	}
}

func TestTheLastControllerStays(t *testing.T) {
	s := stateOf(site(t), live("server1", 1), lost("server2"), lost("server3"))
	_, err := s.Leave(service.Intent{Leaving: []string{"server1"}})
	var refused *service.Refusal
	if !errors.As(err, &refused) || !strings.Contains(refused.Reason, "answers on none of the 2 heads that stay") {
		t.Errorf("%v", err)
	}
}
