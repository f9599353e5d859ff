package galera

import (
	"context"
	"errors"
	"testing"
	"time"

	"multihead/internal/host"
)

const tcpHead = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

func TestPortState(t *testing.T) {
	line := func(local, state string) string {
		return "   0: " + local + " 00000000:0000 " + state + " 00000000:00000000 00:00000000 00000000   110        0 1234 1\n"
	}
	tests := []struct {
		name               string
		table              string
		listens, connected bool
	}{
		{"nothing", tcpHead, false, false},
		{"another port", tcpHead + line("00000000:115D", "0A"), false, false},
		{"listens", tcpHead + line("00000000:115C", "0A"), true, false},
		{"listens by IPv6", tcpHead + line("00000000000000000000000000000000:115C", "0A"), true, false},
		{"is sent data", tcpHead + line("0B0200C0:115C", "01"), false, true},
		{"listens and is sent data", tcpHead + line("00000000:115C", "0A") + line("0B0200C0:115C", "01"), true, true},
		{"was sent a part", tcpHead + line("00000000:115C", "0A") + line("0B0200C0:115C", "06"), true, false},
		{"the donor has sent all", tcpHead + line("0B0200C0:115C", "08"), false, true},
		{"cut off", tcpHead + "   0: 00000000:115C", false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if l, c := portState(tt.table, transferPort); l != tt.listens || c != tt.connected {
				t.Errorf("listens %v, connected %v", l, c)
			}
		})
	}
}

// A joiner that nobody sends data to is given up, and its daemon is stopped.
func TestAJoinThatNobodyAnswersEnds(t *testing.T) {
	m := packaged(machine("activating")).
		File("/proc/net/tcp", tcpHead+"   0: 00000000:115C 00000000:0000 0A 0 0 0 0 0\n")
	stopped := make(chan struct{})
	m.OnRun("systemctl", func(c host.Cmd) (string, error) {
		if c.Argv[1] == "stop" {
			close(stopped)
		}
		return "", nil
	})
	err := heard(t.Context(), m, time.Millisecond, 3*time.Millisecond, func(ctx context.Context) error {
		select {
		case <-stopped:
			return errors.New("the start was ended")
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if !errors.Is(err, errNoDonor) {
		t.Errorf("%v", err)
	}
	if !ran(m, "stop") {
		t.Errorf("%v", m.Changes())
	}
}

// A transfer that goes on is left alone, however long it takes.
func TestAJoinThatIsSentDataGoesOn(t *testing.T) {
	m := packaged(machine("activating")).
		File("/proc/net/tcp", tcpHead+"   0: 0B0200C0:115C 0C0200C0:9999 01 0 0 0 0 0\n")
	err := heard(t.Context(), m, time.Millisecond, 0, func(ctx context.Context) error {
		select {
		case <-time.After(50 * time.Millisecond):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if err != nil || ran(m, "stop") {
		t.Errorf("%v, %v", err, m.Changes())
	}
}
