package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// said is what a run left behind.
type said struct {
	code        int
	out, errOut string // errOut has the error itself at its end
}

// tell runs the command line in dir, as main does.
func tell(t *testing.T, dir string, args ...string) said {
	t.Helper()
	t.Chdir(dir)
	var out, errOut bytes.Buffer
	a := newApp()
	a.stdin, a.stdout, a.stderr = strings.NewReader(""), &out, &errOut
	root := newRoot(a)
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&errOut)
	err := root.ExecuteContext(t.Context())
	code := exitOK
	if err != nil {
		code = exitCode(err)
		errOut.WriteString(err.Error())
	}
	return said{code, out.String(), errOut.String()}
}

const password = "Wd8-fern-salt-63"

const smallFile = `cluster_info: {cluster_name: small}
nodes:
  controllers:
    - {hostname: server1, ip_address: 10.0.0.11, priority: 100, vip_owner: true, services: {mariadb: true, redis: true, keepalived: true}}
    - {hostname: server2, ip_address: 10.0.0.12, priority: 99, services: {mariadb: true, keepalived: true}}
    - {hostname: server3, ip_address: 10.0.0.13, priority: 98, services: {mariadb: true}}
network: {vip: {address: 10.0.0.10}}
database: {mariadb: {root_password: Kt2-lamp-oak-87}}
redis: {cluster: {password: ` + password + `}}
`

// site is a folder with cluster files: the good one where it is looked for.
func site(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"my_multihead_cluster.yaml": smallFile,
		"broken.yaml":               strings.NewReplacer("priority: 99", "priority: 100", "vip_owner", "vip_ower").Replace(smallFile),
		"risky.yaml":                strings.Replace(smallFile, "root_password: Kt2-lamp-oak-87", "root_password: changeme", 1),
		"my_cluster.yaml":           "cluster_info: {cluster_name: old}\nnodes:\n  controller: # the head\n    hostname: head\n    ip: 10.0.0.1\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestConfigVerbs(t *testing.T) {
	dir := site(t)
	for name, tc := range map[string]struct {
		args   string
		code   int
		out    string // must be in stdout
		errOut string // must be in stderr
	}{
		"a good file":                     {"config validate", 0, "valid: small, 3 heads, virtual address 10.0.0.10; 0 warnings", ""},
		"a broken file":                   {"config validate broken.yaml", 78, "", "broken.yaml:4:65: nodes.controllers[0].vip_ower: unknown key; did you mean vip_owner?"},
		"all errors at once":              {"config validate broken.yaml", 78, "", "broken.yaml:5:60: nodes.controllers[1].priority: 100 is already the priority of server1"},
		"how many errors":                 {"config validate broken.yaml", 78, "", "2 errors, 0 warnings"},
		"a warning":                       {"config validate risky.yaml", 0, "1 warning", "known default"},
		"a warning with strict":           {"config validate risky.yaml --strict", 78, "", "0 errors, 1 warning"},
		"broken, as JSON":                 {"config validate broken.yaml -o json", 78, `"line": 5`, ""},
		"broken, as a table":              {"config validate broken.yaml -o table", 78, "WRITE INSTEAD", "2 errors"},
		"a broken file for another verb":  {"config vip -f broken.yaml", 78, "", "did you mean vip_owner?"},
		"no file":                         {"config show -f none.yaml", 78, "", "no such file or directory\nname another with -f FILE, or write a new one with: multihead init"},
		"two files":                       {"config validate -f a.yaml b.yaml", 64, "", "name one file"},
		"one value":                       {"config get network.vip.address", 0, "10.0.0.10\n", ""},
		"one value of a host":             {"config get nodes.controllers[server2].priority", 0, "99\n", ""},
		"a part":                          {"config get network.vip", 0, "netmask: 24 # default", ""},
		"a value as JSON":                 {"config get network.vip.netmask -o json", 0, "24\n", ""},
		"a value misspelt":                {"config get network.vip.adress", 64, "", "did you mean network.vip.address?"},
		"a secret":                        {"config get redis.cluster.password", 64, "", "add --reveal"},
		"a secret revealed":               {"config get redis.cluster.password --reveal", 0, password + "\n", ""},
		"no path":                         {"config get", 64, "", "usage: multihead config get PATH"},
		"the whole":                       {"config show", 0, "hostname: server2", ""},
		"the whole, where from":           {"config show -o table", 0, "line 5", ""},
		"the whole, unknown format":       {"config show -o xml", 64, "", "write yaml, json or table"},
		"heads":                           {"config controllers", 0, "server2", ""},
		"heads with a service":            {"config controllers --service redis -o name", 0, "server1\n", ""},
		"heads as JSON":                   {"config controllers -o json", 0, `"ip": "10.0.0.13"`, ""},
		"heads as YAML":                   {"config controllers -o yaml", 0, "hostname: server3", ""},
		"a service that is none":          {"config controllers --service mysql", 64, "", "write one of glusterfs, mariadb"},
		"the virtual address":             {"config vip", 0, "10.0.0.10/24", ""},
		"the virtual address alone":       {"config vip -o name", 0, "10.0.0.10\n", ""},
		"no virtual address":              {"config vip -f my_cluster.yaml", 78, "", "sets no virtual address"},
		"the virtual address as JSON":     {"config vip -o json", 0, `"owner": "server1"`, ""},
		"the schema":                      {"config schema", 0, "https://json-schema.org/draft/2020-12/schema", ""},
		"an older file":                   {"config convert my_cluster.yaml", 0, "  controllers: # the head\n    - hostname: head\n      ip_address: 10.0.0.1\n", "controller is now controllers"},
		"a file in the present form":      {"config convert --write", 0, "nothing was changed", ""},
		"help of what is none":            {"help bogus", 64, "", "unknown command"},
		"a choice that is missing":        {"restore", 64, "", "at least one of the flags"},
		"a verb that is none":             {"config valdate", 64, "", "did you mean: multihead config validate"},
		"help":                            {"config --help", 0, "multihead config validate", ""},
		"a starting file where one is":    {"init", 64, "", "is there already and was left as it is"},
		"a starting file to look at":      {"init --stdout", 0, "cluster_name: my-cluster", ""},
		"a starting file with a bad head": {"init --stdout --head server1", 64, "", "write NAME=ADDRESS"},
	} {
		t.Run(name, func(t *testing.T) {
			got := tell(t, dir, strings.Fields(tc.args)...)
			if got.code != tc.code {
				t.Errorf("exit %d; want %d\n%s%s", got.code, tc.code, got.out, got.errOut)
			}
			if !strings.Contains(got.out, tc.out) {
				t.Errorf("stdout:\n%s\nwant %q in it", got.out, tc.out)
			}
			if !strings.Contains(got.errOut, tc.errOut) {
				t.Errorf("stderr:\n%s\nwant %q in it", got.errOut, tc.errOut)
			}
			if !strings.Contains(tc.args, "--reveal") && strings.Contains(got.out+got.errOut, password) {
				t.Error("a password is printed")
			}
			for _, trace := range []string{"goroutine ", "panic:", ".go:"} {
				if strings.Contains(got.errOut, trace) {
					t.Errorf("a stack trace: %s", got.errOut)
				}
			}
		})
	}
}

