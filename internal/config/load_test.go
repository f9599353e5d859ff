package config

import (
	"os"
	"testing"
)

// noEnv is an empty process environment.
func noEnv(string) (string, bool) { return "", false }

// someEnv has a value for every variable, each a different one.
func someEnv(name string) (string, bool) { return "value-of-" + name, true }

func TestSiteFileLoads(t *testing.T) {
	data, err := os.ReadFile("testdata/site.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, problems, err := Parse("site.yaml", data, WithEnv(func(name string) (string, bool) { return name[:2], true }))
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Log(problems)
	if got := len(c.HeadsWith(MariaDB)); got != 4 {
		t.Errorf("%d heads with mariadb; want 4", got)
	}
	if got := c.Network.VIP.Address.String(); got != "192.168.1.100" {
		t.Errorf("vip %s", got)
	}
	if got := c.Nodes.Controllers[1].SSHPort; got != 22 {
		t.Errorf("ssh port %d; want the default", got)
	}
	if got := c.Pos("nodes.controllers[2].priority"); got.Line != 29 || got.Col != 17 {
		t.Errorf("position %v", got)
	}
}
