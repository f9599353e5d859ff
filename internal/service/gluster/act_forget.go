package gluster

import (
	"context"
	"fmt"
	"slices"
	"time"

	"multihead/internal/host"
)

// forgetLimit is how long glusterd may take to come back.
const forgetLimit = 20 * time.Second

// forgetDead has glusterd see that heads are gone which are proven to be switched
// off. A host that lost its power says nothing: glusterd takes it for connected
// until TCP gives up, and until then every change waits for its answer, 120 s and
// in vain. A glusterd that starts anew looks for itself. It is killed, for asked
// to end it would wait as well; what it changes is on disk before it says so, and
// bricks and mounts run on without it.
func (s *State) forgetDead(ctx context.Context, h host.Host) error {
	waits := func() (bool, error) {
		peers, err := friends(ctx, h)
		if err != nil {
			return true, err
		}
		return slices.ContainsFunc(peers, func(p friend) bool { return p.connected && (s.provenDead(p.host) || slices.ContainsFunc(p.names, s.provenDead)) }), nil
	}
	if stuck, err := waits(); err == nil && !stuck {
		return nil
	}
	const unit = "glusterd.service"
	if _, err := h.Run(ctx, host.Command("systemctl", "kill", "--kill-whom=main", "--signal=KILL", unit)); err != nil {
		return err
	}
	if _, err := h.Run(ctx, host.Command("systemctl", "restart", unit)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, forgetLimit)
	defer cancel()
	for {
		stuck, err := waits()
		if err == nil && !stuck {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: glusterd still waits for heads that are off, or does not answer: %w", h.Name(), context.Cause(ctx))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// provenDead says whether a member of the pool is a head that is switched off for
// certain.
func (s *State) provenDead(member string) bool {
	for i := range s.heads {
		if h := &s.heads[i]; h.dead != "" && (member == h.name || member == h.addr.String()) {
			return true
		}
	}
	return false
}
