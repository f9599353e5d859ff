// Package backup puts onto every head what backups need: restic, the password of
// the repositories, and the timers. What a backup is, package internal/backup
// knows.
package backup

import (
	"multihead/internal/config"
)

// Name is the service's name, and its phase's.
const Name = "backup"

const (
	unitDir    = "/etc/systemd/system/"
	repository = "restic" // the package
)

// Service is the schedule of backups.
type Service struct{}

// New returns the service.
func New() *Service { return &Service{} }

// Name implements service.Service.
func (*Service) Name() string { return Name }

// After implements service.Service: the timers ask the agent who acts for the
// cluster.
func (*Service) After() []string { return []string{"prepare", "agent"} }

// Wanted implements service.Chooser. Where backups were switched off, timers that
// are there still fire, and find in the file that there is nothing to do.
func (*Service) Wanted(c *config.Cluster) bool { return c.SharedStorage.Backup.Enabled }
