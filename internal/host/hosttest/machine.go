// Package hosttest has a machine in memory for the tests of everything that
// works on host.Host, and the suite that every implementation of host.Host
// passes.
package hosttest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os/exec"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"multihead/internal/host"
)

// Handler answers a command. What it returns goes to the caller as it is; use
// Exit for a command that runs and fails.
type Handler func(cmd host.Cmd) (stdout string, err error)

// Dialer answers a Dial.
type Dialer func(ctx context.Context) (net.Conn, error)

// Change is one change that was made to a machine.
type Change struct {
	Op   string // "write", "mkdir", "attr", "remove", "rename", "symlink" or "run"
	Path string // what was changed; of a rename, the new path
	From string // of a rename, the old path
	Data []byte // what was written
	Attr host.Attr
	Cmd  host.Cmd // what was run
}

// String is the change in one line.
func (c Change) String() string {
	switch c.Op {
	case "run":
		return "run " + c.Cmd.String()
	case "rename":
		return "rename " + c.From + " " + c.Path
	}
	return c.Op + " " + c.Path
}

// Machine is a host in memory: files, directories and links with modes,
// owners and times, commands that are answered by handlers, and sockets that
// are answered by dialers. It is safe for concurrent use.
//
// A command that nobody answers is not installed: the error matches
// exec.ErrNotFound. Query asks the same list of commands as a real host.
type Machine struct {
	name string

	mu      sync.Mutex
	nodes   map[string]*node
	queries []script
	runs    []script
	dialers map[string]Dialer
	changes []Change
	asked   []string
	inode   uint64
	down    error
	before  func(op, path string) error
	now     func() time.Time
}

type node struct {
	mode         fs.FileMode
	owner, group string
	mtime        time.Time
	data         []byte
	target       string
	inode        uint64
	device       uint64
}

type script struct {
	argv []string
	h    Handler
}

var _ host.Host = (*Machine)(nil)

// New returns a machine with the directories that every system has and
// nothing in them.
func New(name string) *Machine {
	m := &Machine{name: name, nodes: map[string]*node{}, dialers: map[string]Dialer{}, now: time.Now}
	m.nodes["/"] = m.newNode(fs.ModeDir|0o755, host.Attr{})
	m.Dir("/etc/systemd/system", "/var/lib", "/var/log", "/run", "/tmp", "/usr/local/bin", "/usr/local/lib", "/root", "/home", "/mnt", "/srv", "/proc", "/sys")
	return m
}

// Clock sets where the machine's time comes from.
func (m *Machine) Clock(now func() time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = now
}

// Dir makes directories and their parents, mode 0755. It returns the machine.
func (m *Machine) Dir(paths ...string) *Machine {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range paths {
		m.mkdirAll(path.Clean(p))
	}
	return m
}

// File puts a file there, with its parents. It is not recorded as a change.
func (m *Machine) File(name, content string, attr ...host.Attr) *Machine {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := host.Attr{}
	if len(attr) > 0 {
		a = attr[0]
	}
	name = path.Clean(name)
	m.mkdirAll(path.Dir(name))
	n := m.newNode(0o644, a)
	n.data = []byte(content)
	m.nodes[name] = n
	return m
}

// Link puts a symbolic link there, with its parents.
func (m *Machine) Link(target, name string) *Machine {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = path.Clean(name)
	m.mkdirAll(path.Dir(name))
	n := m.newNode(fs.ModeSymlink|0o777, host.Attr{})
	n.target = target
	m.nodes[name] = n
	return m
}

// Mount makes a directory the root of another file system: it and what is
// made below it gets another device number.
func (m *Machine) Mount(name string, device uint64) *Machine {
	m.Dir(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nodes[path.Clean(name)].device = device
	return m
}

func (m *Machine) mkdirAll(p string) {
	if _, ok := m.nodes[p]; ok {
		return
	}
	m.mkdirAll(path.Dir(p))
	n := m.newNode(fs.ModeDir|0o755, host.Attr{})
	n.device = m.nodes[path.Dir(p)].device
	m.nodes[p] = n
}

func (m *Machine) newNode(mode fs.FileMode, a host.Attr) *node {
	m.inode++
	n := &node{mode: mode, owner: "root", group: "root", mtime: m.now(), inode: m.inode, device: 1}
	n.set(a)
	return n
}

func (n *node) set(a host.Attr) {
	if a.Mode != 0 {
		n.mode = n.mode&fs.ModeType | host.Bits(a.Mode)
	}
	if a.Owner != "" {
		n.owner = a.Owner
	}
	if a.Group != "" {
		n.group = a.Group
	}
	if !a.ModTime.IsZero() {
		n.mtime = a.ModTime
	}
}

// OnQuery answers Query and Ask for every command that begins with these
// words (one string, split at blanks). The longest match wins, and of equal
// ones the latest.
func (m *Machine) OnQuery(words string, h Handler) *Machine {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queries = append(m.queries, script{strings.Fields(words), h})
	return m
}

// Answer is OnQuery with a fixed output.
func (m *Machine) Answer(words, stdout string) *Machine {
	return m.OnQuery(words, func(host.Cmd) (string, error) { return stdout, nil })
}

// OnRun answers Run as OnQuery answers Query.
func (m *Machine) OnRun(words string, h Handler) *Machine {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.runs = append(m.runs, script{strings.Fields(words), h})
	return m
}

// OnDial answers Dial for one socket.
func (m *Machine) OnDial(network, address string, d Dialer) *Machine {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dialers[network+" "+address] = d
	return m
}

// Down makes every call fail with err until it is called with nil: a machine
// that is off, or a connection that was cut.
func (m *Machine) Down(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = err
}

// Before sets what is asked before each change ("write", path), or before a
// command is run ("run", the command). An error that it returns is the
// change's outcome, and nothing is changed: a full disk, a kill.
func (m *Machine) Before(f func(op, path string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.before = f
}

// Changes is everything that changed the machine so far, in order.
func (m *Machine) Changes() []Change {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.changes)
}

// Asked is every command that was asked with Query or Ask, in order.
func (m *Machine) Asked() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.asked)
}

