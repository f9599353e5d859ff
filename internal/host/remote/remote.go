// Package remote reaches the machines of a cluster: one SSH connection each,
// all at once, with the remote half of multihead started at the other end. A
// machine that is the one we run on is reached without SSH.
//
// Host keys are pinned: what is not in a known_hosts file is asked about, and
// a key that changed stops everything.
package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"multihead/internal/host"
	"multihead/internal/host/rpc"
)

// DefaultTimeout is how long a host may take to answer: to connect, to agree
// on keys, to log in and to start the remote half.
const DefaultTimeout = 5 * time.Second

// InstallPath is where the tool lies on a host that has it.
const InstallPath = "/usr/local/bin/multihead"

// Target is a machine to reach.
type Target struct {
	Name    string // its hostname in the cluster file
	Address string // where it is reached; empty means Name
	Port    int    // 0 and 22 give way to ssh_config
	User    string // empty means ssh_config's, else ours
	KeyFile string // private key, tried before all others; empty means none named
}

// Options is how machines are reached. The zero value reaches them as ssh(1)
// would, with nobody there to ask.
type Options struct {
	// Timeout bounds the answer of each host; 0 means DefaultTimeout.
	Timeout time.Duration
	// ReadOnly asks for remote halves that refuse every change.
	ReadOnly bool
	// Binary is the program to stream to hosts that do not have it, a build
	// of ours for their architecture; empty means the running one.
	Binary string
	// Version is what the local machine's half calls itself.
	Version string

	// KnownHosts are files to believe before the person's own, in order.
	KnownHosts []string
	// AcceptNew records the key of a host that was never seen. ConfirmKeys
	// asks about all such keys at once. Without either they are refused.
	AcceptNew   bool
	ConfirmKeys func(ctx context.Context, keys []HostKey) (bool, error)

	// Password is the cluster file's ssh_password, for logins and sudo.
	Password string
	// AskSecret asks a person for a password or passphrase, each once.
	AskSecret func(ctx context.Context, question string) (string, error)

	// Progress is told how much of the binary a host has, in bytes.
	Progress func(host string, sent, total int64)
	// Log gets what -v shows; nil means nothing.
	Log *slog.Logger

	// Home is the person's home directory and SSHConfig the files read in
	// the place of ~/.ssh/config and the system's. Empty means the usual.
	Home      string
	SSHConfig []string
	// AlwaysSSH reaches the local machine by SSH too.
	AlwaysSSH bool
}

// Dialer reaches machines. It is safe for concurrent use and remembers what
// was asked and read, so one serves all hosts of a run.
type Dialer struct {
	opt     Options
	config  *sshConfig
	pins    *pins
	secrets *secrets
	keys    *keyring
	local   map[netip.Addr]bool
	log     *slog.Logger
	build   string // of Binary
	size    int64

	mu    sync.Mutex
	jumps map[string]*jump
}

// New reads ssh_config and the known_hosts files.
func New(opt Options) (*Dialer, error) {
	if opt.Timeout <= 0 {
		opt.Timeout = DefaultTimeout
	}
	if opt.Binary == "" {
		opt.Binary = rpc.Self
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Home == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			home = "/root" // a service has no HOME; it runs as root
		}
		opt.Home = home
	}
	if opt.SSHConfig == nil {
		opt.SSHConfig = []string{filepath.Join(opt.Home, ".ssh", "config"), "/etc/ssh/ssh_config"}
	}
	d := &Dialer{opt: opt, log: opt.Log, jumps: map[string]*jump{}}
	var err error
	if d.config, err = loadSSHConfig(opt.Home, opt.SSHConfig); err != nil {
		return nil, err
	}
	own := filepath.Join(opt.Home, ".ssh", "known_hosts")
	record := own
	if i := slices.IndexFunc(opt.KnownHosts, exists); i >= 0 {
		record = opt.KnownHosts[i]
	}
	files := append(slices.Clone(opt.KnownHosts), own, "/etc/ssh/ssh_known_hosts")
	if d.pins, err = loadPins(files, record); err != nil {
		return nil, err
	}
	d.secrets = &secrets{ask: opt.AskSecret}
	d.keys = &keyring{home: opt.Home, secrets: d.secrets}
	if d.local, err = localAddresses(); err != nil {
		return nil, err
	}
	if d.build, err = rpc.BuildID(opt.Binary); err != nil {
		return nil, err
	}
	fi, err := os.Stat(opt.Binary)
	if err != nil {
		return nil, err
	}
	d.size = fi.Size()
	return d, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// localAddresses are the addresses of this machine, loopback included.
func localAddresses() (map[netip.Addr]bool, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("addresses of this machine: %w", err)
	}
	out := map[netip.Addr]bool{}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out[p.Addr().Unmap()] = true
		}
	}
	return out, nil
}

// IsLocal says whether the target is the machine we run on.
func (d *Dialer) IsLocal(t Target) bool {
	a, err := netip.ParseAddr(t.Address)
	return err == nil && d.local[a.Unmap()] && !d.opt.AlwaysSSH
}

// Timing is what reaching a host took.
type Timing struct {
	Connect time.Duration // until the socket was open
	Keys    time.Duration // until the host key was known
	Login   time.Duration // until logged in
	Start   time.Duration // until the remote half answered
	Sent    int64         // bytes of the binary that had to be streamed

	Password bool // no key was taken, and the password was
}

// Conn is a machine that was reached. Whoever holds it closes it.
type Conn struct {
	*rpc.Client
	Timing Timing
	Local  bool   // the machine we run on, reached without SSH
	User   string // who logged in
}

// Alive says whether the connection stands, as far as is known: one to a machine
// that fell silent does until it is noticed.
func (c *Conn) Alive() bool {
	select {
	case <-c.Done():
		return false
	default:
		return true
	}
}

