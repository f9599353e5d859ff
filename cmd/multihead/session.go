package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"multihead/internal/cluster"
	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/host/remote"
	"multihead/internal/service"
	"multihead/internal/service/all"
)

// session is one verb's look at the cluster: the file, and the hosts reached.
type session struct {
	file  *config.Cluster
	specs []config.HostSpec // the hosts that the verb is about
	view  *cluster.View
	dial  *remote.Dialer
	// connect reaches hosts; nil is by dial.
	connect cluster.Connector
}

// open reaches the hosts.
func (a *app) open(ctx context.Context, c *config.Cluster, specs []config.HostSpec, r reach) (*session, error) {
	d, err := a.dialer(c, r)
	if err != nil {
		return nil, err
	}
	s := &session{file: c, specs: specs, dial: d, view: &cluster.View{}}
	if err := s.reach(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// openHeads reads the file and reaches the heads and witnesses.
func (a *app) openHeads(ctx context.Context, r reach) (*session, error) {
	c, err := a.loadCluster()
	if err != nil {
		return nil, err
	}
	return a.open(ctx, c, c.HeadsAndWitnesses(), r)
}

// reach connects to the hosts that no connection stands to.
func (s *session) reach(ctx context.Context) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the running binary: %w", err)
	}
	connect := s.connect
	if connect == nil {
		connect = connector(s.dial)
	}
	view, err := cluster.Reach(ctx, s.file, s.specs, s.keeping(connect))
	if err != nil {
		return err
	}
	for _, spec := range s.file.HeadsAndWitnesses() {
		if s.dial.IsLocal(target(spec)) {
			view.Local = spec.Hostname
		}
	}
	view.Input.Binary = exe
	view.Input.Stamp = time.Now().UTC().Format("20060102T150405Z")
	s.view = view
	return nil
}

// reachAgain connects to the hosts that were not reached before: one may have come
// back while a person thought. The run stays the same one.
func (s *session) reachAgain(ctx context.Context) error {
	before := s.view
	if err := s.reach(ctx); err != nil {
		return err
	}
	s.view.Waiting, s.view.Input.Stamp, s.view.Input.LeavingComputes = before.Waiting, before.Input.Stamp, before.Input.LeavingComputes
	return nil
}

// connection is a host that was reached and may be lost again.
type connection interface {
	host.Host
	Alive() bool
	Close() error
}

// keeping reaches hosts by the connections that still stand, and the others
// anew. A host that is reached elsewhere than before is another machine, though it may
// have the name of the one whose place it takes.
func (s *session) keeping(connect cluster.Connector) cluster.Connector {
	return func(ctx context.Context, specs []config.HostSpec) (map[string]host.Host, map[string]error, error) {
		was := map[string]remote.Target{}
		if s.view.Cluster != nil {
			for _, spec := range s.view.Cluster.AllHosts() {
				was[spec.Hostname] = target(spec)
			}
		}
		kept := map[string]host.Host{}
		var missing []config.HostSpec
		for _, spec := range specs {
			c, had := s.view.Hosts[spec.Hostname].(connection)
			before, known := was[spec.Hostname]
			if had && c.Alive() && (!known || before == target(spec)) {
				kept[spec.Hostname] = c
				continue
			}
			if had {
				_ = c.Close()
			}
			missing = append(missing, spec)
		}
		reached, failed, err := connect(ctx, missing)
		if err != nil {
			return nil, nil, err
		}
		maps.Copy(reached, kept)
		return reached, failed, nil
	}
}

// observe asks every service that the verb is about.
func (s *session) observe(ctx context.Context, services []service.Service) error {
	return s.view.Observe(ctx, services)
}

func (s *session) close() { s.view.Close() }

// withPassword are the hosts that took no key of ours.
func (s *session) withPassword() []remote.Target {
	var out []remote.Target
	for _, spec := range s.file.AllHosts() {
		if c, ok := s.view.Hosts[spec.Hostname].(*remote.Conn); ok && c.Timing.Password {
			out = append(out, target(spec))
		}
	}
	return out
}

// servicesButBase are the services that heads offer to others.
func servicesButBase() []service.Service {
	var out []service.Service
	for _, s := range all.Services() {
		if s.Name() != "prepare" {
			out = append(out, s)
		}
	}
	return out
}

// phaseNames maps what --phase takes to services: their names, the numbers that
// the sites' documents use, and the name that the first phase had before.
func phaseNames(args []string) ([]string, error) {
	numbers := map[string]string{"base": "prepare", "0": config.GlusterFS, "1": config.MariaDB, "2": config.Redis,
		"3": config.Slurm, "4": config.Keepalived, "7": "backup"}
	known := map[string]bool{}
	var names []string
	for _, s := range all.Services() {
		known[s.Name()] = true
		names = append(names, s.Name())
	}
	var out []string
	for _, a := range args {
		if n, ok := numbers[a]; ok {
			a = n
		}
		switch {
		case known[a]:
			out = append(out, a)
		case a == config.Web || a == "monitoring" || a == "5" || a == "6":
			return nil, usageError(fmt.Errorf("phase %s: this release does not have it yet", a))
		default:
			return nil, usageError(fmt.Errorf("there is no phase %q; there are %s, and the numbers 0 to 4 and 7", a, strings.Join(names, ", ")))
		}
	}
	return out, nil
}

// knownHosts checks names given on the command line against the file.
func checkHosts(c *config.Cluster, names []string) error {
	have := map[string]bool{}
	var all []string
	for _, h := range c.AllHosts() {
		have[h.Hostname] = true
		all = append(all, h.Hostname)
	}
	for _, n := range names {
		if !have[n] {
			return usageError(fmt.Errorf("the cluster file has no host %q; it has %s", n, strings.Join(all, ", ")))
		}
	}
	return nil
}

// stateDir is where this machine keeps the records of runs.
func stateDir(c *config.Cluster) string {
	name := strings.Map(func(r rune) rune {
		if r == '/' || r == 0 {
			return '_'
		}
		return r
	}, c.Info.ClusterName)
	if dir := os.Getenv(stateVariable); dir != "" {
		return filepath.Join(dir, name)
	}
	if os.Geteuid() == 0 {
		return filepath.Join("/var/lib/multihead", name)
	}
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "multihead", name)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "/tmp"
	}
	return filepath.Join(home, ".local/state/multihead", name)
}

// whoami is the person who runs the tool, as records name them.
func whoami() (name, from string) {
	name = os.Getenv("SUDO_USER")
	if u, err := user.Current(); err == nil && name == "" {
		name = u.Username
	}
	from, err := os.Hostname()
	if err != nil {
		from = "an unknown machine"
	}
	return name, from
}

// refusals turns what a plan was refused for into one error, every reason on
// lines of its own.
func (a *app) refusals(err error) error {
	var lines []string
	refused, others := service.Split(err)
	for _, r := range refused {
		lines = append(lines, fmt.Sprintf("%s: %s%s\n%s%s", r.Service, a.tr("refused: "), r.Reason, a.tr("  what to do: "), r.Remedy))
	}
	for _, e := range others {
		lines = append(lines, e.Error())
	}
	return errors.New(a.tr("nothing was changed") + "\n" + strings.Join(lines, "\n"))
}
