package config

import (
	"fmt"
	"slices"

	"multihead/internal/hostlist"
)

// What a whole host joining, leaving or being replaced means for the text of the
// file: its own entry, and every other place that names it.

// NextHead is a head as AddHead would add it: like the last one of the file, with
// the next free priority, so that it takes the virtual address after all others.
// services are those that it runs; none means those of the last head.
func (c *Cluster) NextHead(spec HostSpec, services []string) Controller {
	h := Controller{HostSpec: spec}
	heads := c.Nodes.Controllers
	if n := len(heads); n > 0 {
		last := heads[n-1]
		if h.SSHUser == "" {
			h.SSHUser = last.SSHUser
		}
		if h.SSHPort == 0 {
			h.SSHPort = last.SSHPort
		}
		if h.SSHKeyPath == "" {
			h.SSHKeyPath = last.SSHKeyPath
		}
		h.Services = last.Services
		lowest := slices.MinFunc(heads, func(a, b Controller) int { return a.Priority - b.Priority })
		h.Priority = freePriority(heads, lowest.Priority)
	}
	if len(services) > 0 {
		h.Services = Services{}
		for _, s := range services {
			h.Services.set(s, true)
		}
	}
	return h
}

func (s *Services) set(service string, on bool) {
	switch service {
	case GlusterFS:
		s.GlusterFS = on
	case MariaDB:
		s.MariaDB = on
	case Redis:
		s.Redis = on
	case Slurm:
		s.Slurm = on
	case Web:
		s.Web = on
	case Keepalived:
		s.Keepalived = on
	}
}

