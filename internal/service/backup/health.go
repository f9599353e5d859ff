package backup

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"multihead/internal/backup"
	"multihead/internal/service"
)

// Health implements service.State: the timers are set, and the snapshots that
// the schedule asks for are there and whole.
func (s *State) Health() service.Health {
	h := service.Health{Service: Name, State: service.Up, Nodes: map[string]service.NodeHealth{}}
	worse := func(w service.Word, why string) {
		if h.State == service.Up {
			h.State, h.Reason = w, why
		}
	}
	held := map[string]backup.Held{}
	reached := 0
	for _, t := range s.seats {
		n := s.nodeHealth(t)
		h.Nodes[t.name] = n
		if t.reached {
			held[t.name] = t.held
			reached++
		}
		if n.State != service.Up && n.State != service.Unknown {
			worse(service.Degraded, t.name+": "+n.Reason)
		}
	}
	if reached == 0 {
		h.State, h.Reason = service.Unknown, "no host answered"
		return h
	}
	list := backup.Merge(held)
	if len(list) == 0 {
		h.Summary = "no snapshot yet"
		if why := s.overdue(time.Time{}); why != "" {
			worse(service.Degraded, why)
		}
		return h
	}
	last := list[len(list)-1]
	h.Summary = fmt.Sprintf("%d snapshots, the last %s on %s", len(list), last.ID, strings.Join(last.On, ", "))
	if why := s.overdue(last.Time); why != "" {
		worse(service.Degraded, why)
	}
	if s.off != "" && last.Offsite != nil && last.Offsite.Error != "" {
		worse(service.Degraded, fmt.Sprintf("%s has no copy at the off-site target: %s", last.ID, last.Offsite.Error))
	}
	// Of the last one a copy may be on its way, or its head was off then.
	if len(list) > 1 {
		before := list[len(list)-2]
		for _, t := range s.seats {
			lacks := func(sn backup.Snapshot) bool {
				return slices.Contains(sn.Heads, t.name) && !slices.Contains(sn.On, t.name)
			}
			if t.reached && t.held.Err == nil && lacks(before) && lacks(last) {
				worse(service.Degraded, fmt.Sprintf("%s has no copy of the last two snapshots (%s, %s): journalctl -u 'multihead-backup-*' says why, and multihead backup create brings all", t.name, before.ID, last.ID))
			}
		}
	}
	return h
}

func (s *State) nodeHealth(t seat) service.NodeHealth {
	n := service.NodeHealth{State: service.Up, Facts: map[string]any{"snapshots": len(t.held.Stored)}}
	if !t.reached {
		return service.NodeHealth{State: service.Unknown, Reason: t.why}
	}
	bad := func(format string, args ...any) {
		if n.State == service.Up {
			n.State, n.Reason = service.Degraded, fmt.Sprintf(format, args...)
		}
	}
	if t.key == nil {
		bad("it has no password for its repository (%s); multihead up puts it there", backup.KeyFile)
	}
	for _, tm := range s.timers {
		if tm.cron != "" && t.timers[tm.name] != "active" {
			bad("%s.timer is %s", tm.name, t.timers[tm.name])
		}
	}
	for _, st := range t.held.Stored {
		if st.Bad != "" {
			bad("its copy of %s is damaged: %s", st.ID, st.Bad)
		}
	}
	for _, u := range t.held.Unknown {
		bad("%s", u)
	}
	return n
}

// overdue says that the schedule had two turns since the last snapshot, the
// later one long enough ago to be done. One that was never made is due only once
// there is an older one: the timers may be new.
func (s *State) overdue(last time.Time) string {
	if last.IsZero() {
		return ""
	}
	var turns []time.Time
	for _, tm := range s.timers {
		if tm.cron == "" {
			continue
		}
		at := tm.schedule.Last(s.now.Add(-time.Hour))
		if at.After(last) {
			turns = append(turns, at)
			if before := tm.schedule.Last(at.Add(-time.Minute)); before.After(last) {
				turns = append(turns, before)
			}
		}
	}
	if len(turns) < 2 {
		return ""
	}
	return fmt.Sprintf("the last snapshot is of %s, and the schedule asked for one %d times since", last.Format("2006-01-02 15:04"), len(turns))
}

// Survival implements service.State: every head has all snapshots.
func (s *State) Survival() service.Survival {
	n := max(len(s.seats)-1, 0)
	return service.Survival{Service: Name, AtOnce: n, InTurn: n, DataSafe: n, Why: "every head keeps every snapshot"}
}
