package gluster

import (
	"context"
	"strings"
	"testing"

	"multihead/internal/host"
	"multihead/internal/host/hosttest"
)

func TestOnlyWhatABrickHadBegunToMakeIsRemoved(t *testing.T) {
	const gfid = "e62fa9eb-9eb6-43d3-b6ee-dd786a80b1d6"
	dir := "/data/brick/.glusterfs/e6/2f/" + gfid
	m := hosttest.New("server1").
		File(dir+"/torn", "").
		File(dir+"/empty", "").      // with an identity
		File(dir+"/full", "1 2 3").  // somebody's, whatever it is
		File(dir+"/unreadable", ""). // asked, and nobody knows
		Dir(dir + "/directory")
	m.OnQuery("getfattr", func(cmd host.Cmd) (string, error) {
		name := cmd.Argv[len(cmd.Argv)-1]
		switch {
		case strings.HasSuffix(name, "/torn"):
			return "", &host.ExitError{Host: "server1", Code: 1, Stderr: name + ": trusted.gfid: No such attribute\n"}
		case strings.HasSuffix(name, "/unreadable"):
			return "", &host.ExitError{Host: "server1", Code: 1, Stderr: name + ": Input/output error\n"}
		}
		return "trusted.gfid=0xda7268ac20d74827b97716f352e0b164\n", nil
	})
	s := &State{}
	s.conf.BrickPath = "/data/brick"
	a := s.removeTorn(&head{name: "server1"}, []string{gfid, "00000000-0000-0000-0000-000000000001"})
	if done, err := a.Done(context.Background(), m); done || err != nil {
		t.Fatalf("nothing to do: %v %v", done, err)
	}
	if _, err := a.Do(context.Background(), m); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"torn": true, "empty": false, "full": false, "unreadable": false, "directory": false} {
		if gone(t, m, dir+"/"+name) != want {
			t.Errorf("%s: gone is not %v", name, want)
		}
	}
	if done, err := a.Done(context.Background(), m); !done || err != nil {
		t.Errorf("it is never done: %v %v", done, err)
	}
}

func TestWhatWasMadeWholeMeanwhileStays(t *testing.T) {
	const gfid = "e62fa9eb-9eb6-43d3-b6ee-dd786a80b1d6"
	dir := "/data/glusterfs/brick/.glusterfs/e6/2f/" + gfid
	for name, tt := range map[string]struct {
		change func(m *hosttest.Machine, asked int) (identity bool)
		stays  bool
	}{
		"nothing happened":    {func(*hosttest.Machine, int) bool { return false }, false},
		"it has an identity":  {func(_ *hosttest.Machine, asked int) bool { return asked > 1 }, true},
		"it is empty no more": {func(m *hosttest.Machine, _ int) bool { m.File(dir+"/torn", "x"); return false }, true},
		"the brick runs again": {func(m *hosttest.Machine, _ int) bool {
			m.File(pidDir+"/shared_data/192.0.2.11-data-glusterfs-brick.pid", "915\n").File("/proc/915/status", "Name:\tglusterfsd\nState:\tS (sleeping)\n")
			return false
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			m, asked := hosttest.New("server1").File(dir+"/torn", ""), 0
			m.OnQuery("getfattr", func(host.Cmd) (string, error) {
				if asked++; tt.change(m, asked) {
					return "trusted.gfid=0xda7268ac20d74827b97716f352e0b164\n", nil
				}
				return "", hosttest.Exit(1, "trusted.gfid: No such attribute\n")
			})
			s := live(cluster(1), 1)
			if _, err := s.removeTorn(&s.heads[0], []string{gfid}).Do(t.Context(), m); err != nil || gone(t, m, dir+"/torn") == tt.stays {
				t.Errorf("it stays: %v (%v)", !tt.stays, err)
			}
		})
	}
}
