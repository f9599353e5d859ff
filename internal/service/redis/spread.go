package redis

import (
	"context"
	"fmt"
	"slices"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
)

// spread decides which replicas become masters so that the masters a failover
// has crowded on one head stand on different heads again: their votes would be
// lost together. Only a head on which nobody serves takes one, and only from a
// head that has more than one.
func spread(members []member) []string {
	masters := map[int][]string{} // head → masters with slots
	for _, m := range members {
		if m.of == "" && m.slots > 0 && m.head >= 0 {
			masters[m.head] = append(masters[m.head], m.addr)
		}
	}
	var lead []string
	for _, m := range members {
		if m.of == "" || m.head < 0 || !m.up || len(masters[m.head]) > 0 {
			continue
		}
		for head, list := range masters {
			i := slices.Index(list, m.of)
			if i < 0 || len(list) < 2 {
				continue
			}
			masters[head] = slices.Delete(slices.Clone(list), i, i+1)
			masters[m.head] = append(masters[m.head], m.addr)
			lead = append(lead, m.addr)
			break
		}
	}
	return lead
}

// spread hands masters over to replicas on heads that have none.
func (b *builder) spread(members []member) {
	var waits, leads []plan.Step
	for _, addr := range spread(members) {
		i, ok := find(b.nodes(), addr)
		if !ok {
			continue
		}
		waits = append(waits, plan.Step{ID: fmt.Sprintf("redis.%d.current", i.Port), Host: i.Host, Action: linked(i, b.password())})
		leads = append(leads, plan.Step{
			ID: fmt.Sprintf("redis.%d.lead", i.Port), Host: i.Host, Action: takeOver(i, b.password()),
			Effect: "the keys of its slots wait for some milliseconds while their master hands over",
		})
	}
	b.stage("current", waits...)
	b.stage("spread masters", leads...)
}

// takeOver makes a replica the master in agreement with the present one, which
// holds its clients until the replica has everything: nothing is lost.
func takeOver(i instance, password config.Secret) plan.Action {
	return failover(i, password, plan.Func{What: fmt.Sprintf("port %d takes over from its master, which shares a head with another", i.Port)})
}

// failover makes a replica the master, in the way that how says.
func failover(i instance, password config.Secret, f plan.Func, how ...string) plan.Action {
	leads := func(c *conn) (bool, error) {
		nodes, err := c.nodes()
		me, _ := myself(nodes)
		return err == nil && me.is("master"), err
	}
	f.Satisfied = func(ctx context.Context, h host.Reader) (bool, error) {
		return onServer(ctx, h, i, password, leads)
	}
	f.Change = func(ctx context.Context, h host.Host) (plan.Action, error) {
		c, err := reach(ctx, h, i, password.Reveal())
		if err != nil {
			return nil, err
		}
		defer c.close()
		if _, err := c.do(append([]string{"CLUSTER", "FAILOVER"}, how...)...); err != nil {
			return nil, err
		}
		return nil, until(ctx, meshLimit, i.String()+" leads", func() (bool, string, error) {
			ok, err := leads(c)
			return ok, "it is a replica still", err
		})
	}
	return f
}
