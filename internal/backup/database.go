package backup

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Schemas that this package makes while it brings a database back. They are
// never part of a snapshot.
const (
	newPrefix = "mh_new_" // being loaded
	oldPrefix = "mh_old_" // what was replaced, kept aside
)

// query runs SQL on this head's own server, as root over its socket, and returns
// the rows.
func query(ctx context.Context, sql string) ([][]string, error) {
	cmd := exec.CommandContext(ctx, "mariadb", "--batch", "--skip-column-names", "--raw", "--default-character-set=utf8mb4")
	cmd.Env = environment()
	cmd.Stdin = strings.NewReader(sql)
	out, err := output(cmd)
	if err != nil {
		return nil, err
	}
	var rows [][]string
	for line := range strings.Lines(string(out)) {
		rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	return rows, nil
}

// column is the first column of a query.
func column(ctx context.Context, sql string) ([]string, error) {
	rows, err := query(ctx, sql)
	var out []string
	for _, r := range rows {
		out = append(out, r[0])
	}
	return out, err
}

// name quotes an identifier, text a string.
func name(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }
func text(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'"
}

// others are the schemas that are no site's.
const others = "schema_name NOT IN ('mysql','information_schema','performance_schema','sys') AND schema_name NOT LIKE 'mh\\_new\\_%' AND schema_name NOT LIKE 'mh\\_old\\_%'"

func databaseBytes(ctx context.Context) (int64, error) {
	rows, err := column(ctx, "SELECT COALESCE(SUM(data_length),0) FROM information_schema.tables WHERE table_schema NOT IN ('mysql','information_schema','performance_schema','sys')")
	if err != nil || len(rows) != 1 {
		return 0, errors.Join(err, fmt.Errorf("how large the databases are: %v", rows))
	}
	return strconv.ParseInt(rows[0], 10, 64)
}

// serving refuses a server that may not have everything: one that is no synced
// part of the primary component.
func serving(ctx context.Context) error {
	rows, err := query(ctx, "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_cluster_status','wsrep_local_state','wsrep_ready')")
	if err != nil {
		return err
	}
	st := map[string]string{}
	for _, r := range rows {
		if len(r) == 2 {
			st[r[0]] = r[1]
		}
	}
	if st["wsrep_cluster_status"] != "Primary" || st["wsrep_local_state"] != "4" || st["wsrep_ready"] != "ON" {
		return fmt.Errorf("this head's database is no synced member of the primary component: %v", st)
	}
	return nil
}

// databases dumps every site's database in one transaction.
func (w Worker) databases(ctx context.Context, j Job) (Result, error) {
	if err := serving(ctx); err != nil {
		return Result{}, err
	}
	names, err := column(ctx, "SELECT schema_name FROM information_schema.schemata WHERE "+others+" ORDER BY 1")
	if err != nil {
		return Result{}, err
	}
	dir := filepath.Join(Layout{j.Root}.Staging(), "databases")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Result{}, err
	}
	var r Result
	if len(names) > 0 {
		// A table that is altered meanwhile ends the dump: it begins anew.
		for try := 1; ; try++ {
			if r.Databases, r.Warnings, err = dump(ctx, names, dir); err == nil || try == 3 || ctx.Err() != nil {
				break
			}
		}
		if err != nil {
			return Result{}, err
		}
	}
	odd, err := column(ctx, "SELECT CONCAT(table_schema,'.',table_name,' (',engine,')') FROM information_schema.tables WHERE table_type='BASE TABLE' AND engine<>'InnoDB' AND table_schema IN (SELECT schema_name FROM information_schema.schemata WHERE "+others+")")
	if err != nil {
		return Result{}, err
	}
	for _, t := range odd {
		r.Warnings = append(r.Warnings, "not transactional, as it was at some moment of the dump: "+t)
	}
	// On the members where it was not made an event is disabled as on a replica, also one
	// that a person disabled: which of them run is not to be seen here.
	events, err := column(ctx, "SELECT CONCAT(event_schema,'.',event_name) FROM information_schema.events WHERE status='SLAVESIDE_DISABLED' AND event_schema IN (SELECT schema_name FROM information_schema.schemata WHERE "+others+") ORDER BY 1")
	if err != nil {
		return Result{}, err
	}
	half, err := column(ctx, "SELECT a.schema_name FROM information_schema.schemata a JOIN information_schema.schemata b ON b.schema_name=CONCAT("+text(newPrefix)+",a.schema_name) ORDER BY 1")
	if err != nil {
		return Result{}, err
	}
	for _, n := range half {
		r.Warnings = append(r.Warnings, "a restore of "+n+" was cut off, and it may not be whole: keep the snapshots of before")
	}
	if len(events) > 0 {
		r.Warnings = append(r.Warnings, "events come back disabled, as they are on this head; after a restore enable those that are to run (ALTER EVENT … ENABLE): "+strings.Join(events, ", "))
	}
	// Accounts and rights, for a cluster that is built anew.
	file := filepath.Join(dir, filepath.Base(accountsFile))
	if err := dumpTo(ctx, file, "--system=users", "--insert-ignore", "--skip-dump-date", "--skip-comments"); err != nil {
		if ctx.Err() != nil {
			return r, err
		}
		// One account that cannot be dumped (one without a name, as imports leave
		// them) is no reason to have no snapshot of the data.
		r.Warnings = append(r.Warnings, "accounts and rights are not in it: "+err.Error())
		return r, os.Remove(file)
	}
	return r, nil
}

