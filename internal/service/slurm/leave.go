package slurm

import (
	"fmt"
	"slices"

	"multihead/internal/plan"
	"multihead/internal/service"
)

// Leave implements service.Leaver: another controller is in charge before the
// leaving one ends. Running jobs are on the compute nodes and notice nothing;
// queued ones are in the state directory on the volume. Compute nodes leave once
// nothing runs on them.
func (s *State) Leave(intent service.Intent) (plan.Phase, error) {
	ph := plan.Phase{After: []string{"agent", "keepalived"}}
	var leave, stay, live []string
	for _, h := range s.heads {
		switch {
		case !h.controller:
		case intent.Leaves(h.name):
			leave = append(leave, h.name)
		default:
			stay = append(stay, h.name)
			if h.reached && h.listens == service.Yes {
				live = append(live, h.name)
			}
		}
	}
	nodes, notes, err := s.leaveNodes(intent)
	if err != nil {
		return ph, err
	}
	ph.Stages, ph.Notes = nodes, notes
	if len(leave) == 0 {
		return ph, nil
	}
	if len(live) == 0 && !s.idle() {
		return ph, &service.Refusal{Service: "slurm",
			Reason: fmt.Sprintf("slurmctld answers on none of the %d heads that stay: without %v nobody would be in charge", len(stay), leave),
			Remedy: "Run multihead up first, or switch services.slurm on on another head."}
	}
	if _, ok := shared(s.cluster); !ok {
		return ph, &service.Refusal{Service: "slurm",
			Reason: fmt.Sprintf("the state of slurmctld lies on the local disk of %v: its queue would be left behind", leave),
			Remedy: "Put slurm_config.state_save_location on shared storage first."}
	}
	stop, err := s.Stop(service.Intent{Mode: intent.Mode, Nodes: intent.Leaving})
	if err != nil {
		return ph, err
	}
	ph.Stages = append(ph.Stages, stop.ForGood().Stages...)
	return ph, nil
}

// idle says whether no controller answers anywhere: nothing is lost by leaving.
func (s *State) idle() bool {
	return !slices.ContainsFunc(s.heads, func(h head) bool { return h.controller && h.listens != service.No })
}