// Tree is a line for every path of the machine, for comparing two moments:
// mode, owner, group, time, inode, and content or target.
func (m *Machine) Tree() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, p := range slices.Sorted(maps.Keys(m.nodes)) {
		n := m.nodes[p]
		out = append(out, fmt.Sprintf("%s %v %s:%s %d %d %q%s", p, n.mode, n.owner, n.group, n.mtime.UnixNano(), n.inode, n.data, n.target))
	}
	return out
}

// Exit is the error of a command that ran and failed.
func Exit(code int, stderr string) error { return &host.ExitError{Code: code, Stderr: stderr} }

// Name implements host.Reader.
func (m *Machine) Name() string { return m.name }

// Query implements host.Reader.
func (m *Machine) Query(ctx context.Context, argv ...string) (string, error) {
	return m.Ask(ctx, host.Cmd{Argv: argv})
}

// Ask implements host.Reader.
func (m *Machine) Ask(ctx context.Context, cmd host.Cmd) (string, error) {
	if !host.ReadOnly(cmd.Argv) {
		return "", fmt.Errorf("%s: %s: %w: not on the list of commands that only look", m.name, cmd, host.ErrRefused)
	}
	m.mu.Lock()
	m.asked = append(m.asked, cmd.String())
	h, err := m.find(ctx, m.queries, cmd)
	m.mu.Unlock()
	if err != nil {
		return "", err
	}
	return m.answer(h, cmd)
}

// Run implements host.Host.
func (m *Machine) Run(ctx context.Context, cmd host.Cmd) (string, error) {
	m.mu.Lock()
	h, err := m.find(ctx, m.runs, cmd)
	if err == nil && m.before != nil {
		err = m.before("run", cmd.String())
	}
	if err == nil {
		m.changes = append(m.changes, Change{Op: "run", Cmd: cmd})
	}
	m.mu.Unlock()
	if err != nil {
		return "", err
	}
	return m.answer(h, cmd)
}

func (m *Machine) find(ctx context.Context, scripts []script, cmd host.Cmd) (Handler, error) {
	if err := m.up(ctx); err != nil {
		return nil, err
	}
	var best *script
	for i := range scripts {
		s := &scripts[i]
		if len(s.argv) <= len(cmd.Argv) && slices.Equal(s.argv, cmd.Argv[:len(s.argv)]) &&
			(best == nil || len(s.argv) >= len(best.argv)) {
			best = s
		}
	}
	if best == nil {
		return nil, fmt.Errorf("%s: %w", m.name, &exec.Error{Name: cmd.String(), Err: exec.ErrNotFound})
	}
	return best.h, nil
}

// answer calls a handler, which may use the machine, without its lock.
func (m *Machine) answer(h Handler, cmd host.Cmd) (string, error) {
	out, err := h(cmd)
	var exit *host.ExitError
	if errors.As(err, &exit) {
		e := *exit
		e.Host, e.Cmd, e.Stdout = m.name, cmd.String(), out
		return out, &e
	}
	if err != nil {
		return out, fmt.Errorf("%s: %s: %w", m.name, cmd, err)
	}
	return out, nil
}

func (m *Machine) up(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", m.name, err)
	}
	if m.down != nil {
		return fmt.Errorf("%s: %w", m.name, m.down)
	}
	return nil
}

// Dial implements host.Reader.
func (m *Machine) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	m.mu.Lock()
	err := m.up(ctx)
	d := m.dialers[network+" "+address]
	m.mu.Unlock()
	switch {
	case err != nil:
		return nil, err
	case d == nil:
		return nil, fmt.Errorf("%s: dial %s %s: %w", m.name, network, address, syscall.ECONNREFUSED)
	}
	return d(ctx)
}
