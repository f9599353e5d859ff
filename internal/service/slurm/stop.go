package slurm

import (
	"multihead/internal/plan"
	"multihead/internal/service"
)

// Stop stops the backups, then the controller in charge, then accounting. The
// daemons of the compute nodes go on, and with them every running job; queued
// jobs are in the state directory and go on when a controller starts again.
func (s *State) Stop(intent service.Intent) (plan.Phase, error) {
	var ph plan.Phase
	active := ""
	if i := s.active(); i >= 0 {
		active = s.heads[i].name
	}
	no := false
	backups, primary, dbd := plan.Stage{Name: "backups"}, plan.Stage{Name: "controller in charge"}, plan.Stage{Name: "accounting"}
	stays := ""
	for _, h := range s.heads {
		if !h.reached || !h.controller {
			continue
		}
		if !intent.Includes(h.name) {
			if stays == "" && h.listens == service.Yes {
				stays = h.name
			}
			continue
		}
		stop := step(h.name, "ctld.stop", plan.Unit{Name: ctldUnit, Active: &no})
		if h.name == active {
			primary.Steps = append(primary.Steps, stop)
		} else {
			backups.Steps = append(backups.Steps, stop)
		}
		dbd.Steps = append(dbd.Steps, step(h.name, "dbd.stop", plan.Unit{Name: dbdUnit, Active: &no}))
	}
	handover := plan.Stage{Name: "hand over"}
	if len(primary.Steps) > 0 && stays != "" && stays != active {
		handover.Steps = append(handover.Steps, step(stays, "takeover", takeover(stays, s)))
	}
	if len(primary.Steps) > 0 && stays == "" {
		ph.Notes = append(ph.Notes, "running jobs go on; commands such as sbatch and squeue fail until a controller runs again")
	}
	ph.Stages = []plan.Stage{backups, handover, primary, dbd}
	return ph, nil
}
