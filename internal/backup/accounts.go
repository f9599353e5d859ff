package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return Result{Warnings: []string{"the snapshot has no accounts"}}, nil
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
	return Result{}, loadFile(ctx, "mysql", file)
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
