package agent

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"multihead/internal/host"
)

const (
	// addressEvery is the pause between two looks at this head's addresses, and
	// at keepalived.
	addressEvery = 300 * time.Millisecond
	// addressAnyway is the same where the kernel tells when they change.
	addressAnyway = 5 * time.Second
	// leftAfter is how long keepalived may be gone or stopped while its address
	// is here. The others have taken the address over after 0.6 s without an
	// advert; a restart by systemd takes less than this.
	leftAfter = 1200 * time.Millisecond
	// keepalivedGroup is the control group of keepalived's processes.
	keepalivedGroup = "/sys/fs/cgroup/system.slice/keepalived.service/cgroup.procs"
)

// watchAddress sees whether this head has the virtual address, and takes it off
// where keepalived was killed or frozen and left it behind: another head has
// taken it over by then, and two would answer.
//
// The kernel tells when an address comes or goes. That a process was stopped
// nobody tells: while the address is here, keepalived is looked at again and
// again.
func (a *Agent) watchAddress(ctx context.Context) {
	vip := a.Cluster.Network.VIP.Address
	if !vip.IsValid() {
		return
	}
	changes, err := addressChanges(ctx)
	if err != nil {
		a.Log.Warn("the kernel does not tell when addresses change: they are looked at often instead", "error", err)
	}
	alone := len(a.electorate.Heads) < 2
	var dead time.Time // since when the holder's keepalived has been dead
	a.mu.Lock()
	a.holds = hasAddress(vip) // it did not come just now
	a.mu.Unlock()
	for ctx.Err() == nil {
		holds := hasAddress(vip)
		a.holding(holds)
		pause := addressEvery
		switch {
		case !holds || alone:
			dead = time.Time{}
			if changes != nil {
				pause = addressAnyway
			}
		case keepalivedLives():
			dead = time.Time{}
		case dead.IsZero():
			dead = time.Now()
		case time.Since(dead) >= leftAfter:
			a.takeOff(ctx, vip)
			dead = time.Time{}
		}
		select {
		case <-ctx.Done():
		case _, ok := <-changes:
			if !ok {
				changes = nil
			}
		case <-time.After(pause):
		}
	}
}

// holding notes whether this head has the address, and counts its moves.
func (a *Agent) holding(holds bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case holds && !a.holds:
		a.count.gained++
	case !holds && a.holds:
		a.count.lost++
	}
	a.holds = holds
}

// has says whether this head has the address, as the kernel last told.
func (a *Agent) has() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.holds
}

func (a *Agent) takeOff(ctx context.Context, vip netip.Addr) {
	iface, prefix, ok := addressHere(vip)
	if !ok {
		return
	}
	_, err := a.Local.Run(ctx, host.Command("ip", "addr", "del", prefix, "dev", iface))
	a.Log.Warn("took a leftover virtual address off: keepalived is dead or stopped", "address", prefix, "interface", iface, "error", err)
	a.mu.Lock()
	a.count.removed++
	a.mu.Unlock()
}

// hasAddress says whether this machine has the address.
func hasAddress(vip netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, x := range addrs {
		if p, err := netip.ParsePrefix(x.String()); err == nil && p.Addr().Unmap() == vip {
			return true
		}
	}
	return false
}

// addressHere says on which interface the address is, with its prefix.
func addressHere(vip netip.Addr) (iface, prefix string, ok bool) {
	list, err := net.Interfaces()
	if err != nil {
		return "", "", false
	}
	for _, i := range list {
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, x := range addrs {
			if p, err := netip.ParsePrefix(x.String()); err == nil && p.Addr().Unmap() == vip {
				return i.Name, p.String(), true
			}
		}
	}
	return "", "", false
}

// keepalivedLives says whether keepalived has processes and none of them is
// stopped. Where that cannot be told it is taken to live. It reads what only the
// kernel makes up, which never blocks.
func keepalivedLives() bool {
	raw, err := os.ReadFile(keepalivedGroup)
	if err != nil {
		// systemd takes the group away with the last process; without a
		// unified hierarchy there is none to look at.
		_, herr := os.Stat("/sys/fs/cgroup/system.slice")
		return herr != nil
	}
	pids := strings.Fields(string(raw))
	for _, pid := range pids {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err == nil && stopped(string(stat)) {
			return false
		}
	}
	return len(pids) > 0
}

// stopped reads the state in /proc/PID/stat, which follows the command in
// parentheses (proc_pid_stat(5)).
func stopped(stat string) bool {
	i := strings.LastIndexByte(stat, ')')
	if i < 0 || i+2 >= len(stat) {
		return false
	}
	return stat[i+2] == 'T' || stat[i+2] == 't'
}
