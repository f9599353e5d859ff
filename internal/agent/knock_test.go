package agent

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"multihead/internal/host/hosttest"
)

// takes is a port that takes connections and says something on them, or nothing, as the
// kernel of a head does whose processes stand still.
func takes(t *testing.T, says string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	if says != "" {
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				_, _ = c.Write([]byte(says))
				_ = c.Close()
			}
		}()
	}
	return ln.Addr().String()
}

// refuses is a port that nobody listens on, and nobody else will meanwhile.
func refuses(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return address(netip.MustParseAddr("127.0.0.1"), sa.(*syscall.SockaddrInet4).Port)
}

func TestAHeadWhoseAgentIsDeadIsNotOneThatStandsStill(t *testing.T) {
	for _, tt := range []struct{ name, agent, ssh, want string }{
		{"the agent was stopped", refuses(t), refuses(t), "no agent runs"},
		{"the agent hangs", takes(t, ""), takes(t, "SSH-2.0-x\r\n"), "its sshd answers"},
		{"everything stands still", takes(t, ""), takes(t, ""), ""},
		{"the agent hangs, and there is no sshd to tell", takes(t, ""), refuses(t), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if got := signOfLife(ctx, tt.agent, tt.ssh); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestASignOfLifeCountsForMoments(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, tt := range []struct {
		k    *knock
		want string
	}{
		{nil, ""}, {&knock{}, ""}, {&knock{at: now, how: "x"}, "x"}, {&knock{at: now.Add(-livesFor), how: "x"}, "x"}, {&knock{at: now.Add(-livesFor - 1), how: "x"}, ""},
	} {
		if got := tt.k.lives(now); got != tt.want {
			t.Errorf("%+v: %q", tt.k, got)
		}
	}
}

// What a peer said last, and whether it shows that it lives, is what decides.
func TestWhoIsAskedForASignOfLife(t *testing.T) {
	now := time.Now()
	a := survivorOf(t, 2, 0, now)
	clear(a.fencing.proofs)
	a.peers["b"] = heard{Beat{Name: "b", Leaving: true, Verdict: maintained()}, now}
	if got := a.toKnock(a.scene(now), now); got != nil {
		t.Errorf("heard, and asked: %v", got)
	}
	now = now.Add(freshFor + 1)
	s := a.scene(now)
	if p := s.Silent["b"]; !p.Left || !p.Maintained || p.Lives != "" {
		t.Errorf("%+v", p)
	}
	if got := a.toKnock(s, now); len(got) != 1 || got[0] != "b" {
		t.Errorf("silent: %v", got)
	}
	if got := a.toKnock(s, now.Add(time.Hour)); got != nil {
		t.Errorf("asked again before it has answered: %v", got)
	}
	a.fencing.knocks["b"].at, a.fencing.knocks["b"].how, a.fencing.knocks["b"].pending = now, "x", false
	if p := a.scene(now).Silent["b"]; p.Lives != "x" {
		t.Errorf("%+v", p)
	}
	if got := a.toKnock(s, now.Add(lookAgain)); len(got) != 1 {
		t.Errorf("asked once only: %v", got)
	}
	three := survivorOf(t, 3, 0, now)
	clear(three.fencing.proofs)
	three.peers["c"] = heard{Beat{Name: "c"}, now}
	if got := three.toKnock(three.scene(now), now); got != nil {
		t.Errorf("a majority is heard, and one is asked: %v", got)
	}
}

// An agent that is stopped says so, and one whose work failed does not.
func TestAnAgentThatIsStoppedInOrderSaysSo(t *testing.T) {
	for name, inOrder := range map[string]bool{"stopped": true, "failed": false} {
		t.Run(name, func(t *testing.T) {
			c, ca := threeAgents(t)
			b := running(t, c, "b", ca.identity("b"), machine("b"))
			a, err := New(Options{Name: "a", Cluster: c, Local: hosttest.New("a"), Log: b.Log})
			if err != nil {
				t.Fatal(err)
			}
			a.stopped = func() bool { return inOrder }
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { a.talk(ctx, ca.identity("a"), b.spec("b")); close(ended) }()
			said := func() (heard, bool) {
				b.mu.Lock()
				defer b.mu.Unlock()
				p, ok := b.peers["a"]
				return p, ok
			}
			until := func(what string, ok func() bool) {
				t.Helper()
				for end := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
					if time.Now().After(end) {
						t.Fatal(what)
					}
				}
			}
			until("never heard", func() bool { _, ok := said(); return ok })
			if p, _ := said(); p.Leaving {
				t.Error("it leaves before it was stopped")
			}
			stop()
			<-ended
			if inOrder {
				until("it said nothing", func() bool { p, _ := said(); return p.Leaving })
			} else if p, _ := said(); p.Leaving {
				t.Error("an agent that failed took its leave")
			}
		})
	}
}