// tableOptions are of a dump that can be compared with another one of the same
// data, and loaded under any name without locking a table.
func tableOptions() []string {
	return []string{"--single-transaction", "--quick", "--hex-blob", "--skip-lock-tables", "--skip-add-locks", "--skip-disable-keys",
		"--skip-add-drop-table", "--skip-triggers", "--skip-comments", "--skip-dump-date", "--default-character-set=utf8mb4", "--max-allowed-packet=1G"}
}

// dump writes the tables of databases, all of one moment, and then what has no
// moment: views, triggers, routines and events.
func dump(ctx context.Context, names []string, dir string) ([]Database, []string, error) {
	list := make([]Database, len(names))
	args := tableOptions()
	for i, n := range names {
		if strings.ContainsAny(n, "/\\") || strings.HasPrefix(n, "-") || strings.HasPrefix(n, ".") {
			return nil, nil, fmt.Errorf("the database %q has a name that cannot be a file's: rename it", n)
		}
		list[i] = Database{Name: n, Rows: filepath.Join("databases", n+".sql"), Objects: filepath.Join("databases", n+".objects.sql")}
		rows, err := query(ctx, "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema="+text(n)+" ORDER BY 1")
		if err != nil {
			return nil, nil, err
		}
		for _, r := range rows {
			if r[1] == "VIEW" {
				list[i].Views = append(list[i].Views, r[0])
				args = append(args, "--ignore-table="+n+"."+r[0])
			} else {
				list[i].Tables = append(list[i].Tables, r[0])
			}
		}
	}
	if err := dumpTables(ctx, append(append(args, "--databases"), names...), list, dir); err != nil {
		return nil, nil, err
	}
	var warnings []string
	for i := range list {
		file := filepath.Join(dir, filepath.Base(list[i].Objects))
		// A try before this one may have begun it.
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
		at, more, err := dumpObjects(ctx, list[i], file)
		if err != nil {
			return nil, nil, err
		}
		list[i].ViewsAt = at
		warnings = append(warnings, more...)
	}
	return list, warnings, nil
}

