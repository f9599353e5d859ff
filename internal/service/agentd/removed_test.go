package agentd

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"multihead/internal/service"
)

func TestACertificateIsRefusedOnceItsHeadHasLeft(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ca, err := newAuthority("site", now)
	if err != nil {
		t.Fatal(err)
	}
	before, err := issue(ca, "s3", []netip.Addr{netip.MustParseAddr("192.0.2.13")}, now)
	if err != nil {
		t.Fatal(err)
	}
	later, err := issue(ca, "s3", []netip.Addr{netip.MustParseAddr("192.0.2.14")}, now.Add(2*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	left := Removed{"s3": now.Add(time.Minute)}
	for name, c := range map[string]struct {
		host string
		pem  []byte
		want bool
	}{
		"the one it had":                         {"s3", before.cert, true},
		"one of a host that took its name later": {"s3", later.cert, false},
		"that of another":                        {"s2", before.cert, false},
	} {
		if got := left.refusesPEM(c.host, c.pem); got != c.want {
			t.Errorf("%s: refused %t", name, got)
		}
	}
	s := &State{seats: []seat{{name: "s3", head: true, reached: true, caPair: ca, own: before.join(), addr: netip.MustParseAddr("192.0.2.13")}}, issued: map[string]pair{}, removed: left}
	if err := s.certify("site", now.Add(3*time.Minute)); err != nil || s.issued["s3"].empty() {
		t.Errorf("brought in again it keeps the certificate that the others refuse (%v)", err)
	}
}

func TestAHeadTakenOutByAClockThatIsAheadComesBack(t *testing.T) {
	now := time.Now()
	s := &State{seats: agents(), issued: map[string]pair{}, removed: Removed{"s3": now.Add(5 * time.Hour).Truncate(time.Second)}} // as it is written down
	if err := s.certify("site", now); err != nil || s.issued["s3"].empty() {
		t.Fatal(err)
	}
	if s.removed.refusesPEM("s3", s.issued["s3"].cert) {
		t.Error("it gets a certificate that the others refuse")
	}
	if !serves(s.issued["s3"].cert, s.authority.cert, "s3", []netip.Addr{s.seats[2].addr}, now) {
		t.Error("its certificate is of no use yet")
	}
}

func TestWhoLeftIsRememberedOnAllThatStay(t *testing.T) {
	old := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := &State{seats: agents(), stamp: "20260102T030405Z", removed: Removed{"s0": old, "s3": old}}
	steps := s.removedSteps(service.Intent{Leaving: []string{"s3"}})
	var hosts []string
	for _, step := range steps {
		hosts = append(hosts, step.Host)
	}
	if strings.Join(hosts, " ") != "s1 s2 w1" {
		t.Errorf("on %v", hosts)
	}
	back, err := ParseRemoved(Removed{"s0": old, "s3": old.Add(27 * time.Hour)}.text())
	if err != nil || len(back) != 2 || !back["s0"].Equal(old) {
		t.Errorf("%v %v", back, err)
	}
}

func FuzzRemoved(f *testing.F) {
	f.Add([]byte("# x\ns3 20260102T030405Z\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseRemoved(data)
		if err != nil {
			return
		}
		again, err := ParseRemoved(r.text())
		if err != nil || len(again) != len(r) {
			t.Errorf("%q: %v, then %v %v", data, r, again, err)
		}
	})
}
