package redis

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/service"
)

var _ service.Survivor = (*Service)(nil)

// Outlive implements service.Survivor: replicas here whose master was on the silent
// head stand for election at once, instead of after the cluster-node-timeout. Which
// of them leads is the vote of the masters as ever (CLUSTER FAILOVER FORCE differs
// from the servers' own failover in nothing but that the master need not have been
// found to be failing), so without a majority nothing happens.
func (*Service) Outlive(ctx context.Context, h host.Host, c *config.Cluster, s service.Silence, tell func(string)) error {
	w := wantedOf(c)
	if w.mode != modeCluster {
		return nil // sentinels decide by themselves
	}
	var errs []error
	for _, head := range c.HeadsWith(config.Redis) {
		if head.Hostname != h.Name() {
			continue
		}
		for _, i := range w.instances(head.Hostname, head.Address) {
			did, err := stand(ctx, h, i, c.Redis.Cluster.Password, s)
			if did {
				tell(fmt.Sprintf("%s stands for election in the place of its master on %s", i, s.Head.Hostname))
			}
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// elections is how often a replica stands, and electionTime how long one election
// may take before the next: it waits up to a second before it asks for votes.
const (
	elections    = 3
	electionTime = 1500 * time.Millisecond
)

// standsFor says whether a server is a replica of that address with all that its
// master has sent. The election that is asked for does not look whether the copy is
// whole, as the servers' own does; the link is up until the master was silent for long.
func standsFor(in info, master netip.Addr) bool {
	return in["role"] == "slave" && in["master_host"] == master.String() && in["master_link_status"] == "up" && in["master_sync_in_progress"] != "1"
}

// stand has a server lead if its master is on the silent head, and says whether it was.
func stand(ctx context.Context, h host.Host, i instance, password config.Secret, s service.Silence) (bool, error) {
	follows := func(c *conn) (bool, error) {
		text, err := c.do("INFO", "replication")
		if err != nil {
			return false, err
		}
		in := parseInfo(fmt.Sprint(text))
		return standsFor(in, s.Head.Address), nil
	}
	c, err := reach(ctx, h, i, password.Reveal())
	if err != nil {
		return false, err
	}
	defer c.close()
	yes, err := follows(c)
	if err != nil || !yes {
		return false, err
	}
	for range elections {
		if _, err = c.do("CLUSTER", "FAILOVER", "FORCE"); err != nil {
			return true, err
		}
		if err = until(ctx, electionTime, i.String()+" leads", func() (bool, string, error) {
			yes, err := follows(c)
			return !yes, "it is a replica still", err
		}); err == nil || ctx.Err() != nil {
			break
		}
	}
	return true, err
}