// dumpTables runs one dump and takes it apart as it comes.
func dumpTables(ctx context.Context, args []string, list []Database, dir string) error {
	cmd := exec.CommandContext(ctx, "mariadb-dump", args...)
	cmd.Env = environment()
	said, serr, err := stream(cmd, func(dump io.Reader) error {
		return split(dump, list, func(d Database) (io.WriteCloser, error) {
			return os.OpenFile(filepath.Join(dir, filepath.Base(d.Rows)), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		})
	})
	if err != nil && serr == nil {
		return fmt.Errorf("mariadb-dump: %w", told(err, said))
	}
	return serr
}

// stream runs a command and has what it prints read as it comes; one whose output
// cannot be read is ended. It returns what the command complained of, the reader's
// error, and the command's.
func stream(cmd *exec.Cmd, read func(io.Reader) error) (said string, rerr, err error) {
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	if rerr = read(pipe); rerr != nil {
		_ = cmd.Process.Kill()
	}
	err = cmd.Wait()
	return complaints.String(), rerr, err
}

var createLine = regexp.MustCompile("^CREATE DATABASE (?:/\\*!32312 IF NOT EXISTS\\*/ )?`((?:[^`]|``)+)`(?: /\\*!40100 (.*?) ?\\*/)?( COMMENT '(?:[^'\\\\]|\\\\.|'')*')?;\n$")

// split takes the dump of several databases apart: each gets the settings that
// stand before all of them and its own statements, and is named in none, so that
// it can be loaded under any name. Checksums, and how each is created, go into
// list, which has to name them in the order of the dump.
//
// Rows are written in statements of other lengths (see recut).
//
// The lines that are looked for cannot be data: that stands in statements whose
// line breaks are escaped.
func split(dump io.Reader, list []Database, open func(Database) (io.WriteCloser, error)) error {
	in := bufio.NewReaderSize(dump, 1<<20)
	var preamble []byte
	at, ended := -1, false
	sum := sha256.New()
	var out io.WriteCloser
	var rows *recut
	finish := func() error {
		if out == nil {
			return nil
		}
		err := errors.Join(rows.finish(), rows.out.Flush(), out.Close())
		list[at].SHA256 = hex.EncodeToString(sum.Sum(nil)) // of what was flushed: all of it, now
		out = nil
		return err
	}
	fresh := true // a line begins
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			err = nil
		}
		starts := fresh
		fresh = len(line) > 0 && line[len(line)-1] == '\n'
		if starts && len(line) > 0 {
			if m := createLine.FindSubmatch(line); m != nil {
				if ferr := finish(); ferr != nil {
					return ferr
				}
				at++
				got := strings.ReplaceAll(string(m[1]), "``", "`")
				if at >= len(list) || list[at].Name != got {
					return fmt.Errorf("the dump has the database %q, which was not asked for", got)
				}
				list[at].Create = strings.TrimSpace(string(m[2]) + string(m[3]))
				var oerr error
				if out, oerr = open(list[at]); oerr != nil {
					return oerr
				}
				sum.Reset()
				rows = &recut{out: bufio.NewWriterSize(io.MultiWriter(out, sum), 1<<20)}
				_, _ = rows.out.Write(preamble) // an error stays with the writer
				continue
			}
			if bytes.HasPrefix(line, []byte("USE `")) && rows != nil {
				continue
			}
			if bytes.HasPrefix(line, []byte("/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE")) {
				ended = true
			}
		}
		switch {
		case ended:
		case at < 0:
			preamble = append(preamble, line...)
		default:
			if len(line) == 0 {
				break
			}
			if rerr := rows.write(line, starts); rerr != nil {
				return rerr
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if err := finish(); err != nil {
		return err
	}
	if at != len(list)-1 || !ended {
		return errors.New("the dump is not whole")
	}
	return nil
}

// dumpTo adds a dump to a file.
func dumpTo(ctx context.Context, file string, args ...string) error {
	out, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "mariadb-dump", args...)
	cmd.Env = environment()
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, &said
	if err := cmd.Run(); err != nil {
		_ = out.Close()
		return fmt.Errorf("mariadb-dump: %w", told(err, said.String()))
	}
	return out.Close()
}

// loadFile runs a file's statements in a database.
func loadFile(ctx context.Context, database, file string) error {
	return loadPart(ctx, database, file, 0, math.MaxInt64)
}

// loadPart runs the statements between two places of a file, in bytes.
func loadPart(ctx context.Context, database, file string, from, to int64) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	in := io.NewSectionReader(f, from, to-from)
	cmd := exec.CommandContext(ctx, "mariadb", "--batch", "--default-character-set=utf8mb4", "--max-allowed-packet=1G", database)
	cmd.Env = environment()
	cmd.Stdin = in
	_, err = output(cmd)
	return err
}
