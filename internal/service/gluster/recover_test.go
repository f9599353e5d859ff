package gluster

import (
	"fmt"
	"strings"
	"testing"

	"multihead/internal/plan"
	"multihead/internal/service"
)

// recovery is a phase in one line: its steps in order, without what they wait for.
func recovery(ph plan.Phase) string {
	var out []string
	for _, st := range ph.Stages {
		for _, s := range st.Steps {
			if _, waits := s.Action.(plan.Await); !waits {
				out = append(out, strings.TrimPrefix(s.ID, "glusterfs.")+"@"+s.Host)
			}
		}
	}
	return strings.Join(out, " ")
}

func TestRecover(t *testing.T) {
	atBoot := func(h *head) {
		h.running, h.mounted, h.answers = service.No, service.No, service.Unsure
		h.past = map[string]past{"glusterd.service": {state: "active", ran: service.Yes}, bricksUnit: {state: "active", ran: service.Yes},
			"mnt-gluster.mount": {state: "failed", ran: service.No}, retryUnit: {state: "activating", ran: service.No}}
	}
	off := func(proof string, heads ...int) func(*State) {
		return func(s *State) {
			for _, i := range heads {
				away(&s.heads[i])
				s.heads[i].dead = proof
			}
		}
	}
	on := func(i int, change func(*head)) func(*State) { return func(s *State) { change(&s.heads[i]) } }
	loose := func(s *State) { s.heads[0].vol.Options[quorumOption] = "none" }
	const proof = "fence_lab says off, twice"
	for _, tt := range []struct {
		name    string
		heads   int
		change  []func(*State)
		intent  service.Intent
		want    string
		note    string
		refused string
	}{
		{name: "everything serves", heads: 3},
		{name: "a brick was killed", heads: 3, change: []func(*State){on(1, func(h *head) { h.running = service.No })}, want: "start-bricks@server1"},
		{name: "a brick was killed, and its directory is not there", heads: 3, change: []func(*State){on(1, func(h *head) {
			h.running, h.data, h.dataID = service.No, service.No, ""
		})}, refused: "its disk is not mounted, or was replaced"},
		{name: "a brick was killed, and the directory there is another volume's", heads: 3, change: []func(*State){on(1, func(h *head) {
			h.running, h.dataID = service.No, "00000000-cd65-4007-b0fc-1c2b077731c8"
		})}, refused: "belongs to another volume"},
		{name: "a brick was killed, and the directory there has no mark", heads: 3, change: []func(*State){on(1, func(h *head) {
			h.running, h.dataID = service.No, ""
		})}, refused: "has no mark of the volume, or it could not be read"},
		{name: "a person stopped the bricks of a head, and those of another were killed", heads: 3, change: []func(*State){on(2, func(h *head) { h.running = service.No }), on(1, func(h *head) {
			h.running, h.past = service.No, map[string]past{bricksUnit: {state: "inactive", ran: service.Yes}}
		})}, note: "a person stopped that of server2"},
		{name: "a person stopped glusterd", heads: 3, change: []func(*State){on(1, func(h *head) {
			h.daemon, h.running, h.past = service.No, service.No, map[string]past{"glusterd.service": {state: "inactive", ran: service.Yes}}
		})}},
		{name: "glusterd failed for good", heads: 3, change: []func(*State){on(1, func(h *head) {
			h.daemon, h.past = service.No, map[string]past{"glusterd.service": {state: "failed", ran: service.Yes}}
		})}, want: "daemon@server2"},
		{name: "a head cannot be looked at, and glusterd reaches it", heads: 3, change: []func(*State){on(1, func(h *head) { h.running = service.No }), off("", 2)},
			note: "server3 cannot be looked at"},
		{name: "a brick was killed while a head is away", heads: 3, change: []func(*State){on(1, func(h *head) { h.running = service.No }), off("", 2),
			on(0, func(h *head) { h.down = []string{"192.0.2.13"} })}, want: "start-bricks@server1"},
		{name: "a volume that was stopped", heads: 3, change: []func(*State){on(1, func(h *head) { h.running, h.vol.Status = service.No, volStarted+1 })}},
		{name: "a heal that stands", heads: 3, change: []func(*State){on(1, func(h *head) { h.pending, h.stuck = 4, lookUpAfter })}, want: "lookup@server2"},
		{name: "a heal that stands, and a head of the file has no brick yet", heads: 3, change: []func(*State){on(1, func(h *head) { h.pending, h.stuck = 4, lookUpAfter }),
			on(2, func(h *head) { h.running, h.data, h.dataID = service.No, service.No, "" }), func(s *State) {
				for i := range s.heads {
					s.heads[i].vol.Bricks = s.heads[i].vol.Bricks[:2]
				}
			}}, want: "lookup@server2"},
		{name: "a heal that stands, and was looked up", heads: 3, change: []func(*State){on(1, func(h *head) { h.pending, h.stuck, h.lookedUp = 4, lookUpAfter, true })}},
		{name: "a heal that goes on", heads: 3, change: []func(*State){on(1, func(h *head) { h.pending, h.stuck = 4, lookUpAfter/2 })}},
		{name: "a heal that stands, and that head's mount hangs", heads: 3, change: []func(*State){on(1, func(h *head) { h.pending, h.stuck, h.answers = 4, lookUpAfter, service.Unsure })}},
		{name: "a heal that waits for a brick", heads: 3, change: []func(*State){on(1, func(h *head) { h.pending, h.stuck, h.down = 4, lookUpAfter, []string{"192.0.2.13"} })}},
		{name: "names that are other files on one brick, and one that only a person can decide", heads: 3, change: []func(*State){on(1, func(h *head) { h.pending, h.stuck = 4, lookUpAfter }),
			func(s *State) {
				s.mismatches = []mismatch{{path: "/a", keep: "server2", has: 2}, {path: "/b"}, {path: "/c", keep: "server3", has: 2}}
			}}, want: "mismatch.0@server1 mismatch.1@server1 heal-now@server1 lookup@server2"},
		{name: "the same, and a head is not to be touched", heads: 3, change: []func(*State){on(1, func(h *head) { h.pending, h.stuck = 4, lookUpAfter }),
			func(s *State) { s.mismatches = []mismatch{{path: "/a", keep: "server2", has: 2}} }}, intent: service.Intent{Nodes: []string{"server1", "server2"}}, want: "lookup@server2"},
		{name: "a frozen brick", heads: 3, change: []func(*State){on(1, func(h *head) { h.running, h.frozenBrick = service.Unsure, 915 })},
			want: "end-brick@server2 start-bricks@server1"},
		{name: "a brick ended in the middle of its work", heads: 3, change: []func(*State){on(1, func(h *head) { h.running = service.No }),
			on(2, func(h *head) { h.waiting = []string{"e62fa9eb-9eb6-43d3-b6ee-dd786a80b1d6"} })}, want: "torn@server2 start-bricks@server1"},
		{name: "a brick of which nothing is known", heads: 3, change: []func(*State){on(1, func(h *head) { h.running = service.Unsure })}},
		{name: "the client of a mount has died", heads: 3, change: []func(*State){on(2, func(h *head) { h.answers = service.No })}, want: "remount@server3"},
		{name: "a mount that was lost after it failed", heads: 3, change: []func(*State){on(2, func(h *head) {
			h.mounted, h.past = service.No, map[string]past{"mnt-gluster.mount": {state: "failed", ran: service.Yes}, retryUnit: {state: "inactive", ran: service.Yes}}
		})}, want: "mount@server3"},
		{name: "a person unmounted it", heads: 3, change: []func(*State){on(2, func(h *head) {
			h.mounted, h.past = service.No, map[string]past{"mnt-gluster.mount": {state: "inactive", ran: service.Yes}, retryUnit: {state: "inactive", ran: service.Yes}}
		})}},

		{name: "all lost their power, two of three are back: glusterd and the retries are at it", heads: 3, change: []func(*State){on(0, atBoot), on(1, atBoot), off("", 2),
			on(0, func(h *head) { h.down = []string{"192.0.2.13"} })}, want: "start-bricks@server1"},
		{name: "one of three is left, nothing is proven", heads: 3, change: []func(*State){off("", 1, 2)}},
		{name: "the same, waited for long enough", heads: 3, change: []func(*State){off("", 1, 2)}, intent: service.Intent{Without: true},
			refused: "nothing proves that server2, server3 does not serve"},
		{name: "one of the two silent is proven to be off", heads: 3, change: []func(*State){off(proof, 1), off("", 2)}, intent: service.Intent{Without: true},
			refused: "nothing proves that server3 does not serve"},
		{name: "both are proven to be off: whether this copy is whole is not known", heads: 3, change: []func(*State){off(proof, 1, 2)}, refused: "server2: " + proof},
		{name: "both are proven to be off, and a person typed the name", heads: 3, change: []func(*State){off(proof, 1, 2)}, intent: service.Intent{Confirmed: true}, want: "quorum@server1", note: "server2: " + proof},
		{name: "both are proven to be off, and its own brick does not run yet", heads: 3, change: []func(*State){on(0, atBoot), off(proof, 1, 2)},
			intent: service.Intent{Confirmed: true}, want: "quorum@server1 start-bricks@server1"},
		{name: "both are proven to be off, and glusterd has noticed", heads: 3, change: []func(*State){on(0, func(h *head) { h.down = []string{"192.0.2.12", "192.0.2.13"} }), off(proof, 1, 2)},
			intent: service.Intent{Confirmed: true}, want: "quorum@server1"},
		{name: "nothing is proven, a person typed the cluster's name", heads: 3, change: []func(*State){off("", 1, 2)}, intent: service.Intent{Confirmed: true},
			want: "quorum@server1", note: "may be alive"},
		{name: "two of four are left, the first among them: a quorum by GlusterFS's rule", heads: 4, change: []func(*State){off(proof, 2, 3)}},
		{name: "two of four are left, the first not among them", heads: 4, change: []func(*State){off(proof, 0, 1)}, intent: service.Intent{Confirmed: true}, want: "quorum@server3"},
		{name: "a brick on a host that the file does not name keeps the quorum", heads: 2, change: []func(*State){func(s *State) {
			s.heads[0].vol.Bricks = append(s.heads[0].vol.Bricks, brickAt("192.0.2.31", "/data/arbiter"))
		}, off(proof, 0)}, want: ""},
		{name: "a brick on a host that the file does not name is never proven dead", heads: 4, change: []func(*State){func(s *State) {
			s.heads[0].vol.Bricks = append(s.heads[0].vol.Bricks, brickAt("192.0.2.31", "/data/arbiter"))
		}, off(proof, 1, 2, 3)}, intent: service.Intent{Without: true}, refused: "192.0.2.31"},
		{name: "it goes on without a quorum already", heads: 3, change: []func(*State){loose, off(proof, 1, 2)}},
		{name: "it goes on without a quorum, and the client has not heard", heads: 3, change: []func(*State){loose, off(proof, 1, 2), on(0, func(h *head) { h.answers = service.No })},
			want: "remount@server1"},
		{name: "the heads are back", heads: 3, change: []func(*State){loose}, want: "quorum@server1"},
		{name: "enough of them are back", heads: 3, change: []func(*State){loose, off("", 2)}, want: "quorum@server1"},
		{name: "they are back, their bricks are not", heads: 3, change: []func(*State){loose, on(1, atBoot), on(2, atBoot)}, want: "start-bricks@server1"},
		{name: "one brick, one copy", heads: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := live(cluster(tt.heads), tt.heads)
			for _, change := range tt.change {
				change(s)
			}
			ph, err := s.Recover(tt.intent)
			if tt.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tt.refused) {
					t.Fatalf("want a refusal with %q, got %v", tt.refused, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := recovery(ph); got != tt.want {
				t.Errorf("does %q, want %q", got, tt.want)
			}
			if !strings.Contains(fmt.Sprint(ph.Notes), tt.note) {
				t.Errorf("notes %q lack %q", ph.Notes, tt.note)
			}
		})
	}
}

