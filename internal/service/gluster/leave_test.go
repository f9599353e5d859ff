package gluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/plan"
	"multihead/internal/service"
)

func leaveOutline(ph plan.Phase) string {
	var b strings.Builder
	for _, st := range ph.Stages {
		for _, step := range st.Steps {
			fmt.Fprintf(&b, "%s %s\n", strings.TrimPrefix(step.ID, "glusterfs."), step.Host)
		}
	}
	return b.String()
}

func TestABrickLeavesOnlyOnceItsHeadUsesTheVolumeNoMore(t *testing.T) {
	gone := live(cluster(4), 4)
	away(&gone.heads[3])
	gone.heads[3].dead = "a person says so"
	stands := live(cluster(4), 4)
	stands.heads[1].pending, stands.heads[1].stuck = 2, lookUpAfter
	for name, c := range map[string]struct {
		s    *State
		want string
	}{
		"one of four, while a heal stands that nobody else may help": {stands, "lookup server2\nmount-retry server4\nunmount server4\nremove-brick.server4 server1\ndetach.server4 server1\n" +
			"leave.bricks server4\nleave.daemon server4\nleave.stopped server4\nleave.aside server4\nhealed.after-leaving server1\n"},
		"one of four": {live(cluster(4), 4), "mount-retry server4\nunmount server4\nremove-brick.server4 server1\ndetach.server4 server1\n" +
			"leave.bricks server4\nleave.daemon server4\nleave.stopped server4\nleave.aside server4\nhealed.after-leaving server1\n"},
		"one that is gone": {gone, "remove-brick.server4 server1\ndetach.server4 server1\nhealed.after-leaving server1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			ph, err := c.s.Leave(service.Intent{Leaving: []string{"server4"}})
			if err != nil {
				t.Fatal(err)
			}
			if got := leaveOutline(ph); got != c.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, c.want)
			}
		})
	}
}

// The volume is mounted there no more once it leaves.
func TestWhatWaitsOnAHeadThatLeavesIsLookedUpByAnotherBeforeItUnmounts(t *testing.T) {
	s := live(cluster(3), 3)
	s.heads[0].pending, s.heads[0].stuck = 2, lookUpAfter
	s.heads[1].answers = service.Unsure
	ph, err := s.Leave(service.Intent{Leaving: []string{"server1"}})
	if got := leaveOutline(ph); err != nil || !strings.HasPrefix(got, "lookup server3\nmount-retry server1\nunmount server1\nremove-brick.server1 server2\n") {
		t.Errorf("%v\n%s", err, got)
	}
}

func TestACopyThatIsNeededStays(t *testing.T) {
	last := []string{"server1"}
	for name, c := range map[string]struct {
		s      *State
		leaves []string
		reason string
	}{
		"the only one":           {live(cluster(1), 1), last, "the last 1 of 1 copies"},
		"all of two":             {live(cluster(2), 2), []string{"server1", "server2"}, "the last 2 of 2 copies"},
		"another does not run":   {func() *State { s := live(cluster(3), 3); s.heads[1].running = service.No; return s }(), last, "of the 2 copies that stay 1 serve (server3)"},
		"another is not in it":   {live(cluster(3), 2), last, "1 of the 2 heads that stay have a copy"},
		"files in split-brain":   {func() *State { s := live(cluster(3), 3); s.heads[1].splits = 2; return s }(), last, "2 files are in split-brain"},
		"the file asks for it":   {func() *State { s := live(cluster(3), 3); s.conf.ReplicaCount = config.Count(3); return s }(), last, "replica_count is 3, and 2 heads"},
		"no books could be read": {unread(3), last, "written down on server3"},
		"those of one that stays": {func() *State {
			s := live(cluster(3), 3)
			s.heads[1].vol, s.heads[1].store = nil, service.Unsure
			return s
		}(), last, "1 of the 2 heads that stay have a copy"},
		"glusterd is not there": {func() *State { s := live(cluster(3), 3); s.heads[2].daemon = service.Unsure; return s }(), last, "of the 2 copies that stay 1 serve (server2)"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.s.Leave(service.Intent{Leaving: c.leaves})
			var refused *service.Refusal
			if !errors.As(err, &refused) || !strings.Contains(refused.Reason, c.reason) || refused.Remedy == "" {
				t.Errorf("%v, want %q", err, c.reason)
			}
		})
	}
}

