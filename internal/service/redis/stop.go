package redis

import (
	"fmt"

	"multihead/internal/config"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// Stop stops the servers in order, nothing lost: sentinels first, so that they
// see no failure in it; then the copies, so that the masters wait for nobody;
// then the masters, which write everything to disk. Where only some heads are
// stopped, copies on the others take over before. The servers stay enabled:
// they are back after the next boot, or with up.
func (s *State) Stop(intent service.Intent) (plan.Phase, error) {
	ph := plan.Phase{Name: config.Redis}
	off := func(unit string) plan.Action {
		stop := false
		return plan.Unit{Name: unit, Active: &stop, Timeout: settle}
	}
	var sentinels, over, copies, masters []plan.Step
	voters := append([]voter{}, s.witnesses...)
	for _, h := range s.heads {
		voters = append(voters, h.voter)
		for _, sv := range h.servers {
			if sv.answer != running && sv.answer != loading || !sv.ours {
				continue
			}
			if !intent.Includes(h.name) {
				if s.leaderStops(sv, intent) {
					over = append(over, plan.Step{ID: fmt.Sprintf("redis.%d.handover", sv.at.Port), Host: h.name, Action: handOver(sv.at, s.wanted.conf.Password)})
				}
				continue
			}
			step := plan.Step{ID: fmt.Sprintf("redis.%d.stop", sv.at.Port), Host: h.name, Action: off(sv.at.unit()),
				Effect: "redis on " + h.name + " stops"}
			if sv.role() == "slave" {
				copies = append(copies, step)
			} else {
				masters = append(masters, step)
			}
		}
	}
	for _, v := range voters {
		if v.answer == running && intent.Includes(v.name) {
			sentinels = append(sentinels, plan.Step{ID: "redis.sentinel.stop", Host: v.name, Action: off(sentinelUnit(sentinelPort(s.wanted.port)))})
		}
	}
	add := func(name string, steps []plan.Step) {
		if len(steps) > 0 {
			ph.Stages = append(ph.Stages, plan.Stage{Name: name, Steps: steps})
		}
	}
	add("hand over", over)
	add("sentinels", sentinels)
	add("copies", copies)
	add("masters", masters)
	return ph, nil
}

// leaderStops says whether a copy's master is about to be stopped, and this is
// the first copy that can take over.
func (s *State) leaderStops(sv server, intent service.Intent) bool {
	if !sv.clustr || sv.role() != "slave" || !sv.linkUp() {
		return false
	}
	master := sv.masterAddr()
	stops := false
	for _, h := range s.heads {
		for _, m := range h.servers {
			if m.at.addr() == master && intent.Includes(h.name) && m.answer == running {
				stops = true
			}
		}
	}
	if !stops {
		return false
	}
	for _, h := range s.heads {
		for _, o := range h.servers {
			if o.answer == running && o.masterAddr() == master && o.linkUp() && !intent.Includes(h.name) {
				return o.at == sv.at
			}
		}
	}
	return false
}
