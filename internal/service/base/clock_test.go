package base

import (
	"path/filepath"
	"testing"

	"multihead/internal/config"
	"multihead/internal/golden"
)

const clockSite = `cluster_info: {cluster_name: hpc, timezone: Asia/Seoul}
nodes:
  controllers:
    - {hostname: server1, ip_address: 192.0.2.11, priority: 100, vip_owner: true, services: {glusterfs: true, slurm: true}}
    - {hostname: server2, ip_address: 192.0.2.12, priority: 90, services: {glusterfs: true, slurm: true}}
    - {hostname: server3, ip_address: 192.0.2.13, priority: 80, services: {glusterfs: true, slurm: true}}
  compute_nodes:
    - {hostname: node001, ip_address: 198.51.100.101}
network: {management_network: 192.0.2.0/24}
slurm_config: {partitions: [{name: normal, nodes: node001, default: true}]}
`

func TestChronyConf(t *testing.T) {
	offline, _, err := config.Parse("site.yaml", []byte(clockSite))
	if err != nil {
		t.Fatal(err)
	}
	online, _, err := config.Parse("site.yaml", []byte(clockSite+"time_synchronization: {ntp_servers: [kr.pool.ntp.org, time.hpc.example]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for name, of := range map[string]struct {
		c    *config.Cluster
		host string
	}{
		"chrony.head.conf": {offline, "server2"}, "chrony.node.conf": {offline, "node001"},
		"chrony.head.online.conf": {online, "server2"}, "chrony.node.online.conf": {online, "node001"},
	} {
		got, err := chronyConf(of.c, of.host)
		if err != nil {
			t.Fatal(err)
		}
		golden.Check(t, filepath.Join("testdata", name), got)
	}
}

func TestTheVendorsServersAreCommentedOut(t *testing.T) {
	got := string(withoutVendorPool([]byte("# pool 1.debian.pool.ntp.org\npool 2.debian.pool.ntp.org iburst\npool time.hpc.example iburst\npool 2.rocky.pool.ntp.org iburst\n")))
	want := "# pool 1.debian.pool.ntp.org\n# multihead: was: pool 2.debian.pool.ntp.org iburst\npool time.hpc.example iburst\n# multihead: was: pool 2.rocky.pool.ntp.org iburst\n"
	if got != want {
		t.Errorf("got\n%s", got)
	}
	if again := string(withoutVendorPool([]byte(got))); again != got {
		t.Errorf("a second time:\n%s", again)
	}
}

func TestWhoMaySetTheClock(t *testing.T) {
	for in, want := range map[string]bool{
		"Name:\tsystemd\nCapBnd:\t000001ffffffffff\n": true,
		"Name:\tsystemd\nCapBnd:\t000001fffcfeffff\n": false,
	} {
		if got, err := maySetClock([]byte(in)); err != nil || got != want {
			t.Errorf("%q: %v %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "CapBnd:\tx\n"} {
		if _, err := maySetClock([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestFamilies(t *testing.T) {
	for in, want := range map[string]string{
		"ID=debian\nVERSION_ID=\"13\"\n":                                       "chrony.service",
		"ID=ubuntu\nID_LIKE=debian\n":                                          "chrony.service",
		"NAME=\"Rocky Linux\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n": "chronyd.service",
		"ID=fedora\n": "chronyd.service",
		"ID=arch\n":   "",
		"ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"": "",
	} {
		f, ok := familyOf([]byte(in))
		if f.chronyUnit != want || ok != (want != "") {
			t.Errorf("%q: %+v %v", in, f, ok)
		}
	}
}
