package base

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"multihead/internal/host"
	"multihead/internal/plan"
)

// readDatabase returns the accounts and groups of a host: all those of its own
// files, and of the directory services behind them those that are asked for by
// name or number.
func readDatabase(ctx context.Context, h host.Reader, wishes []wish) (database, error) {
	var db database
	for _, part := range []struct {
		file, table string
		add         func(text string)
	}{
		{"/etc/passwd", "passwd", func(t string) { db.users = append(db.users, parseAccounts(t)...) }},
		{"/etc/group", "group", func(t string) { db.groups = append(db.groups, parseGroups(t)...) }},
	} {
		data, err := h.ReadFile(ctx, part.file)
		if err != nil {
			return db, err
		}
		part.add(string(data))
		argv := []string{"getent", part.table}
		for _, w := range wishes {
			number := w.UID
			if part.table == "group" {
				number = w.GID
			}
			argv = append(argv, w.Name, strconv.Itoa(number))
		}
		out, err := h.Query(ctx, argv...)
		var exit *host.ExitError
		if errors.As(err, &exit) && exit.Code == 2 {
			// Some of the keys are not there, which is the usual case.
			if out == "" {
				out = exit.Stdout
			}
			err = nil
		}
		if err != nil {
			return db, err
		}
		part.add(out)
	}
	return db, nil
}

// accountAction makes one account of one host be as it was decided.
//
// unit is a running daemon of the account that has to rest while its numbers
// change; empty where there is none.
func accountAction(w wish, r ruling, c choice, sharedMount, unit string) plan.Action {
	satisfied := func(ctx context.Context, h host.Reader) (bool, error) {
		db, err := readDatabase(ctx, h, []wish{w})
		if err != nil {
			return false, err
		}
		have, ok := db.user(w.Name)
		return ok && have == r.account, nil
	}
	if c.do == renumber {
		return renumberAccount(r.account, c.was, unit, satisfied)
	}
	return plan.Func{
		What:      fmt.Sprintf("make the account %s, %s", w.Name, r.numbers()),
		Kind:      plan.Add,
		Satisfied: satisfied,
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			return makeAccount(ctx, h, w, r.account, sharedMount)
		},
	}
}

// makeAccount adds the group and the user. It may run again after it was cut
// off between the two.
func makeAccount(ctx context.Context, h host.Host, w wish, a account, sharedMount string) (plan.Action, error) {
	db, err := readDatabase(ctx, h, []wish{w})
	if err != nil {
		return nil, err
	}
	var undo plan.Action
	if _, ok := db.group(a.Name); !ok {
		if _, err := h.Run(ctx, host.Command("groupadd", "--gid", strconv.Itoa(a.GID), a.Name)); err != nil {
			return nil, err
		}
		undo = removeGroup(a.Name)
	}
	argv := []string{"useradd", "--uid", strconv.Itoa(a.UID), "--gid", strconv.Itoa(a.GID), "--shell", w.shell}
	remove := []string{"userdel", a.Name}
	if w.home == "" {
		argv = append(argv, "--system", "--no-create-home", "--home-dir", "/nonexistent")
	} else {
		argv = append(argv, "--home-dir", w.home)
		_, err := h.Stat(ctx, w.home)
		switch {
		case err == nil, below(w.home, sharedMount):
			// A home on the shared volume is made once the volume is
			// there; made now it would lie hidden under the mount.
			argv = append(argv, "--no-create-home")
		case errors.Is(err, fs.ErrNotExist):
			argv = append(argv, "--create-home")
			remove = []string{"userdel", "--remove", a.Name}
		default:
			return undo, err
		}
	}
	if len(w.groups) > 0 {
		argv = append(argv, "--groups", strings.Join(w.groups, ","))
	}
	if _, err := h.Run(ctx, host.Command(append(argv, a.Name)...)); err != nil {
		return undo, err
	}
	return plan.Both(undo, plan.Command{What: "remove the account " + a.Name, Cmd: host.Command(remove...)}), nil
}

