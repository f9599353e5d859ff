// Package agentd puts the agent on every head and witness: its unit, what it
// reads, and the certificates by which agents know each other.
package agentd

import "multihead/internal/config"

// Name is the service's name, and its phase's.
const Name = "agent"

// Port is where agents listen for each other.
const Port = 9797

// MetricsPort is where an agent shows its metrics, on 127.0.0.1 alone and with
// nothing secret in them.
const MetricsPort = 9798

// Where the agent's files are on every host that has one.
const (
	Dir        = "/etc/multihead"
	ConfigFile = Dir + "/agent/cluster.yaml" // not my_multihead_cluster.yaml beside it, which is a person's
	pkiDir     = Dir + "/pki"
	CAFile     = pkiDir + "/ca.crt"    // by which an agent knows the others
	caPairFile = pkiDir + "/ca.pem"    // with its key; on heads only, for any of them can bring in another
	nextFile   = caPairFile + ".next"  // the authority of a rotation that has not ended, on heads
	PairFile   = pkiDir + "/agent.pem" // the agent's own certificate and key
	RunDir     = "/run/multihead"
	Socket     = RunDir + "/agent.sock" // where the tool asks the agent
	TrackFile  = RunDir + "/vip"        // what keepalived follows: 0 while the head may hold the address

	unitFile = "/etc/systemd/system/multihead-agent.service"
	unit     = "multihead-agent.service"
	binary   = "/usr/local/bin/multihead"
)

// Service is the agent.
type Service struct{}

// New returns the service.
func New() *Service { return &Service{} }

// Name implements service.Service.
func (*Service) Name() string { return Name }

// After implements service.Service: there is something to look at once all else
// is there. While it comes up, agents would only take the processor from it.
func (*Service) After() []string {
	return []string{"prepare", config.GlusterFS, config.MariaDB, config.Redis, config.Slurm, config.Keepalived}
}

// Wanted implements service.Chooser: every cluster has agents.
func (*Service) Wanted(*config.Cluster) bool { return true }
