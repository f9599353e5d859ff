package galera

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
)

// retraction is how what was made on a node is taken back.
type retraction int

const (
	everywhere retraction = iota // on one node; the cluster carries it to the others
	here                         // on this node alone: the cluster it is in is undone with it
	dropped                      // not at all: the data directory goes as a whole
)

// keepAccounts is the step that makes what the file asks for, on one node: the
// cluster carries it to the others.
func (s *State) keepAccounts(n node, back retraction) plan.Action {
	w := s.wanted()
	what := "make the account of state transfers"
	if len(w.databases) > 0 {
		what = "make databases " + strings.Join(w.databases, ", ") + " and their accounts"
	}
	return s.onAccounts(n, w, what, w.changes, back)
}

// accountsLimit bounds the look at accounts, which is some ten questions. A plan is not
// made without the answer, so a busy database has more time for it than where it is
// asked every second.
const accountsLimit = 20 * time.Second

// onAccounts is the step that makes what differs from what is wanted, on one node.
func (s *State) onAccounts(n node, w wants, what string, differ func(has) []change, back retraction) plan.Action {
	session := func(ctx context.Context, r host.Reader, do func(*sql.DB) error) error {
		db, err := connect(ctx, r, n.at, s.conf.RootPassword)
		if err != nil {
			return fmt.Errorf("%s: mariadbd: %w", r.Name(), err)
		}
		defer db.Close()
		return do(db)
	}
	return plan.Func{
		What: what,
		Kind: plan.Change,
		Satisfied: func(ctx context.Context, r host.Reader) (done bool, err error) {
			ctx, cancel := context.WithTimeout(ctx, accountsLimit)
			defer cancel()
			err = session(ctx, r, func(db *sql.DB) error {
				h, err := readAccounts(ctx, db, w)
				done = err == nil && len(differ(h)) == 0
				return err
			})
			return done, err
		},
		Change: func(ctx context.Context, h host.Host) (undo plan.Action, err error) {
			var made []change
			err = session(ctx, h, func(db *sql.DB) error {
				have, err := readAccounts(ctx, db, w)
				if err != nil {
					return err
				}
				for _, c := range differ(have) {
					if _, err := db.ExecContext(ctx, c.do); err != nil {
						return fmt.Errorf("%s: %w", verbOf(c.do), err)
					}
					made = append(made, c)
				}
				return nil
			})
			if len(made) > 0 && back != dropped {
				undo = takeBack(n.at, s.conf.RootPassword, made, back)
			}
			return undo, err
		},
	}
}

// verbOf is a statement without what it is about: hashes are not for logs.
func verbOf(statement string) string {
	words := strings.Fields(statement)
	return strings.Join(words[:min(2, len(words))], " ")
}

// readAccounts reads what the server has of what is wanted.
func readAccounts(ctx context.Context, db *sql.DB, w wants) (has, error) {
	h := has{created: map[string]string{}}
	names, err := column(ctx, db, "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA")
	if err != nil {
		return h, err
	}
	h.databases = names
	rows, err := db.QueryContext(ctx, "SELECT User, Host, Priv FROM mysql.global_priv")
	if err != nil {
		return h, err
	}
	defer rows.Close()
	for rows.Next() {
		var a account
		var record []byte
		if err := rows.Scan(&a.user, &a.host, &record); err != nil {
			return h, err
		}
		if !slices.ContainsFunc(w.accounts, func(b account) bool { return a.user == b.user && a.host == b.host }) {
			continue
		}
		if a.methods, err = parseMethods(record); err != nil {
			return h, fmt.Errorf("account %s: %w", a.name(), err)
		}
		h.accounts = append(h.accounts, a)
	}
	if err := rows.Err(); err != nil {
		return h, err
	}
	for i := range h.accounts {
		if err := readGrants(ctx, db, &h.accounts[i], h.created); err != nil {
			return h, err
		}
	}
	return h, nil
}

func readGrants(ctx context.Context, db *sql.DB, a *account, created map[string]string) error {
	lines, err := column(ctx, db, "SHOW GRANTS FOR "+a.name())
	if err != nil {
		return err
	}
	for _, l := range lines {
		if g, ok := parseGrant(l); ok {
			a.grants = append(a.grants, g)
		}
	}
	var how string
	if err := db.QueryRowContext(ctx, "SHOW CREATE USER "+a.name()).Scan(&how); err != nil {
		return err
	}
	created[a.name()] = how
	return nil
}

func column(ctx context.Context, db *sql.DB, query string) ([]string, error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}

// takeBack undoes changes, the last one first. A database that got a table in
// the meantime stays.
func takeBack(l layout, root config.Secret, made []change, back retraction) plan.Action {
	return plan.Func{
		What: "take back databases and accounts that were made",
		Kind: plan.Destroy,
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			db, err := connect(ctx, h, l, root)
			if err != nil {
				return nil, fmt.Errorf("%s: mariadbd: %w", h.Name(), err)
			}
			defer db.Close()
			if back == here {
				// The others are gone by now, and quorum may be with them.
				if _, err := db.ExecContext(ctx, "SET SESSION wsrep_on = OFF"); err != nil {
					return nil, err
				}
			}
			var errs []error
			for i := len(made) - 1; i >= 0; i-- {
				c := made[i]
				if c.undo == "" {
					continue
				}
				if c.drops != "" {
					var tables int
					err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = ?", c.drops).Scan(&tables)
					if err == nil && tables > 0 {
						err = fmt.Errorf("database %s has tables now and stays", c.drops)
					}
					if err != nil {
						errs = append(errs, err)
						continue
					}
				}
				var gone *mysql.MySQLError
				if _, err := db.ExecContext(ctx, c.undo); err != nil && !(errors.As(err, &gone) && gone.Number == noSuchGrant) {
					errs = append(errs, fmt.Errorf("%s: %w", verbOf(c.undo), err))
				}
			}
			return nil, errors.Join(errs...)
		},
	}
}

// noSuchGrant is the server's number for revoking what is not granted.
const noSuchGrant = 1141
