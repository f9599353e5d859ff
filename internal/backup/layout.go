// Package backup makes snapshots of a cluster, keeps as many as the file asks
// for, and brings back what they hold. Restic stores them: deduplicated,
// encrypted, on the local disk of every head. What is decided here is pure; the
// work itself is done on the heads by Work, as `multihead backup-work`.
package backup

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"multihead/internal/config"
)

// KeyFile holds the password of all repositories of the cluster. Root alone may
// read it; restic is told its path, never its content.
const KeyFile = "/etc/multihead/backup.key"

// Port is where a head offers its repository to the other heads, while they copy
// a new snapshot and at no other time.
const Port = 9799

// IDFormat is a snapshot's id: when it was begun, in the heads' time zone.
const IDFormat = "20060102_150405"

var idPattern = regexp.MustCompile(`^\d{8}_\d{6}$`)

// ValidID says whether a text is a snapshot's id. Ids become paths.
func ValidID(id string) bool {
	_, err := time.Parse(IDFormat, id)
	return err == nil && idPattern.MatchString(id)
}

// Layout is where things lie under the configured directory.
type Layout struct{ Root string }

// Repository is restic's.
func (l Layout) Repository() string { return path.Join(l.Root, "repository") }

// Staging holds what is being collected.
func (l Layout) Staging() string { return path.Join(l.Root, "staging") }

// Restoring holds what is being brought back.
func (l Layout) Restoring() string { return path.Join(l.Root, "restoring") }

// Snapshot is the directory of one snapshot's description.
func (l Layout) Snapshot(id string) string { return path.Join(l.Root, "snapshots", id) }

// The items of shared_storage.backup.items.
const (
	Configs       = "configs"
	Databases     = "databases" // MariaDB and Redis
	SlurmState    = "slurm_state"
	GlusterFSMeta = "glusterfs_meta"
	Volume        = "volume" // the files on the shared volume
)

// Wanted is the items that a cluster file asks for: all but the volume's files
// where it names none.
func Wanted(c *config.Cluster) []string {
	items := c.SharedStorage.Backup.Items
	if len(items) == 0 {
		return []string{Configs, Databases, SlurmState, GlusterFSMeta}
	}
	return slices.Clone(items)
}

// Metadata is metadata.json: what a snapshot holds. It lies beside the
// repository of each head, and in the snapshot itself.
type Metadata struct {
	Version   int               `json:"version"` // of this format: 1
	ID        string            `json:"id"`
	Time      time.Time         `json:"time"`
	Host      string            `json:"host"` // the head that made it
	Cluster   string            `json:"cluster"`
	Heads     []string          `json:"heads"`
	Size      int               `json:"cluster_size"` // heads
	Items     []string          `json:"items"`
	Full      bool              `json:"full"`
	Software  map[string]string `json:"software"`
	Databases []Database        `json:"databases,omitempty"`
	Redis     []Keyspace        `json:"redis,omitempty"`
	Queue     *Queue            `json:"queue,omitempty"`       // of Slurm; nil where it did not say
	Mount     string            `json:"mount_point,omitempty"` // where the volume was, if its files are part of it
	Staging   string            `json:"staging"`               // where Files were
	Files     []File            `json:"files"`
	Bytes     int64             `json:"bytes"` // of Files
	Warnings  []string          `json:"warnings,omitempty"`
}

// File is one collected file.
type File struct {
	Path   string `json:"path"` // below the staging directory
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256"`
}

// Database is one database as it was dumped.
type Database struct {
	Name    string   `json:"name"`
	Create  string   `json:"create"` // character set and collation, as CREATE DATABASE takes them
	Tables  []string `json:"tables"`
	Views   []string `json:"views,omitempty"`
	Rows    string   `json:"file"`               // of the tables, below the staging directory
	Objects string   `json:"objects"`            // of views, triggers, routines and events
	ViewsAt int64    `json:"views_at,omitempty"` // where in Objects the views begin, in bytes; 0 is not known
	SHA256  string   `json:"sha256"`             // of Rows
}

// Keyspace is what one Redis master held.
type Keyspace struct {
	Master string `json:"master"` // address and port
	From   string `json:"from"`   // who was asked: a replica of it, where there was one
	File   string `json:"file"`   // below the staging directory
}

// version of Metadata that this tool writes and reads.
const version = 1

// Check refuses a description that this tool cannot work with.
func (m Metadata) Check() error {
	switch {
	case m.Version != version:
		return fmt.Errorf("metadata.json is of version %d, and this multihead reads version %d: use the multihead that made it (%s)", m.Version, version, m.Software["multihead"])
	case !ValidID(m.ID):
		return fmt.Errorf("metadata.json: %q is no snapshot id", m.ID)
	case !path.IsAbs(m.Staging):
		return errors.New("metadata.json does not say where the files were collected")
	}
	for _, f := range m.Files {
		if !clean(f.Path) {
			return fmt.Errorf("metadata.json: the path %q leads elsewhere", f.Path)
		}
	}
	return nil
}

// clean says whether a relative path stays where it is put.
func clean(p string) bool {
	return p != "" && !path.IsAbs(p) && path.Clean(p) == p && p != ".." && !strings.HasPrefix(p, "../")
}

// Stored is a snapshot as one head has it.
type Stored struct {
	Metadata
	Restic   string     `json:"restic_snapshot"`    // its id in this head's repository; empty where it is gone
	Verified *time.Time `json:"verified,omitempty"` // last read back and found whole
	Bad      string     `json:"bad,omitempty"`      // what the last verification found
	Offsite  *Offsite   `json:"offsite,omitempty"`  // nil where this head copied it nowhere else
}
