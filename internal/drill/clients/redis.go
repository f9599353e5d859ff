package clients

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
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
	client *redis.ClusterClient
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

// mapEvery is how often a client looks anew at who serves which slots. The
// library's own default is a minute, and a master that does not answer makes it
// look no earlier.
const mapEvery = 250 * time.Millisecond

// RedisClient is a client that knows the cluster. dial may be nil.
func RedisClient(s RedisSpec, dial func(ctx context.Context, network, address string) (net.Conn, error)) *redis.ClusterClient {
	return redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: s.Addresses, Password: s.Password, Dialer: dial, Protocol: 2, DisableIdentity: true,
		DialTimeout: redisDial, DialerRetries: 1, ReadTimeout: redisTimeout, WriteTimeout: redisTimeout, PoolSize: 40,
		MaxRedirects: 3, MinRetryBackoff: 20 * time.Millisecond, MaxRetryBackoff: 200 * time.Millisecond,
		ContextTimeoutEnabled: true, ClusterStateReloadInterval: mapEvery,
		ClusterSlots: func(ctx context.Context) ([]redis.ClusterSlot, error) { return askedSlots(ctx, s, dial) },
	})
}

// askedSlots asks all members at once who serves what, and takes the view that
// most of those that answer have: one that is cut off from the others still
// answers. Once more than half of all say the same, it waits for no more: one that
// lost its power would cost redisDial each time.
func askedSlots(ctx context.Context, s RedisSpec, dial func(ctx context.Context, network, address string) (net.Conn, error)) ([]redis.ClusterSlot, error) {
	ctx, cancel := context.WithTimeout(ctx, redisDial)
	defer cancel()
	type answer struct {
		view []redis.ClusterSlot
		err  error
	}
	answers := make(chan answer, len(s.Addresses))
	for i := range s.Addresses {
		go func() {
			view, err := SlotsOf(ctx, s, i, dial)
			answers <- answer{view, err}
		}()
	}
	var errs []error
	var best []redis.ClusterSlot
	count, most := map[string]int{}, 0
	for range s.Addresses {
		a := <-answers
		if a.err != nil {
			errs = append(errs, a.err)
			continue
		}
		key := viewKey(a.view)
		if count[key]++; count[key] > most {
			best, most = a.view, count[key]
		}
		if 2*most > len(s.Addresses) {
			break
		}
	}
	if most == 0 {
		return nil, errors.Join(errs...)
	}
	return best, nil
}

// viewKey is who the masters are, as text.
func viewKey(view []redis.ClusterSlot) string {
	var words []string
	for _, s := range view {
		if len(s.Nodes) > 0 {
			words = append(words, fmt.Sprint(s.Start, s.End, s.Nodes[0].ID))
		}
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

// SlotsOf asks the nth member who serves what.
func SlotsOf(ctx context.Context, s RedisSpec, n int, dial func(ctx context.Context, network, address string) (net.Conn, error)) ([]redis.ClusterSlot, error) {
	one := redis.NewClient(&redis.Options{Addr: s.Addresses[n], Password: s.Password, Dialer: dial, Protocol: 2, DisableIdentity: true,
		DialTimeout: redisDial, DialerRetries: 1, MaxRetries: -1, ContextTimeoutEnabled: true})
	defer func() { _ = one.Close() }()
	return one.ClusterSlots(ctx).Result() //nolint:staticcheck // CLUSTER SHARDS begins with Redis 7; servers of Debian 11 and RHEL 8 are older, and this still answers
}

func newRedisWork(ctx context.Context, run string, s RedisSpec) (*redisWork, error) {
	redis.SetLogger(quiet{})
	w := &redisWork{client: RedisClient(s, nil), prefix: run}
	slots, err := askedSlots(ctx, s, nil)
	if err != nil {
		_ = w.client.Close()
		return nil, err
	}
	for _, r := range slots {
		if len(r.Nodes) > 0 {
			w.shards = append(w.shards, shard{r.Start, r.End, r.Nodes[0].Addr})
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