func TestConvertWritesTheFileAndKeepsTheOldOne(t *testing.T) {
	dir := site(t)
	path := filepath.Join(dir, "my_cluster.yaml")
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := tell(t, dir, "config", "convert", "my_cluster.yaml", "--write"); got.code != 0 {
		t.Fatal(got)
	}
	old, err := os.ReadFile(path + ".bak")
	if err != nil || !bytes.Equal(old, before) {
		t.Errorf("the old file is not kept: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if got := tell(t, dir, "config", "validate", "my_cluster.yaml"); got.code != 0 {
		t.Errorf("the new file: %v", got)
	}
	second := append([]byte("# once more\n"), before...)
	if err := os.WriteFile(path, second, 0o600); err != nil {
		t.Fatal(err)
	}
	got := tell(t, dir, "config", "convert", "my_cluster.yaml", "--write")
	first, err := os.ReadFile(path + ".bak")
	if got.code != 0 || err != nil || !bytes.Equal(first, before) {
		t.Errorf("the first old file is lost: %v, %v", got, err)
	}
	_, name, _ := strings.Cut(strings.TrimSpace(got.out), "the old one is ")
	if kept, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(kept, second) {
		t.Errorf("the second old file is not kept: %s: %v", got.out, err)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestInitWritesAFileThatLoads(t *testing.T) {
	dir := t.TempDir()
	got := tell(t, dir, "init", "--name", "hpc", "--vip", "10.1.0.10/16", "--compute", "n1=10.1.2.1",
		"--head", "a=10.1.0.11", "--head", "b=10.1.0.12", "--witness", "w=10.1.0.19")
	if got.code != 0 {
		t.Fatal(got)
	}
	info, err := os.Stat(filepath.Join(dir, "my_multihead_cluster.yaml"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	got = tell(t, dir, "config", "validate", "-o", "json")
	var report struct {
		Valid    bool
		Problems []any
	}
	if err := json.Unmarshal([]byte(got.out), &report); err != nil || !report.Valid || len(report.Problems) > 0 {
		t.Errorf("%v: %s", err, got.out)
	}
	if got = tell(t, dir, "config", "get", "network.management_network"); got.out != "10.1.0.0/16\n" {
		t.Error(got)
	}
}
