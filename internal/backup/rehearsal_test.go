package backup

import (
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"multihead/internal/config"
)

func stageOf(heads int) Stage {
	s := Stage{Network: netip.MustParsePrefix("192.0.2.0/24"), VIP: netip.MustParseAddr("192.0.2.100"), Login: "root", Key: "/lab/key"}
	for i := range heads {
		s.Heads = append(s.Heads, netip.AddrFrom4([4]byte{192, 0, 2, byte(11 + i)}))
	}
	return s
}

// someEnv has every variable that a file asks for.
func someEnv(name string) (string, bool) { return "p" + strings.ToLower(name[:4]), true }

func examples(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	return append(files, "../config/testdata/site.yaml")
}

var anyAddress = regexp.MustCompile(`\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b`)

// What a rehearsal is formed by leads to nobody but the lab's hosts.
func TestARehearsalsFileHasNoAddressOfTheRealCluster(t *testing.T) {
	inLab := netip.MustParsePrefix("192.0.2.0/24")
	for _, file := range examples(t) {
		of, _, err := config.Load(file, config.WithEnv(someEnv))
		if err != nil {
			t.Fatal(err)
		}
		s := stageOf(Rehearsed(of))
		text, c, err := s.Render(of)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		for _, word := range anyAddress.FindAllString(text, -1) {
			a, err := netip.ParseAddr(word)
			if err == nil && !inLab.Contains(a) && !nowhere.Contains(a) && !a.IsLoopback() && !a.IsUnspecified() {
				t.Errorf("%s: %s is in it", file, word)
			}
		}
		if len(c.Nodes.Controllers) != min(3, len(of.Nodes.Controllers)) || c.Info.ClusterName != of.Info.ClusterName {
			t.Errorf("%s: %d heads of %s", file, len(c.Nodes.Controllers), c.Info.ClusterName)
		}
		for i, h := range c.Nodes.Controllers {
			if h.Hostname != of.Nodes.Controllers[i].Hostname || h.Address != s.Heads[i] || h.SSHUser != "root" || h.SSHKeyPath != "/lab/key" {
				t.Errorf("%s: %+v", file, h.HostSpec)
			}
		}
		if len(c.AllComputes()) != len(of.AllComputes()) || len(c.Slurm.Partitions) != len(of.Slurm.Partitions) {
			t.Errorf("%s: %d compute nodes, and had %d", file, len(c.AllComputes()), len(of.AllComputes()))
		}
		if c.Network.ComputeNetwork.IsValid() != (len(c.Nodes.ComputeNodes) > 0) {
			t.Errorf("%s: compute network %s", file, c.Network.ComputeNetwork)
		}
		if c.Redis.Cluster.Password != of.Redis.Cluster.Password || c.Database.MariaDB.RootPassword != of.Database.MariaDB.RootPassword {
			t.Errorf("%s: other passwords", file)
		}
		if c.Fencing.Enabled || len(c.Witnesses) > 0 || c.SharedStorage.Backup.Offsite.Repository != "" || c.SharedStorage.Backup.Schedule.FullBackup != "" || len(c.Time.NTPServers) > 0 {
			t.Errorf("%s: something of the site is left", file)
		}
		if c.SharedMount() != of.SharedMount() || c.Slurm.StateSaveLocation != of.Slurm.StateSaveLocation {
			t.Errorf("%s: another mount point", file)
		}
	}
}

// fiveHeads is a cluster whose heads do different things.
const fiveHeads = `
cluster_info: {cluster_name: hpc}
nodes:
  controllers:
    - {hostname: h1, ip_address: 10.1.0.1, priority: 90, services: {slurm: true, mariadb: true, keepalived: true}}
    - {hostname: h2, ip_address: 10.1.0.2, priority: 80, services: {slurm: true, mariadb: true, keepalived: true}}
    - {hostname: h3, ip_address: 10.1.0.3, priority: 70, services: {redis: true, mariadb: true, keepalived: true}}
    - {hostname: h4, ip_address: 10.1.0.4, priority: 60, services: {redis: true, glusterfs: true}}
    - {hostname: h5, ip_address: 10.1.0.5, priority: 99, vip_owner: true, services: {redis: true, glusterfs: true, keepalived: true}}
  compute_nodes:
    - {hostname: h5, ip_address: 10.1.0.5, hardware: {cpus: 2}}
    - {hostname: h1, ip_address: 10.1.0.1, hardware: {cpus: 2}}
    - {hostname: n1, ip_address: 10.1.0.11, hardware: {cpus: 2}}
network: {management_network: 10.1.0.0/24, vip: {address: 10.1.0.100, netmask: 24, vrrp_router_id: 5}}
shared_storage: {type: nfs, nfs: {server: 10.1.0.200, export: /x, mount_point: /shared}}
redis: {cluster: {nodes: [h3, h4, h5], password: p, maxmemory: 90gb}}
slurm_config:
  state_save_location: /shared/slurm/state
  multi_master: {enabled: true, controllers: [h2, h1]}
  partitions: [{name: all, nodes: ALL, default: true}]
database: {mariadb: {root_password: p, config: {innodb_buffer_pool_size: 400G, max_connections: "500"}, databases: [{name: slurm_acct_db, user: slurm, password: p}]}}
`

