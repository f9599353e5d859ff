package gluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"multihead/internal/host"
	"multihead/internal/plan"
)

// Peers go by their addresses, not by their names: a name server, or a line in
// /etc/hosts that somebody changes, is then nothing that the storage hangs on.
// glusterd writes the address of a peer that was probed into its store and the
// layout of the volume into every client, so that this holds for good.

// probe brings the heads into the pool, all at once.
func (s *State) probe(b blueprint) []plan.Step {
	var others []*head
	for _, name := range b.pool {
		if name != b.cli {
			others = append(others, s.head(name))
		}
	}
	if b.arbiter != "" {
		others = append(others, s.head(b.arbiter))
	}
	if len(others) == 0 {
		return nil
	}
	absent := func(ctx context.Context, r host.Reader) ([]*head, error) {
		peers, err := readPeers(ctx, r)
		if err != nil {
			return nil, err
		}
		var out []*head
		for _, h := range others {
			if !slices.ContainsFunc(peers, func(p peer) bool { return p.State == peerInCluster && h.is(p) }) {
				out = append(out, h)
			}
		}
		return out, nil
	}
	probe := plan.Func{
		What: "bring " + strings.Join(namesOf(others), ", ") + " into the pool", Kind: plan.Add,
		Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
			out, err := absent(ctx, r)
			return len(out) == 0, err
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			want, err := absent(ctx, h)
			if err != nil {
				return nil, err
			}
			undo, err := probeAll(ctx, h, want)
			if err != nil {
				return undo, err
			}
			_, err = connected(others).Do(ctx, h)
			return undo, err
		},
	}
	if b.lost {
		probe.Satisfied = nil // a member of that address is taken out first
	}
	return []plan.Step{{ID: "glusterfs.probe", Host: b.cli, Action: probe}}
}

// is says whether a peer of the store is this head.
func (h *head) is(p peer) bool {
	return p.named(h.addr.String()) || h.uuid != "" && p.UUID == h.uuid
}

func namesOf(heads []*head) []string {
	var out []string
	for _, h := range heads {
		out = append(out, h.name)
	}
	return out
}

func probeAll(ctx context.Context, h host.Host, heads []*head) (plan.Action, error) {
	var mu sync.Mutex
	var undo detach
	var g errgroup.Group
	for _, other := range heads {
		g.Go(func() error {
			if _, err := change(ctx, h, "peer", "probe", other.addr.String()); err != nil {
				var said *cliError
				if errors.As(err, &said) && strings.Contains(said.Said, "not connected") {
					return fmt.Errorf("%s (%s) does not take connections from %s on port 24007: %w", other.name, other.addr, h.Name(), err)
				}
				return fmt.Errorf("%s: %w", other.name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			undo.addresses = append(undo.addresses, other.addr.String())
			return nil
		})
	}
	err := g.Wait()
	if len(undo.addresses) == 0 {
		return nil, err
	}
	return undo, err
}

// connected waits until glusterd sees heads as full members.
func connected(heads []*head) plan.Await {
	return plan.Await{What: "all peers are connected", Timeout: 30 * time.Second, Every: 100 * time.Millisecond,
		Until: func(ctx context.Context, r host.Reader) (bool, string, error) {
			peers, err := friends(ctx, r)
			if err != nil {
				return false, "", err
			}
			for _, h := range heads {
				state := "not a peer"
				for _, p := range peers {
					if p.host != h.addr.String() && !slices.Contains(p.names, h.addr.String()) && (h.uuid == "" || p.uuid != h.uuid) {
						continue
					}
					if state = p.word; p.state == peerInCluster && p.connected {
						state = ""
					}
				}
				if state != "" {
					return false, h.name + ": " + state, nil
				}
			}
			return true, "", nil
		}}
}

// detach is the undo of probing.
type detach struct{ addresses []string }

func (d detach) String() string {
	return "take " + strings.Join(d.addresses, ", ") + " out of the pool again"
}

func (d detach) Done(ctx context.Context, h host.Reader) (bool, error) {
	peers, err := readPeers(ctx, h)
	return !slices.ContainsFunc(peers, func(p peer) bool {
		return slices.ContainsFunc(d.addresses, p.named)
	}), err
}

func (d detach) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	var errs []error
	for _, a := range d.addresses {
		if _, err := change(ctx, h, "peer", "detach", a); err != nil && !strings.Contains(err.Error(), "is not part of cluster") {
			errs = append(errs, err)
		}
	}
	return nil, errors.Join(errs...)
}

// introduce has one of the others probe the first head by its address: the
// others know the head that probed them by whatever name its address resolved
// to, and only so by the address too.
func (s *State) introduce(b blueprint) []plan.Step {
	for _, name := range b.pool {
		if name == b.cli {
			continue
		}
		cli := s.head(b.cli)
		return []plan.Step{{ID: "glusterfs.introduce", Host: name, Action: plan.Func{
			What: "make " + b.cli + " known to the pool by its address",
			Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
				peers, err := readPeers(ctx, r)
				return slices.ContainsFunc(peers, func(p peer) bool { return p.named(cli.addr.String()) }), err
			},
			Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
				_, err := change(ctx, h, "peer", "probe", cli.addr.String())
				return nil, err
			}}}}
	}
	return nil
}
