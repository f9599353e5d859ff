package agentd

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// heardWithin bounds how long an agent that was restarted may take to hear all
// others.
const heardWithin = time.Minute

// CertificateRotation is what a person asks for, and the authority that comes of it:
// one that goes on with another's remembers that one's.
type CertificateRotation struct {
	next pair
	// OlderThan is the age up to which the authority is not due.
	OlderThan time.Duration
}

// NewRotation draws the authority that a rotation would bring.
func NewRotation(cluster string, olderThan time.Duration, now time.Time) (*CertificateRotation, error) {
	next, err := newAuthority(cluster, now)
	return &CertificateRotation{next, olderThan}, err
}

// rotationOpen refuses what would take a rotation that was cut off back by halves.
func (s *State) rotationOpen() error {
	for _, t := range s.seats {
		if !t.next.empty() {
			return &service.Refusal{Service: Name, Reason: "a rotation of the agents' certificates was cut off (" + t.name + " has its authority)",
				Remedy: "Run multihead rotate certificates: it carries on."}
		}
	}
	return nil
}

// Rotate replaces the authority of the agents, and all their certificates. First
// every agent comes to trust both authorities, then each gets a certificate of the
// new one, then all forget the old one; one agent after the other, each heard by
// itself and hearing all others before the next. So at any moment all agents know
// each other. The phase is empty where the authority is not due.
func (s *State) Rotate(r *CertificateRotation) (plan.Phase, error) {
	ph := plan.Phase{Name: Name}
	if err := s.allThere(); err != nil {
		return ph, err
	}
	begun := false
	for _, t := range s.seats {
		if !begun && t.next.authority(s.at) {
			r.next, begun = t.next, true
		}
	}
	next := r.next
	if !begun && (s.authority.same(next) || s.AuthorityAge() <= r.OlderThan) {
		return ph, nil
	}
	if !begun {
		if err := s.allWell(); err != nil {
			return ph, err
		}
	}
	changed := true
	issued := map[string][]byte{}
	for _, t := range s.seats {
		if serves(t.own, next.cert, t.name, []netip.Addr{t.addr}, s.at) {
			continue
		}
		changed = false
		p, err := issue(next, t.name, []netip.Addr{t.addr}, s.at)
		if err != nil {
			return ph, err
		}
		issued[t.name] = p.join()
	}
	if !changed {
		ph.Stages = append(ph.Stages, s.trustBoth(next)...)
	}
	for _, t := range s.seats {
		st := plan.Stage{Name: "certificate of " + t.name}
		if own, ok := issued[t.name]; ok {
			st.Steps = append(st.Steps, plan.Step{ID: "agent.certificate", Host: t.name, Action: plan.File{Path: PairFile, Data: own, Attr: secret, Secret: true}})
		}
		// One that has its certificate may not have read it, where a run was cut off.
		st.Steps = append(st.Steps, s.again(t, "certificate")...)
		ph.Stages = append(ph.Stages, st)
	}
	ph.Stages = append(ph.Stages, s.trustNew(next)...)
	ph.Notes = []string{"each agent is restarted up to three times, one after the other; the virtual address stays where it is meanwhile"}
	return ph, nil
}

// allThere refuses where an agent would miss the rotation, for nobody would know it
// afterwards.
func (s *State) allThere() error {
	var errs []error
	refuse := func(name, why string) {
		errs = append(errs, &service.Refusal{Service: Name, Reason: name + ": " + why,
			Remedy: "Bring it back first (multihead status, multihead up): an agent that misses the rotation is not known to the others afterwards."})
	}
	for _, t := range s.seats {
		switch {
		case !t.reached:
			refuse(t.name, t.why)
		case t.report == nil:
			refuse(t.name, "its agent does not answer: "+t.silence)
		}
	}
	if len(errs) == 0 && s.isNew {
		refuse("no head", "has the agents' authority")
	}
	return errors.Join(errs...)
}

// allWell refuses where an agent is not well, unless it is its certificate that ends.
func (s *State) allWell() error {
	var errs []error
	for _, t := range s.seats {
		if n := s.healthOf(t); n.State != service.Up && n.Reason != t.expiry(s.at) {
			errs = append(errs, &service.Refusal{Service: Name, Reason: t.name + ": " + n.Reason, Remedy: "Mend that first: multihead status, multihead up."})
		}
	}
	return errors.Join(errs...)
}

// trustBoth lays the new authority down on all heads, so that a run that is cut off
// can go on with it, and has every agent know the others by either.
func (s *State) trustBoth(next pair) []plan.Stage {
	place := plan.Stage{Name: "lay down the new authority"}
	stages := []plan.Stage{{}}
	both := s.known(next)
	for _, t := range s.seats {
		if t.head {
			place.Steps = append(place.Steps, plan.Step{ID: "agent.next", Host: t.name, Action: plan.File{Path: nextFile, Data: next.join(), Attr: secret, Secret: true}})
		}
		stages = append(stages, plan.Stage{Name: t.name + " trusts both", Steps: append([]plan.Step{
			{ID: "agent.both", Host: t.name, Action: plan.File{Path: CAFile, Data: both, Attr: public, Secret: true}}},
			s.again(t, "both")...)})
	}
	stages[0] = place
	return stages
}

