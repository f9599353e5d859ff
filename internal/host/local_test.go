package host_test

import (
	"os/user"
	"testing"

	"multihead/internal/host"
	"multihead/internal/host/hosttest"
)

func TestLocalSuite(t *testing.T) {
	t.Setenv("MULTIHEAD_LEAK", "must not reach a command")
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId(me.Gid)
	if err != nil {
		t.Fatal(err)
	}
	hosttest.Suite(t, func(t *testing.T) hosttest.Subject {
		return hosttest.Subject{Host: host.NewLocal("here"), Dir: t.TempDir(), Commands: true, Owner: me.Username, Group: group.Name}
	})
}
