package host

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Socket is one TCP connection of a host, as ss(8) shows it.
type Socket struct {
	LocalPort, PeerPort int
	Programs            []string // that have it open
}

// Sockets lists the connections of a host with an address, made or being made.
func Sockets(ctx context.Context, r Reader, peer netip.Addr) ([]Socket, error) {
	out, err := r.Query(ctx, "ss", "-Htnp", "dst", socketAddress(peer))
	if err != nil {
		return nil, err
	}
	return parseSockets(out), nil
}

// parseSockets reads lines of: state, two queues, local address, peer's address,
// users:(("name",pid=1,fd=2),…). What is no such line is left out.
func parseSockets(text string) []Socket {
	var out []Socket
	for line := range strings.Lines(text) {
		w := strings.Fields(line)
		if len(w) < 5 {
			continue
		}
		local, okLocal := portOf(w[3])
		peer, okPeer := portOf(w[4])
		if !okLocal || !okPeer {
			continue
		}
		s := Socket{LocalPort: local, PeerPort: peer}
		for i, part := range strings.Split(strings.Join(w[5:], " "), `"`) {
			if i%2 == 1 && !slices.Contains(s.Programs, part) {
				s.Programs = append(s.Programs, part)
			}
		}
		out = append(out, s)
	}
	return out
}

func portOf(address string) (int, bool) {
	n, err := strconv.Atoi(address[strings.LastIndexByte(address, ':')+1:])
	return n, err == nil && n > 0 && n < 1<<16
}

// EndSockets ends connections with an address, those of the given ports of this
// host or of the peer: whoever waits on one gets an error at once (ECONNABORTED).
// The peer is told by a reset, if it lives. A kernel that cannot do it
// (CONFIG_INET_DIAG_DESTROY) leaves all as it is, which is no error.
func EndSockets(ctx context.Context, h Host, peer netip.Addr, localPorts, peerPorts []int) error {
	var terms []string
	for _, p := range localPorts {
		terms = append(terms, fmt.Sprintf("sport = :%d", p))
	}
	for _, p := range peerPorts {
		terms = append(terms, fmt.Sprintf("dport = :%d", p))
	}
	if len(terms) == 0 {
		return nil
	}
	_, err := h.Run(ctx, Command("ss", "-Ktn", "dst", socketAddress(peer), "( "+strings.Join(terms, " or ")+" )"))
	return err
}

func socketAddress(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}
