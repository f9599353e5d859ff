package redis

import (
	"context"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"multihead/internal/config"
	"multihead/internal/golden"
	"multihead/internal/host/hosttest"
	"multihead/internal/service"
)

func TestRenderedFiles(t *testing.T) {
	s := lab(3)
	s.wanted.conf.Password = config.NewSecret(`p"a\s s`)
	i := s.heads[0].servers[1].at
	golden.Check(t, "testdata/cluster.conf", s.wanted.settingsText(i, modeCluster, 3))
	golden.Check(t, "testdata/sentinel-server.conf", s.wanted.settingsText(s.heads[0].servers[0].at, modeSentinel, 2))
	s.wanted.conf.AppendOnly, s.wanted.conf.MaxMemory = false, ""
	golden.Check(t, "testdata/standalone-snapshots.conf", s.wanted.settingsText(s.heads[0].servers[0].at, modeStandalone, 1))
	golden.Check(t, "testdata/state.conf", stateText(i))
	golden.Check(t, "testdata/unit.conf", dropInText(i.dir()))
	golden.Check(t, "testdata/sentinel.conf", s.wanted.sentinelText(s.heads[0].voter, "192.0.2.12:6379", 2))
}

func TestMasterCutOffStopsWritingOnlyWhereACopyIsLeft(t *testing.T) {
	w := lab(3).wanted
	for heads, want := range map[int]string{1: "min-replicas-to-write 0\n", 2: "min-replicas-to-write 0\n", 3: "min-replicas-to-write 1\n"} {
		if got := string(w.settingsText(lab(3).heads[0].servers[0].at, modeSentinel, heads)); !strings.Contains(got, want) {
			t.Errorf("%d heads: no %q", heads, want)
		}
	}
}

func TestSettingComparedWithWhatTheServerSays(t *testing.T) {
	for _, c := range []struct {
		s    setting
		have string
		same bool
	}{
		{setting{Name: "maxmemory", Value: "1gb"}, "1073741824", true},
		{setting{Name: "maxmemory", Value: "1gb"}, "1000000000", false},
		{setting{Name: "save", Value: `""`}, "", true},
		{setting{Name: "requirepass", Value: quoteWord(`a" \b`)}, `a" \b`, true},
		{setting{Name: "requirepass", Value: quoteWord("a")}, "b", false},
		{setting{Name: "bind", Value: "1.2.3.4 127.0.0.1"}, "1.2.3.4 127.0.0.1", true},
	} {
		if got := c.s.same(c.have); got != c.same {
			t.Errorf("%v against %q: %v", c.s, c.have, got)
		}
	}
}

func FuzzQuoteWord(f *testing.F) {
	f.Add(`a" \x41 b`)
	f.Add("\x00\xff\n")
	f.Fuzz(func(t *testing.T, s string) {
		q := quoteWord(s)
		if got := unquoteWord(q[1 : len(q)-1]); got != s {
			t.Errorf("%q came back as %q", s, got)
		}
		if strings.ContainsAny(q, "\n\r\x00") {
			t.Errorf("%q breaks the line", q)
		}
	})
}

func TestLookDisk(t *testing.T) {
	empty, err := hex.DecodeString(emptyRDB)
	if err != nil {
		t.Fatal(err)
	}
	full := string(empty[:len(empty)-9]) + "\xfe\x00\xfb\x01\x00"
	i := lab(1).heads[0].servers[0].at
	const log = "/var/lib/redis/appendonlydir/appendonly.aof"
	for _, c := range []struct {
		name     string
		files    map[string]string
		data     service.Answer
		snapshot bool
		of       string
		nodes    int
	}{
		{name: "never installed", data: service.No},
		{name: "started, never used", files: map[string]string{log + ".manifest": "x", log + ".1.base.rdb": string(empty), log + ".1.incr.aof": ""}, data: service.No},
		{name: "a log", files: map[string]string{log + ".1.base.rdb": string(empty), log + ".1.incr.aof": "*2\r\n"}, data: service.Yes},
		{name: "a log's base", files: map[string]string{log + ".1.base.rdb": full, log + ".1.incr.aof": ""}, data: service.Yes},
		{name: "a snapshot without a log", files: map[string]string{"/var/lib/redis/dump.rdb": full}, data: service.Yes, snapshot: true},
		{name: "an empty snapshot", files: map[string]string{"/var/lib/redis/dump.rdb": string(empty)}, data: service.No},
		{name: "a large snapshot is not read to be believed", files: map[string]string{"/var/lib/redis/dump.rdb": strings.Repeat("x", smallSnapshot+1)}, data: service.Yes, snapshot: true},
		{name: "what is no snapshot is not known", files: map[string]string{"/var/lib/redis/dump.rdb": "garbage"}, data: service.Unsure},
		{name: "a replica", files: map[string]string{"/etc/redis/redis-6379.conf": "include x\nreplicaof 192.0.2.12 6379\n"}, data: service.No, of: "192.0.2.12:6379"},
		{name: "a node", files: map[string]string{"/var/lib/redis/nodes-6379.conf": idA + " a:1@2 myself,master - 0 0 0 connected\n" + idB + " b:1@2 master - 0 0 0 connected\n"}, data: service.No, nodes: 2},
		{name: "a torn list of nodes is not known", files: map[string]string{"/var/lib/redis/nodes-6379.conf": idA + " a:1"}, data: service.Unsure},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := hosttest.New("server1")
			for name, content := range c.files {
				m.File(name, content)
			}
			d := lookDisk(context.Background(), m, i)
			if d.data != c.data || d.snapshot != c.snapshot || d.replicaOf != c.of || len(d.nodes) != c.nodes {
				t.Errorf("%+v", d)
			}
		})
	}
}

func TestZerosAtTheEndOfALogAreCutOff(t *testing.T) {
	if _, err := exec.LookPath("truncate"); err != nil {
		t.Skip("no coreutils: ", err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "appendonlydir"), 0o755); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(dir, "redis-tail")
	if err := os.WriteFile(script, tailScript, 0o755); err != nil {
		t.Fatal(err)
	}
	command := "*3\r\n$3\r\nset\r\n$1\r\nk\r\n$3\r\na\x00b\r\n"
	for name, want := range map[string]string{
		command:                                command,
		command + strings.Repeat("\x00", 1386): command,
		command + "\x00":                       command,
		command + command[:9] + strings.Repeat("\x00", 70000): command + command[:9],
		"": "",
	} {
		f := filepath.Join(dir, "appendonlydir", "appendonly.aof.1.incr.aof")
		if err := os.WriteFile(f, []byte(name), 0o640); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("sh", script, dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got, err := os.ReadFile(f); err != nil || string(got) != want {
			t.Errorf("%d bytes became %d, want %d (%v)", len(name), len(got), len(want), err)
		}
	}
}
