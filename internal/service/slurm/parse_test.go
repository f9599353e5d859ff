package slurm

import (
	"context"
	"errors"
	"io/fs"
	"reflect"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"multihead/internal/host"
)

func TestParsePing(t *testing.T) {
	got := parsePing("Slurmctld(primary) at server1 is DOWN\nSlurmctld(backup) at server2 is UP\nnoise\nSlurmctld(backup2) at s3\n")
	want := []ping{{"primary", "server1", false}, {"backup", "server2", true}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestParseHeartbeat(t *testing.T) {
	data := []byte{0, 0, 0, 0, 0x65, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}
	got, err := parseHeartbeat(data)
	if err != nil || got.index != 2 || !got.at.Equal(time.Unix(0x65000000, 0)) {
		t.Errorf("got %v %v", got, err)
	}
	for _, bad := range [][]byte{nil, data[:15], {255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0}} {
		if _, err := parseHeartbeat(bad); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

// refusing is a head whose volume refuses a file for a while.
type refusing struct {
	host.Reader
	until time.Time
	with  error
}

func (r refusing) ReadFile(context.Context, string) ([]byte, error) {
	if time.Now().Before(r.until) {
		return nil, &fs.PathError{Op: "read", Path: beatFile, Err: r.with}
	}
	return []byte{0, 0, 0, 0, 0x65, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}, nil
}

func TestAHeartbeatThatWasJustReplacedIsReadOnceTheHeadKnowsTheNextOne(t *testing.T) {
	for name, tt := range map[string]struct {
		refused time.Duration
		with    error
		want    error
	}{
		"there":                       {},
		"replaced":                    {refused: time.Second, with: syscall.ESTALE},
		"not there":                   {refused: time.Second, with: fs.ErrNotExist, want: fs.ErrNotExist},
		"refused for another reason":  {refused: time.Hour, with: syscall.EIO, want: syscall.EIO},
		"refused for a while as well": {refused: 300 * time.Millisecond, with: syscall.EIO},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got, err := readHeartbeat(t.Context(), refusing{until: time.Now().Add(tt.refused), with: tt.with}, "/state")
				if !errors.Is(err, tt.want) || err == nil && got.index != 2 {
					t.Errorf("%v %v", got, err)
				}
			})
		})
	}
}

func TestParseNodes(t *testing.T) {
	got := parseNodes("node001 idle\nnode001 idle\nnode002 down*\nnode003 mixed\nnode004 drained\nnode005 idle*\nnode006 allocated\n")
	want := nodeCounts{total: 6, idle: 1, busy: 2, drained: 1, down: 2, bad: []string{"node002 down*", "node005 idle*"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestSettings(t *testing.T) {
	got := settings([]byte("# x\nClusterName=hpc # mine\nSTATESAVELOCATION = /a\nNodeName=n1 CPUs=2\n"))
	if got["clustername"] != "hpc" {
		t.Errorf("got %v", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("Slurmctld(primary) at server1 is UP\nnode001 idle*\nClusterName=x\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, p := range parsePing(text) {
			if p.Host == "" {
				t.Fatal("a controller without a name")
			}
		}
		c := parseNodes(text)
		if c.idle+c.busy+c.drained+c.down != c.total {
			t.Fatalf("%+v", c)
		}
		settings([]byte(text))
		_, _ = parseHeartbeat([]byte(text))
	})
}
