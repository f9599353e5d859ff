package config

import (
	"cmp"
	"path"
	"slices"
	"strconv"
)

// Services a head can run, as the keys below services are called.
const (
	GlusterFS  = "glusterfs"
	MariaDB    = "mariadb"
	Redis      = "redis"
	Slurm      = "slurm"
	Web        = "web"
	Keepalived = "keepalived"
)

// ServiceNames lists the services in the order they are brought up.
func ServiceNames() []string { return []string{GlusterFS, MariaDB, Redis, Slurm, Keepalived, Web} }

// Has reports whether the head runs the service of that name.
func (s Services) Has(service string) bool {
	switch service {
	case GlusterFS:
		return s.GlusterFS
	case MariaDB:
		return s.MariaDB
	case Redis:
		return s.Redis
	case Slurm:
		return s.Slurm
	case Web:
		return s.Web
	case Keepalived:
		return s.Keepalived
	}
	return false
}

// Names lists the services that are switched on, in the order of ServiceNames.
func (s Services) Names() []string {
	var out []string
	for _, name := range ServiceNames() {
		if s.Has(name) {
			out = append(out, name)
		}
	}
	return out
}

// HeadsWith returns the heads that run a service, in the file's order. A
// service that the file switches off as a whole (database.enabled,
// redis.enabled, web_services.enabled, a shared_storage.type other than
// glusterfs) runs on none.
func (c *Cluster) HeadsWith(service string) []Controller {
	if c.offAsWhole(service) {
		return nil
	}
	var out []Controller
	for _, h := range c.Nodes.Controllers {
		if h.Services.Has(service) {
			out = append(out, h)
		}
	}
	return out
}

// GlusterArbiter is the witness that has the brick without content which makes two
// copies of the volume three votes: the first one of the file, where two heads have a
// copy. GlusterFS has an arbiter beside two copies and no other number (replica 3
// arbiter 1).
func (c *Cluster) GlusterArbiter() (Witness, bool) {
	if len(c.HeadsWith(GlusterFS)) != 2 || len(c.Witnesses) == 0 {
		return Witness{}, false
	}
	return c.Witnesses[0], true
}

// Runs reports whether the head of that name runs the service.
func (c *Cluster) Runs(hostname, service string) bool {
	if c.offAsWhole(service) {
		return false
	}
	// By index: a head is large, and this is asked for every head.
	for i := range c.Nodes.Controllers {
		if h := &c.Nodes.Controllers[i]; h.Hostname == hostname {
			return h.Services.Has(service)
		}
	}
	return false
}

func (c *Cluster) offAsWhole(service string) bool {
	switch service {
	case MariaDB:
		return !c.Database.Enabled
	case Redis:
		return !c.Redis.Enabled
	case Web:
		return !c.WebServices.Enabled
	case GlusterFS:
		return c.SharedStorage.Type != StorageGlusterFS
	case Keepalived:
		return !c.Network.VIP.Address.IsValid()
	}
	return false
}

// Head returns the head of that name.
func (c *Cluster) Head(hostname string) (Controller, bool) {
	i := slices.IndexFunc(c.Nodes.Controllers, func(h Controller) bool { return h.Hostname == hostname })
	if i < 0 {
		return Controller{}, false
	}
	return c.Nodes.Controllers[i], true
}

// AllComputes returns the compute nodes and then the visualisation nodes,
// each in the file's order. A host that stands in both lists comes once.
func (c *Cluster) AllComputes() []ComputeNode {
	seen := make(map[string]bool)
	var out []ComputeNode
	for _, list := range [][]ComputeNode{c.Nodes.ComputeNodes, c.Nodes.VizNodes} {
		for _, n := range list {
			if !seen[n.Hostname] {
				seen[n.Hostname] = true
				out = append(out, n)
			}
		}
	}
	return out
}

// HeadsAndWitnesses are the machines that have a say in the cluster: heads
// first, then witnesses, each in the file's order.
func (c *Cluster) HeadsAndWitnesses() []HostSpec {
	var out []HostSpec
	for _, h := range c.Nodes.Controllers {
		out = append(out, h.HostSpec)
	}
	for _, w := range c.Witnesses {
		out = append(out, w.HostSpec)
	}
	return out
}

