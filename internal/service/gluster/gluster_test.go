package gluster

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"multihead/internal/config"
	"multihead/internal/host/hosttest"
	"multihead/internal/plan"
	"multihead/internal/service"
)

var update = flag.Bool("update", false, "write the golden files anew")

const volumeID = "517601f7-cd65-4007-b0fc-1c2b077731c8"

// cluster is n heads with nothing on them.
func cluster(n int) *State {
	s := &State{conf: config.GlusterFSConfig{VolumeName: "shared_data", BrickPath: "/data/glusterfs/brick", MountPoint: "/mnt/gluster"}}
	for i := range n {
		s.heads = append(s.heads, head{name: fmt.Sprintf("server%d", i+1), addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(11 + i)}),
			brick: true, reached: true, daemon: service.No, store: service.No, data: service.No, running: service.No,
			mounted: service.No, pending: 0, splits: -1})
	}
	return s
}

// live makes the first n heads members of one started volume.
func live(s *State, n int) *State {
	v := &volume{ID: volumeID, Status: volStarted, Replica: n, Options: map[string]string{}}
	for i := range n {
		v.Bricks = append(v.Bricks, s.own(&s.heads[i]))
	}
	if n == 1 {
		v.Options[shdOption] = "off"
	}
	for i := range n {
		h := &s.heads[i]
		h.daemon, h.store, h.vol, h.uuid = service.Yes, service.Yes, v, fmt.Sprintf("uuid-%d", i+1)
		h.data, h.dataID, h.running = service.Yes, volumeID, service.Yes
		h.mounted, h.answers, h.source = service.Yes, service.Yes, h.addr.String()+":/shared_data"
	}
	return s
}

// stopped switches the heads of a volume off in order.
func stopped(s *State) *State {
	for i := range s.heads {
		h := &s.heads[i]
		h.daemon, h.running, h.mounted, h.answers = service.No, service.No, service.No, service.Unsure
	}
	return s
}

func away(h *head) {
	*h = head{name: h.name, addr: h.addr, brick: h.brick, why: "timed out", pending: -1, splits: -1}
}

