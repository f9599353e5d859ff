package agentd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// MaintenanceFile says that its head is in maintenance. It lies on that head, and
// outlives a reboot: a person reboots what they maintain.
const MaintenanceFile = Dir + "/maintenance.json"

// Maintenance is a head that a person works on: the virtual address goes elsewhere
// and stays there, and no agent brings anything back on it, until the time is over.
type Maintenance struct {
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until"`
	By     string    `json:"by"`
	From   string    `json:"from"`
	Reason string    `json:"reason,omitempty"`
	// Start is the units that were stopped for it and run again after it.
	Start []string `json:"start,omitempty"`
}

// Over says whether the time has passed.
func (m *Maintenance) Over(now time.Time) bool { return !now.Before(m.Until) }

// String is one line for a person.
func (m *Maintenance) String() string {
	s := "in maintenance until " + m.Until.Local().Format("2006-01-02 15:04:05 MST") + ", by " + m.By
	if m.Reason != "" {
		s += ": " + m.Reason
	}
	return s
}

// ParseMaintenance reads the file.
func ParseMaintenance(data []byte) (*Maintenance, error) {
	var m Maintenance
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", MaintenanceFile, err)
	}
	if m.Until.IsZero() {
		return nil, fmt.Errorf("%s: it has no end", MaintenanceFile)
	}
	return &m, nil
}

// ReadMaintenance reads a head's file; nil where it is in none.
func ReadMaintenance(ctx context.Context, r host.Reader) (*Maintenance, error) {
	data, err := r.ReadFile(ctx, MaintenanceFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return ParseMaintenance(data)
}

// Enter has a head's agent know of it.
func Enter(m Maintenance) (plan.Action, error) {
	data, err := json.MarshalIndent(m, "", "  ")
	return plan.File{Path: MaintenanceFile, Data: append(data, '\n'), Attr: public}, err
}

// Leave ends it, as of then: the head's agent sees that its time is over and starts
// what was stopped, as it does where nobody says so.
func Leave(m Maintenance, then time.Time) (plan.Action, error) {
	m.Until = then
	return Enter(m)
}

// Left waits until the head's agent has ended it.
func Left() plan.Action {
	return plan.Await{What: "the agent has ended it", Timeout: 30 * time.Second, Every: 200 * time.Millisecond,
		Until: func(ctx context.Context, r host.Reader) (bool, string, error) {
			m, err := ReadMaintenance(ctx, r)
			return m == nil && err == nil, "it goes on", err
		}}
}

// Handed waits until the head's agent knows of it and the address is elsewhere.
// alone says that no other head could have it.
func Handed(alone bool) plan.Action {
	return plan.Await{What: "the virtual address is on another head", Timeout: 30 * time.Second, Every: 200 * time.Millisecond,
		Until: func(ctx context.Context, r host.Reader) (bool, string, error) {
			rep, err := askAgent(ctx, r)
			switch {
			case err != nil:
				return false, "the agent does not answer: " + err.Error(), nil
			case rep.Maintenance == nil:
				return false, "the agent does not know of it yet", nil
			case rep.Holds && !alone:
				return false, "it is here: " + rep.Why, nil
			}
			return true, "", nil
		}}
}

// maintained is what is known of a host's maintenance: by its own agent, or where
// that is not heard by what the others last heard of it.
func (s *State) maintained(t seat, now time.Time) *Maintenance {
	if t.report != nil {
		return t.report.Maintenance
	}
	var newest *Maintenance
	for _, o := range s.seats {
		if o.report == nil {
			continue
		}
		if m := o.report.Peers[t.name].Maintenance; m != nil && !m.Over(now) && (newest == nil || m.Since.After(newest.Since)) {
			newest = m
		}
	}
	return newest
}

// Maintained lists the hosts in maintenance.
func (s *State) Maintained() map[string]Maintenance {
	out := map[string]Maintenance{}
	for _, t := range s.seats {
		if m := s.maintained(t, s.at); m != nil {
			out[t.name] = *m
		}
	}
	return out
}

// inMaintenance is how a head in maintenance is shown.
func inMaintenance(m *Maintenance) service.NodeHealth {
	return service.NodeHealth{State: service.Maint, Role: "maintenance", Reason: m.String()}
}
