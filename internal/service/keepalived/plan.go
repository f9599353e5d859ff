package keepalived

import (
	"fmt"
	"slices"
	"strings"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// Plan implements service.State.
func (s *State) Plan(intent service.Intent) (plan.Phase, error) {
	ph := plan.Phase{Name: "keepalived", Notes: s.notes(intent)}
	if err := s.refuse(); err != nil {
		return ph, err
	}
	part := s.taking(intent)
	install := plan.Stage{Name: "configure"}
	for _, h := range part {
		conf, err := render(s.vip, h, s.heads)
		if err != nil {
			return ph, err
		}
		if h.idles() {
			// Its start never ends, and starting it again would wait for that.
			no := false
			install.Steps = append(install.Steps, plan.Step{ID: "keepalived.idle", Host: h.name, Action: plan.Unit{Name: unit, Active: &no}})
		}
		install.Steps = append(install.Steps, s.configure(h, conf)...)
		if s.joins(h) {
			install.Steps = append(install.Steps, plan.Step{ID: "keepalived.stand-back", Host: h.name, Action: standBack{}})
		}
	}
	first, rest := s.order(part)
	ph.Stages = []plan.Stage{install,
		{Name: "running heads first", Steps: start(first)},
		{Name: "the others", Steps: start(rest)},
		{Name: "one holder", Steps: s.settled(part)},
	}
	return ph, nil
}

// refuse says what stands in the way.
func (s *State) refuse() error {
	for _, h := range s.heads {
		if !h.reached {
			continue
		}
		if !h.known {
			return &service.Refusal{Service: "keepalived",
				Reason: fmt.Sprintf("the network interfaces of %s are not known: %s", h.name, h.why),
				Remedy: "Look at `ip addr` on " + h.name + "."}
		}
		iface := ifaceOf(s.vip, h)
		if iface == "" {
			return &service.Refusal{Service: "keepalived",
				Reason: fmt.Sprintf("no interface of %s has its address %s", h.name, h.addr),
				Remedy: "Set ip_address to an address that the head has, or network.vip.interface to the interface."}
		}
		if !slices.Contains(h.ifaces, iface) {
			return &service.Refusal{Service: "keepalived",
				Reason: fmt.Sprintf("%s has no interface %s (it has %s)", h.name, iface, strings.Join(h.ifaces, ", ")),
				Remedy: "Set network.vip.interface to auto: each head then uses the interface that has its address."}
		}
	}
	yes, unsure := s.holders()
	if s.foreign == service.Yes && len(yes) == 0 && len(unsure) == 0 {
		return &service.Refusal{Service: "keepalived",
			Reason: fmt.Sprintf("%s is in use by a machine that is none of the heads (%s)", s.vip.Address, s.saw),
			Remedy: "Give network.vip.address an address that is free, or switch that machine's off."}
	}
	return nil
}

func (s *State) notes(intent service.Intent) []string {
	var out []string
	if !s.vip.AuthPassword.IsZero() {
		out = append(out, "network.vip.auth_password is not used: VRRP version 3, which allows adverts more often than once a second, has no password. Adverts go from head to head by unicast and are taken from the listed heads only.")
	}
	for _, h := range s.heads {
		if !h.reached && intent.Includes(h.name) {
			out = append(out, fmt.Sprintf("%s is left as it is: %s. It is among the others' peers already.", h.name, h.why))
		}
	}
	if yes, unsure := s.holders(); s.foreign == service.Yes && len(yes) == 0 && len(unsure) > 0 {
		out = append(out, fmt.Sprintf("%s answers; taken to be on %s, which was not asked.", s.vip.Address, strings.Join(unsure, " or ")))
	}
	return out
}

// taking is the heads that the plan touches: those reached and asked for, and
// the others reached as well, for a head that they do not list as a peer would
// hear no adverts and hold the address beside the rightful holder.
func (s *State) taking(intent service.Intent) []head {
	asked := false
	var out []head
	for _, h := range s.heads {
		if h.reached {
			asked = asked || intent.Includes(h.name)
			out = append(out, h)
		}
	}
	if !asked {
		return nil
	}
	return out
}

// configure brings one head to where keepalived can be started.
func (s *State) configure(h head, conf []byte) []plan.Step {
	nonlocal, setting := "/proc/sys/net/ipv4/ip_nonlocal_bind", "net.ipv4.ip_nonlocal_bind"
	if s.vip.Address.Is6() {
		nonlocal, setting = "/proc/sys/net/ipv6/ip_nonlocal_bind", "net.ipv6.ip_nonlocal_bind"
	}
	return []plan.Step{
		{ID: "keepalived.packages", Host: h.name, Action: plan.Packages{Names: []string{"keepalived"}}},
		{ID: "keepalived.sysctl", Host: h.name, Action: plan.File{
			Path: "/etc/sysctl.d/60-multihead-vip.conf",
			Data: []byte("# Managed by multihead; changes are overwritten.\n" +
				"# A service may listen on the virtual address before this head holds it.\n" +
				setting + " = 1\n"),
			Attr: host.Attr{Mode: 0o644, Owner: "root", Group: "root"}}},
		{ID: "keepalived.nonlocal", Host: h.name, Action: sysctl{path: nonlocal, name: setting, value: "1"}},
		{ID: "keepalived.run-dir-at-boot", Host: h.name, Action: plan.File{Path: tmpfilesDir,
			Data: []byte("# Managed by multihead; changes are overwritten.\nd " + runDir + " 0755 root root -\n"),
			Attr: host.Attr{Mode: 0o644, Owner: "root", Group: "root"}}},
		{ID: "keepalived.run-dir", Host: h.name, Action: plan.Dir{Path: runDir, Attr: host.Attr{Mode: 0o755, Owner: "root", Group: "root"}}},
		{ID: "keepalived.unit", Host: h.name, Action: unitPart{plan.File{
			Path: dropInPath, Data: []byte(dropInText), Attr: host.Attr{Mode: 0o644, Owner: "root", Group: "root"}}}},
		{ID: "keepalived.conf", Host: h.name, Action: checkedConf{plan.File{
			Path: confPath, Data: conf, Attr: host.Attr{Mode: 0o644, Owner: "root", Group: "root"}}}},
	}
}

// joins says whether keepalived begins on a head while another has the address. Where
// nobody has it, nobody stands back for anybody.
func (s *State) joins(h head) bool {
	return (h.running == service.No || h.idles()) && slices.ContainsFunc(s.heads, func(o head) bool { return o.name != h.name && o.holds == service.Yes })
}

// order splits the heads into those that begin and those that follow. Where
// keepalived runs already, those heads learn of a new one before it starts.
// Where it runs nowhere, the head that should hold the address begins.
func (s *State) order(part []head) (first, rest []head) {
	for _, h := range part {
		if h.running != service.No {
			first = append(first, h)
		} else {
			rest = append(rest, h)
		}
	}
	if len(first) > 0 {
		return first, rest
	}
	begin := owner(part)
	for _, h := range part {
		if h.name == begin {
			first = []head{h}
			rest = slices.DeleteFunc(slices.Clone(part), func(o head) bool { return o.name == begin })
		}
	}
	return first, rest
}

func start(heads []head) []plan.Step {
	var out []plan.Step
	for _, h := range heads {
		u := plan.Running(unit, confPath)
		u.Reload = true // a restart would hand the address over and back
		out = append(out, plan.Step{ID: "keepalived.start", Host: h.name, Action: u})
	}
	return out
}

// settled waits on every head until it holds the address or reaches it at
// another head.
func (s *State) settled(heads []head) []plan.Step {
	var out []plan.Step
	for _, h := range heads {
		out = append(out, plan.Step{ID: "keepalived.settled", Host: h.name, Action: s.reachable(h)})
	}
	return out
}

// Stop implements service.State: the heads that do not hold the address stop
// first, so that it goes once and does not wander.
func (s *State) Stop(intent service.Intent) (plan.Phase, error) {
	ph := plan.Phase{Name: "keepalived"}
	var backups, holders plan.Stage
	backups.Name, holders.Name = "backups", "holder"
	no := false
	for _, h := range s.heads {
		if !h.reached {
			if intent.Includes(h.name) {
				ph.Notes = append(ph.Notes, h.name+" is left as it is: "+h.why)
			}
			continue
		}
		if !intent.Includes(h.name) {
			continue
		}
		step := plan.Step{ID: "keepalived.stop", Host: h.name, Action: plan.Unit{Name: unit, Active: &no}}
		if h.holds == service.No {
			backups.Steps = append(backups.Steps, step)
			continue
		}
		step.Effect = fmt.Sprintf("%s leaves %s", s.vip.Address, h.name)
		holders.Steps = append(holders.Steps, step)
	}
	ph.Stages = []plan.Stage{backups, holders}
	return ph, nil
}