// unread are heads whose disks answer nothing about the volume.
func unread(n int) *State {
	s := live(cluster(n), n)
	for i := range s.heads {
		s.heads[i].vol, s.heads[i].store = nil, service.Unsure
	}
	return s
}

func TestAWitnessStaysWhileNobodyKnowsWhetherItHasABrick(t *testing.T) {
	s := unread(2)
	s.witnesses = []head{{name: "witness1", brick: true, witness: true, reached: true, store: service.No}}
	var refused *service.Refusal
	if _, err := s.Leave(service.Intent{Leaving: []string{"witness1"}}); !errors.As(err, &refused) {
		t.Errorf("%v", err)
	}
}

// A brick that the volume has under another address is not found there: its head would be
// taken for one that has left, and its files be put aside.
func TestAHeadWhoseBrickTheVolumeHasElsewhereStays(t *testing.T) {
	old := "198.51.100.4"
	moved := func(s *State, h *head) {
		v := s.seen()
		for i, b := range v.Bricks {
			if b == s.own(h) {
				v.Bricks[i].Host = old
			}
		}
		for i := range s.heads {
			if s.heads[i].name != h.name {
				s.heads[i].peers = []peer{{UUID: h.uuid, State: peerInCluster, Names: []string{old}}}
			}
		}
	}
	for name, c := range map[string]struct {
		change func(s *State)
		leaves string
	}{
		"known by its identity": {func(s *State) { moved(s, &s.heads[1]) }, "server2"},
		"gone, known by its name": {func(s *State) {
			moved(s, &s.heads[1])
			s.heads[0].peers[0].Names = []string{old, "server2"}
			away(&s.heads[1])
			s.heads[1].dead = "a person says so"
		}, "server2"},
		"the brick goes by the name":      {func(s *State) { old = "server2"; moved(s, &s.heads[1]); old = "198.51.100.4" }, "server2"},
		"the brick has another path":      {func(s *State) { s.seen().Bricks[1].Path = "-srv-brick" }, "server2"},
		"a witness":                       {func(s *State) { moved(s, &s.witnesses[0]) }, "witness1"},
		"a witness, and a head with it":   {func(s *State) { moved(s, &s.witnesses[0]) }, "server2 witness1"},
		"its address is another's by now": {func(s *State) { moved(s, &s.heads[1]); s.witnesses[0].addr = netip.MustParseAddr(old) }, "server2"},
	} {
		t.Run(name, func(t *testing.T) {
			s := voting(live(cluster(2), 2))
			c.change(s)
			_, err := s.Leave(service.Intent{Leaving: strings.Fields(c.leaves)})
			var refused *service.Refusal
			if !errors.As(err, &refused) || !strings.Contains(refused.Reason, "is part of the volume as") {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("a witness that up finds there keeps its brick", func(t *testing.T) {
		s := voting(live(cluster(2), 2))
		moved(s, &s.witnesses[0])
		ph, err := s.Plan(service.Intent{Mode: service.Auto})
		if got := leaveOutline(ph); err != nil || strings.Contains(got, "leave.") || strings.Contains(got, "detach") {
			t.Errorf("%v\n%s", err, got)
		}
	})
}

// glusterd says of an address that it does not know that it is not part of the cluster.
func TestAMemberThatIsStillThereHasNotLeft(t *testing.T) {
	s := live(cluster(3), 3)
	for name, still := range map[string]bool{"crossed off later": false, "known by another address": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := hosttest.New("server1").File(peersDir+"/uuid-3", "uuid=uuid-3\nstate=3\nhostname1=198.51.100.4\n")
				m.OnRun("gluster", func(host.Cmd) (string, error) {
					if still {
						return "<cliOutput><opRet>-1</opRet><opErrno>30801</opErrno><opErrstr>192.0.2.13 is not part of cluster</opErrstr></cliOutput>", nil
					}
					time.AfterFunc(5*time.Second, func() { _ = m.Remove(context.Background(), peersDir+"/uuid-3") })
					return "<cliOutput><opRet>0</opRet></cliOutput>", nil
				})
				_, err := s.detachHead("server1", &s.heads[2]).Action.Do(t.Context(), m)
				if (err != nil) != still || err != nil && !strings.Contains(err.Error(), "server3 (192.0.2.13) is no member") {
					t.Errorf("%v", err)
				}
			})
		})
	}
}

