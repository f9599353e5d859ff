package base

import (
	"context"
	"errors"
	"strings"
	"testing"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/service"
)

// late is a host that was reached and answers no more.
type late struct{ host.Reader }

func (late) ReadFile(context.Context, string) ([]byte, error) { return nil, context.DeadlineExceeded }

func TestAHeadThatAnswersTooLateIsRefusedAndNotLeftOut(t *testing.T) {
	c := &config.Cluster{}
	c.Nodes.Controllers = []config.Controller{{HostSpec: config.HostSpec{Hostname: "h1"}}}
	for name, tt := range map[string]struct {
		reader  host.Reader
		include []string
		refused bool
	}{
		"reached, and late":          {late{}, nil, true},
		"late, and of no concern":    {late{}, []string{"h2"}, false},
		"not reached: others say so": {nil, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			st, err := New().Observe(t.Context(), service.Input{Cluster: c, Heads: []service.Node{{Spec: c.Nodes.Controllers[0].HostSpec, Reader: tt.reader}}})
			if err != nil {
				t.Fatal(err)
			}
			_, err = st.Plan(service.Intent{Nodes: tt.include})
			var refused *service.Refusal
			if errors.As(err, &refused) != tt.refused || refused != nil && !strings.HasPrefix(refused.Reason, "h1 was reached") {
				t.Errorf("%v", err)
			}
		})
	}
}
