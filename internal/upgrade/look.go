package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"multihead/internal/host"
	"multihead/internal/plan"
	"multihead/internal/service/agentd"
)

// Found is what one host has, and what it is offered.
type Found struct {
	Changes []plan.Version    // what is to be upgraded, by name
	Source  map[string]string // the source package of each of them
	Phase   map[string]string // the service that each of them belongs to
	Held    []string          // what is offered newer and stays, as a person wants
	Units   []Unit            // the daemons of the services' packages that run
	// Begun is set where an upgrade of this head was cut off: what it wrote down.
	Begun   *agentd.Maintenance
	Arbiter bool // a witness whose glusterd runs: it has a brick of the volume
	Bricks  bool // its brick runs from a program that was replaced
	Tool    bool // its multihead is another one than the one that runs this
	Agent   bool // its agent runs another multihead than the one that lies there
}

// Unit is a daemon that runs, and the package it came with.
type Unit struct {
	Name, Package string
	Stale         bool // the package is newer than the daemon's start
}

// Reason is what the maintenance of a head says that this package began.
const Reason = "multihead upgrade"

// look asks one host. wanted are the packages that the services name, with the service;
// offers is the version of each package in the site's bundle, nil where the host's own
// sources are asked.
func look(ctx context.Context, r host.Reader, wanted map[string]string, offers map[string]string) (Found, error) {
	f := Found{Source: map[string]string{}, Phase: map[string]string{}}
	have, err := plan.Versions(ctx, r)
	if err != nil {
		return f, err
	}
	ours := related(have, wanted)
	names := slices.Sorted(maps.Keys(ours))
	if offers == nil {
		if offers, err = candidates(ctx, r, names); err != nil {
			return f, err
		}
	}
	for _, name := range names {
		p := have[name]
		to := offers[name]
		if to == "" || !newer(to, p.Version) {
			to = p.Version
		}
		switch {
		case to == p.Version && p.Whole:
			continue
		case p.Held:
			f.Held = append(f.Held, plan.Version{Name: name, From: p.Version, To: to}.String())
			continue
		}
		f.Changes = append(f.Changes, plan.Version{Name: name, From: p.Version, To: to})
		f.Source[name], f.Phase[name] = p.Source, ours[name]
	}
	if f.Units, err = daemons(ctx, r, names); err != nil {
		return f, err
	}
	f.Begun, err = begun(ctx, r)
	return f, err
}

// related are the installed packages that services name, and those made from the same
// sources: a daemon, its client and their library go together.
func related(have map[string]plan.Installed, wanted map[string]string) map[string]string {
	sources := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if p, ok := have[name]; ok {
			sources[p.Source] = wanted[name]
		}
	}
	out := map[string]string{}
	for name, p := range have {
		if phase, ok := wanted[name]; ok {
			out[name] = phase
		} else if phase, ok := sources[p.Source]; ok {
			out[name] = phase
		}
	}
	return out
}

// candidates asks the host's apt what its sources offer, as of its last update.
func candidates(ctx context.Context, r host.Reader, names []string) (map[string]string, error) {
	if len(names) == 0 {
		return map[string]string{}, nil
	}
	out, err := r.Query(ctx, append([]string{"apt-cache", "policy"}, names...)...)
	if err != nil {
		return nil, err
	}
	return parsePolicy(out), nil
}

// parsePolicy reads the candidates of apt-cache policy.
func parsePolicy(out string) map[string]string {
	offers := map[string]string{}
	name := ""
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\n")
		if n, ok := strings.CutSuffix(line, ":"); ok && !strings.HasPrefix(line, " ") {
			name, _, _ = strings.Cut(n, ":")
			continue
		}
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "Candidate: "); ok && name != "" && v != "(none)" {
			offers[name] = v
		}
	}
	return offers
}

