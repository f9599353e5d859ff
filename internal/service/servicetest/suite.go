// Package servicetest is the suite that every service passes: what the
// pipeline relies on, whatever the service does.
package servicetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/host/hosttest"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// Canary is the secret that stands for every password of the suite's cluster
// file.
const Canary = "canary-5f1d"

// Run puts a service through the suite. file is a cluster file with three
// heads and a compute node in which every password is Canary.
func Run(t *testing.T, s service.Service, file *config.Cluster) {
	heads := len(file.Nodes.Controllers)
	if heads < 3 {
		t.Fatalf("the suite needs three heads, the file has %d", heads)
	}
	t.Run("nobody answers: nothing is planned and nothing is called up", func(t *testing.T) {
		st := observe(t, s, input(file, func(string) service.Node { return service.Node{Err: errors.New("ssh: timed out")} }))
		ph, err := st.Plan(service.Intent{Mode: service.Auto})
		if n := count(ph); err == nil && n > 0 {
			t.Errorf("%d steps are planned for hosts that did not answer", n)
		}
		notUp(t, st)
	})
	t.Run("hosts that hang do not hang the service", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			st := observe(t, s, input(file, func(name string) service.Node { return service.Node{Reader: hanging{name}} }))
			if took := time.Since(begin); took > time.Minute {
				t.Errorf("observing took %s", took)
			}
			ph, err := st.Plan(service.Intent{Mode: service.Auto})
			if n := count(ph); err == nil && n > 0 && exists(s) {
				t.Errorf("%d steps are planned although every host hangs", n)
			}
			notUp(t, st)
		})
	})
	t.Run("one head is lost: what must exist once is not formed", func(t *testing.T) {
		lost := file.Nodes.Controllers[heads-1].Hostname
		st := observe(t, s, input(file, func(name string) service.Node {
			if name == lost {
				return service.Node{Err: errors.New("no route to host")}
			}
			return service.Node{Reader: blank(name)}
		}))
		ph, err := st.Plan(service.Intent{Mode: service.Auto})
		var refusal *service.Refusal
		if exists(s) && !errors.As(err, &refusal) {
			t.Errorf("not refused (%v), %d steps", err, count(ph))
		}
		for _, st := range ph.Stages {
			for _, step := range st.Steps {
				if step.Host == lost {
					t.Errorf("%s is planned on %s, which was not reached", step.ID, lost)
				}
			}
		}
	})
	t.Run("blank hosts: a plan that is whole, stable and keeps secrets", func(t *testing.T) {
		machines := map[string]*hosttest.Machine{}
		in := input(file, func(name string) service.Node {
			machines[name] = blank(name)
			return service.Node{Reader: machines[name]}
		})
		st := observe(t, s, in)
		ph, err := st.Plan(service.Intent{Mode: service.Auto})
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		again, err := st.Plan(service.Intent{Mode: service.Auto})
		if err != nil || describe(ph) != describe(again) {
			t.Errorf("asked twice, it plans differently: %v", err)
		}
		wholePlan(t, ph, machines)
		secretsStay(t, st, ph, machines)
		for name, m := range machines {
			if c := m.Changes(); len(c) > 0 {
				t.Errorf("observing changed %s: %v", name, c)
			}
		}
	})
	t.Run("what it survives is stated with its reason", func(t *testing.T) {
		st := observe(t, s, input(file, func(name string) service.Node { return service.Node{Reader: blank(name)} }))
		v := st.Survival()
		if len(file.HeadsWith(s.Name())) == 0 {
			return
		}
		if v.AtOnce < 0 || v.InTurn < v.AtOnce || v.InTurn >= heads || v.Why == "" {
			t.Errorf("%+v", v)
		}
	})
}

// exists says whether the service must exist only once, so that forming it
// beside something unknown would be a second one.
func exists(s service.Service) bool {
	return s.Name() != "prepare" && s.Name() != config.Keepalived && s.Name() != "agent"
}

func observe(t *testing.T, s service.Service, in service.Input) service.State {
	t.Helper()
	st, err := s.Observe(t.Context(), in)
	if err != nil {
		t.Fatalf("a host that does not answer is part of what is found, not an error: %v", err)
	}
	return st
}

