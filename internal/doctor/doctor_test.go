package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/host/hosttest"
)

const clusterFile = `config_version: '2.1'
cluster_info: {cluster_name: suite, domain: suite.example, timezone: Asia/Seoul}
nodes:
  controllers:
    - {hostname: server1, ip_address: 192.0.2.11, ssh_user: root, os_type: debian13, priority: 100, vip_owner: true, services: {glusterfs: true, mariadb: true, redis: true, slurm: true, keepalived: true}}
    - {hostname: server2, ip_address: 192.0.2.12, ssh_user: root, priority: 99, services: {glusterfs: true, mariadb: true, redis: true, slurm: true, keepalived: true}}
    - {hostname: server3, ip_address: 192.0.2.13, ssh_user: ops, priority: 98, services: {glusterfs: true, mariadb: true, redis: true, slurm: true, keepalived: true}}
  compute_nodes:
    - {hostname: node1, ip_address: 192.0.2.21, ssh_user: root, node_type: compute, hardware: {cpus: 2, sockets: 1, cores_per_socket: 2, threads_per_core: 1, memory_mb: 1024}}
network:
  management_network: 192.0.2.0/24
  vip: {address: 192.0.2.100, netmask: 24, vrrp_router_id: 51}
shared_storage:
  type: glusterfs
  glusterfs: {volume_name: v, brick_path: /data/glusterfs/brick, mount_point: /mnt/gluster}
database:
  mariadb: {root_password: aaa-1-bbb, sst_password: aaa-2-bbb, databases: [{name: slurm_acct_db, user: slurm, password: aaa-3-bbb}]}
redis: {cluster: {password: aaa-4-bbb}}
users: {slurm_user: slurm, slurm_uid: 64030, slurm_gid: 64030, munge_user: munge}
slurm_config:
  partitions: [{name: normal, nodes: node1, default: true}]
`

