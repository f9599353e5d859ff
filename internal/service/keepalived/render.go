package keepalived

import (
	"bytes"
	_ "embed"
	"fmt"
	"net/netip"
	"text/template"

	"multihead/internal/config"
)

// Timing of the adverts, each with what it was chosen for.
const (
	// advertInt is the time between two adverts, in seconds. VRRP version 3
	// counts in hundredths; version 2 would round this to zero.
	advertInt = "0.1"
	// downAdverts is how many adverts in a row may be missed before a backup
	// takes over. 6 × 0.1 s finds a dead holder as fast as 3 × 0.2 s, but a
	// false take-over needs six losses in a row instead of three.
	downAdverts = 6
	// preemptDelay is how long a head with a higher priority waits before it
	// takes the address back, in seconds: it has just come up, and its
	// services are joining theirs. It does not delay a take-over from a head
	// that is gone.
	preemptDelay = 30
	// garpRefresh is the time between two announcements of the holder, in
	// seconds: the bound on how long a foreign claim can last. One broadcast
	// of 42 bytes every other second is nothing.
	garpRefresh = 2
)

const (
	confPath = "/etc/keepalived/keepalived.conf"
	// trackFile is what the agent writes and keepalived follows. keepalived
	// watches its directory, which has to be there before it starts.
	trackFile   = runDir + "/vip"
	runDir      = "/run/multihead"
	tmpfilesDir = "/etc/tmpfiles.d/multihead.conf"
)

//go:embed keepalived.conf.tmpl
var confText string

type conf struct {
	Router       string
	Interface    string
	RouterID     int
	Priority     int
	AdvertInt    string
	DownAdverts  int
	Owner        bool
	PreemptDelay int
	GARPRefresh  int
	Source       netip.Addr
	Peers        []netip.Addr
	Multicast    bool // alone, with an address family that has no second loopback address
	VIP          netip.Prefix
	TrackFile    string
}

// render is keepalived.conf of one head among all that may hold the address,
// reached or not: a head that is away now has to hear the adverts when it
// comes back.
func render(vip config.VIP, h head, all []head) ([]byte, error) {
	c := conf{
		Router: h.name, Interface: ifaceOf(vip, h), RouterID: vip.VRRPRouterID, Priority: h.priority,
		AdvertInt: advertInt, DownAdverts: downAdverts, PreemptDelay: preemptDelay, GARPRefresh: garpRefresh,
		Source: h.addr, VIP: netip.PrefixFrom(vip.Address, vip.Netmask), TrackFile: trackFile,
	}
	for _, other := range all {
		if other.name != h.name {
			c.Peers = append(c.Peers, other.addr)
		}
	}
	c.Owner = owner(all) == h.name
	c.Multicast = len(c.Peers) == 0 && h.addr.Is6()
	t, err := template.New("keepalived.conf").Option("missingkey=error").Parse(confText)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, c); err != nil {
		return nil, fmt.Errorf("keepalived.conf of %s: %w", h.name, err)
	}
	return b.Bytes(), nil
}

// ifaceOf is the interface that carries the address on a head.
func ifaceOf(vip config.VIP, h head) string {
	if vip.Interface != "" && vip.Interface != "auto" {
		return vip.Interface
	}
	return h.iface
}
