package main

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"multihead/internal/cluster"
	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/host/hosttest"
)

// line is a connection that a test cuts.
type line struct {
	*hosttest.Machine
	alive, closed bool
}

func (l *line) Alive() bool  { return l.alive }
func (l *line) Close() error { l.closed = true; return nil }

func TestOnlyWhatIsNotConnectedIsReachedAgain(t *testing.T) {
	stands := &line{Machine: hosttest.New("server1"), alive: true}
	cut := &line{Machine: hosttest.New("server2")}
	s := &session{view: &cluster.View{Hosts: map[string]host.Host{"server1": stands, "server2": cut}}}
	var specs []config.HostSpec
	for _, name := range []string{"server1", "server2", "server3", "server4"} {
		specs = append(specs, config.HostSpec{Hostname: name})
	}
	fresh := &line{Machine: hosttest.New("server2"), alive: true}
	asked := map[string]bool{}
	reached, failed, err := s.keeping(func(_ context.Context, specs []config.HostSpec) (map[string]host.Host, map[string]error, error) {
		for _, spec := range specs {
			asked[spec.Hostname] = true
		}
		return map[string]host.Host{"server2": fresh, "server3": hosttest.New("server3")}, map[string]error{"server4": errors.New("off")}, nil
	})(t.Context(), specs)
	if err != nil || asked["server1"] || len(asked) != 3 {
		t.Errorf("%v, asked %v", err, asked)
	}
	if reached["server1"] != host.Host(stands) || reached["server2"] != host.Host(fresh) || reached["server3"] == nil || failed["server4"] == nil {
		t.Errorf("reached %v, failed %v", reached, failed)
	}
	if stands.closed || !cut.closed {
		t.Errorf("closed: what stands %v, what was cut %v", stands.closed, cut.closed)
	}
}

func TestAnotherMachineOfTheSameNameIsReachedAnew(t *testing.T) {
	old := &line{Machine: hosttest.New("server2"), alive: true}
	before := &config.Cluster{}
	before.Nodes.Controllers = []config.Controller{{HostSpec: config.HostSpec{Hostname: "server2", Address: netip.MustParseAddr("10.0.0.2")}}}
	s := &session{view: &cluster.View{Cluster: before, Hosts: map[string]host.Host{"server2": old}}}
	fresh := &line{Machine: hosttest.New("server2"), alive: true}
	reached, _, err := s.keeping(func(context.Context, []config.HostSpec) (map[string]host.Host, map[string]error, error) {
		return map[string]host.Host{"server2": fresh}, nil, nil
	})(t.Context(), []config.HostSpec{{Hostname: "server2", Address: netip.MustParseAddr("10.0.0.9")}})
	if err != nil || reached["server2"] != host.Host(fresh) || !old.closed {
		t.Errorf("%v: the machine that was replaced is taken for the new one (closed: %v)", err, old.closed)
	}
}