func TestDecideForms(t *testing.T) {
	auto := service.Intent{Mode: service.Auto}
	for _, tt := range []struct {
		name    string
		state   *State
		change  func(*State)
		intent  service.Intent
		verdict service.Verdict
		create  string // heads of a new volume
		grow    string // heads whose brick is added
		refused string // part of the reason
	}{
		{name: "four bare heads", state: cluster(4), intent: auto, verdict: service.Form, create: "server1 server2 server3 server4"},
		{name: "one bare head", state: cluster(1), intent: auto, verdict: service.Form, create: "server1"},
		{name: "one of four is away", state: cluster(4), intent: auto, change: func(s *State) { away(&s.heads[3]) }, refused: "what server4 holds is not known"},
		{name: "glusterd hangs on a bare head", state: cluster(4), intent: auto, change: func(s *State) {
			s.heads[2].daemon, s.heads[2].why = service.Unsure, "glusterd does not answer"
		}, refused: "what server3 holds is not known"},
		{name: "the store cannot be read", state: cluster(4), intent: auto, change: func(s *State) { s.heads[2].store = service.Unsure }, refused: "server3"},
		{name: "a brick cannot be listed", state: cluster(2), intent: auto, change: func(s *State) { s.heads[1].data = service.Unsure }, refused: "server2"},
		{name: "a full brick directory and no volume anywhere", state: cluster(2), intent: auto, change: func(s *State) { s.heads[1].data = service.Yes },
			refused: "no reached head knows a volume"},
		{name: "the brick is on the root disk", state: cluster(2), intent: auto, change: func(s *State) { s.heads[1].onRoot = true }, refused: "root file system"},
		{name: "the brick is a mount point", state: cluster(2), intent: auto, change: func(s *State) { s.heads[0].isMount = true }, refused: "itself a mount point"},
		{name: "the mount point holds files", state: cluster(2), intent: auto, change: func(s *State) { s.heads[0].hides = []string{"slurm"} }, refused: "holds slurm"},
		{name: "something else is mounted", state: cluster(2), intent: auto, change: func(s *State) {
			s.heads[0].mounted, s.heads[0].source = service.Yes, "nas:/export"
		}, refused: "something else mounted: nas:/export"},
		{name: "four that live", state: live(cluster(4), 4), intent: auto, verdict: service.Joins},
		{name: "a fifth joins four", state: live(cluster(5), 4), intent: auto, verdict: service.Joins, grow: "server5"},
		{name: "three join one", state: live(cluster(4), 1), intent: auto, verdict: service.Joins, grow: "server2 server3 server4"},
		{name: "only the named head joins", state: live(cluster(4), 1), intent: service.Intent{Mode: service.Auto, Nodes: []string{"server3"}},
			verdict: service.Joins, grow: "server3"},
		{name: "bootstrap beside what lives", state: live(cluster(2), 1), intent: service.Intent{Mode: service.Bootstrap}, refused: "second cluster"},
		{name: "join where nothing lives", state: cluster(2), intent: service.Intent{Mode: service.Join}, refused: "no head is part of a live cluster"},
		{name: "a member is away: no growing", state: live(cluster(4), 3), intent: auto, change: func(s *State) { away(&s.heads[1]) }, refused: "while server2 is not known"},
		{name: "files are in split-brain: no growing", state: live(cluster(4), 3), intent: auto, change: func(s *State) { s.heads[1].splits = 2 }, refused: "2 files are in split-brain"},
		{name: "files are in split-brain, nothing to add", state: live(cluster(3), 3), intent: auto, change: func(s *State) { s.heads[1].splits = 2 }, verdict: service.Joins},
		{name: "a member is away, nothing to add", state: live(cluster(4), 4), intent: auto, change: func(s *State) { away(&s.heads[1]) }, verdict: service.Joins},
		{name: "the joiner has data of its own", state: live(cluster(3), 2), intent: auto, change: func(s *State) { s.heads[2].data = service.Yes },
			refused: "holds data of another cluster"},
		{name: "the joiner's brick is just being added, by a run that was cut off", state: live(cluster(3), 2), intent: auto, change: func(s *State) {
			s.heads[2].data, s.heads[2].dataID = service.Yes, volumeID
		}, verdict: service.Joins, grow: "server3"},
		{name: "the joiner has another volume of that name", state: live(cluster(3), 2), intent: auto, change: func(s *State) {
			s.heads[2].vol, s.heads[2].store = &volume{ID: "other", Status: volStopped}, service.Yes
		}, refused: "holds data of another cluster"},
		{name: "the joiner is in a pool with strangers", state: live(cluster(3), 2), intent: auto, change: func(s *State) {
			s.heads[2].store, s.heads[2].peers = service.Yes, []peer{{UUID: "x", State: 3, Names: []string{"198.51.100.7"}}}
		}, refused: "in a pool with 198.51.100.7"},
		{name: "a member was installed anew", state: live(cluster(3), 3), intent: auto, change: func(s *State) {
			h := &s.heads[2]
			h.vol, h.store, h.uuid, h.data, h.dataID, h.running, h.daemon, h.mounted = nil, service.No, "", service.No, "", service.No, service.No, service.No
		}, refused: "installed anew"},
		{name: "a brick died", state: live(cluster(3), 3), intent: auto, change: func(s *State) { s.heads[2].running = service.No }, verdict: service.Joins},
		{name: "a brick's disk is not mounted", state: live(cluster(3), 3), intent: auto, change: func(s *State) {
			h := &s.heads[2]
			h.running, h.data, h.dataID, h.onRoot = service.No, service.No, "", true
		}, refused: "its disk is not mounted, or was replaced"},
		{name: "a brick's disk is not mounted on a head that the plan is not for", state: live(cluster(3), 3),
			intent: service.Intent{Mode: service.Auto, Nodes: []string{"server1"}}, change: func(s *State) {
				s.heads[2].running, s.heads[2].data, s.heads[2].dataID = service.No, service.No, ""
			}, refused: "server3 has a brick of volume"},
		{name: "a brick's directory is that of another volume", state: live(cluster(3), 3), intent: auto, change: func(s *State) {
			s.heads[1].running, s.heads[1].dataID = service.No, "another"
		}, refused: "belongs to another volume"},
		{name: "a brick's directory has files and no mark of the volume", state: live(cluster(3), 3), intent: auto, change: func(s *State) {
			s.heads[1].running, s.heads[1].dataID = service.No, ""
		}, refused: "has no mark of the volume, or it could not be read"},
		{name: "the mark of a brick that runs was not read", state: live(cluster(3), 3), intent: auto, change: func(s *State) {
			s.heads[1].dataID = ""
		}, verdict: service.Joins},
		{name: "a new head's directory has no mark", state: live(cluster(3), 2), intent: auto, verdict: service.Joins, grow: "server3"},
		{name: "a brick's directory cannot be read", state: live(cluster(3), 3), intent: auto, change: func(s *State) {
			s.heads[1].running, s.heads[1].data, s.heads[1].why = service.No, service.Unsure, "input/output error"
		}, refused: "input/output error"},
		{name: "all stopped in order", state: stopped(live(cluster(4), 4)), intent: auto, verdict: service.Resume},
		{name: "all stopped and one lost", state: stopped(live(cluster(4), 4)), intent: auto, change: func(s *State) { away(&s.heads[0]) },
			refused: "what server1 holds is not known"},
		{name: "the volume is stopped", state: live(cluster(2), 2), intent: auto, change: func(s *State) {
			s.heads[0].vol.Status = volStopped
			s.heads[0].running, s.heads[1].running = service.No, service.No
		}, verdict: service.Resume},
		{name: "made and never started, by a run that was cut off", state: live(cluster(2), 2), intent: auto, change: func(s *State) {
			s.heads[0].vol.Status = volCreated
			s.heads[0].running, s.heads[1].running = service.No, service.No
		}, verdict: service.Resume},
		{name: "a single brick that was made by hand", state: live(cluster(2), 1), intent: auto, change: func(s *State) { delete(s.heads[0].vol.Options, shdOption) },
			refused: "not made by multihead"},
		{name: "the file fixes another number of copies", state: cluster(4), intent: auto, change: func(s *State) { s.conf.ReplicaCount = 3 }, refused: "replica_count is 3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.change != nil {
				tt.change(tt.state)
			}
			b, err := tt.state.decide(tt.intent)
			if tt.refused != "" {
				if !errors.As(err, new(*service.Refusal)) || !strings.Contains(err.Error(), tt.refused) {
					t.Fatalf("got %v, want a refusal with %q", err, tt.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if b.verdict != tt.verdict || strings.Join(b.create, " ") != tt.create || strings.Join(b.grow, " ") != tt.grow {
				t.Errorf("%s, create %v, grow %v", b.verdict, b.create, b.grow)
			}
			if _, err := tt.state.Plan(tt.intent); err != nil {
				t.Errorf("decided, but no plan: %v", err)
			}
		})
	}
}

func TestCommandsGoToADaemonThatAnswers(t *testing.T) {
	s := live(cluster(3), 3)
	s.heads[0].daemon = service.No // its brick goes on without
	b, err := s.decide(service.Intent{Mode: service.Auto})
	if err != nil || b.cli != "server2" {
		t.Errorf("commands go to %q (%v), want server2", b.cli, err)
	}
}

// TestGrowthHealsBetweenBricks guards the order that keeps files from
// splitting: a brick, then its clients, then its heal, then the next brick.
func TestGrowthHealsBetweenBricks(t *testing.T) {
	s := live(cluster(3), 1)
	ph, err := s.Plan(service.Intent{Mode: service.Auto})
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, st := range ph.Stages {
		for _, step := range st.Steps {
			if _, last, ok := strings.Cut(step.ID, "."); ok && strings.Contains(last, ".server") {
				order = append(order, last)
			}
		}
	}
	want := []string{"add-brick.server2", "take-up.server2", "clients-follow.server2", "heal.server2", "healed.server2",
		"add-brick.server3", "take-up.server3", "clients-follow.server3", "heal.server3", "healed.server3"}
	if !slices.Equal(order, want) {
		t.Errorf("order %v\nwant  %v", order, want)
	}
}

func TestOnlyNewBricksAreWaitedForUntilTheyAreHealed(t *testing.T) {
	for _, tt := range []struct {
		name  string
		state *State
		waits bool
	}{
		{"a new volume", cluster(3), true},
		{"a brick is added", live(cluster(3), 2), true},
		{"nothing is added", live(cluster(3), 3), false},
		{"a volume starts again", stopped(live(cluster(3), 3)), false},
		{"a single brick", cluster(1), false},
	} {
		ph, err := tt.state.Plan(service.Intent{Mode: service.Auto})
		if err != nil {
			t.Fatal(err)
		}
		waits := slices.ContainsFunc(ph.Stages, func(st plan.Stage) bool { return st.Name == "healed" })
		if waits != tt.waits {
			t.Errorf("%s: waits %v", tt.name, waits)
		}
	}
}

// healInfo is a machine that answers how much is to be healed.
func healInfo(pending, splits int) *hosttest.Machine {
	return hosttest.New("server1").Answer("gluster", fmt.Sprintf(`<cliOutput><opRet>0</opRet><healInfo><bricks><brick hostUuid="x"><name>192.0.2.11:/b</name><status>Connected</status>
<totalNumberOfEntries>%d</totalNumberOfEntries><numberOfEntriesInHealPending>%d</numberOfEntriesInHealPending><numberOfEntriesInSplitBrain>%d</numberOfEntriesInSplitBrain>
<numberOfEntriesPossiblyHealing>0</numberOfEntriesPossiblyHealing></brick></bricks></healInfo></cliOutput>`, pending+splits, pending, splits))
}

func TestSplitBrainEndsTheWaitForAHealAtOnce(t *testing.T) {
	s := live(cluster(2), 2)
	wait := s.healed("server1", "server2").Action
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := wait.Do(ctx, healInfo(1, 2)); err == nil || !strings.Contains(err.Error(), "2 files are in split-brain") || ctx.Err() != nil {
		t.Errorf("split-brain: %v", err)
	}
	if _, err := wait.Do(ctx, healInfo(0, 0)); err != nil {
		t.Errorf("healed: %v", err)
	}
}

func TestPlanHasNoStepTwice(t *testing.T) {
	for _, s := range []*State{cluster(1), cluster(4), live(cluster(4), 1), live(cluster(4), 4), stopped(live(cluster(2), 2))} {
		ph, err := s.Plan(service.Intent{Mode: service.Auto})
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, st := range (plan.Plan{Phases: []plan.Phase{ph}}).Steps {
			key := st.ID + " on " + st.Host
			if seen[key] {
				t.Errorf("%s stands twice", key)
			}
			seen[key] = true
		}
	}
}

func TestHealthNamesWhatIsWrong(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*State)
		state  service.Word
		reason string
	}{
		{"all serve", func(*State) {}, service.Up, ""},
		{"healing", func(s *State) { s.heads[0].pending = 7 }, service.Degraded, "healing, 7 entries"},
		{"split-brain", func(s *State) { s.heads[0].pending, s.heads[1].splits = 1, 1 }, service.Degraded, "1 files in split-brain"},
		{"a brick died", func(s *State) { s.heads[3].running = service.No }, service.Degraded, "server4: its brick does not run"},
		{"a head is away", func(s *State) { away(&s.heads[3]) }, service.Degraded, "server4: timed out"},
		{"not mounted", func(s *State) { s.heads[1].mounted = service.No }, service.Degraded, "server2: the volume is not mounted"},
		{"another volume is mounted", func(s *State) { s.heads[1].marker = "aaaa other\n" }, service.Degraded, "another one"},
		{"a mount hangs", func(s *State) { s.heads[1].answers = service.Unsure }, service.Degraded, "does not answer in time"},
		{"peers contradict each other", func(s *State) { s.heads[1].rejected = []string{"192.0.2.11"} }, service.Degraded, "peer rejected"},
		{"a brick is being added", func(s *State) { s.heads[0].vol.Options[shdOption] = "off" }, service.Degraded, "run up to finish"},
		{"no quorum", func(s *State) {
			for i := range s.heads {
				s.heads[i].answers = service.No
				if i != 3 {
					s.heads[i].running = service.No
				}
			}
		}, service.Down, "no quorum"},
		{"half with the first serves", func(s *State) {
			for i := range s.heads {
				s.heads[i].answers = service.Unsure
			}
			s.heads[2].running, s.heads[3].running = service.No, service.No
		}, service.Degraded, "does not run"},
		{"stopped", func(s *State) { s.heads[0].vol.Status = volStopped }, service.Down, "the volume is stopped"},
		{"nobody is known", func(s *State) {
			for i := range s.heads {
				away(&s.heads[i])
			}
		}, service.Unknown, "timed out"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := live(cluster(4), 4)
			tt.change(s)
			h := s.Health()
			if h.State != tt.state || !strings.Contains(h.Reason, tt.reason) || (h.State == service.Up) != (h.Reason == "") {
				t.Errorf("%s %q, want %s with %q", h.State, h.Reason, tt.state, tt.reason)
			}
		})
	}
	if h := cluster(2).Health(); h.State != service.Down {
		t.Errorf("bare heads are %s (%s)", h.State, h.Reason)
	}
}

