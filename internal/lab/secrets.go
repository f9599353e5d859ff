package lab

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
)

// secretNames are the variables of the cluster file, each drawn anew for
// every lab. VRRP takes eight characters at most.
var secretNames = []string{
	"DB_AUTH_PASSWORD", "DB_ROOT_PASSWORD", "DB_SLURM_PASSWORD", "DB_SST_PASSWORD",
	"REDIS_PASSWORD", "SSH_PASSWORD", "VRRP_PASSWORD", fenceSecret,
}

// fenceSecret is the password of the lab's power device.
const fenceSecret = "FENCE_PASSWORD"

func newSecrets() map[string]string {
	m := map[string]string{}
	for _, name := range secretNames {
		m[name] = strings.ToLower(rand.Text())[:20]
	}
	m["VRRP_PASSWORD"] = m["VRRP_PASSWORD"][:8]
	return m
}

// SecretsPath is the file, readable by root only, with the lab's passwords
// as NAME=value lines. SSH_PASSWORD is that of the user admin on every host.
func (l *Lab) SecretsPath() string { return l.path("secrets.env") }

// Secrets reads the lab's passwords.
func (l *Lab) Secrets() (map[string]string, error) {
	data, err := os.ReadFile(l.SecretsPath())
	if err != nil {
		return nil, err
	}
	m := map[string]string{}
	for line := range strings.Lines(string(data)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			m[k] = v
		}
	}
	return m, nil
}

// ensureSecrets makes the lab's passwords and its SSH key, unless there.
func (l *Lab) ensureSecrets() error {
	if _, err := os.Stat(l.SecretsPath()); errors.Is(err, fs.ErrNotExist) {
		var b strings.Builder
		secrets := newSecrets()
		for _, k := range sortedKeys(secrets) {
			fmt.Fprintf(&b, "%s=%s\n", k, secrets[k])
		}
		if err := writeFile(l.SecretsPath(), b.String(), 0o600); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if _, err := os.Stat(l.KeyPath() + ".pub"); err == nil {
		return nil
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	return writeKey(l.KeyPath(), private, "multihead lab "+l.Spec.Name)
}

// writeKey writes an OpenSSH private key and, last, its public half.
func writeKey(path string, private any, comment string) error {
	block, err := ssh.MarshalPrivateKey(private, comment)
	if err != nil {
		return err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return err
	}
	if err := writeFile(path, string(pem.EncodeToMemory(block)), 0o600); err != nil {
		return err
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))) + " " + comment + "\n"
	return writeFile(path+".pub", line, 0o644)
}

// ensureHostKeys makes the host's SSH keys before it first boots, so that
// known_hosts is right from the first connection. They are kept outside its
// disks: a host that is reset keeps its keys, as a reinstalled one should.
func (h *Host) ensureHostKeys() error {
	ecdsaKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	for name, key := range map[string]any{"ecdsa": ecdsaKey, "ed25519": edKey} {
		path := h.path("keys", "ssh_host_"+name+"_key")
		if _, err := os.Stat(path + ".pub"); err == nil {
			continue
		}
		if err := writeKey(path, key, "root@"+h.Name); err != nil {
			return err
		}
	}
	return nil
}

// writeKnownHosts writes the host keys of the whole lab beside its cluster
// file.
func (l *Lab) writeKnownHosts() error {
	var b strings.Builder
	for _, h := range l.hosts {
		pubs, err := filepath.Glob(h.path("keys", "*.pub"))
		if err != nil {
			return err
		}
		for _, p := range pubs {
			key, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			f := strings.Fields(string(key))
			fmt.Fprintf(&b, "%s,%s %s %s\n", h.Name, h.Address, f[0], f[1])
		}
	}
	return writeFile(l.KnownHosts(), b.String(), 0o644)
}
