//go:build lab

package lab_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"multihead/internal/lab"
)

func testPartition(l *lab.Lab) func(*testing.T) {
	return func(t *testing.T) {
		h1, err := l.Host("server1")
		must(t, err)
		ssh := func() error {
			_, err := l.Exec(t.Context(), "server2", "timeout", "2", "bash", "-c", "read -r x <>/dev/tcp/"+h1.Address.String()+"/22 && [[ $x == SSH-* ]]")
			return err
		}
		heal := func() {
			must(t, l.Heal(t.Context()))
			if !hears(t, l, "server2", "server1") || ssh() != nil {
				t.Fatal("not healed")
			}
		}
		heal()

		must(t, l.Partition(t.Context(), lab.Fault{Hosts: []string{"server1"}}))
		if hears(t, l, "server2", "server1") || hears(t, l, "server1", "server2") {
			t.Error("both ways cut, and still heard")
		}
		if n, err := readSome(greeted(t, l, "server1"), 100*time.Millisecond); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("cut from the machine too: %d, %v", n, err)
		}
		must(t, l.PowerOff(t.Context(), "server1"))
		must(t, l.PowerOn(t.Context(), "server1"))
		if hears(t, l, "server2", "server1") {
			t.Error("a new boot healed the partition")
		}
		heal()

		// One way: what server1 says does not arrive. What server2 says does,
		// which is seen in the counter of server1's interface.
		must(t, l.Partition(t.Context(), lab.Fault{Hosts: []string{"server1"}, From: []string{"server2"}, OneWay: true}))
		run(t, l, "server2", "ip", "neigh", "replace", h1.Address.String(), "lladdr", run(t, l, "server1", "cat", "/sys/class/net/host0/address"), "dev", "host0")
		before := run(t, l, "server1", "sh", "-c", "awk '/^Icmp:/ && $10 ~ /^[0-9]/ {print $10}' /proc/net/snmp")
		if hears(t, l, "server2", "server1") {
			t.Error("the silenced way carries")
		}
		after := run(t, l, "server1", "sh", "-c", "awk '/^Icmp:/ && $10 ~ /^[0-9]/ {print $10}' /proc/net/snmp")
		if before == after {
			t.Errorf("the open way does not carry: %s echo requests seen before and after", before)
		}
		run(t, l, "server2", "ip", "neigh", "flush", "all")
		heal()

		must(t, l.Partition(t.Context(), lab.Fault{Hosts: []string{"server1"}, From: []string{"server2"}, Only: []string{"ssh"}}))
		if !hears(t, l, "server2", "server1") || ssh() == nil {
			t.Error("only ssh was to be cut")
		}
		must(t, l.Heal(t.Context(), "server2"))
		heal()

		must(t, l.Partition(t.Context(), lab.Fault{Hosts: []string{"server1"}, From: []string{lab.OutsideName}, Only: lab.TrafficNames()}))
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if _, err := l.Dial(ctx, "tcp", h1.Address.String()+":22"); err == nil {
			t.Error("cut from outside, and still reached")
		}
		if ssh() != nil {
			t.Error("only the outside was to be cut")
		}
		heal()
	}
}

func testLoss(l *lab.Lab) func(*testing.T) {
	return func(t *testing.T) {
		h1, err := l.Host("server1")
		must(t, err)
		must(t, l.Loss(t.Context(), 50, "server1"))
		// Of 100 pings a quarter comes back; that none or all do has a chance
		// of one in a million millions.
		out, _ := l.Exec(t.Context(), "server2", "ping", "-c100", "-i0.002", "-W1", "-q", h1.Address.String())
		if strings.Contains(out, " 0 received") || strings.Contains(out, "100 received") || !strings.Contains(out, "received") {
			t.Errorf("with half of the frames lost: %s", out)
		}
		must(t, l.Heal(t.Context(), "server1"))
		if faults, err := l.Faults(); len(faults) != 0 || err != nil {
			t.Errorf("still wrong: %v, %v", faults, err)
		}
	}
}