func notUp(t *testing.T, st service.State) {
	t.Helper()
	if h := st.Health(); h.State == service.Up {
		t.Errorf("called UP although nothing is known: %+v", h)
	} else if h.State != "" && h.Reason == "" {
		t.Errorf("%s without a reason", h.State)
	}
}

// input is the cluster with its hosts as at describes them.
func input(c *config.Cluster, at func(name string) service.Node) service.Input {
	in := service.Input{Cluster: c, Binary: "/proc/self/exe", Stamp: "20260102T030405Z"}
	node := func(spec config.HostSpec) service.Node {
		n := at(spec.Hostname)
		n.Spec = spec
		return n
	}
	for i := range c.Nodes.Controllers {
		n := node(c.Nodes.Controllers[i].HostSpec)
		n.Head = &c.Nodes.Controllers[i]
		in.Heads = append(in.Heads, n)
	}
	for _, cn := range c.AllComputes() {
		in.Computes = append(in.Computes, node(cn.HostSpec))
	}
	return in
}

func count(ph plan.Phase) int {
	n := 0
	for _, st := range ph.Stages {
		n += len(st.Steps)
	}
	return n
}

func describe(ph plan.Phase) string {
	var b strings.Builder
	for _, st := range ph.Stages {
		fmt.Fprintln(&b, st.Name)
		for _, s := range st.Steps {
			fmt.Fprintln(&b, s.ID, s.Host, s.Action, s.OneWay, s.Effect)
		}
	}
	return b.String() + strings.Join(ph.Notes, "\n")
}

// wholePlan looks at what the engine relies on.
func wholePlan(t *testing.T, ph plan.Phase, machines map[string]*hosttest.Machine) {
	t.Helper()
	seen := map[string]bool{}
	for _, st := range ph.Stages {
		for _, s := range st.Steps {
			if s.ID == "" || s.Action == nil || s.Action.String() == "" {
				t.Errorf("a step without id, action or text: %+v", s)
			}
			if machines[s.Host] == nil {
				t.Errorf("%s is planned on %q, which is no host of the file", s.ID, s.Host)
			}
			if key := s.ID + " " + s.Host; seen[key] {
				t.Errorf("%s stands twice in the plan", key)
			} else {
				seen[key] = true
			}
		}
	}
}

// secretsStay looks for the canary in everything that people and scripts see
// of a plan and of a state.
func secretsStay(t *testing.T, st service.State, ph plan.Phase, machines map[string]*hosttest.Machine) {
	t.Helper()
	readers := map[string]host.Reader{}
	for name, m := range machines {
		readers[name] = m
	}
	var out strings.Builder
	out.WriteString(describe(ph))
	prop, err := plan.Propose(t.Context(), plan.Plan{Phases: []plan.Phase{ph}}, readers)
	if err == nil {
		prop.WriteText(&out, plan.Plain)
		prop.WriteDiff(&out)
		fmt.Fprintf(&out, "%+v", prop.JSON())
	}
	fmt.Fprintf(&out, "%+v %+v", st.Health(), st.Survival())
	if i := strings.Index(out.String(), Canary); i >= 0 {
		t.Errorf("a secret is shown: …%s…", out.String()[max(0, i-200):min(out.Len(), i+40)])
	}
}

