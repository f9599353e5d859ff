package arp

import (
	"bytes"
	"encoding/hex"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

var (
	mac  = net.HardwareAddr{2, 0, 0, 0, 0, 7}
	vip  = netip.MustParseAddr("192.0.2.100")
	near = netip.MustParseAddr("192.0.2.11")
)

// from is a frame as that machine sends it.
func from(mac net.HardwareAddr, f Frame) Frame { f.MAC = mac; return f }

// The bytes are those of RFC 826, written down by hand.
func TestFramesAreWrittenAsTheStandardSays(t *testing.T) {
	const head = "ffffffffffff 020000000007 0806 0001 0800 06 04 "
	for _, c := range []struct {
		name  string
		frame Frame
		want  string
	}{
		{"an announcement has the address twice", Announcement(vip), head + "0001 020000000007 c0000264 000000000000 c0000264"},
		{"a probe claims nothing", Probe(vip), head + "0001 020000000007 00000000 000000000000 c0000264"},
		{"a request says who asks", Frame{Op: Request, Sender: near, Target: vip}, head + "0001 020000000007 c000020b 000000000000 c0000264"},
		{"a reply", Frame{Op: Reply, Sender: vip, Target: near}, head + "0002 020000000007 c0000264 000000000000 c000020b"},
	} {
		b := from(mac, c.frame).broadcast()
		if got := hex.EncodeToString(b); got != strings.ReplaceAll(c.want, " ", "") {
			t.Errorf("%s: %s", c.name, got)
		}
		if got, ok := Parse(b); !ok || !reflect.DeepEqual(got, from(mac, c.frame)) {
			t.Errorf("%s: read back as %+v, %v", c.name, got, ok)
		}
	}
}

func TestWhatIsNoARPForIPv4IsNotRead(t *testing.T) {
	// with is a reply in which some bytes are others.
	with := func(at int, b ...byte) []byte {
		f := from(mac, Frame{Op: Reply, Sender: vip, Target: near}).broadcast()
		copy(f[at:], b)
		return f
	}
	for _, c := range []struct {
		name  string
		frame []byte
		ok    bool
	}{
		{"a reply", with(0), true},
		{"with the padding of a short frame", append(with(0), make([]byte, 18)...), true},
		{"Ethernet as IEEE 802 calls it", with(header, 0, 6), true},
		{"nothing", nil, false},
		{"cut off", with(0)[:size-1], false},
		{"IPv4, not ARP", with(etherType, 8, 0), false},
		{"of other hardware", with(header, 0, 32), false},
		{"of another protocol", with(header+2, 0x86, 0xdd), false},
		{"hardware addresses of another length", with(header+4, 8), false},
		{"addresses of another length", with(header+5, 16), false},
	} {
		if f, ok := Parse(c.frame); ok != c.ok {
			t.Errorf("%s: %v, %+v", c.name, ok, f)
		}
	}
}

// What is read does not change with the buffer that it was read from.
func TestAFrameIsItsOwn(t *testing.T) {
	b := from(mac, Announcement(vip)).broadcast()
	f, _ := Parse(b)
	clear(b)
	if !bytes.Equal(f.MAC, mac) || f.Sender != vip {
		t.Errorf("%+v", f)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(from(mac, Announcement(vip)).broadcast())
	f.Add(from(mac, Frame{Op: Reply, Sender: vip, Target: near}).broadcast())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok := Parse(b)
		if !ok {
			return
		}
		if len(got.MAC) != 6 || !got.Sender.Is4() || !got.Target.Is4() {
			t.Fatalf("%+v", got)
		}
		if again, ok := Parse(got.broadcast()); !ok || !reflect.DeepEqual(again, got) {
			t.Errorf("%+v was read back as %+v, %v", got, again, ok)
		}
	})
}
