package config

import (
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
)

var volumeName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func checkSharedStorage(k *checker) {
	s := k.SharedStorage
	switch s.Type {
	case StorageNFS:
		if s.NFS.Server == "" {
			k.err("shared_storage.nfs.server", msg("shared_storage.type is nfs and no server is named"), msg("add nfs: {server: ..., export: ...}"))
		}
		if !path.IsAbs(s.NFS.Export) && s.NFS.Server != "" {
			k.err("shared_storage.nfs.export", msg("%q is not a path of the NFS server", s.NFS.Export), msg("write an absolute path such as /export/shared"))
		}
		k.checkMountPoint("shared_storage.nfs.mount_point", s.NFS.MountPoint)
	case StorageExisting:
		if s.MountPoint == "" {
			k.err("shared_storage.mount_point", msg("shared_storage.type is existing and no directory is named"), msg("add mount_point: with the directory that every head has mounted"))
			return
		}
		k.checkMountPoint("shared_storage.mount_point", s.MountPoint)
	case StorageGlusterFS:
		if heads := k.HeadsWith(Slurm); len(heads) > 1 && len(k.HeadsWith(GlusterFS)) == 0 {
			k.err("shared_storage.type", msg("%d heads run Slurm and none runs GlusterFS: they would have no directory in common for Slurm's state", len(heads)), msg("set services.glusterfs: true on the heads, or type: nfs or existing"))
		}
	}
}

func (k *checker) checkMountPoint(at, dir string) {
	switch clean := path.Clean(dir); {
	case !path.IsAbs(dir):
		k.err(at, msg("%q is not an absolute path", dir), msg("write a directory such as /mnt/gluster"))
	case clean == "/" || systemDirectory(clean) == clean:
		k.err(at, msg("mounting over %s would hide the system's own files", clean), msg("use a directory of its own such as /mnt/gluster"))
	}
}

// systemDirectory returns the directory of the system that dir is in or is
// itself, or nothing.
func systemDirectory(dir string) string {
	for _, s := range []string{"/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/opt", "/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var"} {
		if within(dir, s) {
			return s
		}
	}
	return ""
}

// within reports whether dir is base or below it.
func within(dir, base string) bool {
	dir, base = path.Clean(dir), path.Clean(base)
	return dir == base || base == "/" || strings.HasPrefix(dir, base+"/")
}

func checkGlusterFS(k *checker) {
	heads := k.HeadsWith(GlusterFS)
	if len(heads) == 0 {
		return
	}
	g := k.SharedStorage.GlusterFS
	at := func(key string) string { return "shared_storage.glusterfs." + key }
	if !volumeName.MatchString(g.VolumeName) {
		k.err(at("volume_name"), msg("%q is not a volume name", g.VolumeName), msg("write letters, digits, - and _ only"))
	}
	if n := int(g.ReplicaCount); n != 0 && n != len(heads) {
		k.err(at("replica_count"), msg("%d copies on %d heads with glusterfs: every head holds one copy", n, len(heads)), msg("write auto"))
	}
	k.checkMountPoint(at("mount_point"), g.MountPoint)
	k.checkBrick(at("brick_path"), g)
	for i, dir := range g.Directories {
		if dir == "" || path.IsAbs(dir) || !within(path.Join("/v", dir), "/v") || path.Clean(dir) == "." {
			k.err(indexPath(at("directories"), i), msg("%q is not a directory below the volume", dir), msg("write a relative path such as slurm/state"))
		}
	}
	for name := range g.Options {
		if !strings.Contains(name, ".") || strings.ContainsAny(name, " \t") {
			k.err(keyPath(at("options"), name), msg("%q is not a volume option", name), msg("write it as gluster volume set does, such as network.ping-timeout"))
		}
	}
}

func (k *checker) checkBrick(at string, g GlusterFSConfig) {
	brick := path.Clean(g.BrickPath)
	if !path.IsAbs(g.BrickPath) {
		k.err(at, msg("%q is not an absolute path", g.BrickPath), msg("write a directory on a disk of its own such as /data/glusterfs/brick"))
		return
	}
	fix := msg("use a directory on a disk of its own such as /data/glusterfs/brick")
	switch sys := systemDirectory(brick); {
	case brick == "/":
		k.err(at, msg("the brick cannot be the root directory"), fix)
	case within(brick, "/tmp"), within(brick, "/var/tmp"), within(brick, "/run"), within(brick, "/dev"), within(brick, "/proc"), within(brick, "/sys"):
		k.err(at, msg("%s is emptied when the machine starts: this head's copy of all data would be gone", brick), fix)
	case within(brick, g.MountPoint):
		k.err(at, msg("%s is inside the mount point %s: the volume would contain itself", brick, g.MountPoint), fix)
	case within(g.MountPoint, brick):
		k.err(at, msg("the mount point %s is inside the brick: the volume would contain itself", g.MountPoint), fix)
	case sys == "/srv" || sys == "/opt" || sys == "/home" || sys == "/var":
		k.warn(at, msg("%s is on the root disk unless a disk is mounted there: when shared data fills it, the head itself stops", brick), fix)
	case sys != "":
		k.err(at, msg("%s belongs to the system", sys), fix)
	case strings.Count(brick, "/") == 1:
		k.warn(at, msg("%s is on the root disk unless a disk is mounted there: when shared data fills it, the head itself stops", brick), fix)
	}
}

