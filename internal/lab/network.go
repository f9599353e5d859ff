package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const bridge = "br0"

// ensureNetwork makes the lab's network namespace and the bridge in it,
// unless they are there. The namespace is held by a mount in the lab's
// directory, so it needs no process to live and goes with that mount.
func (l *Lab) ensureNetwork(ctx context.Context) error {
	if !isNamespace(l.netnsPath()) {
		if err := makeNamespace(l.netnsPath()); err != nil {
			return fmt.Errorf("making the lab's network namespace: %w", err)
		}
	}
	ready := false
	err := l.InNetwork(func() error { //nolint:contextcheck // it asks the kernel through netlink, which does not block
		ready = bridgeReady()
		return nil
	})
	if err != nil || ready {
		return err
	}
	// No address but the lab's own, and IPv4 only: what stands in the
	// namespace is what the address plan says.
	err = l.InNetwork(func() error {
		for _, which := range []string{"all", "default"} {
			err := os.WriteFile("/proc/sys/net/ipv6/conf/"+which+"/disable_ipv6", []byte("1"), 0)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = l.InNetwork(func() error {
		cmd := command(ctx, "ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(bridgeBatch())
		_, err := output(cmd)
		return err
	})
	if err != nil {
		return err
	}
	faults, err := l.Faults() // of before the machine was started anew
	if err != nil || len(faults) == 0 {
		return err
	}
	return l.applyFaults(ctx, faults)
}

// bridgeBatch makes the bridge. It has an address of its own on the wire: else it
// takes the lowest one of its ports, another one when that host goes, and the
// hosts that are left talk to the machine's end in vain for seconds.
func bridgeBatch() string {
	_, bits, _ := strings.Cut(Subnet, "/")
	return "link set lo up\n" +
		"link add " + bridge + " address 02:00:c0:00:02:01 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n" +
		"addr add " + Outside + "/" + bits + " dev " + bridge + "\n" +
		"link set " + bridge + " up\n"
}

// bridgeReady tells, inside the lab's network, whether the bridge is whole.
// A tool killed while making it leaves a part, which is removed here.
func bridgeReady() bool {
	br, err := net.InterfaceByName(bridge)
	if err != nil {
		return false
	}
	addrs, err := br.Addrs()
	if err == nil && len(addrs) > 0 && br.Flags&net.FlagUp != 0 {
		return true
	}
	_, _ = run(context.Background(), "ip", "link", "del", bridge)
	return false
}

func isNamespace(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

// makeNamespace makes a network namespace and mounts it on path.
func makeNamespace(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		return unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), path, "", unix.MS_BIND, "")
	})
}

// onThread runs f on a thread that is thrown away afterwards, so that f may
// change the thread's namespaces. What f starts inherits them.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if unix.Gettid() != unix.Getpid() {
			done <- f()
			return
		}
		// Except the first thread, which never ends and by which the whole
		// process is judged from outside: while it is held here, another
		// goroutine cannot be on it.
		defer runtime.UnlockOSThread()
		done <- onThread(f)
	}()
	return <-done
}

// InNetwork runs f inside the lab's network. Sockets made by f itself (not by
// goroutines it starts) belong to the lab and stay so after f returns.
func (l *Lab) InNetwork(f func() error) error {
	return onThread(func() error {
		if err := l.enter(); err != nil {
			return err
		}
		return f()
	})
}

// enter moves the calling thread into the lab's network.
func (l *Lab) enter() error {
	if !isNamespace(l.netnsPath()) {
		return fmt.Errorf("the lab %q is not up (multihead lab up --name %s)", l.Spec.Name, l.Spec.Name)
	}
	fd, err := unix.Open(l.netnsPath(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("network of the lab %q: %w", l.Spec.Name, err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering the network of the lab %q: %w", l.Spec.Name, err)
	}
	return nil
}

// Become replaces this process by another one inside the lab's network; the
// rest of the machine it sees as before. It returns only on failure.
func (l *Lab) Become(program string, args, env []string) error {
	// The thread that calls execve is the one that goes on. If that fails, it
	// is in the wrong network and stays locked, so that nothing else uses it.
	runtime.LockOSThread()
	if err := l.enter(); err != nil {
		return err
	}
	return syscall.Exec(program, args, env)
}

// Dial connects from the machine's end of the bridge to an address in the
// lab. The address must be an IP address and port: the lab has no DNS.
func (l *Lab) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := l.InNetwork(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens on the machine's end of the bridge, at Outside or on all its
// addresses.
func (l *Lab) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	var ln net.Listener
	err := l.InNetwork(func() (err error) {
		ln, err = (&net.ListenConfig{}).Listen(ctx, network, address)
		return err
	})
	return ln, err
}
