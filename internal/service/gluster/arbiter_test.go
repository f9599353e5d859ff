package gluster

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// beside puts a witness with nothing on it beside the heads.
func beside(s *State) *State {
	s.witnesses = []head{{name: "witness1", addr: netip.MustParseAddr("192.0.2.31"), brick: true, witness: true, reached: true,
		daemon: service.No, store: service.No, data: service.No, running: service.No, mounted: service.No, onRoot: true}}
	if len(s.heads) == dataBricks {
		s.voter = "witness1"
	}
	return s
}

// voting makes the witness the arbiter of the first two heads' volume.
func voting(s *State) *State {
	beside(s)
	w := &s.witnesses[0]
	v := s.heads[0].vol
	v.Bricks, v.Arbiters, v.Replica = append(v.Bricks, s.own(w)), 1, 3
	w.daemon, w.store, w.vol, w.uuid = service.Yes, service.Yes, v, "uuid-w"
	w.data, w.dataID, w.running = service.Yes, volumeID, service.Yes
	for i := range s.heads {
		if s.heads[i].vol != nil {
			s.heads[i].peers = append(s.heads[i].peers, peer{UUID: "uuid-w", State: peerInCluster, Names: []string{"192.0.2.31"}})
		}
	}
	return s
}

// steps are the steps of a phase that concern the arbiter's brick, or add one.
func steps(ph plan.Phase) string {
	var out []string
	for _, st := range ph.Stages {
		for _, step := range st.Steps {
			id := strings.TrimPrefix(step.ID, "glusterfs.")
			if strings.HasPrefix(id, "take-up") {
				continue
			}
			if step.Host == "witness1" || strings.Contains(id, ".witness1") || strings.HasPrefix(id, "add-brick") || strings.HasPrefix(id, "remove-brick") || strings.HasPrefix(id, "whole") || id == "quorum" {
				out = append(out, id+" "+step.Host)
			}
		}
	}
	return strings.Join(out, "\n")
}

const (
	installed = "packages witness1\nunit witness1\nbricks-unit witness1\nreload witness1\ndaemon witness1\nbricks witness1\nbrick witness1"
	added     = "add-brick.witness1 server1\nclients-follow.witness1 server1\nheal.witness1 server1\nhealed.witness1 server1\nbrick-serves witness1"
	retired   = "leave.bricks witness1\nleave.daemon witness1\nleave.stopped witness1\nleave.aside witness1"
)

func TestAWitnessHasTheArbitersBrickBesideTwoCopiesAndNoOtherNumber(t *testing.T) {
	lost := func(s *State) {
		w := &s.witnesses[0]
		w.running, w.data, w.dataID = service.No, service.No, ""
	}
	for _, tt := range []struct {
		name   string
		state  *State
		change func(*State)
		want   string
	}{
		{"two heads are formed with it", beside(cluster(2)), nil, installed + "\nbrick-serves witness1"},
		{"three are formed without", beside(cluster(3)), nil, ""},
		{"two that have none get it", beside(live(cluster(2), 2)), nil, installed + "\n" + added},
		{"one is away: not now", beside(live(cluster(2), 2)), func(s *State) { away(&s.heads[1]) }, ""},
		{"files are in split-brain: not now", beside(live(cluster(2), 2)), func(s *State) { s.heads[0].splits = 1 }, ""},
		{"the witness is away", beside(live(cluster(2), 2)), func(s *State) { s.witnesses[0].reached = false }, ""},
		{"the second copy first, then the arbiter", beside(live(cluster(2), 1)), nil, installed + "\nadd-brick.server2 server1\n" + added},
		{"it is there", voting(live(cluster(2), 2)), nil, installed + "\nbrick-serves witness1"},
		{"it is there and a head is away", voting(live(cluster(2), 2)), func(s *State) { away(&s.heads[1]) }, installed + "\nbrick-serves witness1"},
		{"a third copy comes: it makes way", voting(live(cluster(3), 2)), nil, "whole.server1 server1\nwhole.server2 server2\nwhole.witness1 witness1\ndrop-arbiter.witness1 server1\nadd-brick.server3 server1\ndetach.witness1 server1\n" + retired},
		{"glusterd serves something else there as well", voting(live(cluster(3), 2)), func(s *State) { s.witnesses[0].others = []string{"scratch"} },
			"whole.server1 server1\nwhole.server2 server2\nwhole.witness1 witness1\ndrop-arbiter.witness1 server1\nadd-brick.server3 server1"},
		{"a third copy comes while the witness is away: the copies know of each other", voting(live(cluster(3), 2)), func(s *State) { s.witnesses[0].reached = false },
			"whole.server1 server1\nwhole.server2 server2\ndrop-arbiter.witness1 server1\nadd-brick.server3 server1"},
		{"its place is empty: its disk may not be mounted", voting(live(cluster(2), 2)), lost, ""},
		{"a run was cut off when it had made way", live(beside(cluster(3)), 3), func(s *State) {
			w := &s.witnesses[0]
			w.store, w.uuid, w.data, w.dataID = service.Yes, "uuid-w", service.Yes, volumeID
		}, "detach.witness1 server1\n" + retired},
		{"the process of its former brick is ending", beside(live(cluster(2), 2)), func(s *State) {
			w := &s.witnesses[0]
			w.data, w.dataID, w.running = service.Yes, volumeID, service.Unsure
		}, ""},
		{"it cannot be read: not now", beside(live(cluster(2), 2)), func(s *State) { s.witnesses[0].data, s.witnesses[0].why = service.Unsure, "input/output error" }, ""},
		{"it was installed anew and a copy is down: not now", voting(live(cluster(2), 2)), func(s *State) {
			lost(s)
			w := &s.witnesses[0]
			w.store, w.vol, w.uuid, w.daemon = service.No, nil, "", service.No
			s.heads[1].running = service.No
		}, ""},
		{"it was one before", beside(live(cluster(2), 2)), func(s *State) {
			s.witnesses[0].data, s.witnesses[0].dataID = service.Yes, volumeID
		}, "aside witness1\n" + installed + "\n" + added},
		{"it was installed anew", voting(live(cluster(2), 2)), func(s *State) {
			lost(s)
			w := &s.witnesses[0]
			w.store, w.vol, w.uuid, w.daemon = service.No, nil, "", service.No
		}, "whole.server1 server1\nwhole.server2 server2\ndrop-arbiter.witness1 server1\ndetach.witness1 server1\n" + installed + "\n" + added},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.change != nil {
				tt.change(tt.state)
			}
			ph, err := tt.state.Plan(service.Intent{Mode: service.Auto})
			if err != nil {
				t.Fatal(err)
			}
			if got := steps(ph); got != tt.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, tt.want)
			}
		})
	}
}

