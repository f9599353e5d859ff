package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Compared is one part of a rehearsal: what the snapshot has, and what came back.
type Compared struct {
	Part     string   `json:"part"`
	Snapshot string   `json:"snapshot"`
	Back     string   `json:"back"`
	Equal    bool     `json:"equal"`
	Why      []string `json:"why,omitempty"` // the first differences
}

// mostDifferences is how many differences of one part are told.
const mostDifferences = 5

func (c *Compared) differs(format string, args ...any) {
	if len(c.Why) < mostDifferences {
		c.Why = append(c.Why, fmt.Sprintf(format, args...))
	}
}

// compare reads a snapshot back and compares every part of it with what this
// cluster has: after a rehearsal. It changes nothing but the directory that it
// reads into. A part that cannot be asked is not equal.
func (w Worker) compare(ctx context.Context, j Job) (Result, error) {
	if j.Database != nil || j.Stamp != "" {
		return Result{}, errors.New("the job is none that compares")
	}
	l := Layout{j.Root}
	if _, err := w.extract(ctx, Job{ID: j.ID, Root: j.Root}); err != nil {
		return Result{}, err
	}
	defer func() { _ = os.RemoveAll(l.Restoring()) }()
	s, err := readStored(l, j.ID)
	if err != nil {
		return Result{}, err
	}
	var r Result
	add := func(c Compared, err error) {
		if err != nil {
			c.differs("%v", err)
		}
		c.Equal = len(c.Why) == 0
		r.Compared = append(r.Compared, c)
	}
	if s.Has(Configs) {
		add(compareConfigs(s.Metadata), nil)
	}
	alike := w.alike(ctx, s.Metadata)
	for _, d := range s.Databases {
		add(compareDatabase(ctx, l.Restoring(), d, d.Name == j.Accounting, alike))
	}
	if len(s.Databases) > 0 {
		add(compareAccounts(ctx, filepath.Join(l.Restoring(), filepath.FromSlash(accountsFile))))
	}
	if len(s.Redis) > 0 {
		add(w.compareKeys(ctx, j, filepath.Join(l.Restoring(), "redis")))
	}
	if s.Has("slurm") {
		add(compareQueue(ctx, filepath.Join(l.Restoring(), "slurm", "state", "job_state"), s.Queue))
	}
	if s.Mount != "" {
		add(w.compareVolume(ctx, j, s))
	}
	return r, ctx.Err()
}

// compareConfigs says what there is: extract has compared each file's checksum, and
// the rehearsal's cluster was formed from one of them.
func compareConfigs(m Metadata) Compared {
	n, heads := 0, map[string]bool{}
	for _, f := range m.Files {
		if rest, ok := strings.CutPrefix(f.Path, Configs+"/"); ok {
			if head, _, deep := strings.Cut(rest, "/"); deep {
				heads[head] = true
				n++
			}
		}
	}
	what := many(int64(n), "file") + " of " + many(int64(len(heads)), "head")
	return Compared{Part: "configuration", Snapshot: what, Back: what + ", read back"}
}

// alike says whether this head's server is of the series that a snapshot was made
// with.
func (w Worker) alike(ctx context.Context, m Metadata) bool {
	had, has := m.Software["mariadb"], w.software(ctx, nil)["mariadb"]
	return !newer(had, has) && !newer(has, had)
}

// compareDatabase dumps a database again the way it was, and compares. In the one
// that a slurmdbd that serves writes into, nothing may be missing: the checksum was
// compared when it was loaded, before slurmdbd was started.
func compareDatabase(ctx context.Context, dir string, d Database, written, alike bool) (Compared, error) {
	c := Compared{Part: "database " + d.Name}
	want, err := tablesIn(filepath.Join(dir, filepath.FromSlash(d.Rows)))
	if err != nil {
		return c, err
	}
	c.Snapshot = want.String()
	args := tableOptions()
	for _, v := range d.Views {
		args = append(args, "--ignore-table="+d.Name+"."+v)
	}
	again := []Database{{Name: d.Name, Rows: "again.sql"}}
	if err := dumpTables(ctx, append(args, "--databases", d.Name), again, dir); err != nil {
		return c, err
	}
	defer os.Remove(filepath.Join(dir, "again.sql"))
	got, err := tablesIn(filepath.Join(dir, "again.sql"))
	if err != nil {
		return c, err
	}
	c.Back = got.String()
	if got.equal(want, alike) {
		if !alike {
			return c, nil
		}
		return c, compareObjects(ctx, dir, d)
	}
	for _, t := range slices.Sorted(maps.Keys(want.rows)) {
		has, there := got.rows[t]
		switch {
		case !there:
			c.differs("there is no table %s", t)
		case has < want.rows[t] || !written && has != want.rows[t]:
			c.differs("%s has %d rows, and had %d", t, has, want.rows[t])
		}
	}
	if !written && len(c.Why) == 0 {
		c.differs("as many rows, and not the same")
	}
	return c, nil
}

