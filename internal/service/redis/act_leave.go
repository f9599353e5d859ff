package redis

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
)

// drainTo moves all slots of some masters to others, clients going on all the
// while. What an interrupted move left open is finished first.
func drainTo(from, to []instance, lost []string, slots int, password config.Secret) plan.Action {
	var names, takers []string
	for _, i := range from {
		names = append(names, i.String())
	}
	for _, i := range to {
		takers = append(takers, i.addr())
	}
	all := slices.Concat(to, from)
	return plan.Func{
		What: fmt.Sprintf("move all %d slots of %s to %d other masters", slots, strings.Join(names, ", "), len(to)),
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			m, err := openMover(ctx, h, all, password)
			if err != nil {
				return false, err
			}
			defer m.close()
			return len(m.openSlots()) == 0 && m.held(from) == 0, nil
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			return move(ctx, h, all, lost, password, func(m *mover) error { return m.empty(ctx, from, takers) })
		},
		Timeout: 6 * time.Hour,
	}
}

// held is how many slots masters serve.
func (m *mover) held(masters []instance) int {
	n := 0
	for _, i := range masters {
		n += m.mine[i.addr()].Slots.count()
	}
	return n
}

// empty moves batch by batch until some masters serve nothing.
func (m *mover) empty(ctx context.Context, from []instance, takers []string) error {
	have := map[string]int{}
	for addr, n := range m.mine {
		have[addr] = n.Slots.count()
	}
	var givers []string
	for _, i := range from {
		givers = append(givers, i.addr())
	}
	return m.carry(ctx, outOf(givers, takers, have))
}

// carry makes moves, each of so many of the last slots that its giver has.
func (m *mover) carry(ctx context.Context, moves []transfer) error {
	total, done := 0, 0
	for _, t := range moves {
		total += t.slots
	}
	for _, t := range moves {
		own := m.mine[t.from]
		slots := own.Slots.list()
		slots = slots[len(slots)-t.slots:]
		for batch := range slices.Chunk(slots, moveBatch) {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := m.move(t.from, t.to, batch); err != nil {
				return err
			}
			done += len(batch)
			plan.Tell(ctx, fmt.Sprintf("%d of %d slots", done, total))
		}
		if err := m.look(); err != nil {
			return err
		}
	}
	return nil
}

// forgotten makes servers forget others, by address: that of a head does not
// change while it is a member.
func forgotten(local []instance, addrs []string, names string, password config.Secret) plan.Action {
	remembered := func(c *conn) ([]string, error) {
		nodes, err := c.nodes()
		var ids []string
		for _, n := range nodes {
			if slices.Contains(addrs, n.Addr) && !n.is("myself") {
				ids = append(ids, n.ID)
			}
		}
		return ids, err
	}
	return plan.Func{
		What: fmt.Sprintf("make %s forget %s", ports(local), names), Kind: plan.Destroy,
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			for _, i := range local {
				ok, err := onServer(ctx, h, i, password, func(c *conn) (bool, error) {
					ids, err := remembered(c)
					return len(ids) == 0, err
				})
				if !ok || err != nil {
					return false, err
				}
			}
			return true, nil
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			var errs []error
			for _, i := range local {
				c, err := reach(ctx, h, i, password.Reveal())
				if err != nil {
					errs = append(errs, err)
					continue
				}
				ids, err := remembered(c)
				for _, id := range ids {
					if _, ferr := c.do("CLUSTER", "FORGET", id); ferr != nil && !strings.Contains(ferr.Error(), "Unknown node") {
						err = errors.Join(err, ferr)
					}
				}
				c.close()
				errs = append(errs, err)
			}
			return nil, errors.Join(errs...)
		},
	}
}

// keptAside puts the files of a server that was stopped for good where no server
// finds them.
func keptAside(i instance) plan.Action {
	return plan.Func{
		What: "keep the data of port " + fmt.Sprint(i.Port) + " aside as " + i.aside() + "-N", Kind: plan.Change,
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			for _, name := range []string{"appendonlydir", "dump.rdb", i.nodeFile()} {
				if _, err := h.Stat(ctx, path.Join(i.dir(), name)); !errors.Is(err, fs.ErrNotExist) {
					return false, err
				}
			}
			return true, nil
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			if c, err := h.Dial(ctx, "tcp", i.local()); err == nil {
				_ = c.Close()
				return nil, fmt.Errorf("%s still runs: its files stay", i)
			}
			return nil, moveAside(ctx, h, i)
		},
	}
}
