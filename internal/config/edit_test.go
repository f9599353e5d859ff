package config

import (
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"multihead/internal/golden"

	"github.com/aymanbagabas/go-udiff"
)

func document(t *testing.T, text string) *Document {
	t.Helper()
	d, err := ParseDocument("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func server5() Controller {
	return Controller{
		HostSpec: HostSpec{Hostname: "server5", Address: netip.MustParseAddr("192.168.1.105"), SSHUser: "root", SSHPort: 22},
		Priority: 96,
		Services: Services{GlusterFS: true, MariaDB: true, Keepalived: true},
	}
}

const commented = `# the heads of the site
nodes:   # machines
  controllers:
    # rack 1
    - hostname: server1   # the old one
      ip_address: 192.168.1.101

      priority: 100
      services: {glusterfs: true, mariadb: true} # all of it
    # rack 2
    - hostname: server2
      ip_address: 192.168.1.102
      priority: 99
      services:
        glusterfs: true
        # no database here
        mariadb: false

  # nothing but numbers
  compute_nodes:
  - {hostname: node001, ip_address: 192.168.1.121}   # first
  - {hostname: node002, ip_address: 192.168.1.122}

redis: {type: auto, cluster: {port: 6379}} # cache
users:
database:
  mariadb: { config: { max_connections: 500 } }
# the end
`

// diff is what an edit changed, line by line; everything else stayed.
func diff(before, after string) string {
	var b strings.Builder
	for line := range strings.Lines(udiff.Unified("a", "b", before, after)) {
		if (line[0] == '+' || line[0] == '-') && !strings.HasPrefix(line, "+++") && !strings.HasPrefix(line, "---") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestEditsTouchNothingElse(t *testing.T) {
	for name, tc := range map[string]struct {
		edit func(*Document) error
		want string
	}{
		"a head is added like the one before it": {
			func(d *Document) error { return d.AddController(server5()) },
			"+    - hostname: server5\n+      ip_address: 192.168.1.105\n+      ssh_user: root\n+      priority: 96\n+      vip_owner: false\n+      services:\n" +
				"+        glusterfs: true\n+        mariadb: true\n+        redis: false\n+        slurm: false\n+        web: false\n+        keepalived: true\n",
		},
		"the last head is removed with its comment": {
			func(d *Document) error { return d.RemoveController("server2") },
			"-    # rack 2\n-    - hostname: server2\n-      ip_address: 192.168.1.102\n-      priority: 99\n-      services:\n-        glusterfs: true\n-        # no database here\n-        mariadb: false\n",
		},
		"the first head is removed": {
			func(d *Document) error { return d.RemoveController("server1") },
			"-    - hostname: server1   # the old one\n-      ip_address: 192.168.1.101\n-\n-      priority: 100\n-      services: {glusterfs: true, mariadb: true} # all of it\n",
		},
		"an entry on one line is added like its neighbours": {
			func(d *Document) error {
				return d.Append("nodes.compute_nodes", []Field{{"hostname", "node003"}, {"ip_address", "192.168.1.123"}, {"hardware", []Field{{"cpus", 4}}}})
			},
			"+  - {hostname: node003, ip_address: 192.168.1.123, hardware: {cpus: 4}}\n",
		},
		"an entry on one line is removed": {
			func(d *Document) error { return d.Remove("nodes.compute_nodes[0]") },
			"-  - {hostname: node001, ip_address: 192.168.1.121}   # first\n",
		},
		"a value changes and its comment stays": {
			func(d *Document) error { return d.Set("nodes.controllers[0].hostname", "alpha") },
			"-    - hostname: server1   # the old one\n+    - hostname: alpha   # the old one\n",
		},
		"a value inside braces changes": {
			func(d *Document) error { return d.Set("redis.cluster.port", 6380) },
			"-redis: {type: auto, cluster: {port: 6379}} # cache\n+redis: {type: auto, cluster: {port: 6380}} # cache\n",
		},
		"a key is added inside braces": {
			func(d *Document) error { return d.Set("redis.cluster.password", "${REDIS_PASSWORD}") },
			"-redis: {type: auto, cluster: {port: 6379}} # cache\n+redis: {type: auto, cluster: {port: 6379, password: '${REDIS_PASSWORD}'}} # cache\n",
		},
		"a key is added inside braces with blanks": {
			func(d *Document) error { return d.Set("database.mariadb.config.wait_timeout", 60) },
			"-  mariadb: { config: { max_connections: 500 } }\n+  mariadb: { config: { max_connections: 500, wait_timeout: 60 } }\n",
		},
		"a key is added to a head": {
			func(d *Document) error { return d.Set("nodes.controllers[0].vip_owner", true) },
			"+      vip_owner: true\n",
		},
		"a key is added to the last part of a head": {
			func(d *Document) error { return d.Set("nodes.controllers[1].services.redis", true) },
			"+        redis: true\n",
		},
		"a key is added to the top of the file": {
			func(d *Document) error { return d.Set("stage", "two") },
			"+stage: two\n",
		},
		"a key is added to an empty part": {
			func(d *Document) error { return d.Set("users.slurm_uid", 990) },
			"+  slurm_uid: 990\n",
		},
		"a list is started": {
			func(d *Document) error {
				return d.Append("witnesses", []Field{{"hostname", "w1"}, {"ip_address", "10.0.0.9"}})
			},
			"+witnesses:\n+  - hostname: w1\n+    ip_address: 10.0.0.9\n",
		},
		"a key inside braces is removed": {
			func(d *Document) error { return d.Remove("redis.type") },
			"-redis: {type: auto, cluster: {port: 6379}} # cache\n+redis: {cluster: {port: 6379}} # cache\n",
		},
		"the last key inside braces is removed": {
			func(d *Document) error { return d.Remove("nodes.controllers[0].services.mariadb") },
			"-      services: {glusterfs: true, mariadb: true} # all of it\n+      services: {glusterfs: true} # all of it\n",
		},
		"a key with all below it is removed": {
			func(d *Document) error { return d.Remove("nodes.controllers[1].services") },
			"-      services:\n-        glusterfs: true\n-        # no database here\n-        mariadb: false\n",
		},
		"a text that looks like something else gets quotes": {
			func(d *Document) error { return d.Set("nodes.controllers[1].hostname", "yes") },
			"-    - hostname: server2\n+    - hostname: 'yes'\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := document(t, commented)
			if err := tc.edit(d); err != nil {
				t.Fatal(err)
			}
			if got := diff(commented, string(d.Bytes())); got != tc.want {
				t.Errorf("changed:\n%swant:\n%s", got, tc.want)
			}
			crlf := document(t, strings.ReplaceAll(commented, "\n", "\r\n"))
			if err := tc.edit(crlf); err != nil {
				t.Fatal(err)
			}
			if got := strings.ReplaceAll(string(crlf.Bytes()), "\r\n", "\n"); got != string(d.Bytes()) || strings.Contains(got, "\r") {
				t.Error("a file with \\r\\n comes out differently")
			}
		})
	}
}

func TestAddThenRemoveIsAsBefore(t *testing.T) {
	for _, text := range []string{commented, read(t, "testdata/site.yaml"), read(t, "testdata/plain.yaml"), strings.TrimSuffix(commented, "\n# the end\n")} {
		d := document(t, text)
		if err := d.AddController(server5()); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(d.Bytes()), "server5") {
			t.Fatal("nothing was added")
		}
		if err := d.RemoveController("server5"); err != nil {
			t.Fatal(err)
		}
		if got := string(d.Bytes()); got != text {
			t.Errorf("changed:\n%s", diff(text, got))
		}
	}
}

func TestEditsThatWouldTouchMoreAreRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		edit func(*Document) error
	}{
		"behind an anchor": {
			"a: &x {k: 1}\nb: *x\n", func(d *Document) error { return d.Set("b.k", 2) },
		},
		"merged in": {
			"a: &x {k: 1}\nb: {<<: *x}\n", func(d *Document) error { return d.Set("b.k", 2) },
		},
		"over several lines": {
			"a: one\n  two\nb: 1\n", func(d *Document) error { return d.Set("a", "x") },
		},
		"a block of text": {
			"a: |\n  one\nb: 1\n", func(d *Document) error { return d.Set("a", "x") },
		},
		"an anchor that others need": {
			"a: &x 1\nb: *x\n", func(d *Document) error { return d.Remove("a") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := document(t, tc.text)
			if err := tc.edit(d); !errors.Is(err, ErrByHand) {
				t.Errorf("err %v, text:\n%s", err, d.Bytes())
			}
			if string(d.Bytes()) != tc.text {
				t.Errorf("the text changed: %s", d.Bytes())
			}
		})
	}
	d := document(t, "nodes: {controller: {hostname: h}}\n")
	if err := d.AddController(server5()); err == nil || !strings.Contains(err.Error(), "config convert") {
		t.Errorf("the older form: %v", err)
	}
	if err := d.RemoveController("h2"); err == nil {
		t.Error("a head that is not there is removed")
	}
}

