package config

import (
	"net/netip"
	"strings"
	"testing"
)

const site = `nodes:
  controllers:
    # by the door
    - {hostname: server1, ip_address: 10.0.0.1, priority: 100, vip_owner: true, services: {mariadb: true, redis: true, slurm: true, keepalived: true}}
    # rack 2
    - {hostname: server2, ip_address: 10.0.0.2, priority: 99, vip_owner: false, services: {mariadb: true, redis: true, slurm: true, keepalived: true}}
    - {hostname: server3, ip_address: 10.0.0.3, priority: 98, vip_owner: false, services: {mariadb: true, redis: true, slurm: true, keepalived: true}}
network: {vip: {address: 10.0.0.100, netmask: 24, vrrp_router_id: 7}}
redis: {type: cluster, cluster: {port: 6379, nodes: "server[1-3]", replicas: 1}}
slurm_config:
  multi_master:
    enabled: true
    controllers: [server2, server1, server3]   # 2 has the fast disk
fencing:
  enabled: true
  devices:
    - {node: server1, agent: fence_ipmilan, options: {ip: 10.9.0.1, username: u, password: p}}
    # the old board
    - {node: server2, agent: fence_ipmilan, options: {ip: 10.9.0.2, username: u, password: p}}
    - {node: server3, agent: fence_ipmilan, options: {ip: 10.9.0.3, username: u, password: p}}
`

func TestWhatNamesAHeadFollowsIt(t *testing.T) {
	for name, tc := range map[string]struct {
		edit func(*Document, *Cluster) error
		want string
	}{
		"a head in the middle is dropped from everything that names it": {
			func(d *Document, c *Cluster) error { return d.DropHead(c, "server2") },
			"-    # rack 2\n-    - {hostname: server2, ip_address: 10.0.0.2, priority: 99, vip_owner: false, services: {mariadb: true, redis: true, slurm: true, keepalived: true}}\n" +
				"-redis: {type: cluster, cluster: {port: 6379, nodes: \"server[1-3]\", replicas: 1}}\n+redis: {type: cluster, cluster: {port: 6379, nodes: 'server[1,3]', replicas: 1}}\n" +
				"-    controllers: [server2, server1, server3]   # 2 has the fast disk\n+    controllers: [server1, server3]   # 2 has the fast disk\n" +
				"-    # the old board\n-    - {node: server2, agent: fence_ipmilan, options: {ip: 10.9.0.2, username: u, password: p}}\n",
		},
		"one that is replaced keeps its place, and not what switched the old machine off": {
			func(d *Document, c *Cluster) error {
				return d.ReplaceHead(c, "server3", HostSpec{Hostname: "server9", Address: netip.MustParseAddr("10.0.0.9")})
			},
			"-    - {hostname: server3, ip_address: 10.0.0.3, priority: 98, vip_owner: false, services: {mariadb: true, redis: true, slurm: true, keepalived: true}}\n" +
				"+    - {hostname: server9, ip_address: 10.0.0.9, priority: 98, vip_owner: false, services: {mariadb: true, redis: true, slurm: true, keepalived: true}}\n" +
				"-redis: {type: cluster, cluster: {port: 6379, nodes: \"server[1-3]\", replicas: 1}}\n+redis: {type: cluster, cluster: {port: 6379, nodes: 'server[1-2,9]', replicas: 1}}\n" +
				"-    controllers: [server2, server1, server3]   # 2 has the fast disk\n+    controllers: [server2, server1, server9]   # 2 has the fast disk\n" +
				"-    - {node: server3, agent: fence_ipmilan, options: {ip: 10.9.0.3, username: u, password: p}}\n",
		},
		"the same name gets another address": {
			func(d *Document, c *Cluster) error {
				return d.ReplaceHead(c, "server3", HostSpec{Hostname: "server3", Address: netip.MustParseAddr("10.0.0.9")})
			},
			"-    - {hostname: server3, ip_address: 10.0.0.3, priority: 98, vip_owner: false, services: {mariadb: true, redis: true, slurm: true, keepalived: true}}\n" +
				"+    - {hostname: server3, ip_address: 10.0.0.9, priority: 98, vip_owner: false, services: {mariadb: true, redis: true, slurm: true, keepalived: true}}\n" +
				"-    - {node: server3, agent: fence_ipmilan, options: {ip: 10.9.0.3, username: u, password: p}}\n",
		},
		"the address goes to the next head with its owner": {
			func(d *Document, c *Cluster) error { return d.SetService(c, "server1", Keepalived, false) },
			"-    - {hostname: server1, ip_address: 10.0.0.1, priority: 100, vip_owner: true, services: {mariadb: true, redis: true, slurm: true, keepalived: true}}\n" +
				"+    - {hostname: server1, ip_address: 10.0.0.1, priority: 100, vip_owner: false, services: {mariadb: true, redis: true, slurm: true, keepalived: false}}\n" +
				"-    - {hostname: server2, ip_address: 10.0.0.2, priority: 99, vip_owner: false, services: {mariadb: true, redis: true, slurm: true, keepalived: true}}\n" +
				"+    - {hostname: server2, ip_address: 10.0.0.2, priority: 99, vip_owner: true, services: {mariadb: true, redis: true, slurm: true, keepalived: true}}\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := document(t, site)
			c, err := d.Cluster()
			if err != nil {
				t.Fatal(err)
			}
			if err := tc.edit(d, c); err != nil {
				t.Fatal(err)
			}
			if got := diff(site, string(d.Bytes())); got != tc.want {
				t.Errorf("changed:\n%s\nwant:\n%s", got, tc.want)
			}
		})
	}
}

