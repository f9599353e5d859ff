package config

import (
	"fmt"
	"io/fs"
	"strings"
)

// The rules here look at the cluster as a whole, after every value was read.
// What cannot be deployed safely is an error; what can is a warning that says
// what will happen. A rule is silent about a value that could not be read.

// checker carries a cluster through the rules and collects what they find.
type checker struct {
	*Cluster
	bad      map[string]bool
	secrets  []placedSecret
	problems Problems
}

// rules is every rule there is, in the order of the file.
func rules() []func(*checker) {
	return []func(*checker){
		checkClusterInfo,
		checkHosts, checkDuplicates, checkSharedHosts, checkHardware, checkPriorities, checkServices, checkWitnesses,
		checkVIP, checkVRRP, checkFirewall,
		checkSharedStorage, checkGlusterFS, checkBackup,
		checkDatabase, checkGalera, checkDatabases, checkDatabaseConfig,
		checkRedis, checkRedisReplicas,
		checkSlurm, checkAccounting, checkPartitions, checkPartitionNodes, checkGRES, checkSlurmVersions,
		checkUsers, checkPasswords, checkFencing,
		checkTime, checkClustering, checkPorts, checkWebServices,
	}
}

func validate(c *Cluster, d *decoder) Problems {
	k := &checker{Cluster: c, bad: d.bad, secrets: d.secrets}
	for _, rule := range rules() {
		rule(k)
	}
	return k.problems
}

// err reports that the value at path cannot be deployed safely.
func (k *checker) err(path string, what, fix Message) { k.add(Error, path, what, fix) }

// warn reports what will happen because of the value at path.
func (k *checker) warn(path string, what, fix Message) { k.add(Warning, path, what, fix) }

func (k *checker) add(s Severity, path string, what, fix Message) {
	if k.unread(path) {
		return
	}
	k.problems = append(k.problems, Problem{s, k.Pos(path), path, what, fix})
}

// unread reports whether the value at path, or a part that it is in, could
// not be read.
func (k *checker) unread(path string) bool {
	for {
		if k.bad[path] {
			return true
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return false
		}
		path = path[:i]
	}
}

// unreadBelow reports whether anything at path or below it could not be read,
// so that what the rest of it adds up to is not known.
func (k *checker) unreadBelow(path string) bool {
	if k.unread(path) {
		return true
	}
	for bad := range k.bad {
		if strings.HasPrefix(bad, path) {
			return true
		}
	}
	return false
}

func headPath(i int, key string) string { return listPath("nodes.controllers", i, key) }

func listPath(list string, i int, key string) string {
	if key == "" {
		return indexPath(list, i)
	}
	return indexPath(list, i) + "." + key
}

// names joins words as a sentence does: a, b and c.
func names(words []string) string {
	switch n := len(words); n {
	case 0:
		return ""
	case 1:
		return words[0]
	default:
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
}

// readableByOthers warns about a file with passwords in it that other users
// of the machine can read.
func readableByOthers(c *Cluster, secrets []placedSecret, mode fs.FileMode) (Problem, bool) {
	if mode.Perm()&0o077 == 0 {
		return Problem{}, false
	}
	for _, s := range secrets {
		if s.literal {
			return Problem{
				Severity: Warning, Pos: c.Pos(s.path), Path: s.path,
				What: msg("the file holds passwords and its mode %s lets other users read them", fmt.Sprintf("%04o", mode.Perm())),
				Fix:  msg("chmod 600 %s, or write ${NAME} and export NAME", c.source().file),
			}, true
		}
	}
	return Problem{}, false
}
