package gluster

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/service"
)

const (
	dirGFID  = "81273f19-efc8-41ee-abdb-cc3d593dde82"
	fileGFID = "4b13e4e0-d2d3-4b51-a045-8fa1e78a0644"
)

// beside is three heads of which the third was chosen and served all the time, and
// the others, proven to be off then, have come back.
func beside() *State {
	s := live(cluster(3), 3)
	s.stamp = "20261122T160205Z"
	v := s.heads[0].vol
	v.Options[shdOption] = "off"
	s.clients = map[brick]string{}
	booted := time.Date(2026, 11, 22, 16, 1, 0, 0, time.UTC)
	for i := range s.heads {
		h := &s.heads[i]
		s.clients[s.own(h)] = fmt.Sprintf("shared_data-client-%d", i)
		h.noted, h.since = service.Yes, booted
	}
	s.heads[2].since = booted.Add(-time.Hour)
	s.heads[2].choice = &choice{Volume: "shared_data", ID: v.ID, Chosen: []string{"server3"}, At: "20261122T160002Z", By: "kim on desk",
		LeftOut: []leftOut{{Head: "server1", Proof: "off, twice"}, {Head: "server2", Proof: "off, twice"}}}
	return s
}

func TestWhatWasLeftOutGivesWay(t *testing.T) {
	claim := func(i int, against string) func(*State) {
		return func(s *State) {
			h := &s.heads[i]
			h.claims = append(h.claims,
				inode{gfid: dirGFID, dir: true, notes: map[string]changelog{against: {0, 2, 10}}},
				inode{gfid: fileGFID, file: true, size: 6, name: "data", mtime: h.since.Add(-time.Hour), notes: map[string]changelog{against: {data: 2}}})
		}
	}
	third := "shared_data-client-2"
	on := func(i int, change func(*head)) func(*State) { return func(s *State) { change(&s.heads[i]) } }
	record := func(change func(*choice)) func(*State) { return func(s *State) { change(s.heads[2].choice) } }
	heals := func(s *State) { s.heads[0].vol.Options[shdOption] = "on" }
	const one = "keep-aside@server1 counts-over.server1@server3 gives-way@server1"
	const both = "keep-aside@server1 keep-aside@server2 counts-over.server1@server3 counts-over.server2@server3 gives-way@server1 gives-way@server2"
	for _, tt := range []struct {
		name    string
		change  []func(*State)
		intent  service.Intent
		want    string
		refused string
	}{
		{name: "both are back, and differ", change: []func(*State){claim(0, third), claim(1, third)}, want: both + " let-heal@server1 back@server3"},
		{name: "both are back, and one differs", change: []func(*State){claim(0, third)}, want: one + " let-heal@server1 back@server3"},
		{name: "both are back, and none differs", want: "let-heal@server1 back@server3"},
		{name: "what they note is against each other", change: []func(*State){claim(0, "shared_data-client-1")}, want: "let-heal@server1 back@server3"},
		{name: "it was changing something when it ended", change: []func(*State){claim(0, dirty)}, want: "counts-over.server1@server3 gives-way@server1 let-heal@server1 back@server3"},
		{name: "only the first is back: the self-heal daemons hold still", change: []func(*State){claim(0, third), on(1, away)}, want: one + " back@server3"},
		{name: "the other is still not there after a while", change: []func(*State){on(1, away), record(func(c *choice) {
			c.LeftOut[0].Gave, c.Back = "20261122T160000Z", "20261122T160000Z"
		})}, want: "let-heal@server1"},
		{name: "the other is awaited", change: []func(*State){on(1, away), record(func(c *choice) {
			c.LeftOut[0].Gave, c.Back = "20261122T160100Z", "20261122T160100Z"
		})}},
		{name: "the other comes late", change: []func(*State){heals, claim(1, third), record(func(c *choice) {
			c.LeftOut[0].Gave, c.Back = "20261122T120100Z", "20261122T120100Z"
		})}, want: "keep-aside@server2 counts-over.server2@server3 gives-way@server2 let-heal@server1 back@server3"},
		{name: "its brick does not run yet", change: []func(*State){claim(0, third), on(1, func(h *head) {
			h.running, h.past = service.Unsure, map[string]past{}
		})}, want: one + " back@server3"},
		{name: "what it notes is not known", change: []func(*State){claim(0, third), on(1, func(h *head) { h.noted = service.Unsure })}, want: one + " back@server3"},
		{name: "what the chosen one notes is not known", change: []func(*State){claim(0, third), on(2, func(h *head) { h.noted = service.Unsure })}},
		{name: "the chosen one is not here", change: []func(*State){claim(0, third), on(2, away)}},
		{name: "it gave way before: what it notes since is its work", change: []func(*State){heals, claim(0, third), record(func(c *choice) { c.LeftOut[0].Gave = "20261122T160100Z" }), on(1, away)}},
		{name: "the record is closed", change: []func(*State){heals, claim(0, third), record(func(c *choice) { c.Closed = "20261122T160100Z" })}},
		{name: "there is no record", change: []func(*State){heals, claim(0, third), on(2, func(h *head) { h.choice = nil })}},
		{name: "the record is of another volume of that name", change: []func(*State){heals, claim(0, third), record(func(c *choice) { c.ID = "00000000-cd65-4007-b0fc-1c2b077731c8" })}},
		{name: "one that was left out has a record in which it was chosen, of before", change: []func(*State){claim(0, third), on(0, func(h *head) {
			h.choice = &choice{Volume: "shared_data", ID: volumeID, Chosen: []string{"server1"}, At: "20261001T000000Z", LeftOut: []leftOut{{Head: "server3", Proof: "off"}}}
		})}, want: one + " let-heal@server1 back@server3"},
		{name: "nothing proved that it was off: a person decides", change: []func(*State){claim(0, third), record(func(c *choice) { c.LeftOut[0].Proof = "" })},
			refused: "nothing proved that it was switched off"},
		{name: "nothing proved it, and nothing differs", change: []func(*State){record(func(c *choice) { c.LeftOut[0].Proof = "" })}, want: "let-heal@server1 back@server3"},
		{name: "nothing proved it, and a person says so again", change: []func(*State){claim(0, third), record(func(c *choice) { c.LeftOut[0].Proof = "" })},
			intent: service.Intent{Confirmed: true}, want: one + " let-heal@server1 back@server3"},
		{name: "it served before the chosen one did: a person decides", change: []func(*State){claim(0, third), on(2, func(h *head) { h.since = h.since.Add(2 * time.Hour) })},
			refused: "began to serve before that of server3"},
		{name: "it holds files of after its boot: a person decides", change: []func(*State){claim(0, third), on(0, func(h *head) { h.claims[1].mtime = h.since.Add(time.Minute) })},
			refused: "written since"},
		{name: "a person decides about one, the other gives way", change: []func(*State){claim(0, third), claim(1, third), record(func(c *choice) { c.LeftOut[1].Proof = "" })},
			want: one + " back@server3"},
		{name: "the plan is not for that head", change: []func(*State){claim(1, third)}, intent: service.Intent{Nodes: []string{"server1", "server3"}}, want: "back@server3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := beside()
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
		})
	}
}