// AllHosts returns every machine once: heads, compute and visualisation
// nodes, witnesses.
func (c *Cluster) AllHosts() []HostSpec {
	seen := make(map[string]bool)
	var out []HostSpec
	add := func(h HostSpec) {
		if !seen[h.Hostname] {
			seen[h.Hostname] = true
			out = append(out, h)
		}
	}
	for _, h := range c.Nodes.Controllers {
		add(h.HostSpec)
	}
	for _, n := range c.AllComputes() {
		add(n.HostSpec)
	}
	for _, w := range c.Witnesses {
		add(w.HostSpec)
	}
	return out
}

// VIPOwner returns the head that should hold the virtual address when all is
// well: the one with the highest priority of those that run keepalived.
func (c *Cluster) VIPOwner() (Controller, bool) {
	heads := c.HeadsWith(Keepalived)
	if len(heads) == 0 {
		return Controller{}, false
	}
	return slices.MaxFunc(heads, func(a, b Controller) int { return cmp.Compare(a.Priority, b.Priority) }), true
}

// SlurmControllers returns the heads that run slurmctld, the primary first:
// in the order of slurm_config.multi_master.controllers, or else by priority.
func (c *Cluster) SlurmControllers() []Controller {
	heads := c.HeadsWith(Slurm)
	slices.SortStableFunc(heads, func(a, b Controller) int { return cmp.Compare(b.Priority, a.Priority) })
	if named := c.Slurm.MultiMaster.Controllers; !named.Auto() {
		var out []Controller
		for _, name := range named {
			if i := slices.IndexFunc(heads, func(h Controller) bool { return h.Hostname == name }); i >= 0 {
				out = append(out, heads[i])
			}
		}
		heads = out
	}
	if !c.Slurm.MultiMaster.Enabled && len(heads) > 1 {
		heads = heads[:1]
	}
	return heads
}

// SharedMount returns the directory that every head sees.
func (c *Cluster) SharedMount() string {
	switch c.SharedStorage.Type {
	case StorageNFS:
		return c.SharedStorage.NFS.MountPoint
	case StorageExisting:
		return c.SharedStorage.MountPoint
	}
	return c.SharedStorage.GlusterFS.MountPoint
}

// complete derives the values that depend on other values of the file.
func (c *Cluster) complete() {
	if c.SharedStorage.Type == StorageExisting && c.SharedStorage.MountPoint == "" {
		c.SharedStorage.MountPoint = c.SharedStorage.GlusterFS.MountPoint
	}
	if c.Database.MariaDB.Galera.ClusterName == "" {
		c.Database.MariaDB.Galera.ClusterName = c.Info.ClusterName
	}
	if c.Slurm.StateSaveLocation == "" {
		c.Slurm.StateSaveLocation = path.Join(c.SharedMount(), "slurm/state")
	}
	if len(c.Nodes.Controllers) == 1 && c.Nodes.Controllers[0].Priority == 0 {
		c.Nodes.Controllers[0].Priority = 100
	}
	for _, list := range [][]ComputeNode{c.Nodes.ComputeNodes, c.Nodes.VizNodes} {
		for i := range list {
			list[i].Hardware.complete()
		}
	}
	if c.Time.Timezone == "" {
		c.Time.Timezone = c.Info.Timezone
	}
	for i := range c.Slurm.Partitions {
		p := &c.Slurm.Partitions[i]
		if len(p.Nodes) == 1 && p.Nodes[0] == "ALL" {
			p.Nodes = nil
			for _, n := range c.AllComputes() {
				p.Nodes = append(p.Nodes, n.Hostname)
			}
		}
	}
}

// complete derives the CPUs from sockets and cores, and the generic resource
// from the number of GPUs, where the file leaves them out.
func (hw *Hardware) complete() {
	if hw.CPUs == 0 && hw.CoresPerSocket > 0 {
		hw.CPUs = max(hw.Sockets, 1) * hw.CoresPerSocket * max(hw.ThreadsPerCore, 1)
	}
	if hw.GPUs > 0 && len(hw.GRES) == 0 {
		item := "gpu:"
		if hw.GPUType != "" {
			item += hw.GPUType + ":"
		}
		hw.GRES = Items{item + strconv.Itoa(hw.GPUs)}
	}
}
