package gluster

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"multihead/internal/host/hosttest"
)

func TestWhatIsLookedUpIsWhatTheHealKnowsByName(t *testing.T) {
	data, err := os.ReadFile("testdata/heal-info.xml")
	if err != nil {
		t.Fatal(err)
	}
	rep, err := parseReply(string(data))
	if err != nil {
		t.Fatal(err)
	}
	if got := waitingPaths(rep); !slices.Equal(got, []string{"/slurm/state/hash.4/job.1394"}) {
		t.Errorf("%q", got)
	}
}

func TestTheClockOfAHost(t *testing.T) {
	boot := time.Now().Add(-time.Hour).Truncate(time.Second)
	for name, tt := range map[string]struct {
		stat, uptime string
		want         time.Time
	}{
		"of its own":   {fmt.Sprintf("cpu 1 2\nbtime %d\nprocesses 7\n", boot.Unix()), "7200.5 9\n", boot.Add(7200*time.Second + 500*time.Millisecond)},
		"not readable": {"cpu 1 2\n", "x", time.Now()},
	} {
		t.Run(name, func(t *testing.T) {
			m := hosttest.New("server1")
			m.File("/proc/stat", tt.stat)
			m.File("/proc/uptime", tt.uptime)
			if got := clockOf(t.Context(), m); got.Sub(tt.want).Abs() > time.Minute {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}
