package redis

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// clusterNode is one line of CLUSTER NODES or of a nodes.conf: one node as
// another one sees it.
type clusterNode struct {
	ID        string
	Addr      string // host:port, empty where it is not known yet
	Flags     []string
	MasterID  string // of a replica
	Epoch     int64  // its configuration epoch
	Connected bool   // the bus link of the node that says so is up
	Slots     slotRanges
	Open      []openSlot // only on the line of the node that answers
}

// openSlot is a slot in the middle of a move.
type openSlot struct {
	Slot      int
	Peer      string // node id of the other end
	Importing bool   // this node takes it; otherwise it gives it away
}

func (n clusterNode) is(flag string) bool { return slices.Contains(n.Flags, flag) }

// known says whether it is a member whose identity is settled: a handshake's
// id is made up until the other side has answered.
func (n clusterNode) known() bool { return !n.is("handshake") && !n.is("noaddr") }

// failed says whether the cluster agrees that it is gone.
func (n clusterNode) failed() bool { return n.is("fail") }

// parseNodes reads CLUSTER NODES, or a nodes.conf, which has the same lines
// and one of variables.
func parseNodes(text string) ([]clusterNode, error) {
	var out []clusterNode
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "vars" {
			continue
		}
		n, err := parseNode(words)
		if err != nil {
			return nil, fmt.Errorf("cluster nodes: %w", err)
		}
		out = append(out, n)
	}
	return out, nil
}

// parseNode reads: id, ip:port@bus[,hostname[,more]], flags, master or "-",
// ping sent, pong received, epoch, link state, slots.
func parseNode(words []string) (clusterNode, error) {
	if len(words) < 8 {
		return clusterNode{}, fmt.Errorf("%d words where at least 8 belong", len(words))
	}
	n := clusterNode{ID: words[0], Flags: strings.Split(words[2], ","), Connected: words[7] == "connected"}
	if len(n.ID) != 40 || strings.Trim(n.ID, "0123456789abcdef") != "" {
		return n, fmt.Errorf("%q is not a node id", n.ID)
	}
	addr, _, _ := strings.Cut(words[1], ",")
	if at := strings.LastIndexByte(addr, '@'); at >= 0 {
		addr = addr[:at]
	}
	if colon := strings.LastIndexByte(addr, ':'); colon > 0 && addr[colon+1:] != "0" {
		n.Addr = net.JoinHostPort(strings.Trim(addr[:colon], "[]"), addr[colon+1:])
	}
	if words[3] != "-" {
		n.MasterID = words[3]
	}
	var err error
	if n.Epoch, err = strconv.ParseInt(words[6], 10, 64); err != nil {
		return n, fmt.Errorf("%q is not an epoch", words[6])
	}
	for _, w := range words[8:] {
		if err := n.parseSlots(w); err != nil {
			return n, err
		}
	}
	return n, nil
}

// parseSlots reads "5", "5-9", "[5->-id]" (giving away) or "[5-<-id]" (taking).
func (n *clusterNode) parseSlots(word string) error {
	if inner, ok := strings.CutPrefix(word, "["); ok {
		inner, closed := strings.CutSuffix(inner, "]")
		for _, arrow := range []string{"->-", "-<-"} {
			num, peer, ok := strings.Cut(inner, arrow)
			slot, err := slotNumber(num)
			if ok && closed && err == nil {
				n.Open = append(n.Open, openSlot{slot, peer, arrow == "-<-"})
				return nil
			}
		}
		return fmt.Errorf("%q is not an open slot", word)
	}
	first, last, isRange := strings.Cut(word, "-")
	from, err := slotNumber(first)
	to := from
	if isRange && err == nil {
		to, err = slotNumber(last)
	}
	if err != nil || to < from {
		return fmt.Errorf("%q is not a range of slots", word)
	}
	n.Slots.addRange(from, to)
	return nil
}

func slotNumber(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n >= slotCount {
		return 0, fmt.Errorf("%q is not a slot", s)
	}
	return n, nil
}

// myself is the line of the node that answered.
func myself(nodes []clusterNode) (clusterNode, bool) {
	i := slices.IndexFunc(nodes, func(n clusterNode) bool { return n.is("myself") })
	if i < 0 {
		return clusterNode{}, false
	}
	return nodes[i], true
}

// byAddr finds a settled member by its address.
func byAddr(nodes []clusterNode, addr string) (clusterNode, bool) {
	i := slices.IndexFunc(nodes, func(n clusterNode) bool { return n.Addr == addr && n.known() && !n.failed() })
	if i < 0 {
		return clusterNode{}, false
	}
	return nodes[i], true
}

// byID finds a node by its id.
func byID(nodes []clusterNode, id string) (clusterNode, bool) {
	i := slices.IndexFunc(nodes, func(n clusterNode) bool { return n.ID == id })
	if i < 0 {
		return clusterNode{}, false
	}
	return nodes[i], true
}

// byAddress finds a settled member by its address, failed or not. Of two with
// the same address the one that has not failed is meant.
func byAddress(nodes []clusterNode, addr string) (clusterNode, bool) {
	if n, ok := byAddr(nodes, addr); ok {
		return n, true
	}
	i := slices.IndexFunc(nodes, func(n clusterNode) bool { return n.Addr == addr && n.known() })
	if i < 0 {
		return clusterNode{}, false
	}
	return nodes[i], true
}
