package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"multihead/internal/backup"
)

// listed is what `backup list -o json` prints of a snapshot.
type listed struct {
	ID       string            `json:"id"`
	Time     time.Time         `json:"time"`
	Host     string            `json:"host"`
	Items    []string          `json:"items"`
	Full     bool              `json:"full"`
	Bytes    int64             `json:"bytes"`
	Heads    []string          `json:"heads"`
	Bad      map[string]string `json:"bad"`
	Verified *time.Time        `json:"verified"`
	Offsite  *backup.Offsite   `json:"offsite,omitempty"`
	Software map[string]string `json:"software"`
	Warnings []string          `json:"warnings"`
}

func (a *app) backupList(ctx context.Context, f backupFlags) error {
	f.lookOnly = true
	run, err := a.backupSession(ctx, f)
	if err != nil {
		return err
	}
	defer run.sess.close()
	a.saySkipped(run)
	held := backup.Look(ctx, run.sess.view.Readers(), run.sess.file.SharedStorage.Backup.Path)
	list := backup.Merge(held)
	problems := a.sayUnreadable(held)
	if *f.output == "json" {
		out := struct {
			Version   int      `json:"version"`
			Snapshots []listed `json:"snapshots"`
			Problems  []string `json:"problems"`
		}{1, []listed{}, problems}
		for _, s := range list {
			l := listed{ID: s.ID, Time: s.Time, Host: s.Host, Items: s.Items, Full: s.Full, Bytes: s.Bytes, Heads: append([]string{}, s.On...), Bad: s.Bad, Software: s.Software, Warnings: append([]string{}, s.Warnings...), Offsite: s.Offsite}
			if !s.Verified.IsZero() {
				l.Verified = &s.Verified
			}
			out.Snapshots = append(out.Snapshots, l)
		}
		return a.printJSON(out)
	}
	if len(list) == 0 {
		fmt.Fprintln(a.stdout, a.tr("There is no snapshot yet: multihead backup create makes one."))
		return nil
	}
	printSnapshots(a.stdout, list, backup.Zone(run.sess.file))
	return nil
}

func printSnapshots(w io.Writer, list []backup.Snapshot, zone *time.Location) {
	fmt.Fprintf(w, "%-16s  %-20s  %-12s  %8s  %-24s  %-16s  %s\n", "ID", "TIME", "MADE BY", "SIZE", "ON", "VERIFIED", "ITEMS")
	for _, s := range list {
		verified := "no"
		if !s.Verified.IsZero() {
			verified = s.Verified.In(zone).Format("2006-01-02 15:04")
		}
		fmt.Fprintf(w, "%-16s  %-20s  %-12s  %8s  %-24s  %-16s  %s\n", s.ID, s.Time.In(zone).Format(time.DateTime), s.Host, backup.Size(s.Bytes),
			strings.Join(s.On, ","), verified, strings.Join(s.Items, ","))
		for _, h := range slices.Sorted(maps.Keys(s.Bad)) {
			fmt.Fprintf(w, "  %s: DAMAGED: %s\n", h, s.Bad[h])
		}
		if s.Offsite != nil && s.Offsite.Error == "" {
			fmt.Fprintf(w, "  off-site: copied %s\n", s.Offsite.At.In(zone).Format("2006-01-02 15:04"))
		} else if s.Offsite != nil {
			fmt.Fprintf(w, "  off-site: FAILED: %s\n", s.Offsite.Error)
		}
		for _, warning := range s.Warnings {
			fmt.Fprintf(w, "  %s\n", warning)
		}
	}
}

func (a *app) sayUnreadable(held map[string]backup.Held) []string {
	out := []string{}
	for _, n := range slices.Sorted(maps.Keys(held)) {
		h := held[n]
		if h.Err != nil {
			out = append(out, fmt.Sprintf("%s: %v", n, h.Err))
		}
		for _, u := range h.Unknown {
			out = append(out, fmt.Sprintf("%s: %s", n, u))
		}
	}
	for _, line := range out {
		fmt.Fprintln(a.stderr, line)
	}
	return out
}

func (a *app) backupVerify(ctx context.Context, f backupFlags) error {
	if f.id != "" && !backup.ValidID(f.id) {
		return usageError(fmt.Errorf("%q is no snapshot id; multihead backup list shows them", f.id))
	}
	run, err := a.backupSession(ctx, f)
	if err != nil {
		return err
	}
	defer run.sess.close()
	a.saySkipped(run)
	root := run.sess.file.SharedStorage.Backup.Path
	held := backup.Look(ctx, run.sess.view.Readers(), root)
	bad := a.sayUnreadable(held)
	on, err := whatToVerify(held, f)
	if err != nil {
		return err
	}
	// One that is damaged keeps no other from being read.
	var errs []error
	for _, h := range slices.Sorted(maps.Keys(on)) {
		for _, id := range on[h] {
			err := a.carryBackup(ctx, run, backup.Verify(root, map[string][]string{h: {id}}, f.deep), true)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			fmt.Fprintf(a.stdout, a.tr("%s on %s: whole\n"), id, h)
		}
	}
	if len(bad) > 0 {
		errs = append(errs, errors.New(strings.Join(bad, "; ")))
	}
	if err := errors.Join(errs...); err != nil {
		return &exitError{exitFailed, err}
	}
	return nil
}

func whatToVerify(held map[string]backup.Held, f backupFlags) (map[string][]string, error) {
	list := backup.Merge(held)
	if len(list) == 0 {
		return nil, &exitError{exitFailed, errors.New("there is no snapshot")}
	}
	id := f.id
	if f.latest {
		id = list[len(list)-1].ID
	}
	on := map[string][]string{}
	for n, h := range held {
		for _, s := range h.Stored {
			if id == "" || s.ID == id {
				on[n] = append(on[n], s.ID)
			}
		}
	}
	if len(on) == 0 {
		return nil, &exitError{exitFailed, fmt.Errorf("no head has the snapshot %s; multihead backup list shows what there is", id)}
	}
	return on, nil
}
