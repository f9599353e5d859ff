package galera

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"path"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/service"
)

// standing is what the daemon on a head was found to be doing.
type standing int

const (
	unasked   standing = iota // not known: why says so
	off                       // it does not run
	starting                  // systemd is starting it: it recovers, looks for the others or receives data
	answering                 // it answers; status says what
)

// node is one head as it was found.
type node struct {
	name    string
	addr    netip.Addr
	memory  int // MiB of the head, 0 where the file does not say
	reached bool
	at      layout
	stands  standing
	status  status   // where it answers
	disk    disk     // where it does not run, or is starting
	why     string   // of unasked, and of anything else that is not plain
	dead    string   // the proof that the host is switched off
	hung    bool     // the daemon takes connections and says nothing
	ends    bool     // it is being stopped
	unit    job      // where it does not run
	kept    []string // directories with what it had of another history
	due     bool     // it is to be restarted: its settings change, or did since it started
}

// voter is a witness that is to run the arbiter.
type voter struct {
	name    string
	reached bool
	why     string
	at      layout
	runs    service.Answer
}

// State is the database as it was found, with what the file asks for.
type State struct {
	conf      config.MariaDBConfig
	nets      []netip.Prefix // where clients of the cluster come from
	stamp     string         // of this run
	nodes     []node         // heads with the service, in the file's order
	witnesses []voter
}

// Observe asks every head at once.
func (*Service) Observe(ctx context.Context, in service.Input) (service.State, error) {
	s := &State{conf: in.Cluster.Database.MariaDB, nets: clientNets(in.Cluster), stamp: in.Stamp}
	if !in.Cluster.Database.Enabled {
		return s, nil
	}
	heads := in.HeadsWith(config.MariaDB)
	s.nodes = make([]node, len(heads))
	var g errgroup.Group
	for i, h := range heads {
		g.Go(func() error {
			s.nodes[i] = observe(ctx, h, s.conf, in.Brief)
			if !in.Brief && s.nodes[i].member() {
				s.nodes[i].due = s.restartDue(ctx, h.Reader, s.nodes[i])
			}
			return nil
		})
	}
	s.witnesses = make([]voter, len(in.Witnesses))
	for i := range s.witnesses {
		g.Go(func() error {
			s.witnesses[i] = observeVoter(ctx, in.Witnesses[i])
			return nil
		})
	}
	_ = g.Wait() // what went wrong is part of what was found
	return s, nil
}

func observe(ctx context.Context, h service.Node, conf config.MariaDBConfig, brief bool) node {
	n := node{name: h.Name(), addr: h.Spec.Address, reached: h.Reached(), at: debian, dead: h.Dead}
	if h.Head != nil {
		n.memory = h.Head.Hardware.MemoryMB
	}
	if !n.reached {
		n.why = "it was not asked"
		if h.Err != nil {
			n.why = h.Err.Error()
		}
		return n
	}
	// What is asked after a daemon was silent for its whole time has to fit too.
	ctx, cancel := context.WithTimeout(ctx, 2*lookLimit+settleLimit)
	defer cancel()
	var err error
	if n.at, err = layoutOf(ctx, h.Reader); err != nil {
		n.why = err.Error()
		return n
	}
	n.look(ctx, h.Reader, conf.RootPassword, brief)
	if !brief {
		n.kept = keptAside(ctx, h.Reader, n.at.dataDir)
	}
	return n
}

// layoutOf tells the distributions apart by where they keep their packages.
func layoutOf(ctx context.Context, r host.Reader) (layout, error) {
	_, err := r.Stat(ctx, "/var/lib/dpkg/status")
	if err == nil {
		return debian, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return debian, err
	}
	return rhel, nil
}

