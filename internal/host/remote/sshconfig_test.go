package remote

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func sshConfigOf(t testing.TB, texts ...string) *sshConfig {
	t.Helper()
	dir := t.TempDir()
	var paths []string
	for i, text := range texts {
		path := filepath.Join(dir, string(rune('a'+i)))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	c, err := loadSSHConfig("/home/kim", append(paths, filepath.Join(dir, "not-there")))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSSHConfigFillsWhatTheClusterFileLeavesOpen(t *testing.T) {
	c := sshConfigOf(t, `
Host server1 192.0.2.12
  User ops
  Port 2222
  IdentityFile ~/.ssh/site
  IdentityFile %d/other
  UserKnownHostsFile ~/.ssh/site_hosts
Host nat
  HostName gate.example
  HostKeyAlias real-name
  ProxyJump admin@jump1:2022,jump2
Host *
  User everybody
  Port 22
`, "Host server1\n User system-wide\n IdentitiesOnly yes\n")
	for name, want := range map[string]struct {
		target Target
		addr   string
		user   string
		keys   string
		jumps  string
	}{
		"by its name":                   {Target{Name: "server1", Address: "192.0.2.11", Port: 22}, "192.0.2.11:2222", "ops", "/home/kim/.ssh/site /home/kim/other", ""},
		"by its address":                {Target{Name: "server2", Address: "192.0.2.12"}, "192.0.2.12:2222", "ops", "/home/kim/.ssh/site /home/kim/other", ""},
		"by what is said of every host": {Target{Name: "server3", Address: "192.0.2.14"}, "192.0.2.14:22", "everybody", "", ""},
		"the cluster file's user wins":  {Target{Name: "server1", Address: "192.0.2.11", User: "root"}, "192.0.2.11:2222", "root", "/home/kim/.ssh/site /home/kim/other", ""},
		"the cluster file's port wins":  {Target{Name: "server1", Address: "192.0.2.11", Port: 2022}, "192.0.2.11:2022", "ops", "/home/kim/.ssh/site /home/kim/other", ""},
		"the cluster file's key first":  {Target{Name: "server1", Address: "192.0.2.11", KeyFile: "~/k"}, "192.0.2.11:2222", "ops", "/home/kim/k /home/kim/.ssh/site /home/kim/other", ""},
		"an alias that leads elsewhere": {Target{Name: "nat", Address: "192.0.2.13"}, "gate.example:22", "everybody", "", "admin@jump1:2022 jump2"},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := c.resolve(want.target)
			if err != nil {
				t.Fatal(err)
			}
			if e.addr() != want.addr || e.user != want.user || strings.Join(e.keys, " ") != want.keys || strings.Join(e.jumps, " ") != want.jumps {
				t.Errorf("%+v", e)
			}
			if e.overridden != (want.target.Name == "nat") {
				t.Errorf("overridden: %v", e.overridden)
			}
		})
	}
	e, err := c.resolve(Target{Name: "server1"})
	if err != nil || !e.only || !slices.Equal(e.known, []string{"/home/kim/.ssh/site_hosts"}) {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestMatchBlocksThatOnlySSHCanJudgeAreLeftOut(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "50-vendor.conf"), []byte("Match final all\n\tCiphers none-of-ours\n\tUser wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "60-site.conf"), []byte("Host server2\n User included\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := sshConfigOf(t, `
Include `+dir+`/*.conf
Include `+dir+`/not-there
Match exec "test -e /"
  ProxyJump wrong
  Include `+dir+`/*.conf
Match host server1
  User matched
Match user kim host server1
  ProxyJump wrong
Match all
  Port 2222
`)
	for alias, user := range map[string]string{"server1": "matched", "server2": "included", "server3": ""} {
		if got := c.get("User", alias); got != user {
			t.Errorf("%s: User %q, want %q", alias, got, user)
		}
		if got := c.get("ProxyJump", alias); got != "" {
			t.Errorf("%s: ProxyJump %q", alias, got)
		}
		if got := c.get("Port", alias); got != "2222" {
			t.Errorf("%s: Port %q", alias, got)
		}
	}
}

func TestFilesThatIncludeEachOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte("Include "+path+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadSSHConfig("/", []string{path}); err == nil || !strings.Contains(err.Error(), "include each other") {
		t.Error(err)
	}
}

func TestJumpSpecs(t *testing.T) {
	c := sshConfigOf(t, "Host jump\n HostName 192.0.2.9\n User via\n Port 2200\n")
	for spec, want := range map[string]string{
		"jump":                     "via@192.0.2.9:2200",
		"me@jump":                  "me@192.0.2.9:2200",
		"me@jump:22":               "me@192.0.2.9:2200",
		"me@jump:2022":             "me@192.0.2.9:2022",
		"me@other:2022":            "me@other:2022",
		"me@[2001:db8::1]:2022":    "me@2001:db8::1:2022",
		"me@2001:db8::1":           "me@2001:db8::1:22",
		"ssh://me@other:2022/":     "me@other:2022",
		"dom\\me@other":            "dom\\me@other:22",
		"me@here@other":            "me@here@other:22",
		"ssh://me@[2001:db8::2]:1": "me@2001:db8::2:1",
	} {
		e, err := c.jump(spec)
		if got := e.user + "@" + e.addr(); err != nil || got != want || !e.isJump {
			t.Errorf("%s: %s, %v; want %s", spec, got, err, want)
		}
	}
	if e, err := c.jump(" me@other "); err != nil || e.user != "me" || e.host != "other" {
		t.Errorf("with blanks: %+v, %v", e, err)
	}
	for _, spec := range []string{"", "me@", "host:port", "host:0", "host:70000", "[2001:db8::1"} {
		if e, err := c.jump(spec); err == nil {
			t.Errorf("%q was taken for %+v", spec, e)
		}
	}
}

func TestAnSSHConfigThatCannotBeReadIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte("Host [\n  Include \"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadSSHConfig("/", []string{path}); err != nil && !strings.Contains(err.Error(), path) {
		t.Errorf("%v does not name the file", err)
	}
}

func FuzzJumpSpec(f *testing.F) {
	f.Add("me@jump:22")
	f.Add("[::1]:22")
	c := &sshConfig{home: "/"}
	f.Fuzz(func(t *testing.T, spec string) {
		if e, err := c.jump(spec); err == nil && (e.host == "" || e.port < 1 || e.port > 65535) {
			t.Fatalf("%+v", e)
		}
	})
}

// TestTheStartScriptSurvivesAnyLoginShell: it travels in single quotes, so it
// may have none, nor a line break.
func TestTheStartScriptSurvivesAnyLoginShell(t *testing.T) {
	for _, sudo := range []string{"", "sudo -n --", sudoAsking} {
		d := &Dialer{}
		s := startScript(sudo, d.rpcArgs(Target{Name: "evil'; rm -rf / #"}), "0123abcd", 15<<20)
		if strings.ContainsAny(s, "'\n\r") || strings.Contains(s, "rm -rf") {
			t.Errorf("%q", s)
		}
		if sudo != "" && strings.Count(s, sudo) != 3 {
			t.Errorf("sudo is called %d times in %q", strings.Count(s, sudo), s)
		}
	}
}