func TestWhatIsOnAWitnessIsNotTakenForAnArbitersBrick(t *testing.T) {
	for name, c := range map[string]struct {
		state  *State
		change func(*head)
		reason string
	}{
		"something is there":            {beside(live(cluster(2), 2)), func(w *head) { w.data = service.Yes }, "is not empty"},
		"something is there, no volume": {beside(cluster(2)), func(w *head) { w.data = service.Yes }, "is not empty"},
		"it is a mount point":           {beside(cluster(2)), func(w *head) { w.isMount = true }, "itself a mount point"},
		"it is in another pool": {beside(live(cluster(2), 2)), func(w *head) {
			w.peers = []peer{{UUID: "x", State: peerInCluster, Names: []string{"198.51.100.7"}}}
		}, "in a pool with 198.51.100.7"},
	} {
		t.Run(name, func(t *testing.T) {
			c.change(&c.state.witnesses[0])
			_, err := c.state.Plan(service.Intent{Mode: service.Auto})
			if !errors.As(err, new(*service.Refusal)) || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("%v, want %q", err, c.reason)
			}
		})
	}
}

func TestTheArbiterGoesBeforeACopyAndOnlyWhereTheOtherIsWhole(t *testing.T) {
	gone := func() *State {
		s := voting(live(cluster(2), 2))
		away(&s.heads[1])
		s.heads[1].dead = "a person says so"
		return s
	}
	silent := gone()
	silent.witnesses[0].reached = false
	blind := voting(live(cluster(2), 2)) // server2 answers, and its disk is gone
	blind.heads[1].running, blind.heads[1].data, blind.witnesses[0].reached = service.No, service.No, false
	down := voting(live(cluster(2), 2))
	down.heads[1].running = service.No
	for name, c := range map[string]struct {
		s       *State
		leaves  string
		want    string
		refused string
	}{
		"the second head leaves": {s: voting(live(cluster(2), 2)), leaves: "server2",
			want: "whole.server2 server2\nwhole.witness1 witness1\ndrop-arbiter.witness1 server1\nremove-brick.server2 server1"},
		"it is lost": {s: gone(), leaves: "server2",
			want: "whole.witness1 witness1\nquorum server1\ndrop-arbiter.witness1 server1\nremove-brick.server2 server1"},
		"it is lost and the witness silent": {s: silent, leaves: "server2", refused: "no other brick is there to be asked whether the copy on server1"},
		"nobody knows of the other":         {s: blind, leaves: "server2", refused: "no other brick is there to be asked"},
		"the witness leaves": {s: voting(live(cluster(2), 2)), leaves: "witness1",
			want: "whole.server1 server1\nwhole.server2 server2\nwhole.witness1 witness1\ndrop-arbiter.witness1 server1\ndetach.witness1 server1\n" + retired},
		"the witness leaves and a copy does not serve": {s: down, leaves: "witness1", refused: "the brick of server2 does not serve"},
		"a witness that has none leaves":               {s: beside(live(cluster(3), 3)), leaves: "witness1"},
	} {
		t.Run(name, func(t *testing.T) {
			ph, err := c.s.Leave(service.Intent{Leaving: []string{c.leaves}})
			if c.refused != "" {
				if !errors.As(err, new(*service.Refusal)) || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("%v, want %q", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := steps(ph); got != c.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, c.want)
			}
		})
	}
}

