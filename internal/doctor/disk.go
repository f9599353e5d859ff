package doctor

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"multihead/internal/config"
)

// disk is the file system that a path lies on.
type disk struct {
	at          string // the closest path that exists
	mount       string
	kind        string // ext4, xfs, overlay …
	size, avail int64  // bytes
}

// What a disk needs. Below the floor something will fail while the cluster is
// formed (packages, a first database, logs); below the comfort it will soon.
const (
	diskFloor   = 1 << 30
	diskComfort = 3 << 30
)

// diskPaths is where a host of the cluster keeps what grows.
func diskPaths(c *config.Cluster, p Patient) []string {
	paths := []string{"/", "/var/log"}
	if p.Role != Head {
		return paths
	}
	if c.Runs(p.Spec.Hostname, config.MariaDB) {
		paths = append(paths, "/var/lib/mysql")
	}
	if c.Runs(p.Spec.Hostname, config.GlusterFS) && c.SharedStorage.GlusterFS.BrickPath != "" {
		paths = append(paths, c.SharedStorage.GlusterFS.BrickPath)
	}
	return paths
}

func askDisks(ctx context.Context, r *recorder, paths []string) (map[string]disk, error) {
	out := map[string]disk{}
	for _, p := range paths {
		at, err := nearest(ctx, r, p)
		if err != nil {
			return out, err
		}
		said, err := r.Query(ctx, "df", "-B1", "--output=fstype,size,avail,target", at)
		if err != nil {
			return out, err
		}
		d, err := parseDF(said)
		if err != nil {
			return out, err
		}
		d.at = at
		out[p] = d
	}
	return out, nil
}

// parseDF reads df's table of one line with the columns that askDisks wants.
func parseDF(text string) (disk, error) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	f := strings.Fields(lines[len(lines)-1])
	if len(lines) != 2 || len(f) < 4 {
		return disk{}, fmt.Errorf("df said %q", text)
	}
	size, err1 := strconv.ParseInt(f[1], 10, 64)
	avail, err2 := strconv.ParseInt(f[2], 10, 64)
	if err1 != nil || err2 != nil {
		return disk{}, fmt.Errorf("df said %q", text)
	}
	return disk{kind: f[0], size: size, avail: avail, mount: strings.Join(f[3:], " ")}, nil
}

// judgeDisk wants room where things grow, and the brick on a disk of its own.
func judgeDisk(c *config.Cluster, f *facts) Finding {
	fi := Finding{Check: checkDisk, Level: OK, Asked: f.disks.asked}
	if f.disks.err != nil {
		return fi.unknown(f.disks.err)
	}
	brick := ""
	if f.patient.Role == Head && c.Runs(f.patient.Spec.Hostname, config.GlusterFS) {
		brick = c.SharedStorage.GlusterFS.BrickPath
	}
	var rooms []string
	seen := map[string]bool{}
	for _, p := range diskPaths(c, f.patient) {
		d, ok := f.disks.value[p]
		if !ok {
			continue
		}
		if p == brick {
			judgeBrick(&fi, p, d)
		}
		if seen[d.mount] {
			continue
		}
		seen[d.mount] = true
		rooms = append(rooms, fmt.Sprintf("%s %s free of %s", d.mount, bytesText(d.avail), bytesText(d.size)))
		what := fmt.Sprintf("%s has %s free (for %s)", d.mount, bytesText(d.avail), p)
		switch {
		case d.avail < diskFloor:
			fi.worse(Fail, what+": too little to begin with", "make room or mount a larger disk there")
		case d.avail < diskComfort:
			fi.worse(Warn, what, "it will fill up soon: make room or mount a larger disk there")
		}
	}
	fi.fine(strings.Join(rooms, ", "))
	return fi
}

func judgeBrick(fi *Finding, p string, d disk) {
	switch {
	case slices.Contains([]string{"overlay", "tmpfs", "nfs", "nfs4", "fuse.glusterfs", "vfat", "ramfs"}, d.kind):
		fi.worse(Fail, fmt.Sprintf("the brick %s would lie on %s, which cannot keep Gluster's attributes", p, d.kind),
			"mount an xfs or ext4 disk at "+d.at+", or set shared_storage.glusterfs.brick_path to one")
	case d.mount == "/":
		fi.worse(Fail, fmt.Sprintf("the brick %s would lie on the root disk: shared files that fill it up stop the whole head", p),
			"mount a disk of its own for it, or set shared_storage.glusterfs.brick_path to a path on one")
	}
}

// bytesText is a size for people.
func bytesText(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
	return fmt.Sprintf("%d MiB", n>>20)
}
