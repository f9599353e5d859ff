package gluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
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
		return slices.ContainsFunc(peers, func(p friend) bool {
			return p.connected && (s.provenDead(p.host) || slices.ContainsFunc(p.names, s.provenDead))
		}), nil
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

// hearsFor is how long a client has to hear by itself that the volume goes on.
const hearsFor = 3 * time.Second

// mountAnew mounts the volume again where nothing can be looked at in it. A client
// hears of changed options from one glusterd, and where that went away it tries the
// next in its list: those of heads that are off, minutes for each.
func (s *State) mountAnew() plan.Action {
	dir := s.conf.MountPoint
	return plan.Func{
		What: "mount " + dir + " anew, whose client does not hear that the volume goes on", Kind: plan.Restart,
		Satisfied: func(ctx context.Context, r host.Reader) (bool, error) { return serves(ctx, r, dir), nil },
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			for begin := time.Now(); time.Since(begin) < hearsFor; {
				if serves(ctx, h, dir) {
					return nil, nil
				}
				select {
				case <-ctx.Done():
					return nil, context.Cause(ctx)
				case <-time.After(200 * time.Millisecond):
				}
			}
			// Lazily: what is open in it would keep it, and cannot be written any more.
			if _, err := h.Run(ctx, host.Command("umount", "--lazy", dir)); err != nil {
				return nil, err
			}
			_, err := h.Run(ctx, host.Command("systemctl", "restart", mountUnit(dir)))
			return nil, err
		},
	}
}

// serves says whether the volume can be looked at where it is mounted.
func serves(ctx context.Context, r host.Reader, dir string) bool {
	ctx, cancel := context.WithTimeout(ctx, mountLimit)
	defer cancel()
	_, err := r.Stat(ctx, path.Join(dir, Marker))
	return err == nil || errors.Is(err, fs.ErrNotExist)
}

// provenDead says whether a member of the pool is a head that is switched off for
// certain.
func (s *State) provenDead(member string) bool {
	for _, h := range s.hosts() {
		if h.dead != "" && (member == h.name || member == h.addr.String()) {
			return true
		}
	}
	return false
}