func TestARehearsalOfManyHeadsHasAllTheirServices(t *testing.T) {
	of, problems, err := config.Parse("five", []byte(fiveHeads))
	if err != nil {
		t.Fatal(err, problems)
	}
	_, c, err := stageOf(3).Render(of)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range c.Nodes.Controllers {
		if s := h.Services; !s.GlusterFS || !s.MariaDB || !s.Redis || !s.Slurm || !s.Keepalived {
			t.Errorf("%s runs %v", h.Hostname, s.Names())
		}
		if h.VIPOwner != (h.Hostname == "h1") {
			t.Errorf("%s: owner %v", h.Hostname, h.VIPOwner)
		}
	}
	if !c.Redis.Cluster.Nodes.Auto() || !c.Slurm.MultiMaster.Controllers.Auto() {
		t.Errorf("Redis on %v, controllers %v", c.Redis.Cluster.Nodes, c.Slurm.MultiMaster.Controllers)
	}
	for _, n := range c.Nodes.ComputeNodes {
		if (n.Hostname == "h1") != (n.Address == netip.MustParseAddr("192.0.2.11")) || n.Hostname != "h1" && !nowhere.Contains(n.Address) {
			t.Errorf("%s is at %s", n.Hostname, n.Address)
		}
	}
	if c.SharedMount() != "/shared" || c.SharedStorage.Type != config.StorageGlusterFS || c.Redis.Cluster.MaxMemory != "" {
		t.Errorf("%+v, %q", c.SharedStorage, c.Redis.Cluster.MaxMemory)
	}
	if got := c.Database.MariaDB.Config; got["innodb_buffer_pool_size"] != "" || got["max_connections"] != "500" {
		t.Errorf("settings %v", got)
	}
	if len(of.Nodes.Controllers) != 5 || of.Nodes.Controllers[4].Services.Slurm || !of.Nodes.Controllers[4].VIPOwner {
		t.Error("the file that it was made of has changed")
	}
}

func TestTheFileOfASnapshotIsTheMakersOrAnotherHeads(t *testing.T) {
	const file = "/etc/multihead/agent/cluster.yaml"
	text := []byte(fiveHeads)
	other := []byte(strings.Replace(fiveHeads, "cluster_name: hpc", "cluster_name: other", 1))
	for name, tt := range map[string]struct {
		list  []ConfigFile
		want  string
		found bool
	}{
		"none":           {nil, "", false},
		"another file":   {[]ConfigFile{{Host: "h1", Path: "/etc/hosts"}}, "", false},
		"the maker's":    {[]ConfigFile{{Host: "h2", Path: file, Data: other}, {Host: "h1", Path: file, Data: text}}, "hpc", true},
		"another head's": {[]ConfigFile{{Host: "h2", Path: file, Data: other}}, "other", true},
		"a stranger's":   {[]ConfigFile{{Host: "h9", Path: file, Data: other}}, "", false},
	} {
		c, found, err := FileOf(tt.list, file, []string{"h1", "h1", "h2"})
		if err != nil || found != tt.found || found && c.Info.ClusterName != tt.want {
			t.Errorf("%s: %v %v", name, found, err)
		}
	}
	if _, found, err := FileOf([]ConfigFile{{Host: "h1", Path: file, Data: []byte("nodes: 3")}}, file, []string{"h1"}); !found || err == nil {
		t.Errorf("a file that says nothing: %v %v", found, err)
	}
}

func TestARehearsalRunsOnNothingOlder(t *testing.T) {
	for _, tt := range []struct {
		software map[string]string
		want     string
	}{
		{nil, "trixie"},
		{map[string]string{"mariadb": "11.8.3", "slurm": "24.11.5", "redis": "8.0.2"}, "trixie"},
		{map[string]string{"mariadb": "10.11.6", "slurm": "22.05.8", "redis": "7.0.15"}, "bookworm"},
		{map[string]string{"mariadb": "10.5.2", "slurm": "23.02.1"}, "trixie"},
		{map[string]string{"mariadb": "10.11.6"}, "bookworm"},
	} {
		if got := RehearsalImage(tt.software); got != tt.want {
			t.Errorf("%v: %s", tt.software, got)
		}
	}
}
