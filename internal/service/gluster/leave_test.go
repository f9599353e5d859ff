package gluster

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"multihead/internal/config"
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
	for name, c := range map[string]struct {
		s    *State
		want string
	}{
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

func TestACopyThatIsNeededStays(t *testing.T) {
	last := []string{"server1"}
	for name, c := range map[string]struct {
		s      *State
		leaves []string
		reason string
	}{
		"the only one":          {live(cluster(1), 1), last, "the last 1 of 1 copies"},
		"all of two":            {live(cluster(2), 2), []string{"server1", "server2"}, "the last 2 of 2 copies"},
		"another does not run":  {func() *State { s := live(cluster(3), 3); s.heads[1].running = service.No; return s }(), last, "of the 2 copies that stay 1 serve (server3)"},
		"another is not in it":  {live(cluster(3), 2), last, "1 of the 2 heads that stay have a copy"},
		"files in split-brain":  {func() *State { s := live(cluster(3), 3); s.heads[1].splits = 2; return s }(), last, "2 files are in split-brain"},
		"the file asks for it":  {func() *State { s := live(cluster(3), 3); s.conf.ReplicaCount = config.Count(3); return s }(), last, "replica_count is 3, and 2 heads"},
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

func TestAHeadThatLeftHasNothingToLeave(t *testing.T) {
	ph, err := cluster(3).Leave(service.Intent{Leaving: []string{"server3"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := leaveOutline(ph); strings.Contains(got, "remove-brick") || strings.Contains(got, "detach") {
		t.Errorf("%s", got)
	}
}
