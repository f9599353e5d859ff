package redis

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"multihead/internal/host"
)

// opened is a slot that a move has opened and not closed.
type opened struct {
	slot     int
	from, to string // addresses; to is empty where it is not known
	peer     string // node id of the taker that the giver names, where that is none of the masters here
	taker    string // address of a master that expects the slot beside that
}

// openSlots finds every slot that a move has opened and not closed.
func (m *mover) openSlots() []opened {
	found := map[int]*opened{}
	for _, addr := range slices.Concat(m.addrs, m.asked) {
		for _, o := range m.mine[addr].Open {
			s := found[o.Slot]
			if s == nil {
				s = &opened{slot: o.Slot, from: m.ownerOf(o.Slot)}
				found[o.Slot] = s
			}
			switch to := m.addrOf(o.Peer); {
			case o.Importing && addr != s.from:
				s.taker = addr
			case o.Importing: // the owner expects what it has: nobody else is told of it
			case to == "":
				s.peer = o.Peer
			case to != s.from:
				s.to = to
			}
		}
	}
	var out []opened
	for _, slot := range slices.Sorted(maps.Keys(found)) {
		s := *found[slot]
		if s.to == "" && s.peer == "" {
			s.to = s.taker
		}
		out = append(out, s)
	}
	return out
}

func (m *mover) addrOf(id string) string {
	for a, i := range m.ids {
		if i == id {
			return a
		}
	}
	return ""
}

func (m *mover) ownerOf(slot int) string {
	for a, n := range m.mine {
		if n.Slots.has(slot) {
			return a
		}
	}
	return ""
}

// finish completes or closes what an interrupted move left open. A slot is closed
// where it is only when every master was asked and none has keys of it: keys on one that
// does not own their slot are found by nobody.
func (m *mover) finish(ctx context.Context, h host.Reader) error {
	open := m.openSlots()
	if slices.ContainsFunc(open, func(o opened) bool { return o.to == "" }) {
		if err := m.askAll(ctx, h); err != nil {
			return err
		}
		open = m.openSlots()
	}
	if i := slices.IndexFunc(open, func(o opened) bool { return o.from == "" }); i >= 0 {
		return fmt.Errorf("slot %d is between two nodes and none of the heads' masters owns it: see CLUSTER NODES", open[i].slot)
	}
	if err := m.settleTakers(open); err != nil {
		return err
	}
	for _, o := range open {
		if o.to != "" {
			if err := m.move(o.from, o.to, []int{o.slot}); err != nil {
				return err
			}
			continue
		}
		if _, err := m.conns[o.from].do("CLUSTER", "SETSLOT", strconv.Itoa(o.slot), "STABLE"); err != nil {
			return err
		}
	}
	return m.look()
}

// askAll connects to the masters of the cluster that this move has no part for. One
// that failed and has no slots any more is not asked: whoever took them over is.
func (m *mover) askAll(ctx context.Context, h host.Reader) error {
	for _, addr := range slices.Clone(m.addrs) {
		nodes, err := m.conns[addr].nodes()
		if err != nil {
			return err
		}
		for _, n := range nodes {
			gone := n.Slots.count() == 0 && (n.failed() || slices.Contains(m.lost, n.Addr))
			if !n.is("master") || !n.known() || m.addrOf(n.ID) != "" || gone {
				continue
			}
			if err := m.ask(ctx, h, n); err != nil {
				return fmt.Errorf("a slot is half moved, and the master %s has to be asked for keys of it before it is closed; bring it back and run again: %w", n.Addr, err)
			}
		}
	}
	return nil
}

// ask connects to one more master.
func (m *mover) ask(ctx context.Context, h host.Reader, n clusterNode) error {
	c, err := connect(ctx, h, n.Addr, m.password.Reveal())
	if err != nil {
		return err
	}
	nodes, err := c.nodes()
	me, _ := myself(nodes)
	if err == nil && (me.ID != n.ID || !me.is("master")) {
		err = fmt.Errorf("redis at %s says that it is another node, or no master any more", n.Addr)
	}
	if err != nil {
		c.close()
		return err
	}
	m.asked = append(m.asked, n.Addr)
	m.conns[n.Addr], m.ids[n.Addr], m.mine[n.Addr] = c, n.ID, me
	return nil
}

// settleTakers finds where slots go whose taker is none of the masters that answer: it
// failed, and its replica leads now, with the keys that had moved and without a word of
// the slot, for no replica is told what its master expects. That one is known by the keys.
func (m *mover) settleTakers(open []opened) error {
	holders, err := m.holders(open)
	if err != nil {
		return err
	}
	heirs := map[string]string{} // node id of a taker → who has what it took
	for n, o := range open {
		if o.to != "" || len(holders[n]) == 0 {
			continue
		}
		heir := holders[n][0]
		if known, ok := heirs[o.peer]; len(holders[n]) > 1 || o.peer == "" || ok && known != heir {
			return fmt.Errorf("slot %d belongs to %s, and %s has keys of it too: it is not clear where they go; see CLUSTER NODES and CLUSTER GETKEYSINSLOT",
				o.slot, o.from, strings.Join(holders[n], " and "))
		}
		heirs[o.peer] = heir
	}
	for n := range open {
		o := &open[n]
		if o.to != "" || o.peer == "" {
			continue
		}
		if o.to = heirs[o.peer]; o.to == "" {
			o.to = o.taker
		}
		if o.to != "" {
			continue
		}
		if err := m.replaced(*o); err != nil {
			return err
		}
	}
	return nil
}

// holders are, for each slot without a taker, the masters beside its owner that have
// keys of it.
func (m *mover) holders(open []opened) ([][]string, error) {
	out := make([][]string, len(open))
	var which []int
	var ask [][]string
	for n, o := range open {
		if o.to == "" {
			which = append(which, n)
			ask = append(ask, []string{"CLUSTER", "COUNTKEYSINSLOT", strconv.Itoa(o.slot)})
		}
	}
	if len(ask) == 0 {
		return out, nil
	}
	for _, addr := range slices.Concat(m.addrs, m.asked) {
		counts, err := m.conns[addr].all(askLimit, ask...)
		if err != nil {
			return nil, err
		}
		for k, n := range which {
			if addr != open[n].from && counts[k] != int64(0) {
				out[n] = append(out[n], addr)
			}
		}
	}
	return out, nil
}

// replaced refuses where the taker of a slot may have keys of it that nobody who answers
// has: it is a member still, does not answer, and copies none of the masters that do.
func (m *mover) replaced(o opened) error {
	nodes, err := m.conns[o.from].nodes()
	if err != nil {
		return err
	}
	n, ok := byID(nodes, o.peer)
	if !ok || slices.Contains(m.lost, n.Addr) || n.MasterID != "" && m.addrOf(n.MasterID) != "" {
		return nil
	}
	return fmt.Errorf("slot %d is half moved from %s to %s, which does not answer and may have keys of it: bring it back and run again, or give its head up (multihead node remove)",
		o.slot, o.from, n.Addr)
}
