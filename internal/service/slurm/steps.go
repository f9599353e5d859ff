package slurm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service"
)

// awaitMount waits until the volume is mounted: its file system is another
// than that of the directory it is in.
func awaitMount(mount string) plan.Await {
	return plan.Await{
		What: mount + " is mounted",
		Until: func(ctx context.Context, h host.Reader) (bool, string, error) {
			ok, err := mounted(ctx, h, mount)
			return ok, "it is not", err
		},
	}
}

func mounted(ctx context.Context, h host.Reader, mount string) (bool, error) {
	at, err := h.Stat(ctx, mount)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	above, err := h.Stat(ctx, path.Dir(mount))
	return err == nil && at.Device != above.Device, err
}

// awaitPort waits until a daemon of the host takes connections.
func awaitPort(what string, port int) plan.Await {
	return plan.Await{
		What: what,
		Until: func(ctx context.Context, h host.Reader) (bool, string, error) {
			conn, err := h.Dial(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(port))
			if err != nil {
				return false, "", err
			}
			return true, "", conn.Close()
		},
	}
}

// askPing asks the controllers of the host's own slurm.conf.
func askPing(ctx context.Context, h host.Reader) ([]ping, error) {
	out, err := h.Query(ctx, "scontrol", "ping")
	var exit *host.ExitError
	if errors.As(err, &exit) {
		// It fails when one of them is down, and says so as well.
		if out == "" {
			out = exit.Stdout
		}
		if p := parsePing(out); len(p) > 0 {
			return p, nil
		}
	}
	return parsePing(out), err
}

// awaitPing waits until the controllers named are up, as the host sees it.
func awaitPing(names ...string) plan.Await {
	return plan.Await{
		What: "slurmctld is up on " + strings.Join(names, ", "),
		Until: func(ctx context.Context, h host.Reader) (bool, string, error) {
			pings, err := askPing(ctx, h)
			if err != nil {
				return false, "", err
			}
			var down []string
			for _, n := range names {
				if !slices.ContainsFunc(pings, func(p ping) bool { return p.Host == n && p.Up }) {
					down = append(down, n)
				}
			}
			return len(down) == 0, "no answer of " + strings.Join(down, ", "), nil
		},
	}
}

// awaitInCharge waits until the head's controller serves. Of several it has to
// have written its heartbeat as well: the others, started before that, would
// wait for half a minute. (scontrol ping would ask all of them, and each that
// is not up yet costs it seconds.)
func (s *State) awaitInCharge(h head) plan.Await {
	beats := len(s.cluster.SlurmControllers()) > 1
	dir := s.cluster.Slurm.StateSaveLocation
	listens := awaitPort("", ctldPort)
	return plan.Await{
		What: "slurmctld on " + h.name + " serves",
		Until: func(ctx context.Context, r host.Reader) (bool, string, error) {
			ok, state, err := listens.Until(ctx, r)
			if !ok || err != nil || !beats {
				return ok, state, err
			}
			data, err := r.ReadFile(ctx, path.Join(dir, "heartbeat"))
			if errors.Is(err, fs.ErrNotExist) {
				return false, "it has written no heartbeat yet", nil
			}
			if err != nil {
				return false, "", err
			}
			_, err = parseHeartbeat(data)
			return err == nil, "", err
		},
	}
}

// awaitNodes waits until the nodes of the plan have registered.
func (s *State) awaitNodes(intent service.Intent) plan.Await {
	var names []string
	for _, n := range s.nodes {
		if n.reached && intent.Includes(n.name) {
			names = append(names, n.name)
		}
	}
	return plan.Await{
		What:    fmt.Sprintf("%d compute nodes have registered", len(names)),
		Timeout: 90 * time.Second,
		Every:   500 * time.Millisecond,
		Until: func(ctx context.Context, h host.Reader) (bool, string, error) {
			// Asked also where there is nothing to wait for: an answer is
			// the proof that the controller serves.
			out, err := h.Query(ctx, "sinfo", "--Node", "--noheader", "--format=%N %T")
			if err != nil {
				return false, "", err
			}
			missing := unregistered(out, names)
			return len(missing) == 0, strings.Join(missing, ", "), nil
		},
	}
}