func checkBackup(k *checker) {
	b := k.SharedStorage.Backup
	at := "shared_storage.backup."
	if !path.IsAbs(b.Path) {
		k.err(at+"path", msg("%q is not an absolute path", b.Path), msg("write a directory such as /data/system_backup"))
	} else if m := k.SharedMount(); m != "" && path.IsAbs(m) && within(b.Path, m) {
		k.warn(at+"path", msg("the backup is on the shared storage it is a backup of: what takes one takes both"), msg("use a directory of each head's local disk such as /data/system_backup"))
	}
	checkOffsite(k, b)
	for _, s := range []struct{ key, value string }{{"full_backup", b.Schedule.FullBackup}, {"incremental", b.Schedule.Incremental}} {
		if s.value != "" && !cronFields(s.value) {
			k.err(at+"schedule."+s.key, msg("%q is not a time in cron syntax", s.value), msg(`write five fields, minute hour day month weekday, such as "0 2 * * *"`))
		}
	}
	if r := b.Retention; b.Enabled && r.Daily+r.Weekly+r.Monthly == 0 {
		k.err(at+"retention", msg("nothing would be kept"), msg("keep at least daily: 1"))
	}
}

// checkOffsite looks at the second repository.
func checkOffsite(k *checker, b Backup) {
	o, at := b.Offsite, "shared_storage.backup.offsite."
	rest := strings.HasPrefix(o.Repository, "rest:")
	switch m := k.SharedMount(); {
	case o.Repository == "":
		return
	case rest:
		u, err := url.Parse(strings.TrimPrefix(o.Repository, "rest:"))
		switch {
		case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
			k.err(at+"repository", msg("after rest: there is no address"), msg("write one such as rest:https://backup.example:8000/cluster/"))
		case u.User != nil:
			k.err(at+"repository", msg("a name or password stands in the address, which is shown"), msg("write them into offsite.user and offsite.password"))
		case u.Scheme == "http" && !o.Password.IsZero():
			k.warn(at+"repository", msg("the password travels in clear text"), msg("write rest:https://"))
		}
	case strings.HasPrefix(o.Repository, "sftp:"):
	case !path.IsAbs(o.Repository):
		k.err(at+"repository", msg("%q is no directory, and neither sftp: nor rest:", o.Repository), msg("write a directory on another machine's disk, sftp:user@host:/path or rest:https://host:8000/"))
	case within(o.Repository, b.Path), m != "" && path.IsAbs(m) && within(o.Repository, m):
		k.err(at+"repository", msg("%s is where the cluster itself keeps its data: what takes one takes both", o.Repository), msg("use a disk of another machine"))
	}
	if !rest && (o.User != "" || !o.Password.IsZero()) {
		k.warn(at+"user", msg("only a rest: server is told a name and a password"), msg("for sftp: root of every head needs a key that the server knows"))
	}
}

// cronFields reports whether s is a time in cron syntax: five fields, or a
// word such as @daily.
func cronFields(s string) bool {
	switch s {
	case "@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually":
		return true
	}
	fields := strings.Fields(s)
	if len(fields) != 5 {
		return false
	}
	bounds := [5][2]int{{0, 59}, {0, 23}, {1, 31}, {1, 12}, {0, 7}}
	words := [5]string{3: "jan feb mar apr may jun jul aug sep oct nov dec", 4: "sun mon tue wed thu fri sat"}
	for i, f := range fields {
		for item := range strings.SplitSeq(f, ",") {
			if !cronItem(item, bounds[i][0], bounds[i][1], strings.Fields(words[i])) {
				return false
			}
		}
	}
	return true
}

// cronItem reads one of *, 5, 1-5, */15, 1-30/2, mon-fri.
func cronItem(item string, low, high int, words []string) bool {
	span, step, hasStep := strings.Cut(item, "/")
	if hasStep {
		if n, err := strconv.Atoi(step); err != nil || n < 1 || n > high {
			return false
		}
	}
	if span == "*" {
		return true
	}
	value := func(s string) (int, bool) {
		for i, w := range words {
			if strings.EqualFold(s, w) {
				return i + low, true
			}
		}
		n, err := strconv.Atoi(s)
		return n, err == nil && s[0] != '+' && n >= low && n <= high
	}
	first, last, isRange := strings.Cut(span, "-")
	a, ok := value(first)
	if !ok || !isRange {
		return ok
	}
	b, ok := value(last)
	return ok && a <= b
}
