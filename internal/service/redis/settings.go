package redis

import (
	"bytes"
	"embed"
	"fmt"
	"strconv"
	"strings"
	"text/template"
)

//go:embed *.tmpl
var templates embed.FS

// tailScript is run before each start of a server.
//
//go:embed tail.sh
var tailScript []byte

// setting is one line of a server's configuration.
type setting struct {
	Name, Value string
	Why         string // for the file, where the value is a choice
	Live        bool   // may be changed while the server runs
}

// Line is the setting as the configuration file has it.
func (s setting) Line() string { return s.Name + " " + s.Value }

// settings is the whole configuration of one server. heads is how many servers
// hold the data in a sentinel group.
func (w wanted) settings(i instance, mode Mode, heads int) []setting {
	out := []setting{
		{"port", strconv.Itoa(i.Port), "", false},
		{"bind", i.Addr.String() + " 127.0.0.1", "the other heads, and what runs here; no other network", true},
		{"protected-mode", yesNo(!w.conf.Password.IsZero()), "", true},
		{"requirepass", quoteWord(w.conf.Password.Reveal()), "", true},
		{"masterauth", quoteWord(w.conf.Password.Reveal()), "a master may become a replica at any time", true},
		{"dir", i.dir(), "", false},
		{"logfile", `""`, "to the journal, like everything else", false},
		{"pidfile", fmt.Sprintf("/run/redis-%d/redis-server.pid", i.Port), "", false},
		{"appendonly", yesNo(w.conf.AppendOnly), "", true},
		{"appendfsync", w.conf.AppendFsync, "", true},
		{"save", w.save(), "", true},
		{"maxmemory", orDefault(w.conf.MaxMemory, "0"), "of each server on its own; a copy needs the room of its master", true},
		{"maxmemory-policy", w.conf.MaxMemoryPolicy, "", true},
		{"repl-diskless-sync-delay", "0", "each master has a few copies at most: nothing to wait for", true},
		{"repl-backlog-size", "64mb", "a copy that was away for a short time catches up instead of starting over", true},
	}
	if mode == modeCluster {
		return append(out, w.clusterSettings(i)...)
	}
	// One head cut off from the others must not take writes that will be
	// thrown away when it is back. With two heads the rule would stop writes
	// whenever one is down, which is worse.
	least := "0"
	if heads >= 3 {
		least = "1"
	}
	return append(out,
		setting{"replica-announce-ip", i.Addr.String(), "", true},
		setting{"min-replicas-to-write", least, "with 3 heads or more: a master cut off from all copies stops taking writes", true},
		setting{"min-replicas-max-lag", "5", "", true})
}

func (w wanted) clusterSettings(i instance) []setting {
	ms := w.conf.ClusterNodeTimeout.Duration().Milliseconds()
	return []setting{
		{"cluster-enabled", "yes", "", false},
		{"cluster-config-file", i.nodeFile(), "written by Redis: who belongs to the cluster", false},
		{"cluster-announce-ip", i.Addr.String(), "", true},
		{"cluster-node-timeout", strconv.FormatInt(ms, 10), "silence after which a node counts as dead", true},
		{"cluster-require-full-coverage", "no", "when two heads are lost at once, the slots that are left still serve", true},
		{"cluster-allow-replica-migration", "no", "copies stay on the heads they were put on", true},
	}
}

// save is when snapshots are written. With an append-only file they would be
// work twice; without it they are all there is.
func (w wanted) save() string {
	if w.conf.AppendOnly {
		return `""`
	}
	return "3600 1 300 100 60 10000"
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func orDefault(s, d string) string {
	if s == "" {
		return d
	}
	return s
}

// plain is a setting's value as the server's CONFIG GET and SET have it:
// without the quotes of the file.
func (s setting) plain() string {
	if v, ok := strings.CutPrefix(s.Value, `"`); ok {
		return unquoteWord(strings.TrimSuffix(v, `"`))
	}
	return s.Value
}

// same compares a setting with what the server answered: sizes come back in
// bytes.
func (s setting) same(have string) bool {
	want := s.plain()
	if want == have {
		return true
	}
	switch s.Name {
	case "maxmemory", "repl-backlog-size":
		a, ok1 := bytesOf(want)
		b, ok2 := bytesOf(have)
		return ok1 && ok2 && a == b
	}
	return false
}

// quoteWord writes a word of a Redis configuration file: in double quotes, and
// everything that is not plain as \xNN.
func quoteWord(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		c := s[i]
		if c > ' ' && c < 0x7f && c != '"' && c != '\\' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// unquoteWord takes back what quoteWord did.
func unquoteWord(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+2:i+4], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func render(name string, data any) []byte {
	t := template.Must(template.ParseFS(templates, name))
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		panic(fmt.Sprintf("template %s: %v", name, err)) // a mistake of ours, found by the golden tests
	}
	return b.Bytes()
}

// settingsText is the content of the settings file.
func (w wanted) settingsText(i instance, mode Mode, heads int) []byte {
	return render("server.conf.tmpl", map[string]any{"Server": i, "Settings": w.settings(i, mode, heads)})
}

// stateText is what a server's own file begins as.
func stateText(i instance) []byte {
	return render("state.conf.tmpl", map[string]any{"Settings": i.settingsFile()})
}

// dropInText adds to Debian's unit; dir is a server's data directory, empty for
// a sentinel.
func dropInText(dir string) []byte { return render("unit.conf.tmpl", dir) }

// sentinelText is what a sentinel's own file begins as.
func (w wanted) sentinelText(v voter, master string, quorum int) []byte {
	host, port := splitAddr(master)
	return render("sentinel.conf.tmpl", map[string]any{
		"Port": sentinelPort(w.port), "Addr": v.addr.String(), "Password": w.password(),
		"Group": sentinelGroup, "MasterHost": host, "MasterPort": port, "Quorum": quorum,
		"DownAfter": w.downAfter(), "FailoverTimeout": failoverTimeout,
	})
}

// password is quoted for a file, empty where there is none.
func (w wanted) password() string {
	if w.conf.Password.IsZero() {
		return ""
	}
	return quoteWord(w.conf.Password.Reveal())
}

// downAfter is the silence, in milliseconds, after which a sentinel takes the
// master for dead: the same that a Redis Cluster uses.
func (w wanted) downAfter() int64 { return w.conf.ClusterNodeTimeout.Duration().Milliseconds() }

// failoverTimeout, in milliseconds: a failover that did not work is tried
// again after twice as long. Redis's own 180 s keeps writers waiting for 6
// minutes when the first try meets a second failure.
const failoverTimeout = 10000
