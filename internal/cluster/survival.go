package cluster

import (
	"fmt"
	"strings"

	"multihead/internal/service"
)

// Survival is what the whole cluster can lose while all of it is up: of each
// service, and the least of them.
type Survival struct {
	Services []service.Survival `json:"services"`
	AtOnce   int                `json:"at_once"`
	InTurn   int                `json:"in_turn"`
	Weakest  []string           `json:"weakest"` // the services that set the lower bound
}

// Survival adds up what each service says.
func (v *View) Survival() Survival {
	out := Survival{Services: []service.Survival{}, Weakest: []string{}}
	for _, s := range v.Services {
		state := v.States[s.Name()]
		if state == nil || len(v.Cluster.HeadsWith(s.Name())) == 0 {
			continue
		}
		sv := state.Survival()
		sv.Service = s.Name()
		out.Services = append(out.Services, sv)
	}
	for i, sv := range out.Services {
		if i == 0 || sv.AtOnce < out.AtOnce {
			out.AtOnce, out.Weakest = sv.AtOnce, nil
		}
		if sv.AtOnce == out.AtOnce {
			out.Weakest = append(out.Weakest, sv.Service)
		}
		if i == 0 || sv.InTurn < out.InTurn {
			out.InTurn = sv.InTurn
		}
	}
	return out
}

// Sentence is the survival level in one line.
func (s Survival) Sentence() string {
	if len(s.Services) == 0 {
		return "no service is switched on"
	}
	heads := func(n int) string {
		switch n {
		case 0:
			return "no head"
		case 1:
			return "1 head"
		default:
			return fmt.Sprintf("%d heads", n)
		}
	}
	line := fmt.Sprintf("can lose %s at once, %s one after another", heads(s.AtOnce), heads(s.InTurn))
	if len(s.Weakest) < len(s.Services) {
		line += " (limited by " + strings.Join(s.Weakest, ", ") + ")"
	}
	return line
}
