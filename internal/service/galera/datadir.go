package galera

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"multihead/internal/host"
	"multihead/internal/service"
)

// disk is what a data directory holds, seen from outside.
type disk struct {
	data     service.Answer // data that somebody would miss
	state    saved          // of grastate.dat, where there is one
	hasState bool
	found    gtid   // of one that was interrupted: what InnoDB says
	last     view   // whom it saw last with quorum; none after an orderly stop, or where the file is damaged
	partial  bool   // a state transfer was cut off: what is there is a part of a copy
	why      string // what was seen
}

// ownDirs are the directories of a server that nobody has put anything into.
var ownDirs = []string{"mysql", "performance_schema", "sys", "lost+found", "#rocksdb", "#innodb_redo"}

// lookDisk looks at the data directory of a server that does not answer. It
// says no only where it saw that there is nothing.
func lookDisk(ctx context.Context, r host.Reader, dir string) disk {
	entries, err := r.ReadDir(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return disk{data: service.No, why: dir + " is not there"}
	}
	if err != nil {
		return disk{why: err.Error()}
	}
	var d disk
	raw, err := r.ReadFile(ctx, path.Join(dir, "grastate.dat"))
	switch {
	case err == nil:
		if d.state, err = parseSaved(raw); err != nil {
			return disk{why: err.Error()}
		}
		d.hasState, d.found = true, parseFound(raw)
	case !errors.Is(err, fs.ErrNotExist):
		return disk{why: err.Error()}
	}
	for _, name := range []string{"gvwstate.dat", seenAside} {
		raw, err := r.ReadFile(ctx, path.Join(dir, name))
		if err == nil {
			d.last, _ = parseView(raw) // a damaged one proves nothing, like none
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return disk{why: err.Error()}
		}
		if d.state.uuid != "" {
			break // what is aside is of before it had its identity
		}
	}
	var schemas []string
	var written time.Time // grastate.dat
	for _, e := range entries {
		if e.Name == "grastate.dat" {
			written = e.ModTime
		}
	}
	for _, e := range entries {
		switch {
		case e.Name == "sst_in_progress" || e.Name == ".sst":
			d.partial = true
		case strings.Contains(e.Name, "_galera_info") && d.hasState && d.state.uuid == "" && !e.ModTime.Before(written):
			// The copy is there, and the daemon was killed before it had written
			// down what it is of. (One that came before is what it has served from since.)
			d.partial = true
		case e.IsDir() && e.Name == "test":
			if empty, err := emptySchema(ctx, r, path.Join(dir, e.Name)); err != nil {
				return disk{why: err.Error()}
			} else if !empty {
				schemas = append(schemas, e.Name)
			}
		case e.IsDir() && !strings.HasPrefix(e.Name, ".") && !slices.Contains(ownDirs, e.Name):
			schemas = append(schemas, e.Name)
		}
	}
	if d.partial {
		// What the file says is of what was there before the transfer.
		d.state.seqno, d.state.safe = -1, false
	}
	switch {
	case d.state.uuid != "":
		d.data, d.why = service.Yes, "part of cluster "+d.state.uuid
	case d.partial:
		d.data, d.why = service.No, "a part of a state transfer that was cut off"
	case len(schemas) > 0:
		d.data, d.why = service.Yes, "databases "+strings.Join(schemas, ", ")
		if d.interrupted() {
			d.why = "grastate.dat has no identity any more: it was stopped while tables were changed"
		}
	default:
		d.data, d.why = service.No, "no database but the server's own"
	}
	return d
}

// emptySchema says whether a database has no table: its directory holds
// nothing but its own options.
func emptySchema(ctx context.Context, r host.Reader, dir string) (bool, error) {
	entries, err := r.ReadDir(ctx, dir)
	if err != nil {
		return false, err
	}
	return !slices.ContainsFunc(entries, func(e host.FileInfo) bool { return e.Name != "db.opt" }), nil
}
