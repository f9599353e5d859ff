package plan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"time"

	"multihead/internal/host"
)

// Packages makes distribution packages be installed, in whatever version the
// machine's sources offer. Installed ones are left as they are.
type Packages struct {
	Names []string
	// Source is a file of package sources on the machine; only what it lists is
	// used then. Empty means all sources that the machine has.
	Source string
}

func (p Packages) String() string { return "install " + strings.Join(p.Names, " ") }

// Done asks dpkg or rpm, whichever the machine has.
func (p Packages) Done(ctx context.Context, h host.Reader) (bool, error) {
	missing, err := p.Missing(ctx, h)
	return err == nil && len(missing) == 0, err
}

// Missing lists what is not installed, in order.
func (p Packages) Missing(ctx context.Context, h host.Reader) ([]string, error) {
	have, err := packages(ctx, h)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, n := range p.Names {
		if !have[n].installed() {
			out = append(out, n)
		}
	}
	return out, nil
}

// packageStatus is dpkg's abbreviation of what it knows of a package: what is
// wanted of it ("h" is hold), what it is, and an error flag where it has one.
// The empty one is a package that dpkg does not know.
type packageStatus string

// installed says whether it is wholly there.
func (s packageStatus) installed() bool { return len(s) == 2 && s[1] == 'i' }

// present says whether it has files on the machine beyond its configuration.
func (s packageStatus) present() bool { return len(s) >= 2 && s[1] != 'n' && s[1] != 'c' }

// known says whether there is anything of it.
func (s packageStatus) known() bool { return len(s) >= 2 && s[1] != 'n' }

// packages lists every package that the machine knows something of.
func packages(ctx context.Context, h host.Reader) (map[string]packageStatus, error) {
	have := map[string]packageStatus{}
	out, err := h.Query(ctx, "dpkg-query", "--show", "--showformat=${db:Status-Abbrev} ${Package}\n")
	if err == nil {
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); len(f) == 2 {
				have[f[1]] = packageStatus(f[0])
			}
		}
		return have, nil
	}
	if !errors.Is(err, exec.ErrNotFound) {
		return nil, err
	}
	out, err = h.Query(ctx, "rpm", "--query", "--all", "--queryformat=%{NAME}\n")
	if err != nil {
		return nil, fmt.Errorf("neither dpkg nor rpm answers: %w", err)
	}
	for _, name := range strings.Fields(out) {
		have[name] = "ii"
	}
	return have, nil
}

// Do installs what is missing and returns an action that takes off exactly
// what came with it.
func (p Packages) Do(ctx context.Context, h host.Host) (Action, error) {
	before, err := packages(ctx, h)
	if err != nil {
		return nil, err
	}
	missing, err := p.Missing(ctx, h)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	rpm := false
	if _, err := h.Query(ctx, "dpkg-query", "--version"); errors.Is(err, exec.ErrNotFound) {
		rpm = true
	}
	var purge map[string]bool
	if !rpm {
		purge = purgeable(ctx, h)
	}
	err = install(ctx, h, missing, p.Source, rpm)
	after, aerr := packages(context.WithoutCancel(ctx), h)
	if aerr != nil {
		return nil, errors.Join(err, aerr)
	}
	undo := removal{rpm: rpm}
	for _, n := range slices.Sorted(maps.Keys(after)) {
		if !after[n].present() || before[n].present() {
			continue
		}
		undo.names = append(undo.names, n)
		if purge[n] && !before[n].known() {
			undo.purge = append(undo.purge, n)
		}
	}
	if len(undo.names) == 0 {
		return nil, err
	}
	return undo, err
}

// policy keeps a package's installation from starting its daemons: Debian's
// invoke-rc.d asks this script, and 101 is its word for "not allowed". A
// daemon that starts before it was configured makes data of its own.
const (
	policyPath = "/usr/sbin/policy-rc.d"
	policyText = "#!/bin/sh\n# multihead: daemons are started once they are configured\nexit 101\n"
)

