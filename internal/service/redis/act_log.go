package redis

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// A server with an append-only file reads that one at its start and no snapshot; a
// server without reads the snapshot alone. What it is told to do has to go with where
// its keys are, or it begins empty, and its copies after it.

// keepsLog says whether a server that is started with a configuration keeps an
// append-only file: the last line that says so counts, and what an earlier file said
// is before.
func keepsLog(conf []byte, before bool) bool {
	for line := range strings.Lines(string(conf)) {
		if w := strings.Fields(line); len(w) == 2 && strings.EqualFold(w[0], "appendonly") {
			before = strings.EqualFold(strings.Trim(w[1], `"'`), "yes")
		}
	}
	return before
}

// lookSetting sees whether a server keeps an append-only file when it is started with
// its files as they are: its own one includes the settings, at its top. Unsure is that
// it has no file of its own or lacks what it includes.
func lookSetting(ctx context.Context, r host.Reader, i instance) (service.Answer, error) {
	state, err := r.ReadFile(ctx, i.StateFile())
	if errors.Is(err, fs.ErrNotExist) {
		return unsure, nil
	}
	if err != nil {
		return unsure, err
	}
	on := false
	if hasLine(state, "include "+i.settingsFile()) {
		settings, err := r.ReadFile(ctx, i.settingsFile())
		if errors.Is(err, fs.ErrNotExist) {
			return unsure, nil
		}
		if err != nil {
			return unsure, err
		}
		on = keepsLog(settings, on)
	}
	if keepsLog(state, on) {
		return service.Yes, nil
	}
	return no, nil
}

// unread says why a stopped server would not have its keys if it were started with an
// append-only file, or without one; empty is that it has them. as is what it has to be
// started with instead, unsure where that cannot be told.
func (d disk) unread(log bool) (why string, as service.Answer) {
	switch {
	case d.data == no:
		return "", unsure
	case d.data == unsure && d.log == unsure:
		return d.why, unsure
	case d.data == unsure: // then as it was
		as, why = d.log, "it is to start as it was, for it cannot be seen whether it has keys: "+d.why
	case d.manifest && d.rdb:
		as, why = d.log, "it has both a snapshot and an append-only file, and used the other one last"
	case d.manifest:
		as, why = service.Yes, "its keys are in its append-only file alone"
	case d.rdb:
		as, why = no, "its keys are in its snapshot alone"
	default:
		return d.why + ", without the manifest that Redis finds them by", unsure
	}
	if as == unsure {
		return "it has both a snapshot and an append-only file, and which of them it used last is not written down", unsure
	}
	if (as == service.Yes) == log {
		return "", as
	}
	return why, as
}

// checkLog refuses where a server would be started without the keys that it has,
// because the file says something else of the append-only file than it has been doing.
// A server that runs, and stays what it is, is changed while it runs.
func (b *builder) checkLog(p part) error {
	want := b.s.wanted.conf.AppendOnly
	if !p.mine || p.guest || p.adopt {
		return nil
	}
	running := p.answer == running || p.answer == loading
	switch {
	case running && p.become && p.logs() != want:
		return refusal(fmt.Sprintf("Write redis.cluster.appendonly: %t and run up; change it, and run up again, once the cluster is formed.", !want),
			"%s is to become a node of the cluster by a restart, and redis.cluster.appendonly is %t where it runs with %t: it would not read the keys that it has", p.at, want, !want)
	case running || !p.managed:
		return nil
	}
	why, as := p.disk.unread(want)
	if why == "" {
		return nil
	}
	remedy := fmt.Sprintf("Write redis.cluster.appendonly: %t and run up; change it, and run up again, once all servers run.", as == service.Yes)
	if as == unsure {
		remedy = fmt.Sprintf("Look at the files in %s on %s by hand, and start %s with those that have the keys.", p.at.dir(), p.at.Host, p.at.unit())
	}
	return refusal(remedy, "%s is stopped and would be started without its keys by redis.cluster.appendonly: %t: %s", p.at, want, why)
}

// settingsStep writes the settings of a server. Whether it keeps an append-only file is
// changed while it runs, and written only when that is done: a server that ends in the
// middle is started with what it had, and has everything in that.
type settingsStep struct {
	plan.File
	at       instance
	password config.Secret
	log      bool
	save     string
}

