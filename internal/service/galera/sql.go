package galera

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"

	"multihead/internal/config"
	"multihead/internal/host"
)

// accessDenied is the server's number for a wrong name or password.
const accessDenied = 1045

// connect opens a session as root through the host's own socket. The server
// knows root by the process at the other end (unix_socket) and asks for no
// password; one that does not is given the file's.
//
// Where systemd listens on that socket in the daemon's place, connecting would
// start the daemon, and looking must change nothing: so a daemon that does not
// run is not called.
func connect(ctx context.Context, r host.Reader, l layout, root config.Secret) (*sql.DB, error) {
	if _, err := r.Stat(ctx, l.pidFile); err != nil {
		active, err := activity(ctx, r)
		if err != nil {
			return nil, err
		}
		if active == "inactive" || active == "failed" {
			return nil, fmt.Errorf("%s is %s: %w", unit, active, syscall.ECONNREFUSED)
		}
	}
	db, err := open(ctx, r, l, "")
	var refused *mysql.MySQLError
	if errors.As(err, &refused) && refused.Number == accessDenied && !root.IsZero() {
		return open(ctx, r, l, root.Reveal())
	}
	return db, err
}

func open(ctx context.Context, r host.Reader, l layout, password string) (*sql.DB, error) {
	conf := mysql.NewConfig()
	conf.User, conf.Passwd = "root", password
	conf.Net, conf.Addr = "unix", l.socket
	conf.InterpolateParams = true
	conf.Logger = log.New(io.Discard, "", 0)
	conf.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return r.Dial(ctx, network, addr)
	}
	connector, err := mysql.NewConnector(conf)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	if err := db.PingContext(ctx); err != nil {
		_ = db.Close()
		return nil, err
	}
	return db, nil
}

// noDaemon says whether an error of connecting means that nobody listens.
// Everything else, silence above all, leaves it open.
func noDaemon(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED)
}

// silent says whether an error means that no answer came in time.
func silent(ctx context.Context, err error) bool {
	var ne net.Error
	return ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}

// status is what a server says of itself and its cluster.
type status struct {
	version     string
	galera      bool   // replication is switched on
	clusterName string // wsrep_cluster_name
	address     string // wsrep_cluster_address
	donor       string // wsrep_sst_donor: who may give it data; empty is anybody
	sync        string // wsrep_local_state_comment: Synced, Donor/Desynced, Joined …
	component   string // wsrep_cluster_status: Primary, non-Primary, Disconnected
	cluster     string // wsrep_cluster_state_uuid
	size        int    // wsrep_cluster_size, voters without data included
	committed   int64  // wsrep_last_committed
	ready       bool   // wsrep_ready: it takes statements
	schemas     int    // databases of users, where it is not part of a cluster
	accounts    int    // accounts of users, likewise
	foreign     int    // tables of users that Galera does not replicate, likewise
}

// disconnected is wsrep_cluster_status of a node that has closed its connection
// to the cluster.
const disconnected = "Disconnected"

// primary says whether it is part of a cluster with quorum.
func (s status) primary() bool { return s.galera && s.component == "Primary" }

// synced says whether it is, and has all data.
func (s status) synced() bool { return s.primary() && s.ready && s.sync == "Synced" }

const (
	variablesQuery = `SHOW GLOBAL VARIABLES WHERE Variable_name IN
 ('version', 'wsrep_on', 'wsrep_cluster_name', 'wsrep_cluster_address', 'wsrep_sst_donor')`
	statusQuery = `SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_cluster_status', 'wsrep_local_state_comment',
 'wsrep_cluster_state_uuid', 'wsrep_cluster_size', 'wsrep_last_committed', 'wsrep_ready')`
)

// readStatus asks a server what it is. It uses SHOW alone, which a node
// without quorum answers as well.
func readStatus(ctx context.Context, db asker) (status, error) {
	v, err := pairs(ctx, db, variablesQuery)
	if err != nil {
		return status{}, err
	}
	more, err := pairs(ctx, db, statusQuery)
	if err != nil {
		return status{}, err
	}
	s := status{
		version: v["version"], clusterName: v["wsrep_cluster_name"], address: v["wsrep_cluster_address"],
		donor: v["wsrep_sst_donor"],
		// A server without an address of a cluster is on its own, whatever
		// wsrep_on says.
		galera:    v["wsrep_on"] == "ON" && v["wsrep_cluster_address"] != "",
		sync:      more["wsrep_local_state_comment"],
		component: more["wsrep_cluster_status"],
		cluster:   more["wsrep_cluster_state_uuid"],
		ready:     more["wsrep_ready"] == "ON",
		committed: -1,
	}
	if !s.galera {
		return s, nil
	}
	if s.size, err = strconv.Atoi(more["wsrep_cluster_size"]); err != nil {
		return s, fmt.Errorf("wsrep_cluster_size: %w", err)
	}
	if s.committed, err = strconv.ParseInt(more["wsrep_last_committed"], 10, 64); err != nil {
		return s, fmt.Errorf("wsrep_last_committed: %w", err)
	}
	return s, nil
}

// pairs reads an answer of names and values.
func pairs(ctx context.Context, db asker, query string) (map[string]string, error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string]string{}
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return nil, err
		}
		out[name] = value
	}
	return out, rows.Err()
}

// readOwn counts what users have put into a server that is part of no cluster.
func readOwn(ctx context.Context, db asker, s *status) error {
	const schemas = `SELECT COUNT(*) FROM information_schema.SCHEMATA s WHERE s.SCHEMA_NAME NOT IN
 ('mysql', 'information_schema', 'performance_schema', 'sys') AND (s.SCHEMA_NAME <> 'test' OR EXISTS
 (SELECT 1 FROM information_schema.TABLES t WHERE t.TABLE_SCHEMA = 'test'))`
	const accounts = `SELECT COUNT(*) FROM mysql.global_priv WHERE User NOT IN
 ('', 'root', 'mysql', 'mariadb.sys', 'debian-sys-maint', 'PUBLIC')`
	const foreign = `SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' AND ENGINE <> 'InnoDB'
 AND TABLE_SCHEMA NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys')`
	for _, q := range []struct {
		text string
		into *int
	}{{schemas, &s.schemas}, {accounts, &s.accounts}, {foreign, &s.foreign}} {
		if err := db.QueryRowContext(ctx, q.text).Scan(q.into); err != nil {
			return err
		}
	}
	return nil
}

// askWithin asks, with less time than that takes at most.
func askWithin(ctx context.Context, limit time.Duration, r host.Reader, l layout, root config.Secret) (status, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return ask(ctx, r, l, root)
}

// ask connects and asks, or goes on with the session of the look before.
func ask(ctx context.Context, r host.Reader, l layout, root config.Secret) (status, error) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	if k := again(r); k != nil {
		s, err := readStatus(ctx, k.conn)
		if err == nil && s.galera {
			k.keep(r)
			return s, nil
		}
		_ = k.Close()
		if ctx.Err() != nil {
			return status{}, err
		}
	}
	db, err := connect(ctx, r, l, root)
	if err != nil {
		return status{}, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return status{}, errors.Join(err, db.Close())
	}
	k := session{db, conn, time.Now()}
	s, err := readStatus(ctx, conn)
	if err == nil && s.galera {
		k.keep(r)
		return s, nil
	}
	if err == nil {
		err = readOwn(ctx, conn, &s)
	}
	_ = k.Close()
	return s, err
}

// settleEvery is the pause between two looks at a daemon that is starting.
const settleEvery = 200 * time.Millisecond
