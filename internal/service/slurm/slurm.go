// Package slurm is the workload manager: slurmctld on several heads with its
// state on the shared volume, slurmdbd on every one of them beside its
// database, and slurmd on the compute nodes, which fetch their configuration
// from the heads.
package slurm

import (
	"strings"

	"multihead/internal/service"
)

// Service is Slurm.
type Service struct{}

// New returns the service.
func New() *Service { return &Service{} }

// Name is the service's key in the cluster file.
func (*Service) Name() string { return "slurm" }

// After is the volume that holds the controllers' state and the database that
// holds the accounting.
func (*Service) After() []string { return []string{"glusterfs", "mariadb"} }

var (
	_ service.Service = (*Service)(nil)
	_ service.State   = (*State)(nil)
)

// The units and their drop-ins.
const (
	ctldUnit = "slurmctld.service"
	dbdUnit  = "slurmdbd.service"
	nodeUnit = "slurmd.service"

	ctldPort = 6817

	dropInDir  = "/etc/systemd/system/"
	dropInFile = ".d/multihead.conf"
	nodeEnv    = "/etc/default/multihead-slurmd"
	// confDir is where Slurm looks by itself; another directory of the file
	// gets links from here.
	confDir = "/etc/slurm"
	// marker shows that the state directory is the real one and not the
	// empty place where the volume should be.
	marker = ".multihead-state"
	// loaded is written after the running slurmctld took a changed file;
	// /run, because a restart takes it as well.
	loaded = "/run/multihead/slurmctld.loaded"
)

// packageNames is what the daemons' packages are called, by family.
type packageNames struct{ ctld, dbd, client, node []string }

var families = map[string]packageNames{
	"debian": {ctld: []string{"slurmctld"}, dbd: []string{"slurmdbd"}, client: []string{"slurm-client"}, node: []string{"slurmd"}},
	// EPEL's names; a site that builds its own with Slurm's spec file has
	// the same.
	"rhel": {ctld: []string{"slurm-slurmctld"}, dbd: []string{"slurm-slurmdbd"}, client: []string{"slurm"}, node: []string{"slurm-slurmd"}},
}

// familyOf reads /etc/os-release; what is not of the Red Hat family is taken
// for Debian's, for the base has refused everything else.
func familyOf(osRelease []byte) packageNames {
	for line := range strings.Lines(string(osRelease)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if key != "ID" && key != "ID_LIKE" {
			continue
		}
		for _, w := range strings.Fields(strings.Trim(value, `"'`)) {
			switch w {
			case "rhel", "fedora", "centos":
				return families["rhel"]
			}
		}
	}
	return families["debian"]
}