// blank is a machine with a system and nothing else on it.
func blank(name string) *hosttest.Machine {
	m := hosttest.New(name)
	m.File("/etc/hostname", name+"\n").File("/etc/hosts", "127.0.0.1\tlocalhost\n").
		File("/etc/os-release", "ID=debian\nVERSION_ID=\"13\"\nVERSION_CODENAME=trixie\n").
		File("/proc/meminfo", "MemTotal:        4000000 kB\n").
		File("/proc/filesystems", "nodev\tcgroup2\n").
		Dir("/data", "/etc/systemd/system", "/etc/default", "/usr/sbin", "/usr/bin", "/var/lib", "/etc/apt")
	m.Mount("/data", 7)
	m.File("/proc/sys/kernel/hostname", name+"\n").File("/proc/1/status", "Name:\tsystemd\nCapBnd:\t000001ffffffffff\n")
	m.File("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n").File("/etc/group", "root:x:0:\n")
	// Nobody has the virtual address.
	m.OnDial("tcp", "192.0.2.100:22", func(context.Context) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.EHOSTUNREACH}
	})
	m.Answer("hostname", name+"\n").Answer("uname", "Linux\n").
		OnQuery("systemctl show", noUnits).
		Answer("dpkg-query", "").
		Answer("systemd-detect-virt", "none\n").
		Answer("timedatectl show", "Timezone=Etc/UTC\n").
		OnQuery("getent", func(host.Cmd) (string, error) { return "", hosttest.Exit(2, "") }).
		OnQuery("id", func(host.Cmd) (string, error) { return "", hosttest.Exit(1, "no such user") }).
		OnQuery("systemctl is-active", func(host.Cmd) (string, error) { return "inactive\n", hosttest.Exit(3, "") }).
		OnQuery("systemctl is-enabled", func(host.Cmd) (string, error) { return "disabled\n", hosttest.Exit(1, "") }).
		OnQuery("ping", func(host.Cmd) (string, error) { return "", hosttest.Exit(1, "") }).
		OnQuery("ss", func(host.Cmd) (string, error) { return "", nil }).
		OnQuery("findmnt", func(host.Cmd) (string, error) { return "", hosttest.Exit(1, "") }).
		OnQuery("ip", func(host.Cmd) (string, error) { return addresses(name), nil })
	return m
}

// noUnits is systemd on a machine that has none of the units it is asked for.
func noUnits(cmd host.Cmd) (string, error) {
	known := map[string]string{"LoadState": "not-found", "ActiveState": "inactive", "SubState": "dead", "MainPID": "0", "NeedDaemonReload": "no"}
	var units, wanted []string
	value := false
	for _, arg := range cmd.Argv[2:] {
		if list, ok := strings.CutPrefix(arg, "--property="); ok {
			wanted = append(wanted, strings.Split(list, ",")...)
		} else if arg == "--value" {
			value = true
		} else if !strings.HasPrefix(arg, "-") {
			units = append(units, arg)
		}
	}
	var blocks []string
	for _, u := range units {
		var b strings.Builder
		for _, key := range wanted {
			answer := known[key]
			if key == "Id" || key == "Names" {
				answer = u
			}
			if !value {
				b.WriteString(key + "=")
			}
			b.WriteString(answer + "\n")
		}
		blocks = append(blocks, b.String())
	}
	return strings.Join(blocks, "\n"), nil
}

// addresses is what `ip -j addr` says on a host of the suite's file, whose
// addresses end in the number that its name ends in.
func addresses(name string) string {
	return fmt.Sprintf(`[{"ifname":"eth0","operstate":"UP","addr_info":[{"family":"inet","local":"192.0.2.1%s","prefixlen":24,"scope":"global"}]}]`, name[len(name)-1:])
}

// hanging is a machine that was reached and then never answers anything.
type hanging struct{ name string }

func (h hanging) Name() string { return h.name }

func wait(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// bounded applies what every implementation applies: a default time limit.
func bounded(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, host.DefaultTimeout)
	defer cancel()
	return wait(ctx)
}

func (h hanging) Query(ctx context.Context, _ ...string) (string, error) { return "", bounded(ctx) }
func (h hanging) Ask(ctx context.Context, _ host.Cmd) (string, error)    { return "", bounded(ctx) }
func (h hanging) ReadFile(ctx context.Context, _ string) ([]byte, error) { return nil, bounded(ctx) }
func (h hanging) Stat(ctx context.Context, _ string) (host.FileInfo, error) {
	return host.FileInfo{}, bounded(ctx)
}
func (h hanging) ReadDir(ctx context.Context, _ string) ([]host.FileInfo, error) {
	return nil, bounded(ctx)
}
func (h hanging) Dial(ctx context.Context, _, _ string) (net.Conn, error) { return nil, bounded(ctx) }
