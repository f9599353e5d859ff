package gluster

import (
	"strconv"
	"strings"
)

// Where glusterd keeps its own truth on every head of the pool. It is written
// before a command answers, and it can be read while glusterd hangs or is off.
const (
	storeDir  = "/var/lib/glusterd"
	peersDir  = storeDir + "/peers"
	volsDir   = storeDir + "/vols"
	pidDir    = "/run/gluster/vols"
	idFile    = storeDir + "/glusterd.info"
	indexPath = ".glusterfs/indices/xattrop" // below a brick: what has to be healed elsewhere
)

// volStatus is a volume's state as the store writes it.
type volStatus int

// The states of a volume.
const (
	volCreated volStatus = 0
	volStarted volStatus = 1
	volStopped volStatus = 2
)

// brick is one copy of the volume. Path has every slash written as a minus, as
// in the store: the way back is not unique.
type brick struct {
	Host string
	Path string
}

// brickAt is the brick of a path on a host.
func brickAt(host, path string) brick {
	return brick{host, strings.ReplaceAll(path, "/", "-")}
}

// volume is what the store says of a volume.
type volume struct {
	ID      string
	Status  volStatus
	Replica int // bricks of which each has every name: the copies, and the arbiter's
	// Arbiters is how many of the bricks have no content: 0, or 1, which is the last.
	Arbiters int
	Bricks   []brick
	Options  map[string]string
}

// storeKeys are the lines of a volume's file that are no options. username
// and password let glusterd's own clients in: they are never kept.
var storeKeys = map[string]bool{
	"type": true, "count": true, "status": true, "sub_count": true, "stripe_count": true, "replica_count": true,
	"arbiter_count": true, "thin_arbiter_count": true, "disperse_count": true, "redundancy_count": true,
	"version": true, "transport-type": true, "volume-id": true, "username": true, "password": true,
	"op-version": true, "client-op-version": true, "quota-version": true, "tier-enabled": true,
	"parent_volname": true, "restored_from_snap": true, "snap-max-hard-limit": true,
}

// parseVolume reads VOLUME/info of the store.
func parseVolume(data []byte) *volume {
	v := &volume{Replica: 1, Options: map[string]string{}, Status: -1}
	for line := range strings.Lines(string(data)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || key == "" {
			continue
		}
		switch {
		case key == "volume-id":
			v.ID = value
		case key == "status":
			if n, err := strconv.Atoi(value); err == nil {
				v.Status = volStatus(n)
			}
		case key == "replica_count":
			if n, err := strconv.Atoi(value); err == nil {
				v.Replica = n
			}
		case key == "arbiter_count":
			if n, err := strconv.Atoi(value); err == nil && n >= 0 {
				v.Arbiters = n
			}
		case strings.HasPrefix(key, "brick-"):
			// 192.0.2.11:-data-glusterfs-brick; an IPv6 address has colons too.
			if i := strings.LastIndex(value, ":"); i > 0 {
				v.Bricks = append(v.Bricks, brick{value[:i], value[i+1:]})
			}
		case !storeKeys[key]:
			v.Options[key] = value
		}
	}
	return v
}

// has says whether the volume has that brick.
func (v *volume) has(b brick) bool {
	if v == nil {
		return false
	}
	for _, have := range v.Bricks {
		if have == b {
			return true
		}
	}
	return false
}

// peer is another member of the pool as the store knows it.
type peer struct {
	UUID  string
	State int      // 3 is a full member
	Names []string // addresses and names that it goes by
}

// peerInCluster is the state of a full member.
const peerInCluster = 3

func (p peer) named(name string) bool {
	for _, n := range p.Names {
		if n == name {
			return true
		}
	}
	return false
}

func parsePeer(data []byte) peer {
	var p peer
	for line := range strings.Lines(string(data)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		switch {
		case !ok:
		case key == "uuid":
			p.UUID = value
		case key == "state":
			p.State, _ = strconv.Atoi(value)
		case strings.HasPrefix(key, "hostname"):
			p.Names = append(p.Names, value)
		}
	}
	return p
}

// parseUUID reads this head's identity in the pool from glusterd.info.
func parseUUID(data []byte) string {
	for line := range strings.Lines(string(data)) {
		if id, ok := strings.CutPrefix(strings.TrimSpace(line), "UUID="); ok {
			return id
		}
	}
	return ""
}