func TestWhatWasLoosenedIsReported(t *testing.T) {
	s := live(cluster(3), 3)
	s.heads[0].vol.Options[quorumOption] = "none"
	if h := s.Health(); h.State != service.Degraded || !strings.Contains(h.Reason, "without a quorum") {
		t.Errorf("%s: %s", h.State, h.Reason)
	}
}

func TestAStuckHealIsTold(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*head)
		want   string
	}{
		{"entries that come and go", func(h *head) { h.pending, h.stuck = 3, stuckFor/2 }, "healing, 3 entries to go"},
		{"entries that stay", func(h *head) { h.pending, h.stuck = 3, 2*stuckFor }, "none has been for"},
		{"entries that stay for a brick that is away", func(h *head) { h.pending, h.stuck, h.down = 3, 2*stuckFor, []string{"192.0.2.12"} }, "healing, 3 entries to go"},
	} {
		s := live(cluster(3), 3)
		tt.change(&s.heads[0])
		if h := s.Health(); h.State != service.Degraded || !strings.Contains(h.Reason, tt.want) {
			t.Errorf("%s: %s: %s", tt.name, h.State, h.Reason)
		}
	}
}

func TestWhatSystemdRemembers(t *testing.T) {
	all := parsePast("Id=glusterd.service\nActiveState=failed\nActiveEnterTimestampMonotonic=5\n\n" +
		"Id=mnt-gluster.mount\nActiveState=inactive\nActiveEnterTimestampMonotonic=0\n\n" +
		"Id=multihead-mount.service\nActiveState=inactive\nActiveEnterTimestampMonotonic=0\nJob=74\n\n" +
		"Id=multihead-bricks.service\nActiveState=inactive\nActiveEnterTimestampMonotonic=7\n")
	for unit, want := range map[string][2]bool{
		"glusterd.service": {true, false}, "mnt-gluster.mount": {true, false}, bricksUnit: {false, true}, retryUnit: {false, false}, "unheard.service": {false, false},
	} {
		if p := all[unit]; p.startable() != want[0] || p.byHand() != want[1] {
			t.Errorf("%s: %+v", unit, p)
		}
	}
}

