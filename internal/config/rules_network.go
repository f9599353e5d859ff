package config

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// checkVIP makes sure that the virtual address can be reached where the heads
// are, and is nobody's own.
func checkVIP(k *checker) {
	vip := k.Network.VIP
	path := "network.vip.address"
	if !vip.Address.IsValid() {
		if slices.ContainsFunc(k.Nodes.Controllers, func(h Controller) bool { return h.Services.Keepalived }) {
			k.warn("network.vip", msg("there is no virtual address: keepalived stays off, and clients need the address of each head"), msg("add network: vip: {address: ...}"))
		}
		return
	}
	if len(k.HeadsWith(Keepalived)) == 0 && !k.unreadBelow("nodes.controllers") && len(k.Nodes.Controllers) > 0 {
		k.warn(path, msg("no head runs keepalived, so nobody will hold the virtual address"), msg("set services.keepalived: true on the heads that may hold it"))
	}
	if vip.Netmask > vip.Address.BitLen() {
		k.err("network.vip.netmask", msg("%d is longer than the address", vip.Netmask), msg("write a number from 1 to %d", vip.Address.BitLen()))
		return
	}
	for _, h := range k.placed() {
		if h.Address == vip.Address {
			k.err(path, msg("%s is the address of %s itself", vip.Address, h.Hostname), msg("use an address that no machine has"))
			return
		}
	}
	network, known := k.headNetwork()
	if !known {
		return
	}
	if !network.Contains(vip.Address) {
		k.err(path, msg("%s is outside the heads' network %s: nobody would find it there", vip.Address, network), msg("use a free address of %s", network))
		return
	}
	if vip.Address.Is4() && network.Bits() < 31 && (vip.Address == network.Addr() || vip.Address == lastAddress(network)) {
		k.err(path, msg("%s is the network's own address or its broadcast address", vip.Address), msg("use another address of %s", network))
	}
	for i, h := range k.Nodes.Controllers {
		if h.Services.Keepalived && h.Address.IsValid() && !h.Address.IsLoopback() && !network.Contains(h.Address) {
			k.err(headPath(i, "ip_address"), msg("%s is outside %s, the network of the virtual address, so %s could not hold it", h.Address, network, h.Hostname), msg("use an address of that network, or switch services.keepalived off"))
		}
	}
}

// headNetwork is the network the heads and the virtual address share:
// management_network, or what the virtual address and its netmask say.
func (k *checker) headNetwork() (netip.Prefix, bool) {
	if n := k.Network.ManagementNetwork; n.IsValid() {
		return n, true
	}
	vip := k.Network.VIP
	if vip.Netmask >= vip.Address.BitLen()-1 {
		return netip.Prefix{}, false // a host route says nothing about the network
	}
	p, err := vip.Address.Prefix(vip.Netmask)
	if err != nil {
		return netip.Prefix{}, false
	}
	// Heads that agree with each other and not with the virtual address show
	// that it is the virtual address that is wrong.
	heads := k.HeadsWith(Keepalived)
	if len(heads) > 0 && heads[0].Address.IsValid() && heads[0].Address.BitLen() == vip.Address.BitLen() {
		if hp, err := heads[0].Address.Prefix(vip.Netmask); err == nil {
			return hp, true
		}
	}
	return p, true
}

func lastAddress(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(b)
}

func checkVRRP(k *checker) {
	vip := k.Network.VIP
	if n := vip.Interface; n != "auto" && (len(n) > 15 || strings.ContainsAny(n, " /:")) {
		k.err("network.vip.interface", msg("%q is not a network interface", n), msg("write auto, or a name as ip -br link prints it"))
	}
}

// vrrpProtocol is the IP protocol number of VRRP. It is not a port, and often
// taken for one.
const vrrpProtocol = 112

func checkFirewall(k *checker) {
	for name, ports := range k.Network.Firewall.Ports {
		for _, r := range ports {
			if r.First == vrrpProtocol && r.Last == vrrpProtocol {
				k.warn(keyPath("network.firewall.ports", name), msg("112 is the protocol number of VRRP, not a port; opening port 112 lets no VRRP through"), msg("remove it: VRRP needs no entry here"))
			}
		}
	}
}

// fixedPorts are the ports that services take whatever the file says.
func fixedPorts() map[int]string {
	return map[int]string{
		22: "SSH", 111: "rpcbind", 3306: "MariaDB", 4444: "Galera state transfer", 4567: "Galera", 4568: "Galera state transfer",
		6817: "slurmctld", 6818: "slurmd", 24007: "GlusterFS", 24008: "GlusterFS", 26379: "Redis Sentinel",
	}
}

// checkPorts finds two services of one head on one port.
func checkPorts(k *checker) {
	taken := fixedPorts()
	claim := func(path, what string, port int) {
		if by, ok := taken[port]; ok {
			k.err(path, msg("port %d is already that of %s", port, by), msg("use another port"))
			return
		}
		taken[port] = what
	}
	if k.Slurm.Accounting.StoragePort != 0 {
		claim("slurm_config.accounting.storage_port", "slurmdbd", k.Slurm.Accounting.StoragePort)
	}
	if len(k.HeadsWith(Redis)) > 0 {
		claim("redis.cluster.port", "Redis", k.Redis.Cluster.Port)
		claim("redis.cluster.port", "the Redis cluster bus", k.Redis.Cluster.Port+10000)
	}
	for i, s := range k.WebServices.Services {
		if s.Port != 0 {
			claim(listPath("web_services.services", i, "port"), s.Name, s.Port)
		}
	}
}

func checkWebServices(k *checker) {
	seen := make(map[string]bool)
	for i, s := range k.WebServices.Services {
		path := listPath("web_services.services", i, "name")
		switch {
		case s.Name == "":
			k.err(path, msg("the service has no name"), msg("add name:"))
		case seen[s.Name]:
			k.err(path, msg("%s is listed twice", s.Name), msg("give every service its own name"))
		}
		seen[s.Name] = true
		if s.Port == 0 {
			k.err(listPath("web_services.services", i, "port"), msg("%s has no port", s.Name), msg("add port:"))
		}
		if h := s.HealthCheck; h != "" && !strings.HasPrefix(h, "/") {
			k.err(listPath("web_services.services", i, "health_check"), msg("%q is not a path", h), msg("write a path such as /health"))
		}
	}
	a := k.WebServices.Autoscale
	if a.MinServers > a.MaxServers {
		k.err("web_services.autoscale.min_servers", msg("%d is more than max_servers, %d", a.MinServers, a.MaxServers), msg("write %d or less", a.MaxServers))
	}
	if a.MinConnectionsPerServer >= a.MaxConnectionsPerServer {
		k.err("web_services.autoscale.min_connections_per_server", msg("it is not below max_connections_per_server, so servers would come and go without end"), msg("write less than %d", a.MaxConnectionsPerServer))
	}
	for i, s := range a.Schedule {
		path := listPath("web_services.autoscale.schedule", i, "at")
		if !clock(s.At) && !cronFields(s.At) {
			k.err(path, msg("%q is neither a time of day nor five cron fields", s.At), msg("write a time such as '09:00'"))
		}
	}
}

func clock(s string) bool {
	h, m, ok := strings.Cut(s, ":")
	hour, err1 := strconv.Atoi(h)
	minute, err2 := strconv.Atoi(m)
	return ok && err1 == nil && err2 == nil && len(m) == 2 && hour >= 0 && hour < 24 && minute >= 0 && minute < 60
}
