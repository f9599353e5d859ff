package host

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"
)

// Frozen says whether a process of a service is stopped by a signal (SIGSTOP): the
// kernel goes on taking connections for it, and nobody answers them. One that a
// debugger has stopped is not. command is how the process's name begins. Where
// the kernel does not say it, nothing is frozen.
func Frozen(ctx context.Context, r Reader, unit, command string) bool {
	procs, err := r.ReadFile(ctx, sliceDir+subSlice(unit)+unit+"/cgroup.procs")
	if err != nil {
		return false
	}
	return slices.ContainsFunc(strings.Fields(string(procs)), func(pid string) bool {
		stat, err := r.ReadFile(ctx, "/proc/"+pid+"/stat")
		return err == nil && stoppedBySignal(string(stat), command)
	})
}

// MainProcess is the process of a unit's daemon that systemd started, by its command;
// empty where there is none. Not ok is that it cannot be told.
func MainProcess(ctx context.Context, r Reader, unit, command string) (pid string, ok bool) {
	procs, err := r.ReadFile(ctx, sliceDir+subSlice(unit)+unit+"/cgroup.procs")
	if err != nil {
		return "", errors.Is(err, fs.ErrNotExist)
	}
	for _, pid := range strings.Fields(string(procs)) {
		stat, err := r.ReadFile(ctx, "/proc/"+pid+"/stat")
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ESRCH):
			continue
		case err != nil:
			return "", false
		}
		if name, fields := readStat(string(stat)); name == command && len(fields) > 1 && fields[1] == "1" {
			return pid, true
		}
	}
	return "", true
}

// subSlice is where systemd puts the instances of a template: a slice for each
// template, in whose name a dash is escaped (systemd.unit(5)).
func subSlice(unit string) string {
	template, _, ok := strings.Cut(unit, "@")
	if !ok {
		return ""
	}
	return "system-" + strings.ReplaceAll(template, "-", `\x2d`) + ".slice/"
}

// stoppedBySignal says whether a process of that command is stopped by a signal.
func stoppedBySignal(stat, command string) bool {
	name, fields := readStat(stat)
	return strings.HasPrefix(name, command) && len(fields) > 0 && fields[0] == "T"
}

// readStat reads /proc/PID/stat: the number, the command in parentheses, and then the
// state, which is T for a process that a signal stopped, the parent's number, and more
// (proc_pid_stat(5)).
func readStat(stat string) (command string, fields []string) {
	end := strings.LastIndexByte(stat, ')')
	_, name, ok := strings.Cut(stat[:max(end, 0)], "(")
	if !ok {
		return "", nil
	}
	return name, strings.Fields(stat[end+1:])
}
