package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
)

// moveBatch is how many slots are opened at once. A slot that is open costs
// clients one more round trip for keys that have moved already, so that not
// all are open together.
const moveBatch = 128

// keysAtOnce is how many keys one MIGRATE takes: the source serves nobody else
// meanwhile.
const keysAtOnce = 100

// movesAtOnce is how many MIGRATE are sent without waiting in between: enough
// to hide the way to the server, few enough to let its clients in.
const movesAtOnce = 8

// migrateLimit bounds one MIGRATE: a single key of hundreds of megabytes.
const migrateLimit = time.Minute

// balance moves slots until all masters serve about the same number, clients
// going on all the while. What an interrupted move left open is finished first.
func balance(masters []instance, password config.Secret) plan.Action {
	return plan.Func{
		What: fmt.Sprintf("move slots until each of %d masters serves about %d", len(masters), slotCount/max(len(masters), 1)),
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			m, err := openMover(ctx, h, masters, password)
			if err != nil {
				return false, ifStarting(err)
			}
			defer m.close()
			return len(m.openSlots()) == 0 && len(m.transfers()) == 0, nil
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			return move(ctx, h, masters, nil, password, func(m *mover) error { return m.level(ctx) })
		},
		Timeout: 6 * time.Hour,
	}
}

// move moves slots between masters, once what an earlier move left open is finished.
// lost are the addresses of servers whose loss has been accepted.
func move(ctx context.Context, h host.Host, masters []instance, lost []string, password config.Secret, do func(*mover) error) (plan.Action, error) {
	m, err := openMover(ctx, h, masters, password)
	if err != nil {
		return nil, err
	}
	defer m.close()
	m.lost = lost
	if err := m.ready(ctx); err != nil {
		return nil, err
	}
	err = m.finish(ctx, h)
	if err == nil {
		err = do(m)
	}
	return onward("go on moving slots"), err
}

// ifStarting makes "not there yet" no error.
func ifStarting(err error) error {
	if starting(err) {
		return nil
	}
	return err
}

// mover holds a connection to every master.
type mover struct {
	password config.Secret
	addrs    []string // in the plan's order
	asked    []string // other masters of the cluster, once finish has had to ask them
	lost     []string // addresses on heads that are given up with what they have
	conns    map[string]*conn
	ids      map[string]string // address → node id
	mine     map[string]clusterNode
}

func openMover(ctx context.Context, h host.Reader, masters []instance, password config.Secret) (*mover, error) {
	m := &mover{password: password, conns: map[string]*conn{}, ids: map[string]string{}, mine: map[string]clusterNode{}}
	for _, i := range masters {
		c, err := connect(ctx, h, i.addr(), password.Reveal())
		if err != nil {
			m.close()
			return nil, err
		}
		m.addrs = append(m.addrs, i.addr())
		m.conns[i.addr()] = c
	}
	if err := m.look(); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *mover) close() {
	for _, c := range m.conns {
		c.close()
	}
}

// look asks every master for its own slots.
func (m *mover) look() error {
	for addr, c := range m.conns {
		nodes, err := c.nodes()
		if err != nil {
			return err
		}
		me, ok := myself(nodes)
		if !ok || !me.is("master") {
			return fmt.Errorf("redis at %s is no master (any more): run again", addr)
		}
		m.ids[addr], m.mine[addr] = me.ID, me
	}
	return nil
}

func (m *mover) transfers() []transfer {
	have := map[string]int{}
	for addr, n := range m.mine {
		have[addr] = n.Slots.count()
	}
	return level(m.addrs, have)
}

// ready waits until every master takes keys: one that has just started does
// not for two seconds.
func (m *mover) ready(ctx context.Context) error {
	return until(ctx, meshLimit, "all masters are ready to take keys", func() (bool, string, error) {
		for _, addr := range m.addrs {
			v, err := m.conns[addr].do("CLUSTER", "INFO")
			if err != nil {
				return false, "", err
			}
			s, err := text(v)
			if state := parseInfo(s)["cluster_state"]; err != nil || state != "ok" {
				return false, addr + ": cluster_state " + state, err
			}
		}
		return true, "", nil
	})
}

// onward is the undo of a step that has none, given back by one that failed
// half-way: by it the engine sees that the step has begun, and ends the
// rollback before it would stop servers that others rely on already.
func onward(what string) plan.Action {
	return plan.Func{What: what, Change: func(context.Context, host.Host) (plan.Action, error) {
		return nil, errors.New("there is no way back: run up again to go on")
	}}
}

