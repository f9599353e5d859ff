package galera

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

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
	if raw, err := r.ReadFile(ctx, path.Join(dir, "gvwstate.dat")); err == nil {
		d.last, _ = parseView(raw) // a damaged one proves nothing, like none
	} else if !errors.Is(err, fs.ErrNotExist) {
		return disk{why: err.Error()}
	}
	if half, err := keptInPart(ctx, r, dir); err != nil || half != "" {
		if err != nil {
			return disk{why: err.Error()}
		}
		return disk{why: "what it had of another history is moved to " + half + " in part; mariadbd goes on with that when it starts"}
	}
	var schemas []string
	for _, e := range entries {
		switch {
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
	begun, emptied, err := transferBegun(ctx, r, dir, entries, d.hasState && d.state.uuid == "")
	if err != nil {
		return disk{why: err.Error()}
	}
	switch d.partial = begun && (emptied || len(schemas) == 0); {
	case d.partial:
		// What the file says is of what was there before the transfer.
		d.state.seqno, d.state.safe = -1, false
	case begun:
		// It was asked for a transfer, and has all its rows yet. Whether the file has
		// reached the disk since is not known.
		d.state = saved{seqno: -1}
	}
	switch {
	case d.state.uuid != "":
		d.data, d.why = service.Yes, "part of cluster "+d.state.uuid
	case d.partial:
		d.data, d.why = service.No, "a part of a state transfer that was cut off"
	case len(schemas) > 0:
		d.data, d.why = service.Yes, "databases "+strings.Join(schemas, ", ")
		if d.hasState {
			d.why = "grastate.dat has no identity any more: it was stopped while tables were changed, or before it was sent data"
			if begun {
				d.why = "it was stopped before it was sent data (sst_in_progress or .sst is there)"
			}
		}
	default:
		d.data, d.why = service.No, "no database but the server's own"
	}
	return d
}

// keptInPart is the directory to which the script of state transfers was moving what is
// here when it was cut off; empty where there is none. What is left here says nothing
// of what it was then.
func keptInPart(ctx context.Context, r host.Reader, dir string) (string, error) {
	entries, err := r.ReadDir(ctx, path.Join(dir, keptDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name, ".part") {
			return path.Join(dir, keptDir, e.Name), nil
		}
	}
	return "", nil
}

// transferBegun says whether the script of state transfers was at work when the daemon
// ended, and whether it had come to deleting what was here, or already had the copy in
// its place. It makes sst_in_progress before it knows whether there is anything to copy,
// then .sst for the copy, and then deletes, mysql first (state-transfer.bash); when the
// copy is complete, with backup-my.cnf, it is moved out of .sst. That of rsync writes
// over what is here without a sign.
func transferBegun(ctx context.Context, r host.Reader, dir string, entries []host.FileInfo, unsaid bool) (begun, emptied bool, err error) {
	has := map[string]host.FileInfo{}
	var told *host.FileInfo // what the donor said of itself: it comes with the copy
	for i, e := range entries {
		has[e.Name] = e
		if strings.Contains(e.Name, "_galera_info") && (told == nil || e.ModTime.After(told.ModTime)) {
			told = &entries[i]
		}
	}
	_, asked := has["sst_in_progress"]
	_, copying := has[".sst"]
	_, system := has["mysql"]
	_, rsync := has["rsync_sst.conf"]
	if copying {
		entries, err := r.ReadDir(ctx, path.Join(dir, ".sst"))
		if err != nil {
			return false, false, err
		}
		emptied = slices.ContainsFunc(entries, func(e host.FileInfo) bool { return e.Name == "backup-my.cnf" })
	}
	// A copy that was complete before the file lost its identity is no news: it has been
	// served from since.
	arrived := told != nil && (asked || unsaid && told.ModTime.After(has["grastate.dat"].ModTime))
	return asked || copying || arrived, emptied || !system || arrived || asked && rsync, nil
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
