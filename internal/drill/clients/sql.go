package clients

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/go-sql-driver/mysql"
)

// Every operation has a connection of its own: what is measured is the service
// behind the address, not how long a pool clings to connections of a host that
// is gone.
const (
	sqlDial    = 2 * time.Second
	sqlTimeout = 12 * time.Second
)

// Numbers of MariaDB's errors after which nothing was done.
const (
	deadlock     = 1213 // rolled back
	lockWait     = 1205 // rolled back, as far as this statement goes
	unknownState = 1047 // wsrep has not yet prepared node for application use
)

func (s *SQLSpec) schedules() []schedule {
	return []schedule{
		{SQL, Transfer, transferEvery, 60, s.transfer},
		{SQL, Append, appendEvery, 80, s.append},
		{SQL, Write, 2 * registerEvery, 20, s.write},
		{SQL, Read, registerEvery, 40, s.read},
	}
}

// session does something on a connection of its own. begun says whether
// anything may have been committed when it failed.
func (s *SQLSpec) session(ctx context.Context, do func(ctx context.Context, c *sql.Conn, begun *bool) (string, error)) outcome {
	ctx, cancel := context.WithTimeout(ctx, sqlTimeout)
	defer cancel()
	conf := mysql.NewConfig()
	conf.User, conf.Passwd, conf.DBName = s.User, s.Password, s.Schema
	conf.Net, conf.Addr = "tcp", s.Address
	conf.Timeout, conf.ReadTimeout, conf.WriteTimeout = sqlDial, sqlTimeout, sqlTimeout
	conf.InterpolateParams = true
	conf.Logger = log.New(io.Discard, "", 0)
	connector, err := mysql.NewConnector(conf)
	if err != nil {
		return outcome{result: Failed, err: err}
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	c, err := db.Conn(ctx)
	if err != nil {
		return outcome{result: Failed, err: err}
	}
	defer func() { _ = c.Close() }()
	begun := false
	value, err := do(ctx, c, &begun)
	if err == nil {
		return outcome{result: OK, value: value}
	}
	var refused *mysql.MySQLError
	if !begun || errors.As(err, &refused) && slices.Contains([]uint16{deadlock, lockWait, unknownState}, refused.Number) {
		return outcome{result: Failed, err: err}
	}
	return outcome{result: Unknown, err: err}
}

// transfer moves money between two accounts and writes down that it did.
func (s *SQLSpec) transfer(ctx context.Context, n int64) outcome {
	from := rand.IntN(s.Accounts)
	to := (from + 1 + rand.IntN(s.Accounts-1)) % s.Accounts
	amount := 1 + rand.IntN(10)
	return s.session(ctx, func(ctx context.Context, c *sql.Conn, begun *bool) (string, error) {
		tx, err := c.BeginTx(ctx, nil)
		if err != nil {
			return "", err
		}
		defer func() { _ = tx.Rollback() }() // of no effect once it is committed
		// In one order whatever the direction, so that two of them cannot wait
		// for each other.
		for _, row := range []struct{ id, by int }{{min(from, to), sign(from < to) * -amount}, {max(from, to), sign(from < to) * amount}} {
			if _, err := tx.ExecContext(ctx, "UPDATE bank SET money = money + ? WHERE id = ?", row.by, row.id); err != nil {
				return "", err
			}
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO transfers (n) VALUES (?)", n); err != nil {
			return "", err
		}
		*begun = true
		return "", tx.Commit()
	})
}

func sign(plus bool) int {
	if plus {
		return 1
	}
	return -1
}

func (s *SQLSpec) append(ctx context.Context, n int64) outcome {
	return s.session(ctx, func(ctx context.Context, c *sql.Conn, begun *bool) (string, error) {
		*begun = true
		_, err := c.ExecContext(ctx, "INSERT INTO list (n) VALUES (?)", n)
		return "", err
	})
}

// write sets the register to a number that nobody else writes.
func (s *SQLSpec) write(ctx context.Context, n int64) outcome {
	o := s.session(ctx, func(ctx context.Context, c *sql.Conn, begun *bool) (string, error) {
		*begun = true
		_, err := c.ExecContext(ctx, "UPDATE register SET v = ? WHERE id = 1", n+1)
		return "", err
	})
	o.value = strconv.FormatInt(n+1, 10)
	return o
}

// read reads the register, having waited until the node has what was committed
// anywhere before.
func (s *SQLSpec) read(ctx context.Context, _ int64) outcome {
	return s.session(ctx, func(ctx context.Context, c *sql.Conn, _ *bool) (string, error) {
		if _, err := c.ExecContext(ctx, "SET SESSION wsrep_sync_wait = 1"); err != nil {
			return "", err
		}
		var v string
		err := c.QueryRowContext(ctx, "SELECT v FROM register WHERE id = 1").Scan(&v)
		return v, err
	})
}

// refusedConnection says whether nobody listens, by a host that is alive.
func refusedConnection(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && errors.Is(err, errRefused)
}
