package gluster

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/service"
)

func TestOfANameThatIsAnotherFileElsewhereWhatWasAcknowledgedIsKept(t *testing.T) {
	const older, newer = "11111111", "22222222"
	// brick is what a brick has: the file's identity, and what it has written down about
	// others: "f 0" of the name about the first, "d 0" of the names in its directory, "m 0"
	// of its directory's mode or owner.
	brick := func(id string, blames ...string) onBrick {
		b := onBrick{attrs: map[string]map[string]string{"/d": {gfidAttr: "33333333", "trusted.afr.dirty": "000000000000000000000001", "trusted.afr.v-client-0": "000000000000000000000000"}},
			plain: map[string]bool{"/d/f": id != ""}}
		if id != "" {
			b.attrs["/d/f"] = map[string]string{gfidAttr: id}
		}
		for _, blame := range blames {
			at, whom, _ := strings.Cut(blame, " ")
			name := map[string]string{"f": "/d/f", "d": "/d", "m": "/d"}[at]
			b.attrs[name]["trusted.afr.v-client-"+whom] = map[string]string{"f": "000000020000000100000000", "d": "000000000000000000000001", "m": "000000000000000100000000"}[at]
		}
		return b
	}
	directory := func(b onBrick) onBrick { b.plain = map[string]bool{}; return b }
	elsewhere := func(b onBrick) onBrick { b.attrs["/d"][gfidAttr] = "99999999"; return b }
	for _, tt := range []struct {
		name   string
		heads  int
		voter  bool
		bricks []onBrick
		quorum string
		fleets bool // it is a heartbeat
		want   string
	}{
		{name: "a heartbeat, of which nobody has written anything down", heads: 3, bricks: []onBrick{brick(older), brick(newer), brick(newer)}, fleets: true, want: "server2 2"},
		{name: "a heartbeat that is gone on one", heads: 3, bricks: []onBrick{brick(older, "f 1"), brick(""), brick(older)}, fleets: true, want: "server1 2"},
		{name: "a heartbeat that is a directory somewhere", heads: 3, bricks: []onBrick{directory(brick(older)), brick(newer), brick(newer)}, fleets: true},
		{name: "a heartbeat of which there are three", heads: 3, bricks: []onBrick{brick(older), brick(newer), brick("44444444")}, fleets: true},
		{name: "one was away while it was replaced", heads: 3, bricks: []onBrick{brick(older), brick(newer, "f 0", "d 0"), brick(newer, "f 0", "d 0")}, want: "server2 2"},
		{name: "one of the others alone has it written down", heads: 3, bricks: []onBrick{brick(older), brick(newer), brick(newer, "d 0")}, want: "server2 2"},
		{name: "it is written down that the directory's mode is another, and nothing of names", heads: 3, bricks: []onBrick{brick(older), brick(newer, "m 0"), brick(newer, "m 0")}},
		{name: "nobody has written anything down: heads that lost their power agree on what was before", heads: 3, bricks: []onBrick{brick(older), brick(older), brick(newer)}},
		{name: "the same, and the newer is on most", heads: 3, bricks: []onBrick{brick(older), brick(newer), brick(newer)}},
		{name: "one is not there, and the others differ", heads: 3, bricks: []onBrick{brick(""), brick(older), brick(newer, "d 1")}},
		{name: "three of three differ", heads: 3, bricks: []onBrick{brick("44444444"), brick(older), brick(newer, "d 0", "d 1")}},
		{name: "the one with the newer knows that the others lack it", heads: 3, bricks: []onBrick{brick(older), brick(older), brick(newer, "d 0", "d 1")}},
		{name: "they blame each other", heads: 3, bricks: []onBrick{brick(older, "d 1"), brick(newer, "d 0"), brick(newer, "d 0")}},
		{name: "the first copy of it lacks what is in it", heads: 3, bricks: []onBrick{brick(newer), brick(older), brick(newer, "d 1", "f 0")}, want: "server3 2"},
		{name: "both copies of it do", heads: 3, bricks: []onBrick{brick(newer, "f 2"), brick(older), brick(newer, "d 1", "f 0")}},
		{name: "two and two: what the first is part of", heads: 4, bricks: []onBrick{brick(newer, "d 1", "d 3"), brick(older), brick(newer), brick(older)}, want: "server1 2"},
		{name: "two and two, the first not among those that know", heads: 4, bricks: []onBrick{brick(older), brick(newer, "d 0", "d 2"), brick(older), brick(newer)}},
		{name: "two and two of which one has none of it", heads: 4, bricks: []onBrick{brick(newer, "d 1"), brick(older), brick(newer), brick("")}, want: "server1 2"},
		{name: "the same, and it knows that the others' names are not as they were left", heads: 4, bricks: []onBrick{brick(newer, "d 1"), brick(older), brick(newer), brick("", "d 0")}},
		{name: "the same of the other copy", heads: 4, bricks: []onBrick{brick(newer, "d 1"), brick(older), brick(newer), brick("", "d 2")}},
		{name: "three of four", heads: 4, bricks: []onBrick{brick(older), brick(newer, "d 0"), brick(newer), brick(newer)}, want: "server2 3"},
		{name: "two alone, the second was away", heads: 2, bricks: []onBrick{brick(newer, "d 1"), brick(older)}, want: "server1 1"},
		{name: "two alone, and nothing is written down", heads: 2, bricks: []onBrick{brick(newer), brick(older)}},
		{name: "two and an arbiter", heads: 2, voter: true, bricks: []onBrick{brick(older), brick(newer, "d 0"), brick(newer, "d 0")}, want: "server2 2"},
		{name: "two and an arbiter, which knows that the copy lacks what is in it", heads: 2, voter: true, bricks: []onBrick{brick(older), brick(newer, "d 0"), brick(newer, "d 0", "f 1")}},
		{name: "directories", heads: 3, bricks: []onBrick{brick(older), directory(brick(newer, "d 0")), brick(newer, "d 0")}},
		{name: "what it is in is another directory", heads: 3, bricks: []onBrick{elsewhere(brick(older)), brick(newer, "d 0"), brick(newer, "d 0")}},
		{name: "a volume that goes without a quorum", heads: 3, bricks: []onBrick{brick(older), brick(newer, "d 0"), brick(newer, "d 0")}, quorum: "none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := live(cluster(tt.heads), tt.heads)
			if tt.voter {
				voting(s)
			}
			v := s.seen()
			v.Options[quorumOption] = cmp.Or(tt.quorum, "auto")
			for i := range tt.bricks {
				tt.bricks[i].key, tt.bricks[i].owner = fmt.Sprintf("trusted.afr.v-client-%d", i), s.ownerOf(v.Bricks[i]).name
			}
			var fleeting []string
			if tt.fleets {
				fleeting = []string{"/d/f"}
			}
			got := differ(v, []string{"/d/f"}, tt.bricks, fleeting)
			if len(got) != 1 || strings.TrimPrefix(fmt.Sprintf("%s %d", got[0].keep, got[0].has), " 0") != tt.want {
				t.Errorf("%+v, want %q", got, tt.want)
			}
		})
	}
}

