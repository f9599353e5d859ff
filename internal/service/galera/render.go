package galera

import (
	"bytes"
	_ "embed" // the templates
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"time"

	"multihead/internal/service"
)

var (
	//go:embed settings.cnf.tmpl
	settingsText string
	//go:embed members.cnf.tmpl
	membersText string
	//go:embed unit.conf.tmpl
	dropInText string
	//go:embed state-transfer.bash
	helperText string
	//go:embed interrupted.sh
	interruptedText string
)

// timing is how a cluster notices that a head is gone. Values that contradict
// each other keep the daemon from starting, or leave a healthy majority
// without quorum; valid says the rules.
type timing struct {
	keepalive time.Duration // a sign of life where there is no other traffic
	check     time.Duration // how often it is looked at who is silent
	suspect   time.Duration // silence after which a head is suspected; all others agreeing, it is out
	inactive  time.Duration // silence after which it is out whatever the others say
	install   time.Duration // how long the survivors may take to agree on who they are
	again     time.Duration // how long one that was not agreed on has to wait until it is let in
}

// timings are the measured ones: an insert on a surviving head waits 3.3 to
// 3.7 s when another head loses its power. A suspect time of 1 s with an
// inactive time of 3 s was tried and left three survivors of four without
// quorum for good, because agreeing took longer than being thrown out.
var timings = timing{
	keepalive: 500 * time.Millisecond,
	check:     500 * time.Millisecond,
	suspect:   2 * time.Second,
	inactive:  10 * time.Second,
	install:   7500 * time.Millisecond,
	// With the usual 5 s, of several heads that come at once all but the first
	// were seen to wait as long; so does a head that was cut off and is back.
	again: time.Second,
}

func (t timing) valid() error {
	switch {
	case t.keepalive > t.suspect/3:
		return fmt.Errorf("keepalive %s: more than a third of suspect %s, so one lost message counts as death", t.keepalive, t.suspect)
	case t.check > t.suspect/2:
		return fmt.Errorf("check %s: more than half of suspect %s, so silence is noticed late", t.check, t.suspect)
	case t.suspect > t.inactive:
		return fmt.Errorf("suspect %s: longer than inactive %s", t.suspect, t.inactive)
	case t.install > t.inactive:
		return fmt.Errorf("install %s: longer than inactive %s, so heads are thrown out while they agree", t.install, t.inactive)
	}
	return nil
}

// historyMB is how much of what was written each node keeps, so that a head
// that was away for a while is sent only what it missed, in MiB. It is disk,
// not memory.
const historyMB = 512

func providerOptions(t timing) string {
	iso := func(d time.Duration) string { return fmt.Sprintf("PT%gS", d.Seconds()) }
	return strings.Join([]string{
		"evs.keepalive_period=" + iso(t.keepalive),
		"evs.inactive_check_period=" + iso(t.check),
		"evs.suspect_timeout=" + iso(t.suspect),
		"evs.inactive_timeout=" + iso(t.inactive),
		"evs.install_timeout=" + iso(t.install),
		"gmcast.time_wait=" + iso(t.again),
		fmt.Sprintf("gcache.size=%dM", historyMB),
		"gcache.recover=yes", // the history outlives a restart
		"pc.recovery=TRUE",   // after a power loss of all, the last members find back by themselves
	}, ";")
}

// setting is one line of database.mariadb.config.
type setting struct{ Key, Value string }

var settingName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]*$`)

// own are the file's own settings in a fixed order.
func (s *State) own() ([]setting, error) {
	var out []setting
	for _, k := range slices.Sorted(maps.Keys(s.conf.Config)) {
		v := s.conf.Config[k]
		if !settingName.MatchString(k) || strings.ContainsAny(v, "\r\n") {
			return nil, &service.Refusal{Service: "mariadb",
				Reason: fmt.Sprintf("database.mariadb.config: %q is not one setting on one line", k),
				Remedy: "Write each setting as name: value."}
		}
		out = append(out, setting{k, v})
	}
	return out, nil
}

// settings is the file whose change means a restart.
func (s *State) settings(n node) ([]byte, error) {
	own, err := s.own()
	if err != nil {
		return nil, err
	}
	method, account := s.conf.Galera.SSTMethod, ""
	if method == "mariabackup" {
		account = transferAccount
	}
	return render("settings", settingsText, map[string]any{
		"BufferPool": bufferPool(n.memory),
		"Provider":   n.at.provider,
		"Cluster":    s.conf.Galera.ClusterName,
		"Node":       n.name,
		"Address":    bracketed(n.addr),
		"Threads":    s.conf.Galera.SlaveThreads,
		"Method":     method,
		"Account":    account,
		"Options":    providerOptions(timings),
		"Own":        own,
	})
}

// members is the file with all heads' addresses. It is what a daemon tries for
// ever to get back to, so none may be missing, not even while heads join.
func (s *State) members() ([]byte, error) {
	if len(s.nodes) == 1 {
		// Nobody else could be found, and looking for somebody would keep the
		// database down after every reboot.
		return render("members", membersText, map[string]any{"Addresses": ""})
	}
	addrs := make([]string, len(s.nodes))
	for i, n := range s.nodes {
		addrs[i] = bracketed(n.addr)
	}
	return render("members", membersText, map[string]any{"Addresses": strings.Join(addrs, ",")})
}

func dropIn(l layout) ([]byte, error) {
	return render("unit", dropInText, map[string]any{"Helper": helperFile, "Interrupted": interruptedFile, "Data": l.dataDir, "Aside": seenAside})
}

// bufferPool is InnoDB's memory in MiB: an eighth of the head's, from 128 to
// 8192; 0, which leaves the server's own default, where it is not known.
func bufferPool(memory int) int {
	if memory == 0 {
		return 0
	}
	return min(max(memory/8, 128), 8192)
}

func bracketed(a netip.Addr) string {
	if a.Is6() && !a.Is4In6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

func render(name, text string, data any) ([]byte, error) {
	t, err := template.New(name).Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
