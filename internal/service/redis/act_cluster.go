package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
)

// meshLimit is how long nodes may take to know each other: a handshake takes
// a few tenths of a second.
const meshLimit = 30 * time.Second

// meet makes a head's servers and all others know each other. Every server
// greets every other by itself: waiting for gossip to spread the news would
// take a second or two.
//
// The way back makes the others forget them; it is for nodes that are taken
// down again, data and all. From Redis 7.2 on nodes pass on for a minute whom
// to forget, so that one that keeps its identity could not come back in that
// time: stays says that the nodes stay nodes, whatever happens after.
func meet(local []instance, all []instance, stays bool, password config.Secret) plan.Action {
	return plan.Func{
		What: fmt.Sprintf("introduce %s to all %d servers of the cluster", ports(local), len(all)),
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			for _, i := range local {
				ok, err := onServer(ctx, h, i, password, func(c *conn) (bool, error) {
					nodes, err := c.nodes()
					return err == nil && len(strangers(nodes, i, all)) == 0, err
				})
				if !ok || err != nil {
					return false, err
				}
			}
			return true, nil
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			var g errgroup.Group
			for _, i := range local {
				g.Go(func() error { return greet(ctx, h, i, all, password) })
			}
			err := g.Wait()
			if stays {
				return nil, err
			}
			return forgetAll(local, all, password), err
		},
	}
}

func ports(list []instance) string {
	var out []string
	for _, i := range list {
		out = append(out, strconv.Itoa(i.Port))
	}
	return "port " + strings.Join(out, " and ")
}

// strangers lists those that a server does not know yet.
func strangers(nodes []clusterNode, self instance, all []instance) []instance {
	var out []instance
	for _, o := range all {
		if o == self {
			continue
		}
		if n, ok := byAddr(nodes, o.addr()); !ok || !n.Connected {
			out = append(out, o)
		}
	}
	return out
}

// greet sends MEET until everyone is known. Of two servers the later one in
// the list begins; only where that does not help, as with a plan for one host,
// the other does too.
func greet(ctx context.Context, h host.Host, self instance, all []instance, password config.Secret) error {
	c, err := reach(ctx, h, self, password.Reveal())
	if err != nil {
		return err
	}
	defer c.close()
	sent := map[string]time.Time{}
	begin := time.Now()
	return until(ctx, meshLimit, self.String()+" knows all others", func() (bool, string, error) {
		nodes, err := c.nodes()
		if err != nil {
			return false, "", err
		}
		unknown := strangers(nodes, self, all)
		for _, o := range unknown {
			if _, listed := byAddr(nodes, o.addr()); listed {
				continue // known, and its link is being made
			}
			mine := later(self, o, all) || time.Since(begin) > time.Second
			if !mine || time.Since(sent[o.addr()]) < time.Second {
				continue
			}
			if _, err := c.do("CLUSTER", "MEET", o.Addr.String(), strconv.Itoa(o.Port)); err != nil {
				return false, "", err
			}
			sent[o.addr()] = time.Now()
		}
		return len(unknown) == 0, fmt.Sprintf("%d of %d known", len(all)-1-len(unknown), len(all)-1), nil
	})
}

func later(a, b instance, all []instance) bool {
	for _, i := range all {
		switch i {
		case a:
			return false
		case b:
			return true
		}
	}
	return false
}

// forgetAll is the way back from meet: the others forget this head's servers,
// as long as those hold no slots.
func forgetAll(local, all []instance, password config.Secret) plan.Action {
	return plan.Func{
		What: "make the other servers forget " + ports(local),
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			var ids []string
			for _, i := range local {
				c, err := reach(ctx, h, i, password.Reveal())
				if err != nil {
					return nil, err
				}
				nodes, err := c.nodes()
				c.close()
				if err != nil {
					return nil, err
				}
				me, _ := myself(nodes)
				if me.Slots.count() > 0 || len(me.Open) > 0 {
					return nil, fmt.Errorf("%s serves %d slots: it stays in the cluster", i, me.Slots.count())
				}
				ids = append(ids, me.ID)
			}
			for _, o := range all {
				if isOneOf(o, local) {
					continue
				}
				c, err := connect(ctx, h, o.addr(), password.Reveal())
				if err != nil {
					continue // it is being taken back itself
				}
				for _, id := range ids {
					_, _ = c.do("CLUSTER", "FORGET", id) // unknown is as good as forgotten
				}
				c.close()
			}
			return nil, nil
		},
	}
}

