package agent

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// outsideLimit is how long an address outside may take to answer.
const outsideLimit = 2 * time.Second

// lookOutside asks whether anything but heads answers: a witness, a compute node
// of the heads' own network, or the gateway. A head that reaches nobody at all is
// taken to be the one that is cut off.
func (a *Agent) lookOutside(ctx context.Context) {
	var targets []string
	add := func(addr netip.Addr, port int) {
		if addr.IsValid() && len(targets) < 16 {
			targets = append(targets, net.JoinHostPort(addr.String(), strconv.Itoa(port)))
		}
	}
	for _, w := range a.Cluster.Witnesses {
		add(w.Address, w.SSHPort)
	}
	add(defaultGateway("/proc/net/route"), 22)
	own := a.Cluster.Network.ManagementNetwork
	for _, c := range a.Cluster.AllComputes() {
		if !own.IsValid() || own.Contains(c.Address) {
			add(c.Address, c.SSHPort)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, outsideLimit)
	defer cancel()
	var wg sync.WaitGroup
	answers := make(chan bool, len(targets))
	for _, t := range targets {
		wg.Go(func() { answers <- reachable(ctx, t) })
	}
	wg.Wait()
	close(answers)
	any := false
	for ok := range answers {
		any = any || ok
	}
	a.mu.Lock()
	a.fencing.outside = any
	a.mu.Unlock()
}

// reachable says whether a host answers at all: that it refuses a connection is
// an answer.
func reachable(ctx context.Context, address string) bool {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return errors.Is(err, syscall.ECONNREFUSED)
	}
	_ = c.Close()
	return true
}

// defaultGateway reads the kernel's IPv4 routes (proc_net(5)); an invalid address
// where there is none.
func defaultGateway(file string) netip.Addr {
	f, err := os.Open(file)
	if err != nil {
		return netip.Addr{}
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		w := strings.Fields(sc.Text())
		if len(w) < 3 || w[1] != "00000000" {
			continue
		}
		raw, err := hex.DecodeString(w[2])
		if err != nil || len(raw) != 4 {
			continue
		}
		var b [4]byte // the kernel prints the number as this machine has it in memory
		binary.NativeEndian.PutUint32(b[:], binary.BigEndian.Uint32(raw))
		if addr := netip.AddrFrom4(b); !addr.IsUnspecified() {
			return addr
		}
	}
	return netip.Addr{}
}
