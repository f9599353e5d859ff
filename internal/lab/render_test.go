package lab

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"multihead/internal/golden"
)

func testLab(t *testing.T, s Spec) *Lab {
	t.Helper()
	spec, err := s.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	l := &Lab{Spec: spec, base: "/lab"}
	l.setHosts()
	return l
}

func TestClusterFile(t *testing.T) {
	secrets := map[string]string{}
	for _, n := range secretNames {
		secrets[n] = strings.ToLower(n)
	}
	tests := map[string]struct {
		spec Spec
		opts ClusterOptions
	}{
		"cluster-4-heads.yaml":       {spec: Spec{Heads: 4, Compute: 2, Spare: 1}},
		"cluster-2-and-witness.yaml": {spec: Spec{Heads: 2, Witness: 1, Logins: map[string]Login{"server1": LoginAdmin, "server2": LoginPassword, "witness1": LoginOps}}},
		"cluster-bare-spare.yaml":    {spec: Spec{Image: "bare", Heads: 2, Compute: 1, Spare: 1}, opts: ClusterOptions{Hosts: []string{"server2", "spare1"}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := renderCluster(testLab(t, tt.spec).clusterData(tt.opts, secrets))
			if err != nil {
				t.Fatal(err)
			}
			golden.Check(t, filepath.Join("testdata", name), got)
		})
	}
}

func TestRules(t *testing.T) {
	links := map[string]string{"server1": "vb-1", "server2": "vb-2", "server3": "vb-3"}
	tests := map[string][]Fault{
		"rules-none.nft":    nil,
		"rules-cut.nft":     {{Hosts: []string{"server1"}, From: []string{"server2", "server3"}}},
		"rules-one-way.nft": {{Hosts: []string{"server1"}, From: []string{"server2", OutsideName}, OneWay: true}},
		"rules-storage.nft": {{Hosts: []string{"server1"}, From: []string{"server2"}, Only: []string{"storage", "vrrp", "udp/4567"}}},
		"rules-outside.nft": {{Hosts: []string{OutsideName}, From: []string{"server3"}}},
		"rules-loss.nft":    {{Hosts: []string{"server1", OutsideName}, Loss: 0.5}},
	}
	for name, faults := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := renderRules(faults, links)
			if err != nil {
				t.Fatal(err)
			}
			golden.Check(t, filepath.Join("testdata", name), got)
		})
	}
}

