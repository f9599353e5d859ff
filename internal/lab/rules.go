package lab

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const nftTable = "bridge multihead_lab"

// renderRules writes the nftables script that replaces all rules of the lab
// at once. links are the names of the hosts' ports on the bridge. A frame
// between two hosts passes the chain forward; one to or from the machine's
// own end passes input or output.
func renderRules(faults []Fault, links map[string]string) (string, error) {
	var chains chainRules
	for _, f := range faults {
		if f.Loss > 0 {
			chains.lose(f, links)
			continue
		}
		match, err := matches(f.Only)
		if err != nil {
			return "", err
		}
		chains.cut(f.Hosts, f.From, match, links)
		if !f.OneWay {
			chains.cut(f.From, f.Hosts, match, links)
		}
	}
	var b strings.Builder
	// Made so that there is one to delete, then made anew.
	fmt.Fprintf(&b, "table %s\ndelete table %s\n", nftTable, nftTable)
	fmt.Fprintf(&b, "table %s {\n", nftTable)
	for _, c := range []struct {
		name  string
		rules []string
	}{{"forward", chains.forward}, {"input", chains.input}, {"output", chains.output}} {
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype filter hook %s priority 0; policy accept;\n", c.name, c.name)
		for _, r := range c.rules {
			fmt.Fprintf(&b, "\t\t%s\n", r)
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String(), nil
}

type chainRules struct{ forward, input, output []string }

// cut drops what the hosts in from say to those in to.
func (c *chainRules) cut(from, to, match []string, links map[string]string) {
	in, inOutside := ports(from, links)
	out, outOutside := ports(to, links)
	for _, m := range match {
		if in != "" && out != "" {
			c.forward = append(c.forward, "iifname "+in+" oifname "+out+m+" drop")
		}
		if in != "" && outOutside {
			c.input = append(c.input, "iifname "+in+m+" drop")
		}
		if inOutside && out != "" {
			c.output = append(c.output, "oifname "+out+m+" drop")
		}
	}
}

// lose drops frames to and from the hosts by chance. nftables draws whole
// numbers, so a percentage is held to two decimals.
func (c *chainRules) lose(f Fault, links map[string]string) {
	chance := fmt.Sprintf(" numgen random mod 10000 < %d drop", int(f.Loss*100+0.5))
	if slices.Contains(f.Hosts, OutsideName) {
		c.input = append(c.input, strings.TrimSpace(chance))
		c.output = append(c.output, strings.TrimSpace(chance))
	}
	if p, _ := ports(f.Hosts, links); p != "" {
		c.forward = append(c.forward, "iifname "+p+chance, "oifname "+p+chance)
		c.input = append(c.input, "iifname "+p+chance)
		c.output = append(c.output, "oifname "+p+chance)
	}
}

// ports is the nftables set of the hosts' ports, "" if there are none, and
// whether the machine's own end is among the names.
func ports(names []string, links map[string]string) (set string, outside bool) {
	var quoted []string
	for _, n := range names {
		if n == OutsideName {
			outside = true
		} else {
			quoted = append(quoted, strconv.Quote(links[n]))
		}
	}
	if len(quoted) == 0 {
		return "", outside
	}
	return "{ " + strings.Join(quoted, ", ") + " }", outside
}

// matches turns the traffic names of a fault into nftables matches, each with
// a space in front; for no names, the one match that takes every frame.
func matches(only []string) ([]string, error) {
	if len(only) == 0 {
		return []string{""}, nil
	}
	var out []string
	for _, name := range only {
		specs, ok := traffic[name]
		if !ok {
			specs = []string{name}
		}
		for _, s := range specs {
			m, err := match(s)
			if err != nil {
				return nil, err
			}
			out = append(out, m...)
		}
	}
	return out, nil
}

// glusterd gives a brick any free port between base-port and max-port of its
// glusterd.vol, at random and another one at each start; these are the two that
// GlusterFS comes with. The kernel gives the same ports to clients of anything, so
// a connection to a brick is told by its other end, too: a client of ours, which
// GlusterFS binds below 1024 or below 49152, never a server with a port of its own.
const (
	brickPorts = "49152-60999"
	notBricks  = "{ 0-511, 1024-32767 }"
)

// match reads tcp/PORT, udp/FROM-TO or proto/NUMBER. A port is matched on
// either end, so that a cut stops both the questions and the answers that go
// its way.
func match(spec string) ([]string, error) {
	bad := fmt.Errorf("traffic %q: use %s, or such as tcp/3306 or udp/5000-5010", spec, strings.Join(TrafficNames(), ", "))
	if spec == "bricks" {
		return []string{
			" tcp dport " + brickPorts + " tcp sport != " + notBricks,
			" tcp sport " + brickPorts + " tcp dport != " + notBricks,
		}, nil
	}
	proto, value, ok := strings.Cut(spec, "/")
	if !ok {
		return nil, bad
	}
	from, to, ranged := strings.Cut(value, "-")
	if !ranged {
		to = from
	}
	a, err1 := strconv.ParseUint(from, 10, 16)
	b, err2 := strconv.ParseUint(to, 10, 16)
	if err1 != nil || err2 != nil || a > b {
		return nil, bad
	}
	switch proto {
	case "tcp", "udp":
		return []string{
			fmt.Sprintf(" %s dport %s", proto, value),
			fmt.Sprintf(" %s sport %s", proto, value),
		}, nil
	case "proto":
		if !ranged && a <= 255 {
			return []string{" ip protocol " + value}, nil
		}
	}
	return nil, bad
}
