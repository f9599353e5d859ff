package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"multihead/internal/backup"
	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/service"
)

// askLimit bounds what one head is asked.
const askLimit = 5 * time.Second

// timer is one line of the schedule.
type timer struct {
	name     string // "multihead-backup-full"
	cron     string // empty: there is none
	schedule backup.Schedule
	full     bool
}

// seat is one head.
type seat struct {
	name    string
	reached bool
	why     string
	key     []byte            // of the repositories; nil where there is none
	data    service.Answer    // there is a repository
	timers  map[string]string // by name, what systemd says: "active", "inactive"
	held    backup.Held
}

// State is what was found.
type State struct {
	root   string
	timers []timer
	seats  []seat
	now    time.Time
	drawn  []byte // a new key, for where nobody has one
	off    string // the off-site target; empty is none
}

var _ service.State = (*State)(nil)

// Observe asks every head at once.
func (*Service) Observe(ctx context.Context, in service.Input) (service.State, error) {
	b := in.Cluster.SharedStorage.Backup
	s := &State{root: b.Path, off: b.Offsite.Repository, now: time.Now()}
	var err error
	if s.timers, err = timers(b); err != nil {
		return nil, err
	}
	s.seats = make([]seat, len(in.Heads))
	var g errgroup.Group
	for i, n := range in.Heads {
		t := &s.seats[i]
		*t = seat{name: n.Name(), reached: n.Reached(), why: "not reached", timers: map[string]string{}}
		if n.Err != nil {
			t.why = n.Err.Error()
		}
		if n.Reached() {
			g.Go(func() error { t.look(ctx, n.Reader, s); return nil })
		}
	}
	_ = g.Wait() // what a head does not answer is part of what was found
	s.drawn, err = backup.NewKey()
	return s, err
}

func timers(b config.Backup) ([]timer, error) {
	out := []timer{{name: "multihead-backup-full", cron: b.Schedule.FullBackup, full: true},
		{name: "multihead-backup-incremental", cron: b.Schedule.Incremental}}
	for i := range out {
		if out[i].cron == "" {
			continue
		}
		var err error
		if out[i].schedule, err = backup.ParseCron(out[i].cron); err != nil {
			return nil, fmt.Errorf("shared_storage.backup.schedule: %w", err)
		}
	}
	return out, nil
}

func (t *seat) look(ctx context.Context, r host.Reader, s *State) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	lost := func(err error) { t.reached, t.why = false, err.Error() }
	key, err := r.ReadFile(ctx, backup.KeyFile)
	switch {
	case err == nil:
		t.key = key
	case !errors.Is(err, fs.ErrNotExist):
		lost(err)
		return
	}
	_, err = r.Stat(ctx, path.Join(backup.Layout{Root: s.root}.Repository(), "config"))
	switch {
	case err == nil:
		t.data = service.Yes
	case errors.Is(err, fs.ErrNotExist):
		t.data = service.No
	default:
		lost(err)
		return
	}
	for _, tm := range s.timers {
		out, err := r.Query(ctx, "systemctl", "show", "--property=ActiveState", "--value", tm.name+".timer")
		if err != nil {
			lost(err)
			return
		}
		t.timers[tm.name] = strings.TrimSpace(out)
	}
	t.held = backup.Look(ctx, map[string]host.Reader{t.name: r}, s.root)[t.name]
}
