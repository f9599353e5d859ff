package clients

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"multihead/internal/arp"
)

// watchARP asks the segment, over and over, who has the virtual address, and
// writes down every answer to every question. Two answers to one question are
// two hosts that hold it at the same moment.
func (s *VIPSpec) watchARP(ctx context.Context, out func(Op)) error {
	vip, err := netip.ParseAddrPort(s.Address)
	if err != nil {
		return err
	}
	w, err := newARP(vip.Addr())
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = w.socket.Close() })
	go w.listen()
	go w.ask(ctx, s.Heads, out)
	return nil
}

// arpWatch is what is heard on the interface that leads to the address.
type arpWatch struct {
	socket *arp.Socket
	link   *net.Interface
	own    netip.Addr
	vip    netip.Addr

	mu     sync.Mutex
	answer map[netip.Addr][]string // since the last question, by the address asked for
}

func newARP(vip netip.Addr) (*arpWatch, error) {
	link, own, err := linkTo(vip)
	if err != nil {
		return nil, err
	}
	s, err := arp.Open(link, netip.Addr{})
	if err != nil {
		return nil, fmt.Errorf("listen for ARP on %s: %w", link.Name, err)
	}
	return &arpWatch{socket: s, link: link, own: own, vip: vip, answer: map[netip.Addr][]string{}}, nil
}

// linkTo is the interface on whose own network an address lies, and our address
// there.
func linkTo(a netip.Addr) (*net.Interface, netip.Addr, error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, netip.Addr{}, err
	}
	for i := range links {
		addrs, err := links[i].Addrs()
		if err != nil || links[i].Flags&net.FlagLoopback != 0 {
			continue
		}
		for _, own := range addrs {
			p, err := netip.ParsePrefix(own.String())
			if err == nil && p.Addr() != a && p.Masked().Contains(a) {
				return &links[i], p.Addr(), nil
			}
		}
	}
	return nil, netip.Addr{}, fmt.Errorf("%s is not on a network of this host: who holds it cannot be seen from here", a)
}

// ask asks every period and reports what was answered since the last time.
func (w *arpWatch) ask(ctx context.Context, heads map[string]string, out func(Op)) {
	owners := w.learn(ctx, heads)
	tick := time.NewTicker(arpEvery)
	defer tick.Stop()
	w.collect(w.vip)
	for n := int64(0); ; n++ {
		asked := time.Now()
		err := w.request(w.vip)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		op := Op{Workload: ARP, N: n, Due: asked, Begin: asked, End: time.Now(), Result: Failed}
		var who []string
		for _, mac := range w.collect(w.vip) {
			if name, ok := owners[mac]; ok {
				mac = name
			}
			who = append(who, mac)
		}
		if len(who) > 0 {
			op.Result = OK
		}
		op.Value = strings.Join(who, ",")
		if err != nil {
			op.Err = err.Error()
		}
		out(op)
	}
}

// learn asks the heads' own addresses, so that answers can be named. A head
// that has several interfaces and answers on another stays a number.
func (w *arpWatch) learn(ctx context.Context, heads map[string]string) map[string]string {
	owners := map[string]string{}
	for range 5 {
		for _, address := range heads {
			if a, err := netip.ParseAddr(address); err == nil {
				_ = w.request(a) // asked again
			}
		}
		select {
		case <-ctx.Done():
			return owners
		case <-time.After(100 * time.Millisecond):
		}
		for name, address := range heads {
			if a, err := netip.ParseAddr(address); err == nil {
				for _, mac := range w.collect(a) {
					owners[mac] = name
				}
			}
		}
		if len(owners) >= len(heads) {
			break
		}
	}
	return owners
}

// collect takes the answers that came for an address, each host once.
func (w *arpWatch) collect(a netip.Addr) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	got := w.answer[a]
	delete(w.answer, a)
	slices.Sort(got)
	return slices.Compact(got)
}

func (w *arpWatch) request(a netip.Addr) error {
	return w.socket.Send(w.link, arp.Frame{Op: arp.Request, Sender: w.own, Target: a})
}

// listen keeps every answer that arrives until the socket is closed.
func (w *arpWatch) listen() {
	for {
		f, err := w.socket.Next()
		if err != nil {
			return
		}
		if f.Op == arp.Reply {
			w.mu.Lock()
			w.answer[f.Sender] = append(w.answer[f.Sender], f.MAC.String())
			w.mu.Unlock()
		}
	}
}
