package lab

import (
	"context"
	"strings"
)

// debianDefault is the public name of Debian's own mirror network, for
// machines whose apt knows no other.
const debianDefault = "http://deb.debian.org/debian"

// debianMirror is the mirror this machine's apt fetches Debian from.
func debianMirror(ctx context.Context) string {
	out, err := run(ctx, "apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(CREATED_BY)|$(REPO_URI)")
	if err != nil {
		return debianDefault // an apt without sources: the default is all there is to try
	}
	return pickMirror(out)
}

// pickMirror chooses from apt's index targets. Origin and label are those
// of the Release file, so they are empty before the first apt-get update;
// then the path decides, which is "debian" on Debian mirrors by custom.
func pickMirror(targets string) string {
	byPath := ""
	for line := range strings.Lines(targets) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) != 4 || f[2] != "Packages" {
			continue
		}
		uri := strings.TrimSuffix(f[3], "/")
		if f[0] == "Debian" && f[1] == "Debian" {
			return uri
		}
		if byPath == "" && strings.HasSuffix(uri, "/debian") && (f[0] == "" || strings.HasPrefix(f[0], "$(")) {
			byPath = uri
		}
	}
	if byPath != "" {
		return byPath
	}
	return debianDefault
}

// aptConfig is the configuration of the apt that fills the image: its own,
// with the machine's proxy, as it does not read the machine's configuration.
func aptConfig(ctx context.Context) string {
	conf := "APT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\n"
	for _, key := range []string{"Acquire::http::Proxy", "Acquire::https::Proxy"} {
		out, err := run(ctx, "apt-config", "shell", "V", key)
		if err != nil {
			continue // no apt-config, no proxy
		}
		if v, ok := strings.CutPrefix(strings.TrimSpace(out), "V="); ok {
			if v = strings.Trim(v, "'"); v != "" {
				conf += key + " \"" + v + "\";\n"
			}
		}
	}
	return conf
}
