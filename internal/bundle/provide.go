package bundle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"multihead/internal/host"
	"multihead/internal/plan"
)

// Phase is the name of the phase that brings packages to hosts. Every other phase of
// a plan that installs any comes after it: a bundle that does not suffice is found on
// every host before anything is installed on one.
const Phase = "packages"

// The files on a host by which its apt knows the bundle and trusts its key: for this
// source and no other.
const (
	sourceFile = "/etc/apt/sources.list.d/multihead-bundle.list"
	trustFile  = "/etc/apt/keyrings/multihead-bundle.asc"
	defaultDir = "/var/cache/multihead-bundle" // the agent keeps the one without -bundle to itself
)

// Site is where a site has its bundle.
type Site struct {
	Dir   string // on this machine
	Cache string // on the hosts, where package files are kept; empty is /var/cache/multihead-bundle
}

// Provide makes a plan install from the bundle, and from nothing else: what the
// bundle does not have, no other source may fill in. A plan that installs nothing is
// left as it is, also where there is no bundle.
func (s Site) Provide(p plan.Plan) plan.Plan {
	names := map[string][]string{}
	for _, step := range p.Steps {
		if a, ok := step.Action.(plan.Packages); ok {
			names[step.Host] = append(names[step.Host], a.Names...)
		}
	}
	if len(names) == 0 {
		return p
	}
	first := plan.Phase{Name: Phase, Stages: []plan.Stage{{Name: "bring"}}}
	for _, h := range slices.Sorted(maps.Keys(names)) {
		slices.Sort(names[h])
		first.Stages[0].Steps = append(first.Stages[0].Steps, plan.Step{ID: "packages.bring", Host: h, Action: bring{s, slices.Compact(names[h])}})
	}
	out := plan.Plan{Phases: []plan.Phase{first}}
	for _, ph := range p.Phases {
		ph.After = append(slices.Clone(ph.After), Phase)
		stages := slices.Clone(ph.Stages)
		for i, st := range stages {
			stages[i].Steps = slices.Clone(st.Steps)
			for j, step := range stages[i].Steps {
				if a, ok := step.Action.(plan.Packages); ok {
					a.Source = sourceFile
					stages[i].Steps[j].Action = a
				}
			}
		}
		ph.Stages = stages
		out.Phases = append(out.Phases, ph)
	}
	return out
}

