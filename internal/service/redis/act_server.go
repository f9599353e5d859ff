package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"multihead/internal/config"
	"multihead/internal/host"
	"multihead/internal/plan"
)

// every is the time between two looks at a server that changes by itself; one
// look costs it well under a millisecond.
const every = 50 * time.Millisecond

// until looks again and again until cond holds, and says at the end what it
// saw last.
func until(ctx context.Context, limit time.Duration, what string, cond func() (ok bool, state string, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		ok, state, err := cond()
		if err == nil && ok {
			return nil
		}
		select {
		case <-ctx.Done():
			if err != nil {
				return fmt.Errorf("not so after %s: %s: %w", limit, what, err)
			}
			return fmt.Errorf("not so after %s: %s (last seen: %s)", limit, what, state)
		case <-tick.C:
		}
		if err == nil && state != "" {
			plan.Tell(ctx, state)
		}
	}
}

// onServer asks a server from its own host.
func onServer(ctx context.Context, h host.Reader, i instance, password config.Secret, ask func(c *conn) (bool, error)) (bool, error) {
	c, err := reach(ctx, h, i, password.Reveal())
	if err != nil {
		if starting(err) {
			return false, nil // not there yet: the steps before bring it up
		}
		return false, err
	}
	defer c.close()
	ok, err := ask(c)
	if err != nil && starting(err) {
		return false, nil
	}
	return ok, err
}

// unitThere says whether systemd knows a unit.
func unitThere(ctx context.Context, h host.Reader, unit string) (bool, error) {
	out, err := h.Query(ctx, "systemctl", "show", unit, "--property=LoadState")
	if err != nil {
		return false, err
	}
	return strings.TrimSpace(out) != "LoadState=not-found", nil
}

// unitPart is a file that adds to a unit. systemd reads it again at once where
// the unit runs and is not about to be started: the next start counts on it.
type unitPart struct {
	plan.File
	unit string
}

// Do writes it.
func (u unitPart) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	undo, err := u.File.Do(ctx, h)
	if err != nil {
		return undo, err
	}
	out, err := h.Query(ctx, "systemctl", "show", u.unit, "--property=ActiveState")
	if err == nil && strings.TrimSpace(out) == "ActiveState=active" {
		_, err = h.Run(ctx, host.Command("systemctl", "daemon-reload"))
	}
	return undo, err
}

// retire keeps one of the package's own daemons from running. It is enabled by
// the package's installation, so that before the installation there is nothing
// to stop yet and the step is not done.
func retire(unit string, guard func(ctx context.Context, h host.Host) error) plan.Action {
	off := plan.Stopped(unit)
	return plan.Func{
		What: "stop the package's own " + unit,
		Kind: plan.Change,
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			there, err := unitThere(ctx, h, unit)
			if err != nil || !there {
				return false, err
			}
			return off.Done(ctx, h)
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			there, err := unitThere(ctx, h, unit)
			if err != nil || !there {
				return nil, err // another distribution's package has none
			}
			if err := guard(ctx, h); err != nil {
				return nil, err
			}
			return off.Do(ctx, h)
		},
	}
}

// mustBeEmpty looks once more at a server that had no keys when the plan was
// made.
func mustBeEmpty(ctx context.Context, h host.Reader, i instance, password config.Secret) error {
	c, err := reach(ctx, h, i, password.Reveal())
	if refused(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer c.close()
	inf, err := c.info()
	if err != nil {
		return err
	}
	if keys := inf.keys(); len(keys) > 0 && inf["config_file"] != i.StateFile() {
		return fmt.Errorf("%s has got keys since the plan was made (%v): run up again, it keeps them", i, keys)
	}
	return nil
}

// keepKeys takes over a server that was set up by hand: it is made to write
// everything it has into an append-only file and a snapshot, in the directory
// where ours goes on, and is stopped. Nothing is moved or deleted.
func keepKeys(i instance, password config.Secret, appendOnly bool) plan.Action {
	return plan.Func{
		What: fmt.Sprintf("write all keys of %s on %s to disk and stop it; %s goes on with them", defaultUnit, i, i.unit()),
		Kind: plan.Restart,
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			_, err := h.Stat(ctx, i.StateFile())
			if errors.Is(err, fs.ErrNotExist) {
				return false, nil
			}
			return err == nil, err
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			on := plan.Unit{Name: defaultUnit, Active: yes()}
			if _, err := on.Do(ctx, h); err != nil { // it may be stopped, with its keys on disk
				return nil, err
			}
			if err := writeDown(ctx, h, i, password, appendOnly); err != nil {
				return nil, err
			}
			return plan.Stopped(defaultUnit).Do(ctx, h)
		},
		Timeout: settle,
	}
}

func yes() *bool { b := true; return &b }

