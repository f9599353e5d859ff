package plan

import (
	"context"
	_ "embed"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"multihead/internal/host"
)

// KeepDir is where a machine keeps the packages that an upgrade replaced, the last
// version of each, for root alone: they have the site's own files of /etc in them.
const KeepDir = "/var/cache/multihead-upgrade"

// kept is the file of a package that was put aside.
func kept(name, version string) string {
	return path.Join(KeepDir, name+"_"+strings.ReplaceAll(version, ":", "-")+".deb")
}

//go:embed pack.sh
var packScript string

// pack makes a package of what is installed, as it was installed from: a release's
// sources have the version before the last one no more, and a site without the internet
// has none.
func pack(ctx context.Context, h host.Host, name, version string) error {
	to := kept(name, version)
	if _, err := h.Stat(ctx, to); err == nil {
		return nil
	}
	if _, err := (Dir{Path: KeepDir, Attr: host.Attr{Mode: 0o700}}).Do(ctx, h); err != nil {
		return err
	}
	status, err := h.Query(ctx, "dpkg-query", "--status", name)
	if err != nil {
		return err
	}
	files, err := h.Query(ctx, "dpkg-query", "-L", name)
	if err != nil {
		return err
	}
	paths, err := packed(ctx, h, files)
	if err != nil {
		return err
	}
	control := path.Join(KeepDir, ".control-"+name)
	if err := h.WriteFile(ctx, control, []byte(controlOf(status)), host.Attr{Mode: 0o600}); err != nil {
		return err
	}
	_, err = h.Run(ctx, host.Cmd{Argv: []string{"bash", "-euo", "pipefail", "-c", packScript, "pack", KeepDir, name, control, to}, Stdin: []byte(strings.Join(paths, "\x00"))})
	err = errors.Join(err, h.Remove(ctx, control))
	if err != nil {
		return err
	}
	return forgetOthers(ctx, h, name, to)
}

// forgetOthers removes what was put aside of a package before, so that the directory
// does not grow for ever.
func forgetOthers(ctx context.Context, h host.Host, name, keep string) error {
	entries, err := h.ReadDir(ctx, KeepDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name, name+"_") && e.Name != path.Base(keep) {
			if err := h.Remove(ctx, path.Join(KeepDir, e.Name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// packed are the paths of a package, relative to the root. A directory of the package
// that is a link on the machine (/lib) is left out: what lies below it is found all the
// same, and the link is another package's.
func packed(ctx context.Context, h host.Reader, listed string) ([]string, error) {
	var all []string
	dirs := map[string]bool{}
	for line := range strings.Lines(listed) {
		p := strings.TrimRight(line, "\n")
		if !strings.HasPrefix(p, "/") || p == "/." { // a diversion is told in words
			continue
		}
		all = append(all, p)
		for d := path.Dir(p); d != "/" && !dirs[d]; d = path.Dir(d) {
			dirs[d] = true
		}
	}
	out := []string{}
	for _, p := range all {
		if dirs[p] {
			info, err := h.Stat(ctx, p)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			if err != nil || info.Mode&fs.ModeSymlink != 0 {
				continue
			}
		}
		out = append(out, strings.TrimPrefix(p, "/"))
	}
	return out, nil
}

// controlOf is a package's control file, from what dpkg remembers of it.
func controlOf(status string) string {
	var b strings.Builder
	skip := false
	for line := range strings.Lines(status) {
		if !strings.HasPrefix(line, " ") {
			key, _, _ := strings.Cut(line, ":")
			skip = slices.Contains([]string{"Status", "Conffiles", "Config-Version", "Triggers-Pending", "Triggers-Awaited"}, key)
		}
		if !skip {
			b.WriteString(line)
		}
	}
	return b.String()
}