func load(t *testing.T) *config.Cluster {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cluster.yaml")
	if err := os.WriteFile(path, []byte(clusterFile), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// clocked is a machine with a clock that may be wrong.
type clocked struct {
	*hosttest.Machine
	ahead time.Duration
}

func (c *clocked) Clock(context.Context) (time.Duration, time.Duration, error) {
	return c.ahead, time.Millisecond, nil
}

const passwd = "root:x:0:0::/root:/bin/sh\nslurm:x:64030:64030::/:/bin/false\nmunge:x:102:102::/:/bin/false\n"
const group = "root:x:0:\nslurm:x:64030:\nmunge:x:102:\n"

// healthy is a host with nothing against it.
func healthy(c *config.Cluster, p Patient) *clocked {
	m := hosttest.New(p.Spec.Hostname)
	df := func(mount string, avail int64) string {
		return fmt.Sprintf("Type 1B-blocks Avail Mounted on\next4 %d %d %s\n", int64(100<<30), avail, mount)
	}
	m.File("/etc/os-release", "NAME=\"Debian GNU/Linux\"\nID=debian\nVERSION_ID=\"13\"\n").
		File("/proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\nMemAvailable:    6291456 kB\n").
		Dir("/data", "/var/lib").
		Answer("uname -rm", "6.12.1 x86_64\n").
		Answer("nproc", "4\n").
		Answer("systemctl list-units", "").
		Answer("systemctl is-active chrony.service", "active\n").
		Answer("timedatectl show", "yes\n").
		OnQuery("systemd-detect-virt", func(host.Cmd) (string, error) { return "none\n", hosttest.Exit(1, "") }).
		Answer("df -B1 --output=fstype,size,avail,target /", df("/", 50<<30)).
		Answer("df -B1 --output=fstype,size,avail,target /var/log", df("/", 50<<30)).
		Answer("df -B1 --output=fstype,size,avail,target /var/lib", df("/", 50<<30)).
		Answer("df -B1 --output=fstype,size,avail,target /data", df("/data", 50<<30)).
		Answer("ss -Htlnp", `LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=1,fd=3))`+"\n").
		Answer("getent passwd", passwd).
		Answer("getent group", group).
		Answer("ip -br addr", "lo UNKNOWN 127.0.0.1/8\neth0@if2 UP "+p.Spec.Address.String()+"/24 fe80::1/64\n").
		Answer("dpkg --audit", "")
	for _, o := range c.AllHosts() {
		a := o.Address.String()
		m.Answer("getent ahosts "+o.Hostname, a+" STREAM "+o.Hostname+"\n"+a+" DGRAM\n"+a+" RAW\n")
		m.OnDial("tcp", fmt.Sprintf("%s:%d", a, o.SSHPort), func(context.Context) (net.Conn, error) {
			near, far := net.Pipe()
			_ = far.Close()
			return near, nil
		})
	}
	var installed, policy strings.Builder
	for _, name := range wantedPackages(c, p) {
		version := "1.0-1"
		if strings.HasPrefix(name, "slurm") {
			version = "24.11.5-4"
		}
		fmt.Fprintf(&installed, "%s installed %s\n", name, version)
		fmt.Fprintf(&policy, "%s:\n  Installed: %s\n  Candidate: %s\n", name, version, version)
	}
	m.Answer("dpkg-query -W", installed.String())
	m.Answer("apt-cache policy", policy.String())
	return &clocked{Machine: m}
}

// examine makes every host healthy, lets change spoil something, and judges.
func examine(t *testing.T, change func(c *config.Cluster, patients []Patient, machines map[string]*clocked)) Report {
	t.Helper()
	c := load(t)
	patients := Patients(c)
	machines := map[string]*clocked{}
	for i := range patients {
		m := healthy(c, patients[i])
		machines[m.Name()] = m
		patients[i].Reader, patients[i].Login = m, patients[i].Spec.SSHUser
	}
	if change != nil {
		change(c, patients, machines)
	}
	r := Judge(c, Examine(t.Context(), c, patients))
	for name, m := range machines {
		if got := m.Changes(); len(got) != 0 {
			t.Errorf("%s was changed: %v", name, got)
		}
	}
	return r
}

func (r Report) find(t *testing.T, hostname, check string) Finding {
	t.Helper()
	for _, h := range r.Hosts {
		if h.Hostname != hostname {
			continue
		}
		for _, f := range h.Findings {
			if f.Check == check {
				return f
			}
		}
	}
	t.Fatalf("no finding %s of %s", check, hostname)
	return Finding{}
}

func TestHealthyHostsHaveNothingAgainstThem(t *testing.T) {
	r := examine(t, nil)
	for _, h := range r.Hosts {
		if len(h.Findings) != len(Checks()) {
			t.Errorf("%s has %d findings of %d", h.Hostname, len(h.Findings), len(Checks()))
		}
		for i, f := range h.Findings {
			if f.Check != Checks()[i] {
				t.Errorf("%s: finding %d is %s, want %s", h.Hostname, i, f.Check, Checks()[i])
			}
			if f.Level != OK && f.Level != Skipped {
				t.Errorf("%s %s: %s: %s", h.Hostname, f.Check, f.Level, f.Reason)
			}
			if f.Level == OK && f.Reason == "" {
				t.Errorf("%s %s: fine without a word", h.Hostname, f.Check)
			}
		}
	}
	if !r.OK {
		t.Error("not OK")
	}
	if f := r.find(t, "server1", checkPackages); !slices.ContainsFunc(f.Asked, func(q string) bool { return strings.HasPrefix(q, "apt-cache policy") }) {
		t.Errorf("does not say what it asked: %v", f.Asked)
	}
}

func TestWhatIsWrong(t *testing.T) {
	type cluster = map[string]*clocked
	answer := func(name, words, out string) func(*config.Cluster, []Patient, cluster) {
		return func(_ *config.Cluster, _ []Patient, m cluster) { m[name].Answer(words, out) }
	}
	fail := func(name, words string, err error) func(*config.Cluster, []Patient, cluster) {
		return func(_ *config.Cluster, _ []Patient, m cluster) {
			m[name].OnQuery(words, func(host.Cmd) (string, error) { return "", err })
		}
	}
	for name, c := range map[string]struct {
		change func(*config.Cluster, []Patient, cluster)
		host   string
		check  string
		level  Level
		words  []string // of the reason and the remedy
	}{
		"a host is off": {func(_ *config.Cluster, p []Patient, _ cluster) {
			p[1].Reader, p[1].Err, p[1].Remedy = nil, errors.New("no route to host"), "switch it on"
		}, "server2", checkReach, Fail, []string{"no route", "switch it on"}},
		"a login may not sudo": {func(_ *config.Cluster, p []Patient, _ cluster) {
			p[2].Reader, p[2].Err, p[2].NotRoot = nil, errors.New("ops is not in the sudoers file"), true
		}, "server3", checkRoot, Fail, []string{"sudoers"}},
		"another machine has the address": {answer("server1", "ip -br addr", "eth0 UP 192.0.2.99/24\n"), "server1", checkReach, Fail, []string{"192.0.2.11", "192.0.2.99"}},
		"a system nobody tested": {func(_ *config.Cluster, _ []Patient, m cluster) {
			m["node1"].File("/etc/os-release", "ID=arch\nNAME=Arch\n")
		}, "node1", checkSystem, Fail, []string{"Arch", "Debian 12"}},
		"heads of two releases": {func(_ *config.Cluster, _ []Patient, m cluster) {
			m["server2"].File("/etc/os-release", "NAME=\"Debian GNU/Linux\"\nID=debian\nVERSION_ID=\"12\"\n")
		}, "server1", checkSystem, Warn, []string{"server2", "12"}},
		"another os_type":                   {func(_ *config.Cluster, p []Patient, _ cluster) { p[0].Spec.OSType = "rocky9" }, "server1", checkSystem, Warn, []string{"rocky9"}},
		"a unit failed":                     {answer("server1", "systemctl list-units", "redis.service loaded failed failed Redis\n"), "server1", checkSystem, Warn, []string{"redis.service"}},
		"no systemd":                        {fail("server1", "systemctl list-units", hosttest.Exit(1, "System has not been booted with systemd")), "server1", checkSystem, Fail, []string{"systemd"}},
		"a clock a minute ahead":            {func(_ *config.Cluster, _ []Patient, m cluster) { m["server2"].ahead = time.Minute }, "server2", checkClock, Fail, []string{"1m0s ahead", "from 300 s on munge refuses"}},
		"a clock ten minutes ahead":         {func(_ *config.Cluster, _ []Patient, m cluster) { m["server2"].ahead = 10 * time.Minute }, "server2", checkClock, Fail, []string{"10m0s ahead", "munge refuses what others sign, and they"}},
		"a clock two seconds behind":        {func(_ *config.Cluster, _ []Patient, m cluster) { m["node1"].ahead = -2 * time.Second }, "node1", checkClock, Warn, []string{"2s behind", "chronyc"}},
		"no time daemon":                    {fail("server1", "systemctl is-active chrony.service", hosttest.Exit(3, "")), "server1", checkTime, Warn, []string{"no time daemon"}},
		"not synchronised":                  {answer("server1", "timedatectl show", "no\n"), "server1", checkTime, Warn, []string{"chrony", "not synchronised"}},
		"a name that is not known":          {fail("server1", "getent ahosts server3", hosttest.Exit(2, "")), "server1", checkNames, Warn, []string{"server3", "/etc/hosts"}},
		"its own name leads to itself only": {answer("server2", "getent ahosts server2", "127.0.1.1 STREAM server2\n"), "server2", checkNames, Warn, []string{"127.0.1.1", "192.0.2.12"}},
		"a firewall between two": {func(_ *config.Cluster, _ []Patient, m cluster) {
			m["server1"].OnDial("tcp", "192.0.2.13:22", func(context.Context) (net.Conn, error) { return nil, errors.New("i/o timeout") })
		}, "server1", checkPeers, Fail, []string{"server3", "firewall"}},
		"the brick on the root disk": {answer("server1", "df -B1 --output=fstype,size,avail,target /data", "T S A M\next4 100000000000 50000000000 /\n"),
			"server1", checkDisk, Fail, []string{"/data/glusterfs/brick", "root disk"}},
		"the brick on an overlay": {answer("server1", "df -B1 --output=fstype,size,avail,target /data", "T S A M\noverlay 100000000000 50000000000 /data\n"),
			"server1", checkDisk, Fail, []string{"overlay", "xfs or ext4"}},
		"a full disk": {answer("server1", "df -B1 --output=fstype,size,avail,target /var/lib", "T S A M\next4 100000000000 1000000 /var/lib/mysql\n"),
			"server1", checkDisk, Fail, []string{"/var/lib/mysql", "make room"}},
		"a small head": {func(_ *config.Cluster, _ []Patient, m cluster) {
			m["server1"].File("/proc/meminfo", "MemTotal: 524288 kB\n")
		}, "server1", checkMemory, Fail, []string{"512 MiB"}},
		"a node with less than said": {func(_ *config.Cluster, _ []Patient, m cluster) {
			m["node1"].File("/proc/meminfo", "MemTotal: 524288 kB\n")
		}, "node1", checkMemory, Fail, []string{"1024 MiB", "512", "drains"}},
		"fewer CPUs than said": {answer("node1", "nproc", "1\n"), "node1", checkMemory, Fail, []string{"2 CPUs"}},
		"a port that is taken": {answer("server2", "ss -Htlnp", `LISTEN 0 80 192.0.2.12:3306 0.0.0.0:* users:(("docker-proxy",pid=77,fd=3))`),
			"server2", checkPorts, Fail, []string{"3306", "mariadb", "docker-proxy", "77"}},
		"a port of nobody known": {answer("server2", "ss -Htlnp", "LISTEN 0 80 *:6379 *:*\n"), "server2", checkPorts, Unknown, []string{"6379"}},
		"ss is not installed":    {fail("server2", "ss -Htlnp", errors.New("gone")), "server2", checkPorts, Unknown, []string{"gone"}},
		"a user id that is taken": {answer("node1", "getent passwd", "root:x:0:0::/:/x\nkim:x:64030:1000::/home/kim:/bin/sh\n"),
			"node1", checkAccounts, Fail, []string{"64030 belongs to kim", "users.slurm_uid", "such as "}},
		"a group id that is taken": {func(_ *config.Cluster, _ []Patient, m cluster) {
			m["node1"].Answer("getent passwd", "root:x:0:0::/:/x\n").Answer("getent group", "lab:x:64030:\n")
		}, "node1", checkAccounts, Fail, []string{"group lab"}},
		"an account with another number": {answer("server2", "getent passwd", strings.ReplaceAll(passwd, "64030:64030", "981:981")), "server2", checkAccounts, Warn, []string{"981:981", "64030:64030"}},
		"a package that nobody offers": {func(_ *config.Cluster, _ []Patient, m cluster) {
			m["server3"].Answer("dpkg-query -W", "munge installed 1\n").Answer("apt-cache policy", "munge:\n  Candidate: 1\nslurmctld:\n  Installed: (none)\n  Candidate: (none)\n")
		}, "server3", checkPackages, Fail, []string{"slurmctld", "apt-get update"}},
		"offline, and no source has it": {func(c *config.Cluster, _ []Patient, m cluster) {
			c.Installation.OfflineMode, c.Installation.OfflinePackageDir = true, "/srv/bundle"
			m["server3"].Answer("dpkg-query -W", "munge installed 1\n").Answer("apt-cache policy", "munge:\n  Candidate: 1\nslurmctld:\n  Installed: (none)\n  Candidate: (none)\n")
		}, "server3", checkPackages, Fail, []string{"slurmctld", "a mirror"}},
		"offline, and the bundle lacks one": {func(_ *config.Cluster, ps []Patient, m cluster) {
			for i := range ps {
				ps[i].Bundle = map[string]string{"munge": "1", "keepalived": "1"}
			}
			m["server3"].Answer("dpkg-query -W", "munge installed 1\n").Answer("apt-cache policy", "munge:\n  Candidate: 1\nslurmctld:\n  Candidate: 2\n")
		}, "server3", checkPackages, Fail, []string{"slurmctld"}},
		"an installation that was cut off": {answer("server3", "dpkg --audit", "The following packages are only half configured\n"), "server3", checkPackages, Fail, []string{"dpkg --configure -a"}},
		"a newer compute node":             {answer("node1", "dpkg-query -W", "munge installed 1\nchrony installed 1\nslurmd installed 25.05.1-1\n"), "node1", checkSlurm, Fail, []string{"25.05", "24.11", "upgrade the heads first"}},
		"heads of two Slurm releases":      {answer("server1", "dpkg-query -W", "slurmctld installed 23.11.4-1\n"), "server2", checkSlurm, Fail, []string{"23.11", "server1"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := examine(t, c.change)
			f := r.find(t, c.host, c.check)
			if f.Level != c.level {
				t.Errorf("level %s, want %s: %s", f.Level, c.level, f.Reason)
			}
			for _, w := range c.words {
				if !strings.Contains(f.Reason+" "+f.Remedy, w) {
					t.Errorf("%q / %q does not say %q", f.Reason, f.Remedy, w)
				}
			}
			if r.OK != (c.level != Fail) {
				t.Errorf("the whole is OK=%v", r.OK)
			}
		})
	}
}

func TestOneWrongClockDoesNotMakeTheOthersWrong(t *testing.T) {
	r := examine(t, func(_ *config.Cluster, _ []Patient, m map[string]*clocked) { m["server1"].ahead = time.Hour })
	for _, name := range []string{"server2", "server3", "node1"} {
		if f := r.find(t, name, checkClock); f.Level != OK {
			t.Errorf("%s: %s", name, f.Reason)
		}
	}
	if len(r.Notes) != 0 {
		t.Errorf("notes: %v", r.Notes)
	}
}

func TestOurOwnWrongClockIsOurs(t *testing.T) {
	r := examine(t, func(_ *config.Cluster, _ []Patient, m map[string]*clocked) {
		for _, c := range m {
			c.ahead = -5 * time.Minute
		}
	})
	if !r.OK || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "5m0s ahead") {
		t.Errorf("%v %v", r.OK, r.Notes)
	}
}

func TestAPortHeldByItsOwnServiceIsFine(t *testing.T) {
	r := examine(t, func(_ *config.Cluster, _ []Patient, m map[string]*clocked) {
		m["server1"].Answer("ss -Htlnp", `LISTEN 0 80 *:3306 *:* users:(("mariadbd",pid=9,fd=3))
LISTEN 0 80 *:6817 *:* users:(("slurmctld",pid=10,fd=3))`)
	})
	if f := r.find(t, "server1", checkPorts); f.Level != OK || !strings.Contains(f.Reason, "3306 by mariadbd") {
		t.Errorf("%+v", f)
	}
}

func TestAHostThatHangsIsUnknownAndNotFine(t *testing.T) {
	r := examine(t, func(_ *config.Cluster, _ []Patient, m map[string]*clocked) {
		m["server2"].Down(context.DeadlineExceeded)
	})
	for _, f := range r.Hosts[1].Findings {
		if f.Level == OK && f.Check != checkReach && f.Check != checkRoot && f.Check != checkClock {
			t.Errorf("%s is fine: %s", f.Check, f.Reason)
		}
	}
}

func FuzzParsers(f *testing.F) {
	f.Add("LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:((\"sshd\",pid=1,fd=3))")
	f.Add("Type 1B-blocks Avail Mounted on\next4 1 2 /mnt/a b\n")
	f.Add("slurmctld:\n  Installed: (none)\n  Candidate: 24.11.5-4\n")
	f.Add("eth0@if2 UP 192.0.2.11/24 fe80::1/64\nMemTotal: 5 kB\nID=\"x\"")
	f.Fuzz(func(t *testing.T, s string) {
		for _, l := range parseSS(s) {
			if l.pid < 0 && !strings.Contains(s, "-") {
				t.Fatal(l)
			}
		}
		_, _ = parseDF(s)
		for name, v := range parsePolicy(s) {
			if name == "" || v == "" && !strings.Contains(s, "Candidate") {
				t.Fatalf("%q %q", name, v)
			}
			_, _ = parseSlurm(v)
		}
		parseAddresses(s)
		parseMeminfo(s)
		parseRelease(s)
	})
}
