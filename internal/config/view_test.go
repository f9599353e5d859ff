package config

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestGetOneValue(t *testing.T) {
	c, _, err := Parse("site.yaml", []byte(read(t, "testdata/site.yaml")), WithEnv(longEnv))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"network.vip.address":                   "192.168.1.100",
		"nodes.controllers[0].priority":         "100",
		"nodes.controllers[server3].priority":   "98",
		"slurm_config.partitions[normal].nodes": "node[001-002]",
		"shared_storage.glusterfs.directories":  "frontend_builds,slurm/state,slurm/logs,uploads,config",
		"redis.cluster.replicas":                "1",
		"database.mariadb.version":              "",
		"nodes.controllers[1].vip_owner":        "false",
		"time_synchronization.ntp_servers[0]":   "pool.ntp.org",
	} {
		v, err := c.Get(path, false)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if got, ok := v.Scalar(); !ok || got != want {
			t.Errorf("%s: %q; want %q", path, got, want)
		}
	}
	for path, want := range map[string]string{
		"network.vip.adress":       "did you mean network.vip.address?",
		"netwrk":                   "did you mean network?",
		"nodes.controllers[9]":     "has 4 entries and no [9]",
		"nodes.controllers[s9]":    "has 4 entries and no [s9]",
		"redis.type.x":             "redis.type has no keys",
		"redis[0]":                 "redis is not a list",
		"redis.zzzzzzzz":           "known here: enabled, type, cluster",
		"network.firewall.ports.x": "network.firewall.ports is empty",
	} {
		if _, err := c.Get(path, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", path, err, want)
		}
	}
	if _, err := c.Get("redis.cluster.password", false); !errors.Is(err, ErrSecret) {
		t.Errorf("a secret: %v", err)
	}
	if v, err := c.Get("redis.cluster.password", true); err != nil || v.root.text != "value of REDIS_PASSWORD" {
		t.Errorf("a secret revealed: %v", err)
	}
}

// TestShownFileLoadsAsTheSame: what show prints with its secrets is a cluster
// file that says the same.
func TestShownFileLoadsAsTheSame(t *testing.T) {
	for _, file := range []string{"testdata/plain.yaml", "testdata/site.yaml"} {
		c := parse(t, read(t, file), WithEnv(longEnv))
		var b strings.Builder
		if err := c.Show(true).YAML(&b); err != nil {
			t.Fatal(err)
		}
		again, _, err := Parse("shown", []byte(b.String()), WithEnv(noEnv))
		if err != nil {
			t.Fatalf("%v\n%s", err, b.String())
		}
		if again.SecretsHash(nil) != c.SecretsHash(nil) {
			t.Errorf("%s: it says something else:\n%s", file, b.String())
		}
	}
}

func TestRowsSayWhereAValueComesFrom(t *testing.T) {
	c := parse(t, read(t, "testdata/plain.yaml"))
	lines := make(map[string]int)
	for _, r := range c.Show(false).Rows() {
		lines[r.Path] = r.From.Line
	}
	for path, want := range map[string]int{"nodes.controllers[1].priority": 13, "redis.cluster.port": 0, "slurm_config.partitions[0].nodes": 47} {
		if got, ok := lines[path]; !ok || got != want {
			t.Errorf("%s: line %d; want %d", path, got, want)
		}
	}
}

func TestJSONHasTypes(t *testing.T) {
	c := parse(t, read(t, "testdata/plain.yaml"))
	var b strings.Builder
	if err := c.Show(false).JSON(&b); err != nil {
		t.Fatal(err)
	}
	var out struct {
		Nodes struct {
			Controllers []struct {
				Priority int  `json:"priority"`
				Owner    bool `json:"vip_owner"`
			} `json:"controllers"`
		} `json:"nodes"`
		Redis struct {
			Cluster struct {
				Password string `json:"password"`
				Port     int    `json:"port"`
				Max      string `json:"maxmemory"`
			} `json:"cluster"`
		} `json:"redis"`
	}
	if err := json.Unmarshal([]byte(b.String()), &out); err != nil {
		t.Fatal(err)
	}
	if out.Nodes.Controllers[0].Priority != 100 || !out.Nodes.Controllers[0].Owner || out.Redis.Cluster.Password != Masked || out.Redis.Cluster.Port != 6379 {
		t.Errorf("%+v", out)
	}
}
