package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// requirement is a program the lab calls and the Debian package it comes in.
type requirement struct{ program, pkg string }

var requirements = [...]requirement{
	{"systemd-nspawn", "systemd-container"},
	{"mmdebstrap", "mmdebstrap"},
	{"nft", "nftables"},
	{"ip", "iproute2"},
	{"mkfs.ext4", "e2fsprogs"},
	{"mount", "mount"},
	{"nsenter", "util-linux"},
	{"dpkg-deb", "dpkg"},
	{"apt-get", "apt"},
	{"ssh", "openssh-client"},
	// What bare hosts install from is made with these: multihead bundle create.
	{"apt-ftparchive", "apt-utils"},
	{"gpg", "gnupg"},
	// Tests of backups ask the real one on this machine as well.
	{"restic", "restic"},
}

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// MissingPackages names the Debian packages that the lab needs and this
// machine does not have.
func MissingPackages() []string {
	var missing []string
	for _, r := range requirements {
		if _, err := lookPath(r.program); err != nil {
			missing = append(missing, r.pkg)
		}
	}
	if _, err := os.Stat(keyring); err != nil {
		missing = append(missing, "debian-archive-keyring")
	}
	slices.Sort(missing)
	return slices.Compact(missing)
}

// lookPath also looks where root's programs are: a root shell made by su
// often lacks the sbin directories.
func lookPath(program string) (string, error) {
	if p, err := exec.LookPath(program); err == nil {
		return p, nil
	}
	for _, dir := range []string{"/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/"} {
		if st, err := os.Stat(dir + program); err == nil && st.Mode()&0o111 != 0 {
			return dir + program, nil
		}
	}
	return "", fmt.Errorf("%s: %w", program, exec.ErrNotFound)
}

// Ready tells in one error what this machine lacks to run a lab.
func Ready() error {
	var errs []error
	if os.Geteuid() != 0 {
		errs = append(errs, errors.New("a lab needs root: it makes namespaces and mounts"))
	}
	if m := MissingPackages(); len(m) > 0 {
		errs = append(errs, fmt.Errorf("missing here: %s (multihead lab setup installs them, or: apt-get install %s)",
			strings.Join(m, ", "), strings.Join(m, " ")))
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	_, err := unifiedRoot()
	return err
}

// Setup installs what the lab needs with apt-get. It does nothing when
// nothing is missing.
func Setup(ctx context.Context, progress func(Event)) error {
	m := MissingPackages()
	if len(m) == 0 {
		return nil
	}
	if os.Geteuid() != 0 {
		return errors.New("installing packages needs root: run multihead lab setup with sudo")
	}
	say(progress, "", "apt-get update")
	if _, err := run(ctx, "apt-get", "-q", "update"); err != nil {
		return err
	}
	say(progress, "", "apt-get install "+strings.Join(m, " "))
	cmd := command(ctx, "apt-get", append([]string{"-q", "-y", "--no-install-recommends", "install"}, m...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if _, err := output(cmd); err != nil {
		return err
	}
	if m := MissingPackages(); len(m) > 0 {
		return fmt.Errorf("still missing after apt-get install: %s", strings.Join(m, ", "))
	}
	return nil
}

// command makes a command with the locale and search path the lab relies on.
func command(ctx context.Context, program string, args ...string) *exec.Cmd {
	if p, err := lookPath(program); err == nil {
		program = p
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	return cmd
}

// run runs a program to its end and returns what it printed.
func run(ctx context.Context, program string, args ...string) (string, error) {
	return output(command(ctx, program, args...))
}

// output is cmd.Output with the last lines of stderr in the error.
func output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w%s", strings.Join(cmd.Args, " "), err, tail(stderr.String(), 6))
	}
	return stdout.String(), nil
}

// tail is the last n lines of s, set off for the end of an error.
func tail(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	if len(lines) == 1 && lines[0] == "" {
		return ""
	}
	return "\n  " + strings.Join(lines, "\n  ")
}

// Event is one thing that happened on the way. Host is empty where it
// concerns the lab as a whole.
type Event struct {
	Host string
	Text string
}

func say(progress func(Event), host, text string) {
	if progress != nil {
		progress(Event{host, text})
	}
}