// look asks the daemon, and where it is just starting, waits a moment for it.
// While it looks for its own position it listens for an instant as well, and
// hangs up: what counts then is what systemd says.
func (n *node) look(ctx context.Context, r host.Reader, root config.Secret, brief bool) {
	settled, patience := time.Now().Add(settleLimit), lookLimit
	if brief {
		// An agent looks again in a second, and has two for all of it.
		settled, patience = time.Now(), briefLimit
	}
	for {
		s, err := askWithin(ctx, patience, r, n.at, root)
		if err == nil {
			n.stands, n.status = answering, s
			if n.own() || n.detached() {
				n.disk = lookDisk(ctx, r, n.at.dataDir)
			}
			return
		}
		active, aerr := activity(ctx, r)
		switch {
		case aerr != nil:
			n.stands, n.why = unasked, aerr.Error()
			return
		case active == "inactive", active == "failed":
			n.stands, n.why = off, ""
			n.disk = lookDisk(ctx, r, n.at.dataDir)
			if !brief {
				n.unit = lookJob(ctx, r)
			}
			return
		case active == "active" && silent(ctx, err):
			n.stands, n.why = unasked, "mariadbd takes connections and does not answer"
			// A busy disk makes it silent as well: killed, it would take longer.
			n.hung = host.Frozen(ctx, r, unit, "mariadbd") && !receives(ctx, r, n.at.dataDir)
			return
		case active == "active":
			n.stands, n.why = unasked, "mariadbd: "+err.Error()
		case active == "activating", active == "deactivating", active == "reloading":
			n.stands, n.why = starting, unit+" is "+active+" (it recovers, looks for the other heads, or receives data)"
			n.ends = active == "deactivating"
		default:
			n.stands, n.why = unasked, unit+" is "+active
			return
		}
		if time.Now().After(settled) {
			if n.stands == starting {
				n.disk = lookDisk(ctx, r, n.at.dataDir)
			}
			return
		}
		select {
		case <-ctx.Done():
			n.stands, n.why = unasked, ctx.Err().Error()
			return
		case <-time.After(settleEvery):
		}
	}
}

// activity is systemd's ActiveState of the daemon; one whose unit is not there
// is inactive.
func activity(ctx context.Context, r host.Reader) (string, error) {
	out, err := r.Query(ctx, "systemctl", "show", unit, "--property=ActiveState", "--value")
	return strings.TrimSpace(out), err
}

// job is what systemd says of a daemon that does not run.
type job struct {
	known   bool
	enabled bool // it starts at boot
	ran     bool // it was up since the host booted
	inOrder bool // its last end was an orderly stop
}

// lookJob asks systemd; what it does not say leaves it unknown.
func lookJob(ctx context.Context, r host.Reader) job {
	out, err := r.Query(ctx, "systemctl", "show", unit, "--property=Result,UnitFileState,ActiveEnterTimestampMonotonic")
	if err != nil {
		return job{}
	}
	said := map[string]string{}
	for line := range strings.Lines(out) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			said[key] = value
		}
	}
	up, asked := said["ActiveEnterTimestampMonotonic"]
	return job{known: asked, ran: up != "0", inOrder: said["Result"] == "success",
		enabled: said["UnitFileState"] == "enabled" || said["UnitFileState"] == "enabled-runtime"}
}

// parked says whether a person stopped the daemon, or may have: it is not started
// without one.
func (n node) parked() bool {
	return n.stands == off && (!n.unit.known || !n.unit.enabled || n.unit.ran && n.unit.inOrder)
}

// receives says whether a daemon is sent data, or may be: it is not asked for
// anything then.
func receives(ctx context.Context, r host.Reader, dir string) bool {
	_, err := r.Stat(ctx, path.Join(dir, "sst_in_progress"))
	return !errors.Is(err, fs.ErrNotExist)
}

// keptDir has what a joining head had of another history. It lies in the data
// directory, for that is the only place where moving costs nothing and which the
// daemon may write to; the settings tell the daemon that it is no database. The
// script of state transfers makes it.
const keptDir = ".kept"

// keptAside lists what was kept. It is for people; where it cannot be looked at,
// there is nothing to say.
func keptAside(ctx context.Context, r host.Reader, dir string) []string {
	entries, err := r.ReadDir(ctx, path.Join(dir, keptDir))
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		out = append(out, path.Join(dir, keptDir, e.Name))
	}
	return out
}

// clientNets lists where clients come from: the cluster's networks, and every
// host that is in none of them.
func clientNets(c *config.Cluster) []netip.Prefix {
	var nets []netip.Prefix
	for _, p := range []netip.Prefix{c.Network.ManagementNetwork, c.Network.ComputeNetwork} {
		if p.IsValid() && !covered(nets, p.Addr()) {
			nets = append(nets, p.Masked())
		}
	}
	hosts := make([]config.HostSpec, 0, len(c.Nodes.Controllers))
	for _, h := range c.Nodes.Controllers {
		hosts = append(hosts, h.HostSpec)
	}
	for _, n := range c.AllComputes() {
		hosts = append(hosts, n.HostSpec)
	}
	for _, h := range hosts {
		if h.Address.IsValid() && !covered(nets, h.Address) {
			nets = append(nets, netip.PrefixFrom(h.Address, h.Address.BitLen()))
		}
	}
	return nets
}

func covered(nets []netip.Prefix, a netip.Addr) bool {
	for _, n := range nets {
		if n.Contains(a) {
			return true
		}
	}
	return false
}