func TestFaultMistakes(t *testing.T) {
	hosts := testLab(t, Spec{Heads: 2}).Spec.hosts()
	tests := map[string]struct {
		fault Fault
		want  string
	}{
		"nobody named":        {Fault{}, "name the hosts"},
		"unknown host":        {Fault{Hosts: []string{"server9"}}, `no host "server9"`},
		"everybody":           {Fault{Hosts: []string{"server1", "server2"}}, "nobody is left"},
		"on both sides":       {Fault{Hosts: []string{"server1"}, From: []string{"server1"}}, "both sides"},
		"loss above all":      {Fault{Hosts: []string{"server1"}, Loss: 101}, "between 0 and 100"},
		"traffic unknown":     {Fault{Hosts: []string{"server1"}, Only: []string{"nfs"}}, `traffic "nfs"`},
		"port out of range":   {Fault{Hosts: []string{"server1"}, Only: []string{"tcp/70000"}}, "tcp/70000"},
		"range upside down":   {Fault{Hosts: []string{"server1"}, Only: []string{"udp/9-3"}}, "udp/9-3"},
		"rule smuggled in":    {Fault{Hosts: []string{"server1"}, Only: []string{"tcp/1 accept"}}, "tcp/1 accept"},
		"protocol in a range": {Fault{Hosts: []string{"server1"}, Only: []string{"proto/1-2"}}, "proto/1-2"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := tt.fault.complete(hosts)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestFaultDefaultsToAllOtherHosts(t *testing.T) {
	f, err := Fault{Hosts: []string{"server1"}}.complete(testLab(t, Spec{Heads: 2, Compute: 1}).Spec.hosts())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := f.String(), "server1 cut from server2,node001"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestRecipeKey(t *testing.T) {
	keys := map[string]string{}
	for _, n := range ImageNames() {
		r, err := recipeFor(n)
		if err != nil {
			t.Fatal(err)
		}
		again, err := recipeFor(n)
		if err != nil {
			t.Fatal(err)
		}
		if r.key() != again.key() {
			t.Errorf("%s: two keys for one recipe", n)
		}
		for what, change := range map[string]func(*Recipe){
			"a package": func(r *Recipe) { r.Packages = append(r.Packages, "vim") },
			"offline":   func(r *Recipe) { r.Offline = append(r.Offline, "vim") },
			"suite":     func(r *Recipe) { r.Suite = "sid" },
			"version":   func(r *Recipe) { r.Version++ },
		} {
			changed, err := recipeFor(n)
			if err != nil {
				t.Fatal(err)
			}
			change(&changed)
			if changed.key() == r.key() {
				t.Errorf("%s: the key does not see a change of %s", n, what)
			}
		}
		if other, ok := keys[r.key()]; ok {
			t.Errorf("%s and %s have one key", n, other)
		}
		keys[r.key()] = n
	}
}

func TestPickMirror(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"by origin, not the security archive": {
			"Debian|Debian-Security|Packages|http://mirror.example/debian-security/\nDebian|Debian|Packages|http://mirror.example/pub/linux/debian/\n",
			"http://mirror.example/pub/linux/debian",
		},
		"before the first update, by path": {
			"||Packages|http://other.example/node/\n||Packages|http://mirror.example/debian/\n",
			"http://mirror.example/debian",
		},
		"another distribution's machine": {"Ubuntu|Ubuntu|Packages|http://mirror.example/ubuntu/\n", debianDefault},
		"a third party named debian":     {"Docker|Docker CE|Packages|http://docker.example/linux/debian/\n", debianDefault},
		"no sources":                     {"", debianDefault},
		"other targets":                  {"Debian|Debian|DEP-11|http://wrong.example/debian/\n", debianDefault},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := pickMirror(tt.in); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestNamesOnTheMachineDoNotMeet(t *testing.T) {
	a := testLab(t, Spec{Name: "one", Heads: 1}).hosts[0]
	b := testLab(t, Spec{Name: "two", Heads: 1}).hosts[0]
	elsewhere := testLab(t, Spec{Name: "one", Heads: 1})
	elsewhere.base = "/elsewhere"
	c := elsewhere.hosts[0]
	if a.machine() == b.machine() || a.machine() == c.machine() {
		t.Errorf("machine names %s %s %s", a.machine(), b.machine(), c.machine())
	}
	if n := len(a.link()); n > 15 {
		t.Errorf("link name %s has %d characters; the kernel takes 15", a.link(), n)
	}
}

func TestLockFile(t *testing.T) {
	ctx := context.Background()
	name := filepath.Join(t.TempDir(), "lock")
	never := func() { t.Error("waited for a free lock") }
	unlock, err := lockFile(ctx, name, never)
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan struct{})
	got := make(chan error, 1)
	go func() {
		unlock, err := lockFile(ctx, name, func() { close(waiting) })
		if err == nil {
			if _, statErr := os.Stat(name); statErr != nil {
				err = statErr // a lock on a removed file would keep nobody out
			}
			unlock() // before the next one goes for it
		}
		got <- err
	}()
	<-waiting
	select {
	case err := <-got:
		t.Fatalf("two holders at once (%v)", err)
	default:
	}
	if err := os.Remove(name); err != nil { // as Down does
		t.Fatal(err)
	}
	unlock()
	if err := <-got; err != nil {
		t.Fatal(err)
	}

	unlock, err = lockFile(ctx, name, never)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	if _, err := lockFile(short, name, func() {}); err == nil {
		t.Error("a lock that is held was taken")
	}
}
