package plan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"multihead/internal/host"
)

// ErrNoDpkg is a machine whose packages are not Debian's.
var ErrNoDpkg = errors.New("it has no dpkg")

// Version is a package that goes from one version to another. From is empty for one
// that comes anew; From and To are the same for one that is there by half.
type Version struct {
	Name string `json:"name"`
	From string `json:"from"`
	To   string `json:"to"`
}

func (v Version) String() string {
	if v.From == v.To {
		return fmt.Sprintf("%s %s (there by half)", v.Name, v.To)
	}
	return fmt.Sprintf("%s %s → %s", v.Name, v.From, v.To)
}

// Installed is what dpkg knows of a package that is on the machine.
type Installed struct {
	Version, Source string // Source is the source package's name
	Whole           bool   // unpacked and configured
	Held            bool   // a person wants it to stay as it is
}

// Versions lists what is installed, by name. It is ErrNoDpkg where packages are not
// Debian's.
func Versions(ctx context.Context, h host.Reader) (map[string]Installed, error) {
	out, err := h.Query(ctx, "dpkg-query", "--show", "--showformat=${db:Status-Abbrev}\t${Package}\t${Version}\t${source:Package}\n")
	if errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("%s: %w", h.Name(), ErrNoDpkg)
	}
	if err != nil {
		return nil, err
	}
	have := map[string]Installed{}
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) != 4 {
			return nil, fmt.Errorf("%s: dpkg says what is not understood: %q", h.Name(), line)
		}
		s := packageStatus(strings.TrimSpace(f[0]))
		if !s.present() {
			continue
		}
		have[f[1]] = Installed{Version: f[2], Source: f[3], Whole: s.installed(), Held: s[0] == 'h'}
	}
	return have, nil
}

// Upgrade brings packages that are installed to the versions named, with whatever those
// need. Nothing is stopped or started by it, files of the site are kept, and packages
// on hold are never changed. What was there before is put aside first, so that it can
// be brought back without any source of packages.
type Upgrade struct {
	Changes []Version
	Source  string // as Packages'
}

func (u Upgrade) String() string {
	var all []string
	for _, c := range u.Changes {
		all = append(all, c.String())
	}
	return "upgrade " + strings.Join(all, ", ")
}

// Done says whether each is wholly there in its version.
func (u Upgrade) Done(ctx context.Context, h host.Reader) (bool, error) {
	have, err := Versions(ctx, h)
	if err != nil {
		return false, err
	}
	for _, c := range u.Changes {
		if p := have[c.Name]; p.Version != c.To || !p.Whole {
			return false, nil
		}
	}
	return true, nil
}

// Exclusive is as Packages'.
func (u Upgrade) Exclusive() string { return "packages" }

// Touches names the package database, and the lists of files by whose time a daemon is
// seen to be older than its package.
func (u Upgrade) Touches() []string {
	out := []string{dpkgStatus}
	for _, c := range u.Changes {
		out = append(out, PackageList(c.Name))
	}
	return out
}

// Preview counts it as a change.
func (u Upgrade) Preview(context.Context, host.Reader) (Preview, error) {
	return Preview{Kind: Change}, nil
}

// PackageList is the file that dpkg writes anew whenever a package is unpacked.
func PackageList(name string) string { return path.Join(dpkgInfo, name+".list") }

const dpkgInfo = "/var/lib/dpkg/info"

// aptLimit bounds one run of the package manager.
const aptLimit = 30 * time.Minute

// args name the packages with their versions.
func (u Upgrade) args() []string {
	var out []string
	for _, c := range u.Changes {
		out = append(out, c.Name+"="+c.To)
	}
	return out
}

// Do upgrades, and returns what brings back all that it changed.
func (u Upgrade) Do(ctx context.Context, h host.Host) (Action, error) {
	ctx, cancel := context.WithTimeout(ctx, aptLimit)
	defer cancel()
	before, err := Versions(ctx, h)
	if err != nil {
		return nil, err
	}
	err = quietly(ctx, h, func(apt func(argv ...string) error) error {
		_ = finishPending(apt) // what cannot be configured is what a newer version may mend
		get := slices.Concat([]string{"apt-get"}, FromSource(u.Source), []string{"--no-remove"}, installOptions(), u.args())
		return apt(get...)
	})
	after, aerr := Versions(context.WithoutCancel(ctx), h)
	if aerr != nil {
		return nil, errors.Join(err, aerr)
	}
	if back := difference(before, after); len(back.back)+len(back.added) > 0 {
		return back, err
	}
	return nil, err
}

// difference is what brings a machine back from one set of packages to another.
func difference(before, after map[string]Installed) earlier {
	var e earlier
	for _, name := range slices.Sorted(maps.Keys(after)) {
		was, is := before[name], after[name]
		switch {
		case was.Version == "":
			e.added = append(e.added, name)
		case was.Version != is.Version, was.Whole && !is.Whole:
			e.back = append(e.back, Version{Name: name, From: is.Version, To: was.Version})
		}
	}
	return e
}

