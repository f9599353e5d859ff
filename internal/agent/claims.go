package agent

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"multihead/internal/arp"
	"multihead/internal/config"
)

const (
	// probeEvery is the pause between two questions whether another machine has
	// the virtual address as well. One that never says so by itself is seen
	// within it.
	probeEvery = 5 * time.Second
	// announceEvery is the shortest pause between two announcements that
	// correct another machine's.
	announceEvery = 200 * time.Millisecond
	// sureAfter is how long the address moves from one head to another at most.
	sureAfter = time.Second
	// claimedFor is how long a claim is an alarm after it was last seen.
	claimedFor = 4 * probeEvery

	claimKey = "virtual address"
)

// claim is what is known of another machine's.
type claim struct {
	first, last time.Time
}

// again notes that it was seen, and says whether it is more than the moment in which
// the address moves from one head to another, where both of them may be heard.
func (c *claim) again(now time.Time) (sure bool) {
	if c.last.IsZero() || now.Sub(c.last) > claimedFor {
		c.first = now
	}
	c.last = now
	return now.Sub(c.first) >= sureAfter
}

// over says that it was, and is no more.
func (c *claim) over(now time.Time) bool { return !c.last.IsZero() && now.Sub(c.last) > claimedFor }

// watchClaims sees on the network whether a machine that is no head says of the
// virtual address that it is its own. While this head holds the address it says at
// once who has it, so that clients are led astray for moments only, and that is an
// alarm until the other has been quiet for a while.
//
// It is IPv4's ARP that is watched (RFC 826, and RFC 5227 for the probe, which asks
// without claiming anything).
func (a *Agent) watchClaims(ctx context.Context) {
	vip := a.Cluster.Network.VIP.Address
	if !vip.Is4() {
		return
	}
	s, err := arp.Open(nil, vip)
	if err != nil {
		a.Log.Warn("another machine that claims the virtual address will not be seen", "error", err)
		return
	}
	claims := claimsOf(ctx, s, vip)
	probe := time.NewTimer(probeEvery)
	defer probe.Stop()
	var c claim
	var announced time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-probe.C:
			if c.over(now) {
				c = claim{}
				a.alarm(claimKey, "")
			}
			if a.has() {
				if iface, _, holds := addressHere(vip); holds {
					_ = say(s, iface, arp.Probe(vip)) // the next one may get through
				}
			}
			probe.Reset(probeEvery)
		case mac, ok := <-claims:
			if !ok {
				return
			}
			now := time.Now()
			if !a.has() {
				continue // the holder says it to everybody again and again
			}
			iface, _, holds := addressHere(vip)
			if !holds || !a.foreign(mac) {
				continue
			}
			if !c.again(now) {
				probe.Reset(sureAfter)
				continue
			}
			a.alarm(claimKey, fmt.Sprintf("a machine that is none of the heads, with the hardware address %s, claims %s: %s answers it each time, and clients may reach the wrong one for moments; find that machine and take the address off it", mac, vip, a.Name))
			if now.Sub(announced) < announceEvery {
				continue
			}
			announced = now
			if err := say(s, iface, arp.Announcement(vip)); err != nil {
				a.Log.Warn("the virtual address could not be announced", "interface", iface, "error", err)
			}
		}
	}
}

// claimsOf are the hardware addresses that say that they have the address, until ctx
// ends. What comes while nobody listens is left out.
func claimsOf(ctx context.Context, s *arp.Socket, addr netip.Addr) <-chan net.HardwareAddr {
	out := make(chan net.HardwareAddr, 1)
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	go func() {
		defer stop()
		defer close(out)
		defer func() { _ = s.Close() }()
		for {
			f, err := s.Next()
			if err != nil || ctx.Err() != nil {
				return
			}
			if f.Sender != addr {
				continue
			}
			select {
			case out <- f.MAC:
			default:
			}
		}
	}()
	return out
}

// say says a frame on the network of the interface of that name.
func say(s *arp.Socket, iface string, f arp.Frame) error {
	link, err := net.InterfaceByName(iface)
	if err != nil {
		return err
	}
	return s.Send(link, f)
}

// foreign says whether a hardware address is neither this machine's nor that of
// another head as this machine reaches it. What cannot be told is not foreign.
func (a *Agent) foreign(mac net.HardwareAddr) bool {
	list, err := net.Interfaces()
	if err != nil {
		return false
	}
	table, err := os.ReadFile("/proc/net/arp")
	if err != nil {
		return false
	}
	near := neighbours(string(table))
	return !slices.ContainsFunc(list, func(i net.Interface) bool { return slices.Equal(i.HardwareAddr, mac) }) &&
		!slices.ContainsFunc(a.Cluster.Nodes.Controllers, func(c config.Controller) bool { return near[c.Address] == mac.String() })
}

// neighbours reads the kernel's table of hardware addresses (proc(5),
// /proc/net/arp), without those that are not known.
func neighbours(table string) map[netip.Addr]string {
	out := map[netip.Addr]string{}
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		addr, err := netip.ParseAddr(f[0])
		mac, merr := net.ParseMAC(f[3])
		if err == nil && merr == nil && slices.Max(mac) > 0 {
			out[addr] = mac.String()
		}
	}
	return out
}
