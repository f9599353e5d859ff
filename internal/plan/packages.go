package plan

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"sort"
	"strings"
	"time"

	"multihead/internal/host"
)

// Packages makes distribution packages be installed, in whatever version the
// machine's sources offer. Installed ones are left as they are.
type Packages struct {
	Names []string
}

func (p Packages) String() string { return "install " + strings.Join(p.Names, " ") }

// Done asks dpkg or rpm, whichever the machine has.
func (p Packages) Done(ctx context.Context, h host.Reader) (bool, error) {
	missing, err := p.missing(ctx, h)
	return err == nil && len(missing) == 0, err
}

// missing lists what is not installed, in order.
func (p Packages) missing(ctx context.Context, h host.Reader) ([]string, error) {
	have, err := installed(ctx, h)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, n := range p.Names {
		if !have[n] {
			out = append(out, n)
		}
	}
	return out, nil
}

// installed lists every package that is wholly installed.
func installed(ctx context.Context, h host.Reader) (map[string]bool, error) {
	have := map[string]bool{}
	out, err := h.Query(ctx, "dpkg-query", "--show", "--showformat=${db:Status-Abbrev} ${Package}\n")
	if err == nil {
		for _, line := range strings.Split(out, "\n") {
			if status, name, ok := strings.Cut(line, " "); ok && strings.HasPrefix(status, "ii") {
				have[strings.TrimSpace(name)] = true
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
		have[name] = true
	}
	return have, nil
}

// Do installs what is missing and returns an action that takes off exactly
// what came with it.
func (p Packages) Do(ctx context.Context, h host.Host) (Action, error) {
	before, err := installed(ctx, h)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	rpm := false
	if _, err := h.Query(ctx, "dpkg-query", "--version"); errors.Is(err, exec.ErrNotFound) {
		rpm = true
	}
	err = p.install(ctx, h, rpm)
	after, aerr := installed(context.WithoutCancel(ctx), h)
	if aerr != nil {
		return nil, errors.Join(err, aerr)
	}
	var came []string
	for n := range after {
		if !before[n] {
			came = append(came, n)
		}
	}
	sort.Strings(came)
	var undo Action
	if len(came) > 0 {
		undo = removal{names: came, rpm: rpm}
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

func (p Packages) install(ctx context.Context, h host.Host, rpm bool) (err error) {
	if rpm {
		_, err := h.Run(ctx, host.Command(append([]string{"dnf", "--assumeyes", "--quiet", "install"}, p.Names...)...))
		return err
	}
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
	// What a run that was cut off left half configured is finished first.
	if err := apt("dpkg", "--configure", "--pending", "--force-confdef", "--force-confold"); err != nil {
		return err
	}
	get := append([]string{"apt-get", "--yes", "--quiet", "--no-install-recommends",
		"-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold",
		"-o", "DPkg::Lock::Timeout=120", "install"}, p.Names...)
	if err := apt(get...); err == nil {
		return nil
	}
	// The lists may be old, or missing on a fresh machine.
	if err := apt("apt-get", "--quiet", "update"); err != nil {
		return err
	}
	return apt(get...)
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

// removal takes off packages that an installation brought.
type removal struct {
	names []string
	rpm   bool
}

func (r removal) String() string {
	return fmt.Sprintf("take off %d packages that were installed", len(r.names))
}

func (r removal) Done(ctx context.Context, h host.Reader) (bool, error) {
	have, err := installed(ctx, h)
	for _, n := range r.names {
		if have[n] {
			return false, err
		}
	}
	return err == nil, err
}

func (r removal) Do(ctx context.Context, h host.Host) (Action, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	argv := append([]string{"dpkg", "--purge"}, r.names...)
	if r.rpm {
		argv = append([]string{"dnf", "--assumeyes", "--quiet", "remove"}, r.names...)
	}
	_, err := h.Run(ctx, host.Cmd{Argv: argv, Env: []string{"DEBIAN_FRONTEND=noninteractive"}})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return nil, err
}
