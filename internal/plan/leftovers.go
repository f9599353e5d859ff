package plan

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"multihead/internal/host"
)

// leftovers is what purging a package takes away, beyond what removing it does,
// as the scripts of Debian 12 and 13 say. Most of it is data: Redis's keys, the
// books of GlusterFS, slurm.conf, munge's key.
type leftovers struct {
	packages string // names
	places   string // files and directories
	account  string // the system account that goes with it
	emptied  string // a directory that the undo of later steps has cleared, unless it failed
}

var purged = []leftovers{
	{packages: "chrony", places: "/etc/chrony /var/lib/chrony /var/log/chrony /etc/dhcp/dhclient-exit-hooks.d/chrony", account: "_chrony"},
	{packages: "munge", places: "/etc/munge /var/lib/munge /var/log/munge", account: "munge"},
	{packages: "glusterfs-common glusterfs-server", places: "/etc/glusterfs /etc/ganesha /var/lib/glusterd /var/log/glusterfs /etc/default/glusterd", account: "gluster"},
	{packages: "mariadb-client mariadb-common mariadb-server mysql-common", places: "/etc/mysql /var/lib/mysql /var/log/mysql /etc/default/mariadb /etc/logrotate.d/mariadb /etc/security/user_map.conf", account: "mysql"},
	{packages: "galera-arbitrator-4", places: "/etc/default/garb"},
	{packages: "redis-sentinel redis-server redis-tools", places: "/etc/redis /var/lib/redis /var/log/redis", account: "redis", emptied: "/var/lib/redis"},
	{packages: "slurm-wlm-basic-plugins slurmctld slurmd slurmdbd", account: "slurm",
		places: "/etc/slurm /var/lib/slurm /var/log/slurm /etc/slurm-llnl /var/lib/slurm-llnl /var/log/slurm-llnl"},
	{packages: "keepalived", places: "/etc/keepalived /etc/dbus-1/system.d/org.keepalived.Vrrp1.conf"},
	// What those depend on.
	{packages: "gawk", places: "/etc/profile.d/gawk.csh /etc/profile.d/gawk.sh"},
	{packages: "libnl-3-200", places: "/etc/libnl-3"},
	{packages: "libsensors-config", places: "/etc/sensors.d /etc/sensors3.conf"},
	{packages: "libsnmp-base", places: "/etc/snmp /var/lib/snmp"},
	{packages: "media-types", places: "/etc/mime.types"},
	{packages: "perl", places: "/etc/perl"},
	{packages: "python3", places: "/etc/python3"},
	{packages: "readline-common", places: "/etc/inputrc"},
	{packages: "rsync"},
}

// purgeable lists the packages of the table whose purge takes away nothing that
// is there now. It is asked before they are installed, and in doubt, or of a
// package that the table does not have, the answer is no.
func purgeable(ctx context.Context, h host.Reader) map[string]bool {
	out := map[string]bool{}
	for _, l := range purged {
		ok := l.account == "" || unused(ctx, h, l.account)
		for _, p := range strings.Fields(l.places) {
			ok = ok && vacant(ctx, h, p)
		}
		for _, name := range strings.Fields(l.packages) {
			out[name] = ok
			for _, dir := range []string{"/etc/default", "/etc/init.d", "/etc/logrotate.d"} {
				out[name] = out[name] && vacant(ctx, h, path.Join(dir, name))
			}
		}
	}
	return out
}

// emptyAgain says whether nothing is left of what was put beside a package after
// it had been installed. A step whose undo failed may have left keys there.
func emptyAgain(ctx context.Context, h host.Reader, name string) bool {
	for _, l := range purged {
		if l.emptied != "" && slices.Contains(strings.Fields(l.packages), name) && !vacant(ctx, h, l.emptied) {
			return false
		}
	}
	return true
}

// vacant says whether a path is known to be absent, or an empty directory.
func vacant(ctx context.Context, h host.Reader, p string) bool {
	info, err := h.Stat(ctx, p)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil || !info.IsDir() {
		return false
	}
	entries, err := h.ReadDir(ctx, p)
	return err == nil && len(entries) == 0
}

// unused says whether there is known to be no account of that name.
func unused(ctx context.Context, h host.Reader, account string) bool {
	_, err := h.Query(ctx, "getent", "passwd", account)
	var exit *host.ExitError
	return errors.As(err, &exit) && exit.Code == 2
}