// level moves whole batches, from all givers to one taker at a time: a taker
// takes a new configuration epoch with each slot, and two that do so at once
// could take the same.
func (m *mover) level(ctx context.Context) error { return m.carry(ctx, m.transfers()) }

// move brings slots with their keys from one master to another: the taker is
// told to expect them, then the giver to send clients on; the keys go; then
// both are told who owns them, the taker first, so that no slot is ever
// without an owner.
func (m *mover) move(from, to string, slots []int) error {
	src, dst := m.conns[from], m.conns[to]
	if _, err := dst.all(askLimit, setSlots(slots, "IMPORTING", m.ids[from])...); err != nil {
		return err
	}
	if _, err := src.all(askLimit, setSlots(slots, "MIGRATING", m.ids[to])...); err != nil {
		return err
	}
	var count [][]string
	for _, s := range slots {
		count = append(count, []string{"CLUSTER", "COUNTKEYSINSLOT", strconv.Itoa(s)})
	}
	counts, err := src.all(askLimit, count...)
	if err != nil {
		return err
	}
	var full []int
	for n, s := range slots {
		if counts[n] != int64(0) {
			full = append(full, s)
		}
	}
	if err := m.moveKeys(src, to, full); err != nil {
		return err
	}
	if _, err := dst.all(askLimit, setSlots(slots, "NODE", m.ids[to])...); err != nil {
		return err
	}
	if _, err := src.all(askLimit, setSlots(slots, "NODE", m.ids[to])...); err != nil {
		return err
	}
	for addr, c := range m.conns { // gossip tells the others too, a little later
		if addr != to && addr != from {
			_, _ = c.pipe(askLimit, setSlots(slots, "NODE", m.ids[to])...)
		}
	}
	return nil
}

func setSlots(slots []int, what, id string) [][]string {
	var out [][]string
	for _, s := range slots {
		out = append(out, []string{"CLUSTER", "SETSLOT", strconv.Itoa(s), what, id})
	}
	return out
}

// moveKeys empties slots. A key that an interrupted move left on both sides is
// taken from the giver, which served it until now: as long as the giver has a key it
// answers for it alone, and sends clients on (ASK) only for those it has not. So a taker's
// copy beside it is one that came over and was not deleted behind it, or what such a copy's
// replica kept when that took over: never newer. The exception is a giver that came back
// without the last second of its log, or a replica in its place, with a key that had gone:
// of the two values one is lost then, and the one that clients have been given since stays.
func (m *mover) moveKeys(src *conn, to string, slots []int) error {
	host, port := splitAddr(to)
	head := []string{"MIGRATE", host, port, "", "0", strconv.FormatInt(migrateLimit.Milliseconds(), 10), "REPLACE"}
	if !m.password.IsZero() {
		head = append(head, "AUTH", m.password.Reveal())
	}
	head = append(head, "KEYS")
	for len(slots) > 0 {
		var ask [][]string
		for _, s := range slots {
			ask = append(ask, []string{"CLUSTER", "GETKEYSINSLOT", strconv.Itoa(s), strconv.Itoa(keysAtOnce)})
		}
		found, err := src.all(askLimit, ask...)
		if err != nil {
			return err
		}
		var left []int
		var moves [][]string
		for n, s := range slots {
			keys, err := words(found[n])
			if err != nil {
				return err
			}
			if len(keys) > 0 {
				left = append(left, s)
				moves = append(moves, slices.Concat(head, keys))
			}
		}
		for some := range slices.Chunk(moves, movesAtOnce) {
			if _, err := src.all(movesAtOnce*migrateLimit, some...); err != nil {
				return err
			}
		}
		slots = left
	}
	return nil
}

// handOver makes a copy take over from its master in order, nothing lost and
// hardly anything waiting, before the master's head is stopped.
func handOver(i instance, password config.Secret) plan.Action {
	return plan.Func{
		What: fmt.Sprintf("%s takes over from its master", i),
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			return onServer(ctx, h, i, password, func(c *conn) (bool, error) {
				inf, err := c.info()
				return err == nil && inf["role"] == "master", err
			})
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			c, err := reach(ctx, h, i, password.Reveal())
			if err != nil {
				return nil, err
			}
			defer c.close()
			if _, err := c.do("CLUSTER", "FAILOVER"); err != nil {
				return nil, err
			}
			return nil, until(ctx, meshLimit, i.String()+" is the master", func() (bool, string, error) {
				nodes, err := c.nodes()
				if err != nil {
					return false, "", err
				}
				me, ok := myself(nodes)
				if !ok {
					return false, "", errors.New("its own line is missing")
				}
				return me.is("master"), strings.Join(me.Flags, ","), nil
			})
		},
	}
}
