package agentd

import (
	"crypto/x509"
	"net/netip"
	"strings"
	"testing"
	"time"

	"multihead/internal/plan"
	"multihead/internal/service"
)

// rotating is three agents that know each other by an authority of a day.
func rotating(t *testing.T) (*State, *CertificateRotation) {
	t.Helper()
	at := time.Now()
	ca, err := newAuthority("test", at.Add(-24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	s := &State{at: at, authority: ca}
	for i, name := range []string{"s1", "s2", "w1"} {
		addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})
		own, err := issue(ca, name, []netip.Addr{addr}, at)
		if err != nil {
			t.Fatal(err)
		}
		st := seat{name: name, head: i < 2, addr: addr, reached: true, ca: ca.cert, own: own.join(), runs: service.Yes, report: &Report{Fit: true}}
		if st.head {
			st.caPair = ca
		}
		s.seats = append(s.seats, st)
	}
	r, err := NewRotation("test", time.Hour, at)
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

// After every single step of a rotation each agent, with what it then has on its
// disk, knows every other one. So it may be cut off anywhere.
func TestAgentsKnowEachOtherAfterEveryStepOfARotation(t *testing.T) {
	s, r := rotating(t)
	old := s.authority
	ph, err := s.Rotate(r)
	if err != nil {
		t.Fatal(err)
	}
	seatOf := func(name string) *seat {
		for i := range s.seats {
			if s.seats[i].name == name {
				return &s.seats[i]
			}
		}
		t.Fatalf("a step on %s", name)
		return nil
	}
	steps := 0
	for _, st := range ph.Stages {
		for _, step := range st.Steps {
			seat := seatOf(step.Host)
			switch f := step.Action.(type) {
			case plan.File:
				if !f.Secret {
					t.Errorf("%s shows what it writes", step.ID)
				}
				switch f.Path {
				case CAFile:
					seat.ca = f.Data
				case PairFile:
					seat.own = f.Data
				case caPairFile:
					seat.caPair = split(f.Data)
				case nextFile:
					seat.next = split(f.Data)
				default:
					t.Errorf("it writes %s", f.Path)
				}
			case gone:
				seat.next = pair{}
			default:
				continue
			}
			steps++
			s.allKnow(t, step.ID+" on "+step.Host)
			if again, err := s.Rotate(r); err != nil || len(again.Stages) == 0 && seat.next.empty() == false {
				t.Errorf("cut off after %s: %v", step.ID, err)
			}
			if !seat.next.empty() {
				if _, err := s.Plan(service.Intent{}); err == nil || !strings.Contains(err.Error(), "rotate certificates") {
					t.Errorf("up after %s on %s: %v", step.ID, step.Host, err)
				}
			}
		}
	}
	if steps < 10 {
		t.Fatalf("only %d steps", steps)
	}
	for _, seat := range s.seats {
		if strings.Contains(string(seat.ca), string(old.cert)) || serves(seat.own, old.cert, seat.name, nil, s.at) {
			t.Errorf("%s still knows the old authority", seat.name)
		}
	}
	s.authority = r.next
	if ph, err := s.Rotate(r); err != nil || len(ph.Stages) > 0 {
		t.Errorf("the same again: %+v %v", ph, err)
	}
}

func (s *State) allKnow(t *testing.T, after string) {
	t.Helper()
	for _, from := range s.seats {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(from.ca)
		for _, of := range s.seats {
			cert, err := parseCert(of.own)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: of.name, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
				t.Errorf("after %s %s does not know %s: %v", after, from.name, of.name, err)
			}
		}
	}
}

func TestACertificateRotationIsRefusedWhereAnAgentWouldMissIt(t *testing.T) {
	for name, spoil := range map[string]func(*State){
		"not reached":     func(s *State) { s.seats[1].reached, s.seats[1].why = false, "not reached" },
		"does not answer": func(s *State) { s.seats[2].report = nil },
		"unwell": func(s *State) {
			s.seats[0].report.Fit, s.seats[0].report.Why = false, "unwell"
		},
	} {
		s, r := rotating(t)
		spoil(s)
		if _, err := s.Rotate(r); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, r := rotating(t)
	r.OlderThan = 48 * time.Hour
	if ph, err := s.Rotate(r); err != nil || len(ph.Stages) > 0 {
		t.Errorf("a young authority: %+v %v", ph, err)
	}
}

// What status complains of then is what the rotation mends.
func TestAnAuthorityThatEndsSoonIsRotated(t *testing.T) {
	s, r := rotating(t)
	s.at = s.at.Add(authorityLife - 30*24*time.Hour)
	for i := range s.seats {
		own, err := issue(s.authority, s.seats[i].name, []netip.Addr{s.seats[i].addr}, s.at)
		if err != nil {
			t.Fatal(err)
		}
		s.seats[i].own = own.join()
	}
	if h := s.Health(); h.State != service.Degraded || !strings.Contains(h.Reason, "rotate certificates") {
		t.Errorf("status says %s: %s", h.State, h.Reason)
	}
	if ph, err := s.Rotate(r); err != nil || len(ph.Stages) == 0 {
		t.Errorf("%+v %v", ph, err)
	}
}

func TestACertificateThatEndsSoonIsSpokenOf(t *testing.T) {
	s, _ := rotating(t)
	if got := s.seats[0].expiry(s.at); got != "" {
		t.Error(got)
	}
	for when, word := range map[time.Duration]string{agentLife - 30*24*time.Hour: "ends on", agentLife + time.Hour: "ended on"} {
		if got := s.seats[0].expiry(s.at.Add(when)); !strings.Contains(got, word) {
			t.Errorf("%s: %q", word, got)
		}
	}
}