func TestAStoppedProcess(t *testing.T) {
	for stat, want := range map[string]bool{
		"915 (glusterfsd) S 1 915 915 0": false, "915 (glusterfsd) T 1 915 915 0": true,
		"61 (glusterd) T 1": true, "915 (python3) T 1": false, "": false, "915 (glusterd)": false,
	} {
		if got := isFrozen(stat); got != want {
			t.Errorf("%q: %v", stat, got)
		}
	}
}

// A leader that does not look again leaves what does not heal by itself to its look
// after five minutes.
func TestALookThatLearnedTooLittleIsMadeAgainSoon(t *testing.T) {
	on := func(i int, f func(*head)) func(*State) { return func(s *State) { f(&s.heads[i]) } }
	for name, tt := range map[string]struct {
		change func(*State)
		want   bool
	}{
		"all is well":                              {func(*State) {}, false},
		"something is healed":                      {on(1, func(h *head) { h.pending = 4 }), true},
		"a head was too slow to answer":            {on(1, func(h *head) { h.daemon, h.why = service.Unsure, "glusterd does not answer" }), true},
		"its brick's index could not be read":      {on(1, func(h *head) { h.pending, h.why = -1, "deadline exceeded" }), true},
		"nobody's glusterd answered":               {func(s *State) { unanswered(s) }, true},
		"what is healed waits for a head":          {func(s *State) { s.heads[0].pending = 4; s.heads[2].reached = false }, false},
		"what is healed waits for a brick":         {func(s *State) { s.heads[0].pending = 4; s.heads[2].running = service.No }, false},
		"glusterd of others has not found it yet":  {func(s *State) { s.heads[0].pending = 4; s.heads[0].down = []string{"192.0.2.13"} }, true},
		"a head whose brick is in no volume waits": {func(s *State) { s.heads[0].vol.Bricks = s.heads[0].vol.Bricks[:2]; s.heads[2].pending = -1 }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := live(cluster(3), 3)
			tt.change(s)
			ph, err := s.Recover(service.Intent{Mode: service.Auto})
			if err != nil || ph.Again != tt.want {
				t.Errorf("again: %v, want %v (%v)", ph.Again, tt.want, err)
			}
		})
	}
}