// trustNew makes the new authority the cluster's and has every agent forget the old.
func (s *State) trustNew(next pair) []plan.Stage {
	keep, clean := plan.Stage{Name: "the new authority is the cluster's"}, plan.Stage{Name: "clean"}
	var stages []plan.Stage
	for _, t := range s.seats {
		if t.head {
			keep.Steps = append(keep.Steps, plan.Step{ID: "agent.authority", Host: t.name, Action: plan.File{Path: caPairFile, Data: next.join(), Attr: secret, Secret: true}})
			clean.Steps = append(clean.Steps, plan.Step{ID: "agent.clean", Host: t.name, Action: gone{plan.Absent{Path: nextFile}}})
		}
		stages = append(stages, plan.Stage{Name: t.name + " forgets the old one", Steps: append([]plan.Step{
			{ID: "agent.only", Host: t.name, Action: plan.File{Path: CAFile, Data: next.cert, Attr: public, Secret: true}}},
			s.again(t, "only")...)})
	}
	return append(append([]plan.Stage{keep}, stages...), clean)
}

// again restarts one agent and waits until it hears all others.
func (s *State) again(t seat, why string) []plan.Step {
	var others, all []string
	for _, o := range s.seats {
		all = append(all, o.name)
		if o.name != t.name {
			others = append(others, o.name)
		}
	}
	// Going back would restart agents that do not know each other in between, and
	// heads that hear nobody let the virtual address go. The same command carries on.
	stays := plan.Final{Why: "all agents know each other: what was done so far stays", Hosts: all}
	return []plan.Step{
		{ID: "agent.restart." + why, Host: t.name, Action: plan.Running(unit, PairFile, CAFile)},
		{ID: "agent.hears." + why, Host: t.name, Final: stays, Action: plan.Await{What: "the agent hears all others", Timeout: heardWithin,
			Until: func(ctx context.Context, r host.Reader) (bool, string, error) {
				report, err := askAgent(ctx, r)
				if err != nil {
					return false, "", err
				}
				var silent []string
				for _, o := range others {
					if !report.Peers[o].Heard {
						silent = append(silent, o)
					}
				}
				return len(silent) == 0, "it does not hear " + strings.Join(silent, ", "), nil
			}}},
	}
}

// known is every authority that any agent trusts, and the new one, each once.
func (s *State) known(next pair) []byte {
	var out []byte
	add := func(file []byte) {
		for {
			block, rest := pem.Decode(file)
			if block == nil {
				return
			}
			if one := pem.EncodeToMemory(block); block.Type == "CERTIFICATE" && !bytes.Contains(out, one) {
				out = append(out, one...)
			}
			file = rest
		}
	}
	add(s.authority.cert)
	for _, t := range s.seats {
		add(t.ca)
	}
	add(next.cert)
	return out
}

// same says whether two pairs have the same certificate.
func (p pair) same(o pair) bool { return bytes.Equal(p.cert, o.cert) }

// AuthorityAge is how long ago the agents' authority was made; zero where none is
// known.
func (s *State) AuthorityAge() time.Duration {
	cert, err := parseCert(s.authority.cert)
	if err != nil || s.isNew {
		return 0
	}
	return s.at.Sub(cert.NotBefore.Add(clockSkew))
}

// expiry says which certificate of a seat ends soon enough to be spoken of; empty
// is none. up renews those of agents, and makes a new authority once the old one has
// ended: then agents do not know each other any more in any case.
func (t seat) expiry(now time.Time) string {
	for _, c := range []struct {
		what, soon string
		pem        []byte
	}{{"the agents' authority", "multihead rotate certificates", t.ca}, {"its agent's certificate", "multihead up", t.own}} {
		cert, err := parseCert(c.pem)
		if err != nil {
			continue
		}
		end := cert.NotAfter.Local().Format(time.DateOnly)
		switch {
		case now.After(cert.NotAfter):
			return fmt.Sprintf("%s ended on %s: multihead up", c.what, end)
		case now.Add(warnBefore).After(cert.NotAfter):
			return fmt.Sprintf("%s ends on %s: %s", c.what, end, c.soon)
		}
	}
	return ""
}

// warnBefore is how long before its end a certificate is spoken of.
const warnBefore = 90 * 24 * time.Hour

// gone is Absent for what an earlier step of the same plan makes.
type gone struct{ plan.Absent }

// Watches implements plan.Watcher.
func (g gone) Watches() []string { return []string{g.Path} }
