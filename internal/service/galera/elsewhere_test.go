package galera

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"multihead/internal/host/hosttest"
	"multihead/internal/service"
)

func TestParseMembers(t *testing.T) {
	two, six := netip.MustParseAddr("192.0.2.12"), netip.MustParseAddr("2001:db8::1")
	for in, want := range map[string][]netip.Addr{
		"[mysqld]\nwsrep_cluster_address = \"gcomm://192.0.2.12,[2001:db8::1]\"\n": {two, six},
		"wsrep_cluster_address=gcomm://192.0.2.12?pc.wait_prim=no\n":               {two},
		"# wsrep_cluster_address = \"gcomm://192.0.2.12\"\n":                       nil,
		"wsrep_cluster_address = \"gcomm://\"\n":                                   nil,
		"wsrep_cluster_address = \"gcomm://head2,192.0.2.12\"\n":                   {two},
		"": nil,
	} {
		if got := parseMembers([]byte(in)); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
	members, err := stateOf(blank("s1"), blank("s2")).members()
	if err != nil || !slices.Equal(parseMembers(members), []netip.Addr{netip.MustParseAddr("192.0.2.11"), two}) {
		t.Errorf("our own file: %v", parseMembers(members))
	}
}

// A head that the file does not name any more, at an address that the others have on
// disk from before.
func TestNothingIsBegunBesideWhoAnswersAndIsNotInTheFile(t *testing.T) {
	const old = "192.0.2.99:4567"
	takes := func(context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		return near, far.Close()
	}
	refuses := func(context.Context) (net.Conn, error) { return nil, syscall.ECONNREFUSED }
	for name, c := range map[string]struct {
		members string
		dial    hosttest.Dialer
		found   bool
	}{
		"it answers":             {"192.0.2.11,192.0.2.12,192.0.2.99", takes, true},
		"nobody answers there":   {"192.0.2.11,192.0.2.12,192.0.2.99", refuses, false},
		"nobody knows of others": {"192.0.2.11,192.0.2.12", takes, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := hosttest.New("s1").File(debian.membersFile(), "[mysqld]\nwsrep_cluster_address = \"gcomm://"+c.members+"\"\n").OnDial("tcp", old, c.dial)
			s := stateOf(stopped("s1", uuidA, 9, true), lost("s2"))
			s.elsewhere = strangers(t.Context(), []service.Node{{Reader: m}, {}}, s.nodes)
			if slices.Equal(s.elsewhere, []string{"192.0.2.99"}) != c.found || len(s.elsewhere) > 0 != c.found {
				t.Fatalf("%v", s.elsewhere)
			}
		})
	}
	for name, nodes := range map[string][]node{
		"nothing is there": {blank("s1"), blank("s2")},
		"stopped in order": {stopped("s1", uuidA, 9, true), stopped("s2", uuidA, 9, false)},
		"power was lost":   {crashed("s1", 9, 5, 1, 2, 3), crashed("s2", 9, 5, 1, 2, 3)},
		"one serves":       {live("s1", uuidA), crashed("s2", 9, 5, 1, 2, 3)},
	} {
		s := stateOf(nodes...)
		s.elsewhere = []string{"192.0.2.99"}
		_, up := s.Plan(auto)
		_, recover := s.Recover(auto)
		for verb, err := range map[string]error{"up": up, "recover": recover} {
			var r *service.Refusal
			refused := errors.As(err, &r) && strings.Contains(r.Reason, "192.0.2.99")
			if want := name != "one serves" && !(verb == "recover" && !strings.HasPrefix(name, "power")); refused != want {
				t.Errorf("%s, %s: %v", name, verb, err)
			}
		}
		if _, err := s.Recover(service.Intent{Confirmed: true}); err != nil {
			t.Errorf("%s, and a person said so: %v", name, err)
		}
	}
}
