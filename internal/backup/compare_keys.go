package backup

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/redis/go-redis/v9"
)

// compareKeys compares every key of the snapshot with what the servers have now:
// texts byte for byte, all others by type and length, for those are not always
// written down in one order.
func (w Worker) compareKeys(ctx context.Context, j Job, dir string) (Compared, error) {
	c := Compared{Part: "Redis"}
	files, err := filepath.Glob(filepath.Join(dir, "*.rdb"))
	if err != nil || len(files) == 0 {
		return c, errors.Join(err, errors.New("the snapshot has no file of it"))
	}
	now, err := w.serving(ctx, j)
	if err != nil {
		return c, err
	}
	defer func() { _ = now.Close() }()
	var seen, equal, passing int64
	for _, f := range files {
		err := w.keysOf(ctx, f, func(ctx context.Context, from *redis.Client, keys []string) error {
			then, err := describeKeys(ctx, from, keys)
			if err != nil {
				return err
			}
			is, err := describeKeys(ctx, now, keys)
			if err != nil {
				return err
			}
			for i, k := range keys {
				if then[i].kind == "none" {
					continue // it expired just now
				}
				seen++
				if then[i].expires {
					passing++
				}
				switch {
				case then[i] == is[i]:
					equal++
				case then[i].expires && is[i].kind == "none":
				default:
					c.differs("the key %q is %s, and was %s", k, is[i], then[i])
				}
			}
			return nil
		})
		if err != nil {
			return c, fmt.Errorf("%s: %w", filepath.Base(f), err)
		}
	}
	c.Snapshot = many(seen, "key")
	if passing > 0 {
		c.Snapshot += fmt.Sprintf(", %d that expire", passing)
	}
	c.Back = many(equal, "key")
	total, err := now.DBSize(ctx).Result() // of all masters
	if err == nil && total > seen {
		c.differs("it holds %d, and the snapshot has %d", total, seen)
	}
	return c, err
}

// keyState is what is compared of a key.
type keyState struct {
	kind    string // none where there is no such key
	length  int64  // entries; of a text 0
	sum     string // of a text
	expires bool
}

func (k keyState) String() string {
	if k.sum != "" {
		return k.kind + " " + k.sum[:8]
	}
	if k.kind == "none" {
		return "not there"
	}
	return fmt.Sprintf("%s of %d", k.kind, k.length)
}

// describeKeys asks for the state of keys, in their order.
func describeKeys(ctx context.Context, of redis.UniversalClient, keys []string) ([]keyState, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	kinds, ttls := make([]*redis.StatusCmd, len(keys)), make([]*redis.DurationCmd, len(keys))
	if _, err := of.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, k := range keys {
			kinds[i], ttls[i] = p.Type(ctx, k), p.PTTL(ctx, k)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	lengths, texts := make([]*redis.IntCmd, len(keys)), make([]*redis.StringCmd, len(keys))
	_, err := of.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, k := range keys {
			switch kinds[i].Val() {
			case "string":
				texts[i] = p.Get(ctx, k)
			case "list":
				lengths[i] = p.LLen(ctx, k)
			case "set":
				lengths[i] = p.SCard(ctx, k)
			case "zset":
				lengths[i] = p.ZCard(ctx, k)
			case "hash":
				lengths[i] = p.HLen(ctx, k)
			case "stream":
				lengths[i] = p.XLen(ctx, k)
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	out := make([]keyState, len(keys))
	for i := range keys {
		out[i] = keyState{kind: kinds[i].Val(), expires: ttls[i].Val() > 0}
		if lengths[i] != nil {
			out[i].length = lengths[i].Val()
		}
		if texts[i] != nil {
			out[i].sum = sum([]byte(texts[i].Val()))
		}
	}
	return out, nil
}
