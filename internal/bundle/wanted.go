package bundle

import (
	"fmt"
	"slices"
	"strings"
)

// Roles are what hosts of a cluster can be. Each role's packages are resolved by
// themselves, for packages of two roles may exclude each other.
func Roles() []string { return []string{"head", "compute", "witness"} }

// packages are what the services may ask a host for. The check before every `up`
// compares what its plan asks for with what a bundle has, so that a package missing
// here is named and nothing is begun.
func packages(role, release string) []string {
	everywhere := []string{"chrony", "tzdata", "ca-certificates"}
	slurm := []string{"munge", "slurm-client"}
	switch role {
	case "head":
		return slices.Concat(everywhere, slurm, []string{
			"glusterfs-server", "glusterfs-client", "attr", "nfs-common",
			"mariadb-server", "mariadb-client", "mariadb-backup", "galera-4", "socat",
			"redis-server", "redis-sentinel", "redis-tools",
			"slurmctld", "slurmdbd", "slurm-wlm-mysql-plugin",
			"keepalived",
		}, fenceAgents(release))
	case "compute":
		return slices.Concat(everywhere, slurm, []string{"slurmd", "glusterfs-client", "nfs-common"})
	case "witness":
		return slices.Concat(everywhere, []string{"galera-arbitrator-4", "glusterfs-server", "glusterfs-client", "attr", "redis-sentinel", "redis-tools"}, fenceAgents(release))
	}
	return nil
}

// fenceAgents are the agents of the devices that most sites have. Debian before 13
// has one package for all devices.
func fenceAgents(release string) []string {
	if release == "bookworm" || release == "bullseye" {
		return []string{"fence-agents"}
	}
	return []string{"fence-agents-ipmilan", "fence-agents-redfish", "fence-agents-apc", "fence-agents-virsh"}
}

// checkWord keeps what a person names from being taken for an option or an
// expression by the package manager.
func checkWord(what, word string) error {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune("+-.", r)
	}
	if word == "" || strings.HasPrefix(word, "-") || strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) >= 0 {
		return fmt.Errorf("%q is no name of a %s", word, what)
	}
	return nil
}

// Codename reads Debian's code name out of an /etc/os-release; it is empty for
// another distribution, and for a Debian that is not released.
func Codename(osRelease []byte) string {
	id, name := "", ""
	for line := range strings.Lines(string(osRelease)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch value = strings.Trim(value, `"'`); key {
		case "ID":
			id = value
		case "VERSION_CODENAME":
			name = value
		}
	}
	if id != "debian" {
		return ""
	}
	return name
}
