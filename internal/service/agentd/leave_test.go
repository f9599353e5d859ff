package agentd

import (
	"strings"
	"testing"

	"multihead/internal/service"
)

func TestAnAgentLeavesWithoutItsSecretsUnlessTheyAreTheLast(t *testing.T) {
	for name, c := range map[string]struct {
		others bool // have the key of the authority
		want   string
	}{
		"others sign":  {true, "agent.leave agent.forget.authority agent.forget.certificate agent.forget.config"},
		"nobody signs": {false, "agent.leave"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &State{seats: agents()}
			for i := range s.seats {
				if s.seats[i].name == "s3" || c.others {
					s.seats[i].caPair = pair{cert: []byte("c"), key: []byte("k")}
				}
			}
			ph, err := s.Leave(service.Intent{Leaving: []string{"s3"}})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, st := range ph.Stages {
				for _, step := range st.Steps {
					if step.Host != "s3" {
						t.Errorf("%s on %s", step.ID, step.Host)
					}
					got = append(got, step.ID)
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("%v", got)
			}
		})
	}
}