// unregistered is the nodes of names that the controller has not heard of since
// it knows them, each with its state.
func unregistered(sinfo string, names []string) []string {
	states := map[string]string{}
	for line := range strings.Lines(sinfo) {
		if f := strings.Fields(line); len(f) == 2 {
			states[f[0]] = f[1]
		}
	}
	var out []string
	for _, n := range names {
		switch st := states[n]; {
		case st == "":
			out = append(out, n+" unknown to slurmctld")
		case strings.Contains(st, "*"), strings.HasPrefix(st, "unknown"):
			out = append(out, n+" "+st)
		}
	}
	return out
}

// registered makes the database know where the cluster's controller is.
//
// slurmctld registers when it first reaches slurmdbd. On a state directory that
// is new it then closes that connection, and slurmdbd takes the end of a
// connection for the end of the controller and forgets its address: from then
// on nothing that sacctmgr changes reaches it. Reading its configuration again
// makes it register once more.
func registered(cluster string) plan.Action {
	is := func(ctx context.Context, h host.Reader) (bool, string, error) {
		out, err := h.Query(ctx, "sacctmgr", "-nP", "show", "cluster", "format=cluster,controlhost")
		if err != nil {
			return false, "", err
		}
		for line := range strings.Lines(out) {
			name, control, _ := strings.Cut(strings.TrimSpace(line), "|")
			if name == cluster {
				return control != "", "its controller has not registered", nil
			}
		}
		return false, "it is not in the database", nil
	}
	return plan.Func{
		What: "register the controller of " + cluster + " with accounting",
		Satisfied: func(ctx context.Context, h host.Reader) (bool, error) {
			ok, _, err := is(ctx, h)
			return ok, err
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			if err := reconfigure(ctx, h); err != nil {
				return nil, err
			}
			return plan.Await{What: "the controller of " + cluster + " is registered", Until: is, Timeout: 30 * time.Second}.Do(ctx, h)
		},
	}
}

// ownDir makes a directory that a daemon keeps its state in. Where it is
// StateSaveLocation, it makes sure that it is not another cluster's.
type ownDir struct {
	dir     string
	attr    host.Attr
	cluster string // of StateSaveLocation; empty for another directory
	aside   string // where an undo puts what was begun in it meanwhile
}

func (s ownDir) String() string { return "make directory " + s.dir }

// Done says whether it is there with its owner, and holds nothing or the
// state of this cluster.
func (s ownDir) Done(ctx context.Context, h host.Reader) (bool, error) {
	if s.cluster != "" {
		d := lookState(ctx, h, s.dir)
		switch {
		case d.data == service.Unsure:
			return false, fmt.Errorf("%s: %s: %s", h.Name(), s.dir, d.why)
		case d.data == service.Yes && !strings.EqualFold(d.cluster, s.cluster):
			return false, fmt.Errorf("%s: %s holds the state of the cluster %s, not of %s; it is not touched", h.Name(), s.dir, d.cluster, s.cluster)
		}
	}
	return plan.Dir{Path: s.dir, Attr: s.attr}.Done(ctx, h)
}

// Do makes it. The undo moves what a daemon has begun in an empty directory
// aside, and leaves alone what was there before.
func (s ownDir) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	entries, err := h.ReadDir(ctx, s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	there := err == nil
	undo, err := plan.Dir{Path: s.dir, Attr: s.attr}.Do(ctx, h)
	if len(entries) > 0 {
		return undo, err
	}
	return plan.Func{
		What: "keep what was begun in " + s.dir + " aside",
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			begun, err := h.ReadDir(ctx, s.dir)
			if err != nil {
				return nil, err
			}
			if len(begun) > 0 {
				if _, err := (plan.Aside{Path: s.dir, To: s.aside}).Do(ctx, h); err != nil || !there {
					return nil, err
				}
				if err := h.Mkdir(ctx, s.dir, s.attr); err != nil {
					return nil, err
				}
			}
			if undo == nil {
				return nil, nil
			}
			return undo.Do(ctx, h)
		},
	}, err
}

