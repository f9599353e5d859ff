package service

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Short forms of what a head can show.
func live(n, id string) Evidence {
	return Evidence{Node: n, Live: Yes, Data: Yes, Cluster: id, Clean: No, Position: -1}
}
func liveAt(n, id string, pos int64) Evidence {
	e := live(n, id)
	e.Position = pos
	return e
}
func empty(n string) Evidence { return Evidence{Node: n, Live: No, Data: No, Clean: No, Position: -1} }
func lost(n string) Evidence  { return Evidence{Node: n, Why: "ssh: timed out", Position: -1} }
func hung(n string) Evidence {
	return Evidence{Node: n, Live: Unsure, Data: Yes, Cluster: "a", Why: "the daemon accepts and says nothing", Position: -1}
}
func stopped(n, id string, pos int64) Evidence {
	return Evidence{Node: n, Live: No, Data: Yes, Cluster: id, Clean: Yes, Position: pos}
}
func crashed(n, id string) Evidence {
	return Evidence{Node: n, Live: No, Data: Yes, Cluster: id, Clean: No, Position: -1, Why: "seqno -1"}
}

func TestDecideEveryCaseOfBootstrapOrJoin(t *testing.T) {
	tests := []struct {
		name      string
		heads     []Evidence
		intent    Intent
		want      Verdict
		first     string
		joiners   string
		skipped   string
		refusedBy string // a piece of the reason; empty means not refused
	}{
		{name: "nobody has anything", heads: []Evidence{empty("s1"), empty("s2"), empty("s3")}, want: Form, first: "s1", joiners: "s2,s3"},
		{name: "a cluster of one", heads: []Evidence{empty("s1")}, want: Form, first: "s1"},
		{name: "one lives, others are new", heads: []Evidence{empty("s1"), live("s2", "a"), empty("s3")}, want: Joins, joiners: "s1,s3"},
		{name: "all live", heads: []Evidence{live("s1", "a"), live("s2", "a")}, want: Joins},
		{name: "all live but one is stopped and of the same cluster", heads: []Evidence{live("s1", "a"), stopped("s2", "a", 7)}, want: Joins, joiners: "s2"},
		{name: "all live but one crashed and of the same cluster", heads: []Evidence{live("s1", "a"), crashed("s2", "a")}, want: Joins, joiners: "s2"},
		{name: "a head that left in order is behind", heads: []Evidence{liveAt("s1", "a", 9), stopped("s2", "a", 7)}, want: Joins, joiners: "s2"},
		{name: "a head that left in order, and nothing was written since", heads: []Evidence{liveAt("s1", "a", 9), stopped("s2", "a", 9)}, want: Joins, joiners: "s2"},
		{name: "a head is ahead of the cluster that was started without it", heads: []Evidence{liveAt("s1", "a", 9), liveAt("s2", "a", 8), stopped("s3", "a", 10)},
			refusedBy: "s3 holds data of this cluster that goes further (10) than what lives on s1, s2 (9)"},
		{name: "ahead of one member that lags, not of all", heads: []Evidence{liveAt("s1", "a", 6), liveAt("s2", "a", 8), stopped("s3", "a", 7)}, want: Joins, joiners: "s3"},
		{name: "ahead of the one member whose position is known", heads: []Evidence{live("s1", "a"), liveAt("s2", "a", 8), stopped("s3", "a", 10)}, refusedBy: "goes further"},
		{name: "where the members stand is not known", heads: []Evidence{live("s1", "a"), stopped("s2", "a", 10)}, want: Joins, joiners: "s2"},
		{name: "ahead of members that have nothing yet", heads: []Evidence{liveAt("s1", "a", 0), stopped("s2", "a", 10)}, refusedBy: "goes further"},
		{name: "how far a crashed head came is not known", heads: []Evidence{liveAt("s1", "a", 9), crashed("s2", "a")}, want: Joins, joiners: "s2"},
		{name: "of another cluster, however far", heads: []Evidence{liveAt("s1", "a", 9), stopped("s2", "b", 10)}, refusedBy: "s2 holds data of another cluster"},
		{name: "ahead, told to join", heads: []Evidence{liveAt("s1", "a", 9), stopped("s2", "a", 10)}, intent: Intent{Mode: Join}, refusedBy: "goes further"},
		{name: "one lives, one is lost", heads: []Evidence{live("s1", "a"), lost("s2"), empty("s3")}, want: Joins, joiners: "s3", skipped: "s2"},
		{name: "one lives, one hangs", heads: []Evidence{live("s1", "a"), hung("s2")}, want: Joins, skipped: "s2"},
		{name: "two clusters live", heads: []Evidence{live("s1", "a"), live("s2", "b")}, refusedBy: "two clusters live at once: a on s1; b on s2"},
		{name: "two clusters live, told to join", heads: []Evidence{live("s1", "a"), live("s2", "b")}, intent: Intent{Mode: Join}, refusedBy: "two clusters"},
		{name: "joiner holds another cluster's data", heads: []Evidence{live("s1", "a"), stopped("s2", "b", 3)}, refusedBy: "s2 holds data of another cluster"},
		{name: "joiner holds data of no cluster", heads: []Evidence{live("s1", "a"), {Node: "s2", Live: No, Data: Yes, Clean: Yes}}, refusedBy: "s2 holds data of another cluster (no identity"},
		{name: "one head is lost", heads: []Evidence{empty("s1"), empty("s2"), lost("s3")}, refusedBy: "what s3 holds is not known"},
		{name: "sshd up, daemon hung", heads: []Evidence{empty("s1"), hung("s2")}, refusedBy: "what s2 holds is not known (s2: the daemon accepts"},
		{name: "a probe that nobody filled in is unknown", heads: []Evidence{empty("s1"), {Node: "s2"}}, refusedBy: "what s2 holds is not known"},
		{name: "not live, and whether it holds data is unknown", heads: []Evidence{empty("s1"), {Node: "s2", Live: No}}, refusedBy: "what s2 holds is not known"},
		{name: "every head is lost", heads: []Evidence{lost("s1"), lost("s2")}, refusedBy: "not known"},
		{name: "one lost, forced without the name typed", heads: []Evidence{empty("s1"), lost("s2")}, intent: Intent{Mode: Bootstrap}, refusedBy: "not known"},
		{name: "one lost, forced with the name typed", heads: []Evidence{empty("s1"), lost("s2"), empty("s3")}, intent: Intent{Mode: Bootstrap, Confirmed: true}, want: Form, first: "s1", joiners: "s3", skipped: "s2"},
		{name: "all lost, forced with the name typed", heads: []Evidence{lost("s1")}, intent: Intent{Mode: Bootstrap, Confirmed: true}, refusedBy: "no head answered"},
		{name: "forced while one lives", heads: []Evidence{live("s1", "a"), empty("s2")}, intent: Intent{Mode: Bootstrap, Confirmed: true}, refusedBy: "would make a second cluster: one lives on s1"},
		{name: "told to bootstrap, nobody has anything", heads: []Evidence{empty("s1"), empty("s2")}, intent: Intent{Mode: Bootstrap}, want: Form, first: "s1", joiners: "s2"},
		{name: "told to join, nobody lives", heads: []Evidence{empty("s1"), empty("s2")}, intent: Intent{Mode: Join}, refusedBy: "no head is part of a live cluster"},
		{name: "told to join, one lives", heads: []Evidence{live("s1", "a"), empty("s2")}, intent: Intent{Mode: Join}, want: Joins, joiners: "s2"},
		{name: "all stopped in order", heads: []Evidence{stopped("s1", "a", 5), stopped("s2", "a", 9), stopped("s3", "a", 9)}, want: Resume, first: "s2", joiners: "s1,s3"},
		{name: "all stopped, one is new", heads: []Evidence{stopped("s1", "a", 5), empty("s2")}, want: Resume, first: "s1", joiners: "s2"},
		{name: "all stopped, one lost: it may hold more", heads: []Evidence{stopped("s1", "a", 5), stopped("s2", "a", 5), lost("s3")}, refusedBy: "what s3 holds is not known"},
		{name: "all stopped, one crashed", heads: []Evidence{stopped("s1", "a", 5), crashed("s2", "a")}, refusedBy: "s2 holds data and was not stopped in order (seqno -1)"},
		{name: "all crashed", heads: []Evidence{crashed("s1", "a"), crashed("s2", "a")}, refusedBy: "not stopped in order"},
		{name: "stopped with different identities", heads: []Evidence{stopped("s1", "a", 5), stopped("s2", "b", 9)}, refusedBy: "different clusters: a on s1; b on s2"},
		{name: "only one holds data and was stopped", heads: []Evidence{empty("s1"), stopped("s2", "a", 4), empty("s3")}, want: Resume, first: "s2", joiners: "s1,s3"},
		{name: "no head has the service", refusedBy: "no head runs it"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := Decide("svc", tt.heads, tt.intent)
			if tt.refusedBy != "" {
				var r *Refusal
				if !errors.As(err, &r) {
					t.Fatalf("not refused: %+v, %v", d, err)
				}
				if !strings.Contains(r.Reason, tt.refusedBy) || r.Remedy == "" {
					t.Fatalf("reason %q (want %q), remedy %q", r.Reason, tt.refusedBy, r.Remedy)
				}
				if d.Verdict != "" || d.First != "" || d.Joiners != nil {
					t.Fatalf("refused, and decided all the same: %+v", d)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			split := func(s string) []string {
				if s == "" {
					return nil
				}
				return strings.Split(s, ",")
			}
			if d.Verdict != tt.want || d.First != tt.first || !slices.Equal(d.Joiners, split(tt.joiners)) || !slices.Equal(d.Skipped, split(tt.skipped)) {
				t.Fatalf("got %+v", d)
			}
		})
	}
}

// Over every combination of what three heads can show, nothing is ever formed
// beside something that lives or might hold data, and a resume begins where the
// data goes furthest, and nothing joins that is ahead of what lives.
func TestDecideNeverFormsBesideWhatMightExist(t *testing.T) {
	kinds := []func(string) Evidence{
		func(n string) Evidence { return live(n, "a") },
		func(n string) Evidence { return live(n, "b") },
		func(n string) Evidence { return liveAt(n, "a", '2') },
		empty, lost, hung,
		func(n string) Evidence { return stopped(n, "a", int64(n[1])) },
		func(n string) Evidence { return stopped(n, "b", 1) },
		func(n string) Evidence { return crashed(n, "a") },
	}
	for _, mode := range []Mode{Auto, Bootstrap, Join, Standalone} {
		for _, a := range kinds {
			for _, b := range kinds {
				for _, c := range kinds {
					heads := []Evidence{a("s1"), b("s2"), c("s3")}
					d, err := Decide("svc", heads, Intent{Mode: mode})
					if err != nil {
						continue
					}
					checkSafe(t, heads, d)
				}
			}
		}
	}
}

func checkSafe(t *testing.T, heads []Evidence, d Decision) {
	t.Helper()
	for _, e := range heads {
		switch {
		case d.Verdict == Form && (e.Live != No || e.Data != No):
			t.Errorf("formed beside %+v", e)
		case d.Verdict == Resume && (e.Live != No || e.Data == Unsure):
			t.Errorf("resumed beside %+v", e)
		case d.Verdict == Resume && e.Data == Yes && (e.Clean != Yes || e.Cluster != d.Cluster):
			t.Errorf("resumed over %+v", e)
		case d.Verdict == Joins && slices.Contains(d.Joiners, e.Node) && (e.Data == Unsure || e.Data == Yes && e.Cluster != d.Cluster):
			t.Errorf("%s joins with foreign or unknown data: %+v", e.Node, e)
		case d.Verdict == Joins && e.Live == Yes && e.Cluster != d.Cluster:
			t.Errorf("joined beside a second cluster: %+v", e)
		}
		if d.Verdict == Joins && slices.Contains(d.Joiners, e.Node) && e.Position >= 0 && e.Position > reached(heads) && reached(heads) >= 0 {
			t.Errorf("%s joins what lives and is behind it: %+v", e.Node, e)
		}
		if d.Verdict == Resume && e.Data == Yes {
			for _, f := range heads {
				if f.Node == d.First && f.Position < e.Position {
					t.Errorf("resumed on %s although %s goes further", f.Node, e.Node)
				}
			}
		}
	}
}

// reached is how far the live members are known to have come.
func reached(heads []Evidence) int64 {
	pos := int64(-1)
	for _, e := range heads {
		if e.Live == Yes && e.Position > pos {
			pos = e.Position
		}
	}
	return pos
}

func TestErrorsThatWereJoinedAreTakenApart(t *testing.T) {
	lost, mine := errors.New("lost"), &Refusal{Service: "mariadb"}
	refused, others := Split(errors.Join(mine, errors.Join(lost, fmt.Errorf("plan: %w", mine))))
	if len(refused) != 2 || len(others) != 1 || !errors.Is(others[0], lost) {
		t.Errorf("%v %v", refused, others)
	}
}
