package config

import (
	"net/netip"
	"strings"
	"testing"
)

const farm = `nodes:
  controllers:
    - {hostname: server1, ip_address: 10.0.0.1, priority: 100, vip_owner: true, services: {mariadb: true, slurm: true, keepalived: true}}
  compute_nodes:
    # the first rack
    - hostname: node001
      ip_address: 10.0.0.11
      ssh_user: admin
      hardware: {cpus: 8, memory_mb: 16384}
    # the second rack
    - hostname: node002
      ip_address: 10.0.0.12
      ssh_user: admin
      hardware: {cpus: 8, memory_mb: 16384}   # slow disk
network: {vip: {address: 10.0.0.100, netmask: 24, vrrp_router_id: 7}}
slurm_config:
  partitions:
    - {name: normal, nodes: "node[001-002]", default: true}   # for everybody
    - {name: every, nodes: ALL}
    - name: listed
      nodes:
        - node001   # fast
        - node002
    - {name: short, nodes: [node002, node001]}
`

func computeNode(n string, last string, hw Hardware) ComputeNode {
	return ComputeNode{HostSpec: HostSpec{Hostname: n, Address: netip.MustParseAddr("10.0.0." + last)}, Hardware: hw}
}

func TestWhatNamesAComputeNodeFollowsIt(t *testing.T) {
	for name, tc := range map[string]struct {
		edit func(*Document, *Cluster) error
		want string // the lines that change, or what it is refused for
	}{
		"one is added like the last, and to the partitions of the last": {
			func(d *Document, c *Cluster) error {
				n := c.NextCompute(computeNode("node003", "13", Hardware{}).HostSpec)
				n.Hardware = Hardware{CPUs: 4, Sockets: 1, CoresPerSocket: 4, ThreadsPerCore: 1, MemoryMB: 7936, GRES: Items{"gpu:a100:2"}}
				return d.AddCompute(c, n, nil)
			},
			"+    - hostname: node003\n+      ip_address: 10.0.0.13\n+      ssh_user: admin\n" +
				"+      hardware: {cpus: 4, sockets: 1, cores_per_socket: 4, threads_per_core: 1, memory_mb: 7936, gres: ['gpu:a100:2']}\n" +
				"-    - {name: normal, nodes: \"node[001-002]\", default: true}   # for everybody\n" +
				"+    - {name: normal, nodes: 'node[001-003]', default: true}   # for everybody\n" +
				"-    - {name: short, nodes: [node002, node001]}\n+        - node003\n+    - {name: short, nodes: [node002, node001, node003]}\n",
		},
		"to the partition that is named": {
			func(d *Document, c *Cluster) error {
				return d.AddCompute(c, computeNode("node003", "13", Hardware{CPUs: 4}), []string{"listed"})
			},
			"+    - hostname: node003\n+      ip_address: 10.0.0.13\n+      hardware: {cpus: 4}\n+        - node003\n",
		},
		"a partition that is not there": {
			func(d *Document, c *Cluster) error {
				return d.AddCompute(c, computeNode("node003", "13", Hardware{}), []string{"long"})
			},
			"no partition is called long; there are [normal every listed short]",
		},
		"one that is there joins another partition": {
			func(d *Document, c *Cluster) error {
				n := computeNode("node003", "13", Hardware{CPUs: 4})
				if err := d.AddCompute(c, n, []string{"listed"}); err != nil {
					return err
				}
				c, err := d.Cluster()
				if err != nil {
					return err
				}
				return d.JoinPartitions(c, "node003", []string{"short", "every", "listed"})
			},
			"+    - hostname: node003\n+      ip_address: 10.0.0.13\n+      hardware: {cpus: 4}\n" +
				"-    - {name: short, nodes: [node002, node001]}\n+        - node003\n+    - {name: short, nodes: [node002, node001, node003]}\n",
		},
		"to a partition that is not there": {
			func(d *Document, c *Cluster) error { return d.JoinPartitions(c, "node001", []string{"long"}) },
			"no partition is called long; there are [normal every listed short]",
		},
		"one leaves with its comments": {
			func(d *Document, c *Cluster) error { return d.DropCompute(c, "node002") },
			"-    # the second rack\n-    - hostname: node002\n-      ip_address: 10.0.0.12\n-      ssh_user: admin\n-      hardware: {cpus: 8, memory_mb: 16384}   # slow disk\n" +
				"-    - {name: normal, nodes: \"node[001-002]\", default: true}   # for everybody\n+    - {name: normal, nodes: node001, default: true}   # for everybody\n" +
				"-        - node002\n" +
				"-    - {name: short, nodes: [node002, node001]}\n+    - {name: short, nodes: [node001]}\n",
		},
		"one that is not there": {func(d *Document, c *Cluster) error { return d.DropCompute(c, "node009") }, "no compute node is called node009"},
		"a witness is added where there was none": {
			func(d *Document, c *Cluster) error {
				return d.AddWitness(c.NextWitness(computeNode("witness1", "19", Hardware{}).HostSpec))
			},
			"+witnesses:\n+  - hostname: witness1\n+    ip_address: 10.0.0.19\n+    ssh_user: root\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := document(t, farm)
			c, err := d.Cluster()
			if err != nil {
				t.Fatal(err)
			}
			if err = tc.edit(d, c); err != nil {
				if tc.want == "" || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("%v, want %q", err, tc.want)
				}
				return
			}
			if got := diff(farm, string(d.Bytes())); got != tc.want {
				t.Errorf("changed:\n%s\nwant:\n%s", got, tc.want)
			}
		})
	}
}

