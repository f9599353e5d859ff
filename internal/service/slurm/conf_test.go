package slurm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"multihead/internal/config"
	"multihead/internal/golden"
)

// site reads the cluster file of testdata, changed by pairs of old and new text.
func site(t *testing.T, changes ...string) *config.Cluster {
	t.Helper()
	data, err := os.ReadFile("testdata/site.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(changes...).Replace(string(data))
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(string(data), changes[i]) {
			t.Fatalf("testdata/site.yaml has no %q", changes[i])
		}
	}
	c, _, err := config.Parse("site.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRenderedFiles(t *testing.T) {
	c := site(t)
	asked := map[string]config.Hardware{
		"node001": {CPUs: 2, MemoryMB: 512}, // the file says more, and counts
		"node002": {CPUs: 8, Sockets: 1, CoresPerSocket: 4, ThreadsPerCore: 2, MemoryMB: 15872},
	}
	for name, cgroups := range map[string]bool{"slurm.conf": true, "slurm.nocgroup.conf": false} {
		got, err := slurmConf(c, found{cgroups, asked})
		if err != nil {
			t.Fatal(err)
		}
		golden.Check(t, filepath.Join("testdata", name), got)
	}
	golden.Check(t, "testdata/gres.conf", gresConf(c))
	for name, of := range map[string]struct {
		usable  bool
		version string
	}{"cgroup.conf": {true, "slurm-wlm 24.11.5"}, "cgroup.disabled.conf": {false, "slurm-wlm 24.11.5"}, "cgroup.disabled.22.05.conf": {false, "slurm-wlm 22.05.8"}} {
		got, err := cgroupConf(c, of.usable, of.version)
		if err != nil {
			t.Fatal(err)
		}
		golden.Check(t, filepath.Join("testdata", name), got)
	}
	for name, host := range map[string]string{"slurmdbd.conf": "server1", "slurmdbd.remote.conf": "server3"} {
		got, err := dbdConf(c, host)
		if err != nil {
			t.Fatal(err)
		}
		golden.Check(t, filepath.Join("testdata", name), got)
	}
	golden.Check(t, "testdata/slurmctld.dropin", ctldDropIn("/mnt/gluster", "/mnt/gluster/slurm/state", true, true))
	golden.Check(t, "testdata/slurmctld.local.dropin", ctldDropIn("", "/var/spool/slurmctld", false, false))
}

func TestThePasswordStandsInOneFileOnly(t *testing.T) {
	c := site(t)
	conf, err := slurmConf(c, found{})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(conf), "pass-of-the-test") {
		t.Error("slurm.conf has the password of the database")
	}
	dbd, err := dbdConf(c, "server1")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(dbd), "StoragePass=pass-of-the-test\n") {
		t.Error("slurmdbd.conf has not")
	}
}

func TestWhoAccounts(t *testing.T) {
	off := "slurm_config:\n  accounting: {"
	for _, c := range []struct {
		name               string
		cluster            *config.Cluster
		accounts, runs     bool
		hostName, hostNext string
	}{
		{"the controllers with a database, by priority", site(t), true, true, "192.0.2.12", "192.0.2.11"},
		{"loopback is the heads' own", site(t, off, off+"storage_host: localhost, "), true, true, "192.0.2.12", "192.0.2.11"},
		{"a controller without a database comes last", site(t, "server2, ip_address: 192.0.2.12, priority: 100, vip_owner: true, services: {glusterfs: true, mariadb: true,",
			"server2, ip_address: 192.0.2.12, priority: 100, vip_owner: true, services: {glusterfs: true,"), true, true, "192.0.2.11", "192.0.2.12"},
		{"one of the site's own", site(t, off, off+"storage_host: dbd.hpc.example, "), true, false, "dbd.hpc.example", ""},
		{"a head's name is no other machine", site(t, off, off+"storage_host: server1, "), true, true, "192.0.2.12", "192.0.2.11"},
		{"switched off", site(t, off, off+"enabled: false, "), false, false, "", ""},
		{"no database", site(t, "database:\n", "database:\n  enabled: false\n"), false, false, "", ""},
		{"one controller", site(t, "slurm_config:\n", "slurm_config:\n  multi_master: {enabled: false}\n"), true, true, "192.0.2.12", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			host, backup := storageHosts(c.cluster)
			if accounts(c.cluster) != c.accounts || runsDBD(c.cluster) != c.runs || host != c.hostName || backup != c.hostNext {
				t.Errorf("accounts %v, runs %v, %s, %s", accounts(c.cluster), runsDBD(c.cluster), host, backup)
			}
		})
	}
}

func TestMountUnit(t *testing.T) {
	for in, want := range map[string]string{
		"/mnt/gluster":  "mnt-gluster.mount",
		"/mnt/my-data/": `mnt-my\x2ddata.mount`,
		"/srv/a b":      `srv-a\x20b.mount`,
		"/":             "-.mount",
		"/.hidden/x.y":  `\x2ehidden-x.y.mount`,
	} {
		if got := mountUnit(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestHardware(t *testing.T) {
	cpu := func(n, core string) string {
		return "processor\t: " + n + "\nphysical id\t: 0\ncore id\t\t: " + core + "\n\n"
	}
	var hw config.Hardware
	fillCPUs(&hw, cpu("0", "0")+cpu("1", "0")+cpu("2", "1")+cpu("3", "1"))
	if hw.CPUs != 4 || hw.Sockets != 1 || hw.CoresPerSocket != 2 || hw.ThreadsPerCore != 2 {
		t.Errorf("%+v", hw)
	}
	if got := memoryMB("MemTotal:       24684084 kB\nMemFree: 1 kB\n"); got != 24064 {
		t.Errorf("%d MiB", got)
	}
	var odd config.Hardware
	fillCPUs(&odd, "processor\t: 0\nprocessor\t: 1\nprocessor\t: 2\n")
	if odd.CPUs != 3 || odd.Sockets != 0 {
		t.Errorf("%+v", odd)
	}
}

func TestBeforeReexec(t *testing.T) {
	for v, want := range map[string]bool{
		"slurm-wlm 22.05.8": true, "slurm 23.02.7": true, "slurm 23.11.0": false, "slurm-wlm 24.11.5": false, "what": false,
	} {
		if beforeReexec(v) != want {
			t.Errorf("%s: %v", v, !want)
		}
	}
}