func TestSurvivalIsQuorumArithmetic(t *testing.T) {
	for n, want := range map[int]int{0: 0, 1: 0, 2: 0, 3: 1, 4: 1, 5: 2, 6: 2} {
		if sv := cluster(n).Survival(); sv.AtOnce != want || sv.InTurn != want || sv.DataSafe != max(n-1, 0) {
			t.Errorf("%d heads: %+v, want %d", n, sv, want)
		}
	}
}

func TestStrangersInTheVolumeAreNamed(t *testing.T) {
	s := live(cluster(2), 2)
	s.heads[0].vol.Bricks = append(s.heads[0].vol.Bricks, brickAt("192.0.2.99", "/data/glusterfs/brick"))
	ph, err := s.Plan(service.Intent{Mode: service.Auto})
	if err != nil || !strings.Contains(strings.Join(ph.Notes, "\n"), "192.0.2.99") {
		t.Errorf("notes %q, %v", ph.Notes, err)
	}
}

func TestMountUnitsAreGoldenAndNamedAsSystemdWants(t *testing.T) {
	for path, want := range map[string]string{
		"/mnt/gluster": "mnt-gluster.mount", "/": "-.mount", "/srv//my-data/": `srv-my\x2ddata.mount`,
		"/.hidden/x": `\x2ehidden-x.mount`, "/a b": `a\x20b.mount`, "/공유": `\xea\xb3\xb5\xec\x9c\xa0.mount`, "/a.b_c:d": "a.b_c:d.mount",
	} {
		if got := mountUnit(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	servers := []string{"192.0.2.11", "192.0.2.12", "192.0.2.13"}
	nfs := &plain{kind: config.StorageNFS, dir: "/mnt/shared", nfs: config.NFS{Server: "nas", Export: "/export/hpc"}}
	retry, err := renderRetry("/mnt/gluster")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "retry.service", retry)
	for name, c := range map[string]mountConf{
		"member.mount": glusterMount("shared_data", "/mnt/gluster", "192.0.2.12", servers),
		"client.mount": glusterMount("shared_data", "/mnt/gluster", "192.0.2.50", servers),
		"alone.mount":  glusterMount("shared_data", "/mnt/gluster", "192.0.2.11", servers[:1]),
		"nfs.mount":    nfs.conf(),
	} {
		got, err := renderMount(c)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, got)
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("differs from %s:\n%s", file, got)
	}
}