// AddHead adds a head, and its name to the lists that name every head with a
// service.
func (d *Document) AddHead(c *Cluster, h Controller) error {
	if err := d.AddController(h); err != nil {
		return err
	}
	for _, s := range []string{Redis, Slurm} {
		if h.Services.Has(s) {
			if err := d.addToList(c, h, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// DropHead takes a head out of the file c, and out of everything that names it:
// lists of heads, and the devices that switch it off. The virtual address becomes
// that of the head with the next highest priority where it was this one's.
func (d *Document) DropHead(c *Cluster, hostname string) error {
	h, ok := c.Head(hostname)
	if !ok {
		return fmt.Errorf("%s: no head is called %s", d.name, hostname)
	}
	if err := d.RemoveController(hostname); err != nil {
		return err
	}
	if err := d.dropDevices(c, hostname); err != nil {
		return err
	}
	for _, s := range []string{Redis, Slurm} {
		if err := d.dropFromList(c, h, s); err != nil {
			return err
		}
	}
	if !h.VIPOwner {
		return nil
	}
	return d.nextOwner(c, hostname)
}

// dropDevices takes out the devices that switch a head off, and out of their order the
// agents that no other head's has.
func (d *Document) dropDevices(c *Cluster, hostname string) error {
	var stay []FenceDevice
	for i := len(c.Fencing.Devices) - 1; i >= 0; i-- {
		if c.Fencing.Devices[i].Node != hostname {
			stay = append(stay, c.Fencing.Devices[i])
			continue
		}
		if err := d.Remove(indexPath("fencing.devices", i)); err != nil {
			return err
		}
	}
	if len(stay) == len(c.Fencing.Devices) {
		return nil
	}
	for i := len(c.Fencing.Order) - 1; i >= 0; i-- {
		if slices.ContainsFunc(stay, func(dev FenceDevice) bool { return dev.Agent == c.Fencing.Order[i] }) {
			continue
		}
		if err := d.Remove(indexPath("fencing.order", i)); err != nil {
			return err
		}
	}
	return nil
}

// nextOwner says vip_owner of the head that will hold the address.
func (d *Document) nextOwner(c *Cluster, without string) error {
	var next *Controller
	for i := range c.Nodes.Controllers {
		h := &c.Nodes.Controllers[i]
		if h.Hostname != without && h.Services.Keepalived && (next == nil || h.Priority > next.Priority) {
			next = h
		}
	}
	if next == nil {
		return nil
	}
	return d.setOfHead(next.Hostname, "vip_owner", true)
}

// SetService switches a service of a head on or off, and writes it into the lists
// that name every head with it, or out of them.
func (d *Document) SetService(c *Cluster, hostname, service string, on bool) error {
	h, ok := c.Head(hostname)
	if !ok {
		return fmt.Errorf("%s: no head is called %s", d.name, hostname)
	}
	if err := d.setOfHead(hostname, "services."+service, on); err != nil {
		return err
	}
	switch {
	case service == Keepalived && !on && h.VIPOwner:
		if err := d.setOfHead(hostname, "vip_owner", false); err != nil {
			return err
		}
		return d.nextOwner(c, hostname)
	case on:
		return d.addToList(c, h, service)
	}
	return d.dropFromList(c, h, service)
}

// ReplaceHead gives a head's place, with all that the file says of it, to another
// host. The devices that switched the head off are dropped: most switch off one machine
// (its BMC), and one that says of the old machine that it is off would prove the death of
// a new one that is alive.
func (d *Document) ReplaceHead(c *Cluster, hostname string, spec HostSpec) error {
	h, ok := c.Head(hostname)
	if !ok {
		return fmt.Errorf("%s: no head is called %s", d.name, hostname)
	}
	for _, s := range []string{Redis, Slurm} {
		path, list := listOf(c, s)
		if i := slices.IndexFunc(list, h.named); i >= 0 && !list.Auto() && list[i] != spec.Hostname {
			list = slices.Clone(list)
			list[i] = spec.Hostname
			if err := d.setList(path, list); err != nil {
				return err
			}
		}
	}
	if err := d.dropDevices(c, hostname); err != nil {
		return err
	}
	key := "ip_address"
	if at, err := d.headAt(hostname); err != nil {
		return err
	} else if found, err := d.find(at + ".ip"); err == nil && found.node != nil {
		key = "ip"
	}
	if err := d.setOfHead(hostname, key, spec.Address.String()); err != nil || spec.Hostname == hostname {
		return err
	}
	return d.setOfHead(hostname, "hostname", spec.Hostname)
}

func (h Controller) named(name string) bool { return name == h.Hostname || name == h.Address.String() }

// listOf is the list of the file that may name every head with a service.
func listOf(c *Cluster, service string) (path string, list HostList) {
	switch service {
	case Redis:
		return "redis.cluster.nodes", c.Redis.Cluster.Nodes
	case Slurm:
		return "slurm_config.multi_master.controllers", c.Slurm.MultiMaster.Controllers
	}
	return "", nil
}

func (d *Document) dropFromList(c *Cluster, h Controller, service string) error {
	path, list := listOf(c, service)
	if list.Auto() || !slices.ContainsFunc(list, h.named) {
		return nil
	}
	return d.setList(path, slices.DeleteFunc(slices.Clone(list), h.named))
}

func (d *Document) addToList(c *Cluster, h Controller, service string) error {
	path, list := listOf(c, service)
	if list.Auto() || slices.ContainsFunc(list, h.named) {
		return nil
	}
	return d.setList(path, append(slices.Clone(list), h.Hostname))
}

// setList writes a list of hosts where it stands, as one word or as a list.
func (d *Document) setList(path string, list HostList) error {
	at, err := d.find(path)
	if err != nil {
		return err
	}
	if at.node == nil || at.node.kind != listKind {
		return d.Set(path, list.String())
	}
	if len(list) == len(at.node.items) {
		for i, name := range list {
			if at.node.items[i].text != name {
				if err := d.Set(indexPath(path, i), name); err != nil {
					return err
				}
			}
		}
		return nil
	}
	// An entry may be a hostlist of its own.
	have := map[string]bool{}
	for i := len(at.node.items) - 1; i >= 0; i-- {
		names, err := hostlist.Expand(at.node.items[i].text)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", d.name, indexPath(path, i), err)
		}
		kept := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !slices.Contains(list, n) })
		for _, n := range kept {
			have[n] = true
		}
		switch len(kept) {
		case 0:
			err = d.Remove(indexPath(path, i))
		case len(names):
		default:
			err = d.Set(indexPath(path, i), hostlist.Compress(kept))
		}
		if err != nil {
			return err
		}
	}
	for _, name := range list {
		if !have[name] {
			if err := d.appendWord(path, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// headAt is the path of a head's entry.
func (d *Document) headAt(hostname string) (string, error) {
	path, err := d.controllersPath()
	if err != nil {
		return "", err
	}
	i, err := d.indexOf(path, hostname)
	return indexPath(path, i), err
}

func (d *Document) setOfHead(hostname, key string, value any) error {
	at, err := d.headAt(hostname)
	if err != nil {
		return err
	}
	return d.Set(at+"."+key, value)
}

// Cluster reads the text as it is now. What makes it unfit for use is not looked
// at: further edits may mend that.
func (d *Document) Cluster() (*Cluster, error) {
	c, _, err := readFile(d.name, d.text)
	return c, err
}
