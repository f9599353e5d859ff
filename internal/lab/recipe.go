package lab

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// recipeVersion changes whenever the code that finishes an image changes, so
// that an image made by an older tool is never taken for a new one.
const recipeVersion = 1

// Recipe is everything an image is made of. Two equal recipes give the same
// image, and its digest is the image's name in the cache.
type Recipe struct {
	Name     string   // as given to --image
	Suite    string   // Debian's code name
	Packages []string // in the image
	Offline  []string // not installed; kept beside the image as a repository, with all they depend on
	Version  int
}

// basePackages make a Debian that one can log in to. libpam-systemd is here
// because real hosts have it: it puts SSH sessions under logind.
var basePackages = []string{
	"systemd", "systemd-sysv", "dbus", "libpam-systemd", "openssh-server", "sudo",
	"iproute2", "iputils-ping", "procps", "kmod", "less", "tzdata", "ca-certificates",
}

// servicePackages are all that a head, a compute node or a witness may run.
var servicePackages = []string{
	"chrony", "munge",
	"glusterfs-server", "glusterfs-client", "attr",
	"mariadb-server", "mariadb-client", "mariadb-backup", "galera-4", "galera-arbitrator-4", "socat",
	"redis-server", "redis-sentinel", "redis-tools",
	"slurmctld", "slurmd", "slurmdbd", "slurm-client", "slurm-wlm-mysql-plugin",
	"keepalived", "haproxy", "nginx", "nftables", "rsync", "curl", "restic",
}

// serviceUnits are switched off in the image: what runs on a host is what
// was told to run there. Units that a suite does not have are passed over.
var serviceUnits = []string{
	"chrony.service", "munge.service", "glusterd.service", "glustereventsd.service",
	"mariadb.service", "garb.service", "redis-server.service", "redis-sentinel.service",
	"slurmctld.service", "slurmd.service", "slurmdbd.service",
	"keepalived.service", "haproxy.service", "nginx.service", "nftables.service", "rsync.service",
}

// maskedUnits have no meaning in a host without hardware, reach for the
// machine's own kernel, or wake up by themselves in the middle of a test.
var maskedUnits = []string{
	"systemd-modules-load.service", "systemd-pstore.service", "systemd-udevd.service",
	"systemd-udev-trigger.service", "systemd-networkd-wait-online.service",
	"dev-hugepages.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
	"sys-kernel-config.mount", "sys-fs-fuse-connections.mount",
	"getty.target", "console-getty.service",
	"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer",
	"e2scrub_all.timer", "e2scrub_reap.service", "xfs_scrub_all.timer", "fstrim.timer",
}

// ImageNames lists the images in the order help shows them.
func ImageNames() []string { return []string{"trixie", "bookworm", "bare", "bare-bookworm"} }

func recipeFor(name string) (Recipe, error) {
	r := Recipe{Name: name, Version: recipeVersion}
	switch name {
	case "trixie", "bookworm":
		r.Suite = name
		r.Packages = slices.Concat(basePackages, servicePackages)
	case "bare", "bare-bookworm":
		r.Suite = "trixie"
		if name == "bare-bookworm" {
			r.Suite = "bookworm"
		}
		r.Packages = slices.Clone(basePackages)
		r.Offline = slices.Clone(servicePackages)
	default:
		return Recipe{}, fmt.Errorf("image %q: use one of %s", name, strings.Join(ImageNames(), ", "))
	}
	return r, nil
}

// key names the recipe's image in the cache.
func (r Recipe) key() string {
	text, err := json.Marshal(struct {
		Recipe
		Services, Masked []string
	}{r, serviceUnits, maskedUnits})
	if err != nil { // strings and numbers always marshal
		panic(err)
	}
	return r.Name + "-" + short(string(text), 12)
}
