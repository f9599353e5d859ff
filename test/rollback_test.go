//go:build lab

package test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"multihead/internal/lab"
)

// failedPhases makes phases fail: each is rolled back to the exact earlier state, or
// says what of it cannot be; once the cause is gone, up carries on.
func failedPhases(h *hosts) {
	t := h.t
	tests := []struct {
		name  string
		phase string // what the message has to name
		spoil func(*hosts)
		mend  func(*hosts)
	}{
		{
			name: "port taken", phase: "redis",
			spoil: func(h *hosts) {
				h.sh("server2", "systemd-run --unit=squatter --collect /usr/bin/socat TCP-LISTEN:6379,bind=192.0.2.12,fork,reuseaddr /dev/null")
			},
			mend: func(h *hosts) { h.sh("server2", "systemctl stop squatter") },
		},
		{
			// The servers run with the password of the case before.
			name: "wrong password", phase: "redis",
			spoil: func(h *hosts) { h.replaceSecret("REDIS_PASSWORD", "not-the-one-that-is-set") },
			mend:  func(h *hosts) { h.restoreSecrets() },
		},
		{
			name: "SST broken on the joiner", phase: "mariadb",
			spoil: func(h *hosts) {
				h.sh("server2", "mv /usr/bin/mariadb-backup /usr/bin/mariadb-backup.away; mv /usr/bin/mariabackup /usr/bin/mariabackup.away 2>/dev/null || true")
			},
			mend: func(h *hosts) {
				h.sh("server2", "mv /usr/bin/mariadb-backup.away /usr/bin/mariadb-backup; mv /usr/bin/mariabackup.away /usr/bin/mariabackup 2>/dev/null || true")
			},
		},
		{
			name: "full disk under the brick", phase: "glusterfs",
			spoil: func(h *hosts) { h.sh("server2", "dd if=/dev/zero of=/data/ballast bs=1M 2>/dev/null; sync; true") },
			mend:  func(h *hosts) { h.sh("server2", "rm -f /data/ballast") },
		},
		{
			name: "a broken daemon", phase: "keepalived",
			spoil: func(h *hosts) {
				h.sh("server2", "mv /usr/sbin/keepalived /usr/sbin/keepalived.away; printf '#!/bin/sh\\nexit 1\\n' > /usr/sbin/keepalived; chmod 755 /usr/sbin/keepalived")
			},
			mend: func(h *hosts) { h.sh("server2", "mv /usr/sbin/keepalived.away /usr/sbin/keepalived") },
		},
	}
	h.must("up", "--yes", "--phase", "prepare")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := h.in(t)
			tt.spoil(h)
			was := h.fingerprints()
			r := h.run("up", "--yes", "--phase", tt.phase)
			if r.code == 0 {
				t.Fatalf("it did not fail: %s", r)
			}
			if !strings.Contains(r.stderr, tt.phase) {
				t.Errorf("the message does not name the phase: %s", r)
			}
			t.Logf("exit %d after %.1f s: %s", r.code, r.took.Seconds(), firstLines(r.stderr, 60))
			if strings.Contains(r.stderr, "these stay") {
				// It says what it could not take back; carrying on has to work.
				t.Log("not taken back as a whole, and it says so")
			} else {
				h.restored(was, "the rolled back phase")
			}
			tt.mend(h)
			h.phase(tt.phase)
		})
	}
	h.must("up", "--yes")
	h.green()
}

// A package that is nowhere to be had makes the phase fail and takes off what
// came before it. On the bare image every package comes from a repository that
// lies on the host.
func TestAMissingPackageIsRolledBack(t *testing.T) {
	t.Parallel()
	h := newLab(t, lab.Spec{Name: "nopkg", Image: "bare", Heads: 1})
	h.must("up", "--yes", "--phase", "prepare")
	h.sh("server1", "echo 'Package: keepalived\nPin: version *\nPin-Priority: -1' > /etc/apt/preferences.d/none")
	was := h.fingerprints()
	r := h.run("up", "--yes", "--phase", "keepalived")
	if r.code == 0 || !strings.Contains(r.stderr, "keepalived") {
		t.Fatalf("it did not fail for want of the package: %s", r)
	}
	h.restored(was, "the rolled back phase")
	h.sh("server1", "rm /etc/apt/preferences.d/none")
	h.must("up", "--yes")
	h.green()
}

// phase brings one phase up. Where it is up already, the exit code is that of the
// cluster, whose other phases are not.
func (h *hosts) phase(name string) {
	h.t.Helper()
	r := h.run("up", "--yes", "--phase", name)
	if r.code != 0 && !strings.Contains(r.stdout, "No changes") {
		h.t.Fatal(r)
	}
}

// replaceSecret writes another value for one of the secrets in the cluster file,
// and restoreSecrets takes it back.
func (h *hosts) replaceSecret(name, value string) {
	h.t.Helper()
	old, err := os.ReadFile(h.file)
	if err != nil {
		h.t.Fatal(err)
	}
	now := strings.ReplaceAll(string(old), h.secrets()[name], value)
	if now == string(old) {
		h.t.Fatalf("%s has no %s", h.file, name)
	}
	if err := errors.Join(os.WriteFile(h.file+".kept", old, 0o600), os.WriteFile(h.file, []byte(now), 0o600)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *hosts) restoreSecrets() {
	h.t.Helper()
	if err := os.Rename(h.file+".kept", h.file); err != nil {
		h.t.Fatal(err)
	}
}
