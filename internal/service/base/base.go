// Package base makes hosts fit to be one cluster: the tool itself, names,
// accounts with the same numbers, one clock, and one munge key.
package base

import (
	"strings"

	"multihead/internal/config"
)

// Service is the base of every host. It is no switch in the cluster file:
// every host has it.
type Service struct{}

// New returns the service.
func New() *Service { return &Service{} }

// Name is the phase's name: what it does, for people to whom "base" says
// nothing.
func (*Service) Name() string { return "prepare" }

// After is nothing: every other phase comes after this one.
func (*Service) After() []string { return nil }

// family is what a distribution calls things.
type family struct {
	packages   []string // on every host
	munge      []string // on hosts with Slurm
	chronyUnit string
	chronyConf string
	// dropIn is where chrony reads further files; empty where its own file
	// names no such directory and has to be given a block of ours.
	dropIn string
}

// families by the ID and ID_LIKE words of /etc/os-release.
var families = map[string]family{
	"debian": {
		packages:   []string{"chrony", "tzdata"},
		munge:      []string{"munge"},
		chronyUnit: "chrony.service",
		chronyConf: "/etc/chrony/chrony.conf",
		dropIn:     "/etc/chrony/conf.d/multihead.conf",
	},
	"rhel": {
		packages:   []string{"chrony", "tzdata"},
		munge:      []string{"munge"}, // from EPEL, or the site's own repository
		chronyUnit: "chronyd.service",
		chronyConf: "/etc/chrony.conf",
	},
}

// familyOf picks the family of an /etc/os-release. Words are tried from the
// most particular to the most general: "rocky" is no family, its "rhel" is.
func familyOf(osRelease []byte) (family, bool) {
	var id, like []string
	for line := range strings.Lines(string(osRelease)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		words := strings.Fields(strings.Trim(value, `"'`))
		switch key {
		case "ID":
			id = words
		case "ID_LIKE":
			like = words
		}
	}
	for _, word := range append(id, like...) {
		switch word {
		case "fedora", "centos":
			word = "rhel"
		case "ubuntu":
			word = "debian"
		}
		if f, ok := families[word]; ok {
			return f, true
		}
	}
	return family{}, false
}

// usesSlurm says whether munge and the slurm account are needed at all.
func usesSlurm(c *config.Cluster) bool { return len(c.HeadsWith(config.Slurm)) > 0 }
