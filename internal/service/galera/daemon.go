package galera

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"syscall"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// origin is what a node brings along, and so what undoing its start means.
type origin int

const (
	fresh     origin = iota // nothing: its data directory is made in this run
	adopted                 // data of a server on its own, which goes on under Galera
	returning               // data of this very cluster
)

// begin starts the cluster on one node, as the first of it.
//
// The daemon is told on its command line, once, and nothing on disk says so:
// what starts with an empty list of members on disk forms a second cluster at
// the next boot.
type begin struct {
	at   layout
	from origin
	was  disk // as it was when it was decided that the cluster begins here
	root config.Secret
}

func (b begin) String() string {
	switch b.from {
	case adopted:
		return "start the cluster from the data that is there"
	case returning:
		return "start the cluster again from this node, whose data goes furthest"
	}
	return "form the cluster"
}

// Done says whether this node is part of a cluster with quorum.
func (b begin) Done(ctx context.Context, r host.Reader) (bool, error) {
	s, err := ask(ctx, r, b.at, b.root)
	if err != nil {
		if noDaemon(err) {
			return false, nil
		}
		return false, err
	}
	return s.primary(), nil
}

// Preview counts it as something new.
func (b begin) Preview(context.Context, host.Reader) (plan.Preview, error) {
	if b.from == fresh {
		return plan.Preview{Kind: plan.Add}, nil
	}
	return plan.Preview{Kind: plan.Change}, nil
}

// Do looks again, for what was decided on may have changed, and starts it.
func (b begin) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	active, err := activity(ctx, h)
	if err != nil {
		return nil, err
	}
	if active != "inactive" && active != "failed" {
		return nil, fmt.Errorf("%s: mariadbd is %s since it was looked at; run again", h.Name(), active)
	}
	if err := b.unchanged(ctx, h); err != nil {
		return nil, err
	}
	undo := leave{at: b.at, from: b.from}
	if b.from == returning && !b.was.state.safe {
		if err := permit(ctx, h, b.at.dataDir); err != nil {
			return nil, err
		}
	}
	_, _ = h.Run(ctx, host.Command("systemctl", "reset-failed", unit))
	if _, err := h.Run(ctx, host.Command("galera_new_cluster")); err != nil {
		return undo, errors.Join(explain(ctx, h, err), halt(context.WithoutCancel(ctx), h))
	}
	return undo, nil
}

// unchanged compares the data directory with what the decision rests on.
func (b begin) unchanged(ctx context.Context, r host.Reader) error {
	d := lookDisk(ctx, r, b.at.dataDir)
	switch {
	case d.data == service.Unsure:
		return fmt.Errorf("%s: %s", r.Name(), d.why)
	case b.from == fresh && d.data != service.No, d.state != b.was.state:
		return fmt.Errorf("%s: the data directory has changed since it was looked at (%s); run again", r.Name(), d.why)
	}
	return nil
}

// permit sets the flag in grastate.dat without which the daemon refuses to
// start the cluster from a node that was not the last to stop.
func permit(ctx context.Context, h host.Host, dataDir string) error {
	name := path.Join(dataDir, "grastate.dat")
	info, err := h.Stat(ctx, name)
	if err != nil {
		return err
	}
	old, err := h.ReadFile(ctx, name)
	if err != nil {
		return err
	}
	marked := markSafe(old)
	if bytes.Equal(old, marked) {
		return nil
	}
	return h.WriteFile(ctx, name, marked, host.Attr{Mode: info.Mode.Perm(), Owner: info.Owner, Group: info.Group})
}

// join starts a node that becomes part of a cluster that lives. The start ends
// when it has all data.
//
// Data comes from nodes that were members before. One that has only just joined
// is taken as a donor by Galera as well, and was seen to fail in it: its own
// history ends some write sets short of what the joiner waits for, or its
// tables are being altered by mariadb-upgrade. Galera is told on disk, for this
// start alone; afterwards anybody may be the donor again.
type join struct {
	plan.Unit
	at     layout
	from   origin
	root   config.Secret
	donors []string // names of nodes
}

func (j join) String() string {
	if j.from == returning {
		return "start mariadbd, which is sent what it missed"
	}
	return "start mariadbd, which is sent all data"
}

