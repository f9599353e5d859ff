package slurm

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/plan"
)

func TestAFileNewerThanTheDaemonIsRead(t *testing.T) {
	ctx := context.Background()
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(d time.Duration) host.Attr { return host.Attr{ModTime: start.Add(d)} }
	show := func(active string) string {
		return "ActiveState=" + active + "\nExecMainStartTimestamp=" + start.Format("Mon 2006-01-02 15:04:05.000000 MST") + "\n"
	}
	for _, c := range []struct {
		name    string
		active  string
		machine func(*hosttest.Machine)
		done    bool
	}{
		{"older file", "active", func(m *hosttest.Machine) { m.File("/etc/slurm/slurm.conf", "x", at(-time.Second)) }, true},
		{"newer file", "active", func(m *hosttest.Machine) { m.File("/etc/slurm/slurm.conf", "x", at(time.Second)) }, false},
		{"newer file, read since", "active", func(m *hosttest.Machine) {
			m.File("/etc/slurm/slurm.conf", "x", at(time.Second))
			m.File(loaded, "", at(2*time.Second))
		}, true},
		{"newer than the last reading", "active", func(m *hosttest.Machine) {
			m.File("/etc/slurm/slurm.conf", "x", at(3*time.Second))
			m.File(loaded, "", at(2*time.Second))
		}, false},
		{"not running: it reads when it starts", "inactive", func(m *hosttest.Machine) { m.File("/etc/slurm/slurm.conf", "x", at(time.Second)) }, true},
	} {
		m := hosttest.New("server1").Answer("systemctl show", show(c.active))
		c.machine(m)
		done, err := load{confs: []string{"/etc/slurm/slurm.conf"}}.Done(ctx, m)
		if err != nil || done != c.done {
			t.Errorf("%s: %v %v", c.name, done, err)
		}
	}
}

func TestTheControllerInChargeIsNotRestarted(t *testing.T) {
	for version, want := range map[string]string{
		"slurm-wlm 24.11.5": "run scontrol reconfigure",
		"slurm-wlm 22.05.8": "run systemctl restart slurmctld.service; run scontrol reconfigure",
	} {
		ok := func(host.Cmd) (string, error) { return "", nil }
		m := hosttest.New("server1").Answer("scontrol version", version).
			Answer("scontrol ping", "Slurmctld(primary) at server1 is UP\n").
			OnRun("systemctl restart", ok).OnRun("scontrol reconfigure", ok)
		if _, err := (load{}).Do(context.Background(), m); err != nil {
			t.Fatal(err)
		}
		var ran []string
		for _, c := range m.Changes() {
			if c.Op == "run" {
				ran = append(ran, c.String())
			}
		}
		if got := strings.Join(ran, "; "); got != want {
			t.Errorf("%s: %s", version, got)
		}
	}
}

func TestAControllerThatRefusesWithoutAReasonIsAskedAgain(t *testing.T) {
	for _, c := range []struct {
		says  string
		times int // it says so before it does it
		asked int
		ok    bool
	}{
		{"slurm_reconfigure error: Unspecified error", 1, 2, true},
		{"slurm_reconfigure error: Socket timed out on send/recv operation", 2, 3, true},
		{"slurm_reconfigure error: Unspecified error", 9, reconfigureTries, false},
		{"slurm_reconfigure error: Access/permission denied", 1, 1, false},
	} {
		asked := 0
		m := hosttest.New("server1").Answer("scontrol ping", "Slurmctld(primary) at server1 is UP\n").
			OnRun("scontrol reconfigure", func(host.Cmd) (string, error) {
				if asked++; asked <= c.times {
					return "", hosttest.Exit(1, c.says)
				}
				return "", nil
			})
		if err := reconfigure(t.Context(), m); (err == nil) != c.ok || asked != c.asked {
			t.Errorf("%q %d times: asked %d times, %v", c.says, c.times, asked, err)
		}
	}
}

