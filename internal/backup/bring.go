package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var stampPattern = regexp.MustCompile(`^[0-9TZ_]{8,20}$`)

// newSchema and oldSchema are the names under which a database is loaded, and
// what it replaces is kept. 64 characters are the most that a name may have.
func newSchema(db string) string { return newPrefix + db }
func oldSchema(stamp, db string) string {
	return oldPrefix + stamp + "_" + db
}

func (j Job) database() (Database, error) {
	if j.Database == nil || j.Database.Name == "" || !clean(j.Database.Rows) || !clean(j.Database.Objects) || !stampPattern.MatchString(j.Stamp) {
		return Database{}, errors.New("the job names no database")
	}
	if n := len(oldSchema(j.Stamp, j.Database.Name)); n > 64 {
		return Database{}, fmt.Errorf("the name of %s is too long to keep what it replaces beside it", j.Database.Name)
	}
	return *j.Database, nil
}

// load loads a database under another name, dumps it again the way the snapshot
// was, and compares.
func (w Worker) load(ctx context.Context, j Job) (Result, error) {
	d, err := j.database()
	if err != nil {
		return Result{}, err
	}
	if err := serving(ctx); err != nil {
		return Result{}, err
	}
	dir := Layout{j.Root}.Restoring()
	schema := newSchema(d.Name)
	// One that is there is from a restore that was cut off.
	if _, err := query(ctx, "DROP DATABASE IF EXISTS "+name(schema)+"; CREATE DATABASE "+name(schema)+" "+d.Create+";"); err != nil {
		return Result{}, err
	}
	back, err := roomForRows(ctx)
	if err != nil {
		return Result{}, err
	}
	if err := errors.Join(loadFile(ctx, schema, filepath.Join(dir, d.Rows)), back()); err != nil {
		return Result{}, err
	}
	again := []Database{{Name: schema, Rows: "again.sql"}}
	if err := dumpTables(ctx, append(tableOptions(), "--databases", schema), again, dir); err != nil {
		return Result{}, err
	}
	// The stored file itself was compared with its checksum when it was extracted.
	want, err := tablesIn(filepath.Join(dir, d.Rows))
	if err != nil {
		return Result{}, err
	}
	got, err := tablesIn(filepath.Join(dir, "again.sql"))
	if err != nil {
		return Result{}, err
	}
	stored, err := readStored(Layout{j.Root}, j.ID)
	if err != nil {
		return Result{}, err
	}
	if !got.equal(want, w.alike(ctx, stored.Metadata)) {
		return Result{}, fmt.Errorf("%s was loaded as %s, and is not equal to what was stored: compare %s and %s", d.Name, schema,
			filepath.Join(dir, d.Rows), filepath.Join(dir, "again.sql"))
	}
	return Result{}, os.Remove(filepath.Join(dir, "again.sql"))
}

// roomForRows has this server take statements of any row that it can have, until back is
// called: in a dump a row is up to twice as long as when it was written, for its bytes are
// hexadecimal digits there.
func roomForRows(ctx context.Context) (back func() error, err error) {
	const most = 1 << 30 // what max_allowed_packet can be
	rows, err := column(ctx, "SELECT @@GLOBAL.max_allowed_packet")
	if err != nil {
		return nil, err
	}
	if len(rows) != 1 {
		return nil, fmt.Errorf("the server's max_allowed_packet is %q", rows)
	}
	was, err := strconv.ParseInt(rows[0], 10, 64)
	if err != nil || was >= most {
		return func() error { return nil }, err
	}
	if _, err := query(ctx, fmt.Sprintf("SET GLOBAL max_allowed_packet=%d;", most)); err != nil {
		return nil, err
	}
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		_, err := query(ctx, fmt.Sprintf("SET GLOBAL max_allowed_packet=%d;", was))
		return err
	}, nil
}

// unload is the undo of load.
func (w Worker) unload(ctx context.Context, j Job) (Result, error) {
	d, err := j.database()
	if err != nil {
		return Result{}, err
	}
	_, err = query(ctx, "DROP DATABASE IF EXISTS "+name(newSchema(d.Name))+";")
	return Result{}, err
}

// tablesOf lists a schema's tables, without views.
func tablesOf(ctx context.Context, schema string) ([]string, error) {
	return column(ctx, "SELECT table_name FROM information_schema.tables WHERE table_type<>'VIEW' AND table_schema="+text(schema)+" ORDER BY 1")
}

func schemaExists(ctx context.Context, schema string) (bool, error) {
	rows, err := column(ctx, "SELECT schema_name FROM information_schema.schemata WHERE schema_name="+text(schema))
	return len(rows) > 0, err
}