// What the arbiter has written down about a copy is found under the name that
// glusterd's books give that copy.
func TestWhatTheArbiterHasWrittenDownAboutACopyCounts(t *testing.T) {
	const gfid = "5e1f0a52-0a9e-4d0f-8f57-5bd0d4a3bd10"
	s := voting(live(cluster(2), 2))
	for value, want := range map[string]int{"000000000000000000000000": 0, "000000020000000000000000": 1, "000000000000000100000000": 1} {
		var asked string
		m := hosttest.New("witness1").OnQuery("getfattr", func(cmd host.Cmd) (string, error) {
			asked = strings.Join(cmd.Argv, " ")
			return "# file: x\ntrusted.afr.shared_data-client-4=0x" + value + "\n", nil
		}).Answer(markQuery, volumeMark).
			File("/var/lib/glusterd/vols/shared_data/bricks/192.0.2.11:-data-glusterfs-brick", "hostname=192.0.2.11\nbrick-id=shared_data-client-4\n").
			File("/data/glusterfs/brick/.glusterfs/indices/xattrop/"+gfid, "").
			File("/data/glusterfs/brick/.glusterfs/indices/xattrop/xattrop-"+gfid, "")
		n, err := s.blamed(t.Context(), m, &s.heads[0])
		if err != nil || n != want {
			t.Errorf("%s: %d (%v), want %d", value, n, err, want)
		}
		if !strings.Contains(asked, "trusted.afr.shared_data-client-4 /data/glusterfs/brick/.glusterfs/5e/1f/"+gfid) {
			t.Errorf("asked %s", asked)
		}
	}
}

// A disk that is not mounted has no list of what others lack, and neither has another's.
func TestABrickThatIsNotThereIsNoWitnessThatACopyIsWhole(t *testing.T) {
	s := voting(live(cluster(2), 2))
	books := func() *hosttest.Machine {
		return hosttest.New("witness1").File("/var/lib/glusterd/vols/shared_data/bricks/192.0.2.11:-data-glusterfs-brick", "brick-id=shared_data-client-0\n")
	}
	list := "/data/glusterfs/brick/" + indexPath
	for name, tt := range map[string]struct {
		m     *hosttest.Machine
		wrong string
	}{
		"it is there":               {books().Dir(list).Answer(markQuery, volumeMark), ""},
		"it never ran":              {books().Dir("/data/glusterfs/brick").Answer(markQuery, volumeMark), "cannot be read"},
		"its disk is not mounted":   {books().OnQuery(markQuery, func(host.Cmd) (string, error) { return "", hosttest.Exit(1, "No such file or directory") }), "no mark of a volume"},
		"the directory has no mark": {books().Dir(list).OnQuery(markQuery, func(host.Cmd) (string, error) { return "", hosttest.Exit(1, "No such attribute") }), "no mark of a volume"},
		"another volume's":          {books().Dir(list).Answer(markQuery, strings.Replace(volumeMark, "517601f7", "00000000", 1)), "another volume"},
	} {
		t.Run(name, func(t *testing.T) {
			n, err := s.blamed(t.Context(), tt.m, &s.heads[0])
			if n != 0 || (err == nil) != (tt.wrong == "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("%d, %v", n, err)
			}
		})
	}
}

func TestATroubleWithTheMarksIsNoSignOfAWholeCopy(t *testing.T) {
	for said, nothing := range map[string]bool{
		"": true,
		"/b/x: trusted.afr.v-client-0: No such attribute\ngetfattr: /b/y: No such file or directory\n": true,
		"/b/x: trusted.afr.v-client-0: No such attribute\ngetfattr: /b/y: Input/output error\n":        false,
	} {
		if saysNothing(said) != nothing {
			t.Errorf("%q: %v", said, !nothing)
		}
	}
}

