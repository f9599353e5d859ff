package redis

import (
	"slices"
	"strings"
	"testing"

	"multihead/internal/config"
)

func TestHashesIn(t *testing.T) {
	a, b := passwordHash(config.NewSecret("a")), passwordHash(config.NewSecret("b"))
	if a != "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb" {
		t.Errorf("the hash of a is %s", a)
	}
	tests := []struct {
		name, file string
		want       []string
	}{
		{"nothing written down", "include /etc/redis/multihead-6379.conf\n", nil},
		{"one", "user default on sanitize-payload #" + a + " ~* &* +@all\n", []string{a}},
		{"two", "port 1\nuser default on #" + a + " #" + b + " ~* &* +@all\n", []string{a, b}},
		{"another user's", "user other on #" + a + " ~* +@all\n", nil},
		{"no hash", "user default on #" + a[:40] + " nopass\n", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := hashesIn([]byte(tt.file)); !slices.Equal(got, tt.want) {
				t.Errorf("%v", got)
			}
		})
	}
}

func TestWhatCannotOverlapIsRefused(t *testing.T) {
	to := func(p string) *config.Cluster {
		c := &config.Cluster{}
		c.Redis.Cluster.Password = config.NewSecret(p)
		return c
	}
	with := func(p string) *State {
		s := &State{}
		s.wanted.conf.Password = config.NewSecret(p)
		return s
	}
	if ph, err := with("a").Accept(to("a")); err != nil || len(ph.Stages) > 0 {
		t.Errorf("the same password: %+v %v", ph, err)
	}
	for name, s := range map[string]*State{"no rotation": with(""), "the sentinel on w1": func() *State {
		s := with("a")
		s.heads = []head{{name: "s1", voter: voter{answer: running}}}
		s.witnesses = []voter{{name: "w1"}}
		return s
	}(), "does not run": func() *State {
		s := with("a")
		s.heads = []head{{name: "s1", servers: []server{{answer: absent, managed: true}}}}
		return s
	}()} {
		if _, err := s.Accept(to("b")); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatASentinelProvesItselfBy(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		want bool
	}{
		"as we write it":         {"sentinel sentinel-pass \"new\"\nsentinel auth-pass " + sentinelGroup + " \"new\"\n", true},
		"as the sentinel does":   {"sentinel auth-pass " + sentinelGroup + " new\nport 1\nsentinel sentinel-pass new\n", true},
		"one of them is old":     {"sentinel auth-pass " + sentinelGroup + " old\nsentinel sentinel-pass new\n", false},
		"one of them is missing": {"sentinel auth-pass " + sentinelGroup + " new\n", false},
	} {
		if got := usesPassword([]byte(c.file), config.NewSecret("new")); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
