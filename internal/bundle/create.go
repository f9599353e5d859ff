package bundle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Options is what a bundle is made of.
type Options struct {
	Dir          string   // where to; it must not be there, or be empty
	Release      string   // Debian's code name
	Architecture string   // Debian's name; empty is this machine's
	Mirror       string   // of Debian; empty is the one of this machine's apt
	Security     string   // mirror of the security updates; empty is found beside Mirror
	Sources      string   // a sources.list of the site's own, instead of the mirrors
	Packages     []string // beside those of the services
	Tool         string   // the running multihead
	Version      string   // of it
	Say          func(string)
}

// The programs that Create calls, and the packages they come in.
var programs = [...]struct{ name, pkg string }{
	{"apt-get", "apt"}, {"apt-cache", "apt"}, {"apt-ftparchive", "apt-utils"}, {"dpkg-deb", "dpkg"}, {"gpg", "gnupg"}, {"gpgconf", "gnupg"},
}

// Ready says in one error what this machine lacks to make a bundle.
func Ready() error {
	var missing []string
	for _, p := range programs {
		if _, err := exec.LookPath(p.name); err != nil {
			missing = append(missing, p.pkg)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return fmt.Errorf("missing here: %[1]s; install with: apt-get install %[1]s", strings.Join(slices.Compact(missing), " "))
	}
	return nil
}

// Create makes a bundle: it has this machine's apt work out and fetch what the
// release needs, in a directory of its own, so that nothing of this machine's own
// packages is touched. The bundle appears in one rename, when whole.
func Create(ctx context.Context, o Options) (m *Manifest, digest string, err error) {
	if err := o.check(); err != nil {
		return nil, "", err
	}
	parent := filepath.Dir(o.Dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, "", fmt.Errorf("bundle: %w", err)
	}
	work, err := os.MkdirTemp(parent, ".bundle-*")
	if err != nil {
		return nil, "", fmt.Errorf("bundle: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	c := creation{Options: o, work: work, out: filepath.Join(work, "bundle"), repo: filepath.Join(work, "bundle", repository)}
	if err := os.MkdirAll(c.repo, 0o755); err != nil {
		return nil, "", fmt.Errorf("bundle: %w", err)
	}
	m = &Manifest{FormatVersion: formatNow, Made: time.Now().UTC().Truncate(time.Second), Tool: o.Version, Release: o.Release, Wanted: map[string][]string{}}
	m.ID = m.Made.Format("20060102T150405Z")
	for _, step := range []func(context.Context, *Manifest) error{c.prepareApt, c.fetch, c.index, c.sign, c.finish} {
		if err := step(ctx, m); err != nil {
			return nil, "", err
		}
	}
	if m, digest, err = Verify(c.out); err != nil {
		return nil, "", err
	}
	if err := os.Remove(o.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) { // empty: check has seen to that
		return nil, "", fmt.Errorf("bundle: %w", err)
	}
	return m, digest, os.Rename(c.out, o.Dir)
}

func (o *Options) check() error {
	if err := Ready(); err != nil {
		return err
	}
	for _, p := range append([]string{o.Release}, o.Packages...) {
		if err := checkWord("package or release", p); err != nil {
			return err
		}
	}
	if o.Architecture != "" {
		if err := checkWord("architecture", o.Architecture); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(o.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("bundle: %w", err)
	case len(entries) > 0:
		return fmt.Errorf("%s is there and not empty: name another directory, or move that one away", o.Dir)
	}
	return nil
}

// creation is a bundle in the making.
type creation struct {
	Options
	work string // everything lies below it until the end
	out  string // the bundle
	repo string // its repository
	conf string // apt's configuration
}

func (c *creation) say(format string, args ...any) {
	if c.Say != nil {
		c.Say(fmt.Sprintf(format, args...))
	}
}

// run runs a program and returns its standard output; an error has the last lines
// of what it said.
func run(ctx context.Context, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(append(os.Environ(), "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"), env...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		lines := strings.Split(strings.TrimSpace(said.String()), "\n")
		return out.String(), fmt.Errorf("%s %s: %w\n%s", name, args[0], err, strings.Join(lines[max(0, len(lines)-8):], "\n"))
	}
	return out.String(), nil
}

// apt runs one of apt's programs on the bundle's own state.
func (c *creation) apt(ctx context.Context, name string, args ...string) (string, error) {
	return run(ctx, []string{"APT_CONFIG=" + c.conf}, name, args...)
}

// prepareApt gives apt a state of its own: no installed packages, so that the
// closure is whole whatever a host has, and the release's sources.
func (c *creation) prepareApt(ctx context.Context, m *Manifest) error {
	arch := c.Architecture
	if arch == "" {
		out, err := run(ctx, nil, "dpkg", "--print-architecture")
		if err != nil {
			return err
		}
		arch = strings.TrimSpace(out)
	}
	m.Architecture = arch
	root := filepath.Join(c.work, "apt")
	for _, d := range []string{"state/lists/partial", "cache/archives/partial", "etc/preferences.d"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return err
		}
	}
	sources, err := c.sources(ctx)
	if err != nil {
		return err
	}
	c.conf = filepath.Join(root, "apt.conf")
	// A file, as a proxy's address may hold a password, which an argument would show.
	conf := fmt.Sprintf(`APT::Architecture "%s";
APT::Architectures { "%s"; };
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::State "%s/state/";
Dir::State::status "%s/status";
Dir::Cache "%s/cache/";
Dir::Etc::sourcelist "%s/sources.list";
Dir::Etc::sourceparts "-";
Dir::Etc::preferences "-";
Dir::Etc::preferencesparts "-";
`, arch, arch, root, root, root, root)
	for name, text := range map[string]string{"apt.conf": conf, "sources.list": sources, "status": ""} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	c.say("reading what %s has for %s", c.Release, arch)
	_, err = c.apt(ctx, "apt-get", "--quiet", "--error-on=any", "update")
	return err
}

// debianKeys is what Debian's own signatures are checked with.
const debianKeys = "/usr/share/keyrings/debian-archive-keyring.gpg"

// sources are the release's package sources, with its updates.
func (c *creation) sources(ctx context.Context) (string, error) {
	if c.Sources != "" {
		data, err := os.ReadFile(c.Sources)
		return string(data), err
	}
	mirror, security := c.Mirror, c.Security
	if mirror == "" {
		out, err := run(ctx, nil, "apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(CREATED_BY)|$(REPO_URI)")
		if err != nil {
			return "", err
		}
		var own string
		if mirror, own = pickMirrors(out); security == "" {
			security = own
		}
	}
	if mirror == "" {
		return "", errors.New("this machine's apt knows no mirror of Debian: name one with --mirror, or package sources with --sources")
	}
	text := ""
	for _, line := range []string{mirror + " " + c.Release, mirror + " " + c.Release + "-updates"} {
		text += fmt.Sprintf("deb [signed-by=%s] %s main\n", debianKeys, line)
	}
	if security != "" {
		text += fmt.Sprintf("deb [signed-by=%s] %s %s-security main\n", debianKeys, security, c.Release)
	}
	return text, nil
}

// pickMirrors chooses Debian's mirrors from apt's index targets: the one of the
// releases, and the one of the security updates.
func pickMirrors(targets string) (mirror, security string) {
	for line := range strings.Lines(targets) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) != 4 || f[2] != "Packages" || f[0] != "Debian" {
			continue
		}
		uri := strings.TrimSuffix(f[3], "/")
		if f[1] == "Debian" && mirror == "" {
			mirror = uri
		}
		if f[1] == "Debian-Security" && security == "" {
			security = uri
		}
	}
	return mirror, security
}

// fetch resolves and fetches the packages, role by role.
func (c *creation) fetch(ctx context.Context, m *Manifest) error {
	for _, role := range Roles() {
		want := packages(role, c.Release)
		want = append(want, c.Packages...)
		slices.Sort(want)
		want = slices.Compact(want)
		m.Wanted[role] = want
		c.say("fetching what a %s needs: %d packages with all they depend on", role, len(want))
		args := append([]string{"--yes", "--quiet", "--download-only", "--no-install-recommends", "install"}, want...)
		if _, err := c.apt(ctx, "apt-get", args...); err != nil {
			return fmt.Errorf("packages of a %s: %w", role, err)
		}
	}
	debs, err := filepath.Glob(filepath.Join(c.work, "apt/cache/archives", "*.deb"))
	if err != nil {
		return err
	}
	for _, deb := range debs {
		// apt writes a version's colon as %3a; not every program that copies or
		// reads it takes that for the same name.
		name := strings.ReplaceAll(filepath.Base(deb), "%3a", "-")
		if err := os.Rename(deb, filepath.Join(c.repo, name)); err != nil {
			return err
		}
	}
	return nil
}

// index writes the repository's index, and the manifest's list from it.
func (c *creation) index(ctx context.Context, m *Manifest) error {
	c.say("indexing")
	// Named relative to the repository, as its users see them.
	cmd := exec.CommandContext(ctx, "apt-ftparchive", "packages", ".")
	cmd.Dir = c.repo
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("apt-ftparchive: %w: %s", err, strings.TrimSpace(said.String()))
	}
	if m.Packages, err = parseIndex(string(out)); err != nil {
		return err
	}
	if len(m.Packages) == 0 {
		return errors.New("nothing was fetched")
	}
	if err := os.WriteFile(filepath.Join(c.repo, "Packages"), out, 0o644); err != nil {
		return err
	}
	release, err := run(ctx, nil, "apt-ftparchive", "-o", "APT::FTPArchive::Release::Origin=multihead", "-o", "APT::FTPArchive::Release::Label=multihead bundle "+m.ID,
		"-o", "APT::FTPArchive::Release::Codename="+m.Release, "-o", "APT::FTPArchive::Release::Architectures="+m.Architecture, "release", c.repo)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.work, "Release"), []byte(release), 0o644)
}

