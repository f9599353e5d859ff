package config

import (
	"net/netip"
	"strconv"
	"strings"

	"multihead/internal/hostlist"
)

// The notations of addresses, networks, hosts, lists and ports.

func (d *decoder) address(n *node, p *netip.Addr, path string) {
	s, _, ok := d.plain(n, path, "an address")
	if !ok || s == "" {
		return
	}
	a, err := netip.ParseAddr(s)
	if err == nil && a.Zone() == "" {
		*p = a.Unmap()
		return
	}
	fix := msg("write an address such as 192.168.1.101")
	if pre, err := netip.ParsePrefix(s); err == nil {
		fix = msg("write %s, without the prefix length", pre.Addr())
	} else if a, ok := withoutLeadingZeros(s); ok {
		fix = msg("write %s, without leading zeros", a)
	}
	d.fail(n, path, msg("%s is not an IP address", d.quote(n)), fix)
}

func withoutLeadingZeros(s string) (netip.Addr, bool) {
	parts := strings.Split(s, ".")
	for i, p := range parts {
		if p = strings.TrimLeft(p, "0"); p == "" {
			p = "0"
		}
		parts[i] = p
	}
	a, err := netip.ParseAddr(strings.Join(parts, "."))
	return a, err == nil && a.Is4()
}

func (d *decoder) prefix(n *node, p *netip.Prefix, path string) {
	s, _, ok := d.plain(n, path, "a network")
	if !ok || s == "" {
		return
	}
	pre, err := netip.ParsePrefix(s)
	if err != nil {
		fix := msg("write a network such as 192.168.1.0/24")
		if a, err := netip.ParseAddr(s); err == nil && a.Is4() {
			fix = msg("add the prefix length, as in %s/24", s)
		}
		d.fail(n, path, msg("%s is not a network", d.quote(n)), fix)
		return
	}
	if pre != pre.Masked() {
		d.warn(n, path, msg("%s is an address inside the network; it is read as %s", s, pre.Masked()), msg("write %s", pre.Masked()))
	}
	*p = pre.Masked()
}

// plainVIP reads vip: 192.168.1.100, with or without a prefix length.
func (d *decoder) plainVIP(n *node, p *VIP, path string) {
	s, fromVar, ok := d.plain(n, path, "an address")
	if !ok {
		return
	}
	if pre, err := netip.ParsePrefix(s); err == nil {
		p.Address, p.Netmask = pre.Addr().Unmap(), pre.Bits()
		return
	}
	bare := *n
	if fromVar {
		bare.text = s
	}
	d.address(&bare, &p.Address, path)
	d.mark(n, path+".address")
}

// hosts expands one hostlist.
func (d *decoder) hosts(n *node, path, s string) ([]string, bool) {
	names, err := hostlist.Expand(s)
	if err != nil {
		d.fail(n, path, msg("%s is not a hostlist: %s", d.quote(n), err.Error()), msg("write names and ranges, as in node[001-010,015],login1"))
		return nil, false
	}
	return names, true
}

func (d *decoder) hostList(n *node, p *HostList, path string) {
	if n.kind == scalarKind {
		s, _, ok := d.plain(n, path, "a hostlist")
		if !ok {
			return
		}
		if s == "auto" || s == "" {
			*p = nil
			return
		}
		if names, ok := d.hosts(n, path, s); ok {
			*p = names
		}
		return
	}
	if n.kind != listKind {
		d.fail(n, path, msg("%s where a hostlist belongs", d.quote(n)), msg("write names and ranges, as in node[001-010,015],login1"))
		return
	}
	var all HostList
	for i, item := range n.items {
		sub := indexPath(path, i)
		s, ok := d.text(item, sub)
		if !ok {
			continue
		}
		d.mark(item, sub)
		if names, ok := d.hosts(item, sub, s); ok {
			all = append(all, names...)
		}
	}
	*p = all
}

func (d *decoder) items(n *node, p *Items, path string) {
	if n.kind == scalarKind {
		s, ok := d.text(n, path)
		if !ok {
			return
		}
		*p = nil
		for part := range strings.SplitSeq(s, ",") {
			if part = strings.TrimSpace(part); part != "" {
				*p = append(*p, part)
			}
		}
		return
	}
	if n.kind != listKind {
		d.fail(n, path, msg("%s where a list belongs", d.quote(n)), msg("write a list, or one text with commas"))
		return
	}
	*p = nil
	for i, item := range n.items {
		sub := indexPath(path, i)
		if s, ok := d.text(item, sub); ok {
			d.mark(item, sub)
			*p = append(*p, s)
		}
	}
}

func (d *decoder) portList(n *node, p *PortList, path string) {
	items := n.items
	if n.kind == scalarKind {
		items = []*node{n}
	} else if n.kind != listKind {
		d.fail(n, path, msg("%s where ports belong", d.quote(n)), msg("write a port, a range as 7000-7010, or a list of them"))
		return
	}
	for _, item := range items {
		s, _, ok := d.plain(item, path, "a port")
		if !ok {
			continue
		}
		for part := range strings.SplitSeq(s, ",") {
			r, ok := parsePorts(strings.TrimSpace(part))
			if !ok {
				d.fail(item, path, msg("%s is not a port", d.quote(item)), msg("write a number from 1 to 65535, a range as 7000-7010, or 53/udp"))
				break
			}
			*p = append(*p, r)
		}
	}
}

func parsePorts(s string) (PortRange, bool) {
	ports, proto, ok := strings.Cut(s, "/")
	if !ok {
		proto = "tcp"
	}
	first, last, ok := strings.Cut(ports, "-")
	if !ok {
		last = first
	}
	lo, err1 := strconv.ParseUint(first, 10, 16)
	hi, err2 := strconv.ParseUint(last, 10, 16)
	if err1 != nil || err2 != nil || lo == 0 || hi < lo || proto != "tcp" && proto != "udp" {
		return PortRange{}, false
	}
	return PortRange{int(lo), int(hi), proto}, true
}