// Nobody watches a witness's glusterd but who looks.
func TestALookIsMadeAgainSoonForAnArbitersBrickThatDoesNotRunYet(t *testing.T) {
	down := func(w *head) { w.running = service.No }
	for name, tt := range map[string]struct {
		change func(s *State)
		want   bool
	}{
		"all is well":              {func(*State) {}, false},
		"it does not run yet":      {func(s *State) { down(&s.witnesses[0]) }, true},
		"a head's does not either": {func(s *State) { down(&s.witnesses[0]); s.heads[1].running = service.No }, false},
		"a head is away":           {func(s *State) { down(&s.witnesses[0]); s.heads[1].reached = false }, false},
		"the witness is away":      {func(s *State) { s.witnesses[0].reached = false; s.heads[0].pending = 4 }, false},
		"its disk is not there":    {func(s *State) { w := &s.witnesses[0]; down(w); w.data, w.dataID = service.No, "" }, false},
		"a person stopped it": {func(s *State) {
			down(&s.witnesses[0])
			s.witnesses[0].past = map[string]past{bricksUnit: {state: "inactive", ran: service.Yes}}
		}, false},
		"a person stopped its glusterd": {func(s *State) {
			down(&s.witnesses[0])
			s.witnesses[0].past = map[string]past{"glusterd.service": {state: "inactive", ran: service.Yes}}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := voting(live(cluster(2), 2))
			tt.change(s)
			if ph, err := s.Recover(service.Intent{Mode: service.Auto}); err != nil || ph.Again != tt.want {
				t.Errorf("again: %v, want %v (%v)", ph.Again, tt.want, err)
			}
		})
	}
}

func unanswered(s *State) {
	for i := range s.heads {
		s.heads[i].daemon, s.heads[i].why, s.heads[i].vol = service.Unsure, "glusterd does not answer", nil
	}
}