func writeDown(ctx context.Context, h host.Host, i instance, password config.Secret, appendOnly bool) error {
	var c *conn
	err := until(ctx, settle, i.String()+" answers", func() (ok bool, _ string, err error) {
		if c, err = reach(ctx, h, i, password.Reveal()); err != nil {
			return false, "", err
		}
		inf, err := c.info()
		if err == nil && inf["loading"] != "1" {
			return true, "", nil
		}
		c.close()
		return false, "loading", err
	})
	if err != nil {
		return err
	}
	defer c.close()
	conf, err := c.config("dir", "dbfilename", "appenddirname", "appendfilename")
	if err != nil {
		return err
	}
	if path.Clean(conf["dir"]) != i.dir() || conf["dbfilename"] != "dump.rdb" || conf["appenddirname"] != "appendonlydir" || conf["appendfilename"] != "appendonly.aof" {
		return fmt.Errorf("%s keeps its data in %s under names of its own (%s, %s/%s): move it to %s by hand first",
			i, conf["dir"], conf["dbfilename"], conf["appenddirname"], conf["appendfilename"], i.dir())
	}
	// The snapshot at the end is for the way back: the old server reads it.
	if _, err := c.do("CONFIG", "SET", "shutdown-on-sigterm", "save"); err != nil {
		return err
	}
	if !appendOnly {
		return nil
	}
	if _, err := c.do("CONFIG", "SET", "appendonly", "yes"); err != nil {
		return err
	}
	return logComplete(ctx, c)
}

// logWritten says whether the append-only file holds everything.
func logWritten(i info) bool {
	return i["aof_enabled"] == "1" && i["aof_rewrite_in_progress"] == "0" && i["aof_rewrite_scheduled"] == "0" &&
		i["aof_last_bgrewrite_status"] == "ok" && i["aof_last_write_status"] == "ok"
}

// stateFile makes the file that a server is started with. What Redis writes
// into it later is Redis's own and stays.
func stateFile(i instance, appendOnly bool) plan.Action {
	file := plan.File{Path: i.StateFile(), Data: stateText(i), Secret: true, // Redis may write the password into it
		Attr: host.Attr{Mode: 0o640, Owner: "redis", Group: "redis"}}
	include := "include " + i.settingsFile()
	return plan.Func{
		What: "make " + i.StateFile(),
		Kind: plan.Add,
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			b, err := h.ReadFile(ctx, i.StateFile())
			if errors.Is(err, fs.ErrNotExist) {
				return false, nil
			}
			return err == nil && hasLine(b, include), err
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			// Redis with an append-only file asked for reads no snapshot: it
			// would begin empty beside it. It starts without, and the settings
			// step then switches the file on, which writes everything into it.
			f := file
			if d := lookDisk(ctx, h, i); appendOnly && d.snapshot {
				f.Data = append(bytes.Clone(f.Data), "appendonly no\n"...)
			}
			return f.Do(ctx, h)
		},
	}
}

func hasLine(text []byte, line string) bool {
	for l := range strings.Lines(string(text)) {
		if strings.TrimSpace(l) == line {
			return true
		}
	}
	return false
}

// dataDir makes the directory of a server, and takes away on the way back what
// a server that began in it has written there. What was there before stays, also where
// only the directory's owner was another.
func dataDir(i instance) plan.Action {
	dir := plan.Dir{Path: i.dir(), Attr: host.Attr{Mode: 0o750, Owner: "redis", Group: "redis"}}
	return plan.Func{
		What: "make the data directory " + i.dir(),
		Kind: plan.Add,
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			if ok, err := dir.Done(ctx, h); !ok || err != nil {
				return false, err
			}
			return anyData(ctx, h, i)
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			there, err := anyData(ctx, h, i)
			if err != nil {
				return nil, err
			}
			undo, err := dir.Do(ctx, h)
			if err != nil || there {
				return undo, err
			}
			return plan.Both(undo, plan.Func{
				What:   "take away what the server " + i.String() + " made in " + i.dir(),
				Change: func(ctx context.Context, h host.Host) (plan.Action, error) { return nil, sweep(ctx, h, i) },
			}), nil
		},
	}
}

