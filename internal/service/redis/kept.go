package redis

import (
	"context"
	"time"

	"multihead/internal/host"
)

// keptFor is how long a connection is asked through again. Every now and then a
// new one has to prove that the server still takes connections.
const keptFor = 5 * time.Second

// keptConn is a connection between two looks.
type keptConn struct {
	*conn
	since time.Time // when it was made
}

// Close implements io.Closer.
func (k keptConn) Close() error { return k.c.Close() }

// again is the connection that the look before kept, nil where there is none that
// may be used.
func again(ctx context.Context, r host.Reader, i instance) *keptConn {
	keeper, ok := r.(host.Keeper)
	if !ok {
		return nil
	}
	k, ok := keeper.Kept(keptKey(i)).(keptConn)
	if !ok {
		return nil
	}
	if time.Since(k.since) > keptFor {
		_ = k.Close()
		return nil
	}
	k.bind(ctx)
	return &k
}

// keep leaves the connection to the next look, or closes it where nobody keeps.
func (k keptConn) keep(r host.Reader, i instance) {
	keeper, ok := r.(host.Keeper)
	if !ok || !k.stop() { // stopped: its look's time was over
		k.close()
		return
	}
	keeper.Keep(keptKey(i), k)
}

func keptKey(i instance) string { return "redis " + i.local() }

// bind has the connection end with ctx.
func (c *conn) bind(ctx context.Context) {
	c.stop = context.AfterFunc(ctx, func() { _ = c.c.SetDeadline(time.Unix(1, 0)) })
}

// askServer asks for all that a look wants to know: through the connection of the
// look before, and through a new one where that has ended since.
func askServer(ctx context.Context, r host.Reader, i instance, password string) ([]any, error) {
	questions := [][]string{{"INFO"}, {"CLUSTER", "INFO"}, {"CLUSTER", "NODES"}, {"CONFIG", "GET", "dir"}}
	if k := again(ctx, r, i); k != nil {
		out, err := k.pipe(askLimit, questions...)
		if err == nil {
			k.keep(r, i)
			return out, nil
		}
		k.close()
		if ctx.Err() != nil {
			return nil, err
		}
	}
	c, err := reach(ctx, r, i, password)
	if err != nil {
		return nil, err
	}
	out, err := c.pipe(askLimit, questions...)
	if err != nil {
		c.close()
		return nil, err
	}
	keptConn{c, time.Now()}.keep(r, i)
	return out, nil
}
