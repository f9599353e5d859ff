// Package keepalived is the virtual address: one address that exactly one
// healthy head holds, by VRRP.
package keepalived

import (
	"net/netip"

	"multihead/internal/config"
	"multihead/internal/service"
)

// Service is the virtual address.
type Service struct{}

// New returns the service.
func New() *Service { return &Service{} }

// Name implements service.Service.
func (*Service) Name() string { return config.Keepalived }

// After implements service.Service.
func (*Service) After() []string { return []string{"prepare"} }

// State is what was found of the virtual address on the heads that may hold
// it.
type State struct {
	vip   config.VIP
	heads []head // in the file's order
	// foreign says whether a machine that is none of the heads answers at
	// the address. It is asked only where no head holds it.
	foreign service.Answer
	saw     string // what made foreign a yes
}

// head is one head that may hold the address.
type head struct {
	name     string
	addr     netip.Addr
	priority int
	sshPort  int
	reached  bool
	why      string // why nothing is known of it

	known   bool           // its addresses were read
	iface   string         // interface that has its address
	ifaces  []string       // all of them
	holds   service.Answer // has the virtual address now
	running service.Answer // keepalived runs
	aimless bool           // what it would read says nothing of the virtual address
}

var _ service.State = (*State)(nil)

// owner is the head that should hold the address when all is well: the one
// with the highest priority.
func owner(heads []head) string {
	best := head{priority: -1}
	for _, h := range heads {
		if h.priority > best.priority {
			best = h
		}
	}
	return best.name
}

// holders lists the heads that have the address, and those of which that is
// not known.
func (s *State) holders() (yes, unsure []string) {
	for _, h := range s.heads {
		switch h.holds {
		case service.Yes:
			yes = append(yes, h.name)
		case service.Unsure:
			unsure = append(unsure, h.name)
		}
	}
	return yes, unsure
}