func TestANameThatStaysTwoFilesIsTold(t *testing.T) {
	s := live(cluster(3), 3)
	s.heads[0].pending, s.heads[0].stuck = 2, stuckFor/2
	s.mismatches = []mismatch{{path: "/d/f", parts: "server1: 11111111; server2, server3: 22222222"}}
	if h := s.Health(); h.State != service.Degraded || !strings.Contains(h.Reason, "healing") {
		t.Errorf("while it may be healed: %s: %s", h.State, h.Reason)
	}
	s.heads[0].stuck = stuckFor
	if h := s.Health(); h.State != service.Degraded || !strings.Contains(h.Reason, `"/d/f" is another file on some bricks (server1: 11111111`) {
		t.Errorf("%s: %s", h.State, h.Reason)
	}
}

// files is a host whose brick has names with identities, as getfattr tells them.
func files(name string, is map[string]string) *hosttest.Machine {
	m := hosttest.New(name)
	m.File(path.Join(volsDir, "shared_data", "bricks", "192.0.2.11:-data-glusterfs-brick"), "brick-id=shared_data-client-0\n")
	m.File(path.Join(volsDir, "shared_data", "bricks", "192.0.2.12:-data-glusterfs-brick"), "brick-id=shared_data-client-4\n")
	m.File(path.Join(volsDir, "shared_data", "bricks", "192.0.2.13:-data-glusterfs-brick"), "brick-id=shared_data-client-2\n")
	m.File("/data/glusterfs/brick/slurm/state/hash.4/job.1394", "")
	m.OnQuery("getfattr", func(c host.Cmd) (string, error) {
		var out, said strings.Builder
		for _, p := range c.Argv[slices.Index(c.Argv, "--")+1:] {
			id, ok := is[strings.TrimPrefix(p, "/data/glusterfs/brick")]
			if !ok {
				fmt.Fprintf(&said, "getfattr: %s: No such file or directory\n", p)
				continue
			}
			fmt.Fprintf(&out, "# file: %s\n%s\n\n", p, strings.ReplaceAll(id, " ", "\n"))
		}
		if said.Len() > 0 {
			return out.String(), hosttest.Exit(1, said.String())
		}
		return out.String(), nil
	})
	return m
}