// moves is the one statement that moves tables between schemas. Clients see all
// of them before it, or all after it.
func moves(steps ...[3]any) string {
	var parts []string
	for _, s := range steps {
		from, to := s[0].(string), s[1].(string)
		for _, t := range s[2].([]string) {
			parts = append(parts, name(from)+"."+name(t)+" TO "+name(to)+"."+name(t))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "RENAME TABLE " + strings.Join(parts, ", ") + ";"
}

// dropObjects is the statements that drop what hinders moving a schema's tables
// (triggers), or would be of another time (views, routines, events).
func dropObjects(ctx context.Context, schema string) (string, error) {
	var b strings.Builder
	for _, q := range []struct{ kind, sql string }{
		{"TRIGGER", "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema="},
		{"VIEW", "SELECT table_name FROM information_schema.views WHERE table_schema="},
		{"PROCEDURE", "SELECT routine_name FROM information_schema.routines WHERE routine_type='PROCEDURE' AND routine_schema="},
		{"FUNCTION", "SELECT routine_name FROM information_schema.routines WHERE routine_type='FUNCTION' AND routine_schema="},
		{"EVENT", "SELECT event_name FROM information_schema.events WHERE event_schema="},
	} {
		names, err := column(ctx, q.sql+text(schema))
		if err != nil {
			return "", err
		}
		for _, n := range names {
			fmt.Fprintf(&b, "DROP %s IF EXISTS %s.%s;\n", q.kind, name(schema), name(n))
		}
	}
	return b.String(), nil
}

// keptObjects is where the objects of what was replaced are written down.
func (j Job) keptObjects(d Database) string {
	return filepath.Join(j.Root, "kept", j.Stamp, filepath.Base(d.Objects))
}

// madeHere is a file that is there once this restore has made a database that did not
// exist: only such a one is dropped when the restore is taken back.
func (j Job) madeHere(d Database) string {
	return filepath.Join(Layout{j.Root}.Restoring(), j.Stamp+"-"+filepath.Base(d.Rows)+".made")
}

// swap puts what was loaded in the place of what is there, which stays beside it
// under another name.
func (w Worker) swap(ctx context.Context, j Job) (Result, error) {
	d, err := j.database()
	if err != nil {
		return Result{}, err
	}
	var r Result
	fresh, kept := newSchema(d.Name), oldSchema(j.Stamp, d.Name)
	there, err := schemaExists(ctx, d.Name)
	if err != nil {
		return Result{}, err
	}
	if there {
		if r.Warnings, err = w.keep(ctx, j, d, kept); err != nil {
			return r, err
		}
	} else {
		if _, err := query(ctx, "CREATE DATABASE "+name(d.Name)+" "+d.Create+";"); err != nil {
			return Result{}, err
		}
		if err := os.WriteFile(j.madeHere(d), nil, 0o600); err != nil {
			_, derr := query(ctx, "DROP DATABASE "+name(d.Name)+";")
			return Result{}, errors.Join(err, derr)
		}
	}
	old, err := tablesOf(ctx, d.Name)
	if err != nil {
		return Result{}, err
	}
	loaded, err := tablesOf(ctx, fresh)
	if err != nil {
		return Result{}, err
	}
	drops, err := dropObjects(ctx, d.Name)
	if err != nil {
		return Result{}, err
	}
	if _, err := query(ctx, drops+moves([3]any{d.Name, kept, old}, [3]any{fresh, d.Name, loaded})); err != nil {
		return Result{}, err
	}
	if there {
		r.Names = []string{kept}
	}
	return r, w.makeObjects(ctx, j, d)
}

// keep makes the schema for what is replaced, and writes its objects down.
func (w Worker) keep(ctx context.Context, j Job, d Database, kept string) (warnings []string, err error) {
	file := j.keptObjects(d)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, err
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	views, err := column(ctx, "SELECT table_name FROM information_schema.views WHERE table_schema="+text(d.Name)+" ORDER BY 1")
	if err != nil {
		return nil, err
	}
	if _, warnings, err = dumpObjects(ctx, Database{Name: d.Name, Views: views}, file); err != nil {
		return nil, err
	}
	_, err = query(ctx, "CREATE DATABASE IF NOT EXISTS "+name(kept)+" "+d.Create+";")
	return warnings, err
}

// unswap puts back what swap kept, wherever swap ended.
func (w Worker) unswap(ctx context.Context, j Job) (Result, error) {
	d, err := j.database()
	if err != nil {
		return Result{}, err
	}
	fresh, kept := newSchema(d.Name), oldSchema(j.Stamp, d.Name)
	had, err := schemaExists(ctx, kept)
	if err != nil {
		return Result{}, err
	}
	if !had {
		// Nothing was moved. A database that was there all the time stays as it is.
		if _, err := os.Stat(j.madeHere(d)); errors.Is(err, fs.ErrNotExist) {
			return Result{}, nil
		} else if err != nil {
			return Result{}, err
		}
		_, err := query(ctx, "DROP DATABASE IF EXISTS "+name(d.Name)+";")
		return Result{}, err
	}
	old, err := tablesOf(ctx, kept)
	if err != nil {
		return Result{}, err
	}
	var out string
	if len(old) > 0 {
		now, err := tablesOf(ctx, d.Name)
		if err != nil {
			return Result{}, err
		}
		drops, err := dropObjects(ctx, d.Name)
		if err != nil {
			return Result{}, err
		}
		out = drops + "CREATE DATABASE IF NOT EXISTS " + name(fresh) + " " + d.Create + ";\n" +
			moves([3]any{d.Name, fresh, now}, [3]any{kept, d.Name, old})
	}
	if _, err := query(ctx, out+"DROP DATABASE IF EXISTS "+name(kept)+";"); err != nil {
		return Result{}, err
	}
	return Result{}, loadFile(ctx, d.Name, j.keptObjects(d))
}
