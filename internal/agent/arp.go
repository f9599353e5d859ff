package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// arpSocket hears what machines on this host's networks say of one address
// (packet(7)).
type arpSocket struct {
	f    *os.File
	addr netip.Addr
}

// openARP needs CAP_NET_RAW.
func openARP(addr netip.Addr) (*arpSocket, error) {
	// Nothing comes before the filter is set: it is bound to a protocol after.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	prog := arpFilter(addr)
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ARP)}); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	return &arpSocket{f: os.NewFile(uintptr(fd), "arp"), addr: addr}, nil
}

// arpFilter lets the kernel pass only frames whose sender is addr: a network has
// many others, and none of them is to wake the agent.
func arpFilter(addr netip.Addr) []unix.SockFilter {
	ip := addr.As4()
	const loadHalf, loadWord, jumpEqual, ret = unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, unix.BPF_LD | unix.BPF_W | unix.BPF_ABS,
		unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	return []unix.SockFilter{
		{Code: loadHalf, K: ethType},
		{Code: jumpEqual, K: etherTypeARP, Jf: 3},
		{Code: loadWord, K: arpSender + 6},
		{Code: jumpEqual, K: binary.BigEndian.Uint32(ip[:]), Jf: 1},
		{Code: ret, K: frameSize},
		{Code: ret, K: 0},
	}
}

// claims are the hardware addresses that say that they have the address, until ctx
// ends. What comes while nobody listens is left out.
func (s *arpSocket) claims(ctx context.Context) <-chan net.HardwareAddr {
	out := make(chan net.HardwareAddr, 1)
	stop := context.AfterFunc(ctx, func() { _ = s.f.Close() })
	go func() {
		defer stop()
		defer close(out)
		defer func() { _ = s.f.Close() }()
		buf := make([]byte, frameSize)
		for {
			n, err := s.f.Read(buf)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				// An interface that goes down is told of once.
				if errors.Is(err, unix.ENETDOWN) {
					continue
				}
				return
			}
			if mac := claimOf(buf[:n], s.addr); mac != nil {
				select {
				case out <- mac:
				default:
				}
			}
		}
	}()
	return out
}

// send says to everybody on an interface's network that the address is here, or
// asks who else has it.
func (s *arpSocket) send(iface string, says bool) error {
	i, err := net.InterfaceByName(iface)
	if err != nil {
		return err
	}
	if len(i.HardwareAddr) != 6 {
		return fmt.Errorf("%s is no Ethernet", iface)
	}
	conn, err := s.f.SyscallConn()
	if err != nil {
		return err
	}
	to := &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ARP), Ifindex: i.Index, Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}
	frame := frameFor(i.HardwareAddr, s.addr, says)
	var serr error
	if err := conn.Control(func(fd uintptr) { serr = unix.Sendto(int(fd), frame, 0, to) }); err != nil {
		return err
	}
	return os.NewSyscallError("sendto", serr)
}

// networkOrder is a number as the kernel takes a protocol, whatever the byte order
// of this machine.
func networkOrder(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}
