package redis

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"multihead/internal/config"
)

// Mode is what Redis runs as.
type Mode string

// The modes.
const (
	modeCluster    Mode = config.RedisCluster
	modeSentinel   Mode = config.RedisSentinel
	modeStandalone Mode = config.RedisStandalone
)

// Paths of Debian's packages. The unit template redis-server@ reads
// redis-NAME.conf, lets the server write below dataRoot, logRoot and confRoot
// only, and gives it /run/redis-NAME.
const (
	confRoot    = "/etc/redis"
	dataRoot    = "/var/lib/redis"
	defaultUnit = "redis-server.service" // the one server that the package itself sets up
	defaultPort = 6379
	tailPath    = "/usr/local/lib/multihead/redis-tail"
)

// sentinelGroup is the name by which clients ask sentinels for the master: the
// one that Debian's own example and most clients' documentation have.
const sentinelGroup = "mymaster"

// instance is one Redis server of a head: number 0 is the head's own master,
// the further ones hold copies of other heads' masters. Numbers say where an
// instance begins; a failover makes masters of copies, and that stays so.
type instance struct {
	Host   string // hostname of the head
	Addr   netip.Addr
	Number int
	Port   int
}

// addr is where the other hosts reach it.
func (i instance) addr() string { return net.JoinHostPort(i.Addr.String(), strconv.Itoa(i.Port)) }

// local is where its own host reaches it.
func (i instance) local() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(i.Port)) }

func (i instance) unit() string     { return fmt.Sprintf("redis-server@%d.service", i.Port) }
func (i instance) dropIn() string   { return "/etc/systemd/system/" + i.unit() + ".d/multihead.conf" }
func (i instance) nodeFile() string { return fmt.Sprintf("nodes-%d.conf", i.Port) }
func (i instance) String() string   { return fmt.Sprintf("%s:%d", i.Host, i.Port) }

// settingsFile is ours: Redis reads it and cannot write it.
func (i instance) settingsFile() string { return fmt.Sprintf(confRoot+"/multihead-%d.conf", i.Port) }

// StateFile is Redis's own: what it is started with. It includes the settings
// file, and a sentinel that makes a server a replica has it written down here,
// so that the role outlives a restart.
func (i instance) StateFile() string { return fmt.Sprintf(confRoot+"/redis-%d.conf", i.Port) }

// dir holds its data. The server on Redis's usual port keeps the package's own
// directory, so that one that was set up by hand before keeps its files there.
func (i instance) dir() string {
	if i.Port == defaultPort {
		return dataRoot
	}
	return fmt.Sprintf(dataRoot+"/%d", i.Port)
}

// aside is where files are kept that are in the way. It lies outside of
// dataRoot, which goes with the package when that is purged.
func (i instance) aside() string { return fmt.Sprintf("/var/lib/redis-aside-%d", i.Port) }

// sentinelPort is the usual one, unless the servers use it.
func sentinelPort(port int) int {
	if port == 26379 {
		return 26378
	}
	return 26379
}

func sentinelUnit(port int) string { return fmt.Sprintf("redis-sentinel@%d.service", port) }
func sentinelFile(port int) string { return fmt.Sprintf(confRoot+"/sentinel-%d.conf", port) }
func sentinelDropIn(port int) string {
	return "/etc/systemd/system/" + sentinelUnit(port) + ".d/multihead.conf"
}

// splitAddr is the reverse of joinAddr.
func splitAddr(addr string) (host, port string) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr, ""
	}
	return host, port
}
