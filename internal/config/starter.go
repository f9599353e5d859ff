package config

import (
	"bytes"
	"crypto/rand"
	_ "embed"
	"fmt"
	"net/netip"
	"strings"
	"text/template"

	"multihead/internal/hostlist"
)

//go:embed starter.yaml.tmpl
var starterTemplate string

// NamedAddress is a host of a starting file.
type NamedAddress struct {
	Name    string
	Address netip.Addr
}

// Starter says what a starting file is about.
type Starter struct {
	ClusterName string
	Timezone    string
	SSHUser     string
	Heads       []NamedAddress
	Computes    []NamedAddress
	Witness     []NamedAddress
	VIP         netip.Addr // of the heads' network; zero for none
	Bits        int        // prefix length of the heads' network
	Password    func() string
}

// DefaultStarter is a file for three heads and two compute nodes at addresses
// that stand for the site's own. Its passwords are new each time.
func DefaultStarter() Starter {
	at := func(name, address string) NamedAddress { return NamedAddress{name, netip.MustParseAddr(address)} }
	return Starter{
		ClusterName: "my-cluster",
		Timezone:    "Asia/Seoul",
		SSHUser:     "root",
		Heads:       []NamedAddress{at("server1", "192.168.1.101"), at("server2", "192.168.1.102"), at("server3", "192.168.1.103")},
		Computes:    []NamedAddress{at("node001", "192.168.1.121"), at("node002", "192.168.1.122")},
		VIP:         netip.MustParseAddr("192.168.1.100"),
		Bits:        24,
		Password:    rand.Text,
	}
}

// Text returns the commented file.
func (s Starter) Text() ([]byte, error) {
	t, err := template.New("starter").Option("missingkey=error").Parse(starterTemplate)
	if err != nil {
		return nil, fmt.Errorf("starting file: %w", err)
	}
	var network netip.Prefix
	if len(s.Heads) > 0 {
		if network, err = s.Heads[0].Address.Prefix(s.Bits); err != nil {
			return nil, fmt.Errorf("starting file: %w", err)
		}
	}
	names := make([]string, 0, len(s.Computes))
	for _, n := range s.Computes {
		names = append(names, n.Name)
	}
	var b bytes.Buffer
	err = t.Execute(&b, struct {
		Starter
		Network   netip.Prefix
		NodeList  string
		GaleraID  string
		Variables []string
	}{s, network, hostlist.Compress(names), strings.ReplaceAll(s.ClusterName, "-", "_"),
		[]string{"DB_ROOT_PASSWORD", "DB_SLURM_PASSWORD", "REDIS_PASSWORD"}})
	return b.Bytes(), err
}

// Priority is the VRRP priority of the nth head of a starting file.
func (s Starter) Priority(n int) int { return 100 - n }