func isOneOf(i instance, list []instance) bool {
	for _, o := range list {
		if o == i {
			return true
		}
	}
	return false
}

// takeSlots makes a master serve slots that nobody serves. It asks every other
// server first: a slot must not get two owners.
func takeSlots(i instance, ranges []slotRange, all []instance, password config.Secret) plan.Action {
	var wanted slotSet
	for _, r := range ranges {
		wanted.addRange(r.From, r.To)
	}
	free := func(nodes []clusterNode) []int {
		owned := ownedSlots(nodes)
		var out []int
		for _, s := range wanted.list() {
			if !owned.has(s) {
				out = append(out, s)
			}
		}
		return out
	}
	return plan.Func{
		What: fmt.Sprintf("serve %d slots on port %d", wanted.count(), i.Port),
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			return onServer(ctx, h, i, password, func(c *conn) (bool, error) {
				nodes, err := c.nodes()
				return err == nil && len(free(nodes)) == 0, err
			})
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			owned, err := ownedAnywhere(ctx, h, all, password)
			if err != nil {
				return nil, err
			}
			c, err := reach(ctx, h, i, password.Reveal())
			if err != nil {
				return nil, err
			}
			defer c.close()
			nodes, err := c.nodes()
			if err != nil {
				return nil, err
			}
			var take []int
			for _, s := range free(nodes) {
				if !owned.has(s) {
					take = append(take, s)
				}
			}
			return giveBack(i, take, password), addSlots(c, take)
		},
	}
}

// giveBack is the way back from takeSlots, as long as there are no keys.
func giveBack(i instance, slots []int, password config.Secret) plan.Action {
	return plan.Func{
		What: fmt.Sprintf("port %d serves %d slots less", i.Port, len(slots)),
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			c, err := reach(ctx, h, i, password.Reveal())
			if err != nil {
				return nil, err
			}
			defer c.close()
			v, err := c.do("DBSIZE")
			if err != nil {
				return nil, err
			}
			if v != int64(0) {
				return nil, fmt.Errorf("%s has keys: it goes on serving them", i)
			}
			return nil, rangeCommand(c, "DELSLOTSRANGE", slots)
		},
	}
}

func ownedSlots(nodes []clusterNode) slotSet {
	var out slotSet
	for i := range nodes {
		out.addAll(nodes[i].Slots)
	}
	return out
}

// ownedAnywhere asks all servers which slots are served, each for its own view.
func ownedAnywhere(ctx context.Context, h host.Reader, all []instance, password config.Secret) (slotSet, error) {
	views := make([]slotSet, len(all))
	var g errgroup.Group
	for n, o := range all {
		g.Go(func() error {
			c, err := connect(ctx, h, o.addr(), password.Reveal())
			if err != nil {
				return fmt.Errorf("%s has to be asked before slots are given out: %w", o, err)
			}
			defer c.close()
			nodes, err := c.nodes()
			views[n] = ownedSlots(nodes)
			return err
		})
	}
	err := g.Wait()
	var out slotSet
	for n := range views {
		out.union(&views[n])
	}
	return out, err
}

func addSlots(c *conn, slots []int) error { return rangeCommand(c, "ADDSLOTSRANGE", slots) }

func rangeCommand(c *conn, name string, slots []int) error {
	if len(slots) == 0 {
		return nil
	}
	cmd := []string{"CLUSTER", name}
	for _, r := range rangesOf(slots) {
		cmd = append(cmd, strconv.Itoa(r.From), strconv.Itoa(r.To))
	}
	_, err := c.do(cmd...)
	return err
}