// anyData says whether a server's directory has anything that a server keeps there.
func anyData(ctx context.Context, h host.Reader, i instance) (bool, error) {
	for _, name := range []string{i.nodeFile(), "appendonlydir", "dump.rdb"} {
		_, err := h.Stat(ctx, path.Join(i.dir(), name))
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return false, nil
}

// sweep removes the files of a server that runs no more and has no keys. Files
// with keys are kept aside, outside of what a purge of the package takes away.
func sweep(ctx context.Context, h host.Host, i instance) error {
	if c, err := h.Dial(ctx, "tcp", i.local()); err == nil {
		_ = c.Close()
		return fmt.Errorf("%s still runs: its files stay", i)
	}
	d := lookDisk(ctx, h, i)
	if d.data != no {
		if d.data == unsure {
			return fmt.Errorf("%s: it cannot be seen whether there are keys, so the files stay: %s", i, d.why)
		}
		return moveAside(ctx, h, i)
	}
	var errs []error
	log := path.Join(i.dir(), "appendonlydir")
	files, err := h.ReadDir(ctx, log)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, f := range files {
		errs = append(errs, h.Remove(ctx, path.Join(log, f.Name)))
	}
	for _, name := range []string{"appendonlydir", "dump.rdb", i.nodeFile()} {
		errs = append(errs, h.Remove(ctx, path.Join(i.dir(), name)))
	}
	return errors.Join(errs...)
}

// moveAside keeps a server's files under a free name beside the package's
// directory.
func moveAside(ctx context.Context, h host.Host, i instance) error {
	to := ""
	for n := 1; to == "" && n < 1000; n++ {
		name := fmt.Sprintf("%s-%d", i.aside(), n)
		if _, err := h.Stat(ctx, name); errors.Is(err, fs.ErrNotExist) {
			to = name
		} else if err != nil {
			return err
		}
	}
	if err := h.Mkdir(ctx, to, host.Attr{Mode: 0o700}); err != nil {
		return err
	}
	for _, name := range []string{"appendonlydir", "dump.rdb", i.nodeFile()} {
		err := h.Rename(ctx, path.Join(i.dir(), name), path.Join(to, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// inForce makes a running server have its settings without a restart. want
// are all of them; those that need a restart are left to the start.
func inForce(i instance, want []setting, password config.Secret) plan.Action {
	var live []setting
	names := []string{}
	for _, s := range want {
		if s.Live {
			live = append(live, s)
			names = append(names, s.Name)
		}
	}
	differing := func(c *conn) ([]setting, map[string]string, error) {
		have, err := c.config(names...)
		var out []setting
		for _, s := range live {
			if err == nil && !s.same(have[s.Name]) {
				out = append(out, s)
			}
		}
		return out, have, err
	}
	return plan.Func{
		What: fmt.Sprintf("put the settings of port %d in force", i.Port),
		Kind: plan.Change,
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			return onServer(ctx, h, i, password, func(c *conn) (bool, error) {
				diff, _, err := differing(c)
				return err == nil && len(diff) == 0, err
			})
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			c, err := reach(ctx, h, i, password.Reveal())
			if err != nil {
				return nil, err
			}
			defer c.close()
			diff, have, err := differing(c)
			if err != nil {
				return nil, err
			}
			set := []string{"CONFIG", "SET"}
			var old []setting
			var requirepass *config.Secret
			for _, s := range diff {
				old = append(old, setting{Name: s.Name, Value: quoteWord(have[s.Name]), Live: true})
				switch s.Name {
				case "appendonly": // first, and until it is complete: remember makes it what the next start reads
					if err := turnLog(ctx, c, s.plain() == "yes", live); err != nil {
						return inForce(i, old, password), err
					}
					continue
				case "requirepass":
					p := config.NewSecret(s.plain())
					requirepass = &p
				}
				set = append(set, s.Name, s.plain())
			}
			if len(set) > 2 {
				if err := c.setAll(set, requirepass); err != nil {
					return nil, err
				}
			}
			return inForce(i, old, password), remember(ctx, h, i, c)
		},
		Timeout: settle,
	}
}

// turnLog is switchLog with the times for snapshots that are wanted, or that it has.
func turnLog(ctx context.Context, c *conn, on bool, want []setting) error {
	conf, err := c.config("save")
	if err != nil {
		return err
	}
	save := conf["save"]
	if k := slices.IndexFunc(want, func(s setting) bool { return s.Name == "save" }); k >= 0 {
		save = want[k].plain()
	}
	return switchLog(ctx, c, on, save)
}

// remember has a server write its settings into its own file where it has done
// so before: what stands there outweighs the settings file at the next start.
func remember(ctx context.Context, h host.Reader, i instance, c *conn) error {
	b, err := h.ReadFile(ctx, i.StateFile())
	if err != nil {
		return err
	}
	if bytes.Equal(b, stateText(i)) {
		return nil
	}
	_, err = c.do("CONFIG", "REWRITE")
	return err
}

// adopted starts a server on the data of one that was set up by hand. On the
// way back it leaves a snapshot with everything in it, for the old one, which
// may not read append-only files.
type adopted struct {
	plan.Unit
	at       instance
	password config.Secret
}

// Do starts it.
func (a adopted) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	undo, err := a.Unit.Do(ctx, h)
	return plan.Both(undo, plan.Func{
		What: "have " + a.at.String() + " write a snapshot when it stops",
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			c, err := reach(ctx, h, a.at, a.password.Reveal())
			if err != nil {
				return nil, ifStarting(err)
			}
			defer c.close()
			_, err = c.do("CONFIG", "SET", "shutdown-on-sigterm", "save")
			return nil, err
		},
	}), err
}