// Do writes them.
func (s settingsStep) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	was, err := h.ReadFile(ctx, s.Path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && keepsLog(was, false) == s.log {
		return s.File.Do(ctx, h)
	}
	if err != nil {
		return nil, err
	}
	if _, err := h.Stat(ctx, s.at.StateFile()); errors.Is(err, fs.ErrNotExist) {
		return s.File.Do(ctx, h) // nothing was ever started with it
	}
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	back, err := s.live(ctx, h)
	if err != nil {
		return back, err
	}
	undo, err := s.File.Do(ctx, h)
	switch {
	case back == nil:
		return undo, err
	case undo == nil:
		return back, err
	}
	// The file follows the server on the way back too, and stays where that fails.
	return plan.Func{
		What:    undo.String() + "; " + back.String(),
		Timeout: settle,
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			if _, err := back.Do(ctx, h); err != nil {
				return nil, err
			}
			return undo.Do(ctx, h)
		},
	}, err
}

// live has the server do what is about to be written down, and returns the way back;
// nil is that nothing of ours runs there.
func (s settingsStep) live(ctx context.Context, h host.Host) (plan.Action, error) {
	c, err := reach(ctx, h, s.at, s.password.Reveal())
	if refused(err) {
		if why, _ := lookDisk(ctx, h, s.at).unread(s.log); why != "" {
			return nil, fmt.Errorf("%s does not run and would be started without its keys (%s): start it as it is (systemctl start %s), then run up again", s.at, why, s.at.unit())
		}
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer c.close()
	inf, err := loaded(ctx, c)
	if err != nil || inf["config_file"] != s.at.StateFile() {
		return nil, err // one that was set up by hand: it writes everything down before ours begins
	}
	conf, err := c.config("save")
	if err != nil {
		return nil, err
	}
	back := plan.Func{
		What:    fmt.Sprintf("%s keeps its keys on disk as before", s.at),
		Timeout: settle,
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			c, err := reach(ctx, h, s.at, s.password.Reveal())
			if err != nil {
				return nil, err
			}
			defer c.close()
			if err := switchLog(ctx, c, !s.log, conf["save"]); err != nil {
				return nil, err
			}
			return nil, remember(ctx, h, s.at, c)
		},
	}
	if err := switchLog(ctx, c, s.log, s.save); err != nil {
		return back, err
	}
	return back, remember(ctx, h, s.at, c)
}

// loaded waits until a server has read its data.
func loaded(ctx context.Context, c *conn) (info, error) {
	var inf info
	err := until(ctx, settle, "redis at "+c.addr+" has read its data", func() (ok bool, _ string, err error) {
		inf, err = c.info()
		return err == nil && inf["loading"] != "1", "loading", err
	})
	return inf, err
}

// switchLog has a running server begin or end its append-only file. When it returns,
// what the server reads at its next start has everything: the file that it began, or,
// before the old one ends, a snapshot. save is when it writes further ones.
func switchLog(ctx context.Context, c *conn, on bool, save string) error {
	if !on {
		if err := writeSnapshot(ctx, c); err != nil {
			return err
		}
		_, err := c.do("CONFIG", "SET", "save", save, "appendonly", "no")
		return err
	}
	if _, err := c.do("CONFIG", "SET", "appendonly", "yes"); err != nil {
		return err
	}
	return logComplete(ctx, c)
}

// logComplete waits until the append-only file holds everything.
func logComplete(ctx context.Context, c *conn) error {
	return until(ctx, settle, "the append-only file is written", func() (bool, string, error) {
		inf, err := c.info()
		return err == nil && logWritten(inf), "writing the append-only file", err
	})
}

// writeSnapshot has a server write one now, after what else it may be writing.
func writeSnapshot(ctx context.Context, c *conn) error {
	begun := false
	var failed error
	err := until(ctx, settle, "a snapshot is written", func() (bool, string, error) {
		inf, err := c.info()
		switch {
		case err != nil:
			return false, "", err
		case inf["rdb_bgsave_in_progress"] != "0" || inf["aof_rewrite_in_progress"] != "0":
			return false, "writing a snapshot", nil
		case begun && inf["rdb_last_bgsave_status"] != "ok":
			failed = fmt.Errorf("redis at %s could not write a snapshot: is the disk full?", c.addr)
			return true, "", nil
		case begun:
			return true, "", nil
		}
		_, err = c.do("BGSAVE")
		begun = err == nil
		return false, "writing a snapshot", err
	})
	return errors.Join(err, failed)
}

// readable refuses to start a server on its settings file alone where it would not have
// its keys then.
func readable(ctx context.Context, r host.Reader, i instance) error {
	settings, err := r.ReadFile(ctx, i.settingsFile())
	if err != nil {
		return err
	}
	if why, _ := lookDisk(ctx, r, i).unread(keepsLog(settings, false)); why != "" {
		return fmt.Errorf("%s is stopped and would be started without its keys (%s): look at %s by hand", i, why, path.Clean(i.dir()))
	}
	return nil
}
