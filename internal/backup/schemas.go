package backup

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"log"
	"net"
	"os/exec"

	"github.com/go-sql-driver/mysql"

	"multihead/internal/config"
	"multihead/internal/host"
)

// socket is the database server's on every head.
const socket = "/run/mysqld/mysqld.sock"

// accessDenied is the server's number for a wrong name or password.
const accessDenied = 1045

// Running asks a host which versions of MariaDB, Redis and Slurm are installed.
func Running(ctx context.Context, r host.Reader) (map[string]string, error) {
	found := map[string]string{}
	for name, argv := range map[string][]string{"mariadb": {"mariadbd", "--version"}, "redis": {"redis-server", "--version"}, "slurm": {"slurmctld", "-V"}} {
		out, err := r.Query(ctx, argv...)
		if errors.Is(err, exec.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found[name] = versionPattern(out)
	}
	return found, nil
}

// Schemas lists the databases of a host's server that are not its own. It only
// looks.
func Schemas(ctx context.Context, r host.Reader, root config.Secret) ([]string, error) {
	list, err := schemas(ctx, r, "")
	var refused *mysql.MySQLError
	if errors.As(err, &refused) && refused.Number == accessDenied && !root.IsZero() {
		return schemas(ctx, r, root.Reveal())
	}
	return list, err
}

func schemas(ctx context.Context, r host.Reader, password string) ([]string, error) {
	conf := mysql.NewConfig()
	conf.User, conf.Passwd, conf.Net, conf.Addr = "root", password, "unix", socket
	conf.Logger = log.New(io.Discard, "", 0)
	conf.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) { return r.Dial(ctx, network, addr) }
	connector, err := mysql.NewConnector(conf)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	rows, err := db.QueryContext(ctx, "SELECT schema_name FROM information_schema.schemata")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var n string
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, rows.Err()
}