func TestUpDoesNotHealWhatHasToGiveWay(t *testing.T) {
	s := beside()
	heals := func() bool {
		ph, err := s.Plan(service.Intent{Mode: service.Auto})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(recovery(ph), "heal@")
	}
	if heals() {
		t.Error("the self-heal daemons are switched on before")
	}
	s.heads[2].choice = nil
	if !heals() {
		t.Error("without a choice they are not")
	}
}

func TestTheRecordOfAChoiceIsClosedByTheLastThatComesBack(t *testing.T) {
	c := &choice{LeftOut: []leftOut{{Head: "a"}, {Head: "b"}}}
	one := c.with([]string{"a"}, "1")
	if !one.open() || one.Back != "1" || len(one.away()) != 1 || len(c.away()) != 2 {
		t.Errorf("%+v of %+v", one, c)
	}
	both := one.with([]string{"a", "b"}, "2")
	if both.open() || both.Back != "1" || both.LeftOut[0].Gave != "1" || both.LeftOut[1].Gave != "2" {
		t.Errorf("%+v", both)
	}
}

func TestWhatTheChosenCopyHasToNote(t *testing.T) {
	for _, tt := range []struct {
		name       string
		noted, own changelog
		dir        bool
		want       changelog
	}{
		{"content", changelog{data: 2}, changelog{}, false, changelog{data: 1}},
		{"attributes", changelog{metadata: 1}, changelog{}, false, changelog{metadata: 1}},
		{"a directory's entries are compared whole", changelog{0, 2, 10}, changelog{0, 1, 7}, true, changelog{1, 1, 7}},
		{"a directory's attributes", changelog{metadata: 2}, changelog{}, true, changelog{metadata: 1}},
		{"it notes that already", changelog{data: 2}, changelog{5, 0, 0}, false, changelog{data: 5}},
	} {
		want := tt.noted.against(tt.dir)
		got := tt.own.covering(want)
		if got != tt.want || !got.covers(want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestABrickIsTold(t *testing.T) {
	s := beside()
	n := inode{gfid: fileGFID, file: true}
	entry := brickPath + "/" + indexPath + "/" + fileGFID
	m := hosttest.New("server3").File(n.at(brickPath), "x").File(brickPath+"/"+indexPath+"/xattrop-1", "")
	value := changelog{}
	m.OnQuery("getfattr", func(host.Cmd) (string, error) {
		return "# file: " + n.at(brickPath) + "\ntrusted.afr.shared_data-client-0=" + value.String() + "\n", nil
	})
	m.OnRun("setfattr", func(cmd host.Cmd) (string, error) {
		var err error
		value, err = parseChangelog(cmd.Argv[5])
		return "", err
	})
	m.OnRun("ln", func(cmd host.Cmd) (string, error) { m.File(cmd.Argv[3], ""); return "", nil })
	y := returned{head: &s.heads[0], claims: []inode{{gfid: fileGFID, file: true, notes: map[string]changelog{"shared_data-client-2": {data: 2}}}}}
	step := s.markOn(&s.heads[2], y, s.heads[2].choice)
	for range 2 {
		if _, err := step.Action.Do(context.Background(), m); err != nil {
			t.Fatal(err)
		}
		if done, err := step.Action.Done(context.Background(), m); !done || err != nil || value != (changelog{data: 1}) || gone(t, m, entry) {
			t.Fatalf("%v %v, noted %v", done, err, value)
		}
	}
	// A note that is another by now is not taken away.
	value = changelog{data: 3}
	y = returned{head: &s.heads[2], claims: []inode{{gfid: fileGFID, notes: map[string]changelog{"shared_data-client-0": {data: 2}}}}}
	c := &choice{Chosen: []string{"server1"}}
	if _, err := s.clearOn(y, c).Action.Do(context.Background(), m); err != nil || value.data != 3 {
		t.Fatalf("%v, noted %v", err, value)
	}
	y.claims[0].notes["shared_data-client-0"] = value
	if _, err := s.clearOn(y, c).Action.Do(context.Background(), m); err != nil || !value.none() {
		t.Fatalf("%v, noted %v", err, value)
	}
}

func TestLinksOfDirectories(t *testing.T) {
	for target, want := range map[string]bool{
		"../../81/27/" + dirGFID + "/ty": true, "/etc/passwd": false, "../../81/27/x/ty": false, "../../00/27/" + dirGFID + "/ty": false, "../../../../../a": false, "": false,
	} {
		if got := leadsToDir(fileGFID, target); got != want {
			t.Errorf("%q: %v", target, got)
		}
	}
	if !leadsToDir(rootGFID, "../../..") {
		t.Error("the root")
	}
}

func FuzzNotes(f *testing.F) {
	f.Add("# file: /b/.glusterfs/4b/13/x\ntrusted.afr.v-client-2=0x000000020000000000000000\ntrusted.gfid2path.1=0x612f6e\n\n")
	f.Add("0x00000002")
	f.Fuzz(func(t *testing.T, data string) {
		for _, attrs := range parseAttrs(data) {
			for _, value := range attrs {
				if strings.ContainsAny(lastName(value), "/\x00") {
					t.Errorf("%q is no name", value)
				}
			}
		}
		if c, err := parseChangelog(data); err == nil {
			if again, err := parseChangelog(c.String()); err != nil || again != c {
				t.Errorf("%q: %v, %v", data, again, err)
			}
		}
		isGFID(data)
		leadsToDir(fileGFID, data)
	})
}