// Ready makes everything ready that an upgrade needs while all goes on as it is: apt
// says what it would do, the packages are fetched, and what is there now is put aside.
// It is done where nothing is to be upgraded any more.
func (u Upgrade) Ready() Action { return ready{u} }

type ready struct{ u Upgrade }

func (r ready) String() string {
	return "fetch the packages, and put those that are there now aside in " + KeepDir
}

func (r ready) Done(ctx context.Context, h host.Reader) (bool, error) { return r.u.Done(ctx, h) }

// Exclusive is as Packages'.
func (r ready) Exclusive() string { return "packages" }

// Preview counts it as an addition.
func (r ready) Preview(context.Context, host.Reader) (Preview, error) {
	return Preview{Kind: Add}, nil
}

// Do asks apt first: what it would take off is refused, for somebody uses it.
func (r ready) Do(ctx context.Context, h host.Host) (Action, error) {
	ctx, cancel := context.WithTimeout(ctx, aptLimit)
	defer cancel()
	apt := func(args ...string) (string, error) {
		return h.Run(ctx, host.Cmd{Argv: slices.Concat([]string{"apt-get"}, FromSource(r.u.Source), args), Env: []string{"DEBIAN_FRONTEND=noninteractive"}})
	}
	out, err := apt(slices.Concat([]string{"--simulate", "--no-install-recommends", "install"}, r.u.args())...)
	if err != nil {
		return nil, err
	}
	changes, gone := simulated(out)
	if len(gone) > 0 {
		return nil, fmt.Errorf("%s: apt would take off %s for it: look at what depends on them with apt-get --simulate install %s", h.Name(), strings.Join(gone, ", "), strings.Join(r.u.args(), " "))
	}
	have, err := Versions(ctx, h)
	if err != nil {
		return nil, err
	}
	for i, c := range changes {
		if p := have[c.Name]; c.From != "" && p.Whole {
			Tell(ctx, fmt.Sprintf("%d of %d: %s", i+1, len(changes), c.Name))
			if err := pack(ctx, h, c.Name, p.Version); err != nil {
				return nil, fmt.Errorf("%s %s cannot be put aside: %w", c.Name, p.Version, err)
			}
		}
	}
	_, err = apt(slices.Concat([]string{"--download-only"}, installOptions(), r.u.args())...)
	return nil, err
}

// A simulation's lines: Inst NAME [OLD] (NEW …, and Remv NAME [OLD].
var (
	simulatedChange  = regexp.MustCompile(`^Inst (\S+?)(?::\S+)? (?:\[(\S*)\] )?\((\S+) `)
	simulatedRemoval = regexp.MustCompile(`^Remv (\S+?)(?::\S+)? `)
)

// simulated reads what apt says that it would do.
func simulated(out string) (changes []Version, gone []string) {
	for line := range strings.Lines(out) {
		if f := simulatedChange.FindStringSubmatch(line); f != nil {
			changes = append(changes, Version{Name: f[1], From: f[2], To: f[3]})
		} else if f := simulatedRemoval.FindStringSubmatch(line); f != nil {
			gone = append(gone, f[1])
		}
	}
	return changes, gone
}

// earlier puts the packages back that were put aside, and takes off what came with the
// new ones.
type earlier struct {
	back  []Version
	added []string
}

func (e earlier) String() string {
	var names []string
	for _, v := range e.back {
		names = append(names, v.Name+" "+v.To)
	}
	return "put back " + strings.Join(names, ", ")
}

func (e earlier) Done(ctx context.Context, h host.Reader) (bool, error) {
	have, err := Versions(ctx, h)
	if err != nil {
		return false, err
	}
	for _, v := range e.back {
		if p := have[v.Name]; p.Version != v.To || !p.Whole {
			return false, nil
		}
	}
	return !slices.ContainsFunc(e.added, func(n string) bool { return have[n].Version != "" }), nil
}

// Exclusive is as Packages'.
func (e earlier) Exclusive() string { return "packages" }

func (e earlier) Do(ctx context.Context, h host.Host) (Action, error) {
	ctx, cancel := context.WithTimeout(ctx, aptLimit)
	defer cancel()
	var files []string
	var lacking []error
	for _, v := range e.back {
		f := kept(v.Name, v.To)
		switch _, err := h.Stat(ctx, f); {
		case err == nil:
			files = append(files, f)
		case v.From != v.To: // one that is only to be configured needs no file
			lacking = append(lacking, fmt.Errorf("%s %s stays, for %s %s is not to be had: %w", v.Name, v.From, v.Name, v.To, err))
		}
	}
	err := quietly(ctx, h, func(apt func(argv ...string) error) error {
		if len(files) > 0 {
			if err := apt(append([]string{"dpkg", "--force-downgrade", "--force-confdef", "--force-confold", "--install"}, files...)...); err != nil {
				return err
			}
		}
		return finishPending(apt)
	})
	if err == nil && len(e.added) > 0 {
		_, err = removal{names: e.added}.Do(ctx, h)
	}
	return nil, errors.Join(append(lacking, err)...)
}
