package redis

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
)

// replicate makes a server without keys of its own a replica of the master,
// and has it written down so that it stays one after a restart. started says
// that the server runs because of this plan.
func replicate(i instance, master, masterName string, started bool, password config.Secret) plan.Action {
	return plan.Func{
		What: fmt.Sprintf("port %d keeps a copy of %s", i.Port, masterName),
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			return onServer(ctx, h, i, password, func(c *conn) (bool, error) {
				inf, err := c.info()
				return err == nil && copyOfMaster(inf, master), err
			})
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			c, err := reach(ctx, h, i, password.Reveal())
			if err != nil {
				return nil, err
			}
			defer c.close()
			inf, err := c.info()
			if err != nil {
				return nil, err
			}
			var undo plan.Action
			switch {
			case inf["role"] == "slave": // of another server; its data is a copy anyway
				undo = back(i, master, joinAddr(inf["master_host"], inf["master_port"]), started, password)
				err = point(c, master)
			case len(inf.keys()) > 0:
				err = demoted(ctx, c, i)
			default:
				undo = back(i, master, "", started, password)
				err = follow(c, i, master)
			}
			if err == nil {
				_, err = c.do("CONFIG", "REWRITE")
			}
			return undo, err
		},
		Timeout: settle,
	}
}

// copyOfMaster says whether a server is a replica of that master.
func copyOfMaster(inf info, master string) bool {
	return inf["role"] == "slave" && joinAddr(inf["master_host"], inf["master_port"]) == master
}

// demoted waits for a master that was away while another took over: sentinels
// turn it into a replica themselves. Nobody else overwrites keys here.
func demoted(ctx context.Context, c *conn, i instance) error {
	return until(ctx, 30*time.Second, fmt.Sprintf("the sentinels make %s, which has keys, a replica", i), func() (bool, string, error) {
		inf, err := c.info()
		return err == nil && inf["role"] == "slave", inf["role"], err
	})
}

// follow makes a master without keys a replica. Between the look and the change
// a client could write: writes wait.
func follow(c *conn, i instance, master string) error {
	if _, err := c.do("CLIENT", "PAUSE", "5000", "WRITE"); err != nil {
		return err
	}
	v, err := c.do("DBSIZE")
	if err == nil && v != int64(0) {
		err = fmt.Errorf("%s has got keys since the plan was made: run up again", i)
	}
	if err == nil {
		err = point(c, master)
	}
	_, uerr := c.do("CLIENT", "UNPAUSE")
	return errors.Join(err, uerr)
}

func point(c *conn, master string) error {
	hostname, port := splitAddr(master)
	_, err := c.do("REPLICAOF", hostname, port)
	return err
}

// back is the way back from replicate: a server that copied another master
// before copies that one again, and one that this plan started is stopped, with
// what it copied. One that ran by itself goes on doing so.
func back(i instance, master, before string, started bool, password config.Secret) plan.Action {
	what := fmt.Sprintf("%s copies nobody any more", i)
	if before != "" {
		what = fmt.Sprintf("%s keeps a copy of %s again", i, before)
	}
	return plan.Func{
		What: what,
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			if before != "" || !started {
				if err := unfollow(ctx, h, i, master, before, password); err != nil {
					return nil, err
				}
			}
			if started {
				_, err := h.Run(ctx, host.Command("systemctl", "stop", i.unit()))
				return nil, err
			}
			return nil, nil
		},
		Timeout: settle,
	}
}

// unfollow makes a server that copies master be what it was before, and has
// that written down. One that became something else meanwhile is left as it is,
// for the sentinels have chosen; so is one that would be a second master with
// the keys of the first.
func unfollow(ctx context.Context, h host.Host, i instance, master, before string, password config.Secret) error {
	c, err := reach(ctx, h, i, password.Reveal())
	if err != nil {
		return err
	}
	defer c.close()
	inf, err := c.info()
	if err != nil || !copyOfMaster(inf, master) {
		return err
	}
	switch {
	case before != "":
		err = point(c, before)
	case len(inf.keys()) > 0:
		return fmt.Errorf("%s was an empty server of its own and holds a copy of the keys of %s now: it stays a replica", i, master)
	default:
		_, err = c.do("REPLICAOF", "NO", "ONE")
	}
	if err == nil {
		_, err = c.do("CONFIG", "REWRITE")
	}
	return err
}

