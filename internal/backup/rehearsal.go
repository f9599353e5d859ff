package backup

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"multihead/internal/config"
)

// mostRehearsed is how many heads a rehearsal has at most. With 3 every service
// is what it is with more: Galera has a majority to lose, Redis is a cluster, the
// volume has a copy on each. With fewer Redis takes another form, so that a
// cluster of 2 or 1 is rehearsed with as many.
const mostRehearsed = 3

// Rehearsed is how many heads the rehearsal of a cluster has.
func Rehearsed(c *config.Cluster) int { return min(len(c.Nodes.Controllers), mostRehearsed) }

// Stage is where a rehearsal's cluster stands: hosts that were made for it, in a
// network that nothing leads out of.
type Stage struct {
	Heads   []netip.Addr
	Network netip.Prefix
	VIP     netip.Addr
	Login   string // of the heads
	Key     string // file with the private key of the login
}

// nowhere is where compute nodes are said to be: nobody is there. The range is
// that of RFC 2544, which no network routes.
var nowhere = netip.MustParsePrefix("198.18.0.0/15")

// Cluster is the file of a rehearsal, made of the file that a snapshot has. Names,
// passwords and services are the snapshot's; every address is the stage's, or
// nobody's, so that this file leads to no host of the real cluster wherever it is
// used. What needs the site around it is left out: fencing, time servers, the
// off-site target, the timers, and sizes that are a real head's.
func (s Stage) Cluster(of *config.Cluster) (*config.Cluster, error) {
	n := len(s.Heads)
	if n == 0 || n > len(of.Nodes.Controllers) {
		return nil, fmt.Errorf("%d hosts for a cluster of %d heads", n, len(of.Nodes.Controllers))
	}
	c := *of
	c.Network = config.Network{ManagementNetwork: s.Network}
	if err := s.computes(&c, of, s.heads(&c, of)); err != nil {
		return nil, err
	}
	c.Info.SSHPassword = config.Secret{}
	c.Witnesses, c.Fencing, c.Installation = nil, config.Fencing{}, config.Installation{}
	c.Clustering.NodeManagement = config.NodeManagement{}
	if of.Network.VIP.Address.IsValid() {
		c.Network.VIP = of.Network.VIP
		c.Network.VIP.Address, c.Network.VIP.Netmask, c.Network.VIP.Interface = s.VIP, s.Network.Bits(), "auto"
	}
	c.Time.NTPServers = nil
	s.storage(&c, of)
	c.Database.MariaDB.Galera.ClusterAddress = "auto"
	c.Database.MariaDB.Config = withoutSizes(of.Database.MariaDB.Config)
	c.Redis.Cluster.MaxMemory = ""
	if n < len(of.Nodes.Controllers) { // the lists have to name who runs it
		c.Redis.Cluster.Nodes, c.Slurm.MultiMaster.Controllers = nil, nil
	}
	c.Environment = nil // all is filled in
	c.WebServices, c.Web, c.SSO, c.SAML, c.Monitoring = config.WebServices{}, config.WebConfig{}, config.SSO{}, config.SAML{}, config.Monitoring{}
	return &c, nil
}

// heads puts the first heads of the file onto the stage's hosts. Where some are
// left out, each that is kept runs what any of them ran: what a snapshot has of a
// service has to find it. It returns where each head is.
func (s Stage) heads(c, of *config.Cluster) map[string]netip.Addr {
	at := map[string]netip.Addr{}
	all := of.Nodes.Controllers[0].Services
	for _, h := range of.Nodes.Controllers {
		sv := h.Services
		all.GlusterFS, all.MariaDB, all.Redis = all.GlusterFS || sv.GlusterFS, all.MariaDB || sv.MariaDB, all.Redis || sv.Redis
		all.Slurm, all.Keepalived = all.Slurm || sv.Slurm, all.Keepalived || sv.Keepalived
	}
	c.Nodes.Controllers = slices.Clone(of.Nodes.Controllers[:len(s.Heads)])
	owner := -1
	for i := range c.Nodes.Controllers {
		h := &c.Nodes.Controllers[i]
		h.HostSpec = config.HostSpec{Hostname: h.Hostname, Address: s.Heads[i], SSHUser: s.Login, SSHPort: 22, SSHKeyPath: s.Key}
		at[h.Hostname] = h.Address
		if len(s.Heads) < len(of.Nodes.Controllers) {
			h.Services = all
		}
		h.Services.Web = false
		h.VIPOwner = false
		if h.Services.Keepalived && (owner < 0 || h.Priority > c.Nodes.Controllers[owner].Priority) {
			owner = i
		}
	}
	if owner >= 0 {
		c.Nodes.Controllers[owner].VIPOwner = true
	}
	return at
}