// install installs the packages named and no other: one that is there already
// and stood in the command would be upgraded, on all heads at once. (apt's
// --no-upgrade would say the same, and keep it from mending one that is there
// by half.)
func install(ctx context.Context, h host.Host, names []string, source string, rpm bool) error {
	if rpm {
		if source != "" {
			return errors.New("dnf does not read apt's package sources")
		}
		_, err := h.Run(ctx, host.Command(append([]string{"dnf", "--assumeyes", "--quiet", "install"}, names...)...))
		return err
	}
	return quietly(ctx, h, func(apt func(argv ...string) error) error {
		if err := finishPending(apt); err != nil {
			return err
		}
		from := append([]string{"apt-get"}, FromSource(source)...)
		get := slices.Concat(from, installOptions(), names)
		if err := apt(get...); err == nil {
			return nil
		}
		// The lists may be old, or missing on a fresh machine.
		if err := apt(append(from, "--quiet", "update")...); err != nil {
			return err
		}
		return apt(get...)
	})
}

// installOptions have apt install without asking, keep the site's files, and wait for
// another package manager that is at work.
func installOptions() []string {
	return []string{"--yes", "--quiet", "--no-install-recommends",
		"-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold",
		"-o", "DPkg::Lock::Timeout=120", "install"}
}

// quietly has packages change while no daemon is started or stopped by them.
func quietly(ctx context.Context, h host.Host, do func(apt func(argv ...string) error) error) (err error) {
	restore, err := keepFile(ctx, h, policyPath, false)
	if err != nil {
		return err
	}
	if err := h.WriteFile(ctx, policyPath, []byte(policyText), host.Attr{Mode: 0o755}); err != nil {
		return err
	}
	defer func() {
		_, rerr := restore.Do(context.WithoutCancel(ctx), h)
		err = errors.Join(err, rerr)
	}()
	apt := func(argv ...string) error {
		_, err := h.Run(ctx, host.Cmd{Argv: argv, Env: []string{"DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_MODE=l"}})
		return err
	}
	return do(apt)
}

// finishPending finishes what a run that was cut off left half configured.
func finishPending(apt func(argv ...string) error) error {
	return apt("dpkg", "--configure", "--pending", "--force-confdef", "--force-confold")
}

// FromSource are the options that make apt use one file of package sources and no
// other, and keep what it knows of the others. They are none for an empty name. The
// source may lie in a directory that only root may enter.
func FromSource(file string) []string {
	if file == "" {
		return nil
	}
	return []string{"-o", "Dir::Etc::sourcelist=" + file, "-o", "Dir::Etc::sourceparts=-", "-o", "APT::Get::List-Cleanup=0", "-o", "APT::Sandbox::User=root"}
}

// dpkgStatus is what an installation changes, whatever it brings.
const dpkgStatus = "/var/lib/dpkg/status"

// Touches names the package database: a unit that does not exist yet looks as
// if it were stopped, and may be enabled and started by its package.
func (p Packages) Touches() []string { return []string{dpkgStatus} }

// Exclusive keeps phases that run beside each other from meeting at dpkg's lock.
func (p Packages) Exclusive() string { return "packages" }

// Exclusive is as Packages'.
func (r removal) Exclusive() string { return "packages" }

// Preview counts it as an addition.
func (p Packages) Preview(context.Context, host.Reader) (Preview, error) {
	return Preview{Kind: Add}, nil
}

// removal takes off packages that an installation brought. What they leave goes
// as well where none of it can have been there before them: the scripts of a
// purge delete whatever lies in a package's directories, whoever put it there.
type removal struct {
	names []string
	purge []string // of names
	rpm   bool
}

func (r removal) String() string {
	return fmt.Sprintf("take off %d packages that were installed", len(r.names))
}

func (r removal) Done(ctx context.Context, h host.Reader) (bool, error) {
	have, err := packages(ctx, h)
	for _, n := range r.names {
		if have[n].present() {
			return false, err
		}
	}
	for _, n := range r.purge {
		if have[n].known() {
			return false, err
		}
	}
	return err == nil, err
}

func (r removal) Do(ctx context.Context, h host.Host) (Action, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	run := func(names []string, argv ...string) error {
		if len(names) == 0 {
			return nil
		}
		_, err := h.Run(ctx, host.Cmd{Argv: append(argv, names...), Env: []string{"DEBIAN_FRONTEND=noninteractive"}})
		return err
	}
	if r.rpm {
		return nil, run(r.names, "dnf", "--assumeyes", "--quiet", "remove")
	}
	var purge []string
	for _, n := range r.purge {
		if emptyAgain(ctx, h, n) {
			purge = append(purge, n)
		}
	}
	if err := run(r.names, "dpkg", "--remove"); err != nil {
		return nil, err
	}
	return nil, run(purge, "dpkg", "--purge")
}
