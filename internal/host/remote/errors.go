package remote

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// Class is why a host was not reached: each asks for something else from the
// person who reads it.
type Class string

// The classes.
const (
	Unreachable    Class = "unreachable"      // no route, no name, no answer at all
	Timeout        Class = "timeout"          // it did not answer in time
	Refused        Class = "refused"          // the machine is there, nothing listens
	HostKeyChanged Class = "host key changed" // another key than the pinned one: stops everything
	HostKeyUnknown Class = "host key unknown" // never seen before
	AuthFailed     Class = "login failed"     // neither key nor password was taken
	SudoFailed     Class = "sudo failed"      // logged in, but not allowed to be root
	NoExecDir      Class = "no exec directory"
	WrongHost      Class = "wrong host" // another machine answered at the address
	StartFailed    Class = "start failed"
	BadSettings    Class = "settings" // ssh_config or a key file cannot be used
)

// Error is a host that was not reached.
type Error struct {
	Host    string // its name in the cluster file
	Address string // where it was tried: "192.0.2.11:22"
	Class   Class
	During  string        // what was being done
	Limit   time.Duration // the time it had, where that ran out
	Hint    string        // what to do, where the class alone does not say
	Key     *HostKey      // the key that was offered, where the class is about keys
	Err     error
}

// Error says which host, what, and what to do next.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s): ", e.Host, e.Address)
	switch {
	case e.Class == Timeout:
		fmt.Fprintf(&b, "no answer within %s while %s", e.Limit, e.During)
	case e.Err != nil:
		fmt.Fprintf(&b, "%s: %s", e.Class, e.Err)
	default:
		b.WriteString(string(e.Class))
	}
	if r := e.Remedy(); r != "" {
		b.WriteString("; ")
		b.WriteString(r)
	}
	return b.String()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Remedy is what the person can do, empty where there is nothing to say.
func (e *Error) Remedy() string {
	if e.Hint != "" {
		return e.Hint
	}
	switch e.Class {
	case Unreachable, Timeout:
		return "check that it is on, and its address in the cluster file"
	case Refused:
		return "check that sshd runs there and on which port"
	case HostKeyChanged:
		return "nothing was done on any host. If the machine was installed anew, remove its line from the known_hosts file named here and compare the new fingerprint; if not, somebody else is answering"
	case HostKeyUnknown:
		return "compare the fingerprint with the one on the machine's console, then answer yes or give --accept-new"
	case AuthFailed:
		return "check ssh_user and ssh_key_path, or load the key into ssh-agent"
	case SudoFailed:
		return "allow the user to sudo, or give its password as cluster_info.ssh_password"
	case NoExecDir:
		return "mount one of /dev/shm, /run, /tmp, /var/tmp or the home directory without noexec, or install multihead in " + InstallPath
	case WrongHost:
		return "correct the address in the cluster file, or HostName in ssh_config"
	}
	return ""
}

// ClassOf is the class of an error of Connect, empty for other errors.
func ClassOf(err error) Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return ""
}

// dialClass classifies an error of connecting a socket.
func dialClass(err error) Class {
	var dns *net.DNSError
	var n net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case errors.As(err, &dns):
		return Unreachable
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &n) && n.Timeout():
		return Timeout
	}
	return Unreachable
}