// computes keeps the compute nodes in the file, for Slurm ends jobs whose nodes or
// partitions it does not know, and puts them where nobody is.
func (s Stage) computes(c, of *config.Cluster, at map[string]netip.Addr) error {
	next := nowhere.Addr()
	given := map[string]netip.Addr{}
	move := func(list []config.ComputeNode) []config.ComputeNode {
		list = slices.Clone(list)
		for i := range list {
			n := &list[i]
			a, ok := at[n.Hostname]
			if !ok {
				if a, ok = given[n.Hostname]; !ok {
					next = next.Next()
					a = next
					given[n.Hostname] = a
				}
			}
			n.HostSpec = config.HostSpec{Hostname: n.Hostname, Address: a, SSHUser: s.Login, SSHPort: 22, SSHKeyPath: s.Key}
		}
		return list
	}
	c.Nodes.ComputeNodes, c.Nodes.VizNodes = move(of.Nodes.ComputeNodes), move(of.Nodes.VizNodes)
	switch {
	case !nowhere.Contains(next):
		return errors.New("too many compute nodes")
	case len(given) > 0:
		c.Network.ComputeNetwork = nowhere // one account of the database for all, and not for each
	}
	return nil
}

// storage is a volume of the stage's own, where the site's was.
func (s Stage) storage(c, of *config.Cluster) {
	mount := of.SharedMount()
	c.SharedStorage.Type, c.SharedStorage.MountPoint, c.SharedStorage.NFS = config.StorageGlusterFS, "", config.NFS{}
	g := &c.SharedStorage.GlusterFS
	g.MountPoint, g.ReplicaCount, g.BrickPath = mount, 0, "/data/glusterfs/brick"
	if of.SharedStorage.Type != config.StorageGlusterFS {
		for i := range c.Nodes.Controllers {
			c.Nodes.Controllers[i].Services.GlusterFS = true
		}
	}
	c.SharedStorage.Backup = config.Backup{Enabled: true, Path: RehearsalRoot, Items: of.SharedStorage.Backup.Items, Retention: of.SharedStorage.Backup.Retention}
}

// RehearsalRoot is where a rehearsal's heads have the snapshot.
const RehearsalRoot = "/data/system_backup"

// withoutSizes leaves the sizes of memory and logs out, which fit a real head.
func withoutSizes(settings map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range settings {
		name := strings.ReplaceAll(k, "-", "_")
		if !strings.Contains(name, "buffer") && !strings.Contains(name, "cache") && !strings.HasSuffix(name, "log_file_size") {
			out[k] = v
		}
	}
	return out
}

// Render is the text of the stage's file, which holds the passwords of the real
// cluster, and the cluster that it describes.
func (s Stage) Render(of *config.Cluster) (string, *config.Cluster, error) {
	c, err := s.Cluster(of)
	if err != nil {
		return "", nil, err
	}
	var b strings.Builder
	b.WriteString("# Made for a rehearsal: the file of a snapshot, with addresses of the lab alone.\n")
	if err := c.Show(true).YAML(&b); err != nil {
		return "", nil, err
	}
	// As every verb will read it.
	c, _, err = config.Parse("the rehearsal's cluster file", []byte(b.String()))
	return b.String(), c, err
}

// FileOf is the cluster file that a snapshot has: the agents' copy of a head,
// everything filled in. found is false where the snapshot has none.
func FileOf(list []ConfigFile, file string, heads []string) (c *config.Cluster, found bool, err error) {
	for _, h := range heads {
		for _, f := range list {
			if f.Host == h && f.Path == file {
				c, _, err := config.Parse(h+":"+file+" of the snapshot", f.Data)
				return c, true, err
			}
		}
	}
	return nil, false, nil
}

// RehearsalImage is the lab's image that is not older than what a snapshot was
// made with, and the nearest: Slurm reads the state of two releases before its own
// and no older one.
func RehearsalImage(software map[string]string) string {
	bookworm := map[string]string{"mariadb": "10.11", "redis": "7.0", "slurm": "22.05"}
	for what, has := range bookworm {
		if v := software[what]; v != "" && newer(v, has) {
			return "trixie"
		}
	}
	if software["mariadb"] == "" && software["slurm"] == "" {
		return "trixie"
	}
	return "bookworm"
}