// copyOf makes a server a copy of a master.
func copyOf(i instance, master string, masterName string, password config.Secret) plan.Action {
	return plan.Func{
		What: fmt.Sprintf("port %d keeps a copy of %s", i.Port, masterName),
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			return onServer(ctx, h, i, password, func(c *conn) (bool, error) {
				nodes, err := c.nodes()
				return err == nil && (masterOf(nodes) == master || overtaken(nodes, master)), err
			})
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			c, err := reach(ctx, h, i, password.Reveal())
			if err != nil {
				return nil, err
			}
			defer c.close()
			before := ""
			err = until(ctx, meshLimit, i.String()+" knows "+masterName+" as a master", func() (bool, string, error) {
				nodes, err := c.nodes()
				if err != nil {
					return false, "", err
				}
				if overtaken(nodes, master) {
					return true, "", nil
				}
				before = masterOf(nodes)
				n, ok := byAddr(nodes, master)
				if !ok || !n.is("master") {
					return false, fmt.Sprintf("it has flags %v", n.Flags), nil
				}
				_, err = c.do("CLUSTER", "REPLICATE", n.ID)
				return err == nil, "", err
			})
			if err != nil || before == "" {
				return nil, err
			}
			return copyOf(i, before, before, password), nil
		},
	}
}

// overtaken says whether a failover has come between the plan and its step: the
// server leads slots itself by now, or the one that it was to copy is a copy. It
// is left as the failover made it; the next look at the cluster arranges it.
func overtaken(nodes []clusterNode, master string) bool {
	me, _ := myself(nodes)
	n, ok := byAddr(nodes, master)
	return me.is("master") && me.Slots.count() > 0 || ok && n.is("slave")
}

// masterOf is the address of the master that the answering node copies.
func masterOf(nodes []clusterNode) string {
	me, _ := myself(nodes)
	n, _ := byID(nodes, me.MasterID)
	return n.Addr
}

// epoch gives a fresh master a configuration epoch of its own, so that no two
// begin with the same and have to settle it. It is allowed only while the node
// knows nobody; later the nodes settle it themselves.
func epoch(i instance, n int, password config.Secret) plan.Action {
	return plan.Func{
		What: fmt.Sprintf("give port %d the configuration epoch %d", i.Port, n),
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			return onServer(ctx, h, i, password, func(c *conn) (bool, error) {
				nodes, err := c.nodes()
				me, _ := myself(nodes)
				return err == nil && (len(nodes) > 1 || me.Epoch > 0 || me.MasterID != ""), err
			})
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			c, err := reach(ctx, h, i, password.Reveal())
			if err != nil {
				return nil, err
			}
			defer c.close()
			_, err = c.do("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(n))
			if err != nil && strings.Contains(err.Error(), "does not know any other") {
				err = nil // somebody was quicker; the nodes settle it
			}
			return nil, err
		},
	}
}

// inOrder waits until the servers of a head see the whole cluster serving, and
// those that are copies have their master's data.
func inOrder(local []instance, known int, whole bool, password config.Secret) plan.Action {
	return plan.Await{
		What: "the Redis Cluster is in order as seen from this head",
		Until: func(ctx context.Context, h host.Reader) (bool, string, error) {
			for _, i := range local {
				c, err := reach(ctx, h, i, password.Reveal())
				if err != nil {
					return false, "", err
				}
				out, err := c.all(askLimit, []string{"CLUSTER", "INFO"}, []string{"INFO", "replication"})
				c.close()
				if err != nil {
					return false, "", err
				}
				sum, _ := text(out[0])
				rep, _ := text(out[1])
				if state := lacking(parseInfo(sum), parseInfo(rep), known, whole); state != "" {
					return false, fmt.Sprintf("port %d: %s", i.Port, state), nil
				}
			}
			return true, "", nil
		},
		Every:   every,
		Timeout: settle,
	}
}

// lacking says what is not in order yet, empty when all is. whole is whether
// every head takes part, so that no slot may be out of order.
func lacking(sum, rep info, known int, whole bool) string {
	slots := "cluster_slots_assigned"
	if whole {
		slots = "cluster_slots_ok"
	}
	switch {
	case sum["cluster_state"] != "ok":
		return "cluster_state " + sum["cluster_state"]
	case sum.number(slots) != slotCount:
		return fmt.Sprintf("%s %s", slots, sum[slots])
	case sum.number("cluster_known_nodes") < known:
		return fmt.Sprintf("%s of %d nodes known", sum["cluster_known_nodes"], known)
	case whole && rep["role"] == "slave" && rep["master_link_status"] != "up":
		return "copying its master's data"
	}
	return ""
}
