// Package galera is the database: MariaDB with Galera, one node on every head
// that has services.mariadb. It forms the cluster once, joins heads to it,
// starts it again after an orderly stop, and makes the databases and accounts
// that the file asks for.
package galera

import (
	"time"

	"multihead/internal/config"
)

// Service is MariaDB Galera.
type Service struct{}

// New returns the service.
func New() *Service { return &Service{} }

// Name is "mariadb".
func (*Service) Name() string { return config.MariaDB }

// After is the base: names, clocks, accounts.
func (*Service) After() []string { return []string{"prepare"} }

const (
	// lookLimit bounds what one head is asked in all. A daemon that takes a
	// connection and says nothing for that long counts as hung.
	lookLimit = 3 * time.Second
	// briefLimit is the same for an agent's look each second.
	briefLimit = time.Second
	// settleLimit is how long a daemon that is just starting is waited for
	// before it counts as starting: forming a cluster takes 1 to 2 s, and a
	// run after one that was killed in the middle should see its outcome.
	settleLimit = 2500 * time.Millisecond
	// startLimit bounds one start. A start ends when the node has all data,
	// and copying a terabyte takes hours; a copy that fails ends it earlier.
	startLimit = 6 * time.Hour
	// stopLimit is as long as the unit itself gives the daemon to write its
	// pages out.
	stopLimit = 15 * time.Minute
)

const (
	// unit is the daemon's systemd unit, the same on all distributions.
	unit = "mariadb.service"
	// activation is a unit that starts the daemon when somebody connects. A
	// cluster is started by a decision, never by a client.
	activation = "mariadb.socket"
)

// layout is where a distribution keeps things.
type layout struct {
	family   string // "debian" or "rhel"
	packages []string
	arbiter  []string // packages of the voter without data
	confDir  string   // files here are read in the order of their names
	provider string   // the Galera library
	socket   string
	pidFile  string
	dataDir  string
}

// debian is Debian and what comes from it.
var debian = layout{
	family:   "debian",
	packages: []string{"galera-4", "mariadb-backup", "mariadb-server", "socat"},
	arbiter:  []string{"galera-arbitrator-4"},
	confDir:  "/etc/mysql/mariadb.conf.d",
	provider: "/usr/lib/galera/libgalera_smm.so",
	socket:   "/run/mysqld/mysqld.sock",
	pidFile:  "/run/mysqld/mysqld.pid",
	dataDir:  "/var/lib/mysql",
}

// rhel is Red Hat Enterprise Linux and what is built like it.
var rhel = layout{
	family:   "rhel",
	packages: []string{"galera", "mariadb-backup", "mariadb-server", "mariadb-server-galera", "socat"},
	arbiter:  []string{"galera"},
	confDir:  "/etc/my.cnf.d",
	provider: "/usr/lib64/galera/libgalera_smm.so",
	socket:   "/var/lib/mysql/mysql.sock",
	pidFile:  "/run/mariadb/mariadb.pid",
	dataDir:  "/var/lib/mysql",
}

// The files we write. They sort after everything that packages and people
// usually put beside them, so that they are read last and win.
func (l layout) settingsFile() string { return l.confDir + "/zz-multihead.cnf" }
func (l layout) membersFile() string  { return l.confDir + "/zz-multihead-members.cnf" }

// joinFile is there only while a node joins.
func (l layout) joinFile() string { return l.confDir + "/zz-multihead-join.cnf" }

const (
	dropInFile = "/etc/systemd/system/mariadb.service.d/multihead.conf"
	helperFile = "/usr/local/lib/multihead/state-transfer.bash"
	// interruptedFile runs before each start of mariadbd.
	interruptedFile = "/usr/local/lib/multihead/mariadb-interrupted"
)