// Of a head without a brick glusterd's books are not read at all.
func TestAHeadThatOnlyMountsLeaves(t *testing.T) {
	s := live(cluster(4), 3)
	s.heads[3].brick, s.heads[3].vol, s.heads[3].store = false, nil, service.Unsure
	ph, err := s.Leave(service.Intent{Leaving: []string{"server4"}})
	if got := leaveOutline(ph); err != nil || !strings.Contains(got, "unmount server4") || strings.Contains(got, "remove-brick") {
		t.Errorf("%v\n%s", err, got)
	}
}

func TestAHeadThatLeftHasNothingToLeave(t *testing.T) {
	ph, err := cluster(3).Leave(service.Intent{Leaving: []string{"server3"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := leaveOutline(ph); strings.Contains(got, "remove-brick") || strings.Contains(got, "detach") {
		t.Errorf("%s", got)
	}
}

// markQuery asks which volume a directory is a brick of, and volumeMark is what it prints
// of one of ours.
const (
	markQuery  = "getfattr --absolute-names -e hex -n trusted.glusterfs.volume-id"
	volumeMark = "# file: /data/glusterfs/brick\ntrusted.glusterfs.volume-id=0x517601f7cd654007b0fc1c2b077731c8\n"
)

// brickOnWith is a machine whose brick has that written down about one entry of another
// head's copy, and whose glusterd says that nothing waits to be healed.
func brickOnWith(name string, about *head, value string) *hosttest.Machine {
	const gfid = "5e1f0a52-0a9e-4d0f-8f57-5bd0d4a3bd10"
	m := hosttest.New(name).Answer("gluster", `<cliOutput><opRet>0</opRet><healInfo><bricks><brick><name>x</name><status>Connected</status>`+healCounts("0", "0", "0", "0")+`</brick></bricks></healInfo></cliOutput>`).
		File("/data/glusterfs/brick/.glusterfs/indices/xattrop/"+gfid, "")
	m.File(fmt.Sprintf("/var/lib/glusterd/vols/shared_data/bricks/%s:-data-glusterfs-brick", about.addr), "brick-id=shared_data-client-7\n")
	return m.Answer(markQuery, volumeMark).Answer("getfattr", "# file: x\ntrusted.afr.shared_data-client-7=0x"+value+"\n")
}

// What the brick that stays has written down about another one counts too.
func TestABrickLeavesOnlyWhileNoCopyThatStaysIsSaidToLackAnything(t *testing.T) {
	s := live(cluster(3), 3)
	stay := []*head{&s.heads[0], &s.heads[1]}
	for value, equal := range map[string]bool{"000000000000000000000000": true, "000000020000000000000000": false} {
		ok, state, err := s.equal("server1", stay).Until(t.Context(), brickOnWith("server1", &s.heads[1], value))
		if ok != equal || err != nil || !equal && !strings.Contains(state, "the copy on server2 lacks") {
			t.Errorf("%s: %v %q %v", value, ok, state, err)
		}
	}
	copying := hosttest.New("server1").Answer("gluster", `<cliOutput><opRet>0</opRet><healInfo><bricks><brick><name>x</name><status>Connected</status>`+healCounts("1", "0", "0", "1")+`</brick></bricks></healInfo></cliOutput>`)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	stage := s.takeOut("server1", s.seen(), &s.heads[2], stay)
	if _, err := stage.Steps[0].Action.Do(ctx, copying); err == nil || len(copying.Changes()) > 0 {
		t.Errorf("taken out while a file is being copied: %v %v", err, copying.Changes())
	}
}

// goneForGood makes heads ones of which a person says that they are off for good.
func goneForGood(s *State, heads ...int) *State {
	for _, i := range heads {
		away(&s.heads[i])
		s.heads[i].dead = "a person says so"
	}
	return s
}

// What was acknowledged last may be on the lost copies alone.
func TestWhatStaysAfterALossIsAQuorum(t *testing.T) {
	loose := func(s *State) *State { s.seen().Options[quorumOption] = "none"; return s }
	for name, c := range map[string]struct {
		s       *State
		leaves  string
		refused bool
	}{
		"the second of two":                          {goneForGood(live(cluster(2), 2), 1), "server2", false},
		"the first of two":                           {goneForGood(live(cluster(2), 2), 0), "server1", true},
		"the first of two, and a person accepted it": {loose(goneForGood(live(cluster(2), 2), 0)), "server1", false},
		"the first of two, beside an arbiter":        {goneForGood(voting(live(cluster(2), 2)), 0), "server1", false},
		"the first of three":                         {goneForGood(live(cluster(3), 3), 0), "server1", false},
		"two of three":                               {goneForGood(live(cluster(3), 3), 1, 2), "server2 server3", true},
		"one of four":                                {goneForGood(live(cluster(4), 4), 0), "server1", false},
		"two of four, the first stays":               {goneForGood(live(cluster(4), 4), 2, 3), "server3 server4", false},
		"two of four, the first among them":          {goneForGood(live(cluster(4), 4), 0, 3), "server1 server4", true},
		"a third goes in order, and is asked":        {goneForGood(live(cluster(5), 5), 0, 1), "server1 server2 server3", false},
		"the first of two leaves in order":           {live(cluster(2), 2), "server1", false},
		"a head that is gone and never had a brick":  {goneForGood(live(cluster(2), 1), 1), "server2", false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.s.Leave(service.Intent{Leaving: strings.Fields(c.leaves), Lost: strings.Fields(c.leaves), Confirmed: true})
			var refused *service.Refusal
			switch {
			case !c.refused && err != nil:
				t.Error(err)
			case c.refused && (!errors.As(err, &refused) || !strings.Contains(refused.Reason, "too few for a quorum") || !strings.Contains(refused.Remedy, "--accept-data-loss")):
				t.Errorf("%v", err)
			}
		})
	}
}

// The remedy that is named leads to where the head can leave.
func TestAfterALossWasAcceptedTheFirstOfTwoLeaves(t *testing.T) {
	s := goneForGood(live(cluster(2), 2), 0)
	s.heads[0].dead = "" // recover needs no proof beside the name
	ph, err := s.Recover(service.Intent{Confirmed: true})
	if got := recovery(ph); err != nil || got != "quorum@server2" {
		t.Fatalf("%q %v", got, err)
	}
	m := hosttest.New("server2").File(volsDir+"/shared_data/info", volumeBooks).
		OnDial("unix", daemonSocket, daemonThat(func(c net.Conn) { _, _ = io.WriteString(c, read(t, "peers-none.rpc")) }))
	set := ""
	m.OnRun("gluster", func(c host.Cmd) (string, error) {
		set = strings.Join(c.Argv, " ")
		return "<cliOutput><opRet>0</opRet></cliOutput>", nil
	})
	for _, st := range ph.Stages {
		for _, step := range st.Steps {
			if f, ok := step.Action.(plan.Func); ok && step.ID == "glusterfs.quorum" {
				if _, err := f.Do(t.Context(), m); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if !strings.HasSuffix(set, "volume set shared_data cluster.quorum-type none") {
		t.Fatalf("set %q", set)
	}
	s.seen().Options[quorumOption] = "none"
	s.heads[0].dead = "a person says so"
	ph, err = s.Leave(service.Intent{Leaving: []string{"server1"}, Lost: []string{"server1"}, Confirmed: true})
	if got := leaveOutline(ph); err != nil || got != "remove-brick.server1 server2\ndetach.server1 server2\n" {
		t.Errorf("%v\n%s", err, got)
	}
}

// Nothing is changed for a head that could not leave in the end.
func TestAHeadWhoseBrickDoesNotServeStays(t *testing.T) {
	for name, s := range map[string]*State{"of three": live(cluster(3), 3), "beside an arbiter": voting(live(cluster(2), 2))} {
		t.Run(name, func(t *testing.T) {
			s.heads[1].running = service.No
			_, err := s.Leave(service.Intent{Leaving: []string{"server2"}})
			var refused *service.Refusal
			if !errors.As(err, &refused) || !strings.Contains(refused.Reason, "server2 answers and its brick does not serve") || !strings.Contains(refused.Remedy, "--gone") {
				t.Errorf("%v", err)
			}
		})
	}
	s := live(cluster(3), 2) // it was taken out by a run that was cut off then
	s.heads[2].running, s.heads[2].vol, s.heads[2].store = service.No, s.seen(), service.Yes
	if _, err := s.Leave(service.Intent{Leaving: []string{"server3"}}); err != nil {
		t.Error(err)
	}
}