func testDisk(l *lab.Lab) func(*testing.T) {
	return func(t *testing.T) {
		h, err := l.Host("server1")
		must(t, err)
		for disk, dir := range map[lab.Disk]string{lab.Data: "/data", lab.System: "/var/lib"} {
			write := func() error {
				_, err := l.Exec(t.Context(), "server1", "sh", "-c", "dd if=/dev/zero of="+dir+"/x bs=64k count=16 conv=fsync 2>&1 || { rm "+dir+"/x; echo 1 >&2; exit 1; }")
				return err
			}
			must(t, h.FillDisk(disk, 0))
			must(t, h.FillDisk(disk, 0))
			if write() == nil {
				t.Errorf("%s: a full disk took a megabyte", disk)
			}
			must(t, h.FillDisk(disk, 8<<20))
			must(t, write())
			must(t, h.FreeDisk(disk))
			must(t, h.FreeDisk(disk))
			must(t, write())
		}

		must(t, h.HoldDisk(lab.Data))
		must(t, h.HoldDisk(lab.Data))
		written := make(chan error, 1)
		go func() {
			_, err := h.Exec(context.WithoutCancel(t.Context()), "touch", "/data/held")
			written <- err
		}()
		select {
		case err := <-written:
			t.Errorf("a held disk took a write: %v", err)
		case <-time.After(300 * time.Millisecond): // that it never comes cannot be awaited
		}
		must(t, h.ReleaseDisk(lab.Data))
		must(t, h.ReleaseDisk(lab.Data))
		must(t, <-written)

		must(t, h.HoldDisk(lab.Data)) // and a power cut must not hang on it
		must(t, l.PowerOff(t.Context(), "server1"))
		must(t, l.PowerOn(t.Context(), "server1"))

		must(t, h.BreakDisk(t.Context(), lab.Data))
		if _, err := l.Exec(t.Context(), "server1", "touch", "/data/x"); err == nil || !strings.Contains(err.Error(), "Read-only") {
			t.Errorf("a broken disk: %v", err)
		}
		must(t, l.PowerOff(t.Context(), "server1"))
		must(t, l.PowerOn(t.Context(), "server1"))
		run(t, l, "server1", "touch", "/data/x")
	}
}

func testReset(l *lab.Lab) func(*testing.T) {
	return func(t *testing.T) {
		marks := func() string {
			return run(t, l, "server1", "sh", "-c", "cat /data/mark /root/mark 2>/dev/null; true")
		}
		mark := func(s string) {
			run(t, l, "server1", "sh", "-c", "echo "+s+" >/data/mark; echo "+s+" >/root/mark")
		}
		key := run(t, l, "server1", "cat", "/etc/ssh/ssh_host_ed25519_key.pub")
		mark("one")
		must(t, l.Snapshot(t.Context(), "first"))
		mark("two")
		must(t, l.Reset(t.Context(), "first", "server1"))
		if got := marks(); got != "one\none" {
			t.Errorf("after going back: %q", got)
		}
		must(t, l.Reset(t.Context(), "", "server1"))
		if got := marks(); got != "" {
			t.Errorf("freshly installed, there is %q", got)
		}
		if got := run(t, l, "server1", "cat", "/etc/ssh/ssh_host_ed25519_key.pub"); got != key {
			t.Error("the host key changed")
		}
		if err := l.Reset(t.Context(), "never-made", "server1"); err == nil {
			t.Error("went back to a snapshot that is not there")
		}
		run(t, l, "server1", "true") // and still runs
	}
}

func testForward(l *lab.Lab) func(*testing.T) {
	return func(t *testing.T) {
		target, err := l.Resolve("server2:22")
		must(t, err)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.Forward(ctx, ln, target) }()
		conn, err := net.Dial("tcp", ln.Addr().String())
		must(t, err)
		defer conn.Close()
		greeting := make([]byte, 4)
		if _, err := io.ReadFull(conn, greeting); err != nil || string(greeting) != "SSH-" {
			t.Errorf("%q, %v", greeting, err)
		}
		cancel()
		must(t, <-ended)
		if _, err := l.Resolve("198.51.100.1:22"); err == nil {
			t.Error("an address outside the lab was taken")
		}
	}
}

func testBeside(l *lab.Lab) func(*testing.T) {
	return func(t *testing.T) {
		other := upLab(t, lab.Spec{Name: labName("b"), Heads: 1})
		run(t, l, "server1", "touch", "/data/mine")
		if _, err := other.Exec(t.Context(), "server1", "test", "-e", "/data/mine"); err == nil {
			t.Error("two labs share a disk")
		}
		must(t, other.PowerOff(t.Context(), "server1"))
		if !hears(t, l, "server2", "server1") {
			t.Error("the same address in another lab went off, and this one is not heard")
		}
		var visitor *exec.Cmd
		must(t, other.InNetwork(func() error {
			visitor = exec.Command("sleep", "600")
			return visitor.Start()
		}))
		downLab(t, other.Spec.Name)
		if err := visitor.Wait(); err == nil || !strings.Contains(err.Error(), "signal") {
			t.Errorf("what ran in the network of the removed lab: %v", err)
		}
		must(t, l.PowerOff(t.Context(), "server1")) // not held by what the other lab saw
		must(t, l.PowerOn(t.Context(), "server1"))
	}
}
