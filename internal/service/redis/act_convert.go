package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
)

// A server that is no part of a cluster becomes part of one by one restart:
// whether it takes part is read at its start only. It keeps its keys, for it
// reads its own files back, and takes the slots that they are in.

// becomeCluster restarts the server that holds the keys as the first node of
// a cluster and makes it serve all slots, so that every key is reachable
// again at once; slots move to the other masters later, while clients go on.
func becomeCluster(i instance, password config.Secret) plan.Action {
	f := serveAll(i, password)
	f.What = fmt.Sprintf("restart %s with its keys as the first node of a Redis Cluster, serving all slots", i)
	return f
}

// allSlots is becomeCluster for a server that was started as a node already.
func allSlots(i instance, password config.Secret) plan.Action {
	f := serveAll(i, password)
	f.What, f.Kind = fmt.Sprintf("serve all slots on %s, with its keys in them", i), plan.Run
	return f
}

func serveAll(i instance, password config.Secret) plan.Func {
	return plan.Func{
		Kind: plan.Restart,
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			return onServer(ctx, h, i, password, func(c *conn) (bool, error) {
				inf, err := c.info()
				if err != nil || inf["cluster_enabled"] != "1" {
					return false, err
				}
				nodes, err := c.nodes()
				owned := ownedSlots(nodes)
				return err == nil && (len(nodes) > 1 || owned.count() == slotCount), err
			})
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			if err := restartAsNode(ctx, h, i, password); err != nil {
				return nil, err
			}
			begun := onward("go on as a node of a cluster")
			c, err := reach(ctx, h, i, password.Reveal())
			if err != nil {
				return begun, err
			}
			defer c.close()
			nodes, err := c.nodes()
			if err != nil {
				return begun, err
			}
			owned := ownedSlots(nodes)
			if err := addSlots(c, owned.missing()); err != nil {
				return begun, err
			}
			// A node waits two seconds after its start before it serves.
			return begun, until(ctx, meshLimit, i.String()+" serves all slots", func() (bool, string, error) {
				v, err := c.do("CLUSTER", "INFO")
				if err != nil {
					return false, "", err
				}
				s, err := text(v)
				state := parseInfo(s)["cluster_state"]
				return state == "ok", "cluster_state " + state, err
			})
		},
		Timeout: settle,
	}
}

func restartAsNode(ctx context.Context, h host.Host, i instance, password config.Secret) error {
	c, err := reach(ctx, h, i, password.Reveal())
	if refused(err) { // stopped, or cut off in the middle: its files have the keys
		if err := readable(ctx, h, i); err != nil {
			return err
		}
		return startFresh(ctx, h, i)
	}
	if err != nil {
		return err
	}
	defer c.close()
	inf, err := c.info()
	if err != nil || inf["cluster_enabled"] == "1" {
		return err
	}
	if inf["role"] != "master" {
		return fmt.Errorf("%s is a replica of %s:%s now and not the master it was: run up again", i, inf["master_host"], inf["master_port"])
	}
	for db, n := range inf.keys() {
		if db != 0 {
			return fmt.Errorf("%s has %d keys in database %d, and a Redis Cluster has database 0 only", i, n, db)
		}
	}
	settings, err := h.ReadFile(ctx, i.settingsFile())
	if err != nil {
		return err
	}
	if on := inf["aof_enabled"] == "1"; on != keepsLog(settings, false) {
		return fmt.Errorf("%s runs with appendonly %s, and %s says otherwise: after a restart it would not have its keys; run up again", i, yesNo(on), i.settingsFile())
	}
	if inf["aof_enabled"] == "1" && !logWritten(inf) {
		if err := logComplete(ctx, c); err != nil {
			return err
		}
	}
	if inf["aof_enabled"] != "1" { // then the snapshot is all there will be
		if _, err := c.do("CONFIG", "SET", "shutdown-on-sigterm", "save"); err != nil {
			return err
		}
	}
	return startFresh(ctx, h, i)
}

// startFresh starts a server on its settings file alone: what Redis remembered
// in its own file, a master to copy, is refused by a node of a cluster.
func startFresh(ctx context.Context, h host.Host, i instance) error {
	err := h.WriteFile(ctx, i.StateFile(), stateText(i), host.Attr{Mode: 0o640, Owner: "redis", Group: "redis"})
	if err != nil {
		return err
	}
	if _, err := h.Run(ctx, host.Command("systemctl", "daemon-reload")); err != nil {
		return err
	}
	_, err = h.Run(ctx, host.Command("systemctl", "restart", i.unit()))
	return err
}

// copyBecomesNode restarts a server that held a copy of the keys as an empty
// node of the cluster. Its copy is moved aside, not deleted, and only after
// the cluster was seen to serve.
func copyBecomesNode(i instance, master instance, password config.Secret) plan.Action {
	return plan.Func{
		What: fmt.Sprintf("keep the copy of the keys on %s aside in %s-1 and restart it as an empty node of the cluster", i, i.aside()),
		Kind: plan.Restart,
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			return onServer(ctx, h, i, password, func(c *conn) (bool, error) {
				inf, err := c.info()
				return err == nil && inf["cluster_enabled"] == "1", err
			})
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			if err := servesAll(ctx, h, master, password); err != nil {
				return nil, err
			}
			if err := mustBeCopy(ctx, h, i, password); err != nil {
				return nil, err
			}
			begun := onward("go on as a node of the cluster")
			if _, err := h.Run(ctx, host.Command("systemctl", "stop", i.unit())); err != nil {
				return begun, err
			}
			// Its own file, which names the master, is renewed last: should
			// this be cut off here, it still says where the copy came from.
			if d := lookDisk(ctx, h, i); d.data != no {
				if err := moveAside(ctx, h, i); err != nil {
					return begun, err
				}
			}
			return begun, startFresh(ctx, h, i)
		},
		Timeout: 10 * time.Minute,
	}
}

func servesAll(ctx context.Context, h host.Host, master instance, password config.Secret) error {
	c, err := connect(ctx, h, master.addr(), password.Reveal())
	if err != nil {
		return err
	}
	defer c.close()
	v, err := c.do("CLUSTER", "INFO")
	if err != nil {
		return err
	}
	s, err := text(v)
	if sum := parseInfo(s); err == nil && (sum["cluster_state"] != "ok" || sum.number("cluster_slots_assigned") != slotCount) {
		return fmt.Errorf("%s does not serve all slots (%s, %s assigned): the copy on %s stays as it is",
			master, sum["cluster_state"], sum["cluster_slots_assigned"], h.Name())
	}
	return err
}

// mustBeCopy refuses where a server has keys and copies nobody.
func mustBeCopy(ctx context.Context, h host.Host, i instance, password config.Secret) error {
	c, err := reach(ctx, h, i, password.Reveal())
	if refused(err) {
		d := lookDisk(ctx, h, i)
		if d.data != no && d.replicaOf == "" {
			return fmt.Errorf("%s is stopped, has keys and is not known to be a copy of another server's", i)
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer c.close()
	inf, err := c.info()
	if err == nil && inf["role"] != "slave" && len(inf.keys()) > 0 {
		err = errors.New(i.String() + " has keys and is no copy of another server's: it is not overwritten")
	}
	return err
}
