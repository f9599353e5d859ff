package arp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Socket hears what other machines say, and speaks to them (packet(7)).
type Socket struct{ f *os.File }

// Open needs CAP_NET_RAW. It hears one interface, or every one of this machine
// where link is nil; of everybody, or only what says of an address that it is the
// speaker's own where of is valid: a network has many others, and none of them is
// to wake whoever reads.
func Open(link *net.Interface, of netip.Addr) (*Socket, error) {
	// Nothing comes before the filter is set: it is bound to a protocol after.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if of.IsValid() {
		prog := filter(of)
		if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}); err != nil {
			_ = unix.Close(fd)
			return nil, os.NewSyscallError("setsockopt", err)
		}
	}
	at := &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ARP)}
	if link != nil {
		at.Ifindex = link.Index
	}
	if err := unix.Bind(fd, at); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	return &Socket{os.NewFile(uintptr(fd), "arp")}, nil
}

// filter lets the kernel pass only frames whose sender says that it has addr.
func filter(addr netip.Addr) []unix.SockFilter {
	ip := addr.As4()
	const loadHalf, loadWord, jumpEqual, ret = unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, unix.BPF_LD | unix.BPF_W | unix.BPF_ABS,
		unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	return []unix.SockFilter{
		{Code: loadHalf, K: etherType},
		{Code: jumpEqual, K: etherTypeARP, Jf: 3},
		{Code: loadWord, K: sender + 6},
		{Code: jumpEqual, K: binary.BigEndian.Uint32(ip[:]), Jf: 1},
		{Code: ret, K: size},
		{Code: ret, K: 0},
	}
}

// Next waits for the next frame. It fails once the socket is closed.
func (s *Socket) Next() (Frame, error) {
	buf := make([]byte, size)
	for {
		n, err := s.f.Read(buf)
		if errors.Is(err, unix.ENETDOWN) {
			continue // an interface that goes down is told of once
		}
		if err != nil {
			return Frame{}, err
		}
		if f, ok := Parse(buf[:n]); ok {
			return f, nil
		}
	}
}

// Send says a frame to everybody on an interface's network, from that interface's
// hardware address. It does not wait: where the interface is busy it fails.
func (s *Socket) Send(link *net.Interface, f Frame) error {
	if len(link.HardwareAddr) != 6 {
		return fmt.Errorf("%s is no Ethernet", link.Name)
	}
	f.MAC = link.HardwareAddr
	conn, err := s.f.SyscallConn()
	if err != nil {
		return err
	}
	to := &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ARP), Ifindex: link.Index, Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}
	var serr error
	if err := conn.Control(func(fd uintptr) { serr = unix.Sendto(int(fd), f.broadcast(), 0, to) }); err != nil {
		return err
	}
	return os.NewSyscallError("sendto", serr)
}

// Close ends a Next that waits.
func (s *Socket) Close() error { return s.f.Close() }

// networkOrder is a number as the kernel takes a protocol, whatever the byte order
// of this machine.
func networkOrder(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}
