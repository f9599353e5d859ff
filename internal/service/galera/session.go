package galera

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"multihead/internal/host"
)

// asker is a session, or what makes one when it is asked.
type asker interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// sessionFor is how long a session is asked through again. Every now and then a
// new one has to prove that the server still takes connections.
const sessionFor = 5 * time.Second

// session is one connection to a server, which is never made again by itself:
// connecting may start a daemon (see connect).
type session struct {
	db    *sql.DB
	conn  *sql.Conn
	since time.Time // when it was made
}

// Close implements io.Closer.
func (k session) Close() error { return errors.Join(k.conn.Close(), k.db.Close()) }

const sessionKey = "mariadb"

// again is the session that the look before kept, nil where there is none that
// may be used.
func again(r host.Reader) *session {
	keeper, ok := r.(host.Keeper)
	if !ok {
		return nil
	}
	k, ok := keeper.Kept(sessionKey).(session)
	if !ok {
		return nil
	}
	if time.Since(k.since) > sessionFor {
		_ = k.Close()
		return nil
	}
	return &k
}

// keep leaves the session to the next look, or ends it where nobody keeps.
func (k session) keep(r host.Reader) {
	if keeper, ok := r.(host.Keeper); ok {
		keeper.Keep(sessionKey, k)
		return
	}
	_ = k.Close()
}
