package config

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

var (
	clusterName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)
	hostName    = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$`)
	domainName  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)
	userName    = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)
)

func checkClusterInfo(k *checker) {
	info := k.Info
	switch name := info.ClusterName; {
	case name == "":
		k.err("cluster_info.cluster_name", msg("the cluster has no name"), msg("write a name such as hpc-portal"))
	case !clusterName.MatchString(name):
		k.err("cluster_info.cluster_name", msg("%q cannot be the name of a Slurm cluster", name), msg("write letters, digits, - and _ only, a letter first"))
	case len(name) > 40:
		k.err("cluster_info.cluster_name", msg("the name is longer than 40 characters"), msg("write a shorter one: Slurm and MariaDB build table names with it"))
	}
	if info.Domain != "" && !domainName.MatchString(info.Domain) {
		k.err("cluster_info.domain", msg("%q is not a domain", info.Domain), msg("write a name such as hpc.example"))
	}
	if m := info.AdminEmail; m != "" && (strings.Count(m, "@") != 1 || strings.HasPrefix(m, "@") || strings.HasSuffix(m, "@") || strings.ContainsAny(m, " ,;")) {
		k.err("cluster_info.admin_email", msg("%q is not an e-mail address", m), msg("write one address such as admin@hpc.example"))
	}
	if z := info.Timezone; z != "" && !isZone(z) {
		k.err("cluster_info.timezone", msg("%q is not a time zone", z), zoneRemedy(z))
	}
}

// placedHost is a host and where the file names it.
type placedHost struct {
	HostSpec
	path string // nodes.controllers[0]
	list string // nodes.controllers
}

// placed lists every mention of a host, in the order of the file's sections.
func (k *checker) placed() []placedHost {
	var out []placedHost
	add := func(list string, i int, h HostSpec) { out = append(out, placedHost{h, indexPath(list, i), list}) }
	for i, h := range k.Nodes.Controllers {
		add("nodes.controllers", i, h.HostSpec)
	}
	for i, h := range k.Nodes.ComputeNodes {
		add("nodes.compute_nodes", i, h.HostSpec)
	}
	for i, h := range k.Nodes.VizNodes {
		add("nodes.viz_nodes", i, h.HostSpec)
	}
	for i, h := range k.Witnesses {
		add("witnesses", i, h.HostSpec)
	}
	return out
}

// checkHosts looks at each host by itself.
func checkHosts(k *checker) {
	if len(k.Nodes.Controllers) == 0 {
		k.err("nodes.controllers", msg("the file names no head"), msg("list at least one below nodes: controllers:"))
	}
	hosts := k.placed()
	for _, h := range hosts {
		switch {
		case h.Hostname == "":
			k.err(h.path+".hostname", msg("the host has no name"), msg("add hostname: as the machine's own hostname command prints it"))
		case h.Hostname == "localhost":
			k.err(h.path+".hostname", msg("every machine is localhost to itself"), msg("write the name the other hosts call it by"))
		case !hostName.MatchString(h.Hostname) || len(h.Hostname) > 64:
			k.err(h.path+".hostname", msg("%q is not a hostname", h.Hostname), msg("write letters, digits and - only, such as server1"))
		}
		a := h.Address
		switch {
		case !a.IsValid():
			k.err(h.path+".ip_address", msg("the host has no address"), msg("add ip_address: with the address the other hosts reach it at"))
		case a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			k.err(h.path+".ip_address", msg("%s is not the address of one machine", a), msg("write the address the other hosts reach it at"))
		case a.IsLoopback() && len(hosts) > 1:
			k.err(h.path+".ip_address", msg("%s is the address every machine has for itself", a), msg("write the address the other hosts reach it at"))
		}
		if strings.ContainsAny(h.SSHUser, " @:/'\"") {
			k.err(h.path+".ssh_user", msg("%q is not a login name", h.SSHUser), msg("write the name only, such as root"))
		}
	}
}

// checkDuplicates finds two hosts with one name or one address. A head may
// stand among the compute nodes as well, a compute node among the viz nodes.
func checkDuplicates(k *checker) {
	byName := make(map[string]placedHost)
	byAddress := make(map[netip.Addr]placedHost)
	for _, h := range k.placed() {
		if h.Hostname != "" {
			first, seen := byName[strings.ToLower(h.Hostname)]
			switch {
			case !seen:
				byName[strings.ToLower(h.Hostname)] = h
			case first.list == h.list:
				k.err(h.path+".hostname", msg("%s is listed twice, first on line %d", h.Hostname, k.Pos(first.path).Line), msg("give every host its own name, or remove one entry"))
			case first.list == "witnesses" || h.list == "witnesses":
				k.err(h.path+".hostname", msg("%s cannot be a witness: it is already in %s", h.Hostname, first.list), msg("use a machine that is nothing else, its vote must not fall with a head"))
			case first.Address != h.Address && first.Address.IsValid() && h.Address.IsValid():
				k.err(h.path+".ip_address", msg("%s is at %s in %s and at %s here", h.Hostname, first.Address, first.list, h.Address), msg("write the same address in both places"))
			}
		}
		if h.Address.IsValid() {
			first, seen := byAddress[h.Address]
			if !seen {
				byAddress[h.Address] = h
			} else if !strings.EqualFold(first.Hostname, h.Hostname) {
				k.err(h.path+".ip_address", msg("%s is already the address of %s", h.Address, first.Hostname), msg("give every host its own address"))
			}
		}
	}
}

// checkSharedHosts finds a host in two lists with different hardware.
func checkSharedHosts(k *checker) {
	type entry struct {
		path string
		hw   Hardware
	}
	first := make(map[string]entry)
	look := func(path, host string, hw Hardware) {
		e, seen := first[host]
		if !seen || host == "" {
			first[host] = entry{path, hw}
			return
		}
		for _, v := range []struct {
			key  string
			a, b int
		}{
			{"cpus", e.hw.CPUs, hw.CPUs},
			{"sockets", e.hw.Sockets, hw.Sockets},
			{"cores_per_socket", e.hw.CoresPerSocket, hw.CoresPerSocket},
			{"threads_per_core", e.hw.ThreadsPerCore, hw.ThreadsPerCore},
			{"memory_mb", e.hw.MemoryMB, hw.MemoryMB},
			{"gpus", e.hw.GPUs, hw.GPUs},
		} {
			if v.a != 0 && v.b != 0 && v.a != v.b {
				k.err(path+".hardware."+v.key, msg("%s has %d here and %d in %s", host, v.b, v.a, e.path), msg("write what the machine has in both places, or in one only"))
			}
		}
	}
	for i, h := range k.Nodes.Controllers {
		look(headPath(i, ""), h.Hostname, h.Hardware)
	}
	for i, n := range k.Nodes.ComputeNodes {
		look(listPath("nodes.compute_nodes", i, ""), n.Hostname, n.Hardware)
	}
	for i, n := range k.Nodes.VizNodes {
		look(listPath("nodes.viz_nodes", i, ""), n.Hostname, n.Hardware)
	}
}

// checkHardware looks at what Slurm is told about each node. Slurm takes a
// node out when it finds less than slurm.conf says.
func checkHardware(k *checker) {
	var bare []string
	each := func(list string, nodes []ComputeNode) {
		for i, n := range nodes {
			hw, path := n.Hardware, listPath(list, i, "hardware")
			cores := hw.Sockets * hw.CoresPerSocket
			threads := cores * max(hw.ThreadsPerCore, 1)
			if hw.CPUs > 0 && cores > 0 && hw.CPUs != threads && hw.CPUs != cores {
				k.err(path+".cpus", msg("%d CPUs do not fit %d sockets of %d cores with %d threads", hw.CPUs, hw.Sockets, hw.CoresPerSocket, max(hw.ThreadsPerCore, 1)), msg("write cpus: %d", threads))
			}
			if hw.CPUs == 0 {
				bare = append(bare, n.Hostname)
			}
		}
	}
	each("nodes.compute_nodes", k.Nodes.ComputeNodes)
	each("nodes.viz_nodes", k.Nodes.VizNodes)
	if len(bare) > 0 {
		k.warn("nodes.compute_nodes", msg("no CPUs are given for %s: Slurm takes each for a machine with 1 CPU", HostList(bare)), msg("add hardware: {cpus: ..., memory_mb: ...} as slurmd -C prints it on the node"))
	}
}

// checkPriorities keeps keepalived's election unambiguous.
func checkPriorities(k *checker) {
	byPriority := make(map[int]string)
	var taken []int
	for i, h := range k.Nodes.Controllers {
		path := headPath(i, "priority")
		switch {
		case h.Priority == 0:
			if h.Services.Keepalived && k.Network.VIP.Address.IsValid() {
				k.err(path, msg("%s has no priority", h.Hostname), msg("add a number from 1 to 254; the highest head holds the virtual address"))
			}
		case byPriority[h.Priority] != "":
			k.err(path, msg("%d is already the priority of %s: two heads would fight over the virtual address", h.Priority, byPriority[h.Priority]), msg("give every head its own, such as %d", freePriority(k.Nodes.Controllers, h.Priority)))
		default:
			byPriority[h.Priority] = h.Hostname
			taken = append(taken, h.Priority)
		}
	}
	checkVIPOwner(k, taken)
}

// freePriority is the nearest lower number no head has, else the nearest
// higher one.
func freePriority(heads []Controller, near int) int {
	taken := func(p int) bool {
		return slices.ContainsFunc(heads, func(h Controller) bool { return h.Priority == p })
	}
	for p := near - 1; p >= 1; p-- {
		if !taken(p) {
			return p
		}
	}
	for p := near + 1; p <= 254; p++ {
		if !taken(p) {
			return p
		}
	}
	return near
}

func checkVIPOwner(k *checker, priorities []int) {
	if !k.Network.VIP.Address.IsValid() {
		return
	}
	owner := -1
	for i, h := range k.Nodes.Controllers {
		if !h.VIPOwner {
			continue
		}
		path := headPath(i, "vip_owner")
		if owner >= 0 {
			k.err(path, msg("%s and %s both say vip_owner: true", k.Nodes.Controllers[owner].Hostname, h.Hostname), msg("keep true on one head and write false on the others"))
			continue
		}
		owner = i
		switch {
		case !h.Services.Keepalived:
			k.err(path, msg("%s does not run keepalived, so it cannot hold the virtual address", h.Hostname), msg("set services.keepalived: true, or make another head the owner"))
		case h.Priority != 0 && h.Priority < slices.Max(priorities):
			k.err(path, msg("%s should hold the virtual address, but another head has a higher priority than its %d", h.Hostname, h.Priority), msg("give %s the highest priority, or make that head the owner", h.Hostname))
		}
	}
	if heads := k.HeadsWith(Keepalived); owner < 0 && len(heads) > 1 && !k.unreadBelow("nodes.controllers") {
		if h, ok := k.VIPOwner(); ok {
			k.warn("nodes.controllers", msg("no head says vip_owner: true; %s will hold the virtual address, it has the highest priority", h.Hostname), msg("add vip_owner: true to the head that should hold it"))
		}
	}
}

// checkServices finds heads that do nothing and services nobody runs.
func checkServices(k *checker) {
	for i, h := range k.Nodes.Controllers {
		if len(h.Services.Names()) == 0 {
			k.warn(headPath(i, "services"), msg("%s runs no service", h.Hostname), msg("switch on what it should run, as in services: {mariadb: true}"))
		}
	}
	if n := len(k.Nodes.Controllers); n > 10 {
		k.warn("nodes.controllers", msg("%d heads are more than the 10 multihead is made for: every write waits for all of them", n), msg("use fewer heads"))
	}
}

// checkWitnesses says what an even number of voters means.
func checkWitnesses(k *checker) {
	if len(k.Witnesses) > 0 || k.unreadBelow("nodes.controllers") {
		return
	}
	var even []string
	heads := 0
	for _, s := range []struct{ service, name string }{{GlusterFS, "GlusterFS"}, {MariaDB, "MariaDB"}} {
		// Of GlusterFS an arbiter stands beside two copies and no more.
		if n := len(k.HeadsWith(s.service)); n == 2 || n > 0 && n%2 == 0 && s.service != GlusterFS {
			even = append(even, s.name)
			heads = n
		}
	}
	if len(even) == 0 {
		return
	}
	fix := msg("add a small third machine below witnesses:, or use an odd number of heads")
	if heads == 2 {
		k.warn("nodes.controllers", msg("%s on 2 heads without a witness: when one head dies, the other cannot know whether it did and stops as well", names(even)), fix)
		return
	}
	k.warn("nodes.controllers", msg("%s on %d heads without a witness: when the network parts them %d and %d, both halves stop; it survives the loss of no more heads at once than %d heads would", names(even), heads, heads/2, heads/2, heads-1), fix)
}
