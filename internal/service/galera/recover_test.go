package galera

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"multihead/internal/plan"
	"multihead/internal/service"
)

// crashed is a head that lost its power, with the view that it was in last: one
// of a node for each number. It has booted and its daemon has given up.
func crashed(name string, seqno int64, seq int, members ...int) node {
	n := stopped(name, uuidA, seqno, false)
	n.unit = job{known: true, enabled: true}
	if len(members) > 0 {
		ids := make([]string, len(members))
		for i, m := range members {
			ids[i] = who(m, 1)
		}
		v, err := parseView([]byte(seen(who(int(name[1]-'0'), 1), seq, ids...)))
		if err != nil {
			panic(err)
		}
		n.disk.last = v
	}
	return n
}

// hunting is one whose daemon looks for the others.
func hunting(name string, seq int, members ...int) node {
	n := crashed(name, -1, seq, members...)
	n.stands, n.why = starting, "mariadb.service is activating"
	return n
}

// drifting runs without quorum.
func drifting(name string, committed int64, size, seq int, members ...int) node {
	n := crashed(name, -1, seq, members...)
	n.stands = answering
	n.status = detached(name, uuidA).status
	n.status.committed, n.status.size = committed, size
	return n
}

// byPerson is one that was up since it booted and was stopped in order.
func byPerson(name string, seqno int64) node {
	n := stopped(name, uuidA, seqno, true)
	n.unit = job{known: true, enabled: true, ran: true, inOrder: true}
	return n
}

func with(n node, change func(*node)) node { change(&n); return n }

func fenced(name string) node {
	return with(lost(name), func(n *node) { n.dead = "fence_ipmilan says off, twice" })
}

var waited = service.Intent{Mode: service.Auto, Without: true}

