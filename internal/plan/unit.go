package plan

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"multihead/internal/host"
)

// Unit makes a systemd unit be as wanted: at boot, and now.
type Unit struct {
	Name    string        // "redis-server@6379.service"; a name without a dot is a service
	Enabled *bool         // starts at boot; nil leaves it as it is
	Active  *bool         // runs now; nil leaves it as it is
	Reads   []string      // files that it reads when it starts: newer than its start means restart
	Program bool          // restart where it runs from a program that does not lie there any more
	Reload  bool          // reload instead of restart, for a daemon that can
	Timeout time.Duration // how long starting may take; zero is two minutes
	Then    Action        // what is waited for where the undo restarts it; nil is nothing
}

// Running is a unit that runs now and at every boot, and is restarted when one
// of the files it reads is newer than its start.
func Running(name string, reads ...string) Unit {
	yes := true
	return Unit{Name: name, Enabled: &yes, Active: &yes, Reads: reads}
}

// Started runs now and is left out of the boot: something else starts it then.
func Started(name string, reads ...string) Unit {
	yes, no := true, false
	return Unit{Name: name, Enabled: &no, Active: &yes, Reads: reads}
}

// Stopped neither runs nor starts at boot.
func Stopped(name string) Unit {
	no := false
	return Unit{Name: name, Enabled: &no, Active: &no}
}

// Masked is not offered on purpose: a masked unit surprises the next person.

// Stopper is an Action that stops a unit, whose name it returns; empty where it stops
// none. Who starts later what was stopped asks for it.
type Stopper interface{ Stops() string }

// Stops implements Stopper.
func (u Unit) Stops() string {
	if u.Active == nil || *u.Active {
		return ""
	}
	return u.Name
}

func (u Unit) String() string {
	switch {
	case u.Active != nil && *u.Active:
		return "start " + u.Name
	case u.Active != nil:
		return "stop " + u.Name
	case u.Enabled != nil && *u.Enabled:
		return "enable " + u.Name
	default:
		return "disable " + u.Name
	}
}

// unitState is what systemd says of a unit.
type unitState struct {
	load, active, file string
	started            time.Time // its main process began; for a unit without one, it became active
	changed            time.Time // its state last changed; a reload counts
	pid                string    // of its main process
	unread             bool      // its files on disk are newer than what systemd has read
}

// lookUnit asks systemd once for everything that is needed.
func lookUnit(ctx context.Context, h host.Reader, name string) (unitState, error) {
	out, err := h.Query(ctx, "systemctl", "show", "--timestamp=us+utc", name,
		"--property=LoadState,ActiveState,UnitFileState,ActiveEnterTimestamp,ExecMainStartTimestamp,StateChangeTimestamp,NeedDaemonReload,MainPID")
	if err != nil {
		return unitState{}, err
	}
	var s unitState
	for _, line := range strings.Split(out, "\n") {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "LoadState":
			s.load = value
		case "ActiveState":
			s.active = value
		case "UnitFileState":
			s.file = value
		case "MainPID":
			s.pid = value
		case "NeedDaemonReload":
			s.unread = value == "yes"
		case "ExecMainStartTimestamp":
			if t := stamp(value); !t.IsZero() {
				s.started = t
			}
		case "ActiveEnterTimestamp":
			if s.started.IsZero() {
				s.started = stamp(value)
			}
		case "StateChangeTimestamp":
			s.changed = stamp(value)
		}
	}
	if s.load == "" {
		return s, fmt.Errorf("%s: systemctl show %s said nothing of it", h.Name(), name)
	}
	return s, nil
}

// stamp reads systemd's --timestamp=us+utc. Microseconds matter: a file
// written in the second of the start, but after it, has not been read.
func stamp(s string) time.Time {
	t, err := time.Parse("Mon 2006-01-02 15:04:05.999999 MST", s)
	if err != nil {
		return time.Time{}
	}
	return t
}

func (s unitState) running() bool { return s.active == "active" || s.active == "reloading" }
func (s unitState) enabled() bool { return s.file == "enabled" || s.file == "enabled-runtime" }

// Done says whether the unit is as wanted, and started after its files.
func (u Unit) Done(ctx context.Context, h host.Reader) (bool, error) {
	s, err := lookUnit(ctx, h, u.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // no systemctl on a machine yet to be set up
	}
	if err != nil {
		return false, err
	}
	if u.Enabled != nil && s.enabled() != *u.Enabled && !(s.load == "not-found" && !*u.Enabled) {
		return false, nil
	}
	if u.Active == nil {
		return true, nil
	}
	if !*u.Active {
		return s.active == "inactive" || s.active == "failed" || s.load == "not-found", nil
	}
	if !s.running() {
		return false, nil
	}
	stale, err := u.stale(ctx, h, s)
	return !stale, err
}