func TestTheOwnerThatLeavesHandsItsMarkOn(t *testing.T) {
	d := document(t, site)
	c, err := d.Cluster()
	if err == nil {
		err = d.DropHead(c, "server1")
	}
	if err != nil {
		t.Fatal(err)
	}
	after, err := d.Cluster()
	if err != nil {
		t.Fatal(err)
	}
	if h, _ := after.Head("server2"); !h.VIPOwner || len(after.Nodes.Controllers) != 2 || len(after.Fencing.Devices) != 2 {
		t.Errorf("%s", d.Bytes())
	}
	if !strings.Contains(string(d.Bytes()), "# rack 2") {
		t.Errorf("a comment of another head is gone:\n%s", d.Bytes())
	}
}

func TestAHeadIsAddedLikeTheLastOneWithTheNextPriority(t *testing.T) {
	text := strings.ReplaceAll(strings.ReplaceAll(site, `nodes: "server[1-3]"`, "nodes: auto"), "[server2, server1, server3]", "auto")
	d := document(t, text)
	c, err := d.Cluster()
	if err != nil {
		t.Fatal(err)
	}
	h := c.NextHead(HostSpec{Hostname: "server4", Address: netip.MustParseAddr("10.0.0.4")}, nil)
	if err := d.AddHead(c, h); err != nil {
		t.Fatal(err)
	}
	after, err := d.Cluster()
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := after.Head("server4"); got.Priority != 97 || got.VIPOwner || !got.Services.MariaDB || got.Services.GlusterFS {
		t.Errorf("%+v", got)
	}
	if one := c.NextHead(HostSpec{Hostname: "server4"}, []string{Redis}); one.Services != (Services{Redis: true}) {
		t.Errorf("%+v", one.Services)
	}
	if first := (&Cluster{}).NextHead(HostSpec{Hostname: "a"}, nil); first.Priority != 0 {
		t.Errorf("%+v", first)
	}
}

func TestAnOrderOfFenceAgentsFollowsTheirDevices(t *testing.T) {
	text := strings.Replace(site, "fencing:\n  enabled: true\n", "fencing:\n  enabled: true\n  order: [fence_redfish, fence_ipmilan]\n", 1)
	text = strings.Replace(text, "{node: server3, agent: fence_ipmilan,", "{node: server3, agent: fence_redfish,", 1)
	d := document(t, text)
	c, err := d.Cluster()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.ReplaceHead(c, "server3", HostSpec{Hostname: "server3", Address: netip.MustParseAddr("10.0.0.9")}); err != nil {
		t.Fatal(err)
	}
	after, err := d.Cluster()
	if err != nil {
		t.Fatalf("the file cannot be used any more: %v", err)
	}
	if got := strings.Join(after.Fencing.Order, " "); got != "fence_ipmilan" || len(after.Fencing.Devices) != 2 {
		t.Errorf("order %q, %d devices", got, len(after.Fencing.Devices))
	}
}