func TestConvertKeepsCommentsAndMeaning(t *testing.T) {
	for name, data := range cases(t, "old") {
		t.Run(name, func(t *testing.T) {
			out, changes, err := Convert(name+".yaml", data)
			if err != nil {
				t.Fatal(err)
			}
			if len(changes) == 0 {
				t.Error("nothing was changed")
			}
			for line := range strings.Lines(string(data)) {
				if _, c, ok := strings.Cut(line, "#"); ok && !strings.Contains(string(out), strings.TrimSpace(c)) {
					t.Errorf("the comment %q is gone", strings.TrimSpace(c))
				}
			}
			var report strings.Builder
			for _, c := range changes {
				report.WriteString("# " + c.String() + "\n")
			}
			golden.Check(t, filepath.Join("testdata", "old", name+".want"), report.String()+string(out))
			again, more, err := Convert(name, out)
			if err != nil || len(more) > 0 || string(again) != string(out) {
				t.Errorf("a second time: %v, %v", err, more)
			}
			if c, _, err := Parse(name, out, WithEnv(longEnv)); err != nil || len(c.Nodes.Controllers) == 0 {
				t.Errorf("the result does not load: %v", err)
			}
		})
	}
}

func TestConvertLeavesThePresentFormAlone(t *testing.T) {
	text := read(t, "testdata/site.yaml")
	out, changes, err := Convert("site.yaml", []byte(text))
	if err != nil || len(changes) > 0 || string(out) != text {
		t.Errorf("%v %v", err, changes)
	}
}