// stale says whether a file that the unit reads is newer than its start, or
// than its last reload where it can reload; or its program is another by now, which no
// time tells: a program is as old as its build.
func (u Unit) stale(ctx context.Context, h host.Reader, s unitState) (bool, error) {
	since := s.started
	if u.Reload && s.changed.After(since) {
		since = s.changed
	}
	if u.Program && s.pid != "" && s.pid != "0" {
		exe, err := h.Stat(ctx, "/proc/"+s.pid+"/exe")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		if strings.HasSuffix(exe.Target, " (deleted)") {
			return true, nil
		}
	}
	for _, p := range u.Reads {
		info, err := h.Stat(ctx, p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		if info.ModTime.After(since) {
			return true, nil
		}
	}
	return false, nil
}

// Do starts, restarts, reloads, stops, enables or disables, whatever is needed,
// and returns a unit as it was.
func (u Unit) Do(ctx context.Context, h host.Host) (Action, error) {
	ctx, cancel := context.WithTimeout(ctx, u.limit())
	defer cancel()
	s, err := lookUnit(ctx, h, u.Name)
	if err != nil {
		return nil, err
	}
	// Unit files come with packages and with File steps just before. A reload
	// reads all units of the machine again, so it is done where it is needed.
	if s.unread || s.load == "not-found" {
		if _, err := h.Run(ctx, host.Command("systemctl", "daemon-reload")); err != nil {
			return nil, err
		}
		if s, err = lookUnit(ctx, h, u.Name); err != nil {
			return nil, err
		}
	}
	wasEnabled, wasActive := s.enabled(), s.running()
	undo := Unit{Name: u.Name, Timeout: u.Timeout, Then: u.Then}
	if u.Enabled != nil && wasEnabled != *u.Enabled {
		verb := "disable"
		if *u.Enabled {
			verb = "enable"
		}
		if _, err := h.Run(ctx, host.Command("systemctl", verb, u.Name)); err != nil {
			return nil, err
		}
		undo.Enabled = &wasEnabled
	}
	if u.Active == nil {
		return undo, nil
	}
	verb := u.verb(wasActive)
	stale := false
	if wasActive && *u.Active {
		if stale, err = u.stale(ctx, h, s); err != nil {
			return undo, err
		}
		if !stale {
			return undo, nil
		}
	}
	undo.Active = &wasActive
	if wasActive && *u.Active {
		return again{undo}, h2(h.Run(ctx, host.Command("systemctl", verb, u.Name)))
	}
	if verb == "start" {
		// A unit that failed too often refuses to start until it is reset.
		_, _ = h.Run(ctx, host.Command("systemctl", "reset-failed", u.Name))
	}
	if _, err := h.Run(ctx, host.Command("systemctl", verb, u.Name)); err != nil {
		return undo, u.explain(ctx, h, err)
	}
	return undo, nil
}

func h2(_ string, err error) error { return err }

// limit is how long starting may take.
func (u Unit) limit() time.Duration {
	if u.Timeout == 0 {
		return 2 * time.Minute
	}
	return u.Timeout
}

func (u Unit) verb(active bool) string {
	switch {
	case !*u.Active:
		return "stop"
	case !active:
		return "start"
	case u.Reload:
		return "reload-or-restart"
	default:
		return "restart"
	}
}

// explain adds the last lines of the unit's journal to an error: what
// systemctl itself says is only that it failed.
func (u Unit) explain(ctx context.Context, h host.Reader, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	out, qerr := h.Query(ctx, "journalctl", "--unit="+u.Name, "--lines=8", "--no-pager", "--output=cat")
	if qerr != nil || strings.TrimSpace(out) == "" {
		return err
	}
	return fmt.Errorf("%w\n  its journal ends with:\n    %s", err,
		strings.ReplaceAll(strings.TrimSpace(out), "\n", "\n    "))
}

// Watches names the files whose change means a restart, the package database,
// for the unit may come with a package, and the unit itself, which an earlier
// step may stop.
func (u Unit) Watches() []string {
	return append(slices.Clone(u.Reads), dpkgStatus, u.resource())
}

// Touches names the unit.
func (u Unit) Touches() []string { return []string{u.resource()} }

func (u Unit) resource() string { return "unit " + strings.TrimSuffix(u.Name, ".service") }

// Preview tells a start from a restart.
func (u Unit) Preview(ctx context.Context, h host.Reader) (Preview, error) {
	s, err := lookUnit(ctx, h, u.Name)
	if err != nil {
		return Preview{Kind: Change}, nil
	}
	if s.running() && u.Active != nil && *u.Active {
		return Preview{Kind: Restart}, nil
	}
	return Preview{Kind: Change}, nil
}

// Late is an undo that is done once all others are: a daemon that was restarted
// reads its old files again.
type Late interface {
	Action
	Late()
}

// again restarts a running unit whatever the times of its files say: the undo
// of a restart, after its old files were put back.
type again struct{ Unit }

func (a again) String() string { return "restart " + a.Name }

// Late implements Late.
func (a again) Late() {}

func (a again) Done(context.Context, host.Reader) (bool, error) { return false, nil }

func (a again) Do(ctx context.Context, h host.Host) (Action, error) {
	limited, cancel := context.WithTimeout(ctx, a.limit())
	defer cancel()
	if _, err := h.Run(limited, host.Command("systemctl", a.Unit.verb(true), a.Name)); err != nil || a.Then == nil {
		return nil, err
	}
	_, err := a.Then.Do(ctx, h)
	return nil, err
}
