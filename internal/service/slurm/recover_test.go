package slurm

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"multihead/internal/plan"
	"multihead/internal/service"
)

func TestWhatSystemdRemembersOfAUnit(t *testing.T) {
	for _, tt := range []struct {
		name, out string
		want      bool // it may be started without a person
	}{
		{"it never ran since the boot", "ActiveState=inactive\nActiveEnterTimestampMonotonic=0\n", true},
		{"a person stopped it", "ActiveState=inactive\nActiveEnterTimestampMonotonic=24769566184\n", false},
		{"it failed after it ran", "ActiveState=failed\nActiveEnterTimestampMonotonic=24769566184\n", true},
		{"its start was refused by its guards", "ActiveState=failed\nActiveEnterTimestampMonotonic=0\n", true},
		{"systemd is starting it again", "ActiveState=activating\nActiveEnterTimestampMonotonic=0\n", false},
		{"its start is queued behind another unit's", "ActiveState=inactive\nActiveEnterTimestampMonotonic=0\nJob=81\n", false},
		{"systemd did not say", "ActiveState=inactive\n", false},
	} {
		_, state, _ := strings.Cut(tt.out, "=")
		state, _, _ = strings.Cut(state, "\n")
		if got := parsePast(tt.out).startable(state); got != tt.want {
			t.Errorf("%s: startable %v", tt.name, got)
		}
	}
}

// booted is a head that has just booted, with everything in place.
func booted(h *head) {
	h.units[ctldUnit], h.units[dbdUnit], h.listens = "inactive", "active", service.No
	h.ctldPast = past{ran: service.No}
	h.mounted, h.marked = service.Yes, service.Yes
	h.state.data, h.state.cluster, h.state.why = service.Yes, "hpc_portal", ""
	h.state.beat = &heartbeat{time.Unix(1000, 0), 2}
}

// starts is a phase in one line: its stages, and the hosts of each.
func starts(ph plan.Phase) string {
	var out []string
	for _, st := range ph.Stages {
		var in []string
		for _, s := range st.Steps {
			if strings.HasSuffix(s.ID, ".recover") {
				in = append(in, strings.TrimSuffix(strings.TrimPrefix(s.ID, "slurm."), ".recover")+"@"+s.Host)
			}
		}
		out = append(out, strings.Join(in, ","))
	}
	return strings.Join(out, " > ")
}

func TestRecover(t *testing.T) {
	all := func(s *State) {
		for i := range s.heads {
			booted(&s.heads[i])
		}
	}
	for _, tt := range []struct {
		name    string
		changes []func(*State)
		intent  service.Intent
		want    string
		note    string
		refused string
	}{
		{"all heads lost their power", []func(*State){all}, service.Intent{}, "ctld@server2 > ctld@server1,ctld@server3", "", ""},
		{"all but the first are back", []func(*State){all, lost("server2")}, service.Intent{}, "ctld@server1 > ctld@server3", "", ""},
		{"one came back, the others serve", []func(*State){live("server1", 1), live("server2", 1), onHead("server3", booted)}, service.Intent{}, "ctld@server3", "", ""},
		{"the first came back, a backup is in charge: in order, not by force", []func(*State){live("server1", 1), live("server3", 1), onHead("server2", booted), onHead("server2", func(h *head) {
			h.state.beat = &heartbeat{time.Unix(1000, 0), 1}
		})}, service.Intent{}, "ctld@server2", "", ""},
		{"the first starts already and waits for its turn", []func(*State){live("server1", 1), live("server3", 1), onHead("server2", func(h *head) {
			h.units[ctldUnit], h.units[dbdUnit], h.conf = "active", "active", []byte(threeHosts)
		})}, service.Intent{}, "", "", ""},
		{"nothing is wrong", []func(*State){live("server1", 1), live("server2", 1), live("server3", 1)}, service.Intent{}, "", "", ""},
		{"a person stopped one", []func(*State){all, onHead("server1", func(h *head) { h.ctldPast.ran = service.Yes })}, service.Intent{}, "ctld@server2 > ctld@server3", "", ""},
		{"a person stopped all", []func(*State){all, func(s *State) {
			for i := range s.heads {
				s.heads[i].ctldPast.ran = service.Yes
			}
		}}, service.Intent{}, "", "", ""},
		{"one failed after it ran", []func(*State){live("server2", 0), live("server3", 0), onHead("server1", booted), onHead("server1", func(h *head) {
			h.units[ctldUnit], h.ctldPast = "failed", past{ran: service.Yes, failed: true}
		})}, service.Intent{}, "ctld@server1", "", ""},
		{"systemd is starting it", []func(*State){all, onHead("server2", func(h *head) { h.units[ctldUnit] = "activating" })}, service.Intent{}, "ctld@server1 > ctld@server3", "", ""},
		{"the volume is not mounted on one", []func(*State){all, onHead("server2", func(h *head) { h.mounted = service.No })}, service.Intent{}, "ctld@server1 > ctld@server3", "is not mounted", ""},
		{"nobody could say whether it is", []func(*State){all, onHead("server2", func(h *head) { h.mounted = service.Unsure })}, service.Intent{}, "ctld@server1 > ctld@server3", "is not mounted", ""},
		{"the state cannot be read on one", []func(*State){all, onHead("server1", func(h *head) {
			h.state.data, h.state.why = service.Unsure, "input/output error"
		})}, service.Intent{}, "ctld@server2 > ctld@server3", "input/output error", ""},
		{"an empty directory where the state should be", []func(*State){all, func(s *State) {
			for i := range s.heads {
				s.heads[i].state.data = service.No
			}
		}}, service.Intent{}, "", "no state of a cluster", ""},
		{"the marker is missing", []func(*State){all, onHead("server2", func(h *head) { h.marked = service.No })}, service.Intent{}, "ctld@server1 > ctld@server3", marker, ""},
		{"another cluster's state", []func(*State){all, onHead("server2", func(h *head) { h.state.cluster = "other" })}, service.Intent{}, "", "", "holds the state of the cluster other"},
		{"only one head may be changed", []func(*State){all}, service.Intent{Nodes: []string{"server3"}}, "ctld@server3", "", ""},
		{"slurmdbd failed", []func(*State){live("server1", 1), live("server2", 1), live("server3", 1), onHead("server2", func(h *head) {
			h.units[dbdUnit], h.dbdPast = "failed", past{ran: service.Yes, failed: true}
		})}, service.Intent{}, "dbd@server2", "", ""},
		{"a person stopped slurmdbd", []func(*State){live("server1", 1), live("server2", 1), live("server3", 1), onHead("server2", func(h *head) {
			h.units[dbdUnit], h.dbdPast = "inactive", past{ran: service.Yes}
		})}, service.Intent{}, "", "", ""},
		{"one hangs and holds the last heartbeat", []func(*State){live("server1", 1), live("server2", 1), onHead("server1", func(h *head) {
			h.listens, h.hangs = service.Unsure, "slurmctld is stopped by a signal (SIGSTOP)"
		}), onHead("server3", booted)}, service.Intent{}, "ctld@server3", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ph, err := stateOf(site(t), tt.changes...).Recover(tt.intent)
			if tt.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tt.refused) {
					t.Fatalf("want a refusal with %q, got %v", tt.refused, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := starts(ph); got != tt.want {
				t.Errorf("starts %q, want %q", got, tt.want)
			}
			if !strings.Contains(fmt.Sprint(ph.Notes), tt.note) {
				t.Errorf("notes %q lack %q", ph.Notes, tt.note)
			}
		})
	}
}

