package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
)

// DirVariable names the environment variable that moves all labs and images.
const DirVariable = "MULTIHEAD_LAB_DIR"

// EnterVariable is set, to the lab's name, in the environment of a process
// that was started inside a lab's network by --lab.
const EnterVariable = "MULTIHEAD_LAB"

// KnownHostsVariable is set by --lab to the known_hosts file with the host
// keys of the lab's hosts, which the lab made before they first started.
const KnownHostsVariable = "MULTIHEAD_KNOWN_HOSTS"

const defaultDir = "/var/lib/multihead-lab"

// Dir is where labs and images are kept.
func Dir() string {
	if d := os.Getenv(DirVariable); d != "" {
		if abs, err := filepath.Abs(d); err == nil {
			return abs
		}
	}
	return defaultDir
}

func labsDir(base string) string   { return filepath.Join(base, "labs") }
func imagesDir(base string) string { return filepath.Join(base, "images") }

// id is the lab's name where the whole machine can see it (control groups,
// machine names). Labs of another directory must not meet those of this one.
func id(base, name string) string {
	if base == defaultDir {
		return name
	}
	return name + "-" + short(base, 6)
}

// short is a digest of s in n hexadecimal digits.
func short(s string, n int) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])[:n]
}

// The files of a lab and of a host.

func (l *Lab) path(elem ...string) string {
	return filepath.Join(append([]string{labsDir(l.base), l.Spec.Name}, elem...)...)
}

// Path is the lab's directory.
func (l *Lab) Path() string { return l.path() }

// ClusterFile is the cluster file that the lab wrote for its hosts.
func (l *Lab) ClusterFile() string { return l.path("my_multihead_cluster.yaml") }

// KnownHosts is the known_hosts file with the keys of all hosts of the lab.
func (l *Lab) KnownHosts() string { return l.path("known_hosts") }

// KeyPath is the private SSH key that root, ops and admin accept.
func (l *Lab) KeyPath() string { return l.path("id_ed25519") }

func (l *Lab) netnsPath() string { return l.path("netns") }
func (l *Lab) metaPath() string  { return l.path("lab.json") }

func (h *Host) path(elem ...string) string {
	return h.lab.path(append([]string{"hosts", h.Name}, elem...)...)
}

// ConsolePath is the host's console log.
func (h *Host) ConsolePath() string { return h.path("console.log") }

// link is the name of the host's port on the bridge, as systemd-nspawn makes
// it: "vb-" and the machine name, which is short enough never to be cut.
func (h *Host) link() string { return "vb-" + h.machine() }

// machine is the name systemd-nspawn knows the host by. It must be unique on
// the machine and at most 12 characters, hence a digest.
func (h *Host) machine() string { return "mh-" + short(id(h.lab.base, h.lab.Spec.Name)+"/"+h.Name, 8) }
