package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"multihead/internal/bundle"
	"multihead/internal/config"
)

func newBundleCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bundle",
		Short: "Packages and tool in one directory, for sites without the internet",
		Example: `  multihead bundle create --release trixie ./bundle    where there is internet
  multihead bundle verify ./bundle                     where there is none`,
	}
	cmd.AddCommand(newBundleCreateCmd(a), newBundleVerifyCmd(a))
	return cmd
}

func newBundleCreateCmd(a *app) *cobra.Command {
	var o bundle.Options
	cmd := &cobra.Command{
		Use:   "create DIRECTORY",
		Short: "Gather every package with all it depends on, and this tool, as a signed repository",
		Long: `Has this machine's apt work out and fetch what the hosts of a Debian release need.
Nothing of this machine's own packages is touched. The repository is signed with a
key that is made for it and thrown away after. Carry the directory to the site and
name it in the cluster file:

  installation: {offline_mode: true, offline_package_dir: /srv/bundle}

Needs apt-utils and gnupg here, and no root. Compare the digest that it prints with
the one that "bundle verify" prints at the site.

Exit code: 0 done, 1 failed, 64 usage.`,
		Example: `  multihead bundle create --release trixie ./bundle
  multihead bundle create --release bookworm --with htop,tmux ./bundle-12
  multihead bundle create --release trixie --sources site.list ./bundle`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.bundleCreate(cmd.Context(), o, args[0]) },
	}
	f := cmd.Flags()
	f.StringVar(&o.Release, "release", "", "Debian's `codename` on the hosts (default this machine's)")
	f.StringVar(&o.Architecture, "arch", "", "the hosts' `architecture`, as Debian calls it (default this machine's)")
	f.StringVar(&o.Mirror, "mirror", "", "`address` of a Debian mirror (default that of this machine's apt)")
	f.StringVar(&o.Security, "security-mirror", "", "`address` of a mirror of the security updates (default that of this machine's apt)")
	f.StringVar(&o.Sources, "sources", "", "a sources.list `file` to use instead of the mirrors")
	f.StringSliceVar(&o.Packages, "with", nil, "further `packages`")
	cmd.MarkFlagsMutuallyExclusive("sources", "mirror")
	return cmd
}

func (a *app) bundleCreate(ctx context.Context, o bundle.Options, dir string) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the running binary: %w", err)
	}
	o.Tool, o.Version = exe, version
	if o.Dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if o.Release == "" {
		if o.Release = codename(); o.Release == "" {
			return usageError(errors.New("this machine is no Debian: name the hosts' release with --release"))
		}
	}
	if !a.quiet {
		o.Say = func(line string) { fmt.Fprintln(a.stderr, line) }
	}
	m, digest, err := bundle.Create(ctx, o)
	if err != nil {
		return err
	}
	a.printBundle(o.Dir, m, digest)
	fmt.Fprintf(a.stdout, a.tr("In the cluster file: installation: {offline_mode: true, offline_package_dir: %s}\n"), o.Dir)
	return nil
}

// codename is this machine's Debian release.
func codename() string {
	data, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return ""
	}
	return bundle.Codename(data)
}

func (a *app) printBundle(dir string, m *bundle.Manifest, digest string) {
	fmt.Fprintf(a.stdout, a.tr("%s: bundle %s for Debian %s (%s), %d packages, %d MB, multihead %s\n"),
		dir, m.ID, m.Release, m.Architecture, len(m.Packages), m.Size()>>20, m.Tool)
	fmt.Fprintf(a.stdout, a.tr("digest  %s\n"), digest)
}

func newBundleVerifyCmd(a *app) *cobra.Command {
	var digest string
	cmd := &cobra.Command{
		Use:   "verify DIRECTORY",
		Short: "Read a whole bundle and name what is missing or damaged",
		Long: `Asks no host. up does the same before it installs anything.

Exit code: 0 whole, 1 not, 64 usage.`,
		Example: `  multihead bundle verify /srv/bundle
  multihead bundle verify /srv/bundle --digest 3f1c…    made by the one who sent it
  multihead bundle verify /srv/bundle -o json`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&digest, "digest", "", "what create printed: nothing was changed on the way")
	output := formatFlag(cmd, "table", "json")
	cmd.RunE = func(_ *cobra.Command, args []string) error { return a.bundleVerify(args[0], digest, *output) }
	return cmd
}

func (a *app) bundleVerify(dir, wanted, output string) error {
	m, digest, err := bundle.Verify(dir)
	if err == nil && wanted != "" && !strings.EqualFold(wanted, digest) {
		err = fmt.Errorf("the bundle in %s is whole, and another one than meant: its digest is %s", dir, digest)
	}
	if output == "json" {
		doc := struct {
			FormatVersion int              `json:"format_version"`
			OK            bool             `json:"ok"`
			Digest        string           `json:"digest,omitempty"`
			Problems      []bundle.Problem `json:"problems"`
			Error         string           `json:"error,omitempty"`
			Manifest      *bundle.Manifest `json:"manifest,omitempty"`
		}{1, err == nil, digest, []bundle.Problem{}, "", m}
		if broken, ok := errors.AsType[*bundle.Broken](err); ok {
			doc.Problems = broken.Problems
		} else if err != nil {
			doc.Error = err.Error()
		}
		if perr := a.printJSON(doc); perr != nil {
			return perr
		}
		if err != nil {
			return &exitError{code: exitFailed}
		}
		return nil
	}
	if err != nil {
		return err
	}
	a.printBundle(dir, m, digest)
	return nil
}

// offlineSite is where the cluster file says that packages come from; nil where it
// names no bundle.
func offlineSite(c *config.Cluster) *bundle.Site {
	dir := c.Installation.OfflinePackageDir
	if !c.Installation.OfflineMode || dir == "" {
		return nil
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(filepath.Dir(c.File()), dir)
	}
	return &bundle.Site{Dir: dir, Cache: c.Installation.PackageCachePath}
}

// bundleOffers is what the site's bundle has, version by package; nil where there is
// none, which is said where the file names one.
func (a *app) bundleOffers(c *config.Cluster) map[string]string {
	site := offlineSite(c)
	if site == nil {
		return nil
	}
	m, err := bundle.Load(site.Dir)
	if err != nil {
		fmt.Fprintln(a.stderr, err)
		return nil
	}
	return m.Offers()
}
