package work

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	redisDial    = 500 * time.Millisecond
	redisTimeout = 1500 * time.Millisecond
	redisLimit   = 4 * time.Second
)

// redisWork sets keys of its own, each once.
type redisWork struct {
	client redis.UniversalClient
	prefix string
	shards []shard
}

// shard is a range of slots as they lay when the work began.
type shard struct {
	from, to int
	name     string
}

// RedisKey is the name of the nth key of a run.
func RedisKey(run string, n int64) string { return fmt.Sprintf("%s%s:%d", RedisPrefix, run, n) }

// RedisPrefix begins the names of all keys that drills make.
const RedisPrefix = "multihead_drill:"

// RedisClient is a client that knows the cluster, or asks the sentinels. dial
// may be nil.
func RedisClient(s RedisSpec, dial func(ctx context.Context, network, address string) (net.Conn, error)) redis.UniversalClient {
	return redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs: s.Addresses, MasterName: s.Master, Password: s.Password, SentinelPassword: s.Password,
		IsClusterMode: s.Master == "", Dialer: dial, Protocol: 2, DisableIdentity: true,
		DialTimeout: redisDial, ReadTimeout: redisTimeout, WriteTimeout: redisTimeout, PoolSize: 40,
		MaxRedirects: 5, MinRetryBackoff: 20 * time.Millisecond, MaxRetryBackoff: 200 * time.Millisecond,
	})
}

func newRedisWork(ctx context.Context, run string, s RedisSpec) (*redisWork, error) {
	redis.SetLogger(quiet{})
	w := &redisWork{client: RedisClient(s, nil), prefix: run}
	if cc, ok := w.client.(*redis.ClusterClient); ok {
		slots, err := cc.ClusterSlots(ctx).Result()
		if err != nil {
			_ = w.client.Close()
			return nil, err
		}
		for _, r := range slots {
			if len(r.Nodes) > 0 {
				w.shards = append(w.shards, shard{r.Start, r.End, r.Nodes[0].Addr})
			}
		}
	}
	return w, nil
}

// quiet is for the library's log, which would go to standard error.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

var _ io.Closer = (*redisWork)(nil)

// Close ends the connections.
func (w *redisWork) Close() error { return w.client.Close() }

func (w *redisWork) schedule() schedule { return schedule{Redis, "", redisEvery, 150, w.set} }

func (w *redisWork) set(ctx context.Context, n int64) outcome {
	ctx, cancel := context.WithTimeout(ctx, redisLimit)
	defer cancel()
	key := RedisKey(w.prefix, n)
	o := outcome{part: w.shardOf(key)}
	if err := w.client.Set(ctx, key, n, time.Hour).Err(); err != nil {
		// Even where the last answer is a refusal, an earlier try may have been
		// carried out.
		o.result, o.err = Unknown, err
		return o
	}
	o.result = OK
	return o
}

func (w *redisWork) shardOf(key string) string {
	slot := Slot(key)
	for _, s := range w.shards {
		if slot >= s.from && slot <= s.to {
			return s.name
		}
	}
	return ""
}

// Slots is how many hash slots a Redis Cluster has.
const Slots = 16384

// Slot is the hash slot of a key without braces: CRC-16/XMODEM.
func Slot(key string) int {
	crc := uint16(0)
	for i := range len(key) {
		crc ^= uint16(key[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % Slots
}
