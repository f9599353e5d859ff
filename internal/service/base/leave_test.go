package base

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"multihead/internal/config"
	"multihead/internal/host/hosttest"
	"multihead/internal/service"
)

func TestTheMungeKeyGoesFromAComputeNodeThatLeaves(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 128)
	state := func(change func(*State)) *State {
		c := &config.Cluster{}
		c.Nodes.Controllers = []config.Controller{{HostSpec: config.HostSpec{Hostname: "h1"}, Services: config.Services{Slurm: true}}}
		s := &State{cluster: c}
		for _, name := range []string{"h1", "n1", "n2"} {
			l := look{name: name, head: name == "h1", member: true, reached: true}
			l.key = keyring{host: name, head: l.head, has: service.Yes, key: key}
			s.hosts = append(s.hosts, l)
		}
		if change != nil {
			change(s)
		}
		return s
	}
	for name, c := range map[string]struct {
		change  func(*State)
		leaves  string
		want    string
		refused bool
	}{
		"a compute node":          {nil, "n1", "munge.leave/n1 munge.forget/n1 munge.forget.kept/n1", false},
		"one that is gone":        {func(s *State) { s.hosts[1].reached = false }, "n1", "", false},
		"a head that stays one":   {nil, "h1", "", false},
		"the key is nowhere else": {func(s *State) { s.hosts[0].key = keyring{host: "h1", head: true, has: service.No} }, "n1", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			ph, err := state(c.change).Leave(service.Intent{LeavingComputes: []string{c.leaves}})
			var got []string
			for _, st := range ph.Stages {
				for _, s := range st.Steps {
					got = append(got, strings.TrimPrefix(s.ID, "base.")+"/"+s.Host)
				}
			}
			var refused *service.Refusal
			if strings.Join(got, " ") != c.want || errors.As(err, &refused) != c.refused || err != nil && !c.refused {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

func TestKeysThatWereKeptAsideGoToo(t *testing.T) {
	m := hosttest.New("n1").Dir("/etc/munge").File(mungeKey, "now").File(keptKeys+"19700101T000000Z", "old").File(nextKey, "next").File("/etc/munge/README", "x")
	a := withoutKeptKeys()
	if done, err := a.Done(t.Context(), m); done || err != nil {
		t.Fatal(done, err)
	}
	undo, err := a.Do(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	if done, err := a.Done(t.Context(), m); !done || err != nil {
		t.Error(done, err)
	}
	for _, f := range []string{mungeKey, "/etc/munge/README"} {
		if _, err := m.Stat(t.Context(), f); err != nil {
			t.Error(err)
		}
	}
	if _, err := undo.Do(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{keptKeys + "19700101T000000Z", nextKey} {
		if _, err := m.Stat(t.Context(), f); err != nil {
			t.Error(err)
		}
	}
}
