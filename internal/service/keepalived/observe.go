package keepalived

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/service"
)

// askLimit bounds what one head is asked. Neither question needs a daemon, so
// a head that takes longer is in trouble.
const askLimit = 3 * time.Second

const unit = "keepalived.service"

// Observe asks every head that may hold the address, all at once.
func (*Service) Observe(ctx context.Context, in service.Input) (service.State, error) {
	s := &State{vip: in.Cluster.Network.VIP}
	if !s.vip.Address.IsValid() {
		return nil, errors.New("network.vip.address is not given")
	}
	nodes := in.HeadsWith(config.Keepalived)
	s.heads = make([]head, len(nodes))
	var g errgroup.Group
	for i, n := range nodes {
		g.Go(func() error {
			s.heads[i] = observe(ctx, n, s.vip.Address)
			return nil
		})
	}
	_ = g.Wait() // what a head does not answer is part of what was found
	for i, n := range nodes {
		if s.heads[i].known {
			s.askForeign(func() (service.Answer, string) {
				return answers(ctx, n.Reader, s.vip.Address, n.Spec.SSHPort)
			}, func() { lookAgain(ctx, nodes, s.heads, s.vip.Address) })
			break
		}
	}
	return s, nil
}

// askForeign finds out whether a machine that is none of the heads has the
// address. Between the question to the heads and that to the address it may have
// moved (seen: keepalived had just been started): so the heads are looked at again
// after an answer, and it counts only if it comes twice with no head holding it.
func (s *State) askForeign(ask func() (service.Answer, string), look func()) {
	for range 2 {
		if yes, _ := s.holders(); len(yes) > 0 {
			break
		}
		if s.foreign, s.saw = ask(); s.foreign != service.Yes {
			s.saw = ""
			return
		}
		look()
	}
	if yes, _ := s.holders(); len(yes) > 0 {
		s.foreign, s.saw = service.No, ""
	}
}

// lookAgain asks the heads once more who holds the address. One that does not
// answer this time is not known of.
func lookAgain(ctx context.Context, nodes []service.Node, heads []head, vip netip.Addr) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var g errgroup.Group
	for i, n := range nodes {
		if !heads[i].known {
			continue
		}
		g.Go(func() error {
			links, err := askLinks(ctx, n.Reader)
			heads[i].holds = held(links, err, vip)
			return nil
		})
	}
	_ = g.Wait()
}

func held(l links, err error, vip netip.Addr) service.Answer {
	if err != nil {
		return service.Unsure
	}
	if _, ok := l.with(vip); ok {
		return service.Yes
	}
	return service.No
}

func observe(ctx context.Context, n service.Node, vip netip.Addr) head {
	h := head{name: n.Name(), addr: n.Spec.Address, sshPort: n.Spec.SSHPort, reached: n.Reached()}
	if n.Head != nil {
		h.priority = n.Head.Priority
	}
	if !n.Reached() {
		h.why = "not reached"
		if n.Err != nil {
			h.why = n.Err.Error()
		}
		return h
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var g errgroup.Group
	g.Go(func() error {
		links, err := askLinks(ctx, n.Reader)
		if err != nil {
			h.why = err.Error()
			return nil
		}
		h.known = true
		h.iface, _ = links.with(h.addr)
		h.ifaces = links.names()
		h.holds = held(links, nil, vip)
		return nil
	})
	g.Go(func() error {
		h.running = askRunning(ctx, n.Reader)
		// Of one without anything to do systemd waits to hear that it is up.
		conf, err := n.Reader.ReadFile(ctx, confPath)
		h.aimless = err == nil && !strings.Contains(string(conf), vip.String())
		return nil
	})
	_ = g.Wait()
	return h
}

func askRunning(ctx context.Context, r host.Reader) service.Answer {
	states, err := host.UnitStates(ctx, r, unit)
	if err != nil {
		return service.Unsure
	}
	switch states[unit] {
	case "active", "reloading":
		return service.Yes
	case "inactive", "failed":
		return service.No
	default: // "activating", "deactivating": on its way
		return service.Unsure
	}
}

// links is what `ip -j addr` prints.
type links []struct {
	Name      string `json:"ifname"`
	Addresses []struct {
		Local string `json:"local"`
	} `json:"addr_info"`
}

func askLinks(ctx context.Context, r host.Reader) (links, error) {
	out, err := r.Query(ctx, "ip", "-j", "addr")
	if err != nil {
		return nil, err
	}
	return parseLinks([]byte(out))
}

func parseLinks(data []byte) (links, error) {
	var l links
	if err := json.Unmarshal(data, &l); err != nil {
		return nil, fmt.Errorf("ip -j addr: %w", err)
	}
	if len(l) == 0 {
		return nil, errors.New("ip -j addr: no interface at all")
	}
	return l, nil
}

// with returns the interface that has the address.
func (l links) with(a netip.Addr) (string, bool) {
	for _, link := range l {
		for _, info := range link.Addresses {
			if have, err := netip.ParseAddr(info.Local); err == nil && have == a {
				return link.Name, true
			}
		}
	}
	return "", false
}

func (l links) names() []string {
	var out []string
	for _, link := range l {
		out = append(out, link.Name)
	}
	return out
}

// answers says whether some machine has the address, as one head's network
// shows it: it takes a connection, refuses one, or at least answers ARP.
func answers(ctx context.Context, r host.Reader, a netip.Addr, port int) (service.Answer, string) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	if ok, how := takes(ctx, r, a, port); ok {
		return service.Yes, how + " from " + r.Name()
	}
	// The attempt made the kernel ask for the address by ARP; a machine that
	// drops connections has answered that all the same.
	out, err := r.Query(ctx, "ip", "-j", "neigh", "show", a.String())
	if err != nil {
		return service.Unsure, ""
	}
	known, mac := parseNeighbour([]byte(out))
	if known == service.Yes {
		return known, fmt.Sprintf("%s is at %s, says ARP on %s", a, mac, r.Name())
	}
	return known, ""
}

// takes says whether a connection is taken or refused: either way a machine
// with that address is there.
func takes(ctx context.Context, r host.Reader, a netip.Addr, port int) (bool, string) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := r.Dial(ctx, "tcp", netip.AddrPortFrom(a, uint16(port)).String())
	if err == nil {
		_ = conn.Close()
		return true, "port " + strconv.Itoa(port) + " takes connections"
	}
	// Over a connection to another machine only the words of it arrive.
	if errors.Is(err, syscall.ECONNREFUSED) || strings.Contains(err.Error(), "connection refused") {
		return true, "port " + strconv.Itoa(port) + " refuses connections"
	}
	return false, ""
}

// parseNeighbour reads `ip -j neigh show ADDRESS`. Only an entry that was
// confirmed just now is a yes, and only a failure to resolve is a no: a stale
// entry tells of the past.
func parseNeighbour(data []byte) (service.Answer, string) {
	var entries []struct {
		MAC   string   `json:"lladdr"`
		State []string `json:"state"`
	}
	if err := json.Unmarshal(data, &entries); err != nil {
		return service.Unsure, ""
	}
	verdict := service.No
	for _, e := range entries {
		for _, state := range e.State {
			switch state {
			case "REACHABLE", "PERMANENT":
				return service.Yes, e.MAC
			case "FAILED", "INCOMPLETE", "NOARP":
			default:
				verdict = service.Unsure
			}
		}
	}
	return verdict, ""
}

// readWord is a kernel setting, without the newline; empty where this kernel
// does not have it.
func readWord(ctx context.Context, r host.Reader, path string) (string, error) {
	data, err := r.ReadFile(ctx, path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(data)), err
}
