package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// accountsFile is the accounts and rights as they were dumped, below the staging
// directory.
const accountsFile = "databases/.accounts.sql"

func (j Job) keptAccounts() string { return filepath.Join(j.Root, "kept", j.Stamp, "accounts.json") }

// accounts makes the accounts of the snapshot that are missing, and gives all of
// them the rights that they had. One that exists keeps its password: it is the
// cluster file's.
func (w Worker) accounts(ctx context.Context, j Job) (Result, error) {
	if !stampPattern.MatchString(j.Stamp) {
		return Result{}, errors.New("the job does not say where to")
	}
	file := filepath.Join(Layout{j.Root}.Restoring(), filepath.FromSlash(accountsFile))
	dump, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Result{Warnings: []string{"the snapshot has no accounts"}}, nil
	}
	if err != nil {
		return Result{}, err
	}
	have, err := column(ctx, accountsQuery)
	if err != nil {
		return Result{}, err
	}
	data, err := json.Marshal(have)
	if err != nil {
		return Result{}, err
	}
	if err := os.MkdirAll(filepath.Dir(j.keptAccounts()), 0o700); err != nil {
		return Result{}, err
	}
	if err := os.WriteFile(j.keptAccounts(), data, 0o600); err != nil {
		return Result{}, err
	}
	made, rights := siteAccounts(dump)
	if _, err := query(ctx, made); err != nil {
		return Result{}, err
	}
	r, err := give(ctx, rights)
	if j.Later {
		r.Warnings = nil // what could not be given is tried again
	}
	return r, err
}

// rights gives the accounts of the snapshot their rights once more: those about views,
// which were not there before.
func (w Worker) rights(ctx context.Context, j Job) (Result, error) {
	dump, err := os.ReadFile(filepath.Join(Layout{j.Root}.Restoring(), filepath.FromSlash(accountsFile)))
	if errors.Is(err, fs.ErrNotExist) {
		return Result{}, nil
	}
	if err != nil {
		return Result{}, err
	}
	_, rights := siteAccounts(dump)
	return give(ctx, rights)
}

// give gives rights, all at once or, where that fails, one by one. One about something that is not there any more is no
// reason to have none.
func give(ctx context.Context, rights []string) (Result, error) {
	var r Result
	if _, err := query(ctx, strings.Join(rights, "")); err == nil || ctx.Err() != nil {
		return r, err
	}
	for _, g := range rights {
		if _, err := query(ctx, g); err != nil {
			if !goneRight.MatchString(err.Error()) {
				return r, err
			}
			r.Warnings = append(r.Warnings, fmt.Sprintf("a right was not given: %s (%v)", strings.TrimSuffix(strings.TrimSpace(g), ";"), err))
		}
	}
	return r, nil
}

// goneRight is what the server says of a right about what is not there: a database, a
// column, a table, a routine, an account, a role.
var goneRight = regexp.MustCompile(`ERROR (1049|1054|1133|1146|1305|1959) `)

// identified is how a GRANT of a dump sets a password anew.
var identified = regexp.MustCompile(` IDENTIFIED (?:BY PASSWORD '[^']*'|VIA \w+(?: USING '[^']*')?(?: OR \w+(?: USING '[^']*')?)*)`)

// siteAccounts is the part of a dump of accounts that can be run on a member of a
// cluster: without the server's own accounts; without the passwords that grants
// carry, so that only a new account gets one; and without the role that the dump
// takes for the time of its import, for GRANT … TO CURRENT_USER() is carried out
// by the other members in nobody's name: they get an account without one, and
// their accounts cannot be dumped any more. A role of the site, which the dump gives to
// that role, is given to root. It returns what makes the accounts, and the rights.
func siteAccounts(dump []byte) (made string, rights []string) {
	var b strings.Builder
	for line := range strings.Lines(string(dump)) {
		if role := importAdmin.ReplaceAllString(line, " WITH ADMIN 'root'@'localhost'"); role != line {
			b.WriteString(role)
			continue
		}
		switch {
		case strings.Contains(line, "mariadb_dump_import_role"), strings.Contains(line, "@current_role"), strings.HasPrefix(line, "SET ROLE "):
			continue
		case slices.ContainsFunc([]string{"mariadb.sys", "root", "mysql"}, func(n string) bool {
			return strings.Contains(line, "`"+n+"`@`localhost`") || strings.Contains(line, "'"+n+"'@'localhost'")
		}):
			continue
		case strings.HasPrefix(line, "GRANT "), strings.Contains(line, "SET DEFAULT ROLE "): // which has to be granted first
			rights = append(rights, identified.ReplaceAllString(line, ""))
			continue
		}
		b.WriteString(line)
	}
	return b.String(), rights
}

// importAdmin is how a dump makes a role of the site.
var importAdmin = regexp.MustCompile(" WITH ADMIN [`'\"]?mariadb_dump_import_role[`'\"]?")

// accountsQuery lists users as they are written in statements; a role has no host.
const accountsQuery = "SELECT CONCAT(QUOTE(user), IF(host='','',CONCAT('@',QUOTE(host)))) FROM mysql.global_priv ORDER BY 1"

// unaccounts drops the accounts that were made.
func (w Worker) unaccounts(ctx context.Context, j Job) (Result, error) {
	if !stampPattern.MatchString(j.Stamp) {
		return Result{}, errors.New("the job does not say where from")
	}
	data, err := os.ReadFile(j.keptAccounts())
	if errors.Is(err, fs.ErrNotExist) {
		return Result{}, nil
	}
	if err != nil {
		return Result{}, err
	}
	var had []string
	if err := json.Unmarshal(data, &had); err != nil || len(had) == 0 {
		return Result{}, errors.Join(err, fmt.Errorf("%s does not say who was there", j.keptAccounts()))
	}
	now, err := column(ctx, accountsQuery)
	if err != nil {
		return Result{}, err
	}
	_, err = query(ctx, dropAccounts(had, now))
	return Result{}, err
}

// dropAccounts is the statements that drop who came since.
func dropAccounts(had, now []string) string {
	var b strings.Builder
	for _, a := range now {
		switch {
		case slices.Contains(had, a):
		case strings.Contains(a, "'@'"):
			b.WriteString("DROP USER IF EXISTS " + a + ";\n")
		default:
			b.WriteString("DROP ROLE IF EXISTS " + a + ";\n")
		}
	}
	return b.String()
}