func TestDirectoriesBelongToWhoWritesThem(t *testing.T) {
	c := &config.Cluster{}
	c.SharedStorage.Type = config.StorageGlusterFS
	c.SharedStorage.GlusterFS = config.GlusterFSConfig{MountPoint: "/mnt/gluster", Directories: []string{"uploads", "slurm/logs", "../x"}}
	c.Slurm.StateSaveLocation = "/mnt/gluster/slurm/state"
	c.Users.SlurmUser = "slurm"
	c.Nodes.Controllers = []config.Controller{{HostSpec: config.HostSpec{Hostname: "server1"}, Services: config.Services{Slurm: true}}}
	var got []string
	for _, d := range directories(c) {
		got = append(got, fmt.Sprintf("%s %s %o", d.path, d.owner, d.mode))
	}
	want := []string{"uploads root 755", "slurm root 755", "slurm/logs slurm 750", "x root 755", "slurm/state slurm 700"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestPlainStorage(t *testing.T) {
	ok := plainHead{name: "server1", reached: true, is: service.Yes, source: "nas:/export", answers: service.Yes}
	with := func(change func(*plainHead)) plainHead { h := ok; change(&h); return h }
	nfs := config.NFS{Server: "nas", Export: "/export"}
	for _, tt := range []struct {
		name, kind string
		head       plainHead
		refused    string
	}{
		{"existing and mounted", config.StorageExisting, ok, ""},
		{"existing and not mounted", config.StorageExisting, with(func(h *plainHead) { h.is = service.No }), "nothing is mounted"},
		{"existing and hung", config.StorageExisting, with(func(h *plainHead) { h.answers = service.Unsure }), "does not answer"},
		{"nfs to be mounted", config.StorageNFS, with(func(h *plainHead) { h.is = service.No }), ""},
		{"nfs mounted", config.StorageNFS, ok, ""},
		{"another export mounted", config.StorageNFS, with(func(h *plainHead) { h.source = "old:/x" }), "something else mounted"},
		{"nfs would hide files", config.StorageNFS, with(func(h *plainHead) { h.is, h.hides = service.No, []string{"jobs"} }), "holds jobs"},
		{"mounts unknown", config.StorageNFS, with(func(h *plainHead) { h.is = service.Unsure }), "not known"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &plain{kind: tt.kind, dir: "/mnt/shared", nfs: nfs, mounted: []plainHead{tt.head}}
			_, err := p.Plan(service.Intent{})
			if tt.refused == "" && err != nil || tt.refused != "" && (err == nil || !strings.Contains(err.Error(), tt.refused)) {
				t.Errorf("got %v, want %q", err, tt.refused)
			}
		})
	}
}

// A brick that a run was cut off from adding is full before the next is added.
func TestABrickIsFullBeforeTheNextIsAdded(t *testing.T) {
	s := live(cluster(3), 2)
	ph, err := s.Plan(service.Intent{Mode: service.Auto})
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, st := range ph.Stages {
		for _, step := range st.Steps {
			order = append(order, step.ID)
		}
	}
	full, add := slices.Index(order, "glusterfs.healed.before-growing"), slices.Index(order, "glusterfs.add-brick.server3")
	if full < 0 || add < 0 || full > add {
		t.Errorf("%v", order)
	}
}