const aName = "/slurm/state/hash.4/job.1394" // of testdata/heal-info.xml

// oneAway is three bricks of which the first was away while a name was replaced.
func oneAway(t *testing.T) (*State, []service.Node, map[string]string) {
	s := live(cluster(3), 3)
	s.seen().Options[quorumOption] = "auto"
	s.heads[1].pending, s.heads[1].stuck = 4, lookUpAfter
	old := map[string]string{path.Dir(aName): "trusted.gfid=0x33", aName: "trusted.gfid=0x11"}
	now := map[string]string{path.Dir(aName): "trusted.gfid=0x33 trusted.afr.shared_data-client-0=0x000000000000000000000003", aName: "trusted.gfid=0x22"}
	var nodes []service.Node
	for i, is := range []map[string]string{old, now, now} {
		m := files(s.heads[i].name, is).Answer("gluster", read(t, "heal-info.xml"))
		nodes = append(nodes, service.Node{Spec: config.HostSpec{Hostname: s.heads[i].name}, Reader: m})
	}
	return s, nodes, old
}

func TestWhatIsNotHealedIsLookedAtOnEveryBrick(t *testing.T) {
	s, nodes, _ := oneAway(t)
	s.askMismatches(t.Context(), nodes)
	if len(s.mismatches) != 1 || s.mismatches[0].keep != "server2" || s.heads[2].splits != -1 {
		t.Fatalf("%+v", s.mismatches)
	}
	t.Run("it stays: what files in split-brain forbid is forbidden", func(t *testing.T) {
		s, nodes, _ := oneAway(t)
		s.heads[1].stuck = stuckFor
		if s.askMismatches(t.Context(), nodes); s.heads[2].splits != -1 && s.heads[2].splits != 0 {
			t.Errorf("%d, and it is not known yet that deciding does not help", s.heads[2].splits)
		}
		m := nodes[0].Reader.(*hosttest.Machine)
		if err := m.WriteFile(t.Context(), keptFile, []byte(s.record()), host.Attr{Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		if s.askMismatches(t.Context(), nodes); s.heads[2].splits != 1 {
			t.Errorf("%d, and it was decided before", s.heads[2].splits)
		}
		t.Run("also when that is long ago, and it is decided again", func(t *testing.T) {
			s, nodes, _ := oneAway(t)
			s.heads[1].stuck = stuckFor
			s.askMismatches(t.Context(), nodes)
			m := nodes[0].Reader.(*hosttest.Machine)
			m.Clock(func() time.Time { return time.Now().Add(-2 * keptFor) })
			if err := m.WriteFile(t.Context(), keptFile, []byte(s.record()), host.Attr{Mode: 0o600}); err != nil {
				t.Fatal(err)
			}
			if s.askMismatches(t.Context(), nodes); s.heads[2].splits != 1 || s.decided {
				t.Errorf("%d, decided just now: %v", s.heads[2].splits, s.decided)
			}
		})
	})
	t.Run("one answers nothing: nothing is known", func(t *testing.T) {
		s, nodes, _ := oneAway(t)
		nodes[2].Reader = nil
		if s.askMismatches(t.Context(), nodes); s.mismatches != nil || s.heads[0].splits != -1 {
			t.Errorf("%+v", s.mismatches)
		}
	})
	t.Run("it was being replaced while it was read", func(t *testing.T) {
		s, nodes, old := oneAway(t)
		m := nodes[0].Reader.(*hosttest.Machine)
		reads := 0
		m.OnQuery("getfattr -h", func(host.Cmd) (string, error) {
			reads++
			out := ""
			for n, is := range old {
				if reads > 1 && n == aName {
					is = "trusted.gfid=0x22"
				}
				out += "# file: /data/glusterfs/brick" + n + "\n" + is + "\n\n"
			}
			return out, nil
		})
		if s.askMismatches(t.Context(), nodes); s.mismatches != nil || reads < 2 {
			t.Errorf("%+v after %d looks", s.mismatches, reads)
		}
	})
}

func TestWhatWasAcknowledgedIsKeptOnce(t *testing.T) {
	s, nodes, _ := oneAway(t)
	s.askMismatches(t.Context(), nodes)
	steps := s.keepAcknowledged(&s.heads[0], s.seen(), service.Intent{})
	m := nodes[0].Reader.(*hosttest.Machine)
	var asked []string
	m.OnRun("gluster", func(c host.Cmd) (string, error) {
		asked = append(asked, strings.Join(c.Argv, " "))
		return "Healing " + aName + " failed: File not in split-brain.\n", hosttest.Exit(1, "")
	})
	for _, st := range steps {
		if _, err := st.Action.Do(t.Context(), m); err != nil {
			t.Errorf("%s: %v", st.ID, err)
		}
	}
	want := []string{"gluster --mode=script volume heal shared_data split-brain source-brick 192.0.2.12:/data/glusterfs/brick " + aName, "gluster --mode=script volume heal shared_data"}
	if !slices.Equal(asked, want) {
		t.Errorf("%q", asked)
	}
	s.askMismatches(t.Context(), nodes)
	if again := s.keepAcknowledged(&s.heads[0], s.seen(), service.Intent{}); len(again) > 0 {
		t.Errorf("it is done again: %v", again)
	}
}

func TestAnAnswerThatLacksANameIsNone(t *testing.T) {
	m := files("server1", map[string]string{"/d": "trusted.gfid=0x33"})
	o := onBrick{reader: m, attrs: map[string]map[string]string{}, unread: map[string]bool{}}
	if err := o.readAttrs(t.Context(), "/data/glusterfs/brick", []string{"/d", "/d/gone"}); err != nil || len(o.attrs) != 1 || len(o.unread) != 0 {
		t.Errorf("%v, %+v", err, o)
	}
	m.Answer("getfattr -h", "# file: /data/glusterfs/brick/d\ntrusted.gfid=0x33\n") // the end alone, whoever is asked for
	if err := o.readAttrs(t.Context(), "/data/glusterfs/brick", []string{"/d", "/d/f", "/d/g"}); err != nil || o.attrs["/d"] == nil || !o.unread["/d/f"] || !o.unread["/d/g"] {
		t.Errorf("%v, %+v", err, o)
	}
}

// What getfattr 2.5 printed on a brick, of a file, of its directory, and of a name that it
// rewrote.
const getfattrSaid = `# file: /data/glusterfs/brick/slurm/state/heartbeat
trusted.afr.dirty=0x000000000000000000000000
trusted.afr.shared_data-client-0=0x000000020000000100000000
trusted.gfid=0xd2597087d3f743079b563618af3af2ba

# file: /data/glusterfs/brick/slurm/state
trusted.gfid=0x4440c1f968df47a3b629931ed2768759

# file: /data/glusterfs/brick/a\012b
trusted.gfid=0x5f1f51d8a1e54f0f8a93f5bb0d5cc0f1

`

func TestAttributesOfNames(t *testing.T) {
	got := map[string]map[string]string{}
	parseAttrs(getfattrSaid, "/data/glusterfs/brick", got)
	if !maps.Equal(got["/slurm/state/heartbeat"], map[string]string{"trusted.afr.dirty": "000000000000000000000000",
		"trusted.afr.shared_data-client-0": "000000020000000100000000", gfidAttr: "d2597087d3f743079b563618af3af2ba"}) ||
		got["/slurm/state"][gfidAttr] != "4440c1f968df47a3b629931ed2768759" || len(got) != 2 {
		t.Errorf("%v", got)
	}
}

func FuzzAttributesOfNames(f *testing.F) {
	f.Add(getfattrSaid)
	f.Fuzz(func(t *testing.T, out string) {
		got := map[string]map[string]string{}
		parseAttrs(out, "/b", got)
		if len(got) > strings.Count(out, "# file: /b") {
			t.Errorf("%d names", len(got))
		}
	})
}
