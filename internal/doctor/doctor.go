// Package doctor looks at all hosts of a cluster at once before anything is
// changed on them, and says what would go wrong: Examine asks, Judge decides
// without asking anything.
package doctor

import (
	"context"
	"sync"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
)

// Level is how a check ended.
type Level string

// The levels. Unknown is a question that was not answered: it is not OK, and
// it is not a failure either.
const (
	OK      Level = "ok"
	Warn    Level = "warn"
	Fail    Level = "fail"
	Unknown Level = "unknown"
	Skipped Level = "-" // does not apply to this host
)

// Role is what a host is in the cluster.
type Role string

// The roles.
const (
	Head    Role = "head"
	Compute Role = "compute"
	Witness Role = "witness"
)

// The checks, by their names in every output.
const (
	checkReach    = "reach"
	checkRoot     = "root"
	checkSystem   = "os"
	checkClock    = "clock"
	checkTime     = "time"
	checkNames    = "names"
	checkPeers    = "peers"
	checkDisk     = "disk"
	checkMemory   = "memory"
	checkPorts    = "ports"
	checkAccounts = "accounts"
	checkPackages = "packages"
	checkSlurm    = "slurm"
)

// Checks is every check in the order in which they are shown.
func Checks() []string {
	return []string{
		checkReach, checkRoot, checkSystem, checkClock, checkTime, checkNames, checkPeers,
		checkDisk, checkMemory, checkPorts, checkAccounts, checkPackages, checkSlurm,
	}
}

// Finding is what one check found on one host.
type Finding struct {
	Check  string   `json:"check"`
	Level  Level    `json:"level"`
	Reason string   `json:"reason,omitempty"` // what was found, also where it is fine
	Remedy string   `json:"remedy,omitempty"` // what to do, where it is not
	Asked  []string `json:"asked,omitempty"`  // the native commands, files and sockets
}

// HostReport is all that was found on one host.
type HostReport struct {
	Hostname string    `json:"hostname"`
	Address  string    `json:"ip"`
	Role     Role      `json:"role"`
	Findings []Finding `json:"checks"`
}

// Report is all that was found.
type Report struct {
	Version int          `json:"version"` // of this format
	OK      bool         `json:"ok"`      // nothing failed
	Hosts   []HostReport `json:"hosts"`
	// Notes are findings that belong to no host: this machine's own clock.
	Notes []string `json:"notes,omitempty"`
}

// Count is how many findings have a level.
func (r Report) Count(l Level) int {
	n := 0
	for _, h := range r.Hosts {
		for _, f := range h.Findings {
			if f.Level == l {
				n++
			}
		}
	}
	return n
}

// Patient is a host to examine.
type Patient struct {
	Spec   config.HostSpec
	Role   Role
	Reader host.Reader // nil where it was not reached
	Login  string      // who logged in, or tried to
	// Bundle is what an offline site installs from instead of the host's own
	// sources, version by package; nil where it has no bundle.
	Bundle map[string]string
	// Err is why it was not reached and Remedy what to do about it. NotRoot
	// says that the login was right, and not allowed to be root.
	Err     error
	Remedy  string
	NotRoot bool
}

// clock is a reader that can measure its machine's clock.
type clock interface {
	Clock(ctx context.Context) (ahead, rtt time.Duration, err error)
}

// Patients are the hosts of a cluster file by their roles.
func Patients(c *config.Cluster) []Patient {
	role := map[string]Role{}
	for _, w := range c.Witnesses {
		role[w.Hostname] = Witness
	}
	for _, n := range c.AllComputes() {
		role[n.Hostname] = Compute
	}
	for _, h := range c.Nodes.Controllers {
		role[h.Hostname] = Head
	}
	var out []Patient
	for _, spec := range c.AllHosts() {
		out = append(out, Patient{Spec: spec, Role: role[spec.Hostname]})
	}
	return out
}

// answer is what a question brought, with what was asked for it.
type answer[T any] struct {
	value T
	err   error
	asked []string
}

// recorder notes every question on its way to the host.
type recorder struct {
	host.Reader
	mu    sync.Mutex
	asked []string
}

func (r *recorder) note(q string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, q)
}

func (r *recorder) Query(ctx context.Context, argv ...string) (string, error) {
	r.note(host.Command(argv...).String())
	return r.Reader.Query(ctx, argv...)
}

func (r *recorder) ReadFile(ctx context.Context, path string) ([]byte, error) {
	r.note("cat " + path)
	return r.Reader.ReadFile(ctx, path)
}

func (r *recorder) Stat(ctx context.Context, path string) (host.FileInfo, error) {
	r.note("stat " + path)
	return r.Reader.Stat(ctx, path)
}
