package backup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// keptRedis is where what Redis held before a restore is kept.
func (j Job) keptRedis() string { return filepath.Join(j.Root, "kept", j.Stamp, "redis") }

// redisKeep fetches what Redis holds now, for the way back.
func (w Worker) redisKeep(ctx context.Context, j Job) (Result, error) {
	if !stampPattern.MatchString(j.Stamp) {
		return Result{}, errors.New("the job does not say where to")
	}
	if err := os.MkdirAll(filepath.Dir(j.keptRedis()), 0o700); err != nil {
		return Result{}, err
	}
	sources, err := w.fetch(ctx, j, j.keptRedis())
	return Result{Redis: sources}, err
}

// redisLoad makes Redis hold what the snapshot has, redisUnload what was kept.
func (w Worker) redisLoad(ctx context.Context, j Job) (Result, error) {
	return w.keysFrom(ctx, j, filepath.Join(Layout{j.Root}.Restoring(), "redis"))
}

func (w Worker) redisUnload(ctx context.Context, j Job) (Result, error) {
	if !stampPattern.MatchString(j.Stamp) {
		return Result{}, errors.New("the job does not say where from")
	}
	return w.keysFrom(ctx, j, j.keptRedis())
}

// batch is how many keys travel at once.
const batch = 200

// keysFrom makes the servers hold the keys of these files and no others, one
// batch after the other, by whoever serves each key's slot now: the cluster may
// have been cut otherwise when the files were written.
func (w Worker) keysFrom(ctx context.Context, j Job, dir string) (Result, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.rdb"))
	if err != nil || len(files) == 0 {
		return Result{}, errors.Join(err, fmt.Errorf("%s has no file of Redis in it", dir))
	}
	to, err := w.serving(ctx, j)
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = to.Close() }()
	seen := map[string]bool{}
	for _, f := range files {
		err := w.keysOf(ctx, f, func(ctx context.Context, from *redis.Client, keys []string) error {
			return handOn(ctx, from, to, keys, seen)
		})
		if err != nil {
			return Result{}, fmt.Errorf("%s: %w", filepath.Base(f), err)
		}
	}
	sweep := func(ctx context.Context, master *redis.Client) error { return dropOthers(ctx, master, seen) }
	if c, ok := to.(*redis.ClusterClient); ok {
		err = c.ForEachMaster(ctx, sweep)
	} else {
		err = sweep(ctx, to.(*redis.Client))
	}
	return Result{Keys: len(seen)}, err
}

// serving opens the servers that clients use: the whole cluster, or the master.
func (w Worker) serving(ctx context.Context, j Job) (redis.UniversalClient, error) {
	if cluster, err := w.redisCLI(ctx, j, j.Redis, "CLUSTER", "NODES"); err == nil && strings.Contains(cluster, "master") {
		if _, err := redisSources(cluster); err != nil {
			return nil, err
		}
		return redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{j.Redis}, Password: j.Password, Protocol: 2, DisableIdentity: true, ReadTimeout: 30 * time.Second}), nil
	}
	info, err := w.redisCLI(ctx, j, j.Redis, "INFO", "replication")
	if err != nil {
		return nil, err
	}
	return redis.NewClient(&redis.Options{Addr: redisMaster(info, j.Redis), Password: j.Password, Protocol: 2, DisableIdentity: true, ReadTimeout: 30 * time.Second}), nil
}

// keysOf has a server of its own read one file, where nobody else sees it, and
// gives it to each with the keys that it has, batch by batch.
func (w Worker) keysOf(ctx context.Context, file string, each func(ctx context.Context, from *redis.Client, keys []string) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sock := filepath.Join(filepath.Dir(file), ".sock")
	cmd := exec.CommandContext(ctx, "redis-server", "--port", "0", "--unixsocket", sock, "--unixsocketperm", "600", "--dir", filepath.Dir(file),
		"--dbfilename", filepath.Base(file), "--save", "", "--appendonly", "no", "--daemonize", "no", "--logfile", "")
	cmd.Env = environment()
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { cancel(); _ = cmd.Wait(); _ = os.Remove(sock) }()
	from := redis.NewClient(&redis.Options{Network: "unix", Addr: sock, Protocol: 2, DisableIdentity: true, ReadTimeout: 30 * time.Second,
		Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", sock)
		}})
	defer func() { _ = from.Close() }()
	if err := loaded(ctx, from); err != nil {
		return err
	}
	spaces, err := from.Info(ctx, "keyspace").Result()
	if err != nil {
		return err
	}
	for line := range strings.Lines(spaces) {
		if strings.HasPrefix(line, "db") && !strings.HasPrefix(line, "db0:") {
			return fmt.Errorf("it uses more than one database (%s), which restore does not bring back", strings.TrimSpace(line))
		}
	}
	for cursor := uint64(0); ; {
		keys, next, err := from.Scan(ctx, cursor, "*", batch).Result()
		if err != nil {
			return err
		}
		if err := each(ctx, from, keys); err != nil {
			return err
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// loaded waits until a server that was just started has read its file.
func loaded(ctx context.Context, c *redis.Client) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := c.DBSize(ctx).Result()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the server that is to read it: %w", err)
		case <-tick.C:
		}
	}
}

func handOn(ctx context.Context, from *redis.Client, to redis.UniversalClient, keys []string, seen map[string]bool) error {
	if len(keys) == 0 {
		return nil
	}
	dumps, ttls := make([]*redis.StringCmd, len(keys)), make([]*redis.DurationCmd, len(keys))
	_, err := from.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, k := range keys {
			dumps[i], ttls[i] = p.Dump(ctx, k), p.PTTL(ctx, k)
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	_, err = to.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, k := range keys {
			if dumps[i].Err() != nil {
				continue // it has expired
			}
			p.RestoreReplace(ctx, k, max(ttls[i].Val(), 0), dumps[i].Val())
			seen[k] = true
		}
		return nil
	})
	return err
}

// dropOthers takes away what a master has beyond the keys that were seen.
func dropOthers(ctx context.Context, master *redis.Client, seen map[string]bool) error {
	for cursor := uint64(0); ; {
		keys, next, err := master.Scan(ctx, cursor, "*", batch).Result()
		if err != nil {
			return err
		}
		_, err = master.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, k := range keys {
				if !seen[k] {
					p.Unlink(ctx, k)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}
