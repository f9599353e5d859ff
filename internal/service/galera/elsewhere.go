package galera

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"multihead/internal/host"
	"multihead/internal/service"
)

// A head that was taken out of the file by hand, whose service was switched off in it,
// or whose address was changed, is asked by nobody, and may serve all the same. The
// others still have its address on disk, for they looked for it when they started last.

// galeraPort is where members talk to each other.
const galeraPort = 4567

// strangerLimit is how long an address that nobody answers at is waited for.
const strangerLimit = time.Second

var clusterAddress = regexp.MustCompile(`(?m)^wsrep_cluster_address\s*=\s*"?gcomm://([^"\n?]*)`)

// parseMembers reads the addresses of our own file of members. What is not understood
// names nobody.
func parseMembers(b []byte) []netip.Addr {
	m := clusterAddress.FindSubmatch(b)
	if m == nil {
		return nil
	}
	var out []netip.Addr
	for word := range strings.SplitSeq(string(m[1]), ",") {
		if a, err := netip.ParseAddr(strings.Trim(strings.TrimSpace(word), "[]")); err == nil {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// strangers are addresses that heads know as members', that the file does not name, and
// at which somebody answers as a member would.
func strangers(ctx context.Context, heads []service.Node, nodes []node) []string {
	known := func(a netip.Addr) bool {
		return slices.ContainsFunc(nodes, func(n node) bool { return n.addr.Unmap() == a })
	}
	var mu sync.Mutex
	var out []string
	var g errgroup.Group
	for i, h := range heads {
		if !nodes[i].reached {
			continue
		}
		g.Go(func() error {
			raw, err := h.Reader.ReadFile(ctx, nodes[i].at.membersFile())
			if err != nil {
				return nil // it names nobody; a head that cannot be asked is unknown by itself
			}
			for _, a := range parseMembers(raw) {
				if !known(a) && listens(ctx, h.Reader, a) {
					mu.Lock()
					defer mu.Unlock()
					out = append(out, a.String())
				}
			}
			return nil
		})
	}
	_ = g.Wait()
	slices.Sort(out)
	return slices.Compact(out)
}

func listens(ctx context.Context, r host.Reader, a netip.Addr) bool {
	ctx, cancel := context.WithTimeout(ctx, strangerLimit)
	defer cancel()
	c, err := r.Dial(ctx, "tcp", net.JoinHostPort(a.String(), fmt.Sprint(galeraPort)))
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// mayLiveElsewhere refuses to begin a cluster where one may live on a head that the file
// does not name.
func (s *State) mayLiveElsewhere(intent service.Intent) *service.Refusal {
	if len(s.elsewhere) == 0 || intent.Confirmed {
		return nil
	}
	return &service.Refusal{Service: "mariadb",
		Reason: fmt.Sprintf("no head of the file serves, and somebody answers on port %d of %s, which the heads know as a member and the file does not name: the cluster may live there", galeraPort, strings.Join(s.elsewhere, ", ")),
		Remedy: "Write that head into the file again, or stop mariadb on it. Where it is no member any more: run again with the cluster's name (up --confirm, recover --accept-data-loss)."}
}