// firstSentinel writes a sentinel's file once. From then on it is the
// sentinel's own: it keeps in it who the master is, and rewriting it would
// make it forget a failover.
func firstSentinel(v voter, port int, content []byte) plan.Action {
	file := plan.File{Path: sentinelFile(port), Data: content, Secret: true,
		Attr: host.Attr{Mode: 0o640, Owner: "redis", Group: "redis"}}
	return plan.Func{
		What: "make " + file.Path,
		Kind: plan.Add,
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			b, err := h.ReadFile(ctx, file.Path)
			if errors.Is(err, fs.ErrNotExist) {
				return false, nil
			}
			return err == nil && strings.Contains(string(b), "sentinel monitor "+sentinelGroup+" "), err
		},
		Change: file.Do,
	}
}

// sentinelInForce makes a running sentinel have the wanted numbers.
func sentinelInForce(w wanted, quorum int) plan.Action {
	at := "127.0.0.1:" + strconv.Itoa(sentinelPort(w.port))
	want := map[string]string{
		"quorum":                  strconv.Itoa(quorum),
		"down-after-milliseconds": strconv.FormatInt(w.downAfter(), 10),
		"failover-timeout":        strconv.Itoa(failoverTimeout),
	}
	differ := func(c *conn) ([]string, error) {
		v, err := c.do("SENTINEL", "MASTER", sentinelGroup)
		if err != nil {
			return nil, err
		}
		have, err := pairs(v)
		var out []string
		for _, k := range []string{"quorum", "down-after-milliseconds", "failover-timeout"} {
			if have[k] != want[k] {
				out = append(out, k, want[k])
			}
		}
		return out, err
	}
	return plan.Func{
		What: "put the settings of the sentinel in force",
		Kind: plan.Change,
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			c, err := connect(ctx, h, at, w.conf.Password.Reveal())
			if err != nil {
				return false, ifStarting(err)
			}
			defer c.close()
			d, err := differ(c)
			return err == nil && len(d) == 0, err
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			c, err := connect(ctx, h, at, w.conf.Password.Reveal())
			if err != nil {
				return nil, err
			}
			defer c.close()
			d, err := differ(c)
			if err != nil {
				return nil, err
			}
			_, err = c.do(append([]string{"SENTINEL", "SET", sentinelGroup}, d...)...)
			return nil, err
		},
	}
}

// linked waits until a replica has its master's data.
func linked(i instance, password config.Secret) plan.Action {
	return plan.Await{
		What: fmt.Sprintf("port %d has its master's data", i.Port),
		Until: func(ctx context.Context, h host.Reader) (bool, string, error) {
			c, err := reach(ctx, h, i, password.Reveal())
			if err != nil {
				return false, "", err
			}
			defer c.close()
			inf, err := c.info()
			if err != nil {
				return false, "", err
			}
			return inf["role"] == "master" || inf["master_link_status"] == "up", "link " + inf["master_link_status"], nil
		},
		Every:   every,
		Timeout: settle,
	}
}

// agreed waits until a sentinel knows the others and the replicas, and holds
// the master for alive.
func agreed(w wanted, sentinels, replicas int) plan.Action {
	at := "127.0.0.1:" + strconv.Itoa(sentinelPort(w.port))
	return plan.Await{
		What: fmt.Sprintf("the sentinel knows %d others and %d replicas", sentinels-1, replicas),
		Until: func(ctx context.Context, h host.Reader) (bool, string, error) {
			c, err := connect(ctx, h, at, w.conf.Password.Reveal())
			if err != nil {
				return false, "", err
			}
			defer c.close()
			v, err := c.do("SENTINEL", "MASTER", sentinelGroup)
			if err != nil {
				return false, "", err
			}
			m, err := pairs(v)
			if err != nil {
				return false, "", err
			}
			i := info(m)
			ok := i["flags"] == "master" && i.number("num-other-sentinels") >= sentinels-1 && i.number("num-slaves") >= replicas
			return ok, fmt.Sprintf("%s others, %s replicas, master %s", m["num-other-sentinels"], m["num-slaves"], m["flags"]), nil
		},
		Every:   every,
		Timeout: time.Minute,
	}
}
