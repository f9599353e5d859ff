package agent

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"multihead/internal/config"
)

func TestAHeadIsSilentOnlyToAllOfAMajority(t *testing.T) {
	now := time.Unix(1000, 0)
	old, fresh := now.Add(-freshFor-time.Second), now.Add(-100*time.Millisecond)
	saysMute := func(at time.Time, names ...string) heard { return heard{Beat{Mute: names}, at} }
	for _, tt := range []struct {
		name  string
		peers map[string]heard
		mute  []string // to this agent, server1 among them
		want  bool
	}{
		{"all find it", map[string]heard{"server3": saysMute(fresh, "server1"), "server4": saysMute(fresh, "server1"), "witness1": saysMute(fresh, "server1")}, nil, true},
		{"one hears its kernel", map[string]heard{"server3": saysMute(fresh, "server1"), "server4": saysMute(fresh), "witness1": saysMute(fresh, "server1")}, nil, false},
		{"it is this one that is cut off", map[string]heard{"server3": saysMute(old), "server4": saysMute(old), "witness1": saysMute(old)}, []string{"server3", "server4", "witness1"}, false},
		{"two fall silent at once", map[string]heard{"server3": saysMute(fresh), "server4": saysMute(fresh, "server1", "server3"), "witness1": saysMute(fresh, "server3", "server1")}, []string{"server3"}, true},
		{"two of five are no majority", map[string]heard{"server3": saysMute(old), "server4": saysMute(old), "witness1": saysMute(fresh, "server1")}, []string{"server3", "server4"}, false},
		{"who is not heard is not asked", map[string]heard{"server3": saysMute(fresh, "server1"), "server4": saysMute(old), "witness1": saysMute(fresh, "server1")}, nil, true},
		{"who stands with others does not count", map[string]heard{"server3": saysMute(fresh, "server1"), "server4": {Beat{Mute: []string{"server1"}, With: []string{"server4"}}, fresh}, "witness1": saysMute(old)}, nil, false},
		{"nobody else is heard", nil, nil, false},
	} {
		e := Electorate{Self: "server2", Heads: []string{"server1", "server2", "server3", "server4"}, Peers: []string{"server1", "server3", "server4", "witness1"}}
		if got := silentToAll(e, "server1", append([]string{"server1"}, tt.mute...), tt.peers, now); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	two := Electorate{Self: "server2", Heads: []string{"server1", "server2"}, Peers: []string{"server1"}}
	if silentToAll(two, "server1", []string{"server1"}, map[string]heard{"server1": saysMute(old)}, now) {
		t.Error("one of two alone is more than half")
	}
}

// agentOfFour is an agent that nothing was started of.
func agentOfFour(t *testing.T) *Agent {
	t.Helper()
	c := &config.Cluster{}
	for _, name := range []string{"server1", "server2", "server3", "server4"} {
		c.Nodes.Controllers = append(c.Nodes.Controllers, config.Controller{HostSpec: config.HostSpec{Hostname: name}})
	}
	a, err := New(Options{Name: "server2", Cluster: c, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestSilenceIsSeenOnceAndEndsWhenTheHeadIsHeard(t *testing.T) {
	a := agentOfFour(t)
	now := time.Now()
	for _, name := range []string{"server3", "server4"} {
		a.peers[name] = heard{Beat{Mute: []string{"server1"}}, now}
	}
	a.peers["server1"] = heard{at: now.Add(-muteFor / 2)}
	a.mutes.since["server1"] = now.Add(-muteFor - time.Millisecond)
	if got := a.fellSilent(a.electorate, now); len(got) != 0 {
		t.Errorf("said something %s ago, and is silent: %v", muteFor/2, got)
	}
	a.peers["server1"] = heard{at: now.Add(-muteFor)}
	urgent := a.mutes.urgent
	got := a.fellSilent(a.electorate, now)
	if len(got) != 1 || got[0].Head.Hostname != "server1" {
		t.Fatalf("silent: %+v", got)
	}
	select {
	case <-urgent:
	default:
		t.Error("the others are told with the next beat only")
	}
	if got := a.fellSilent(a.electorate, now); len(got) != 0 {
		t.Errorf("seen twice: %v", got)
	}
	a.outlive(context.Background(), got[0])
	ended := make(chan struct{})
	cancel := a.mutes.outlived["server1"]
	a.mutes.outlived["server1"] = func() { cancel(); close(ended) }
	a.acknowledges("server1")
	a.fellSilent(a.electorate, now)
	select {
	case <-ended:
	default:
		t.Error("goes on for a head that is heard")
	}
	a.mutes.since["server1"] = now.Add(-muteFor)
	if got := a.fellSilent(a.electorate, now); len(got) != 1 {
		t.Errorf("silent again: %v", got)
	}
}

func TestWhatEndsAConnectionSaysWhetherTheKernelLives(t *testing.T) {
	for _, tt := range []struct {
		err   error
		mutes bool // it stays mute
	}{
		{&net.OpError{Op: "write", Err: os.ErrDeadlineExceeded}, true},
		{&net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.ETIMEDOUT)}, true},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}, true},
		{&net.OpError{Op: "dial", Err: context.DeadlineExceeded}, true},
		{&net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.ECONNABORTED)}, true}, // by this host
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, false},
		{&net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.ECONNRESET)}, false},
		{&net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.EPIPE)}, true}, // of what this kernel gave up, or the other one's end: dialling it will tell
		{&net.OpError{Op: "write", Err: net.ErrClosed}, true},
	} {
		a := agentOfFour(t)
		a.mutes.since["server1"] = time.Now()
		if a.ended("server1", tt.err) == nil {
			t.Errorf("%v is lost", tt.err)
		}
		if _, still := a.mutes.since["server1"]; still != tt.mutes {
			t.Errorf("after %v it is mute: %v", tt.err, still)
		}
	}
}

func TestAnAcknowledgedBeatIsSeenThoughNobodyReadsIt(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("beat")); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		waits, err := unacknowledges(c)
		if err != nil {
			t.Fatal(err)
		}
		if !waits {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the kernel of an agent that hangs acknowledges nothing")
		}
	}
}

func TestAConnectionThatHasEndedSaysNothingOfThePeer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if waits, err := unacknowledges(c); err == nil {
		t.Errorf("it is taken for an answer: waits %v", waits)
	}
}
