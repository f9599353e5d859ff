package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"sort"
	"strings"
)

// Kind is what a host of the lab is there for.
type Kind string

// The kinds of hosts.
const (
	Head    Kind = "head"
	Compute Kind = "compute"
	Witness Kind = "witness"
	Spare   Kind = "spare" // runs, but stands in no cluster file: to be added or to replace
)

// Login is how the cluster file says a host is reached over SSH.
type Login string

// The ways to log in. Every host has the users root, admin and ops; these
// choose the one that the cluster file names and what it needs.
const (
	LoginRoot     Login = "root"     // root, by key
	LoginOps      Login = "ops"      // ops, by key, sudo asks nothing
	LoginAdmin    Login = "admin"    // admin, by key, sudo asks for the password
	LoginPassword Login = "password" // admin, by password only: no key is installed yet
)

var logins = []Login{LoginRoot, LoginOps, LoginAdmin, LoginPassword}

// user is the account behind the login.
func (l Login) user() string {
	switch l {
	case LoginOps:
		return "ops"
	case LoginAdmin, LoginPassword:
		return "admin"
	default:
		return "root"
	}
}

// needsPassword tells whether the cluster file must carry ssh_password.
func (l Login) needsPassword() bool { return l == LoginAdmin || l == LoginPassword }

// Spec is what Up makes. The zero value of a field means its default; counts
// are taken as they are.
type Spec struct {
	Name    string           `json:"name"`             // of the lab; default "lab"
	Image   string           `json:"image"`            // one of ImageNames; default trixie
	Heads   int              `json:"heads"`            // server1, server2 …
	Compute int              `json:"compute"`          // node001, node002 …
	Witness int              `json:"witness"`          // witness1 …
	Spare   int              `json:"spare"`            // spare1 …
	Data    int64            `json:"data"`             // bytes of each /data; default 4 GiB, sparse
	System  int64            `json:"system"`           // bytes of each system disk; default 8 GiB, sparse
	Login   Login            `json:"login"`            // of every host; default root
	Logins  map[string]Login `json:"logins,omitempty"` // of single hosts, over Login
	// FenceTool is the multihead that serves the lab's power device ("lab
	// fence-device"). Empty: a lab without fencing.
	FenceTool string `json:"fence_tool,omitempty"`
}

// Defaults of a Spec.
const (
	DefaultName   = "lab"
	DefaultImage  = "trixie"
	DefaultData   = 4 << 30
	DefaultSystem = 8 << 30
)

// The address plan: RFC 5737's first documentation range, so that what
// leaves a lab by mistake has nowhere to arrive.
const (
	Subnet  = "192.0.2.0/24"
	Outside = "192.0.2.1"   // the machine's own end of the bridge: where the tool and the clients are
	VIP     = "192.0.2.100" // belongs to no host
)

// kindPlan says how hosts of a kind are called and where their addresses
// begin and how many there is room for.
type kindPlan struct {
	kind   Kind
	format string
	first  int
	room   int
}

var plan = [...]kindPlan{
	{Head, "server%d", 11, 10},
	{Spare, "spare%d", 31, 10},
	{Compute, "node%03d", 101, 90},
	{Witness, "witness%d", 201, 9},
}

// HostPlan is one host as the Spec asks for it.
type HostPlan struct {
	Name    string     `json:"name"`
	Kind    Kind       `json:"kind"`
	Address netip.Addr `json:"address"`
	Login   Login      `json:"login"`
}

var nameShape = regexp.MustCompile(`^[a-z][a-z0-9-]{0,23}$`)

// Check finds every mistake in the Spec at once.
func (s Spec) Check() error {
	_, err := s.withDefaults()
	return err
}

// withDefaults fills what was left empty and returns every problem at once.
func (s Spec) withDefaults() (Spec, error) {
	if s.Name == "" {
		s.Name = DefaultName
	}
	if s.Image == "" {
		s.Image = DefaultImage
	}
	if s.Data == 0 {
		s.Data = DefaultData
	}
	if s.System == 0 {
		s.System = DefaultSystem
	}
	if s.Login == "" {
		s.Login = LoginRoot
	}
	var errs []error
	if err := checkName(s.Name); err != nil {
		errs = append(errs, err)
	}
	if _, err := recipeFor(s.Image); err != nil {
		errs = append(errs, err)
	}
	for _, p := range plan {
		switch n := s.count(p.kind); {
		case n < 0:
			errs = append(errs, fmt.Errorf("%d %s hosts: a count cannot be negative", n, p.kind))
		case n > p.room:
			errs = append(errs, fmt.Errorf("%d %s hosts: the address plan has room for %d", n, p.kind, p.room))
		}
	}
	if s.Heads+s.Compute+s.Witness+s.Spare == 0 {
		errs = append(errs, errors.New("a lab without hosts: give it heads, for example 4"))
	}
	const least = 64 << 20
	if s.Data < least || s.System < least {
		errs = append(errs, errors.New("a disk below 64 MiB holds no file system worth testing"))
	}
	errs = append(errs, s.checkLogins()...)
	return s, errors.Join(errs...)
}