// parseIndex reads the paragraphs of a Packages file.
func parseIndex(text string) ([]Package, error) {
	var out []Package
	for _, paragraph := range strings.Split(text, "\n\n") {
		if strings.TrimSpace(paragraph) == "" {
			continue
		}
		var p Package
		for line := range strings.Lines(paragraph) {
			key, value, ok := strings.Cut(strings.TrimRight(line, "\n"), ": ")
			if !ok {
				continue
			}
			switch key {
			case "Package":
				p.Name = value
			case "Version":
				p.Version = value
			case "Architecture":
				p.Architecture = value
			case "Filename":
				p.File = strings.TrimPrefix(value, "./")
			case "SHA256":
				p.SHA256 = value
			case "Size":
				if _, err := fmt.Sscan(value, &p.Size); err != nil {
					return nil, fmt.Errorf("the index gives %s the size %q", p.Name, value)
				}
			}
		}
		if p.Name == "" || p.Version == "" || p.File == "" || p.SHA256 == "" {
			return nil, fmt.Errorf("the index has a paragraph without name, version, file or checksum: %.80q", paragraph)
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(x, y Package) int { return strings.Compare(x.File, y.File) })
	return out, nil
}

// sign signs the repository with a key that is made here and thrown away after:
// nobody can sign anything else in its name, and hosts trust it for this source
// alone.
func (c *creation) sign(ctx context.Context, m *Manifest) (err error) {
	// Short: a socket's path has 108 bytes.
	home, err := os.MkdirTemp("", "mhkey-*")
	if err != nil {
		return err
	}
	env := []string{"GNUPGHOME=" + home}
	defer func() {
		// The agent that gpg started goes with its directory.
		_, kerr := run(context.WithoutCancel(ctx), env, "gpgconf", "--kill", "all")
		err = errors.Join(err, kerr, os.RemoveAll(home))
	}()
	gpg := func(args ...string) (string, error) {
		return run(ctx, env, "gpg", append([]string{"--batch", "--no-tty", "--quiet", "--pinentry-mode=loopback", "--passphrase="}, args...)...)
	}
	name := "multihead bundle " + m.ID
	if _, err := gpg("--quick-generate-key", name, "ed25519", "sign", "never"); err != nil {
		return err
	}
	listed, err := gpg("--with-colons", "--list-keys")
	if err != nil {
		return err
	}
	for line := range strings.Lines(listed) {
		if f := strings.Split(line, ":"); f[0] == "fpr" && len(f) > 9 && m.Key == "" {
			m.Key = f[9]
		}
	}
	if m.Key == "" {
		return errors.New("gpg made no key")
	}
	public, err := gpg("--armor", "--export", m.Key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(c.out, keyFile), []byte(public), 0o644); err != nil {
		return err
	}
	_, err = gpg("--digest-algo=SHA512", "--clearsign", "--output", filepath.Join(c.repo, "InRelease"), filepath.Join(c.work, "Release"))
	return err
}

// finish adds the tool, the manifest and the checksums of everything.
func (c *creation) finish(_ context.Context, m *Manifest) error {
	if err := copyFile(c.Tool, filepath.Join(c.out, toolFile), 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(c.out, manifestFile), append(text, '\n'), 0o644); err != nil {
		return err
	}
	var sums strings.Builder
	err = filepath.WalkDir(c.out, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(c.out, p)
		if err != nil {
			return err
		}
		sum, _, err := sumFile(p)
		fmt.Fprintf(&sums, "%s  %s\n", sum, filepath.ToSlash(rel))
		return err
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(c.out, sumsFile), []byte(sums.String()), 0o644); err != nil {
		return err
	}
	return os.Chmod(c.out, 0o755)
}

func copyFile(from, to string, mode fs.FileMode) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}
