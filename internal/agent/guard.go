package agent

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"multihead/internal/host"
)

const (
	// addressEvery is the pause between two looks at this head's addresses.
	addressEvery = 300 * time.Millisecond
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
func (a *Agent) watchAddress(ctx context.Context) {
	vip := a.Cluster.Network.VIP.Address
	if !vip.IsValid() {
		return
	}
	tick := time.NewTicker(addressEvery)
	defer tick.Stop()
	var dead time.Time // since when the holder's keepalived has been dead
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		holds := hasAddress(vip)
		a.mu.Lock()
		a.holds = holds
		alone := len(a.electorate.Heads) < 2
		a.mu.Unlock()
		if !holds || alone || a.keepalivedLives(ctx) {
			dead = time.Time{}
			continue
		}
		if dead.IsZero() {
			dead = time.Now()
		}
		if time.Since(dead) < leftAfter {
			continue
		}
		iface, prefix, ok := addressHere(vip)
		if !ok {
			continue
		}
		_, err := a.Local.Run(ctx, host.Command("ip", "addr", "del", prefix, "dev", iface))
		a.Log.Warn("took a leftover virtual address off: keepalived is dead or stopped", "address", prefix, "interface", iface, "error", err)
		dead = time.Time{}
	}
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
// stopped. Where that cannot be told it is taken to live.
func (a *Agent) keepalivedLives(ctx context.Context) bool {
	raw, err := a.Local.ReadFile(ctx, keepalivedGroup)
	if err != nil {
		// systemd takes the group away with the last process; without a
		// unified hierarchy there is none to look at.
		_, herr := a.Local.Stat(ctx, "/sys/fs/cgroup/system.slice")
		return herr != nil
	}
	pids := strings.Fields(string(raw))
	for _, pid := range pids {
		if _, err := strconv.Atoi(pid); err != nil {
			continue
		}
		stat, err := a.Local.ReadFile(ctx, "/proc/"+pid+"/stat")
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