// compareObjects compares what a database has besides tables.
func compareObjects(ctx context.Context, dir string, d Database) error {
	want, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(d.Objects)))
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "again.objects.sql")
	defer os.Remove(file)
	if _, _, err := dumpObjects(ctx, d, file); err != nil {
		return err
	}
	got, err := os.ReadFile(file)
	if err == nil && withoutSettings(got) != withoutSettings(want) {
		err = errors.New("its views, triggers, routines or events are not the same")
	}
	return err
}

// withoutSettings leaves out of a dump what says how to read it, which differs from
// one release of mariadb-dump to the next, and what stands in comments alone.
func withoutSettings(dump []byte) string {
	var b strings.Builder
	for line := range strings.Lines(string(dump)) {
		if !strings.HasPrefix(line, "/*M!") && !strings.HasPrefix(line, "-- ") && !strings.Contains(line, "@OLD_") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// accountLine is how a dump makes an account.
var accountLine = regexp.MustCompile("^CREATE (?:OR REPLACE )?(?:/\\*.*?\\*/ )?USER (?:IF NOT EXISTS )?[`']([^`']*)[`']@[`']([^`']*)[`']")

// accountsOf lists the accounts of a dump, as user@host.
func accountsOf(dump string) []string {
	var out []string
	for line := range strings.Lines(dump) {
		if m := accountLine.FindStringSubmatch(line); m != nil {
			out = append(out, m[1]+"@"+m[2])
		}
	}
	return out
}

func compareAccounts(ctx context.Context, file string) (Compared, error) {
	c := Compared{Part: "accounts"}
	dump, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		c.Snapshot, c.Back = "none", "-"
		return c, nil
	}
	if err != nil {
		return c, err
	}
	made, _ := siteAccounts(dump)
	want := accountsOf(made)
	c.Snapshot = strconv.Itoa(len(want))
	have, err := column(ctx, "SELECT CONCAT(user,'@',host) FROM mysql.global_priv")
	if err != nil {
		return c, err
	}
	n := 0
	for _, a := range want {
		if slices.Contains(have, a) {
			n++
		} else {
			c.differs("there is no account %s", a)
		}
	}
	c.Back = strconv.Itoa(n)
	return c, nil
}

// compareVolume compares every file of the snapshot with the one on the volume,
// byte for byte.
func (w Worker) compareVolume(ctx context.Context, j Job, s Stored) (Compared, error) {
	c := Compared{Part: "volume"}
	if ok, err := isMount(j.Mount); err != nil || !ok {
		return c, errors.Join(err, fmt.Errorf("%s is not mounted here", j.Mount))
	}
	r := w.restic(j)
	found, err := r.list(ctx)
	if err != nil {
		return c, err
	}
	var files, total, equal, same int64
	err = r.tar(ctx, found[j.ID], s.Mount, func(in io.Reader) error {
		return eachFile(in, s.Mount, func(rel string, data io.Reader) error {
			if top, _, _ := strings.Cut(rel, "/"); notSwapped(top) {
				return nil // no file of the site's, and not brought back
			}
			then, n, err := digest(data)
			if err != nil {
				return err
			}
			files, total = files+1, total+n
			f, err := os.Open(filepath.Join(j.Mount, filepath.FromSlash(rel)))
			if err != nil {
				c.differs("%v", err)
				return nil
			}
			defer f.Close()
			now, n, err := digest(f)
			if err != nil {
				return err
			}
			if now != then {
				c.differs("%s is not the same", rel)
				return nil
			}
			equal, same = equal+1, same+n
			return nil
		})
	})
	c.Snapshot, c.Back = countedFiles(files, total), countedFiles(equal, same)
	if err != nil {
		return c, err
	}
	there, err := filesOn(j.Mount, j.State)
	if err == nil && there > files {
		c.differs("%d are there, and the snapshot has %d", there, files)
	}
	return c, err
}

func countedFiles(n, total int64) string { return many(n, "file") + ", " + size(total) }

func digest(r io.Reader) (string, int64, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	return hex.EncodeToString(h.Sum(nil)), n, err
}

// filesOn counts the files of a volume that are no state of Slurm's, and neither
// ours nor the file system's own.
func filesOn(mount, state string) (int64, error) {
	n := int64(0)
	err := filepath.WalkDir(mount, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch {
		case filepath.Dir(p) == mount && notSwapped(d.Name()), state != "" && (p == state || strings.HasPrefix(p, state+ours)):
			if d.IsDir() {
				return filepath.SkipDir
			}
		case d.Type().IsRegular():
			n++
		}
		return nil
	})
	return n, err
}