// Done says whether the daemon runs with its files and is part of a cluster.
func (j join) Done(ctx context.Context, r host.Reader) (bool, error) {
	if ok, err := j.Unit.Done(ctx, r); !ok || err != nil {
		return false, err
	}
	s, err := ask(ctx, r, j.at, j.root)
	return err == nil && s.primary(), err
}

// Do starts it. A start that failed is ended at once: systemd would try again,
// and a node that goes while it is half in counts as one that died, which takes
// the quorum from a cluster that it makes the second of.
func (j join) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	if s, err := ask(ctx, h, j.at, j.root); err == nil && s.component == disconnected {
		if err := halt(ctx, h); err != nil {
			return nil, err
		}
	}
	only := fmt.Sprintf("# Managed by multihead; it is removed when the node has joined.\n[mysqld]\nwsrep_sst_donor = %q\n", strings.Join(j.donors, ","))
	if err := h.WriteFile(ctx, j.at.joinFile(), []byte(only), readable); err != nil {
		return nil, err
	}
	undo, err := j.Unit.Do(ctx, h)
	if err == nil {
		err = j.settle(ctx, h)
	}
	if err != nil {
		err = errors.Join(err, halt(context.WithoutCancel(ctx), h))
	}
	err = errors.Join(err, h.Remove(context.WithoutCancel(ctx), j.at.joinFile()))
	if undo == nil || j.from == returning {
		return undo, err
	}
	return plan.Both(leave{at: j.at, from: j.from}, undo), err
}

const (
	// settles is how long a node that has started may take to have all data.
	settles = 2 * time.Minute
	// restarts is how often one that left the cluster again is restarted.
	restarts = 3
)

// settle waits until the node has all data. Where several heads join at once
// and the donor lags behind their coming and going, Galera is seen to end the
// transfer some write sets short ("IST didn't contain all write sets"): the
// daemon then runs on outside the cluster, and its own log asks for a restart,
// after which it is sent the rest.
func (j join) settle(ctx context.Context, h host.Host) error {
	var last string
	until := time.Now().Add(settles)
	for left := restarts; ; {
		s, err := ask(ctx, h, j.at, j.root)
		switch {
		case err != nil:
			last = err.Error()
		case s.synced():
			return nil
		case s.component == disconnected && left > 0:
			left--
			if _, err := h.Run(ctx, host.Command("systemctl", "restart", unit)); err != nil {
				return explain(ctx, h, err)
			}
			until = time.Now().Add(settles)
			continue
		default:
			last = s.component + ", " + s.sync
		}
		if time.Now().After(until) {
			return explain(ctx, h, fmt.Errorf("%s: mariadbd did not get all data in %s (last seen: %s)", h.Name(), settles, last))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(settleEvery):
		}
	}
}

// anyDonor lets every member give a node its data, or those that the file names.
// It is what a join ends with, and what a run that was killed may have left.
func (s *State) anyDonor(n node) plan.Action {
	want := s.conf.Config["wsrep_sst_donor"]
	return plan.Func{
		What: "let every member give it data",
		Kind: plan.Change,
		Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
			if done, err := (plan.Absent{Path: n.at.joinFile()}).Done(ctx, r); !done || err != nil {
				return false, err
			}
			st, err := ask(ctx, r, n.at, s.conf.RootPassword)
			return err == nil && st.donor == want, err
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			if err := h.Remove(ctx, n.at.joinFile()); err != nil {
				return nil, err
			}
			db, err := connect(ctx, h, n.at, s.conf.RootPassword)
			if err != nil {
				return nil, fmt.Errorf("%s: mariadbd: %w", h.Name(), err)
			}
			defer db.Close()
			_, err = db.ExecContext(ctx, "SET GLOBAL wsrep_sst_donor = ?", want)
			return nil, err
		},
	}
}

// Preview counts it as something new.
func (j join) Preview(ctx context.Context, r host.Reader) (plan.Preview, error) {
	if j.from == fresh {
		return plan.Preview{Kind: plan.Add}, nil
	}
	return j.Unit.Preview(ctx, r)
}

// halt stops the daemon, and systemd's attempts to start it.
func halt(ctx context.Context, h host.Host) error {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	_, err := h.Run(ctx, host.Command("systemctl", "stop", unit))
	_, _ = h.Run(ctx, host.Command("systemctl", "reset-failed", unit)) // there may be nothing to reset
	return err
}

// leave takes a node back out of a cluster that it got into in this run: the
// daemon stops, and its data directory becomes what it was. Data is never
// deleted: a directory that this run filled is kept aside.
type leave struct {
	at   layout
	from origin
}

