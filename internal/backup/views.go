package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// namesOthers is what the server says of views and routines that name what is not there
// yet: a database, a table, a function, a right, an account.
var namesOthers = regexp.MustCompile(`ERROR (1049|1146|1305|1356|1449) `)

// lacksViews is a file that is there while a database has its tables, and not its views.
func (j Job) lacksViews(database string) string {
	return filepath.Join(Layout{j.Root}.Restoring(), j.Stamp+"-"+database+".views")
}

// makeObjects makes triggers, routines and events at once, for clients write already.
// Views are left to the job views, where there is one: they may read other databases, and
// the accounts in whose name they read. Until all is there the schema that the tables
// were loaded into stays: it says that a restore was cut off.
func (w Worker) makeObjects(ctx context.Context, j Job, d Database) error {
	file := filepath.Join(Layout{j.Root}.Restoring(), d.Objects)
	if !j.Later || len(d.Views) == 0 {
		if err := loadFile(ctx, d.Name, file); err != nil {
			return err
		}
		return broughtBack(ctx, d.Name)
	}
	var err error
	if d.ViewsAt > 0 {
		err = loadPart(ctx, d.Name, file, 0, d.ViewsAt)
	} else if err = loadFile(ctx, d.Name, file); err == nil {
		return broughtBack(ctx, d.Name)
	} else if namesOthers.MatchString(err.Error()) {
		// Of a tool that did not say where they begin. What stands in their place until
		// they can be made would give clients wrong rows.
		_, err = query(ctx, dropViews(d))
	}
	if err != nil {
		return err
	}
	return os.WriteFile(j.lacksViews(d.Name), nil, 0o600)
}

func dropViews(d Database) string {
	var b strings.Builder
	for _, v := range d.Views {
		fmt.Fprintf(&b, "DROP VIEW IF EXISTS %s.%s;\n", name(d.Name), name(v))
	}
	return b.String()
}

// broughtBack ends the bringing back of a database.
func broughtBack(ctx context.Context, database string) error {
	_, err := query(ctx, "DROP DATABASE IF EXISTS "+name(newSchema(database))+";")
	return err
}

// views makes the views that swap has left, now that all tables and accounts are there.
// They may need each other's, so those that could not be made are tried again for as long
// as that gets further.
func (w Worker) views(ctx context.Context, j Job) (Result, error) {
	stored, err := readStored(Layout{j.Root}, j.ID)
	if err != nil {
		return Result{}, err
	}
	var lack []Database
	for _, d := range stored.Databases {
		if _, err := os.Stat(j.lacksViews(d.Name)); err == nil {
			lack = append(lack, d)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return Result{}, err
		}
	}
	return Result{}, untilAll(lack, func(d Database) error {
		file := filepath.Join(Layout{j.Root}.Restoring(), d.Objects)
		err := loadPart(ctx, d.Name, file, d.ViewsAt, math.MaxInt64)
		if err == nil {
			err = broughtBack(ctx, d.Name)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", d.Name, err)
		}
		return os.Remove(j.lacksViews(d.Name))
	})
}

// untilAll does something for all of a list, round by round: what failed is tried again
// once something else has worked. The errors are those of a round in which nothing did.
func untilAll(list []Database, do func(Database) error) error {
	for len(list) > 0 {
		var left []Database
		var errs []error
		for _, d := range list {
			if err := do(d); err != nil {
				left, errs = append(left, d), append(errs, err)
			}
		}
		if len(left) == len(list) {
			return errors.Join(errs...)
		}
		list = left
	}
	return nil
}
