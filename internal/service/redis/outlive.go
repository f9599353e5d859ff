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

// electionTime is how long an election is waited for, to tell how it ended.
const electionTime = 2 * time.Second

// Outlive implements service.Survivor: a replica here whose master was on the silent
// head stands for election when that has been silent for the cluster-node-timeout. So
// long a master that lives and is cut off goes on acknowledging, and loses what it did:
// it is not to lose more by this. The servers find out soon after by asking each other,
// and their replica then waits for 0.5 to 1 s, which an election asked for too late does
// not shorten (clusterHandleSlaveFailover; seen in 3 of 5 runs that asked 1.2 s after the
// silence began, with a timeout of 1 s). Whether it leads is the vote of the masters as
// ever (CLUSTER FAILOVER FORCE), so without a majority nothing happens. It stands once:
// a second time would begin nothing before the servers' own election does. Of several
// replicas the one that has most is to lead, and this way none would wait for it: there
// it is left to the servers.
func (*Service) Outlive(ctx context.Context, h host.Host, c *config.Cluster, s service.Silence, tell func(string)) error {
	w := wantedOf(c)
	if w.mode != modeCluster || w.replicas != 1 {
		return nil // sentinels decide by themselves
	}
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(time.Until(s.Since.Add(c.Redis.Cluster.ClusterNodeTimeout.Duration()))):
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
		return standsFor(parseInfo(fmt.Sprint(text)), s.Head.Address), nil
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
	if ctx.Err() != nil {
		return false, nil // it is heard again
	}
	if _, err = c.do("CLUSTER", "FAILOVER", "FORCE"); err != nil {
		return false, err
	}
	return true, until(ctx, electionTime, i.String()+" leads", func() (bool, string, error) {
		yes, err := follows(c)
		return !yes, "it is a replica still", err
	})
}
