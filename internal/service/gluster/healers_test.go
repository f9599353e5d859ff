package gluster

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/service"
)

func TestSelfHealDaemonsAreStartedAnewWhereAHealStands(t *testing.T) {
	for name, tt := range map[string]struct {
		edit func(s *State)
		want string
	}{
		"a heal stands":              {func(*State) {}, "server1 server2 server3"},
		"not for long":               {func(s *State) { s.heads[0].stuck = healersAfter - time.Second }, ""},
		"nothing waits":              {func(s *State) { s.heads[0].pending = 0 }, ""},
		"a brick is away":            {func(s *State) { s.heads[2].running = service.No }, ""},
		"one does not see the other": {func(s *State) { s.heads[1].down = []string{"192.0.2.13"} }, ""},
		"one does not see the other, whose address is another in the file": {func(s *State) {
			s.heads[1].down, s.heads[1].peers = []string{"server3.lab"}, []peer{{UUID: "uuid-3", Names: []string{"server3.lab"}}}
		}, ""},
		"who is away is nobody that is known": {func(s *State) { s.heads[1].down = []string{"198.51.100.9"} }, ""},
		"who is away is in the pool and has no brick": {func(s *State) {
			s.heads[1].down, s.heads[1].peers = []string{"198.51.100.9"}, []peer{{UUID: "spare", Names: []string{"198.51.100.9"}}}
		}, "server1 server2 server3"},
		"who is away is a witness without a brick": {func(s *State) {
			beside(s)
			s.heads[1].down = []string{"192.0.2.31"}
		}, "server1 server2 server3"},
		"who is away has a brick and is not in the file": {func(s *State) {
			v := s.seen()
			v.Bricks = append(v.Bricks, brickAt("198.51.100.9", "/data/glusterfs/brick"))
			s.heads[1].down, s.heads[1].peers = []string{"198.51.100.9"}, []peer{{UUID: "other", Names: []string{"198.51.100.9"}}}
		}, ""},
		"a head only mounts":         {func(s *State) { s.heads[2].brick = false }, "server1 server2"},
		"a glusterd does not answer": {func(s *State) { s.heads[1].daemon = service.Unsure }, "server1 server3"},
	} {
		t.Run(name, func(t *testing.T) {
			s := live(cluster(3), 3)
			s.heads[0].pending, s.heads[0].stuck = 2, time.Hour
			tt.edit(s)
			var on []string
			for _, st := range s.healers(service.Intent{}) {
				for _, step := range st.Steps {
					on = append(on, step.Host)
				}
			}
			if got := strings.Join(on, " "); got != tt.want {
				t.Errorf("on %q, want %q", got, tt.want)
			}
		})
	}
}

func TestASelfHealDaemonIsEndedOnceForWhatStands(t *testing.T) {
	const file = "/run/gluster/shd/shared_data/shared_data-shd.pid"
	for name, tt := range map[string]struct {
		age     time.Duration // of the daemon
		argv    string        // of the process that has its number
		ended   bool
		started bool
	}{
		"it was there when it stood":   {time.Hour, "/usr/sbin/glusterfs\x00-s\x00localhost\x00--volfile-id\x00shd/shared_data\x00", true, true},
		"it is another's number":       {time.Hour, "/usr/sbin/mariadbd\x00", false, true},
		"another volume's":             {time.Hour, "glusterfs\x00shd/shared_data2\x00", false, true},
		"it was started anew since":    {time.Minute, "glusterfs\x00shd/shared_data\x00", false, false},
		"there is none":                {-1, "", false, true},
		"it ended and left its number": {time.Hour, "", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			m := hosttest.New("server1")
			m.Clock(func() time.Time { return time.Now().Add(-tt.age) })
			if tt.age >= 0 {
				m.File(file, "1108\n")
			}
			if tt.argv != "" {
				m.File("/proc/1108/cmdline", tt.argv)
			}
			killed, started := false, false
			m.OnRun("kill -KILL 1108", func(host.Cmd) (string, error) { killed = true; return "", nil })
			m.File(volsDir+"/shared_data/info", threeBricks("1")).Answer("gluster", brickStatus("1", "1", "1"))
			m.OnRun("gluster", func(c host.Cmd) (string, error) {
				started = strings.Contains(strings.Join(c.Argv, " "), "volume start shared_data force")
				return "<cliOutput><opRet>0</opRet></cliOutput>", nil
			})
			s := live(cluster(3), 3)
			s.conf.VolumeName = "shared_data"
			a := s.newHealer(10 * time.Minute)
			done, err := a.Done(t.Context(), m)
			if err == nil && !done {
				_, err = a.Do(t.Context(), m)
			}
			if err != nil || killed != tt.ended || started != tt.started {
				t.Errorf("%v: killed %v, started %v", err, killed, started)
			}
		})
	}
}

// threeBricks is what glusterd's store says of a volume in that state.
func threeBricks(status string) string {
	return "status=" + status + "\nvolume-id=" + volumeID + "\nbrick-0=192.0.2.11:-data-glusterfs-brick\nbrick-1=192.0.2.12:-data-glusterfs-brick\nbrick-2=192.0.2.13:-data-glusterfs-brick\n"
}

// brickStatus is glusterd's word of its bricks, and of what else it runs; what is empty it
// does not name.
func brickStatus(status ...string) string {
	out := "<cliOutput><opRet>0</opRet><volStatus><volumes><volume>"
	for i, st := range status {
		if st != "" {
			out += fmt.Sprintf("<node><hostname>192.0.2.%d</hostname><path>/data/glusterfs/brick</path><status>%s</status></node>", 11+i, st)
		}
	}
	return out + "<node><hostname>Self-heal Daemon</hostname><path>localhost</path><status>0</status></node></volume></volumes></volStatus></cliOutput>"
}

// What starts a self-heal daemon anew starts bricks by force too.
func TestASelfHealDaemonIsLeftAloneWhileABrickIsDown(t *testing.T) {
	for name, tt := range map[string]struct {
		volume, status string
		done           bool
	}{
		"all serve":                   {threeBricks("1"), brickStatus("1", "1", "1"), true},
		"one is down":                 {threeBricks("1"), brickStatus("1", "0", "1"), false},
		"one's host is silent":        {threeBricks("1"), brickStatus("1", "1", ""), false},
		"the volume was stopped":      {threeBricks("2"), brickStatus("1", "1", "1"), false},
		"the volume is there no more": {"", brickStatus("1", "1", "1"), false},
		"glusterd refuses to say":     {threeBricks("1"), "<cliOutput><opRet>-1</opRet><opErrstr>Locking failed</opErrstr></cliOutput>", false},
	} {
		t.Run(name, func(t *testing.T) {
			m := hosttest.New("server1").File("/run/gluster/shd/shared_data/shared_data-shd.pid", "1108\n").
				File("/proc/1108/cmdline", "glusterfs\x00shd/shared_data\x00").Answer("gluster", tt.status)
			if tt.volume != "" {
				m.File(volsDir+"/shared_data/info", tt.volume)
			}
			killed, started := false, false
			m.OnRun("kill -KILL 1108", func(host.Cmd) (string, error) { killed = true; return "", nil })
			m.OnRun("gluster", func(host.Cmd) (string, error) { started = true; return "<cliOutput><opRet>0</opRet></cliOutput>", nil })
			if _, err := live(cluster(3), 3).newHealer(time.Hour).Do(t.Context(), m); err != nil || killed != tt.done || started != tt.done {
				t.Errorf("%v: killed %v, started %v", err, killed, started)
			}
		})
	}
}
