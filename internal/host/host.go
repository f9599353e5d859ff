// Package host is one machine of the cluster, near or far: what can be looked
// at (Reader) and what can be changed (Host). Everything above it works on
// these two interfaces, so that the same code runs against the local machine,
// a machine at the other end of SSH and a machine in memory.
package host

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"time"
)

// Reader looks at one machine and cannot change it. Whatever only observes
// gets a Reader, so that a dry run cannot write, by type.
//
// Every call honours the context's deadline; where the context has none, the
// implementation applies DefaultTimeout.
type Reader interface {
	// Name is the hostname in the cluster file.
	Name() string
	// Query runs a command that only looks and returns its standard output.
	// argv is never passed through a shell. It returns an *ExitError where
	// the command ran and failed, and an error matching exec.ErrNotFound
	// where the machine does not have the command. Only the commands listed
	// in ReadOnly may be asked; others are refused at both ends.
	Query(ctx context.Context, argv ...string) (string, error)
	// Ask is Query for a command that wants standard input, an environment
	// or a directory ("unmunge" reads the credential it checks). The same
	// list of commands bounds it.
	Ask(ctx context.Context, cmd Cmd) (string, error)
	// ReadFile returns a file's content, or an error matching
	// fs.ErrNotExist. Files above MaxFile bytes are refused.
	ReadFile(ctx context.Context, path string) ([]byte, error)
	// Stat describes a path without following a final symbolic link. A path
	// that is not there is an error matching fs.ErrNotExist.
	Stat(ctx context.Context, path string) (FileInfo, error)
	// ReadDir lists a directory, sorted by name.
	ReadDir(ctx context.Context, path string) ([]FileInfo, error)
	// Dial connects from that machine to one of its daemons ("unix" with a
	// socket's path, or "tcp"), so that a native client can ask it. Asking
	// is all that a holder of a Reader may do with it.
	Dial(ctx context.Context, network, address string) (net.Conn, error)
}

// Host looks at one machine and changes it.
type Host interface {
	Reader
	// Run runs a command that may change things and returns its standard
	// output; errors as Query's.
	Run(ctx context.Context, cmd Cmd) (string, error)
	// WriteFile replaces a file in one step: a reader sees the old content
	// or the new, and after a crash one of the two is there, whole. Parent
	// directories must exist. A symbolic link or anything else that is not
	// a file is refused, never replaced.
	WriteFile(ctx context.Context, path string, data []byte, attr Attr) error
	// Mkdir makes one directory; one that is there already gets the
	// attributes and is no error.
	Mkdir(ctx context.Context, path string, attr Attr) error
	// SetAttr changes mode, owner and time of what is there.
	SetAttr(ctx context.Context, path string, attr Attr) error
	// Remove removes a file, a symbolic link or an empty directory. It never
	// removes recursively. What is not there is no error.
	Remove(ctx context.Context, path string) error
	// Rename moves within one file system and never replaces a directory.
	Rename(ctx context.Context, oldPath, newPath string) error
	// Symlink makes path a symbolic link to target, replacing a link that is
	// there and refusing to replace anything else.
	Symlink(ctx context.Context, target, path string) error
}

// DefaultTimeout bounds a call whose context has no deadline.
const DefaultTimeout = 30 * time.Second

// MaxFile is the largest file that travels, in bytes: the binary itself
// (about 15 MB) has to fit.
const MaxFile = 64 << 20

// Cmd is one command to run.
type Cmd struct {
	Argv  []string // the program and its arguments; never a secret, for ps shows it
	Stdin []byte   // what it reads; where a secret belongs
	Env   []string // NAME=value, added to a minimal environment (PATH, HOME, LC_ALL=C.UTF-8)
	Dir   string   // working directory; empty is /
}

// Command makes a Cmd of its argument vector alone.
func Command(argv ...string) Cmd { return Cmd{Argv: argv} }

// String is the argument vector as a person would type it. Standard input and
// environment are left out, for secrets travel there.
func (c Cmd) String() string {
	words := make([]string, len(c.Argv))
	for i, w := range c.Argv {
		words[i] = quote(w)
	}
	return strings.Join(words, " ")
}

// quote makes w one word of a POSIX shell. It is for showing, and for the one
// place where a remote shell cannot be avoided: starting our own binary.
func quote(w string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			strings.ContainsRune("-_./:=,+@%^", r)
	}
	if w != "" && strings.IndexFunc(w, func(r rune) bool { return !plain(r) }) < 0 {
		return w
	}
	return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
}

// Attr is what a file is besides its content. Zero fields keep what is there,
// or on a new file mean mode 0644 (0755 on a directory), root and now. New
// content is always of now unless ModTime says otherwise.
type Attr struct {
	Mode    fs.FileMode // permission bits, as Bits reads them
	Owner   string      // user name or number
	Group   string      // group name or number
	ModTime time.Time
}

// Bits is the permission bits of a mode with setuid, setgid and sticky, also
// where those are written as for chmod(1): 0o2770.
func Bits(m fs.FileMode) fs.FileMode {
	b := m & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
	if m&0o4000 != 0 {
		b |= fs.ModeSetuid
	}
	if m&0o2000 != 0 {
		b |= fs.ModeSetgid
	}
	if m&0o1000 != 0 {
		b |= fs.ModeSticky
	}
	return b
}

// FileInfo describes one path.
type FileInfo struct {
	Name    string      // base name
	Mode    fs.FileMode // type and permission bits
	Size    int64       // bytes
	ModTime time.Time
	Owner   string // user name, or the number where it has no name
	Group   string // group name, or the number where it has no name
	Target  string // where a symbolic link points
	Device  uint64 // the file system it lies on: a mount point's differs from its parent's
	Inode   uint64
}

// ExitError is a command that ran and failed.
type ExitError struct {
	Host   string
	Cmd    string // as a person would type it, without secrets
	Code   int    // exit code, or 128+N where signal N ended it
	Stdout string // its tail
	Stderr string // its tail
}

// Error says what failed where, with the last line the command said.
func (e *ExitError) Error() string {
	said := strings.TrimSpace(e.Stderr)
	if said == "" {
		said = strings.TrimSpace(e.Stdout)
	}
	if i := strings.LastIndexByte(said, '\n'); i >= 0 {
		said = strings.TrimSpace(said[i+1:])
	}
	if said == "" {
		return fmt.Sprintf("%s: %s: exit code %d", e.Host, e.Cmd, e.Code)
	}
	return fmt.Sprintf("%s: %s: exit code %d: %s", e.Host, e.Cmd, e.Code, said)
}

// IsDir says whether it is a directory.
func (i FileInfo) IsDir() bool { return i.Mode.IsDir() }
