package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"multihead/internal/config"
	"multihead/internal/drill/check"
	"multihead/internal/drill/clients"
)

// redisClient is a client that reaches Redis through a head.
func (r *run) redisClient() (*redis.ClusterClient, error) {
	h, err := r.anyHead(config.Redis)
	if err != nil {
		return nil, err
	}
	return clients.RedisClient(*r.redisSpec(), h.Dial), nil
}

func (r *run) checkRedis(ctx context.Context, ops []clients.Op) []check.Verdict {
	if r.redisSpec() == nil {
		return nil
	}
	client, err := r.redisClient()
	if err != nil {
		return []check.Verdict{unread("redis keys", err)}
	}
	defer func() { _ = client.Close() }()
	values, err := r.redisValues(ctx, client, check.Of(ops, clients.Redis, ""))
	if err != nil {
		return []check.Verdict{unread("redis keys", err)}
	}
	v, lost := check.Keys(check.Of(ops, clients.Redis, ""), values, r.lossWindows())
	r.res.LostRedis = lost
	out := []check.Verdict{v}
	views := map[string][]check.SlotRange{}
	for i, c := range r.env.File.HeadsWith(config.Redis) {
		view, err := r.slotsOf(ctx, i, c)
		if err != nil {
			out = append(out, unread("slots as "+c.Hostname+" sees them", err))
			continue
		}
		views[c.Hostname] = view
	}
	return append(out, check.Slots(views))
}

// redisValues reads the keys of all operations, each by its number.
func (r *run) redisValues(ctx context.Context, client *redis.ClusterClient, ops []clients.Op) (map[int64]string, error) {
	values := map[int64]string{}
	const batch = 500
	for chunk := range slices.Chunk(ops, batch) {
		pipe := client.Pipeline()
		got := map[int64]*redis.StringCmd{}
		for _, op := range chunk {
			got[op.N] = pipe.Get(ctx, clients.RedisKey(r.id, op.N))
		}
		if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
			return nil, err
		}
		for n, cmd := range got {
			v, err := cmd.Result()
			switch {
			case err == nil:
				values[n] = v
			case !errors.Is(err, redis.Nil):
				return nil, err
			}
		}
	}
	return values, nil
}

// slotsOf asks one server, through its own head, who serves what.
func (r *run) slotsOf(ctx context.Context, n int, c config.Controller) ([]check.SlotRange, error) {
	h, ok := r.env.Host(c.Hostname)
	if !ok {
		return nil, errors.New("not reached")
	}
	slots, err := clients.SlotsOf(ctx, *r.redisSpec(), n, h.Dial)
	if err != nil {
		return nil, err
	}
	var out []check.SlotRange
	for _, sl := range slots {
		if len(sl.Nodes) > 0 {
			out = append(out, check.SlotRange{From: sl.Start, To: sl.End, Master: sl.Nodes[0].ID})
		}
	}
	return out, nil
}

// cleanRedis removes the run's keys. Those that it cannot reach go by themselves
// within an hour.
func (r *run) cleanRedis(ctx context.Context) error {
	ops := check.Of(r.record.all(), clients.Redis, "")
	if len(ops) == 0 {
		return nil
	}
	client, err := r.redisClient()
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	for chunk := range slices.Chunk(ops, 500) {
		pipe := client.Pipeline()
		for _, op := range chunk {
			pipe.Del(ctx, clients.RedisKey(r.id, op.N))
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return fmt.Errorf("remove the drill's keys from Redis (they go by themselves within an hour): %w", err)
		}
	}
	return nil
}
