// Package gluster is the storage that every head sees: a replicated GlusterFS
// volume with a brick on each head, or an NFS export or an existing mount in
// its place.
package gluster

import (
	"net/netip"
	"time"

	"multihead/internal/config"
	"multihead/internal/service"
)

// Service is the shared storage.
type Service struct{}

// New returns the service.
func New() *Service { return &Service{} }

// Name implements service.Service.
func (*Service) Name() string { return config.GlusterFS }

// After implements service.Service.
func (*Service) After() []string { return []string{"prepare"} }

// Marker is the file in the root of the volume that shows a directory to be
// the mounted volume: an unmounted mount point is an empty directory that
// takes every write.
const Marker = ".multihead-volume"

// State is what was found of the volume on the heads.
type State struct {
	conf  config.GlusterFSConfig
	dirs  []directory // made on the volume
	heads []head      // those with a brick, then those that only mount; each in the file's order
	// witnesses may have the arbiter's brick, see arbiter.go.
	witnesses  []head
	voter      string     // the one of them that is to have it; empty where the file asks for none
	fleeting   []string   // names on the volume whose content is of no worth a second later
	mismatches []mismatch // names that stand for different files on the bricks
	decided    bool       // recovery has decided these a short while ago
	inVain     bool       // it has decided these once, however long ago, and they are still there
	stamp      string     // names what this run keeps aside
}

// head is one head that has a brick or mounts the volume, or a witness.
type head struct {
	name    string
	addr    netip.Addr
	brick   bool // it has a brick; otherwise it only mounts
	witness bool // its brick is the arbiter's, and it does not mount
	reached bool
	why     string // why something is not known of it
	dead    string // what proves that it is switched off; empty where nothing does

	daemon   service.Answer // glusterd runs and answers
	uuid     string         // in the pool; empty where it has none or it is not known
	store    service.Answer // the store could be read: No is "there is none"
	peers    []peer
	down     []string // members of the pool that its glusterd does not reach
	rejected []string // members whose configuration contradicts this head's
	vol      *volume  // nil where the store has no such volume
	others   []string // further volumes of the store

	data     service.Answer // its brick directory holds something
	dataID   string         // volume that the directory is or was a brick of
	running  service.Answer // its brick serves
	onRoot   bool           // the brick path lies on the root file system
	isMount  bool           // the brick path is itself a mount point
	pending  int            // entries waiting to be healed from its brick; -1 is unknown
	waiting  []string       // what they are: some of the identities
	stuck    time.Duration  // how long the set of those entries has not changed
	lookedUp bool           // it has been looked up by name since

	past         map[string]past // of its units, where something does not serve
	frozenDaemon int             // process number of a glusterd that a signal has stopped, 0 for none
	frozenBrick  int             // of such a brick
	frozenClient int             // of such a client of the mounted volume

	mounted service.Answer
	source  string         // what is mounted there
	answers service.Answer // the mounted volume serves
	marker  string         // what the marker file says
	hides   []string       // what the mount point holds while nothing is mounted
	size    int64          // of the volume, in bytes; 0 is unknown
	used    int64          // bytes
	splits  int            // entries in split-brain as this head was told; -1 is unknown
}

// directory is made on the volume.
type directory struct {
	path  string // relative to the volume
	owner string
	group string
	mode  uint32
}

var _ service.State = (*State)(nil)

// bricks is the heads that have a copy by the file.
func (s *State) bricks() []head {
	var out []head
	for _, h := range s.heads {
		if h.brick {
			out = append(out, h)
		}
	}
	return out
}

func (s *State) head(name string) *head {
	for _, h := range s.hosts() {
		if h.name == name {
			return h
		}
	}
	return nil
}

// own is the brick of a head.
func (s *State) own(h *head) brick { return brickAt(h.addr.String(), s.conf.BrickPath) }

// Wanted says whether the file asks for shared storage: of our own, of an NFS
// server or mounted by somebody else.
func (*Service) Wanted(c *config.Cluster) bool {
	return len(c.HeadsWith(config.GlusterFS)) > 0 ||
		c.SharedStorage.Type == config.StorageNFS || c.SharedStorage.Type == config.StorageExisting
}
