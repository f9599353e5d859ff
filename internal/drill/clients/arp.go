package clients

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
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
	go func() {
		<-ctx.Done()
		w.close()
	}()
	go w.listen()
	go w.ask(ctx, s.Heads, out)
	return nil
}

// arpWatch is a raw socket on the interface that leads to the address.
type arpWatch struct {
	fd    int
	link  *net.Interface
	own   netip.Addr
	vip   netip.Addr
	close func()

	mu     sync.Mutex
	answer map[netip.Addr][]string // since the last question, by the address asked for
}

func newARP(vip netip.Addr) (*arpWatch, error) {
	link, own, err := linkTo(vip)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ARP)))
	if err != nil {
		return nil, fmt.Errorf("a socket for ARP: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ARP), Ifindex: link.Index}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("listen for ARP on %s: %w", link.Name, err)
	}
	w := &arpWatch{fd: fd, link: link, own: own, vip: vip, answer: map[netip.Addr][]string{}}
	var once sync.Once
	w.close = func() {
		once.Do(func() { _ = unix.Shutdown(fd, unix.SHUT_RDWR); _ = unix.Close(fd) })
	}
	// A reader that waits in the kernel is woken to see that it is over.
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1})
	return w, nil
}

func htons(v uint16) uint16 { return binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, v)) }

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

// Operations of ARP (RFC 826).
const (
	arpRequest = 1
	arpReply   = 2
	arpSize    = 28 // bytes, for IPv4 over Ethernet
)

func (w *arpWatch) request(a netip.Addr) error {
	broadcast := unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ARP), Ifindex: w.link.Index, Halen: 6}
	for i := range 6 {
		broadcast.Addr[i] = 0xff
	}
	return unix.Sendto(w.fd, arpFrame(arpRequest, w.link.HardwareAddr, w.own, nil, a), 0, &broadcast)
}

// arpFrame writes a frame's content.
func arpFrame(op uint16, fromMAC net.HardwareAddr, from netip.Addr, toMAC net.HardwareAddr, to netip.Addr) []byte {
	b := make([]byte, 0, arpSize)
	b = binary.BigEndian.AppendUint16(b, 1)      // Ethernet
	b = binary.BigEndian.AppendUint16(b, 0x0800) // IPv4
	b = append(b, 6, 4)
	b = binary.BigEndian.AppendUint16(b, op)
	b = append(b, pad(fromMAC)...)
	b = append(b, from.AsSlice()...)
	b = append(b, pad(toMAC)...)
	return append(b, to.AsSlice()...)
}

func pad(mac net.HardwareAddr) []byte {
	out := make([]byte, 6)
	copy(out, mac)
	return out
}

// parseARP reads who says to have which address. ok is false for anything but an
// answer.
func parseARP(b []byte) (mac string, a netip.Addr, ok bool) {
	if len(b) < arpSize || binary.BigEndian.Uint16(b) != 1 || binary.BigEndian.Uint16(b[2:]) != 0x0800 ||
		b[4] != 6 || b[5] != 4 || binary.BigEndian.Uint16(b[6:]) != arpReply {
		return "", netip.Addr{}, false
	}
	return net.HardwareAddr(b[8:14]).String(), netip.AddrFrom4([4]byte(b[14:18])), true
}

// listen keeps every answer that arrives until the socket is closed.
func (w *arpWatch) listen() {
	buf := make([]byte, 128)
	for {
		n, _, err := unix.Recvfrom(w.fd, buf, 0)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return
		}
		if mac, a, ok := parseARP(buf[:n]); ok {
			w.mu.Lock()
			w.answer[a] = append(w.answer[a], mac)
			w.mu.Unlock()
		}
	}
}
