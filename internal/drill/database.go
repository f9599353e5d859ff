package drill

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"

	"multihead/internal/config"
	"multihead/internal/drill/check"
	"multihead/internal/drill/clients"
	"multihead/internal/host"
)

// Name names everything that drills make: the schema and its account, the
// directory on the volume, jobs.
const Name = "multihead_drill"

const (
	accounts = 10
	deposit  = 1000
	mark     = "made_by_multihead_drill"
)

// database is the schema that the SQL workload works in.
type database struct {
	user, password string
	from           string // the host part of the account
}

// errNotOurs is a schema of our name that we did not make.
var errNotOurs = errors.New("there is a database " + Name + " that no drill made; it is left alone. Rename or drop it first")

// asRoot is a session as root through a head's own socket, without a password
// where the server knows root by its process.
func asRoot(ctx context.Context, h host.Reader, root config.Secret) (*sql.DB, error) {
	var errs []error
	passwords := []string{""}
	if !root.IsZero() {
		passwords = append(passwords, root.Reveal())
	}
	for _, socket := range []string{"/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock"} {
		if _, err := h.Stat(ctx, socket); err != nil {
			errs = append(errs, err)
			continue
		}
		for _, password := range passwords {
			db, err := openSocket(ctx, h, socket, password)
			if err == nil {
				return db, nil
			}
			errs = append(errs, err)
		}
	}
	return nil, errors.Join(errs...)
}

func openSocket(ctx context.Context, h host.Reader, socket, password string) (*sql.DB, error) {
	conf := mysql.NewConfig()
	conf.User, conf.Passwd = "root", password
	conf.Net, conf.Addr = "unix", socket
	conf.InterpolateParams = true
	conf.Logger = log.New(io.Discard, "", 0)
	conf.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) { return h.Dial(ctx, network, addr) }
	connector, err := mysql.NewConnector(conf)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	if err := db.PingContext(ctx); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("%s: %w", h.Name(), err)
	}
	return db, nil
}

