package gluster

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/service"
)

const volumeBooks = "status=1\nvolume-id=" + volumeID + "\nbrick-0=192.0.2.11:-data-glusterfs-brick\n"

// Force makes a brick of whatever directory is there, so it is looked at once more.
func TestABrickIsStartedByForceOnlyWhereItsDirectoryIsMarked(t *testing.T) {
	for name, tt := range map[string]struct {
		mark   string
		forced bool
	}{
		"it is the volume's":     {volumeMark, true},
		"it is another volume's": {strings.Replace(volumeMark, "517601f7", "00000000", 1), false},
		"it has none":            {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := live(cluster(1), 1)
				m := hosttest.New("server1").File(brickPath+"/file", "x").File(volsDir+"/shared_data/info", volumeBooks).Answer(markQuery, tt.mark)
				forced := false
				m.OnRun("gluster", func(c host.Cmd) (string, error) {
					forced = strings.HasSuffix(strings.Join(c.Argv, " "), "volume start shared_data force")
					m.File(pidDir+"/shared_data/192.0.2.11-data-glusterfs-brick.pid", "915\n").File("/proc/915/status", "Name:\tglusterfsd\nState:\tS (sleeping)\n")
					return "<cliOutput><opRet>0</opRet></cliOutput>", nil
				})
				_, err := s.serving([]string{"server1"}, "")[0].Action.Do(t.Context(), m)
				if forced != tt.forced || (err == nil) != tt.forced {
					t.Errorf("forced %v, %v", forced, err)
				}
			})
		})
	}
}

// A glusterd that hangs uses up the time of the look.
func TestTheMarkOfABrickThatDoesNotRunIsReadWhileGlusterdHangs(t *testing.T) {
	m := hosttest.New("server1").File(brickPath+"/file", "x").File(volsDir+"/shared_data/info", volumeBooks).
		File("/proc/self/mountinfo", "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n").Answer(markQuery, volumeMark)
	m.OnDial("unix", daemonSocket, func(ctx context.Context) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	s := cluster(1)
	h := head{name: "server1", addr: s.heads[0].addr, brick: true, reached: true}
	if observe(ctx, m, &h, s.conf, false); h.dataID != volumeID || h.daemon != service.Unsure {
		t.Errorf("%+v", h)
	}
}

// What keeps recovery from starting bricks by force keeps up from it: force acts on every
// host. A head that up is run for is one that a person wants to serve.
func TestUpForcesNoBrickWhereRecoveryHoldsBack(t *testing.T) {
	byHand := map[string]past{bricksUnit: {state: "inactive", ran: service.Yes}}
	for name, tt := range map[string]struct {
		change func(s *State)
		nodes  []string
		held   string
		noted  bool
	}{
		"a brick died": {func(s *State) { s.heads[0].running = service.No }, nil, "", false},
		"a head cannot be looked at, and all other bricks run": {func(s *State) { away(&s.heads[2]) }, nil, "server3 cannot be looked at", false},
		"a head cannot be looked at, and glusterd reaches it":  {func(s *State) { s.heads[0].running = service.No; away(&s.heads[2]) }, nil, "server3 cannot be looked at", true},
		"glusterd does not reach it either": {func(s *State) {
			s.heads[0].running = service.No
			away(&s.heads[2])
			s.heads[0].down, s.heads[1].down = []string{"192.0.2.13"}, []string{"192.0.2.13"}
		}, nil, "", false},
		"a person stopped the brick of a head that up is not for": {func(s *State) {
			s.heads[0].running, s.heads[2].running, s.heads[2].past = service.No, service.No, byHand
		}, []string{"server1", "server2"}, "a person stopped that of server3", true},
		"of one that it is for": {func(s *State) {
			s.heads[0].running, s.heads[2].running, s.heads[2].past = service.No, service.No, byHand
		}, nil, "", false},
		"all were stopped in order": {func(s *State) {
			stopped(s)
			for i := range s.heads {
				s.heads[i].past = byHand
			}
		}, nil, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := live(cluster(3), 3)
			tt.change(s)
			intent := service.Intent{Mode: service.Auto, Nodes: tt.nodes}
			b, err := s.decide(intent)
			if err != nil || !strings.Contains(b.unforced, tt.held) || (b.unforced == "") != (tt.held == "") {
				t.Errorf("held by %q (%v), want %q", b.unforced, err, tt.held)
			}
			if noted := strings.Contains(strings.Join(s.notes(b, intent), ""), "by force"); noted != tt.noted {
				t.Errorf("noted %v", noted)
			}
		})
	}
}
