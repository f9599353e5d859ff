package redis

import (
	"net/netip"
	"time"

	"multihead/internal/config"
	"multihead/internal/service"
)

// State is what was found, with the part of the file that it is held against.
// It is data: everything asked of it is decided without another look.
type State struct {
	wanted    wanted
	heads     []head // in the file's order
	witnesses []voter
}

// wanted is what the cluster file asks for.
type wanted struct {
	mode     Mode
	kind     string // redis.type as written
	port     int
	replicas int
	conf     config.RedisServer
	memoryMB map[string]int // of heads whose hardware the file describes
}

// head is one head with redis, and its servers as they were found.
type head struct {
	name    string
	addr    netip.Addr
	reached bool
	err     string // why not
	dead    string // what proves that it is switched off; empty where nothing does
	servers []server
	voter   voter
	other   []int // ports of servers that multihead set up there and the file does not name
}

// answer is how a server took a question.
type answer int

// The short names of what a probe says.
const (
	no     = service.No
	unsure = service.Unsure
)

// The answers. Only absent is a positive no.
const (
	unknown answer = iota // not asked, hung, a stranger, or not to be understood
	absent                // nothing listens there
	loading               // it is reading its data
	running               // it answered
)

// server is one Redis server as it was found.
type server struct {
	at      instance
	answer  answer
	why     string // for unknown
	hung    bool   // a signal has stopped it
	managed bool   // it has the state file that multihead makes
	ours    bool   // it runs on that state file
	version string
	info    info
	clustr  bool // cluster-enabled
	summary info // CLUSTER INFO
	nodes   []clusterNode
	dir     string // where it keeps its data now
	disk    disk   // looked at only where it does not run

	startable bool // it does not run, and no person stopped it
}

// disk is what a server that does not run left behind.
type disk struct {
	data      service.Answer // whether there are keys
	why       string
	snapshot  bool           // a snapshot with keys, and no append-only file beside it
	rdb       bool           // there is a snapshot
	manifest  bool           // there is an append-only file that Redis would find
	log       service.Answer // whether it keeps one when it is started as it is
	replID    string
	nodes     []clusterNode
	replicaOf string // address that its state file names
}

// voter is a sentinel as it was found, on a head or a witness.
type voter struct {
	name     string
	addr     netip.Addr
	reached  bool
	answer   answer
	why      string
	hung     bool     // a signal has stopped it
	master   string   // address it holds for the master
	down     bool     // it holds the master for dead
	replicas []string // addresses it knows of
	lost     []string // those of them that it holds for dead
	others   int      // sentinels that it counts beside itself, those that left among them
}

// role is what a running server says of itself.
func (s server) role() string { return s.info["role"] }

// logs says whether a running server keeps an append-only file.
func (s server) logs() bool { return s.info["aof_enabled"] == "1" }

func (s server) keys() map[int]int { return s.info.keys() }

func (s server) keyCount() int {
	n := 0
	for _, k := range s.keys() {
		n += k
	}
	return n
}

// down says whether it does not run, or not yet, and its files were looked at.
func (s server) down() bool { return s.answer == absent || s.answer == loading && s.ours }

// view is what it knows of the cluster, or knew when it last ran.
func (s server) view() []clusterNode {
	if s.down() {
		return s.disk.nodes
	}
	return s.nodes
}

// me is its own line of CLUSTER NODES.
func (s server) me() clusterNode {
	n, _ := myself(s.view())
	return n
}

// peers is whether it knows of other nodes.
func (s server) peers() bool { return len(s.view()) > 1 }

// linkUp says whether a replica is connected to its master and has its data.
func (s server) linkUp() bool { return s.info["master_link_status"] == "up" }

// masterAddr is the address of a replica's master, empty for a master.
func (s server) masterAddr() string {
	if s.role() != "slave" {
		return ""
	}
	return joinAddr(s.info["master_host"], s.info["master_port"])
}

// serves says whether the server is part of something that works: it serves
// slots of a cluster in order, or keys, or copies.
func (s server) serves() bool {
	if s.answer != running {
		return false
	}
	if s.clustr {
		return s.summary["cluster_state"] == "ok" && s.summary.number("cluster_slots_assigned") > 0
	}
	if s.role() == "slave" {
		return s.linkUp()
	}
	return s.keyCount() > 0 || s.info.number("connected_slaves") > 0
}

// holds says whether it has something that must not be lost or doubled:
// keys, slots, or the membership of a cluster.
func (s server) holds() service.Answer {
	if s.merelyMet() {
		return service.No
	}
	switch s.answer {
	case running:
		if s.keyCount() > 0 || s.peers() || s.role() == "slave" || s.info.number("connected_slaves") > 0 {
			return service.Yes
		}
		if me := s.me(); me.Slots.count() > 0 {
			return service.Yes
		}
		return service.No
	case absent, loading:
		if s.answer == loading && !s.ours {
			return service.Unsure
		}
		if s.disk.data == service.No && (len(s.disk.nodes) > 1 || s.disk.replicaOf != "") {
			return service.Yes
		}
		for _, n := range s.disk.nodes {
			if n.Slots.count() > 0 {
				return service.Yes
			}
		}
		return s.disk.data
	}
	return service.Unsure
}

// merelyMet is a server of ours that knows others of which none has a slot, and
// has no key itself. Such a cluster takes no key: it is what a run leaves that
// was cut off while it introduced the servers to each other, on several heads
// perhaps, and so several that do not know each other yet.
func (s server) merelyMet() bool {
	nodes := s.view()
	if owned := ownedSlots(nodes); len(nodes) == 0 || owned.count() > 0 {
		return false
	}
	switch s.answer {
	case running:
		return s.ours && s.clustr && s.keyCount() == 0 && s.role() != "slave" && s.info.number("connected_slaves") == 0
	case absent, loading:
		return s.managed && (s.answer == absent || s.ours) && s.disk.data == service.No && s.disk.replicaOf == ""
	}
	return false
}

// instances lists the servers of a head as the file wants them.
func (w wanted) instances(name string, addr netip.Addr) []instance {
	n := 1
	if w.mode == modeCluster {
		n += w.replicas
	}
	out := make([]instance, n)
	for i := range out {
		out[i] = instance{Host: name, Addr: addr, Number: i, Port: w.port + i}
	}
	return out
}

// settle is how long a wait for data to be copied may take: a full copy of
// some tens of gigabytes over a slow network.
const settle = 30 * time.Minute
