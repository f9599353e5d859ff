package main

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"multihead/internal/config"
)

// mixed has a head that is a compute node as well.
func mixed() *config.Cluster {
	host := func(name, addr string) config.HostSpec {
		return config.HostSpec{Hostname: name, Address: netip.MustParseAddr(addr)}
	}
	c := &config.Cluster{}
	c.Nodes.Controllers = []config.Controller{{HostSpec: host("server1", "10.0.0.1")}, {HostSpec: host("server2", "10.0.0.2")}}
	c.Nodes.ComputeNodes = []config.ComputeNode{{HostSpec: host("node001", "10.0.0.11")}, {HostSpec: host("server2", "10.0.0.2")}}
	c.Witnesses = []config.Witness{{HostSpec: host("witness1", "10.0.0.19")}}
	return c
}

func TestWhatAHostIsTakenOutAs(t *testing.T) {
	for name, tc := range map[string]struct {
		said  string
		names []string
		want  kindOfHost
		wrong string
	}{
		"a head":                     {"", []string{"server1"}, kindHead, ""},
		"a compute node":             {"", []string{"node001"}, kindCompute, ""},
		"a witness":                  {"", []string{"witness1"}, kindWitness, ""},
		"a head with jobs is a head": {"", []string{"server2"}, kindHead, ""},
		"unless said otherwise":      {"compute", []string{"server2"}, kindCompute, ""},
		"with others of the kind":    {"compute", []string{"server2", "node001"}, kindCompute, ""},
		"two kinds":                  {"", []string{"server1", "node001"}, "", "one kind after the other"},
		"nobody":                     {"", []string{"server9"}, "", "server9 is no host of the cluster file"},
		"not what it is":             {"witness", []string{"server1"}, "", "server1 is no witness in the cluster file, but a head"},
		"a kind that there is not":   {"login", []string{"server1"}, "", "write head, compute or witness"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := commonKind(mixed(), tc.said, tc.names)
			if got != tc.want || tc.wrong == "" && err != nil || tc.wrong != "" && (err == nil || !strings.Contains(err.Error(), tc.wrong)) {
				t.Errorf("%s, %v", got, err)
			}
		})
	}
}

func TestWhoIsInTheFileAlready(t *testing.T) {
	for name, tc := range map[string]struct {
		kind     kindOfHost
		host, ip string
		there    bool
		wrong    string
	}{
		"a new one":                     {kindCompute, "node002", "10.0.0.12", false, ""},
		"the same again":                {kindCompute, "node001", "10.0.0.11", true, ""},
		"the same, by name alone":       {kindCompute, "node001", "", true, ""},
		"the same with another address": {kindCompute, "node001", "10.0.0.12", false, "in the file with the address 10.0.0.11"},
		"another one has the address":   {kindCompute, "node002", "10.0.0.11", false, "node001 (10.0.0.11) is in the file already, as a compute"},
		"a head that is to run jobs":    {kindCompute, "server1", "10.0.0.1", false, ""},
		"a head is no witness":          {kindWitness, "server1", "10.0.0.1", false, "as a head"},
		"a witness runs no jobs":        {kindCompute, "witness1", "10.0.0.19", false, "as a witness"},
	} {
		t.Run(name, func(t *testing.T) {
			f := addFlags{name: tc.host, ip: tc.ip}
			there, err := f.thereAlready(mixed(), tc.kind)
			if there != tc.there || tc.wrong == "" && err != nil || tc.wrong != "" && (err == nil || !strings.Contains(err.Error(), tc.wrong)) {
				t.Errorf("%v, %v", there, err)
			}
		})
	}
}

func TestHardwareOnTheCommandLine(t *testing.T) {
	hw, err := parseHardware([]string{"cpus=8", "memory_mb=16384", "gres=gpu:a100:2,nvme:1", "features=fast"})
	if err != nil || hw.CPUs != 8 || hw.MemoryMB != 16384 || len(hw.GRES) != 2 || hw.Features.String() != "fast" {
		t.Errorf("%+v, %v", hw, err)
	}
	for _, wrong := range []string{"cpus", "cpus=", "cpus=many", "cpus=-1", "ram=5"} {
		if _, err := parseHardware([]string{wrong}); err == nil {
			t.Errorf("%s is taken", wrong)
		}
	}
}