func TestAControllerThatLockedItselfUpOverItsFilesIsKilled(t *testing.T) {
	for name, tt := range map[string]struct {
		answers bool // it hangs up on what is no message, as one does that is only late
		kills   int
	}{
		"it says nothing": {kills: 1},
		"it is only late": {answers: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				locked, kills := true, 0
				m := hosttest.New("server1").Answer("scontrol ping", "Slurmctld(primary) at server1 is UP\n").
					OnRun("scontrol reconfigure", func(host.Cmd) (string, error) {
						if locked {
							locked = !tt.answers
							return "", hosttest.Exit(1, "slurm_reconfigure error: Socket timed out on send/recv operation")
						}
						return "", nil
					}).
					OnRun("systemctl kill --signal=KILL --kill-whom=main slurmctld.service", func(host.Cmd) (string, error) {
						locked, kills = false, kills+1
						return "", nil
					}).
					OnDial("tcp", "127.0.0.1:6817", func(context.Context) (net.Conn, error) {
						here, there := net.Pipe()
						go func() {
							_, _ = there.Read(make([]byte, 8))
							if tt.answers {
								_ = there.Close()
							}
						}()
						return here, nil
					})
				if err := reconfigure(t.Context(), m); err != nil || kills != tt.kills {
					t.Errorf("killed %d times, %v", kills, err)
				}
			})
		})
	}
}

func TestStateDirectory(t *testing.T) {
	ctx := context.Background()
	const dir = "/mnt/gluster/slurm/state"
	action := ownDir{dir: dir, cluster: "hpc", aside: dir + ".aside", attr: host.Attr{Mode: 0o750, Owner: "slurm", Group: "slurm"}}
	t.Run("another cluster's is not touched", func(t *testing.T) {
		m := hosttest.New("server1").File(dir+"/clustername", "other|12")
		if _, err := action.Done(ctx, m); err == nil || !strings.Contains(err.Error(), "other") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("what was there is there after an undo", func(t *testing.T) {
		m := hosttest.New("server1").File(dir+"/clustername", "hpc|12")
		undo, err := action.Do(ctx, m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := undo.Do(ctx, m); err != nil {
			t.Fatal(err)
		}
		if data, err := m.ReadFile(ctx, dir+"/clustername"); err != nil || string(data) != "hpc|12" {
			t.Errorf("%s %v", data, err)
		}
	})
	t.Run("what was begun is kept aside by an undo", func(t *testing.T) {
		m := hosttest.New("server1").Dir(dir)
		undo, err := action.Do(ctx, m)
		if err != nil {
			t.Fatal(err)
		}
		m.File(dir+"/job_state", "jobs")
		if _, err := undo.Do(ctx, m); err != nil {
			t.Fatal(err)
		}
		if data, err := m.ReadFile(ctx, dir+".aside/job_state"); err != nil || string(data) != "jobs" {
			t.Errorf("%s %v", data, err)
		}
		if left, err := m.ReadDir(ctx, dir); err != nil || len(left) != 0 {
			t.Errorf("%v %v", left, err)
		}
	})
	t.Run("a directory of ours goes", func(t *testing.T) {
		m := hosttest.New("server1").Dir("/mnt/gluster")
		undo, err := action.Do(ctx, m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := undo.Do(ctx, m); err != nil {
			t.Fatal(err)
		}
		if done, err := (plan.Absent{Path: "/mnt/gluster/slurm"}).Done(ctx, m); !done || err != nil {
			t.Errorf("%v %v", done, err)
		}
	})
}

func TestMounted(t *testing.T) {
	ctx := context.Background()
	m := hosttest.New("server1").Dir("/mnt/gluster")
	if ok, err := mounted(ctx, m, "/mnt/gluster"); ok || err != nil {
		t.Errorf("an empty directory: %v %v", ok, err)
	}
	m.Mount("/mnt/gluster", 77)
	if ok, err := mounted(ctx, m, "/mnt/gluster"); !ok || err != nil {
		t.Errorf("a mount: %v %v", ok, err)
	}
	if ok, err := mounted(ctx, m, "/mnt/nothing"); ok || err != nil {
		t.Errorf("nothing: %v %v", ok, err)
	}
}

func TestUnregistered(t *testing.T) {
	got := unregistered("node001 idle\nnode002 idle*\nnode003 drained\nnode004 unknown\n", []string{"node001", "node002", "node003", "node004", "node005"})
	if strings.Join(got, "; ") != "node002 idle*; node004 unknown; node005 unknown to slurmctld" {
		t.Errorf("%q", got)
	}
}
