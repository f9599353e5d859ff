package gluster

import (
	"maps"
	"slices"
	"strings"

	"multihead/internal/config"
)

// shdOption switches the self-heal daemons of a volume. They have to hold
// still while a brick is added, see grow.go.
const shdOption = "cluster.self-heal-daemon"

// tuned are the volume options of every volume, each with its reason.
//
// cluster.server-quorum-type stays at none on purpose. It would make glusterd
// kill healthy bricks whenever glusterds do not see more than half of each
// other: with two heads that is every time one is away, and with four it takes
// the volume down in the case that client quorum still serves, two heads left
// with the first among them. What it would protect is protected: any two sets
// of bricks that cluster.quorum-type auto lets a client write to have a brick
// in common.
var tuned = map[string]string{
	// A head that died is given up after this many seconds; until then every
	// write waits for it. Measured: 3 makes the longest gap 6.0 s, 5 makes it
	// 9.6 s. The default is 42.
	"network.ping-timeout": "3",
	// What a head was doing when it fell silent stays locked on the others' bricks
	// until these give its connections up, and whoever wants to write there waits:
	// measured, a slurmctld that had taken over answered nothing for the default of
	// 42 s. They do so after the silent one did, which takes it twice the
	// ping-timeout at most. Where a brick has nothing left to send, only keepalives
	// tell it of the silence.
	"server.tcp-user-timeout":   "8",
	"server.keepalive-time":     "4",
	"server.keepalive-interval": "2",
	// Writes need more than half of the bricks, or half with the first among
	// them: no split-brain. The default for two bricks is none.
	"cluster.quorum-type": "auto",
	// Of two files of one name none is thrown away by a rule that asks nobody what is
	// written down: see mismatch.go.
	"cluster.favorite-child-policy": "none",
	// What a head was told about a small file's content counts for a second
	// otherwise: a backup slurmctld would read an old heartbeat.
	"performance.quick-read": "off",
	"performance.io-cache":   "off",
	// close() reports an error and what it wrote is on the bricks, instead of
	// being sent later: a full disk is noticed by whoever fills it.
	"performance.flush-behind": "off",
	// The state files of slurmctld are read whole and once.
	"performance.read-ahead": "off",
	// What could not be healed at once is tried again after this many
	// seconds. The default is ten minutes.
	"cluster.heal-timeout": "60",
}

// options is what the volume's options are to be: the tuned ones, under those
// of the file.
func options(conf config.GlusterFSConfig) map[string]string {
	out := maps.Clone(tuned)
	maps.Copy(out, conf.Options)
	return out
}

// differing lists the options that the volume does not have as wanted, sorted.
func differing(want, have map[string]string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if have[name] != want[name] {
			out = append(out, name)
		}
	}
	return out
}

// pairs is the arguments of one volume set for several options: one command
// costs as much as one option alone.
func pairs(names []string, values map[string]string) []string {
	var out []string
	for _, n := range names {
		out = append(out, n, values[n])
	}
	return out
}

// directories are made on the volume: those of the file, and where slurmctld
// keeps its state. What is below slurm belongs to Slurm's account.
func directories(c *config.Cluster) []directory {
	mountPoint := strings.TrimRight(c.SharedMount(), "/") + "/"
	names := slices.Clone(c.SharedStorage.GlusterFS.Directories)
	state := ""
	slurm := len(c.HeadsWith(config.Slurm)) > 0
	if rel, ok := strings.CutPrefix(c.Slurm.StateSaveLocation, mountPoint); ok && slurm {
		state = strings.Trim(rel, "/")
		names = append(names, state)
	}
	made := map[string]bool{}
	var out []directory
	for _, name := range names {
		at := ""
		for part := range strings.SplitSeq(strings.Trim(name, "/"), "/") {
			if part == "" || part == "." || part == ".." {
				continue
			}
			at = strings.TrimPrefix(at+"/"+part, "/")
			if made[at] {
				continue
			}
			made[at] = true
			out = append(out, ownedBy(c, at, state, slurm))
		}
	}
	return out
}

func ownedBy(c *config.Cluster, at, state string, slurm bool) directory {
	d := directory{path: at, owner: "root", group: "root", mode: 0o755}
	if slurm && (at == state || strings.HasPrefix(at, "slurm/")) {
		d.owner, d.group, d.mode = c.Users.SlurmUser, c.Users.SlurmUser, 0o750
	}
	if at == state {
		d.mode = 0o700 // job scripts and environments of all users
	}
	return d
}
