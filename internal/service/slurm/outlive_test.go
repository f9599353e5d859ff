package slurm

import (
	"testing"

	"multihead/internal/config"
	"multihead/internal/service"
)

func TestTheFirstControllerThatLivesSucceeds(t *testing.T) {
	conf := []byte("ClusterName=hpc\nSlurmctldHost=server1(192.0.2.11)\nSlurmctldHost=server2(192.0.2.12)\nSlurmctldHost=server3(192.0.2.13)\n")
	for _, tt := range []struct {
		name, self, silent string
		living             []string
		index              int
		want               bool
	}{
		{"the next one", "server2", "server1", []string{"server2", "server3"}, 1, true},
		{"one after that", "server3", "server1", []string{"server2", "server3"}, 2, false},
		{"the next one does not live", "server3", "server1", []string{"server3", "server4"}, 2, true},
		{"the first one in the place of the second", "server1", "server2", []string{"server1", "server3"}, 0, true},
		{"a head that is no controller", "server4", "server1", []string{"server4"}, 0, false},
		{"who is silent is no controller", "server1", "server4", []string{"server1", "server2"}, 0, false},
	} {
		index, got := successor(conf, tt.self, service.Silence{Head: config.HostSpec{Hostname: tt.silent}, Living: tt.living})
		if got != tt.want || got && index != tt.index {
			t.Errorf("%s: %d %v", tt.name, index, got)
		}
	}
}