func TestFlagsThatDoNotGoTogether(t *testing.T) {
	for name, tc := range map[string]struct {
		f  removeFlags
		ok bool
	}{
		"a compute node with its jobs":    {removeFlags{kind: kindCompute, wait: time.Hour, upFlags: upFlags{yes: true}}, true},
		"a dead one, without being asked": {removeFlags{kind: kindCompute, gone: true, upFlags: upFlags{yes: true}}, false},
		"a dead one has nothing to end":   {removeFlags{kind: kindCompute, gone: true, wait: time.Hour}, false},
		"a service of a compute node":     {removeFlags{kind: kindCompute, services: []string{"slurm"}}, false},
		"a head, without being asked":     {removeFlags{kind: kindHead, upFlags: upFlags{yes: true}}, false},
		"a witness, without being asked":  {removeFlags{kind: kindWitness, upFlags: upFlags{yes: true}}, false},
		"a time that is none":             {removeFlags{kind: kindCompute, wait: -time.Hour}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tc.f.check(); (err == nil) != tc.ok {
				t.Error(err)
			}
		})
	}
}

// What the verb writes is a file that loads, whoever was added.
func TestTheFileStaysUsable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	text := `cluster_info: {cluster_name: site}
nodes:
  controllers:
    - {hostname: server1, ip_address: 10.0.0.1, priority: 100, vip_owner: true, services: {slurm: true}}
  # the farm
  compute_nodes:
    - {hostname: node001, ip_address: 10.0.0.11, hardware: {cpus: 4, memory_mb: 4096}}
slurm_config:
  state_save_location: /var/spool/slurm
  partitions: [{name: normal, nodes: node001, default: true}, {name: gpu, nodes: node001}]
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a := newApp()
	a.configPath, a.quiet = path, true
	f := addFlags{name: "node002", ip: "10.0.0.12", hardware: []string{"cpus=8", "memory_mb=8192"}, partitions: []string{"normal"}}
	e, err := a.edit(func(d *config.Document, c *config.Cluster) error {
		return f.changeOther(t.Context(), a, kindCompute, d, c)
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := e.after.AllComputes(); len(n) != 2 || n[1].Hardware.CPUs != 8 || e.after.Slurm.Partitions[0].Nodes.String() != "node[001-002]" || !strings.Contains(string(e.new), "# the farm") {
		t.Errorf("%s", e.new)
	}
	if _, err = a.edit(func(d *config.Document, _ *config.Cluster) error {
		return dropOther(d, kindCompute, []string{"node001"})
	}); err == nil {
		t.Error("the last node of a partition was taken out")
	}
	if err := os.WriteFile(path, e.new, 0o600); err != nil {
		t.Fatal(err)
	}
	back, err := a.edit(func(d *config.Document, _ *config.Cluster) error {
		return dropOther(d, kindCompute, []string{"node002"})
	})
	if err != nil || string(back.new) != text {
		t.Errorf("%v:\n%s", err, back.new)
	}
	if err := os.WriteFile(path, e.new, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		f     addFlags
		nodes string // of the partition gpu afterwards
		wrong string
	}{
		{"the same again", addFlags{hardware: []string{"cpus=8"}}, "node001", ""},
		{"its own partition again", addFlags{partitions: []string{"normal"}}, "node001", ""},
		{"another partition", addFlags{partitions: []string{"gpu"}}, "node[001-002]", ""},
		{"a partition that is not there", addFlags{partitions: []string{"no"}}, "", "no partition is called no"},
		{"other hardware", addFlags{hardware: []string{"cpus=16", "gres=gpu:a100:2"}}, "", "node002 is in the file already, with cpus 8 and not 16: change it in the file"},
		{"another login", addFlags{spec: config.HostSpec{SSHUser: "ops"}}, "", "with ssh_user root and not ops"},
	} {
		t.Run("node002 is there: "+tt.name, func(t *testing.T) {
			tt.f.name, tt.f.ip = "node002", "10.0.0.12"
			e, err := a.edit(func(d *config.Document, c *config.Cluster) error {
				return tt.f.changeOther(t.Context(), a, kindCompute, d, c)
			})
			switch {
			case tt.wrong != "":
				if exitCode(err) != exitUsage || !strings.Contains(err.Error(), tt.wrong) {
					t.Errorf("exit code %d: %v", exitCode(err), err)
				}
			case err != nil:
				t.Error(err)
			default:
				if got := e.after.Slurm.Partitions[1].Nodes.String(); got != tt.nodes || e.same() != (tt.nodes == "node001") {
					t.Errorf("gpu has %s:\n%s", got, e.new)
				}
			}
		})
	}
	var exit *exitError
	f = addFlags{name: "node003", ip: "10.0.0.13", hardware: []string{"cpus=8", "memory_mb=8192"}, partitions: []string{"no"}}
	if _, err = a.edit(func(d *config.Document, c *config.Cluster) error {
		return f.changeOther(t.Context(), a, kindCompute, d, c)
	}); !errors.As(err, &exit) {
		t.Errorf("a partition that is not there: %v", err)
	}
}