// The one that is in the way gives way at the same time as the first one starts:
// each of the two waits for the other by itself.
func TestABackupInChargeGivesWayInOrder(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*head)
		want   string
	}{
		{"it has not run since the boot", booted, "server1:slurm.ctld.give-way server2:slurm.ctld.recover server2:slurm.ctld.in-charge"},
		{"it waits for its turn", func(h *head) { booted(h); h.units[ctldUnit] = "activating" }, "server1:slurm.ctld.give-way server2:slurm.ctld.in-charge"},
		{"systemd starts it in vain, for the volume does not answer there", func(h *head) {
			booted(h)
			h.units[ctldUnit], h.mounted, h.marked = "activating", service.Unsure, service.Unsure
		}, ""},
		{"a person stopped it", func(h *head) { booted(h); h.ctldPast.ran = service.Yes }, ""},
		{"the volume is not mounted there", func(h *head) { booted(h); h.mounted = service.No }, ""},
	} {
		s := stateOf(site(t), live("server1", 1), live("server3", 1), onHead("server2", tt.change),
			onHead("server2", func(h *head) { h.state.beat = &heartbeat{time.Unix(1000, 0), 1} }))
		ph, err := s.Recover(service.Intent{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, st := range ph.Stages {
			if st.Name == "hand over" {
				for _, step := range st.Steps {
					got = append(got, step.Host+":"+step.ID)
				}
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, got, tt.want)
		}
	}
}

func TestAFrozenControllerIsReportedToBeKilled(t *testing.T) {
	h := stateOf(site(t), live("server1", 1), live("server2", 1), onHead("server1", func(h *head) {
		h.listens, h.hangs = service.Unsure, "slurmctld is stopped by a signal (SIGSTOP)"
	})).Health()
	if n := h.Nodes["server1"]; n.State != service.Down || len(n.Hung) != 1 || n.Hung[0] != ctldUnit {
		t.Errorf("%+v", n)
	}
	if n := h.Nodes["server2"]; len(n.Hung) != 0 || n.State != service.Up {
		t.Errorf("%+v", n)
	}
}

// A backup that begins where there is no heartbeat never takes charge.
func TestAHeartbeatIsPutBackBeforeABackupBeginsAlone(t *testing.T) {
	torn := func(h *head) { h.state.beat, h.state.torn = nil, "heartbeat.new" }
	ph, err := stateOf(site(t), onHead("server1", booted), onHead("server1", torn), onHead("server3", booted), onHead("server3", torn), lost("server2")).Recover(service.Intent{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, st := range ph.Stages {
		got = append(got, st.Name)
	}
	if want := "heartbeat, first controller, other controllers"; strings.Join(got, ", ") != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestAHeadThatBootedSaysWhatStartsSlurmctld(t *testing.T) {
	s := stateOf(site(t), onHead("server1", booted), onHead("server3", booted), onHead("server3", func(h *head) { h.mounted = service.No }))
	h := s.Health()
	for head, want := range map[string]string{"server1": "multihead recover", "server3": "is not mounted", "server2": "does not run (inactive)"} {
		if got := h.Nodes[head].Reason; !strings.Contains(got, want) {
			t.Errorf("%s: %q lacks %q", head, got, want)
		}
	}
}