func TestRecover(t *testing.T) {
	kept := func(n *node) { n.unit.enabled = false }
	of := func(id string) func(*node) { return func(n *node) { n.disk.state.uuid = id } }
	next := successor(uuidA, 20, "")
	tests := []struct {
		name    string
		nodes   []node
		intent  service.Intent
		steps   string // what is done, less waiting
		anew    bool   // the cluster goes on under a new identity
		refused string // a piece of the reason
		note    string
	}{
		{name: "all is well", nodes: []node{live("s1", uuidA), live("s2", uuidA), live("s3", uuidA)}},
		{name: "nothing ever was", nodes: []node{blank("s1"), blank("s2"), blank("s3")}},
		{name: "nobody answers", nodes: []node{lost("s1"), lost("s2"), lost("s3")}, intent: waited},

		{name: "all lost their power: first it is found out how far each goes", nodes: []node{hunting("s1", 5, 1, 2, 3), hunting("s2", 5, 1, 2, 3), hunting("s3", 5, 1, 2, 3)},
			steps: "position/s1 position/s2 position/s3"},
		{name: "all lost their power, some have given up", nodes: []node{crashed("s1", -1, 5, 1, 2, 3), hunting("s2", 5, 1, 2, 3), crashed("s3", 7, 0)},
			steps: "position/s1 position/s2"},
		{name: "all are known: it begins where the data goes furthest", nodes: []node{crashed("s1", 7, 5, 1, 2, 3), crashed("s2", 9, 5, 1, 2, 3), crashed("s3", 8, 5, 1, 2, 3)},
			steps: "begin/s2 start/s1 start/s3"},
		{name: "of several that go equally far, the last to stop", nodes: []node{crashed("s1", 9, 0), with(crashed("s2", 9, 0), func(n *node) { n.disk.state.safe = true })},
			steps: "begin/s2 start/s1"},
		{name: "a part of a copy is no data, whatever its file says", nodes: []node{crashed("s1", 9, 5, 1, 2), with(crashed("s2", -1, 5, 1, 2), func(n *node) { n.disk.partial = true })},
			steps: "begin/s1 start/s2"},
		{name: "the only head", nodes: []node{crashed("s1", 9, 5, 1)}, steps: "begin/s1"},

		{name: "all were stopped in order", nodes: []node{byPerson("s1", 9), byPerson("s2", 9), byPerson("s3", 9)}, intent: waited},
		{name: "all were stopped in order and do not start at boot", nodes: []node{with(crashed("s1", 9, 0), func(n *node) { n.unit.enabled = false })}},
		{name: "a person stopped one of those that lost their power later", nodes: []node{byPerson("s1", 5), crashed("s2", 9, 6, 2, 3), crashed("s3", 9, 6, 2, 3)},
			steps: "begin/s2 start/s3"},
		{name: "the one that a person stopped goes as far as another", nodes: []node{byPerson("s1", 9), crashed("s2", 9, 6, 2)}, steps: "begin/s2"},
		{name: "the one that a person stopped goes furthest", nodes: []node{byPerson("s1", 12), crashed("s2", 9, 6, 1, 2)}, refused: "was stopped there by hand"},
		{name: "somebody is stopping it", nodes: []node{with(hunting("s1", 5, 1, 2), func(n *node) { n.ends = true }), hunting("s2", 5, 1, 2)}, refused: "s1"},

		{name: "one is missing, and not waited for yet", nodes: []node{hunting("s1", 5, 1, 2, 3), hunting("s2", 5, 1, 2, 3), lost("s3")}, refused: "waited for"},
		{name: "one is missing: most of the last are here", nodes: []node{hunting("s1", 5, 1, 2, 3), hunting("s2", 5, 1, 2, 3), lost("s3")}, intent: waited,
			steps: "position/s1 position/s2"},
		{name: "one is missing and may hold more", nodes: []node{crashed("s1", 7, 5, 1, 2, 3), crashed("s2", 9, 5, 1, 2, 3), lost("s3")}, intent: waited,
			steps: "begin/s2 start/s1", anew: true, note: "s3 may hold commits"},
		{name: "one is missing that was not there when it last had quorum", nodes: []node{crashed("s1", 7, 6, 1, 2), crashed("s2", 9, 6, 1, 2), lost("s3")}, intent: waited,
			steps: "begin/s2 start/s1"},
		{name: "the other of the last two is missing", nodes: []node{crashed("s1", 7, 5, 1, 2, 3), crashed("s2", 9, 6, 2, 3), lost("s3")}, intent: waited,
			refused: "of the 2 that had quorum last only 1"},
		{name: "two of three are missing", nodes: []node{crashed("s1", 7, 5, 1, 2, 3), lost("s2"), lost("s3")}, intent: waited, refused: "no majority of 3"},
		{name: "two of four are missing", nodes: []node{crashed("s1", 7, 5, 1, 2), crashed("s2", 7, 5, 1, 2), lost("s3"), lost("s4")}, intent: waited, refused: "no majority of 4"},
		{name: "stopped in order, one after the other, and the last is missing", nodes: []node{crashed("s1", 7, 0), crashed("s2", 9, 0), lost("s3")}, intent: waited,
			refused: "may have gone on without them"},
		{name: "a head that was away for long does not count", nodes: []node{crashed("s1", 4, 5, 1, 2, 3, 4, 5), crashed("s2", 9, 9, 2, 3, 4), crashed("s3", 9, 9, 2, 3, 4), lost("s4"), lost("s5")}, intent: waited,
			steps: "begin/s2 start/s1 start/s3", anew: true},
		{name: "a voter without data is missing", nodes: []node{crashed("s1", 7, 5, 1, 2, 9), lost("s2")}, intent: waited, refused: "no majority of 2"},
		{name: "one is up and cannot be asked: it may serve", nodes: []node{crashed("s1", 7, 5, 1, 2, 3), crashed("s2", 9, 5, 1, 2, 3), hangs("s3")}, intent: waited,
			refused: "s3 is up"},
		{name: "a person said so", nodes: []node{crashed("s1", 7, 5, 1, 2, 3), lost("s2"), lost("s3")}, intent: service.Intent{Without: true, Confirmed: true},
			steps: "begin/s1", anew: true},
		{name: "the others are proven to be off", nodes: []node{crashed("s1", 7, 5, 1, 2, 3), fenced("s2"), fenced("s3")}, steps: "begin/s1", anew: true},
		{name: "one is proven to be off, another only silent", nodes: []node{crashed("s1", 7, 5, 1, 2, 3), fenced("s2"), lost("s3")}, refused: "s3 (ssh: timed out)"},

		{name: "all run without quorum", nodes: []node{drifting("s1", 7, 3, 5, 1, 2, 3), drifting("s2", 9, 3, 5, 1, 2, 3), drifting("s3", 8, 3, 5, 1, 2, 3)}, steps: "quorum/s2"},
		{name: "all run without quorum and do not see each other", nodes: []node{drifting("s1", 7, 2, 5, 1, 2, 3), drifting("s2", 7, 2, 5, 1, 2, 3), drifting("s3", 9, 1, 5, 1, 2, 3)},
			steps: "position/s1 position/s2 position/s3"},
		{name: "without quorum, and one that went further is stopped", nodes: []node{drifting("s1", 7, 2, 5, 1, 2, 3), drifting("s2", 7, 2, 5, 1, 2, 3), crashed("s3", 9, 5, 1, 2, 3)},
			steps: "position/s1 position/s2"},
		{name: "without quorum, and one looks for the others", nodes: []node{drifting("s1", 7, 2, 5, 1, 2, 3), drifting("s2", 7, 2, 5, 1, 2, 3), hunting("s3", 5, 1, 2, 3)},
			steps: "position/s3"},
		{name: "without quorum, and one is missing: it may hold more", nodes: []node{drifting("s1", 7, 2, 5, 1, 2, 3), drifting("s2", 7, 2, 5, 1, 2, 3), lost("s3")}, intent: waited,
			steps: "position/s1 position/s2"},
		{name: "without quorum, and one is missing that was not there", nodes: []node{drifting("s1", 7, 2, 6, 1, 2), drifting("s2", 7, 2, 6, 1, 2), lost("s3")}, intent: waited,
			steps: "quorum/s1"},
		{name: "the last one runs without quorum, the others are proven to be off", nodes: []node{fenced("s1"), fenced("s2"), drifting("s3", 9, 1, 5, 1, 2, 3)}, steps: "position/s3"},
		{name: "without quorum, and one has left for good", nodes: []node{drifting("s1", 7, 1, 5, 1, 2), with(left("s2", uuidA), func(n *node) { n.disk.last = hunting("s2", 5, 1, 2).disk.last })},
			steps: "position/s2"},

		{name: "one left for good while others serve", nodes: []node{live("s1", uuidA), left("s2", uuidA), live("s3", uuidA)}, steps: "start/s2"},
		{name: "one failed while others serve", nodes: []node{live("s1", uuidA), crashed("s2", -1, 5, 1, 2), live("s3", uuidA)}, steps: "start/s2"},
		{name: "one that a person stopped stays so", nodes: []node{live("s1", uuidA), byPerson("s2", 5)}},
		{name: "one is on its way", nodes: []node{live("s1", uuidA), hunting("s2", 5, 1, 2), joining("s3", uuidA)}},
		{name: "one is cut off and sees the others when it is back", nodes: []node{live("s1", uuidA), drifting("s2", 5, 1, 5, 1, 2)}},
		{name: "one never was a member", nodes: []node{live("s1", uuidA), blank("s2")}},
		{name: "one was cut off while it was sent all data", nodes: []node{live("s1", uuidA), with(crashed("s2", -1, 0), func(n *node) { n.disk = disk{data: service.No, partial: true} })}, steps: "start/s2"},
		{name: "one goes further than those that serve", nodes: []node{live("s1", uuidA), crashed("s2", 10, 5, 1, 2)}, note: "goes further (10)"},
		{name: "one has data of another cluster", nodes: []node{live("s1", uuidA), with(crashed("s2", 10, 5, 1, 2), of(uuidB))}, note: "another cluster"},
		{name: "one has data of before the cluster began anew", nodes: []node{live("s1", next), crashed("s2", 25, 5, 1, 2)}, steps: "start/s2"},
		{name: "one was interrupted while others serve: it is found out what it holds", nodes: []node{live("s1", uuidA), interrupted("s2", -1, 5, 1, 2), crashed("s3", -1, 5, 1, 2)}, steps: "position/s2 start/s3"},
		{name: "one was interrupted while others serve, and is behind", nodes: []node{live("s1", uuidA), interrupted("s2", 9, 5, 1, 2)}, steps: "start/s2"},
		{name: "one was interrupted while others serve, and goes further", nodes: []node{live("s1", uuidA), interrupted("s2", 10, 5, 1, 2)}, note: "goes further (10)"},
		{name: "one was voted out", nodes: []node{live("s1", uuidA), with(left("s2", uuidA), func(n *node) { n.disk.state.uuid, n.disk.data = "", service.Yes })}, note: "its own"},
		{name: "two serve, each its own", nodes: []node{live("s1", uuidA), live("s2", uuidB)}, refused: "two clusters live"},

		{name: "all were interrupted: nobody has an identity", nodes: []node{interrupted("s1", -1, 5, 1, 2), with(interrupted("s2", -1, 5, 1, 2), func(n *node) { n.stands = starting })},
			steps: "position/s1 position/s2"},
		{name: "one was interrupted, and may go furthest", nodes: []node{crashed("s1", 7, 5, 1, 2, 3), crashed("s2", 8, 5, 1, 2, 3), interrupted("s3", -1, 5, 1, 2, 3)}, steps: "position/s3"},
		{name: "one was interrupted and goes furthest: the others are sent whole copies", nodes: []node{crashed("s1", 7, 5, 1, 2, 3), crashed("s2", 8, 5, 1, 2, 3), interrupted("s3", 9, 5, 1, 2, 3)},
			steps: "begin/s3 start/s1 start/s2", anew: true},
		{name: "one was interrupted and goes as far as another", nodes: []node{with(interrupted("s1", 9, 5, 1, 2), func(n *node) { n.disk.state.safe = true }), crashed("s2", 9, 5, 1, 2)}, steps: "begin/s2 start/s1"},
		{name: "one was interrupted, and another is missing", nodes: []node{crashed("s1", 7, 5, 1, 2, 3), interrupted("s2", -1, 5, 1, 2, 3), lost("s3")}, refused: "waited for"},
		{name: "a person keeps it from starting, and asks", nodes: []node{with(interrupted("s1", -1, 5, 1), kept)}, steps: "position/s1"},
		{name: "a person keeps it from starting, and nobody asks", nodes: []node{with(interrupted("s1", -1, 5, 1), kept)}, intent: service.Intent{Unattended: true}},
		{name: "a person keeps it from starting while others serve, and asks", nodes: []node{live("s2", uuidA), with(interrupted("s1", -1, 5, 1, 2), kept)}, steps: "position/s1"},
		{name: "a person keeps it from starting while others serve, and nobody asks", nodes: []node{live("s2", uuidA), with(interrupted("s1", -1, 5, 1, 2), kept)}, intent: service.Intent{Unattended: true}},
		{name: "one was interrupted, and a person has started it by itself", nodes: []node{crashed("s1", 7, 5, 1, 2), with(interrupted("s2", 9, 5, 1, 2), func(n *node) { n.stands, n.status = answering, status{} })},
			refused: "s2 () cannot be looked at"},
		{name: "the one that sent a copy is gone, and it was not complete", nodes: []node{lost("s1"), with(crashed("s2", -1, 0), func(n *node) { n.disk = disk{data: service.No, partial: true} })},
			intent: waited, refused: "s2 have no more than a part of a copy"},
		{name: "data of two clusters", nodes: []node{crashed("s1", 7, 5, 1, 2), with(crashed("s2", 9, 5, 1, 2), of(uuidB))}, refused: "different clusters"},
		{name: "one missed that the cluster began anew, and all lost their power again", nodes: []node{with(crashed("s1", 22, 2, 1, 2), of(next)), with(crashed("s2", 21, 2, 1, 2), of(next)), hunting("s3", 5, 1, 2, 3)},
			steps: "begin/s1 start/s2"},
		{name: "it was killed between giving the new identity and beginning", nodes: []node{with(crashed("s1", 20, 5, 1, 2, 3), of(next)), crashed("s2", 20, 5, 1, 2, 3), lost("s3")},
			intent: service.Intent{Confirmed: true}, steps: "begin/s1 start/s2", anew: true},
		{name: "a server that was part of it runs on its own", nodes: []node{crashed("s1", 7, 5, 1, 2), with(alone("s2", 1), func(n *node) { n.disk.state.uuid = uuidA })}, refused: "s2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := stateOf(tt.nodes...).Recover(tt.intent)
			if tt.refused != "" {
				var r *service.Refusal
				if !errors.As(err, &r) || !strings.Contains(r.Reason, tt.refused) || r.Remedy == "" {
					t.Fatalf("%v; want a refusal with %q\n%s", err, tt.refused, outline(p))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var steps []string
			anew := false
			for _, st := range p.Stages {
				for _, s := range st.Steps {
					if _, waits := s.Action.(plan.Await); waits {
						continue
					}
					steps = append(steps, strings.TrimPrefix(s.ID, "mariadb.")+"/"+s.Host)
					if b, ok := s.Action.(begin); ok {
						anew = b.anew != ""
					}
				}
			}
			if got := strings.Join(steps, " "); got != tt.steps || anew != tt.anew {
				t.Errorf("got %q, anew %v; want %q, %v", got, anew, tt.steps, tt.anew)
			}
			if !strings.Contains(strings.Join(p.Notes, "\n"), tt.note) {
				t.Errorf("notes %q, want one with %q", p.Notes, tt.note)
			}
		})
	}
}

// Whatever three heads show, recovery never begins where what is missing could
// be serving, never while somebody serves, and never behind what is known.
func TestRecoverOverEveryCombination(t *testing.T) {
	kinds := map[string]func(name string) node{
		"lost": lost, "fenced": fenced, "blank": blank, "hangs": hangs,
		"live":    func(name string) node { return live(name, uuidA) },
		"left":    func(name string) node { return left(name, uuidA) },
		"parked":  func(name string) node { return byPerson(name, 12) },
		"hunting": func(name string) node { return hunting(name, 5, 1, 2, 3) },
		"behind":  func(name string) node { return crashed(name, 8, 5, 1, 2, 3) },
		"far":     func(name string) node { return crashed(name, 11, 5, 1, 2, 3) },
		"later":   func(name string) node { return crashed(name, 10, 6, 2, 3) },
		"drift":   func(name string) node { return drifting(name, 9, 3, 5, 1, 2, 3) },
		"unread":  func(name string) node { return interrupted(name, -1, 5, 1, 2, 3) },
		"torn":    func(name string) node { return interrupted(name, 11, 5, 1, 2, 3) },
	}
	for a, one := range kinds {
		for b, two := range kinds {
			for c, three := range kinds {
				all := []string{a, b, c}
				s := stateOf(one("s1"), two("s2"), three("s3"))
				p, err := s.Recover(waited)
				if err != nil {
					continue
				}
				silent := count(all, "lost") + count(all, "hangs")
				for _, st := range p.Stages {
					for _, step := range st.Steps {
						n := s.node(step.Host)
						if !n.reached {
							t.Errorf("%v: %s on %s, which is not reached", all, step.ID, step.Host)
						}
						if n.parked() && step.ID != "mariadb.position" {
							t.Errorf("%v: %s on %s, which a person stopped", all, step.ID, step.Host)
						}
						if step.ID != "mariadb.begin" && step.ID != "mariadb.quorum" {
							continue
						}
						if count(all, "live") > 0 {
							t.Errorf("%v: %s while somebody serves", all, step.ID)
						}
						if silent >= 2 {
							t.Errorf("%v: %s without a majority", all, step.ID)
						}
						if count(all, "unread") > 0 {
							t.Errorf("%v: %s, and how far another goes is not known", all, step.ID)
						}
						for _, o := range s.nodes {
							if o.position() > n.position() {
								t.Errorf("%v: %s on %s, and %s goes further", all, step.ID, step.Host, o.name)
							}
						}
						began, ok := step.Action.(begin)
						if ok && silent+count(all, "fenced") > 0 && began.anew == "" && count(all, "later") == 0 {
							t.Errorf("%v: it goes on under its old identity, and a head that may hold more comes back", all)
						}
					}
				}
			}
		}
	}
}

func count(all []string, what string) int {
	return len(slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s != what }))
}