func checkName(name string) error {
	if !nameShape.MatchString(name) {
		return fmt.Errorf("lab name %q: use a-z, 0-9 and -, beginning with a letter, 24 at most", name)
	}
	return nil
}

func (s Spec) checkLogins() []error {
	var errs []error
	bad := func(where string, l Login) {
		if !slices.Contains(logins, l) {
			errs = append(errs, fmt.Errorf("%slogin %q: use root, ops, admin or password", where, l))
		}
	}
	bad("", s.Login)
	names := map[string]bool{}
	for _, h := range s.hosts() {
		names[h.Name] = true
	}
	for _, name := range sortedKeys(s.Logins) {
		bad(name+": ", s.Logins[name])
		if !names[name] {
			errs = append(errs, fmt.Errorf("login of %q: no such host in this lab", name))
		}
	}
	return errs
}

func (s Spec) count(k Kind) int {
	switch k {
	case Head:
		return s.Heads
	case Compute:
		return s.Compute
	case Witness:
		return s.Witness
	default:
		return s.Spare
	}
}

// hosts lists the hosts in the order of the address plan.
func (s Spec) hosts() []HostPlan {
	base := netip.MustParsePrefix(Subnet).Addr().As4()
	var out []HostPlan
	for _, p := range plan {
		for i := range min(max(s.count(p.kind), 0), p.room) {
			a := base
			a[3] = byte(p.first + i)
			h := HostPlan{Name: fmt.Sprintf(p.format, i+1), Kind: p.kind, Address: netip.AddrFrom4(a), Login: s.Login}
			if l, ok := s.Logins[h.Name]; ok {
				h.Login = l
			}
			out = append(out, h)
		}
	}
	return out
}

// grow merges a second Up into the lab that is already there. Hosts are only
// ever added: taking one away would throw its disks away, which is Down's job.
func (s Spec) grow(old Spec) (Spec, error) {
	var errs []error
	if s.Image != old.Image {
		errs = append(errs, fmt.Errorf("the lab %q has image %s, not %s", old.Name, old.Image, s.Image))
	}
	for _, p := range plan {
		if s.count(p.kind) < old.count(p.kind) {
			errs = append(errs, fmt.Errorf("the lab %q has %d %s hosts, not %d", old.Name, old.count(p.kind), p.kind, s.count(p.kind)))
		}
	}
	if s.FenceTool != "" && old.FenceTool == "" {
		errs = append(errs, fmt.Errorf("the lab %q was made without fencing", old.Name))
	}
	if len(errs) > 0 {
		return s, fmt.Errorf("%w (to make it anew: multihead lab down --name %s)", errors.Join(errs...), old.Name)
	}
	out := s
	out.Login, out.Data, out.System = old.Login, old.Data, old.System
	if out.FenceTool == "" {
		out.FenceTool = old.FenceTool
	}
	out.Logins = map[string]Login{}
	for _, h := range s.hosts() {
		if h.Login != out.Login {
			out.Logins[h.Name] = h.Login
		}
	}
	for _, h := range old.hosts() {
		out.Logins[h.Name] = h.Login // a host that is there keeps its users' keys as they are
	}
	return out, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// ParseSize reads a size such as 512M or 4G into bytes (powers of 1024).
func ParseSize(s string) (int64, error) {
	unit := int64(1)
	digits := strings.TrimRight(strings.ToUpper(s), "IB")
	if n := len(digits); n > 0 {
		switch digits[n-1] {
		case 'K':
			unit = 1 << 10
		case 'M':
			unit = 1 << 20
		case 'G':
			unit = 1 << 30
		case 'T':
			unit = 1 << 40
		}
		if unit > 1 {
			digits = digits[:n-1]
		}
	}
	var n int64
	if _, err := fmt.Sscanf(digits, "%d", &n); err != nil || n <= 0 || fmt.Sprint(n) != digits || n > (1<<62)/unit {
		return 0, fmt.Errorf("size %q: write it like 512M or 4G", s)
	}
	return n * unit, nil
}
