package multihead

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// allowed says which of our packages each package may import. A package that
// is not listed fails: adding one means deciding where it stands. A * at the
// end stands for every folder below.
func allowed() map[string][]string {
	service := []string{"internal/config", "internal/host", "internal/hostlist", "internal/plan", "internal/service"}
	return map[string][]string{
		".":                  {},
		"internal/golden":    {},
		"internal/hostlist":  {},
		"internal/arp":       {},
		"internal/config":    {"internal/hostlist"},
		"internal/host":      {},
		"internal/host/*":    {"internal/host", "internal/host/*"},
		"internal/plan":      {"internal/host", "internal/hostlist"},
		"internal/service":   {"internal/config", "internal/host", "internal/plan"},
		"internal/service/*": service, // and no service ever another one
		// The suite brings its own machines; it is imported by tests only.
		"internal/service/servicetest": append(service, "internal/host/hosttest"),
		"internal/service/all":         append(service, "internal/service/*"),
		"internal/cluster":             {"internal/config", "internal/host", "internal/plan", "internal/service"},
		"internal/backup":              {"internal/config", "internal/host", "internal/plan", "internal/service"},
		"internal/service/backup":      append(service, "internal/backup"),
		"internal/fence":               {"internal/config", "internal/host"},
		"internal/bundle":              {"internal/host", "internal/plan"},
		"internal/upgrade":             {"internal/bundle", "internal/cluster", "internal/config", "internal/host", "internal/plan", "internal/service", "internal/service/agentd"},
		"internal/agent":               {"internal/arp", "internal/cluster", "internal/config", "internal/fence", "internal/host", "internal/host/rpc", "internal/plan", "internal/service", "internal/service/agentd"},
		"internal/drill":               {"internal/cluster", "internal/config", "internal/drill/*", "internal/host", "internal/service", "internal/service/agentd"},
		"internal/drill/clients":       {"internal/arp"},
		"internal/drill/check":         {"internal/drill/clients"},
		"internal/doctor":              {"internal/config", "internal/host", "internal/service", "internal/hostlist"},
		"internal/lab":                 {"internal/hostlist"},
		"cmd/multihead":                {"internal/*"},
		"test":                         {"internal/*"},
		"bench":                        {"internal/*"},
	}
}

// mayTest are imports that only tests may have, anywhere.
func mayTest() []string {
	return []string{"internal/golden", "internal/host/hosttest", "internal/service/servicetest"}
}

func TestNobodyImportsWhatTheyMayNot(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	rules := allowed()
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for dec.More() {
		var p struct {
			ImportPath                         string
			Imports, TestImports, XTestImports []string
		}
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		name := ours(p.ImportPath)
		list, ok := rule(rules, name)
		if !ok {
			t.Errorf("%s is not listed in arch_test.go: decide what it may import", name)
			continue
		}
		for _, imp := range p.Imports {
			if i := ours(imp); i != "" && !matches(list, i) {
				t.Errorf("%s imports %s, which it may not", name, i)
			}
		}
		for _, imp := range append(p.TestImports, p.XTestImports...) {
			if i := ours(imp); i != "" && i != name && !matches(list, i) && !slices.Contains(mayTest(), i) {
				t.Errorf("tests of %s import %s, which they may not", name, i)
			}
		}
	}
}

// ours is a package's folder in this module, empty for others' packages.
func ours(path string) string {
	if path == "multihead" {
		return "."
	}
	name, ok := strings.CutPrefix(path, "multihead/")
	if !ok {
		return ""
	}
	return name
}

func rule(rules map[string][]string, name string) ([]string, bool) {
	if list, ok := rules[name]; ok {
		return list, true
	}
	for pattern, list := range rules {
		if prefix, ok := strings.CutSuffix(pattern, "*"); ok && strings.HasPrefix(name, prefix) {
			return list, true
		}
	}
	return nil, false
}

func matches(list []string, name string) bool {
	return slices.ContainsFunc(list, func(p string) bool {
		prefix, star := strings.CutSuffix(p, "*")
		return p == name || star && strings.HasPrefix(name, prefix)
	})
}
