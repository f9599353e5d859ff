// Package arp hears and says on this machine's Ethernet networks who has an IPv4
// address (RFC 826, and RFC 5227 for probes and announcements).
package arp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
)

// Op is what a frame is.
type Op uint16

// The operations.
const (
	Request Op = 1
	Reply   Op = 2
)

// Frame is one ARP packet for IPv4, in a frame of Ethernet.
type Frame struct {
	Op     Op
	MAC    net.HardwareAddr // the sender's, 6 bytes
	Sender netip.Addr       // the address that the sender says is its own; 0.0.0.0 claims none
	Target netip.Addr       // the address that is asked for, or whom a reply is for
}

// Announcement says, to everybody, that an address is here.
func Announcement(a netip.Addr) Frame { return Frame{Op: Request, Sender: a, Target: a} }

// Probe asks who has an address without claiming anything.
func Probe(a netip.Addr) Frame {
	return Frame{Op: Request, Sender: netip.IPv4Unspecified(), Target: a}
}

// Where the parts of a frame begin, in bytes.
const (
	source    = 6
	etherType = 12
	header    = 14 // hardware and protocol, the lengths of their addresses
	operation = 20
	sender    = 22 // 6 bytes of hardware, 4 of protocol
	target    = 32 // 6 and 4 bytes
	size      = 42

	etherTypeARP  = 0x0806
	etherTypeIPv4 = 0x0800
	ethernet      = 1
	ieee802       = 6 // what some machines call Ethernet; Linux takes both
)

// Parse reads a frame with its Ethernet header. ok is false for whatever is not
// ARP for IPv4.
func Parse(b []byte) (f Frame, ok bool) {
	if len(b) < size || binary.BigEndian.Uint16(b[etherType:]) != etherTypeARP {
		return Frame{}, false
	}
	hardware, protocol := binary.BigEndian.Uint16(b[header:]), binary.BigEndian.Uint16(b[header+2:])
	if hardware != ethernet && hardware != ieee802 || protocol != etherTypeIPv4 || b[header+4] != 6 || b[header+5] != 4 {
		return Frame{}, false
	}
	return Frame{
		Op:     Op(binary.BigEndian.Uint16(b[operation:])),
		MAC:    slices.Clone(net.HardwareAddr(b[sender : sender+6])),
		Sender: netip.AddrFrom4([4]byte(b[sender+6:])),
		Target: netip.AddrFrom4([4]byte(b[target+6:])),
	}, true
}

// broadcast writes a frame to everybody. Both addresses are IPv4; the target's
// hardware address is left out, for it is what a request asks.
func (f Frame) broadcast() []byte {
	from, to := f.Sender.As4(), f.Target.As4()
	b := make([]byte, size)
	copy(b, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	copy(b[source:etherType], f.MAC)
	binary.BigEndian.PutUint16(b[etherType:], etherTypeARP)
	binary.BigEndian.PutUint16(b[header:], ethernet)
	binary.BigEndian.PutUint16(b[header+2:], etherTypeIPv4)
	b[header+4], b[header+5] = 6, 4
	binary.BigEndian.PutUint16(b[operation:], uint16(f.Op))
	copy(b[sender:sender+6], f.MAC)
	copy(b[sender+6:], from[:])
	copy(b[target+6:], to[:])
	return b
}
