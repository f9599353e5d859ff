package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// dumpObjects writes what a database has besides tables. A view that cannot be dumped,
// because what it reads is not there any more, is no reason to have no snapshot of the
// data: how it was defined is written down in a comment, and it is warned of. It returns
// where the views begin, in bytes; they come last.
func dumpObjects(ctx context.Context, d Database, file string) (viewsAt int64, warnings []string, err error) {
	args := []string{"--no-data", "--no-create-info", "--triggers", "--add-drop-trigger", "--routines", "--events", "--skip-comments", "--skip-dump-date",
		"--skip-lock-tables", "--default-character-set=utf8mb4"}
	for _, v := range d.Views {
		args = append(args, "--ignore-table="+d.Name+"."+v)
	}
	args = append(args, d.Name)
	if err := dumpTo(ctx, file, args...); err != nil || len(d.Views) == 0 {
		return 0, nil, err
	}
	info, err := os.Stat(file)
	if err != nil {
		return 0, nil, err
	}
	warnings, err = addViews(ctx, d, file)
	return info.Size(), warnings, err
}

// addViews adds a database's views to a file.
func addViews(ctx context.Context, d Database, file string) (warnings []string, err error) {
	there, err := column(ctx, "SELECT table_name FROM information_schema.views WHERE table_schema="+text(d.Name))
	if err != nil {
		return nil, err
	}
	d.Views = slices.DeleteFunc(slices.Clone(d.Views), func(v string) bool { return !slices.Contains(there, v) })
	if len(d.Views) == 0 {
		return nil, nil
	}
	views, err := dumpViews(ctx, d.Name, d.Views)
	if err == nil {
		return nil, appendTo(file, views)
	}
	var good []string
	for _, v := range d.Views {
		_, cause := dumpViews(ctx, d.Name, []string{v})
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if cause == nil {
			good = append(good, v)
			continue
		}
		if !invalidView.MatchString(cause.Error()) {
			return nil, cause // it may be fine, and something else is not
		}
		warnings = append(warnings, fmt.Sprintf("the view %s.%s cannot be dumped, and is not in it: %v", d.Name, v, cause))
		if text, err := brokenView(ctx, d.Name, v); err != nil {
			return nil, err
		} else if err := appendTo(file, text); err != nil {
			return nil, err
		}
	}
	if len(good) == len(d.Views) {
		return nil, err // it is not for any of them
	}
	if len(good) == 0 {
		return warnings, nil
	}
	if views, err = dumpViews(ctx, d.Name, good); err != nil {
		return nil, err
	}
	return warnings, appendTo(file, views)
}

// invalidView is what the server says of a view that reads what is gone: a table, a column,
// a function, or its definer.
var invalidView = regexp.MustCompile(`\((1054|1146|1305|1356|1449)\)`)

// dumpViews is the dump of some views of a database.
func dumpViews(ctx context.Context, database string, views []string) ([]byte, error) {
	args := append([]string{"--no-data", "--skip-triggers", "--skip-comments", "--skip-dump-date", "--skip-lock-tables", "--default-character-set=utf8mb4", database}, views...)
	cmd := exec.CommandContext(ctx, "mariadb-dump", args...)
	cmd.Env = environment()
	return output(cmd)
}

// brokenView is a comment that says how a view was defined; nothing where there is none.
func brokenView(ctx context.Context, database, view string) ([]byte, error) {
	rows, err := column(ctx, "SELECT view_definition FROM information_schema.views WHERE table_schema="+text(database)+" AND table_name="+text(view))
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return []byte("-- The view " + strings.Join(strings.Fields(name(view)), " ") + " could not be dumped: " + strings.Join(strings.Fields(strings.Join(rows, " ")), " ") + "\n"), nil
}

func appendTo(file string, data []byte) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