// removeGroup removes a group, unless userdel took it with the user of that
// name.
func removeGroup(name string) plan.Action {
	return plan.Func{What: "remove the group " + name, Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
		data, err := h.ReadFile(ctx, "/etc/group")
		if err != nil {
			return nil, err
		}
		if _, there := (database{groups: parseGroups(string(data))}).group(name); !there {
			return nil, nil
		}
		_, err = h.Run(ctx, host.Command("groupdel", name))
		return nil, err
	}}
}

// daemonDirs are where the packages of munge and Slurm keep files of their
// accounts.
var daemonDirs = []string{
	"/etc/munge", "/var/lib/munge", "/var/log/munge", "/run/munge",
	"/etc/slurm", "/var/lib/slurm", "/var/log/slurm", "/var/spool/slurm", "/var/spool/slurmctld", "/var/spool/slurmd",
	"/run/slurm", "/run/slurmctld", "/run/slurmdbd",
}

// renumberAccount changes the numbers of an account and the owner of its files
// in the places that its packages use. Its daemon rests meanwhile.
func renumberAccount(to, from account, unit string, satisfied func(context.Context, host.Reader) (bool, error)) plan.Action {
	return plan.Func{
		What:      fmt.Sprintf("change the numbers of %s from %s to %s, and the owner of its files", to.Name, from.numbers(), to.numbers()),
		Kind:      plan.Change,
		Satisfied: satisfied,
		Change: func(ctx context.Context, h host.Host) (undo plan.Action, err error) {
			if from.UID >= 0 {
				undo = renumberAccount(from, to, unit, nil)
			}
			if unit != "" {
				if _, err := h.Run(ctx, host.Command("systemctl", "stop", unit)); err != nil {
					return nil, err
				}
				defer func() {
					_, serr := h.Run(context.WithoutCancel(ctx), host.Command("systemctl", "start", unit))
					err = errors.Join(err, serr)
				}()
			}
			return undo, renumberNow(ctx, h, to, from)
		},
	}
}

func renumberNow(ctx context.Context, h host.Host, to, from account) error {
	data, err := h.ReadFile(ctx, "/etc/group")
	if err != nil {
		return err
	}
	gid, there := database{groups: parseGroups(string(data))}.group(to.Name)
	var argv [][]string
	switch {
	case !there:
		argv = append(argv, []string{"groupadd", "--gid", strconv.Itoa(to.GID), to.Name})
	case gid != to.GID:
		argv = append(argv, []string{"groupmod", "--gid", strconv.Itoa(to.GID), to.Name})
	}
	if from.UID < 0 { // only the group was there
		argv = append(argv, []string{"useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", nologin,
			"--uid", strconv.Itoa(to.UID), "--gid", strconv.Itoa(to.GID), to.Name})
	} else {
		argv = append(argv, []string{"usermod", "--uid", strconv.Itoa(to.UID), "--gid", strconv.Itoa(to.GID), to.Name})
	}
	for _, dir := range daemonDirs {
		if _, err := h.Stat(ctx, dir); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		// Only what belonged to the old numbers: what root or another
		// account owns in there stays theirs. The kernel is told not to
		// follow links, for these directories are writable by a daemon.
		for _, c := range []struct{ from, to string }{
			{strconv.Itoa(from.UID), strconv.Itoa(to.UID)},
			{":" + strconv.Itoa(from.GID), ":" + strconv.Itoa(to.GID)},
		} {
			if !strings.HasPrefix(strings.TrimPrefix(c.from, ":"), "-") {
				argv = append(argv, []string{"chown", "--recursive", "--no-dereference", "--from=" + c.from, c.to, dir})
			}
		}
	}
	for _, a := range argv {
		if _, err := h.Run(ctx, host.Command(a...)); err != nil {
			return err
		}
	}
	return nil
}

// nologin is the shell of accounts that nobody logs in to, on all families.
const nologin = "/usr/sbin/nologin"

// below says whether p lies in dir or is it.
func below(p, dir string) bool {
	p, dir = path.Clean(p), path.Clean(dir)
	return dir != "." && (p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/"))
}
