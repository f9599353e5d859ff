package gluster

import (
	"context"
	"errors"
	"net"
	"time"

	"multihead/internal/host"
)

// sessionFor is how long a connection to glusterd is asked through again. Every now
// and then a new one has to prove that the daemon still takes connections.
const sessionFor = 5 * time.Second

// session is a connection to glusterd between two looks.
type session struct {
	net.Conn
	since time.Time // when it was made
}

const sessionKey = "glusterd"

// call asks glusterd one thing: through the connection of the look before, and
// through a new one where there is none or it has ended since.
func call(ctx context.Context, r host.Reader, question []byte) ([]byte, error) {
	keeper, keeps := r.(host.Keeper)
	if keeps {
		if s, ok := keeper.Kept(sessionKey).(session); ok && time.Since(s.since) <= sessionFor {
			if msg, err := s.ask(ctx, keeper, question); err == nil || ctx.Err() != nil {
				return msg, err
			}
		} else if ok {
			_ = s.Close()
		}
	}
	conn, err := r.Dial(ctx, "unix", daemonSocket)
	if err != nil {
		return nil, err
	}
	return session{conn, time.Now()}.ask(ctx, keeper, question)
}

// ask leaves the connection to the next look, or ends it where nobody keeps or there
// was no answer.
func (s session) ask(ctx context.Context, keeper host.Keeper, question []byte) ([]byte, error) {
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	msg, err := s.exchange(question)
	if !stop() || err != nil || keeper == nil {
		_ = s.Close()
	} else {
		keeper.Keep(sessionKey, s)
	}
	if err != nil {
		return nil, errors.Join(err, context.Cause(ctx))
	}
	return msg, nil
}

func (s session) exchange(question []byte) ([]byte, error) {
	if _, err := s.Write(question); err != nil {
		return nil, err
	}
	return readRecord(s)
}
