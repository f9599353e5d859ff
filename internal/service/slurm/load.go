package slurm

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
)

// load makes a running slurmctld take files that are newer than what it has
// read. One that stands by is restarted, which nobody notices. The one in
// charge is told to read them, which costs no job and no request; before
// Slurm 23.11 that does not take new nodes or controllers, and it is restarted
// too: jobs go on, and commands wait for about a second.
type load struct {
	confs   []string
	restart bool
}

func (l load) String() string {
	if l.restart {
		return "let the standing-by slurmctld read its files again"
	}
	return "let slurmctld read its files again"
}

// Watches names the files.
func (l load) Watches() []string { return l.confs }

// Preview says what happens to the daemon.
func (l load) Preview(context.Context, host.Reader) (plan.Preview, error) {
	if l.restart {
		return plan.Preview{Kind: plan.Restart}, nil
	}
	return plan.Preview{Kind: plan.Run}, nil
}

// Done says whether the daemon has read its files since they were written. One
// that does not run reads them when it starts.
func (l load) Done(ctx context.Context, h host.Reader) (bool, error) {
	out, err := h.Query(ctx, "systemctl", "show", "--timestamp=us+utc", "--property=ActiveState,ExecMainStartTimestamp", ctldUnit)
	if err != nil {
		return false, err
	}
	var read time.Time
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch {
		case key == "ActiveState" && !running(value):
			return true, nil
		case key == "ExecMainStartTimestamp":
			if t, err := time.Parse("Mon 2006-01-02 15:04:05.999999 MST", value); err == nil {
				read = t
			}
		}
	}
	if info, err := h.Stat(ctx, loaded); err == nil && info.ModTime.After(read) {
		read = info.ModTime
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	for _, p := range l.confs {
		info, err := h.Stat(ctx, p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		if info.ModTime.After(read) {
			return false, nil
		}
	}
	return true, nil
}

// Do makes it read them. What takes it back is the undo of the files: it has to
// come after them.
func (l load) Do(ctx context.Context, h host.Host) (plan.Action, error) { return nil, l.now(ctx, h) }

// file is an action that writes one file.
type file interface {
	plan.Action
	plan.Toucher
	plan.Previewer
}

// conf is a file of a slurmctld that runs. Its undo makes the daemon read the
// old content again, once it is back.
type conf struct {
	file
	load load
}

// Do writes it.
func (c conf) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	undo, err := c.file.Do(ctx, h)
	again := plan.Func{What: c.load.String(), Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
		return nil, c.load.now(ctx, h)
	}}
	return plan.Both(again, undo), err
}

// loadLimit bounds it, with a controller that has to be killed on the way.
const loadLimit = 3 * time.Minute

func (l load) now(ctx context.Context, h host.Host) error {
	ctx, cancel := context.WithTimeout(ctx, loadLimit)
	defer cancel()
	version, err := h.Query(ctx, "scontrol", "version")
	if err != nil {
		return err
	}
	if l.restart || beforeReexec(version) {
		if _, err := h.Run(ctx, host.Command("systemctl", "restart", ctldUnit)); err != nil {
			return err
		}
	}
	if l.restart {
		return nil
	}
	if _, err := (awaitPing(h.Name())).Do(ctx, h); err != nil {
		return err
	}
	if err := reconfigure(ctx, h); err != nil {
		return err
	}
	if err := h.Mkdir(ctx, path.Dir(loaded), host.Attr{Mode: 0o755}); err != nil {
		return err
	}
	return h.WriteFile(ctx, loaded, nil, host.Attr{})
}

// reconfigureTries is how often a controller is told to read its files.
const reconfigureTries = 3

// reconfigure tells the controller in charge to read its files. One that is held up by
// something else (a database or a name that does not answer) does it after the command
// has given up waiting, and one that has only just taken over may refuse without a reason
// ("Unspecified error", seen on a busy head): asking again then does no harm. It is asked
// once it answers. One that takes connections and says nothing for long has locked itself
// up over it (seen in 24.11 on a busy head: its last words were "Reconfigure signal (SIGHUP)
// received", its heartbeat went on, so that no other took over): it is killed, and reads
// the files when its unit starts it again.
func reconfigure(ctx context.Context, h host.Host) error {
	for try := 1; ; try++ {
		_, err := h.Run(ctx, host.Command("scontrol", "reconfigure"))
		var exit *host.ExitError
		if !errors.As(err, &exit) || try == reconfigureTries {
			return err
		}
		said := exit.Stderr + exit.Stdout
		if !slices.ContainsFunc([]string{"timed out", "Unspecified error", "Unable to contact"}, func(s string) bool { return strings.Contains(said, s) }) {
			return err
		}
		if strings.Contains(said, "timed out") && deaf(ctx, h) {
			plan.Tell(ctx, "slurmctld takes connections and answers none since it was told to read its files: it is killed, and starts again")
			if _, kerr := h.Run(ctx, host.Command("systemctl", "kill", "--signal=KILL", "--kill-whom=main", ctldUnit)); kerr != nil {
				return errors.Join(err, kerr)
			}
		}
		if _, aerr := awaitPing(h.Name()).Do(ctx, h); aerr != nil {
			return errors.Join(err, aerr)
		}
	}
}

// deafTries is how often in a row a controller has to be silent, for 1.5 s each.
const deafTries = 10

// deaf says whether slurmctld answers to nothing for so long.
func deaf(ctx context.Context, r host.Reader) bool {
	for range deafTries {
		if ctx.Err() != nil || !dumb(ctx, r) {
			return false
		}
	}
	return true
}

// beforeReexec says whether this version's reconfigure leaves things out: from
// 23.11 on the daemon starts itself anew for it.
func beforeReexec(version string) bool { return before(version, 23, 11) }
