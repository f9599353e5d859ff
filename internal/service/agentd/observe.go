package agentd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/service"
)

// askLimit bounds what one host is asked.
const askLimit = 3 * time.Second

// Report is what an agent says of itself on its socket.
type Report struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Fit     bool   `json:"fit"`           // its head may hold the virtual address
	Why     string `json:"why,omitempty"` // why not; or what is bad all the same
	// Settling is set while nothing speaks against the head any more and it waits
	// out the moments before that counts, or has just started.
	Settling bool              `json:"settling,omitempty"`
	UpMS     int64             `json:"up_ms"`         // since the agent started
	Holds    bool              `json:"holds"`         // its head has the address
	Bad      map[string]string `json:"bad,omitempty"` // services that cannot serve here
	Peers    map[string]Peer   `json:"peers"`
	Leads    bool              `json:"leads"`             // it brings back what needs no person
	Alarms   []string          `json:"alarms,omitempty"`  // what needs one
	Dead     map[string]string `json:"dead,omitempty"`    // hosts proven to be off, and by what
	Fencing  string            `json:"fencing,omitempty"` // what is being done about heads that are silent
	// Maintenance is set while a person works on the head.
	Maintenance *Maintenance `json:"maintenance,omitempty"`
}

// Peer is another agent as this one hears it.
type Peer struct {
	Heard bool  `json:"heard"`  // within the last moments
	AgeMS int64 `json:"age_ms"` // since its last beat; -1 where there was none
	Fit   bool  `json:"fit"`
	Holds bool  `json:"holds"`
	// Maintenance is what it last said of itself, heard or not.
	Maintenance *Maintenance `json:"maintenance,omitempty"`
}

// seat is one host that has, or gets, an agent.
type seat struct {
	name    string
	head    bool
	addr    netip.Addr
	reached bool
	why     string

	ca      []byte // ca.crt
	caPair  pair
	next    pair   // of a rotation that has not ended
	own     []byte // certificate of agent.pem, and its key
	removed Removed
	runs    service.Answer
	report  *Report
	silence string // why the agent did not answer

	fencePackages []string // of the fence agents that it needs and does not have
}

// State is what was found of the agents.
type State struct {
	file  []byte // the cluster file as agents read it
	seats []seat
	at    time.Time // when it was looked at
	// What a plan may need that cannot be made without randomness or a clock.
	authority pair            // the cluster's, or a new one
	isNew     bool            // there was none
	issued    map[string]pair // for those whose own does not serve
	removed   Removed         // who left the cluster, as all hosts together know it
	stamp     string          // of the run
}

var _ service.State = (*State)(nil)

// Observe asks every head and witness at once.
func (*Service) Observe(ctx context.Context, in service.Input) (service.State, error) {
	s := &State{issued: map[string]pair{}, at: time.Now(), removed: Removed{}, stamp: in.Stamp}
	var err error
	if s.file, err = forAgents(in.Cluster); err != nil {
		return nil, err
	}
	add := func(n service.Node, head bool) {
		st := seat{name: n.Name(), head: head, addr: n.Spec.Address, reached: n.Reached(), why: "not reached"}
		if n.Err != nil {
			st.why = n.Err.Error()
		}
		s.seats = append(s.seats, st)
	}
	nodes := append(append([]service.Node{}, in.Heads...), in.Witnesses...)
	for i, n := range nodes {
		add(n, i < len(in.Heads))
	}
	var g errgroup.Group
	for i, n := range nodes {
		if n.Reached() {
			g.Go(func() error {
				s.seats[i].look(ctx, n.Reader)
				s.seats[i].lookForFenceAgents(ctx, n.Reader, in.Cluster)
				return nil
			})
		}
	}
	_ = g.Wait() // what a host does not answer is part of what was found
	for _, t := range s.seats {
		for name, at := range t.removed {
			s.removed.add(name, at)
		}
	}
	if err := s.certify(in.Cluster.Info.ClusterName, time.Now()); err != nil {
		return nil, err
	}
	return s, nil
}

// forAgents is the cluster file that agents read: everything filled in, and
// without the password of people's logins, which they have no use for.
func forAgents(c *config.Cluster) ([]byte, error) {
	mine := *c
	mine.Info.SSHPassword = config.Secret{}
	var b bytes.Buffer
	b.WriteString("# Managed by multihead: the cluster file of the last `multihead up`, with all\n# defaults and secrets filled in, for the agent. Changes are overwritten.\n")
	if err := mine.Show(true).YAML(&b); err != nil {
		return nil, fmt.Errorf("the agents' cluster file: %w", err)
	}
	return b.Bytes(), nil
}

func (t *seat) look(ctx context.Context, r host.Reader) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	lost := func(err error) { t.reached, t.why = false, err.Error() }
	read := func(file string) ([]byte, error) {
		data, err := r.ReadFile(ctx, file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return data, err
	}
	var err error
	if t.ca, err = read(CAFile); err != nil {
		lost(err)
		return
	}
	if t.own, err = read(PairFile); err != nil {
		lost(err)
		return
	}
	if t.removed, err = readRemoved(ctx, r); err != nil {
		lost(err)
		return
	}
	if t.head {
		both, err := read(caPairFile)
		if err != nil {
			lost(err)
			return
		}
		t.caPair = split(both)
		if both, err = read(nextFile); err != nil {
			lost(err)
			return
		}
		t.next = split(both)
	}
	report, err := askAgent(ctx, r)
	switch {
	case err == nil:
		t.runs, t.report = service.Yes, report
	case host.NobodyListens(err):
		t.runs, t.silence = service.No, "it does not run"
	default:
		t.runs, t.silence = service.Unsure, err.Error()
	}
}

// certify chooses the authority and issues what is missing. The authority that
// exists is kept: a head's own first, in the file's order.
func (s *State) certify(cluster string, now time.Time) error {
	for _, t := range s.seats {
		if t.reached && t.caPair.authority(now) {
			s.authority = t.caPair
			break
		}
	}
	if s.authority.empty() {
		var err error
		if s.authority, err = newAuthority(cluster, now); err != nil {
			return err
		}
		s.isNew = true
	}
	for _, t := range s.seats {
		addrs := []netip.Addr{t.addr}
		if !t.reached || serves(t.own, s.authority.cert, t.name, addrs, now) && !s.removed.refusesPEM(t.name, t.own) {
			continue
		}
		p, err := issue(s.authority, t.name, addrs, s.issuedAt(t.name, now))
		if err != nil {
			return err
		}
		s.issued[t.name] = p
	}
	return nil
}

// issuedAt is the time of a certificate for a host. One that left and comes back gets
// one from after it left, also where the clock of whoever took it out was ahead: within
// what a certificate allows for clocks, beyond which nobody would take it yet.
func (s *State) issuedAt(name string, now time.Time) time.Time {
	left, ok := s.removed[name]
	if !ok || !left.After(now) || left.After(now.Add(clockSkew)) {
		return now
	}
	return left
}
