package galera

import (
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
	anew string // the identity that it goes on under; empty is the one it has
}

func (b begin) String() string {
	switch b.from {
	case adopted:
		return "start the cluster from the data that is there"
	case returning:
		if b.anew != "" {
			return "start the cluster again from this node, whose data goes furthest, under a new identity"
		}
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
	if b.from == returning {
		// The daemon refuses to start the cluster from a node that was not the
		// last to stop, unless it is told so on disk.
		err := rewrite(ctx, h, b.at.dataDir, func(old []byte) []byte {
			if b.anew != "" {
				old = markPosition(old, b.anew, b.was.goesTo().seqno)
			}
			return markSafe(old)
		})
		if err != nil {
			return nil, err
		}
	}
	_, _ = h.Run(ctx, host.Command("systemctl", "reset-failed", unit))
	if _, err := h.Run(ctx, host.Command("galera_new_cluster")); err != nil {
		err = explain(ctx, h, err)
		if b.from == returning {
			// Not forgotten that it failed: a stop in order would count as a person's.
			_, serr := h.Run(context.WithoutCancel(ctx), host.Command("systemctl", "kill", "--signal=SIGKILL", unit))
			_, perr := h.Run(context.WithoutCancel(ctx), host.Command("systemctl", "stop", unit))
			return undo, errors.Join(err, serr, perr)
		}
		return undo, errors.Join(err, halt(context.WithoutCancel(ctx), h))
	}
	return undo, nil
}

// unchanged compares the data directory with what the decision rests on.
func (b begin) unchanged(ctx context.Context, r host.Reader) error {
	d := lookDisk(ctx, r, b.at.dataDir)
	switch {
	case d.data == service.Unsure:
		return fmt.Errorf("%s: %s", r.Name(), d.why)
	case b.from == fresh && d.data != service.No, d.state != b.was.state, d.found != b.was.found:
		return fmt.Errorf("%s: the data directory has changed since it was looked at (%s); run again", r.Name(), d.why)
	}
	return nil
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
var membership = []string{"grastate.dat", "gvwstate.dat", seenAside, "galera.cache"}

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