// Preview counts it as an addition.
func (s ownDir) Preview(ctx context.Context, h host.Reader) (plan.Preview, error) {
	return plan.Dir{Path: s.dir, Attr: s.attr}.Preview(ctx, h)
}

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

// byVersion is a file whose content hangs on the version of Slurm, which is
// known once its packages are there.
type byVersion struct {
	path string
	attr host.Attr
	data func(version string) ([]byte, error)
}

func (b byVersion) String() string { return "write " + b.path }

// Touches names the file.
func (b byVersion) Touches() []string { return []string{b.path} }

func (b byVersion) now(ctx context.Context, h host.Reader) (plan.File, error) {
	version, err := h.Query(ctx, "slurmctld", "-V")
	if err != nil {
		return plan.File{}, err
	}
	data, err := b.data(version)
	return plan.File{Path: b.path, Data: data, Attr: b.attr}, err
}

// Done compares the file with what this version needs.
func (b byVersion) Done(ctx context.Context, h host.Reader) (bool, error) {
	f, err := b.now(ctx, h)
	if errors.Is(err, exec.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return f.Done(ctx, h)
}

// Do writes it.
func (b byVersion) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	f, err := b.now(ctx, h)
	if err != nil {
		return nil, err
	}
	return f.Do(ctx, h)
}

// Preview shows the difference, where the version is known already.
func (b byVersion) Preview(ctx context.Context, h host.Reader) (plan.Preview, error) {
	f, err := b.now(ctx, h)
	if errors.Is(err, exec.ErrNotFound) {
		return plan.Preview{Kind: plan.Add}, nil
	}
	if err != nil {
		return plan.Preview{}, err
	}
	return f.Preview(ctx, h)
}

func (l load) now(ctx context.Context, h host.Host) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
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

// reconfigure tells the controller in charge to read its files. One that is
// held up by something else (a database or a name that does not answer) does
// it after the command has given up waiting, and asking again then does no
// harm.
func reconfigure(ctx context.Context, h host.Host) error {
	_, err := h.Run(ctx, host.Command("scontrol", "reconfigure"))
	var exit *host.ExitError
	if errors.As(err, &exit) && strings.Contains(exit.Stderr+exit.Stdout, "timed out") {
		_, err = h.Run(ctx, host.Command("scontrol", "reconfigure"))
	}
	return err
}

// beforeReexec says whether this version's reconfigure leaves things out: from
// 23.11 on the daemon starts itself anew for it.
func beforeReexec(version string) bool { return before(version, 23, 11) }

// before says whether a version as a daemon prints it ("slurm-wlm 22.05.8") is
// older. One that cannot be read is taken for a new one.
func before(version string, major, minor int) bool {
	for w := range strings.FieldsSeq(version) {
		x, rest, ok := strings.Cut(w, ".")
		y, _, _ := strings.Cut(rest, ".")
		a, err1 := strconv.Atoi(x)
		b, err2 := strconv.Atoi(y)
		if ok && err1 == nil && err2 == nil {
			return a < major || a == major && b < minor
		}
	}
	return false
}

// takeover lets a backup take over in order, before the controller in charge
// is stopped: requests wait for a moment instead of SlurmctldTimeout.
func takeover(name string, s *State) plan.Action {
	dir := s.cluster.Slurm.StateSaveLocation
	var index int
	for _, h := range s.heads {
		if h.name == name {
			index = h.place()
		}
	}
	inCharge := func(ctx context.Context, h host.Reader) (bool, error) {
		data, err := h.ReadFile(ctx, path.Join(dir, "heartbeat"))
		if err != nil {
			return false, err
		}
		b, err := parseHeartbeat(data)
		return err == nil && b.index == index, err
	}
	return plan.Func{
		What:      "let slurmctld on " + name + " take over",
		Satisfied: inCharge,
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			_, err := h.Run(ctx, host.Command("scontrol", "takeover", strconv.Itoa(index)))
			if err != nil {
				return nil, err
			}
			return plan.Await{What: name + " is in charge", Until: func(ctx context.Context, h host.Reader) (bool, string, error) {
				ok, err := inCharge(ctx, h)
				return ok, "another still is", err
			}}.Do(ctx, h)
		},
	}
}
