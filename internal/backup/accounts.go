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
	_, err = query(ctx, siteAccounts(dump))
	return Result{}, err
}

// identified is how a GRANT of a dump sets a password anew.
var identified = regexp.MustCompile(` IDENTIFIED (?:BY PASSWORD '[^']*'|VIA \w+(?: USING '[^']*')?(?: OR \w+(?: USING '[^']*')?)*)`)

// siteAccounts is the part of a dump of accounts that can be run on a member of a
// cluster: without the server's own accounts; without the passwords that grants
// carry, so that only a new account gets one; and without the role that the dump
// takes for the time of its import, for GRANT … TO CURRENT_USER() is carried out
// by the other members in nobody's name: they get an account without one, and
// their accounts cannot be dumped any more.
func siteAccounts(dump []byte) string {
	var b strings.Builder
	for line := range strings.Lines(string(dump)) {
		switch {
		case strings.Contains(line, "mariadb_dump_import_role"), strings.Contains(line, "@current_role"), strings.HasPrefix(line, "SET ROLE "):
			continue
		case slices.ContainsFunc([]string{"mariadb.sys", "root", "mysql"}, func(n string) bool {
			return strings.Contains(line, "`"+n+"`@`localhost`") || strings.Contains(line, "'"+n+"'@'localhost'")
		}):
			continue
		case strings.HasPrefix(line, "GRANT "):
			line = identified.ReplaceAllString(line, "")
		}
		b.WriteString(line)
	}
	return b.String()
}

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
