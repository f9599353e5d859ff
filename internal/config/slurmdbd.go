package config

import "net/netip"

// SlurmDBDHere is the name under which every host finds the slurmdbd that it is
// to ask. It stands in /etc/hosts and means another address on each head.
//
// A loopback address would not do, though slurmdbd is on the same head:
// slurmdbd remembers the address that slurmctld came from and sends it what
// sacctmgr changes, and from another head 127.0.0.1 is a slurmctld that only
// stands by.
const SlurmDBDHere = "slurmdbd-here"

// SlurmDBDFor returns the address that SlurmDBDHere means on a host: its own
// where it runs slurmdbd, and that of the first controller elsewhere. It is
// not valid where no head runs Slurm.
func (c *Cluster) SlurmDBDFor(hostname string) netip.Addr {
	var first netip.Addr
	for i, h := range c.SlurmControllers() {
		if h.Hostname == hostname {
			return h.Address
		}
		if i == 0 {
			first = h.Address
		}
	}
	return first
}