func (l leave) String() string {
	if l.from == fresh {
		return "stop mariadbd, keep what was made aside and make an empty data directory"
	}
	return "stop mariadbd"
}

// Done is never sure without doing it.
func (l leave) Done(context.Context, host.Reader) (bool, error) { return false, nil }

// Do stops and cleans up.
func (l leave) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	if err := halt(ctx, h); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	switch l.from {
	case adopted:
		return nil, l.forget(ctx, h)
	case fresh:
		return nil, l.renew(ctx, h)
	}
	return nil, nil
}

// membership is what Galera puts into a data directory.
var membership = []string{"grastate.dat", "gvwstate.dat", "galera.cache"}

// forget takes away what made a server of its own a member. The cluster it was
// a member of lived in this run alone.
func (l leave) forget(ctx context.Context, h host.Host) error {
	var errs []error
	for _, f := range membership {
		errs = append(errs, h.Remove(ctx, path.Join(l.at.dataDir, f)))
	}
	return errors.Join(errs...)
}

// renew puts an empty data directory in the place of one that this run filled.
// Where nothing got as far as that, only the traces are taken away.
func (l leave) renew(ctx context.Context, h host.Host) error {
	entries, err := h.ReadDir(ctx, l.at.dataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var flag string
	system := false
	for _, e := range entries {
		system = system || e.Name == "mysql" && e.IsDir()
		if strings.HasPrefix(e.Name, "debian-") && strings.HasSuffix(e.Name, ".flag") {
			flag = e.Name
		}
	}
	if d := lookDisk(ctx, h, l.at.dataDir); system && d.data == service.No && d.state.uuid == "" && !d.partial {
		return l.forget(ctx, h)
	}
	info, err := h.Stat(ctx, l.at.dataDir)
	if err != nil {
		return err
	}
	aside := l.at.dataDir + ".undone-" + time.Now().UTC().Format("20060102T150405")
	if err := move(ctx, h, l.at.dataDir, aside); err != nil {
		return fmt.Errorf("%s: %s could not be kept aside: %w", h.Name(), l.at.dataDir, err)
	}
	if err := h.Mkdir(ctx, l.at.dataDir, host.Attr{Mode: info.Mode.Perm(), Owner: info.Owner, Group: info.Group}); err != nil {
		return err
	}
	// The same way in which the package makes it.
	_, err = h.Run(ctx, host.Cmd{Argv: []string{"mysql_install_db", "--rpm", "--cross-bootstrap", "--user=mysql",
		"--disable-log-bin", "--skip-test-db"}, Env: []string{"TMPDIR="}})
	if err == nil && flag != "" {
		err = h.WriteFile(ctx, path.Join(l.at.dataDir, flag), nil, host.Attr{Mode: 0o644})
	}
	return err
}

// move renames a directory. Where it cannot be renamed as a whole, because it is
// mounted or belongs to a layer below, what is in it is moved one by one, and
// the empty directory stays where it is.
func move(ctx context.Context, h host.Host, from, to string) error {
	err := h.Rename(ctx, from, to)
	if !errors.Is(err, syscall.EXDEV) && !errors.Is(err, syscall.EBUSY) {
		return err
	}
	info, serr := h.Stat(ctx, from)
	if serr != nil || !info.IsDir() {
		return err
	}
	if err := h.Mkdir(ctx, to, host.Attr{Mode: info.Mode.Perm(), Owner: info.Owner, Group: info.Group}); err != nil {
		return err
	}
	entries, err := h.ReadDir(ctx, from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		below := path.Join(from, e.Name)
		if err := move(ctx, h, below, path.Join(to, e.Name)); err != nil {
			return err
		}
		if e.IsDir() {
			if err := h.Remove(ctx, below); err != nil {
				return err
			}
		}
	}
	return nil
}

// explain adds the last lines of the daemon's journal to an error.
func explain(ctx context.Context, r host.Reader, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	out, qerr := r.Query(ctx, "journalctl", "--unit="+unit, "--lines=12", "--no-pager", "--output=cat")
	if out = strings.TrimSpace(out); qerr != nil || out == "" {
		return err
	}
	return fmt.Errorf("%w\n  its journal ends with:\n    %s", err, strings.ReplaceAll(out, "\n", "\n    "))
}
