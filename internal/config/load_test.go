package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"multihead/internal/golden"
)

// noEnv is an empty process environment.
func noEnv(string) (string, bool) { return "", false }

// longEnv has a value for every variable, a different one for each.
func longEnv(name string) (string, bool) {
	if name == "VRRP_PASSWORD" {
		return "vrrp-pw", true
	}
	return "value of " + name, true
}

func parse(t *testing.T, text string, opts ...Option) *Cluster {
	t.Helper()
	c, _, err := Parse("test.yaml", []byte(text), append([]Option{WithEnv(noEnv)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestSiteFileLoadsAsItIs(t *testing.T) {
	data := read(t, "testdata/site.yaml")
	c, problems, err := Parse("site.yaml", []byte(data), WithEnv(longEnv))
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/site.want", problems.String()+"\n")
	for _, tc := range []struct {
		what      string
		got, want any
	}{
		{"heads with mariadb", len(c.HeadsWith(MariaDB)), 4},
		{"virtual address", c.Network.VIP.Address, netip.MustParseAddr("192.168.1.100")},
		{"ssh port, left out", c.Nodes.Controllers[1].SSHPort, 22},
		{"ssh key", c.Nodes.Controllers[0].SSHKeyPath, "~/.ssh/id_ed25519"},
		{"replica count, auto", c.SharedStorage.GlusterFS.ReplicaCount.Auto(), true},
		{"partition", c.Slurm.Partitions[0].Nodes.String(), "node[001-002]"},
		{"time limit", c.Slurm.Partitions[0].MaxTime, "7-00:00:00"},
		{"version in quotes", c.ConfigVersion, "2.1"},
		{"a password from the environment", c.Redis.Cluster.Password.Reveal(), "value of REDIS_PASSWORD"},
		{"redis", c.RedisMode(), RedisCluster},
		{"all hosts", len(c.AllHosts()), 6},
		{"slurm name", c.SlurmClusterName(), "hpc_portal_multihead"},
		{"discovery", c.Clustering.AutoDiscovery.Timeout.Duration(), 5 * time.Second},
		{"place", c.Pos("nodes.controllers[2].priority").String(), "site.yaml:29:17"},
		{"place of a key left out", c.Pos("nodes.controllers[2].ssh_port").String(), "site.yaml:26:7"},
		{"place of a map", c.Pos("shared_storage.glusterfs").String(), "site.yaml:56:3"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %v; want %v", tc.what, tc.got, tc.want)
		}
	}
}

func TestOlderFormsLoad(t *testing.T) {
	rest := "\ncluster_info: {cluster_name: old}\n"
	for name, tc := range map[string]struct{ text, want string }{
		"one head as a map": {
			"nodes:\n  controller:\n    hostname: head\n    ip_address: 10.0.0.1\n    ssh_user: root\n    hardware: {cpus: 4}\n",
			"head 10.0.0.1 100 false [slurm]",
		},
		"one head runs what the file has sections for": {
			"nodes: {controller: {hostname: head, ip_address: 10.0.0.1}}\nredis: {cluster: {password: long-enough}}\nnetwork: {vip: {address: 10.0.0.9}}\n",
			"head 10.0.0.1 100 true [redis slurm keepalived]",
		},
		"controllers at the top": {
			"controllers:\n  - {hostname: head, ip_address: 10.0.0.1, services: {slurm: true}}\nnodes:\n  compute_nodes: []\n",
			"head 10.0.0.1 100 false [slurm]",
		},
		"controllers at the top without nodes": {
			"controllers: [{hostname: head, ip_address: 10.0.0.1}]\n", "head 10.0.0.1 100 false []",
		},
		"ip for ip_address": {
			"nodes: {controllers: [{hostname: head, ip: 10.0.0.1}]}\n", "head 10.0.0.1 100 false []",
		},
		"vip as a plain address": {
			"nodes: {controllers: [{hostname: head, ip: 10.0.0.1, vip_owner: true, services: {keepalived: true}}]}\nnetwork: {vip: 10.0.0.9}\n",
			"head 10.0.0.1 100 true [keepalived]",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := parse(t, tc.text+rest)
			h := c.Nodes.Controllers[0]
			got := fmt.Sprint(h.Hostname, " ", h.Address, " ", h.Priority, " ", h.VIPOwner, " ", h.Services.Names())
			if len(c.Nodes.Controllers) != 1 || got != tc.want {
				t.Errorf("%d heads, %s; want %s", len(c.Nodes.Controllers), got, tc.want)
			}
			if strings.Contains(tc.text, "vip: 10") && c.Network.VIP.Address != netip.MustParseAddr("10.0.0.9") {
				t.Errorf("vip %v", c.Network.VIP)
			}
		})
	}
}

func TestDerivedValues(t *testing.T) {
	c := parse(t, `
cluster_info: {cluster_name: hpc-a}
nodes:
  controllers: [{hostname: h, ip_address: 10.0.0.1, services: {slurm: true}}]
  compute_nodes:
    - {hostname: n1, ip_address: 10.0.0.2, hardware: {sockets: 2, cores_per_socket: 4, threads_per_core: 2, gpus: 2, gpu_type: a100}}
  viz_nodes:
    - {hostname: v1, ip_address: 10.0.0.3, hardware: {cpus: 4}}
shared_storage: {type: existing, mount_point: /shared}
slurm_config:
  partitions: [{name: all, nodes: ALL, default: true}]
time_synchronization: {timezone: Asia/Seoul}
redis: {cluster: {cluster_node_timeout: 5s}}
clustering: {auto_discovery: {timeout: 1.5}}
`)
	n := c.Nodes.ComputeNodes[0].Hardware
	for _, tc := range []struct {
		what      string
		got, want any
	}{
		{"CPUs of sockets and cores", n.CPUs, 16},
		{"gres of GPUs", n.GRES.String(), "gpu:a100:2"},
		{"ALL", c.Slurm.Partitions[0].Nodes.String(), "n1,v1"},
		{"state location", c.Slurm.StateSaveLocation, "/shared/slurm/state"},
		{"galera name", c.Database.MariaDB.Galera.ClusterName, "hpc-a"},
		{"priority of an only head", c.Nodes.Controllers[0].Priority, 100},
		{"viz node", c.Nodes.VizNodes[0].NodeType, "viz"},
		{"5s as milliseconds", c.Redis.Cluster.ClusterNodeTimeout.String(), "5000"},
		{"1.5 seconds", c.Clustering.AutoDiscovery.Timeout.Duration(), 1500 * time.Millisecond},
		{"accounting without a database", c.AccountingOn(), false},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %v; want %v", tc.what, tc.got, tc.want)
		}
	}
}

func TestVariablesComeFromTheProcessFirst(t *testing.T) {
	text := read(t, "testdata/plain.yaml")
	text = strings.Replace(text, `"Wd8-fern-salt-63"`, `"pre-${A}-${B}-$${C}"`, 1) + "\nenvironment: {A: from-file, B: 'b+${A}', C: 3}\n"
	c := parse(t, text, WithEnv(func(name string) (string, bool) { return "from-process", name == "A" }))
	if got, want := c.Redis.Cluster.Password.Reveal(), "pre-from-process-b+from-process-${C}"; got != want {
		t.Errorf("%q; want %q", got, want)
	}
}

func TestAnchorsAndMerges(t *testing.T) {
	c := parse(t, `
cluster_info: {cluster_name: a}
nodes:
  controllers:
    - &first
      hostname: s1
      ip_address: 10.0.0.1
      priority: 100
      services: &all {mariadb: true, redis: true}
    - <<: *first
      hostname: s2
      ip_address: 10.0.0.2
      priority: 99
    - {hostname: s3, ip_address: 10.0.0.3, priority: 98, services: {<<: *all, redis: false}}
database: {mariadb: {sst_password: long-enough-1}}
`)
	got := ""
	for _, h := range c.Nodes.Controllers {
		got += fmt.Sprintf("%s %d %v ", h.Hostname, h.Priority, h.Services.Names())
	}
	if want := "s1 100 [mariadb redis] s2 99 [mariadb redis] s3 98 [mariadb] "; got != want {
		t.Errorf("%s; want %s", got, want)
	}
}

func TestFileReadableByOthersIsWarnedOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	write := func(text string, mode os.FileMode) Problems {
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, problems, err := Load(path, WithEnv(longEnv))
		if err != nil {
			t.Fatal(err)
		}
		return problems
	}
	plain := read(t, "testdata/plain.yaml")
	if got := write(plain, 0o644).String(); !strings.Contains(got, "0644") || !strings.Contains(got, "chmod 600") {
		t.Errorf("mode 644 and passwords in the file: %s", got)
	}
	if got := write(plain, 0o600); len(got) > 0 {
		t.Errorf("mode 600: %s", got)
	}
	if got := write(read(t, "testdata/site.yaml"), 0o644).String(); strings.Contains(got, "0644") {
		t.Errorf("no password stands in the file itself: %s", got)
	}
}

func TestFileThatCannotBeReadSaysSo(t *testing.T) {
	for _, path := range []string{"testdata/none.yaml", "testdata"} {
		if _, _, err := Load(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestSecretsAreNeverPrinted plants a secret in every place that can hold one
// and looks for it in everything a cluster can be printed as.
func TestSecretsAreNeverPrinted(t *testing.T) {
	const canary = "CANARY-9f3a"
	text := strings.NewReplacer("mQ7-vine-drum-41", canary+"-1", "Kt2-lamp-oak-87", canary+"-2", "Zr5-moss-kite-29", canary+"-3", "Wd8-fern-salt-63", canary+"-4").
		Replace(read(t, "testdata/plain.yaml")) + `
environment: {TOKEN: CANARY-9f3a-5}
security: {jwt: {secret_key: "${TOKEN}"}}
fencing: {enabled: true, devices: [{node: server1, agent: fence_ipmilan, options: {ip: 10.0.0.201, username: admin, password: CANARY-9f3a-6}}]}
monitoring: {grafana: {admin_password: CANARY-9f3a-7, port: 3000}, alerting: {channels: [{type: slack, webhook_url: CANARY-9f3a-8}]}}
`
	c := parse(t, text)
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "c", c, "v", *c, "s", c.Redis.Cluster.Password)
	for _, f := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
		fmt.Fprintf(&b, f, c)
		fmt.Fprintf(&b, f, *c)
		fmt.Fprintf(&b, f, c.Fencing)
	}
	for _, show := range []func() error{func() error { return c.Show(false).YAML(&b) }, func() error { return c.Show(false).JSON(&b) }} {
		if err := show(); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Fprint(&b, c.Show(false).Rows())
	out := b.String() + string(raw)
	if strings.Contains(out, canary) || strings.Contains(out, fmt.Sprintf("%x", canary)) {
		i := max(strings.Index(out, canary), 0)
		t.Errorf("a secret is printed: ...%s...", out[max(i-200, 0):min(i+40, len(out))])
	}
	if !strings.Contains(out, "10.0.0.201") || !strings.Contains(out, "3000") {
		t.Error("what is no secret is not printed")
	}
	var revealed strings.Builder
	if err := c.Show(true).JSON(&revealed); err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= 8; i++ {
		if s := fmt.Sprint(canary, "-", i); !strings.Contains(revealed.String(), s) {
			t.Errorf("%s is not shown when it is asked for", s)
		}
	}
}

// TestErrorsTellNoSecrets makes every password wrong in form.
func TestErrorsTellNoSecrets(t *testing.T) {
	text := strings.NewReplacer(`"Kt2-lamp-oak-87"`, `"CANARY\nx"`, `"Wd8-fern-salt-63"`, "[CANARY]", "vrrp_router_id: 51", `auth_password: [CANARY-long], vrrp_router_id: "${CANARYVAR}"`).
		Replace(read(t, "testdata/plain.yaml"))
	_, problems, err := Parse("x", []byte(text), WithEnv(func(string) (string, bool) { return "CANARY-value", true }))
	if err == nil || len(problems) < 4 {
		t.Fatalf("%v", err)
	}
	if s := strings.ReplaceAll(problems.String(), "CANARYVAR", ""); strings.Contains(s, "CANARY") {
		t.Error(s)
	}
}

func TestHashSeesMeaningNotLayoutNorPasswords(t *testing.T) {
	text := read(t, "testdata/plain.yaml")
	base := parse(t, text)
	same := parse(t, "# a comment\n"+strings.ReplaceAll(text, "priority: 100", "priority:   100")+"redis_: \n"[:0])
	other := parse(t, strings.Replace(text, "priority: 98", "priority: 97", 1))
	password := parse(t, strings.Replace(text, "Wd8-fern-salt-63", "Wd8-fern-salt-64", 1))
	if base.Hash() != same.Hash() || base.Hash() == other.Hash() || base.Hash() != password.Hash() {
		t.Error("Hash")
	}
	key := []byte("key")
	if base.SecretsHash(key) != same.SecretsHash(key) || base.SecretsHash(key) == password.SecretsHash(key) || base.SecretsHash(key) == base.SecretsHash([]byte("k2")) {
		t.Error("SecretsHash")
	}
}

// bigFile has n compute nodes.
func bigFile(n int) string {
	var b strings.Builder
	b.WriteString("cluster_info: {cluster_name: big}\nnodes:\n  controllers:\n    - {hostname: h, ip_address: 10.0.0.1, services: {slurm: true}}\n  compute_nodes:\n")
	for i := range n {
		fmt.Fprintf(&b, "    - hostname: node%05d\n      ip_address: 10.%d.%d.%d\n      ssh_user: root\n      node_type: compute\n      hardware: {cpus: 128, sockets: 2, cores_per_socket: 64, threads_per_core: 1, memory_mb: 512000, gres: 'gpu:a100:4'}\n", i, 1+i/62500, i/250%250, i%250+1)
	}
	fmt.Fprintf(&b, "slurm_config: {partitions: [{name: all, nodes: 'node[00000-%05d]', default: true}]}\n", n-1)
	return b.String()
}

func TestTwoThousandComputeNodes(t *testing.T) {
	c := parse(t, bigFile(2000))
	if n := len(c.Slurm.Partitions[0].Nodes); n != 2000 || len(c.AllHosts()) != 2001 {
		t.Errorf("%d nodes", n)
	}
}

func BenchmarkTwoThousandComputeNodes(b *testing.B) {
	data := []byte(bigFile(2000))
	for b.Loop() {
		if _, _, err := Parse("big", data, WithEnv(noEnv)); err != nil {
			b.Fatal(err)
		}
	}
}

func TestPasswordsThatNothingTakesAreNotJudged(t *testing.T) {
	plain := read(t, "testdata/plain.yaml")
	for name, text := range map[string]string{
		"they are missing": strings.Replace(plain, "sst_password:", "# sst_password:", 1),
		"they are bad": strings.NewReplacer(`sst_password: "Kt2-lamp-oak-87"`, "sst_password: changeme",
			"vrrp_router_id: 51", "vrrp_router_id: 51, auth_password: longer-than-eight").Replace(plain),
		"they are one": strings.NewReplacer(`sst_password: "Kt2-lamp-oak-87"`, `sst_password: "Wd8-fern-salt-63"`).Replace(plain),
	} {
		if text == plain {
			t.Fatalf("%s: the test changes nothing", name)
		}
		if _, problems, err := Parse("c.yaml", []byte(text), WithEnv(longEnv)); err != nil || len(problems) > 0 {
			t.Errorf("%s: %v\n%s", name, err, problems)
		}
	}
}

func TestTimeZonesAreThoseThereAre(t *testing.T) {
	for name, want := range map[string]bool{
		"Asia/Seoul": true, "UTC": true, "America/Argentina/Buenos_Aires": true, "Etc/GMT-9": true,
		"Asia/Soeul": false, "Asia": false, "KST": false, "Local": false, "": false, "../etc/passwd": false, "asia seoul": false,
	} {
		if got := isZone(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
	dir := fstest.MapFS{"Asia/Seoul": {}, "Europe/Seville": {}, "posix/Asia/Seoul": {}, "zone.tab": {}, "UTC": {}}
	zones := zonesIn(dir)
	if got := strings.Join(zones, " "); got != "Asia/Seoul UTC" {
		t.Errorf("the zones are %s", got)
	}
	if near := nearest("Asia/Soeul", zones); near != "Asia/Seoul" {
		t.Errorf("near is %q", near)
	}
	if got := zonesIn(fstest.MapFS{}); len(got) > 0 {
		t.Errorf("no directory has %v", got)
	}
}