var (
	_ host.Host   = (*Conn)(nil)
	_ host.Locker = (*Conn)(nil)
)

// Result is one host of ConnectAll: a connection or the reason why not, an
// *Error for all that has to do with the host.
type Result struct {
	Target Target
	Conn   *Conn
	Err    error
}

// ConnectAll reaches all targets at once. The results are in their order. An
// error means that nothing may be done with any host (one of them has another
// key than it had, or the person did not trust a new one), and no connection
// stays open.
func (d *Dialer) ConnectAll(ctx context.Context, targets []Target) ([]Result, error) {
	results := make([]Result, len(targets))
	d.connect(ctx, targets, results, func(Result) bool { return true })
	err := changedKeys(results)
	if unknown := unknownKeys(results); err == nil && len(unknown) > 0 {
		var ok bool
		if ok, err = d.confirm(ctx, unknown); ok && err == nil {
			d.connect(ctx, targets, results, func(r Result) bool { return ClassOf(r.Err) == HostKeyUnknown })
			err = changedKeys(results)
		}
	}
	if err != nil {
		for _, r := range results {
			if r.Conn != nil {
				_ = r.Conn.Close()
			}
		}
		return nil, err
	}
	return results, nil
}

func (d *Dialer) connect(ctx context.Context, targets []Target, results []Result, which func(Result) bool) {
	var wg sync.WaitGroup
	for i, t := range targets {
		if !which(results[i]) {
			continue
		}
		wg.Go(func() {
			c, err := d.dial(ctx, t)
			results[i] = Result{Target: t, Conn: c, Err: err}
		})
	}
	wg.Wait()
}

func changedKeys(results []Result) error {
	var errs []error
	for _, r := range results {
		if ClassOf(r.Err) == HostKeyChanged {
			errs = append(errs, r.Err)
		}
	}
	return errors.Join(errs...)
}

func unknownKeys(results []Result) []HostKey {
	var keys []HostKey
	for _, r := range results {
		e, ok := errors.AsType[*Error](r.Err)
		if !ok || e.Class != HostKeyUnknown || e.Key == nil {
			continue
		}
		// Several hosts behind one jump host bring its key several times.
		if !slices.ContainsFunc(keys, func(k HostKey) bool { return k.Address == e.Key.Address }) {
			keys = append(keys, *e.Key)
		}
	}
	return keys
}

// confirm decides over keys that were never seen, and records them. Where
// nobody can be asked it says no without an error: the hosts' own errors say
// what to do.
func (d *Dialer) confirm(ctx context.Context, keys []HostKey) (bool, error) {
	if !d.opt.AcceptNew {
		if d.opt.ConfirmKeys == nil {
			return false, nil
		}
		ok, err := d.opt.ConfirmKeys(ctx, keys)
		if err != nil {
			return false, err
		}
		if !ok {
			return false, errors.New("the new host keys were not trusted, so nothing was done")
		}
	}
	return true, d.pins.trust(keys)
}

// Connect reaches one host, as ConnectAll does.
func (d *Dialer) Connect(ctx context.Context, t Target) (*Conn, error) {
	results, err := d.ConnectAll(ctx, []Target{t})
	if err != nil {
		return nil, err
	}
	return results[0].Conn, results[0].Err
}

// dial reaches one host and asks nobody about its key.
func (d *Dialer) dial(ctx context.Context, t Target) (*Conn, error) {
	if d.IsLocal(t) {
		return d.dialLocal(ctx, t)
	}
	e, err := d.config.resolve(t)
	if err != nil {
		return nil, &Error{Host: t.Name, Address: e.addr(), Class: BadSettings, Err: err}
	}
	ctx, watch := newStopwatch(ctx, d.opt.Timeout)
	defer watch.stop()
	var tm Timing
	client, err := d.login(ctx, watch, e, &tm)
	if err != nil {
		return nil, err
	}
	conn, err := d.startRemote(ctx, watch, e, t, client, &tm)
	if err != nil {
		_ = client.Close()
		return nil, err
	}
	if err := d.rightHost(e, t, conn); err != nil {
		_ = conn.Close()
		return nil, err
	}
	d.trace(ctx, t.Name, conn)
	d.log.Debug("reached", "host", t.Name, "address", e.addr(), "user", e.user,
		"connect", tm.Connect, "keys", tm.Keys, "login", tm.Login, "start", tm.Start, "sent", tm.Sent, "password", tm.Password)
	return &Conn{Client: conn, Timing: tm, User: e.user}, nil
}

// trace shows every question to a host and every change of it with -v.
func (d *Dialer) trace(ctx context.Context, name string, c *rpc.Client) {
	if !d.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	c.SetTrace(func(op, what string, took time.Duration, err error) {
		attrs := []any{"host", name, "op", op, "what", what, "took", took.Round(100 * time.Microsecond)}
		if err != nil {
			attrs = append(attrs, "err", err)
		}
		d.log.Debug("call", attrs...)
	})
}

// rightHost makes sure that a host which ssh_config sends elsewhere is the one
// of the cluster file: another cluster may have a server1 as well.
func (d *Dialer) rightHost(e endpoint, t Target, c *rpc.Client) error {
	want, err := netip.ParseAddr(t.Address)
	if !e.overridden || err != nil || slices.Contains(c.Hello().Addresses, want.Unmap()) {
		return nil
	}
	return &Error{Host: t.Name, Address: e.addr(), Class: WrongHost,
		Err: fmt.Errorf("ssh_config sends %s to %s, and that machine (%s) does not have the address %s", t.Name, e.host, c.Hello().Hostname, want)}
}
