package base

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/service"
)

// lookTime bounds what one host is asked, all questions together. One that was reached
// and is only busy is worth the wait: it would be refused.
const lookTime = 15 * time.Second

var (
	_ service.Service = (*Service)(nil)
	_ service.State   = (*State)(nil)
)

// State is what was found on the hosts, and what the file wants of them.
type State struct {
	cluster *config.Cluster
	hosts   []look
	wishes  []wish
	program *program // nil where it is not to be installed
	fresh   []byte   // a new munge key, for the case that there is none anywhere
	stamp   string   // names what this run keeps aside
}

// look is what one host showed.
type look struct {
	name    string
	node    service.Node
	head    bool
	member  bool // a head or a compute node: has accounts and munge
	reached bool
	why     string // why it was not reached, or what could not be asked
	reader  host.Reader

	family      family
	known       bool // the family is known
	system      string
	hostname    string
	db          database
	units       map[string]string // unit → ActiveState
	timezone    bool              // has /etc/timezone
	key         keyring
	keyMode     fs.FileMode
	setsClock   bool
	hostsEdited []string // what mergeHosts would change in the lines of others
	hostsErr    error
}

// Observe looks at every host of the file at once.
func (*Service) Observe(ctx context.Context, in service.Input) (service.State, error) {
	s := &State{cluster: in.Cluster, wishes: wishesOf(in.Cluster), stamp: in.Stamp}
	if in.Binary != "" {
		var err error
		if s.program, err = openProgram(in.Binary); err != nil {
			return nil, err
		}
	}
	var err error
	if s.fresh, err = NewMungeKey(); err != nil {
		return nil, err
	}
	add := func(nodes []service.Node, head, member bool) {
		for _, n := range nodes {
			same := func(l look) bool { return l.name == n.Name() }
			if slices.ContainsFunc(s.hosts, same) {
				continue
			}
			l := look{name: n.Name(), node: n, head: head, member: member, reached: n.Reached(), reader: n.Reader}
			l.key = keyring{host: l.name, head: head}
			if n.Err != nil {
				l.why = n.Err.Error()
				l.key.why = l.why
			}
			s.hosts = append(s.hosts, l)
		}
	}
	add(in.Heads, true, true)
	add(in.Computes, false, true)
	add(in.Witnesses, false, false)
	var g errgroup.Group
	for i := range s.hosts {
		if l := &s.hosts[i]; l.reached {
			g.Go(func() error {
				if err := s.observe(ctx, l); err != nil {
					l.reached, l.why = false, err.Error()
					l.key.why = l.why
				}
				return nil
			})
		}
	}
	return s, g.Wait()
}

func (s *State) observe(ctx context.Context, l *look) error {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	release, err := l.reader.ReadFile(ctx, "/etc/os-release")
	if err != nil {
		return err
	}
	l.family, l.known = familyOf(release)
	l.system = systemName(release)
	name, err := l.reader.ReadFile(ctx, "/proc/sys/kernel/hostname")
	if err != nil {
		return err
	}
	l.hostname = strings.TrimSpace(string(name))
	old, err := l.reader.ReadFile(ctx, "/etc/hosts")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	_, l.hostsEdited, l.hostsErr = mergeHosts(old, entries(s.cluster))
	if err := l.observeClock(ctx); err != nil {
		return err
	}
	if !l.member {
		return nil
	}
	if l.units, err = host.UnitStates(ctx, l.reader, mungeUnit, "slurmctld.service", "slurmdbd.service", "slurmd.service"); err != nil {
		return err
	}
	if l.db, err = readDatabase(ctx, l.reader, s.wishes); err != nil {
		return err
	}
	return l.observeKey(ctx)
}

// observeClock asks where the host's time comes from.
func (l *look) observeClock(ctx context.Context) error {
	_, err := l.reader.Stat(ctx, "/etc/timezone")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l.timezone = err == nil
	status, err := l.reader.ReadFile(ctx, "/proc/1/status")
	if err != nil {
		return err
	}
	l.setsClock, err = maySetClock(status)
	return err
}

// observeKey reads the munge key. Only a positive "it is not there" is a no.
func (l *look) observeKey(ctx context.Context) error {
	l.key.slurm = service.No
	for unit, state := range l.units {
		if strings.HasPrefix(unit, "slurm") && state != "inactive" && state != "failed" {
			l.key.slurm = service.Yes
		}
	}
	data, err := l.reader.ReadFile(ctx, mungeKey)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.key.has = service.No
	case err != nil:
		l.key.why = err.Error()
		return err
	default:
		l.key.has, l.key.key = service.Yes, data
	}
	info, err := l.reader.Stat(ctx, mungeKey)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	l.keyMode = info.Mode.Perm()
	return err
}

// systemName is the distribution as a person reads it.
func systemName(osRelease []byte) string {
	for line := range strings.Lines(string(osRelease)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(v, `"'`)
		}
	}
	return "an unknown system"
}

// entries is our block of /etc/hosts: every host by its short name first, for
// that is the name Slurm and Gluster know it by.
func entries(c *config.Cluster) []entry {
	var out []entry
	for _, h := range c.AllHosts() {
		e := entry{h.Address, []string{h.Hostname}}
		if c.Info.Domain != "" && !strings.Contains(h.Hostname, ".") {
			e.names = append(e.names, h.Hostname+"."+c.Info.Domain)
		}
		out = append(out, e)
	}
	return out
}

// wishesOf is the accounts that the file wants on heads and compute nodes.
func wishesOf(c *config.Cluster) []wish {
	var out []wish
	u := c.Users
	if usesSlurm(c) {
		out = append(out,
			wish{account: account{u.SlurmUser, u.SlurmUID, u.SlurmGID}, key: "users.slurm_uid", shell: nologin,
				explicit: c.Has("users.slurm_uid") || c.Has("users.slurm_gid")},
			wish{account: account{u.MungeUser, u.MungeUID, u.MungeGID}, key: "users.munge_uid", shell: nologin, movable: true,
				explicit: c.Has("users.munge_uid") || c.Has("users.munge_gid")})
	}
	for i, p := range u.ClusterUsers {
		w := wish{account: account{p.Name, p.UID, p.GID}, key: fmt.Sprintf("users.cluster_users[%d].uid", i), explicit: true,
			home: p.Home, shell: p.Shell, groups: p.Groups}
		if w.GID == 0 {
			w.GID = w.UID
		}
		if w.home == "" {
			w.home = "/home/" + p.Name
		}
		if w.shell == "" {
			w.shell = "/bin/bash"
		}
		out = append(out, w)
	}
	return out
}