// Check finds out whether the bundle suffices for a proposal, before anything is
// done: every file is whole, it is for the hosts' release, and it has every package
// that a host lacks. Everything that is wrong is in the error. It is nil, and the
// bundle is not looked at, where the proposal brings no packages.
func (s Site) Check(ctx context.Context, prop plan.Proposal, readers map[string]host.Reader) error {
	var steps []bring
	var hosts []string
	for phase, step := range prop.Plan.Steps {
		if a, ok := step.Action.(bring); ok && phase == Phase {
			steps, hosts = append(steps, a), append(hosts, step.Host)
		}
	}
	if len(steps) == 0 {
		return nil
	}
	m, _, err := Verify(s.Dir)
	if err != nil {
		return err
	}
	var errs []error
	lacks := map[string][]string{} // package → hosts
	for i, a := range steps {
		if err := m.fits(ctx, readers[hosts[i]]); err != nil {
			errs = append(errs, err)
			continue
		}
		missing, err := (plan.Packages{Names: a.names}).Missing(ctx, readers[hosts[i]])
		if err != nil {
			errs = append(errs, err)
		}
		for _, name := range missing {
			if !m.has(name) {
				lacks[name] = append(lacks[name], hosts[i])
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(lacks)) {
		errs = append(errs, fmt.Errorf("the bundle in %s has no %s, which %s needs: make it with --with %s", s.Dir, name, strings.Join(lacks[name], ", "), name))
	}
	return errors.Join(errs...)
}

// fits says whether a host is of the release that the bundle is for.
func (m *Manifest) fits(ctx context.Context, r host.Reader) error {
	release, err := r.ReadFile(ctx, "/etc/os-release")
	if err != nil {
		return fmt.Errorf("%s: its system is not known: %w", r.Name(), err)
	}
	if got := Codename(release); got != m.Release {
		if got == "" {
			got = "no Debian release"
		}
		return fmt.Errorf("%s runs %s, and the bundle is for %s", r.Name(), got, m.Release)
	}
	arch, err := r.Query(ctx, "dpkg", "--print-architecture")
	if err != nil {
		return fmt.Errorf("%s: its architecture is not known: %w", r.Name(), err)
	}
	if got := strings.TrimSpace(arch); got != m.Architecture {
		return fmt.Errorf("%s is %s, and the bundle is for %s", r.Name(), got, m.Architecture)
	}
	return nil
}

func (m *Manifest) has(name string) bool {
	return slices.ContainsFunc(m.Packages, func(p Package) bool { return p.Name == name })
}

// Offers is the version of every package, by name.
func (m *Manifest) Offers() map[string]string {
	out := map[string]string{}
	for _, p := range m.Packages {
		out[p.Name] = p.Version
	}
	return out
}

// bring carries to a host what it is to install, and makes the bundle known to its
// apt. It installs nothing.
type bring struct {
	site  Site
	names []string
}

func (b bring) String() string {
	return "bring the package files that are missing, from the bundle in " + b.site.Dir
}

// Done says whether the host has the packages already: where they are from is no
// question then.
func (b bring) Done(ctx context.Context, h host.Reader) (bool, error) {
	return plan.Packages{Names: b.names}.Done(ctx, h)
}

// Preview counts it as an addition.
func (b bring) Preview(context.Context, host.Reader) (plan.Preview, error) {
	return plan.Preview{Kind: plan.Add}, nil
}

// Exclusive is as an installation's: apt's lists have a lock as well.
func (b bring) Exclusive() string { return plan.Packages{}.Exclusive() }

// Do writes the index first, has apt say what it would fetch from it, and carries
// that: a host gets what it lacks, no more.
func (b bring) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	undo, err := b.do(ctx, h)
	if undo == nil {
		return nil, err
	}
	return takeAway{undo}, err
}

// takeAway is the undo of all that was brought, under one name.
type takeAway struct{ plan.Action }

func (takeAway) String() string { return "take away the bundle's files that were brought" }

func (b bring) do(ctx context.Context, h host.Host) (undo plan.Action, err error) {
	m, err := Load(b.site.Dir)
	if err != nil {
		return nil, err
	}
	at := path.Join(b.site.Cache, m.ID)
	if b.site.Cache == "" {
		at = path.Join(defaultDir, m.ID)
	}
	do := func(a plan.Action) error {
		if done, err := a.Done(ctx, h); done || err != nil {
			return err
		}
		back, err := a.Do(ctx, h)
		undo = plan.Both(undo, back)
		return err
	}
	public := host.Attr{Mode: 0o644}
	for _, a := range []plan.Action{plan.Dir{Path: at, Attr: host.Attr{Mode: 0o755}}, plan.Dir{Path: path.Dir(trustFile), Attr: host.Attr{Mode: 0o755}},
		plan.Dir{Path: path.Dir(sourceFile), Attr: host.Attr{Mode: 0o755}}} {
		if err := do(a); err != nil {
			return undo, err
		}
	}
	for _, f := range []struct{ from, to string }{{keyFile, trustFile}, {repository + "/Packages", path.Join(at, "Packages")}, {repository + "/InRelease", path.Join(at, "InRelease")}} {
		data, err := os.ReadFile(filepath.Join(b.site.Dir, f.from))
		if err != nil {
			return undo, err
		}
		if err := do(plan.File{Path: f.to, Data: data, Attr: public}); err != nil {
			return undo, err
		}
	}
	source := fmt.Sprintf("# multihead: the bundle of this site\ndeb [signed-by=%s] file:%s ./\n", trustFile, at)
	if err := do(plan.File{Path: sourceFile, Data: []byte(source), Attr: public}); err != nil {
		return undo, err
	}
	files, err := b.lacking(ctx, h, m)
	if err != nil {
		return undo, err
	}
	for i, p := range files {
		plan.Tell(ctx, fmt.Sprintf("%d of %d", i+1, len(files)))
		if err := do(carry{filepath.Join(b.site.Dir, repository, p.File), path.Join(at, p.File), p}); err != nil {
			return undo, err
		}
	}
	return undo, nil
}

// lacking asks the host's apt what it would install. What it cannot resolve from the
// bundle alone is its error.
func (b bring) lacking(ctx context.Context, h host.Host, m *Manifest) ([]Package, error) {
	apt := func(args ...string) (string, error) {
		return h.Run(ctx, host.Cmd{Argv: append(append([]string{"apt-get"}, plan.FromSource(sourceFile)...), args...),
			Env: []string{"DEBIAN_FRONTEND=noninteractive"}})
	}
	if _, err := apt("--quiet", "--error-on=any", "update"); err != nil {
		return nil, err
	}
	out, err := apt(append([]string{"--simulate", "--no-install-recommends", "install"}, b.names...)...)
	if err != nil {
		return nil, fmt.Errorf("the bundle does not suffice: %w", err)
	}
	return m.files(out)
}

// installLine is a line of a simulation: Inst NAME [OLD] (NEW …
var installLine = regexp.MustCompile(`^Inst (\S+?)(?::\S+)? (?:\[\S*\] )?\((\S+) `)

// files are the packages that a simulation would install.
func (m *Manifest) files(simulation string) ([]Package, error) {
	var out []Package
	for line := range strings.Lines(simulation) {
		if !strings.HasPrefix(line, "Inst ") {
			continue
		}
		f := installLine.FindStringSubmatch(line)
		if f == nil {
			return nil, fmt.Errorf("apt says what is not understood: %q", strings.TrimSpace(line))
		}
		i := slices.IndexFunc(m.Packages, func(p Package) bool { return p.Name == f[1] && p.Version == f[2] })
		if i < 0 {
			return nil, fmt.Errorf("apt would install %s %s, which the bundle does not have", f[1], f[2])
		}
		out = append(out, m.Packages[i])
	}
	return out, nil
}

// carry puts one package file on a host.
type carry struct {
	from, to string
	pkg      Package
}

func (c carry) String() string { return "carry " + c.pkg.File }

func (c carry) Done(ctx context.Context, h host.Reader) (bool, error) {
	info, err := h.Stat(ctx, c.to)
	if err != nil || info.Size != c.pkg.Size {
		return false, nil // what is there is written anew
	}
	out, err := h.Query(ctx, "sha256sum", c.to)
	sum, _, _ := strings.Cut(out, " ")
	return err == nil && sum == c.pkg.SHA256, nil
}

func (c carry) Do(ctx context.Context, h host.Host) (plan.Action, error) {
	data, err := os.ReadFile(c.from)
	if err != nil {
		return nil, err
	}
	return plan.Absent{Path: c.to}, h.WriteFile(ctx, c.to, data, host.Attr{Mode: 0o644})
}
