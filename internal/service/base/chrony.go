package base

import (
	"bytes"
	_ "embed"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"text/template"

	"multihead/internal/config"
)

//go:embed chrony.conf.tmpl
var chronyText string

var chronyTemplate = template.Must(template.New("chrony.conf").Parse(chronyText))

// chronyData is what chrony.conf.tmpl reads.
type chronyData struct {
	Head    bool
	Servers []chronyServer // outside ones
	Peers   []netip.Addr   // heads other than this host
	Allow   []string
}

type chronyServer struct{ Kind, Name string }

// chronyConf renders what chrony on that host is told beyond the
// distribution's own file.
func chronyConf(c *config.Cluster, hostname string) ([]byte, error) {
	d := chronyData{}
	for _, h := range c.Nodes.Controllers {
		if h.Hostname == hostname {
			d.Head = true
		} else {
			d.Peers = append(d.Peers, h.Address)
		}
	}
	for _, s := range c.Time.NTPServers {
		kind := "server"
		if strings.HasPrefix(s, "pool.") || strings.Contains(s, ".pool.") {
			kind = "pool"
		}
		d.Servers = append(d.Servers, chronyServer{kind, s})
	}
	if d.Head {
		d.Allow = allowed(c, hostname)
	}
	var b bytes.Buffer
	if err := chronyTemplate.Execute(&b, d); err != nil {
		return nil, fmt.Errorf("chrony: %w", err)
	}
	return b.Bytes(), nil
}

// allowed is who may ask a head for the time: the cluster's networks, or its
// hosts one by one where the file names no network.
func allowed(c *config.Cluster, self string) []string {
	nets := []netip.Prefix{c.Network.ManagementNetwork, c.Network.ComputeNetwork}
	var out []string
	for _, n := range nets {
		if n.IsValid() {
			out = append(out, n.String())
		}
	}
	for _, h := range c.AllHosts() {
		covered := h.Hostname == self
		for _, n := range nets {
			covered = covered || n.IsValid() && n.Contains(h.Address)
		}
		if !covered {
			out = append(out, h.Address.String())
		}
	}
	return out
}

// vendorPool is a line of the distribution's own chrony.conf that names its
// vendor's servers on the internet.
var vendorPool = regexp.MustCompile(`(?m)^pool[ \t]+\d\.[a-z]+\.pool\.ntp\.org\b.*$`)

// withoutVendorPool comments out the vendor's servers: where the file names
// time servers or says that the site is offline, they are not wanted.
func withoutVendorPool(conf []byte) []byte {
	return vendorPool.ReplaceAll(conf, []byte("# multihead: was: $0"))
}

// capSysTime is the bit of CAP_SYS_TIME in a capability set.
const capSysTime = 25

// maySetClock reads /proc/1/status: whether processes of this host can have
// the right to set the clock. A container without it shares the clock of the
// machine it is on, which keeps it.
func maySetClock(status []byte) (bool, error) {
	for line := range strings.Lines(string(status)) {
		value, ok := strings.CutPrefix(line, "CapBnd:")
		if !ok {
			continue
		}
		set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err != nil {
			return false, fmt.Errorf("capability set: %w", err)
		}
		return set&(1<<capSysTime) != 0, nil
	}
	return false, fmt.Errorf("/proc/1/status has no CapBnd")
}
