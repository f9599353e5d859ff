package lab

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// install writes what makes a host this host into its fresh disks, from the
// outside and before its first boot: what an installer leaves behind.
func (h *Host) install(ctx context.Context) error {
	root := h.path("root")
	for name, text := range h.files() {
		if err := writeFile(root+name, text, 0o644); err != nil {
			return err
		}
	}
	keys, err := filepath.Glob(h.path("keys", "ssh_host_*"))
	if err != nil {
		return err
	}
	for _, k := range keys {
		text, err := os.ReadFile(k)
		if err != nil {
			return err
		}
		perm := os.FileMode(0o600)
		if strings.HasSuffix(k, ".pub") {
			perm = 0o644
		}
		if err := writeFile(root+"/etc/ssh/"+filepath.Base(k), string(text), perm); err != nil {
			return err
		}
	}
	if h.lab.Spec.FenceTool != "" {
		if err := writeFile(root+"/usr/sbin/"+fenceAgent, fenceScript, 0o755); err != nil {
			return err
		}
	}
	if err := h.installMungeKey(root); err != nil {
		return err
	}
	return h.installUsers(ctx, root)
}

// files are the host's own files in /etc. The 127.0.1.1 line is what
// Debian's installer writes, and a classic trap for clusters: a host that
// resolves its own name to loopback.
func (h *Host) files() map[string]string {
	_, bits, _ := strings.Cut(Subnet, "/")
	return map[string]string{
		"/etc/hostname": h.Name + "\n",
		"/etc/hosts": "127.0.0.1\tlocalhost\n127.0.1.1\t" + h.Name + "\n\n" +
			"::1\tlocalhost ip6-localhost ip6-loopback\n",
		"/etc/systemd/network/10-host0.network": "[Match]\nName=host0\n\n[Network]\nAddress=" + h.Address.String() + "/" + bits +
			"\nLinkLocalAddressing=no\nConfigureWithoutCarrier=yes\n",
		"/etc/ssh/sshd_config.d/lab.conf": "HostKey /etc/ssh/ssh_host_ed25519_key\nHostKey /etc/ssh/ssh_host_ecdsa_key\n",
	}
}

// installMungeKey gives the host a munge key of its own, as the package does
// when it is installed: hosts with different keys are what a tool meets.
func (h *Host) installMungeKey(root string) error {
	uid, gid, err := lookupUser(root, "munge")
	if err != nil || uid == 0 {
		return err // a bare image has no munge yet
	}
	key := make([]byte, 128)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	path := root + "/etc/munge/munge.key"
	if err := writeFile(path, string(key), 0o600); err != nil {
		return err
	}
	return os.Chown(path, uid, gid)
}

func (h *Host) installUsers(ctx context.Context, root string) error {
	secrets, err := h.lab.Secrets()
	if err != nil {
		return err
	}
	cmd := command(ctx, "chroot", root, "chpasswd")
	cmd.Stdin = strings.NewReader("admin:" + secrets["SSH_PASSWORD"] + "\n")
	if _, err := output(cmd); err != nil {
		return err
	}
	public, err := os.ReadFile(h.lab.KeyPath() + ".pub")
	if err != nil {
		return err
	}
	for user, home := range map[string]string{"root": "/root", "admin": "/home/admin", "ops": "/home/ops"} {
		if user == "admin" && h.Login == LoginPassword {
			continue // first contact is to be by password
		}
		uid, gid, err := lookupUser(root, user)
		if err != nil {
			return err
		}
		dir := root + home + "/.ssh"
		if err := writeFile(dir+"/authorized_keys", string(public), 0o600); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o700); err != nil {
			return err
		}
		for _, p := range []string{dir, dir + "/authorized_keys"} {
			if err := os.Chown(p, uid, gid); err != nil {
				return err
			}
		}
	}
	return nil
}

// lookupUser reads a host's passwd file: its numbers are not the machine's.
// A user that is not there has the numbers 0 and no error.
func lookupUser(root, user string) (uid, gid int, err error) {
	f, err := os.Open(root + "/etc/passwd")
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		p := strings.Split(sc.Text(), ":")
		if len(p) < 4 || p[0] != user {
			continue
		}
		uid, err1 := strconv.Atoi(p[2])
		gid, err2 := strconv.Atoi(p[3])
		if err1 != nil || err2 != nil {
			return 0, 0, fmt.Errorf("%s/etc/passwd: user %s has no numbers", root, user)
		}
		return uid, gid, nil
	}
	return 0, 0, nil
}