func TestTheLastNodeOfAPartitionStays(t *testing.T) {
	for name, partition := range map[string]string{
		"named":     `{name: one, nodes: node001}`,
		"of ALL":    `{name: one, nodes: ALL}`,
		"in a list": `{name: one, nodes: [node001]}`,
	} {
		t.Run(name, func(t *testing.T) {
			text := "nodes:\n  compute_nodes:\n    - {hostname: node001, ip_address: 10.0.0.11}\nslurm_config: {partitions: [" + partition + "]}\n"
			d := document(t, text)
			c, err := d.Cluster()
			if err == nil {
				err = d.DropCompute(c, "node001")
			}
			if err == nil || !strings.Contains(err.Error(), "the partition one would have no nodes") {
				t.Errorf("%v:\n%s", err, d.Bytes())
			}
		})
	}
}

func TestAHostlistInAListOfNodesKeepsItsPlace(t *testing.T) {
	text := "nodes:\n  compute_nodes: [{hostname: n1, ip_address: 10.0.0.1}, {hostname: n2, ip_address: 10.0.0.2}, {hostname: n3, ip_address: 10.0.0.3}, {hostname: big, ip_address: 10.0.0.4}]\n" +
		"slurm_config:\n  partitions:\n    - name: p\n      nodes:\n        - n[1-3]   # rack 1\n        - big\n"
	d := document(t, text)
	c, err := d.Cluster()
	if err == nil {
		err = d.DropCompute(c, "n2")
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := string(d.Bytes()); !strings.Contains(got, "        - 'n[1,3]'   # rack 1\n        - big\n") || strings.Contains(got, "n2") {
		t.Errorf("%s", got)
	}
}

func TestAWitnessLeavesTheFile(t *testing.T) {
	text := "# top\nwitnesses:\n  - {hostname: w1, ip_address: 10.0.0.8}\n  # upstairs\n  - {hostname: w2, ip_address: 10.0.0.9}\n"
	d := document(t, text)
	if err := d.DropWitness("w2"); err != nil {
		t.Fatal(err)
	}
	if err := d.DropWitness("w1"); err != nil {
		t.Fatal(err)
	}
	c, err := d.Cluster()
	if err != nil || len(c.Witnesses) != 0 || !strings.Contains(string(d.Bytes()), "# top") {
		t.Errorf("%v\n%s", err, d.Bytes())
	}
}