// begun is the maintenance that an upgrade began on this head and that was not ended.
func begun(ctx context.Context, r host.Reader) (*agentd.Maintenance, error) {
	m, err := agentd.ReadMaintenance(ctx, r)
	if err != nil || m == nil || m.Reason != Reason {
		return nil, err
	}
	return m, nil
}

// unitPath is a service that a package ships.
var unitPath = regexp.MustCompile(`^(?:/usr)?/lib/systemd/system/([^/]+)\.service$`)

// daemons are the running services that the packages ship.
func daemons(ctx context.Context, r host.Reader, names []string) ([]Unit, error) {
	owner := map[string]string{} // name without .service, with its @ where it is a template
	for _, name := range names {
		data, err := r.ReadFile(ctx, plan.PackageList(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // of several architectures: a library
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(data)) {
			if f := unitPath.FindStringSubmatch(strings.TrimSpace(line)); f != nil {
				owner[f[1]] = name
			}
		}
	}
	if len(owner) == 0 {
		return nil, nil
	}
	query := []string{"systemctl", "list-units", "--plain", "--no-legend", "--state=running"}
	for _, u := range slices.Sorted(maps.Keys(owner)) {
		if strings.HasSuffix(u, "@") {
			u += "*"
		}
		query = append(query, u+".service")
	}
	out, err := r.Query(ctx, query...)
	if err != nil {
		return nil, err
	}
	var units []Unit
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		stem := strings.TrimSuffix(f[0], ".service")
		if i := strings.IndexByte(stem, '@'); i >= 0 {
			stem = stem[:i+1]
		}
		if owner[stem] == "" {
			continue // by another name of it
		}
		u := Unit{Name: f[0], Package: owner[stem]}
		fresh, err := u.restart().Done(ctx, r)
		if err != nil {
			return nil, err
		}
		u.Stale = !fresh
		units = append(units, u)
	}
	slices.SortFunc(units, func(a, b Unit) int { return strings.Compare(a.Name, b.Name) })
	return units, nil
}

// restart is the unit started anew where its package is newer than its start.
func (u Unit) restart() plan.Unit {
	yes := true
	return plan.Unit{Name: u.Name, Active: &yes, Reads: []string{plan.PackageList(u.Package)}}
}

// agentUnit is the agent's own.
const agentUnit = "multihead-agent.service"

// agentAnew starts the agent anew where it runs a multihead that was replaced: the
// kernel says so of the program it was started from. replaced says that a step before it
// replaces the program, which cannot be seen yet.
func agentAnew(replaced bool) plan.Action {
	again := func(ctx context.Context, h host.Host) error {
		_, err := h.Run(ctx, host.Command("systemctl", "restart", agentUnit))
		return err
	}
	what := "restart " + agentUnit
	return plan.Func{What: what, Kind: plan.Restart,
		Satisfied: func(ctx context.Context, r host.Reader) (bool, error) {
			old, err := oldAgent(ctx, r)
			return !replaced && !old, err
		},
		Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
			undo := plan.Func{What: what, Kind: plan.Restart, Change: func(ctx context.Context, h host.Host) (plan.Action, error) {
				return nil, again(ctx, h)
			}}
			return last{undo}, again(ctx, h)
		}}
}

// last is an undo that comes after all others.
type last struct{ plan.Action }

// Late implements plan.Late.
func (last) Late() {}

// oldAgent says whether the agent runs from a program that does not lie there any more.
func oldAgent(ctx context.Context, r host.Reader) (bool, error) {
	out, err := r.Query(ctx, "systemctl", "show", agentUnit, "--property=MainPID", "--value")
	if err != nil {
		return false, err
	}
	pid := strings.TrimSpace(out)
	if pid == "" || pid == "0" {
		return false, nil
	}
	exe, err := r.Stat(ctx, path.Join("/proc", pid, "exe"))
	if err != nil {
		return false, fmt.Errorf("%s: the agent's program: %w", r.Name(), err)
	}
	return strings.HasSuffix(exe.Target, " (deleted)"), nil
}