// The copies that are asked about are those of the volume: a head that is to get one
// has no name in glusterd's books yet.
func TestWhatIsWholeIsAskedOfTheCopiesThatThereAre(t *testing.T) {
	s := voting(live(cluster(3), 2))
	steps, err := s.whole(s.heads[0].vol, s.copyHolders(s.heads[0].vol))
	if err != nil || len(steps) != 3 {
		t.Fatal(steps, err)
	}
	const books = "/var/lib/glusterd/vols/shared_data/bricks/"
	for _, step := range steps {
		m := hosttest.New(step.Host).Answer(markQuery, volumeMark).Dir("/data/glusterfs/brick/"+indexPath).
			File(books+"192.0.2.11:-data-glusterfs-brick", "brick-id=shared_data-client-0\n").
			File(books+"192.0.2.12:-data-glusterfs-brick", "brick-id=shared_data-client-1\n")
		if _, err := step.Action.Do(t.Context(), m); err != nil {
			t.Errorf("%s: %v", step.Host, err)
		}
	}
}

// What only a lost copy had nobody can heal: there is nothing to wait for.
func TestACopyThatLacksWhatOnlyALostOneHadEndsTheWaitAtOnce(t *testing.T) {
	s := voting(live(cluster(2), 2))
	away(&s.heads[1])
	steps, err := s.whole(s.heads[0].vol, []*head{&s.heads[0]})
	if err != nil || len(steps) != 1 || steps[0].Host != "witness1" {
		t.Fatal(steps, err)
	}
	m := hosttest.New("witness1").Answer("getfattr", "# file: x\ntrusted.afr.shared_data-client-0=0x000000020000000000000000\n").Answer(markQuery, volumeMark).
		File("/var/lib/glusterd/vols/shared_data/bricks/192.0.2.11:-data-glusterfs-brick", "brick-id=shared_data-client-0\n").
		File("/data/glusterfs/brick/.glusterfs/indices/xattrop/5e1f0a52-0a9e-4d0f-8f57-5bd0d4a3bd10", "")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := steps[0].Action.Do(ctx, m); err == nil || !strings.Contains(err.Error(), "bring server2 back") || ctx.Err() != nil {
		t.Errorf("%v", err)
	}
}

// What a witness that was installed anew had before says nothing of the steps by which
// it gets it again.
func TestAWitnessThatWasInstalledAnewIsProbedAndGetsItsBrickWhateverThereWas(t *testing.T) {
	s := voting(live(cluster(2), 2))
	w := &s.witnesses[0]
	w.store, w.vol, w.uuid, w.daemon, w.running, w.data, w.dataID = service.Yes, nil, "another", service.Yes, service.No, service.No, ""
	ph, err := s.Plan(service.Intent{Mode: service.Auto})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, st := range ph.Stages {
		for _, step := range st.Steps {
			if f, ok := step.Action.(plan.Func); ok && (step.ID == "glusterfs.probe" || step.ID == "glusterfs.add-brick.witness1" || step.ID == "glusterfs.heal.witness1") {
				found++
				if f.Satisfied != nil {
					t.Errorf("%s may be taken for done", step.ID)
				}
			}
		}
	}
	if found != 3 {
		t.Errorf("%d of 3 steps", found)
	}
}

func TestOneCopyAndTheArbiterAreAQuorum(t *testing.T) {
	s := voting(live(cluster(2), 2))
	away(&s.heads[0])
	s.heads[1].mounted, s.heads[1].past = service.No, map[string]past{mountUnit("/mnt/gluster"): {state: "failed"}}
	q, err := s.quorumFor(s.heads[1].vol, service.Intent{})
	if err != nil || !q.serves || q.loosen {
		t.Errorf("%+v, %v", q, err)
	}
	h := s.Health()
	if h.State != service.Degraded || !quorate(s.heads[1].vol, s) || h.Nodes["witness1"].Role != "arbiter" || h.Nodes["witness1"].State != service.Up {
		t.Errorf("%+v", h)
	}
	if sv := s.Survival(); sv.AtOnce != 1 || sv.DataSafe != 1 {
		t.Errorf("%+v", sv)
	}
	if sv := beside(cluster(4)).Survival(); sv.AtOnce != 1 {
		t.Errorf("four heads and a witness: %+v", sv)
	}
}

// Force starts what is down on every host: an empty directory of the arbiter's would
// become a brick that knows of nothing.
func TestNoBrickIsStartedByForceWhileTheArbitersIsLost(t *testing.T) {
	s := voting(live(cluster(2), 2))
	s.heads[1].running = service.No
	s.heads[1].past = map[string]past{bricksUnit: {state: "active", ran: service.Yes}}
	force := func() bool {
		ph, err := s.Recover(service.Intent{})
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(ph.Stages, func(st plan.Stage) bool { return st.Name == "bricks" })
	}
	if !force() {
		t.Error("nothing is started")
	}
	w := &s.witnesses[0]
	w.running, w.data, w.dataID = service.No, service.No, ""
	if force() {
		t.Error("started by force beside an empty directory")
	}
	w.data = service.Yes
	if force() {
		t.Error("started by force beside a directory without the volume's mark")
	}
}