// anyRoot is a session on the first head that lets us in.
func (r *run) anyRoot(ctx context.Context) (*sql.DB, error) {
	var errs []error
	for _, c := range r.env.File.HeadsWith(config.MariaDB) {
		h, ok := r.env.Host(c.Hostname)
		if !ok {
			continue
		}
		db, err := asRoot(ctx, h, r.env.File.Database.MariaDB.RootPassword)
		if err == nil {
			return db, nil
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return nil, errors.New("no head with the database is reached")
	}
	return nil, errors.Join(errs...)
}

// makeDatabase makes the schema and an account for it that may come from the
// client alone, with a password that was never used before. What an earlier
// drill left is replaced.
func (r *run) makeDatabase(ctx context.Context, from string) error {
	db, err := r.anyRoot(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := dropOurs(ctx, db); err != nil {
		return err
	}
	r.sql = &database{user: Name, password: rand.Text(), from: from}
	statements := []string{
		"CREATE DATABASE " + Name,
		"CREATE TABLE " + Name + "." + mark + " (run VARCHAR(40)) ENGINE=InnoDB",
		"CREATE TABLE " + Name + ".bank (id INT PRIMARY KEY, money BIGINT NOT NULL) ENGINE=InnoDB",
		"CREATE TABLE " + Name + ".transfers (pos BIGINT AUTO_INCREMENT PRIMARY KEY, n BIGINT NOT NULL) ENGINE=InnoDB",
		"CREATE TABLE " + Name + ".list (pos BIGINT AUTO_INCREMENT PRIMARY KEY, n BIGINT NOT NULL) ENGINE=InnoDB",
		"CREATE TABLE " + Name + ".register (id INT PRIMARY KEY, v BIGINT NOT NULL) ENGINE=InnoDB",
		"INSERT INTO " + Name + ".register VALUES (1, 0)",
		fmt.Sprintf("CREATE USER '%s'@'%s' IDENTIFIED BY '%s'", r.sql.user, from, r.sql.password), // letters and digits alone
		fmt.Sprintf("GRANT SELECT, INSERT, UPDATE ON `%s`.* TO '%s'@'%s'", strings.ReplaceAll(Name, "_", `\_`), r.sql.user, from),
	}
	for i := range accounts {
		statements = append(statements, fmt.Sprintf("INSERT INTO %s.bank VALUES (%d, %d)", Name, i, deposit))
	}
	for i, s := range statements {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("make the drill's database, statement %d: %w", i+1, err) // one of them has the password
		}
	}
	return nil
}

// dropOurs drops the schema and accounts that a drill made, and nothing that
// was not.
func dropOurs(ctx context.Context, db *sql.DB) error {
	var schemas, marks int
	row := db.QueryRowContext(ctx, `SELECT
 (SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?),
 (SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?)`, Name, Name, mark)
	if err := row.Scan(&schemas, &marks); err != nil {
		return err
	}
	if schemas > 0 && marks == 0 {
		var tables int
		if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = ?", Name).Scan(&tables); err != nil {
			return err
		}
		if tables > 0 { // an empty one was cut off before it had its mark
			return errNotOurs
		}
	}
	if schemas > 0 {
		if _, err := db.ExecContext(ctx, "DROP DATABASE "+Name); err != nil {
			return err
		}
	}
	rows, err := db.QueryContext(ctx, "SELECT Host FROM mysql.global_priv WHERE User = ?", Name)
	if err != nil {
		return err
	}
	defer rows.Close()
	var hosts []string
	for rows.Next() {
		var h string
		if err := rows.Scan(&h); err != nil {
			return err
		}
		hosts = append(hosts, h)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, h := range hosts {
		if _, err := db.ExecContext(ctx, fmt.Sprintf("DROP USER '%s'@'%s'", Name, strings.ReplaceAll(h, "'", "''"))); err != nil {
			return err
		}
	}
	return nil
}

// spec is what the worker is told.
func (d *database) spec(vip string) *clients.SQLSpec {
	return &clients.SQLSpec{Address: net.JoinHostPort(vip, strconv.Itoa(3306)), User: d.user, Password: d.password, Schema: Name, Accounts: accounts}
}

// tables is what one node has.
type tables struct {
	total           int64
	list, transfers []int64
	node            check.GaleraNode
}

// readTables reads a node's copy. It waits until the node has applied what was
// committed anywhere before.
func readTables(ctx context.Context, db *sql.DB) (t tables, err error) {
	if _, err = db.ExecContext(ctx, "SET SESSION wsrep_sync_wait = 1"); err != nil {
		return t, err
	}
	if err = db.QueryRowContext(ctx, "SELECT COALESCE(SUM(money), 0) FROM "+Name+".bank").Scan(&t.total); err != nil {
		return t, err
	}
	if t.list, err = numbers(ctx, db, "SELECT n FROM "+Name+".list"); err != nil {
		return t, err
	}
	if t.transfers, err = numbers(ctx, db, "SELECT n FROM "+Name+".transfers"); err != nil {
		return t, err
	}
	rows, err := db.QueryContext(ctx, `SHOW GLOBAL STATUS WHERE Variable_name IN
 ('wsrep_cluster_state_uuid', 'wsrep_cluster_status', 'wsrep_local_state_comment', 'wsrep_cluster_size')`)
	if err != nil {
		return t, err
	}
	defer rows.Close()
	for rows.Next() {
		var k, v string
		if err := rows.Scan(&k, &v); err != nil {
			return t, err
		}
		switch k {
		case "wsrep_cluster_state_uuid":
			t.node.UUID = v
		case "wsrep_cluster_status":
			t.node.Component = v
		case "wsrep_local_state_comment":
			t.node.State = v
		case "wsrep_cluster_size":
			t.node.Size, _ = strconv.Atoi(v) // not a number is not enough nodes
		}
	}
	return t, rows.Err()
}

func numbers(ctx context.Context, db *sql.DB, query string) ([]int64, error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []int64
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, rows.Err()
}
